package samples_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/utils/clock"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var day0 = time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)

const step = schemas.DefaultStep

// at returns the start of bucket i since day0.
func at(i int) time.Time { return day0.Add(time.Duration(i) * step) }

// fixture is a table in memory.
type fixture struct {
	t      testing.TB
	bucket artifact.Bucket
	store  *artifact.Store
	table  *samples.Table
	runs   int
}

func newFixture(t testing.TB) *fixture {
	b := membucket.New(clock.RealClock{})
	store := artifact.New(b, artifact.Options{})
	return &fixture{t: t, bucket: b, store: store, table: samples.New(store, samples.Options{Writer: "test"})}
}

// usage says what a component used in bucket i.
type usage struct {
	component string
	bucket    int
	cpu       float64
	count     int32
}

func (u usage) sample() *schemas.Sample {
	return &schemas.Sample{
		Component: schemas.ComponentID{Service: "web", Component: u.component}, Start: at(u.bucket),
		CPU: &schemas.Usage{Mean: u.cpu, Max: u.cpu, Count: max(u.count, 1)},
	}
}

// run collects the given usage in a run of its own and merges it.
func (f *fixture) run(now time.Time, all ...usage) samples.Report {
	f.t.Helper()
	f.runs++
	m := f.stage(fmt.Sprintf("run-%03d", f.runs), all...)
	r, err := f.table.Merge(f.t.Context(), m, now)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) stage(run string, all ...usage) artifact.Manifest {
	f.t.Helper()
	set := columnar.NewSamples(step)
	for _, u := range all {
		if err := set.Add(u.sample()); err != nil {
			f.t.Fatal(err)
		}
	}
	stage := f.table.Stage(run)
	if err := stage.Add(f.t.Context(), set); err != nil {
		f.t.Fatal(err)
	}
	m, err := stage.Commit(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// content returns all rows of the table as "component bucket" -> CPU.
func (f *fixture) content() map[string]float64 {
	f.t.Helper()
	s, err := f.table.Snapshot(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]float64{}
	err = s.Scan(f.t.Context(), samples.Range{From: day0.AddDate(-1, 0, 0), To: day0.AddDate(1, 0, 0)}, func(id schemas.ComponentID, rows []columnar.Row) error {
		for _, r := range rows {
			key := fmt.Sprintf("%s %d", id.Component, int(columnar.Time(r.Start).Sub(day0)/step))
			if _, twice := out[key]; twice {
				f.t.Errorf("%s comes twice", key)
			}
			out[key] = columnar.Quantity(schemas.CPU, r.CPU.Mean)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *fixture) files() int {
	f.t.Helper()
	s, err := f.table.Snapshot(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return len(s.Head.Manifest.Files)
}

func TestBucketsAddUp(t *testing.T) {
	f := newFixture(t)
	r := f.run(at(1), usage{"a", 0, 1, 1}, usage{"b", 0, 2, 1})
	want := samples.Report{Rows: 2, Added: 2, From: at(0), To: at(1)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("first report (-want +got):\n%s", diff)
	}
	r = f.run(at(2), usage{"a", 1, 3, 1})
	want = samples.Report{Rows: 3, Added: 1, From: at(0), To: at(2)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("second report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"a 0": 1, "b 0": 2, "a 1": 3}, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if n := f.files(); n != 2 {
		t.Errorf("the day has %d files, want 2: it is not over yet", n)
	}
}

func TestARepeatedRunChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 1})
	m := f.stage("again", usage{"a", 1, 2, 1})
	first, err := f.table.Merge(t.Context(), m, at(2))
	if err != nil {
		t.Fatal(err)
	}
	f.run(at(3), usage{"a", 2, 3, 1})
	second, err := f.table.Merge(t.Context(), m, at(9))
	if err != nil {
		t.Fatal(err)
	}
	first.Outcome = artifact.Repeated
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("report of the repetition (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"a 0": 1, "a 1": 2, "a 2": 3}, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	staged, ok, err := f.table.Staged(t.Context(), "again")
	if err != nil || !ok {
		t.Fatalf("staged: %t, %v", ok, err)
	}
	if diff := cmp.Diff(m, staged); diff != "" {
		t.Errorf("staged manifest (-want +got):\n%s", diff)
	}
}

func TestARunCannotStageTwoThings(t *testing.T) {
	f := newFixture(t)
	f.stage("r", usage{"a", 0, 1, 1})
	stage := f.table.Stage("r")
	set := columnar.NewSamples(step)
	if err := set.Add(usage{"a", 0, 2, 1}.sample()); err != nil {
		t.Fatal(err)
	}
	if err := stage.Add(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Commit(t.Context()); !errors.Is(err, artifact.ErrConflict) {
		t.Errorf("commit: %v, want a conflict", err)
	}
}

func TestWhatComesTwiceIsJoined(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 15}, usage{"b", 0, 5, 15})
	r := f.run(at(2), usage{"a", 0, 1, 15}, usage{"b", 0, 4, 14})
	want := samples.Report{Rows: 2, Duplicates: 1, Conflicts: 1, From: at(0), To: at(1)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"a 0": 1, "b 0": 5}, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestADayThatIsOverBecomesOneFile(t *testing.T) {
	f := newFixture(t)
	want := map[string]float64{}
	for i := range 96 + 2 {
		f.run(at(i+1), usage{"a", i, float64(i), 1}, usage{"b", i, 1, 1})
		want[fmt.Sprintf("a %d", i)], want[fmt.Sprintf("b %d", i)] = float64(i), 1
		if n := f.files(); n > 16+1 {
			t.Fatalf("after %d buckets there are %d files, want at most 17", i+1, n)
		}
	}
	if n := f.files(); n != 1+2 {
		t.Errorf("two buckets into the second day there are %d files, want 3", n)
	}
	if diff := cmp.Diff(want, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestOldDaysLeave(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 1}, usage{"a", 96, 2, 1})
	r := f.run(day0.AddDate(0, 0, 29), usage{"a", 29 * 96, 3, 1})
	want := samples.Report{Rows: 2, Added: 0, Expired: 1, From: at(96), To: at(29*96 + 1)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"a 96": 2, fmt.Sprintf("a %d", 29*96): 3}, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestTheTableIsTheSameWhicheverRunCameFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var runs [][]usage
		for range rapid.IntRange(1, 5).Draw(rt, "runs") {
			var run []usage
			for range rapid.IntRange(0, 8).Draw(rt, "samples") {
				run = append(run, usage{
					rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "component"), rapid.IntRange(0, 200).Draw(rt, "bucket"),
					float64(rapid.IntRange(0, 3).Draw(rt, "cpu")), rapid.Int32Range(1, 2).Draw(rt, "count"),
				})
			}
			runs = append(runs, run)
		}
		now := at(rapid.IntRange(0, 300).Draw(rt, "now"))
		one, other := newFixture(t), newFixture(t)
		for _, run := range runs {
			one.run(now, run...)
		}
		for _, run := range rapid.Permutation(runs).Draw(rt, "order") {
			other.run(now, run...)
		}
		if diff := cmp.Diff(one.content(), other.content()); diff != "" {
			rt.Fatalf("content (-one order +another):\n%s", diff)
		}
	})
}

func TestADamagedFileIsAGapAndLeavesWithTheNextJoin(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 1})
	f.run(at(2), usage{"a", 1, 2, 1})
	s, err := f.table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := s.Head.Manifest.Files[0].Key
	for _, file := range s.Head.Manifest.Files {
		if file.From.Equal(at(0)) {
			key = file.Key
		}
	}
	if err := f.bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := f.bucket.Create(t.Context(), key, []byte("PAR1 no longer")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"a 1": 2}, f.content()); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	from, to := s.Window(at(2), 1)
	histories, err := s.Histories(t.Context(), []schemas.ComponentID{{Service: "web", Component: "a"}}, from, to)
	if err != nil || len(s.Lost()) != 1 || histories[0].Series[schemas.CPU].Valid() != 1 {
		t.Fatalf("histories %v, lost %v, error %v; want one valid bucket and one lost file", histories, s.Lost(), err)
	}
	r := f.run(at(97), usage{"a", 96, 3, 1})
	want := samples.Report{Rows: 2, Added: 0, Lost: 1, From: at(1), To: at(97)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestAStoreThatDoesNotAnswerIsNoGap(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 1})
	s, err := f.table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = s.Scan(ctx, samples.Range{From: at(0), To: at(1)}, func(schemas.ComponentID, []columnar.Row) error { return nil })
	if !errors.Is(err, context.Canceled) || len(s.Lost()) != 0 {
		t.Errorf("scan: %v with %d files lost, want it cancelled and none lost", err, len(s.Lost()))
	}
}

func TestAnotherStepIsRefused(t *testing.T) {
	f := newFixture(t)
	f.run(at(1), usage{"a", 0, 1, 1})
	hourly := samples.New(f.store, samples.Options{Step: time.Hour})
	m, err := hourly.Stage("hourly").Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = hourly.Merge(t.Context(), m, at(1))
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("merge: %v, want invalid_config", err)
	}
}

func TestHistoriesAreDenseAndKeepWhatIsUnknownUnknown(t *testing.T) {
	f := newFixture(t)
	a := schemas.ComponentID{Service: "web", Component: "a"}
	b := schemas.ComponentID{Service: "web", Component: "b"}
	never := schemas.ComponentID{Service: "web", Component: "never"}
	set := columnar.NewSamples(step)
	three, four := int32(3), int32(4)
	old, new := 0.5, 0.25
	for _, x := range []schemas.Sample{
		{Component: a, Start: at(0), CPU: &schemas.Usage{Mean: 1, Max: 2, Count: 3}, Replicas: &three, CPURequest: &old},
		{Component: a, Start: at(2), CPU: &schemas.Usage{Mean: 3, Max: 4, Count: 3}, CPURequest: &new},
		{Component: a, Start: at(94), Memory: &schemas.Usage{Mean: 1024, Max: 2048, Count: 3}},
		{Component: b, Start: at(95), Replicas: &four},
	} {
		if err := set.Add(&x); err != nil {
			t.Fatal(err)
		}
	}
	stage := f.table.Stage("r")
	if err := stage.Add(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	m, err := stage.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.table.Merge(t.Context(), m, at(96)); err != nil {
		t.Fatal(err)
	}
	s, err := f.table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from, to := s.Window(at(97), 1)
	if !from.Equal(at(0)) || !to.Equal(at(96)) {
		t.Fatalf("window is %s to %s, want the day that was measured", from, to)
	}
	got, err := s.Histories(t.Context(), []schemas.ComponentID{a, b, never}, from, to)
	if err != nil {
		t.Fatal(err)
	}
	series := func(r schemas.Resource, values map[int][2]float64) *schemas.Series {
		out := &schemas.Series{Component: a, Resource: r, Start: at(0), Step: step}
		for i := range 96 {
			v, ok := values[i]
			if !ok {
				v = [2]float64{math.NaN(), math.NaN()}
			}
			out.Mean, out.Max = append(out.Mean, v[0]), append(out.Max, v[1])
		}
		return out
	}
	want := []schemas.History{
		{Component: a, Replicas: &three, Requests: schemas.Requests{schemas.CPU: .25}, Series: map[schemas.Resource]*schemas.Series{
			schemas.CPU:    series(schemas.CPU, map[int][2]float64{0: {1, 2}, 2: {3, 4}}),
			schemas.Memory: series(schemas.Memory, map[int][2]float64{94: {1024, 2048}}),
		}},
		{Component: b, Replicas: &four, Requests: schemas.Requests{}, Series: map[schemas.Resource]*schemas.Series{}},
		{Component: never, Requests: schemas.Requests{}, Series: map[schemas.Resource]*schemas.Series{}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("histories (-want +got):\n%s", diff)
	}
	ids, err := s.Components(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]schemas.ComponentID{a, b}, ids); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

func BenchmarkMergeOneBucket(b *testing.B) {
	for _, components := range []int{1000, 10000} {
		b.Run(fmt.Sprint(components), func(b *testing.B) {
			f := newFixture(b)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				all := make([]usage, components)
				for c := range all {
					all[c] = usage{fmt.Sprintf("c%05d", c), i, float64(c%97) + float64(i)/96, 15}
				}
				i++
				f.run(at(i), all...)
			}
			b.ReportMetric(float64(components)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkHistories(b *testing.B) {
	const components, days = 256, 28
	f := newFixture(b)
	var ids []schemas.ComponentID
	for d := range days {
		set := columnar.NewSamples(step)
		for c := range components {
			for i := range 96 {
				x := usage{fmt.Sprintf("c%05d", c), d*96 + i, float64(c) + float64(i*i%97)/7, 15}.sample()
				x.Memory = &schemas.Usage{Mean: 1e9 + float64(i*i%89)*4096, Max: 2e9, Count: 15}
				if err := set.Add(x); err != nil {
					b.Fatal(err)
				}
			}
			if d == 0 {
				ids = append(ids, schemas.ComponentID{Service: "web", Component: fmt.Sprintf("c%05d", c)})
			}
		}
		stage := f.table.Stage(fmt.Sprintf("day-%d", d))
		if err := stage.Add(b.Context(), set); err != nil {
			b.Fatal(err)
		}
		m, err := stage.Commit(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.table.Merge(b.Context(), m, at(days*96)); err != nil {
			b.Fatal(err)
		}
	}
	s, err := f.table.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	from, to := s.Window(at(days*96), days)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Histories(b.Context(), ids, from, to); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(components*days*96*4*float64(b.N)/b.Elapsed().Seconds(), "values/s")
}

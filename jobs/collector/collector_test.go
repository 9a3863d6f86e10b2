package collector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var (
	_ collector.Source = (*history.File)(nil)
	_ collector.Source = (*source)(nil)
)

var midnight = time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)

const step = schemas.DefaultStep

func at(i int) time.Time { return midnight.Add(time.Duration(i) * step) }

// source says that every component uses as many cores as the bucket's number,
// and notes what it was asked for.
type source struct {
	components int
	asked      []string
	// err is returned after the first sample, where it is set.
	err error
	// drift is added to every value, as by a source that does not repeat itself.
	drift float64
}

func (s *source) Samples(_ context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	s.asked = append(s.asked, fmt.Sprintf("%d-%d", int(from.Sub(midnight)/step), int(to.Sub(midnight)/step)))
	var x schemas.Sample // one for all, as the contract allows
	for t := from; t.Before(to); t = t.Add(step) {
		for c := range s.components {
			v := t.Sub(midnight).Hours() + s.drift
			x = schemas.Sample{Component: schemas.ComponentID{Service: "web", Component: fmt.Sprintf("c%d", c)}, Start: t, CPU: &schemas.Usage{Mean: v, Max: v, Count: 15}}
			if err := add(&x); err != nil {
				return err
			}
			if s.err != nil {
				return s.err
			}
		}
	}
	return nil
}

func memory() (*membucket.Bucket, *artifact.Store) {
	b := membucket.New(clock.RealClock{})
	return b, artifact.New(b, artifact.Options{})
}

func env(store *artifact.Store, run string, now time.Time) jobs.Env {
	return jobs.Env{Store: store, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Run: run, Now: now, Version: "test"}
}

func TestARunAsksForWhatTheTableLacks(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts collector.Options
		runs []time.Time
		want []string
	}{
		{"the first one for the last whole bucket", collector.Options{}, []time.Time{at(4).Add(7 * time.Minute)}, []string{"3-4"}},
		{"the next one for the next", collector.Options{}, []time.Time{at(4), at(5)}, []string{"3-4", "4-5"}},
		{"one after missed runs for theirs too", collector.Options{}, []time.Time{at(4), at(9)}, []string{"3-4", "4-9"}},
		{"no further back than it may", collector.Options{CatchUp: time.Hour}, []time.Time{at(4), at(40)}, []string{"3-4", "36-40"}},
		{"one within the same bucket for it again", collector.Options{}, []time.Time{at(4), at(4).Add(time.Minute)}, []string{"3-4", "3-4"}},
		{"a backfill day by day", collector.Options{Backfill: 48 * time.Hour}, []time.Time{at(250)}, []string{"58-96", "96-192", "192-250"}},
		{"a backfill no further than the retention", collector.Options{Backfill: 999 * time.Hour, Retention: 24 * time.Hour}, []time.Time{at(200)}, []string{"104-192", "192-200"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, store := memory()
			src := &source{components: 1}
			for i, now := range tt.runs {
				if err := collector.New(src, tt.opts)(t.Context(), env(store, fmt.Sprintf("r%d", i), now)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, src.asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARunReportsHowManyBucketsItHasRead(t *testing.T) {
	_, store := memory()
	e := env(store, "r", at(250))
	var got []string
	e.Progress = func(done, total int) { got = append(got, fmt.Sprintf("%d/%d", done, total)) }
	if err := collector.New(&source{components: 1}, collector.Options{Backfill: 48 * time.Hour})(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"38/192", "134/192", "192/192"}, got); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestWhatWasMeasuredIsInTheTable(t *testing.T) {
	_, store := memory()
	src := &source{components: 3}
	report, err := collector.Collect(t.Context(), src, collector.Options{Backfill: 30 * time.Hour}, env(store, "r", at(120)))
	if err != nil {
		t.Fatal(err)
	}
	want := samples.Report{Rows: 360, Added: 360, From: at(0), To: at(120)}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	snapshot, err := samples.New(store, samples.Options{}).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	histories, err := snapshot.Histories(t.Context(), []schemas.ComponentID{{Service: "web", Component: "c1"}}, at(0), at(120))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range histories[0].Series[schemas.CPU].Mean {
		if v != float64(i)/4 {
			t.Fatalf("bucket %d: %v cores, want %v", i, v, float64(i)/4)
		}
	}
}

func TestASourceThatFailsLeavesNothing(t *testing.T) {
	bucket, store := memory()
	down := schemas.Errorf(schemas.CodeUnavailable, "metrics API does not answer")
	err := collector.New(&source{components: 2, err: down}, collector.Options{})(t.Context(), env(store, "r", at(4)))
	if !errors.Is(err, down) {
		t.Errorf("error %v, want the source's", err)
	}
	if n := len(objects(t, bucket)); n != 0 {
		t.Errorf("there are %d objects, want none", n)
	}
}

func TestASourceIsNotTrusted(t *testing.T) {
	id := schemas.ComponentID{Service: "web", Component: "c"}
	for _, tt := range []struct {
		name   string
		sample schemas.Sample
		want   string
	}{
		{"with the future", schemas.Sample{Component: id, Start: at(4)}, "source: web/c: start must be within 2024-03-09T00:45:00Z to 2024-03-09T01:00:00Z, but is 2024-03-09T01:00:00Z"},
		{"with buckets", schemas.Sample{Component: id, Start: at(3).Add(time.Minute)}, "web/c: start must be a multiple of 15m0s, but is 2024-03-09T00:46:00Z"},
		{"with names", schemas.Sample{Start: at(3)}, "service must not be empty"},
		{"with values", schemas.Sample{Component: id, Start: at(3), CPU: &schemas.Usage{Mean: -1, Count: 1}}, "cpu must not be negative, but is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, store := memory()
			src := sourceFunc(func(add func(*schemas.Sample) error) error { return add(&tt.sample) })
			err := collector.New(src, collector.Options{})(t.Context(), env(store, "r", at(4)))
			if err == nil || err.Error() != tt.want || schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("error %v (%s), want %q", err, schemas.CodeOf(err), tt.want)
			}
		})
	}
}

type sourceFunc func(add func(*schemas.Sample) error) error

func (f sourceFunc) Samples(_ context.Context, _, _ time.Time, _ time.Duration, add func(*schemas.Sample) error) error {
	return f(add)
}

func objects(t testing.TB, b artifact.Bucket) map[string]string {
	t.Helper()
	out := map[string]string{}
	var keys []string
	if err := b.List(t.Context(), "", func(o artifact.ObjectInfo) bool { keys = append(keys, o.Key); return true }); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		data, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		out[key] = string(data)
	}
	return out
}

// rows returns all rows of the table.
func rows(t testing.TB, store *artifact.Store) map[schemas.ComponentID][]columnar.Row {
	t.Helper()
	snapshot, err := samples.New(store, samples.Options{}).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[schemas.ComponentID][]columnar.Row{}
	err = snapshot.Scan(t.Context(), samples.Range{From: at(-1000), To: at(1000)}, func(id schemas.ComponentID, rows []columnar.Row) error {
		out[id] = append(out[id], rows...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whichever call to the store fails, and however: a run that is started again
// ends with the samples of one answer of the source, each of them once.
func TestARunMayBeKilledAtAnyCall(t *testing.T) {
	for n := 0; ; n++ {
		calls := 0
		for _, fault := range []artifacttest.Fault{artifacttest.FailBefore, artifacttest.FailAfter, artifacttest.CutBefore, artifacttest.CutAfter} {
			bucket, store := memory()
			if err := collector.New(&source{components: 2}, collector.Options{})(t.Context(), env(store, "before", at(95))); err != nil {
				t.Fatal(err)
			}
			faults := artifacttest.NewFaults(bucket, n, fault)
			run := func(b artifact.Bucket, drift float64) error {
				src := &source{components: 2, drift: drift}
				return collector.New(src, collector.Options{})(t.Context(), env(artifact.New(b, artifact.Options{}), "r", at(98)))
			}
			first := run(faults, 1)
			if calls = faults.Calls(); calls <= n {
				break // the run has no call n
			}
			_, staged, err := samples.New(store, samples.Options{}).Staged(t.Context(), "r")
			if err != nil {
				t.Fatal(err)
			}
			// The second time the source says something else.
			if err := run(bucket, 2); err != nil {
				t.Fatalf("call %d %s (%v), then again: %v", n, fault, first, err)
			}
			drift := 2.0
			if staged {
				drift = 1
			}
			for id, rows := range rows(t, store) {
				if len(rows) != 4 {
					t.Errorf("call %d %s: %s has %d rows, want 4", n, fault, id, len(rows))
				}
				for i, row := range rows[1:] {
					if got, want := columnar.Quantity(schemas.CPU, row.CPU.Mean), float64(95+i)/4+drift; got != want {
						t.Errorf("call %d %s: %s bucket %d has %v cores, want %v", n, fault, id, 95+i, got, want)
					}
				}
			}
		}
		if calls <= n {
			if n < 8 {
				t.Errorf("only %d calls were made to fail", n)
			}
			return
		}
	}
}

package dataset_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/dataset"
	"github.com/self-scaling/self-scaling/jobs/datasets"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var midnight = time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)

func at(i int) time.Time { return midnight.Add(time.Duration(i) * schemas.DefaultStep) }

func id(c int) schemas.ComponentID {
	return schemas.ComponentID{Service: "web", Component: fmt.Sprintf("c%03d", c)}
}

func env(store *artifact.Store, run string, now time.Time) jobs.Env {
	return jobs.Env{Store: store, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Run: run, Now: now, Version: "test"}
}

// collect fills the table with buckets [from, to) of the given components: c
// cores in bucket i are c + i/1000, and every component lacks some buckets.
func collect(t testing.TB, store *artifact.Store, run string, components, from, to int) {
	t.Helper()
	table := samples.New(store, samples.Options{Writer: "test"})
	set := columnar.NewSamples(schemas.DefaultStep)
	for c := range components {
		for i := from; i < to; i++ {
			if (i+c)%7 == 0 {
				continue
			}
			v := float64(c) + float64(i)/1000
			if err := set.Add(&schemas.Sample{Component: id(c), Start: at(i), CPU: &schemas.Usage{Mean: v, Max: 2 * v, Count: 15}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stage := table.Stage(run)
	if err := stage.Add(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	m, err := stage.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Merge(t.Context(), m, at(to)); err != nil {
		t.Fatal(err)
	}
}

func memory() (*membucket.Bucket, *artifact.Store) {
	b := membucket.New(clock.RealClock{})
	return b, artifact.New(b, artifact.Options{})
}

func TestShardsHoldEveryComponentOnOneGrid(t *testing.T) {
	_, store := memory()
	collect(t, store, "c1", 5, 0, 200)
	shards, err := dataset.Build(t.Context(), dataset.Options{Days: 1, ShardSize: 2}, env(store, "r", at(201).Add(3*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"00000", "00001", "00002"}, shards); diff != "" {
		t.Errorf("shards (-want +got):\n%s", diff)
	}
	var got, want []schemas.History
	for _, shard := range shards {
		histories, err := datasets.Read(t.Context(), store, "r", shard)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, histories...)
	}
	for c := range 5 {
		s := &schemas.Series{Component: id(c), Resource: schemas.CPU, Start: at(104), Step: schemas.DefaultStep}
		for i := 104; i < 200; i++ {
			mean, most := math.NaN(), math.NaN()
			if (i+c)%7 != 0 {
				v := float64(c) + float64(i)/1000
				mean, most = columnar.Quantity(schemas.CPU, columnar.Units(schemas.CPU, v)), columnar.Quantity(schemas.CPU, columnar.Units(schemas.CPU, 2*v))
			}
			s.Mean, s.Max = append(s.Mean, mean), append(s.Max, most)
		}
		want = append(want, schemas.History{Component: id(c), Requests: schemas.Requests{}, Series: map[schemas.Resource]*schemas.Series{schemas.CPU: s}})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("histories (-want +got):\n%s", diff)
	}
	m, err := datasets.Manifest(t.Context(), store, "r", "00001")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"step": "15m0s", "components": "2", "first": "web/c002", "last": "web/c003", "valid_fraction_cpu": "0.8646", "valid_fraction_memory": "0.0000"}
	if diff := cmp.Diff(labels, m.Labels); diff != "" || !m.From.Equal(at(104)) || !m.To.Equal(at(200)) {
		t.Errorf("labels (-want +got):\n%swindow %s to %s", diff, m.From, m.To)
	}
}

func TestAYoungTableGivesAShortDataset(t *testing.T) {
	_, store := memory()
	collect(t, store, "c1", 1, 3, 10)
	shards, err := dataset.Build(t.Context(), dataset.Options{}, env(store, "r", at(10)))
	if err != nil {
		t.Fatal(err)
	}
	histories, err := datasets.Read(t.Context(), store, "r", shards[0])
	if err != nil {
		t.Fatal(err)
	}
	s := histories[0].Series[schemas.CPU]
	if !s.Start.Equal(at(3)) || s.Len() != 7 {
		t.Errorf("series of %d buckets from %s, want the 7 that were measured", s.Len(), s.Start)
	}
}

func TestARunThatIsRepeatedLaterMakesTheSame(t *testing.T) {
	bucket, store := memory()
	collect(t, store, "c1", 5, 0, 100)
	opts := dataset.Options{ShardSize: 2}
	want, err := dataset.Build(t.Context(), opts, env(store, "r", at(100)))
	if err != nil {
		t.Fatal(err)
	}
	before := objects(t, bucket)
	// All but the plan and one shard are gone, as after a kill.
	for _, shard := range []string{"00001", "00002", ""} {
		if err := bucket.Delete(t.Context(), schemas.ManifestKey("r", datasets.StepName, shard)); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, store, "c2", 6, 100, 120)
	got, err := dataset.Build(t.Context(), opts, env(store, "r", at(120)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shards (-first +again):\n%s", diff)
	}
	after := objects(t, bucket)
	for key, data := range before {
		if after[key] != data {
			t.Errorf("%s differs from the first time", key)
		}
	}
}

// objects returns everything in a bucket.
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

func TestEqualTablesGiveEqualBytes(t *testing.T) {
	a, one := memory()
	b, other := memory()
	for _, store := range []*artifact.Store{one, other} {
		collect(t, store, "c1", 3, 0, 50)
		if _, err := dataset.Build(t.Context(), dataset.Options{}, env(store, "r", at(50))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(objects(t, a), objects(t, b)); diff != "" {
		t.Errorf("objects (-one +other):\n%.500s", diff)
	}
}

func TestTheListOfShardsIsWrittenForWhoeverFansOut(t *testing.T) {
	_, store := memory()
	collect(t, store, "c1", 5, 0, 20)
	path := filepath.Join(t.TempDir(), "shards.json")
	step := dataset.New(dataset.Options{ShardSize: 2, ShardsFile: path})
	for range 2 { // the second time from what stands in the store
		if err := step(t.Context(), env(store, "r", at(20))); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"00000", "00001", "00002"}, got); diff != "" {
			t.Errorf("shards (-want +got):\n%s", diff)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBecomeADataset(t *testing.T) {
	_, empty := memory()
	_, full := memory()
	collect(t, full, "c1", 1, 5, 20)
	for _, tt := range []struct {
		name  string
		store *artifact.Store
		opts  dataset.Options
		now   time.Time
		want  schemas.Code
	}{
		{"an empty table", empty, dataset.Options{}, at(20), schemas.CodeNotFound},
		{"a run before the first sample", full, dataset.Options{}, at(5), schemas.CodeNotFound},
		{"a negative number of days", full, dataset.Options{Days: -1}, at(20), schemas.CodeInvalidConfig},
		{"a negative shard size", full, dataset.Options{ShardSize: -1}, at(20), schemas.CodeInvalidConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := dataset.Build(t.Context(), tt.opts, env(tt.store, "r", tt.now)); schemas.CodeOf(err) != tt.want {
				t.Errorf("error %v with code %q, want %q", err, schemas.CodeOf(err), tt.want)
			}
		})
	}
	if _, err := datasets.Read(t.Context(), full, "r", "00000"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("reading a shard that was never made: %v, want not found", err)
	}
}

func TestADatasetIsTheSameWhereverAStoreFails(t *testing.T) {
	whole, store := memory()
	collect(t, store, "c1", 5, 0, 100)
	initial := objects(t, whole)
	run := func(ctx context.Context, b artifact.Bucket) error {
		_, err := dataset.Build(ctx, dataset.Options{ShardSize: 2}, env(artifact.New(b, artifact.Options{}), "r", at(100)))
		return err
	}
	if err := run(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	want := objects(t, whole)
	for n := 0; ; n++ {
		calls := 0
		for _, fault := range []artifacttest.Fault{artifacttest.FailBefore, artifacttest.FailAfter, artifacttest.CutBefore, artifacttest.CutAfter} {
			b := membucket.New(clock.RealClock{})
			for key, data := range initial {
				if err := b.Create(t.Context(), key, []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
			failing := artifacttest.NewFaults(b, n, fault)
			err := run(t.Context(), failing)
			if calls = failing.Calls(); calls <= n {
				break // the run has no call n
			}
			if code := schemas.CodeOf(err); err != nil && code != schemas.CodeUnavailable {
				t.Errorf("call %d %s: %v, want unavailable", n, fault, err)
			}
			if err := run(t.Context(), b); err != nil {
				t.Fatalf("call %d %s, then again: %v", n, fault, err)
			}
			if diff := cmp.Diff(want, objects(t, b)); diff != "" {
				t.Errorf("call %d %s, then again: objects (-whole +got):\n%.500s", n, fault, diff)
			}
		}
		if calls <= n {
			if n < 10 {
				t.Errorf("only %d calls were made to fail", n)
			}
			return
		}
	}
}

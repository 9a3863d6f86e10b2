package apitest

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/rollback"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// Now is the instant at which a [World] begins.
var Now = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// World is a server with everything behind it in memory.
type World struct {
	Bucket    *Bucket
	Store     *artifact.Store
	View      *view.View
	Services  *Services
	Submitter *local.Submitter
	Clock     *clocktesting.FakePassiveClock
	Server    *api.Server
	// HTTP listens on loopback.
	HTTP *httptest.Server

	mu    sync.Mutex
	steps map[string]local.Func
}

// Shop names a component in the namespace prod.
func Shop(component string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "prod", Service: "shop", Component: component}
}

// New returns a world with the given components, closed when the test ends. Change
// may change what the server works with.
func New(t testing.TB, ids []schemas.ComponentID, change ...func(*api.Config)) *World {
	t.Helper()
	w := &World{Bucket: &Bucket{Bucket: membucket.New(nil)}, Services: NewServices(ids...), Clock: clocktesting.NewFakePassiveClock(Now), steps: map[string]local.Func{}}
	w.Store = artifact.New(w.Bucket, artifact.Options{})
	jobs := map[string]local.Func{}
	for _, job := range []string{workflows.CollectorJob, workflows.DatasetJob, workflows.TrainerJob, workflows.InferenceJob} {
		jobs[job] = w.step
	}
	var err error
	w.Submitter, err = local.New(local.Config{
		Pipelines: workflows.Pipelines(), Jobs: jobs, Backoff: time.Millisecond, MaxPending: 1000,
		Clock: stepping{clock.RealClock{}, w.Clock},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Submitter.Close() })
	if w.View, err = view.New(w.Store, view.Options{Dir: t.TempDir(), Share: 1, Clock: stepping{clock.RealClock{}, w.Clock}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.View.Close() })
	c := api.Config{
		View: w.View, Services: w.Services, TrainValues: w.Services, Submitter: w.Submitter, Pipelines: workflows.Pipelines(),
		Rollback: func(ctx context.Context, from uint64, r wire.Rollback) (wire.RolledBack, error) {
			return rollback.Roll(ctx, w.Store, "1.0.0", w.Clock.Now(), from, r)
		},
		Version: "1.0.0", Clock: w.Clock, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	if w.Server, err = api.New(c); err != nil {
		t.Fatal(err)
	}
	w.HTTP = httptest.NewServer(w.Server)
	t.Cleanup(w.HTTP.Close)
	w.Refresh(t)
	return w
}

// stepping tells the time of the world, and waits in real time.
type stepping struct {
	clock.RealClock
	passive clock.PassiveClock
}

func (s stepping) Now() time.Time { return s.passive.Now() }

// Step has f called for each step of a job instead of nothing.
func (w *World) Step(job string, f local.Func) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps[job] = f
}

func (w *World) step(ctx context.Context, args local.Args) error {
	job := args.Step
	if job == "commit" {
		job = workflows.TrainerJob
	}
	w.mu.Lock()
	f := w.steps[job]
	w.mu.Unlock()
	if args.SetShards != nil && args.Step == workflows.DatasetJob {
		args.SetShards([]string{"00000"})
	}
	if f == nil {
		return nil
	}
	return f(ctx, args)
}

// Refresh has the server read everything anew.
func (w *World) Refresh(t testing.TB) {
	t.Helper()
	if err := w.Server.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Fill stores what some days of running leave: samples, models, and a set of
// forecasts and decisions for each of the runs, the last one now.
func (w *World) Fill(t testing.TB, ids []schemas.ComponentID, days, runs int) {
	t.Helper()
	Samples(t, w.Store, ids, Now, days)
	Models(t, w.Store, ids, Now, "train-1")
	for i := range runs {
		at := Now.Add(-time.Duration(runs-1-i) * schemas.DefaultStep)
		Forecasts(t, w.Store, ids, at)
	}
	w.Refresh(t)
}

// usage is a day's rhythm.
func usage(r schemas.Resource, i int, at time.Time) float64 {
	v := (1 + 0.5*math.Sin(2*math.Pi*float64(at.Unix()%86400)/86400+float64(i))) * (0.2 + 0.05*float64(i%7))
	if r == schemas.Memory {
		return math.Round(v * (1 << 30))
	}
	return math.Round(v*1e6) / 1e6
}

// Samples stores a collected sample of each component for each bucket of some days
// that end at an instant.
func Samples(t testing.TB, store *artifact.Store, ids []schemas.ComponentID, end time.Time, days int) {
	t.Helper()
	table := samples.New(store, samples.Options{})
	for day := days; day > 0; day-- {
		to := end.Add(-time.Duration(day-1) * 24 * time.Hour)
		set := columnar.NewSamples(schemas.DefaultStep)
		for at := to.Add(-24 * time.Hour); at.Before(to); at = at.Add(schemas.DefaultStep) {
			for i, id := range ids {
				cpu, memory, replicas, request := usage(schemas.CPU, i, at), usage(schemas.Memory, i, at), int32(2), 0.25
				s := schemas.Sample{
					Component: id, Start: at, Replicas: &replicas, CPURequest: &request,
					CPU: &schemas.Usage{Mean: cpu, Max: 1.5 * cpu, Count: 15}, Memory: &schemas.Usage{Mean: memory, Max: memory, Count: 15},
				}
				must(t, set.Add(&s))
			}
		}
		run := "collect-" + to.Format("20060102t150405z")
		stage := table.Stage(run)
		must(t, stage.Add(t.Context(), set))
		m, err := stage.Commit(t.Context())
		must(t, err)
		_, err = table.Merge(t.Context(), m, to)
		must(t, err)
	}
}

// Models stores the accepted models of a training.
func Models(t testing.TB, store *artifact.Store, ids []schemas.ComponentID, end time.Time, run string) {
	t.Helper()
	m := &schemas.Model{
		CodeVersion: "1.0.0", From: end.Add(-7 * 24 * time.Hour), To: end, Step: schemas.DefaultStep, Period: 96, Horizon: 96,
		Levels: schemas.DefaultLevels(), Seed: 1, Verdict: "no network was trained", Examples: 0, Scores: []schemas.SeriesScore{},
	}
	for _, id := range ids {
		for _, r := range schemas.Resources() {
			m.Scores = append(m.Scores, schemas.SeriesScore{Component: id, Resource: r, Statistic: schemas.Mean, Errors: map[string][]*schemas.BandError{
				schemas.SeasonalNaive: {{MAE: 2, Loss: 2, Count: 4}, nil, nil}, schemas.Bank: {{MAE: 1, Loss: 1, Count: 4}, nil, nil},
			}})
		}
	}
	_, err := models.Write(t.Context(), store, run, "1.0.0", models.Trained{Shard: schemas.ShardID(0), Model: m}, nil)
	must(t, err)
	_, _, err = models.Accept(t.Context(), store, run, "1.0.0", []string{schemas.ShardID(0)})
	must(t, err)
}

// Forecasts stores the forecasts and decisions of one run of inference.
func Forecasts(t testing.TB, store *artifact.Store, ids []schemas.ComponentID, at time.Time) {
	t.Helper()
	_, _, err := forecasts.Write(t.Context(), store, "1.0.0", Set(ids, at), nil)
	must(t, err)
}

// Set is what a run of inference makes.
func Set(ids []schemas.ComponentID, at time.Time) forecasts.Set {
	set := forecasts.Set{Run: "infer-" + at.Format("20060102t150405z"), Now: at, DataUntil: at}
	levels := schemas.DefaultLevels()
	for i, id := range ids {
		for _, r := range schemas.Resources() {
			f := &schemas.Forecast{Component: id, Resource: r, Forecasters: []string{schemas.Bank, schemas.Bank, schemas.SeasonalNaive}, Origin: at, Step: schemas.DefaultStep, Levels: levels}
			for step := range schemas.DefaultHorizon {
				v := usage(r, i, at.Add(time.Duration(step)*schemas.DefaultStep))
				for _, l := range levels {
					f.Values = append(f.Values, math.Round(v*(0.8+0.4*l)*1e6)/1e6)
				}
				if step < 16 {
					for _, l := range levels {
						f.Peaks = append(f.Peaks, math.Round(1.5*v*(0.8+0.4*l)*1e6)/1e6)
					}
				}
			}
			set.Forecasts = append(set.Forecasts, f)
		}
		before, reason := int32(2), schemas.FloorKept
		if (i+at.Hour()*4+at.Minute()/15)%3 == 0 {
			reason = schemas.FloorRaised
		}
		set.Decisions = append(set.Decisions, schemas.Decision{
			Component: id, Time: at, Run: set.Run, Policy: schemas.DefaultPolicy(), Forecasters: map[schemas.Resource]string{schemas.CPU: schemas.Bank},
			From: at, To: at.Add(17 * time.Minute), PreviousReplicas: &before, MinReplicas: 3, MaxReplicas: 10, Reason: reason,
			Message: fmt.Sprintf("cpu needs 3 replicas at %s", at.Format("15:04")), Expires: at.Add(time.Hour),
			Demands: []schemas.Demand{{Resource: schemas.CPU, Statistic: schemas.Peak, Level: .8, Usage: .5, Bucket: at, Request: .25, Utilization: 1, Replicas: 3}},
			Clamps:  []schemas.Clamp{{Name: "MaxReplicas", Before: 3, After: 3, Message: "maxReplicas is 10"}},
		})
	}
	return set
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Bucket is a bucket that can be made to fail.
type Bucket struct {
	artifact.Bucket

	mu   sync.Mutex
	down bool
	gets int
}

// Down makes the bucket fail, or work again.
func (b *Bucket) Down(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// Gets returns how often an object was asked for.
func (b *Bucket) Gets() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gets
}

func (b *Bucket) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gets++
	if b.down {
		return schemas.Errorf(schemas.CodeUnavailable, "store does not answer")
	}
	return nil
}

// Get implements [artifact.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key)
}

// List implements [artifact.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Bucket.List(ctx, prefix, yield)
}

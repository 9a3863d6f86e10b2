package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var noon = time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)

var errDown = schemas.Errorf(schemas.CodeUnavailable, "the server does not answer")

func web(name string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: "shop", Component: name}
}

func floor(n int32) *int32 { return &n }

// cluster is one in memory. Its components are what the test sets.
type cluster struct {
	mu         sync.Mutex
	components []controller.Component
	published  []controller.State
	publishes  int
	tends      int
	down       bool
}

func (c *cluster) Discover(context.Context) ([]controller.Component, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, errDown
	}
	return slices.Clone(c.components), nil
}

func (c *cluster) Publish(_ context.Context, states []controller.State) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = states
	c.publishes++
	return len(states), nil
}

func (c *cluster) Tend(_ context.Context, now time.Time, keep func(schemas.ComponentID) bool) (t controller.Tended, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tends++
	if c.down {
		return t, errDown
	}
	for i := range c.components {
		x := &c.components[i]
		switch {
		case x.Floor == nil:
		case !now.Before(x.Expires):
			x.Floor = nil
			t.Expired = append(t.Expired, x.ID)
		case !keep(x.ID):
			x.Floor = nil
			t.Released = append(t.Released, x.ID)
		}
	}
	return t, nil
}

// floors spells the floors in force.
func (c *cluster) floors() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, x := range c.components {
		if x.Floor != nil {
			out = append(out, fmt.Sprintf("%s=%d", x.ID.Component, *x.Floor))
		}
	}
	return strings.Join(out, " ")
}

// runner is a submitter whose runs go as the test tells them. Like the real ones it
// knows a run by its run-id.
type runner struct {
	workflows.Submitter // what the controller does not call
	clock               interface{ Now() time.Time }

	mu      sync.Mutex
	runs    map[string]*workflows.Run
	lists   int
	down    bool
	faults  []string // of the next calls of Submit: "", "lost" for an answer that is, "refused"
	overlap string   // the first time that two runs of a pipeline were under way
}

func newRunner(clock interface{ Now() time.Time }) *runner {
	return &runner{clock: clock, runs: map[string]*workflows.Run{}}
}

func (r *runner) Submit(_ context.Context, q workflows.Request) (workflows.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fault := ""
	if len(r.faults) > 0 {
		fault, r.faults = r.faults[0], r.faults[1:]
	}
	if r.down || fault == "refused" {
		return workflows.Run{}, errDown
	}
	if old := r.runs[q.RunID]; old != nil {
		if old.Pipeline != q.Pipeline || !maps.Equal(old.Parameters, q.Parameters) {
			return workflows.Run{}, schemas.Errorf(schemas.CodeConflict, "run %s was another", q.RunID)
		}
		return old.Clone(), nil
	}
	for _, other := range r.runs {
		if other.Pipeline == q.Pipeline && !other.Phase.Done() && r.overlap == "" {
			r.overlap = other.ID + " and " + q.RunID
		}
	}
	now := r.clock.Now()
	run := &workflows.Run{ID: q.RunID, Pipeline: q.Pipeline, Parameters: q.Parameters, Phase: workflows.Running, Submitted: now, Started: &now,
		Steps: []workflows.StepRecord{{Step: "step", Phase: workflows.Running}}}
	r.runs[q.RunID] = run
	if fault == "lost" {
		return workflows.Run{}, errDown
	}
	return run.Clone(), nil
}

func (r *runner) Get(_ context.Context, id string) (workflows.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.runs[id]; run != nil {
		return run.Clone(), nil
	}
	return workflows.Run{}, schemas.Errorf(schemas.CodeNotFound, "run %q: no such run", id)
}

func (r *runner) List(context.Context, workflows.ListOptions) ([]workflows.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists++
	if r.down {
		return nil, errDown
	}
	var out []workflows.Run
	for _, id := range slices.Sorted(maps.Keys(r.runs)) {
		out = append(out, r.runs[id].Clone())
	}
	return out, nil
}

// finish ends the runs of a pipeline that are under way; of all where none is named.
func (r *runner) finish(pipeline string, phase workflows.Phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if !run.Phase.Done() && (pipeline == "" || run.Pipeline == pipeline) {
			now := r.clock.Now()
			run.Phase, run.Finished, run.Message = phase, &now, ""
			if phase == workflows.Failed {
				run.Message = "step collector: exit code 65"
			}
			run.Steps[0].Phase = phase
		}
	}
}

func (r *runner) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.runs))
}

// world is an installation whose clock the test moves.
type world struct {
	*testing.T
	clock     *clocktesting.FakeClock
	cluster   *cluster
	runs      *runner
	store     *artifact.Store
	storeDown bool
	suspended map[string]bool
	config    controller.Config
	*controller.Controller

	mu      sync.Mutex
	notices []string
	logs    strings.Builder
	written int
}

func newWorld(t *testing.T, change ...func(*controller.Config)) *world {
	clock := clocktesting.NewFakeClock(noon)
	w := &world{T: t, clock: clock, cluster: &cluster{}, runs: newRunner(clock), store: artifact.New(membucket.New(clock), artifact.Options{Clock: clock}), suspended: map[string]bool{}}
	w.config = controller.Config{
		Cluster: w.cluster, Runs: w.runs, Pipelines: workflows.Pipelines(), Version: "test", Clock: clock,
		Store: func(context.Context) (*artifact.Store, error) {
			if w.storeDown {
				return nil, errDown
			}
			return w.store, nil
		},
		Plans: []controller.Plan{
			plan(t, "collect", "*/15 * * * *", 10*time.Minute),
			plan(t, "train", "5 0 * * *", time.Hour),
			plan(t, "infer", "*/15 * * * *", 10*time.Minute),
		},
		Suspended: func(context.Context) (map[string]bool, error) { return maps.Clone(w.suspended), nil },
		Notify: func(n controller.Notice) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notices = append(w.notices, n.Reason+" "+n.Message)
		},
		Logger: slog.New(slog.NewTextHandler(&w.logs, nil)),
	}
	for _, f := range change {
		f(&w.config)
	}
	w.restart()
	return w
}

func plan(t *testing.T, pipeline, cron string, deadline time.Duration) controller.Plan {
	s, err := schedule.Parse([]string{cron}, "")
	if err != nil {
		t.Fatal(err)
	}
	return controller.Plan{Pipeline: pipeline, Schedule: s, Deadline: deadline}
}

// restart has another controller take over, which knows nothing of what the one before
// remembered.
func (w *world) restart() {
	w.Helper()
	c, err := controller.New(w.config)
	if err != nil {
		w.Fatal(err)
	}
	w.Controller = c
}

// turn takes one turn of each task, which must succeed.
func (w *world) turn(tasks ...string) {
	w.Helper()
	for _, task := range tasks {
		if _, err := w.Turn(w.Context(), task, w.clock.Now()); err != nil {
			w.Fatalf("%s at %s: %v", task, w.clock.Now().Format(time.TimeOnly), err)
		}
	}
}

func (w *world) at(text string) {
	w.Helper()
	clock, err := time.Parse("15:04", text)
	if err != nil {
		w.Fatal(err)
	}
	w.clock.SetTime(noon.Truncate(24 * time.Hour).Add(clock.Sub(clock.Truncate(24 * time.Hour))))
}

// told returns what was notified since the last call.
func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.notices
	w.notices = nil
	return out
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) run() string { w.written++; return fmt.Sprint("written-", w.written) }

// collect adds samples of components up to now, from some days before.
func (w *world) collect(days float64, components ...string) {
	w.Helper()
	now := w.clock.Now().Truncate(schemas.DefaultStep)
	set := columnar.NewSamples(schemas.DefaultStep)
	for _, name := range components {
		for t := now.Add(-time.Duration(days * 24 * float64(time.Hour))).Truncate(schemas.DefaultStep); t.Before(now); t = t.Add(schemas.DefaultStep) {
			w.must(set.Add(&schemas.Sample{Component: web(name), Start: t, CPU: &schemas.Usage{Mean: 2, Max: 2, Count: 15}}))
		}
	}
	table := samples.New(w.store, samples.Options{})
	stage := table.Stage(w.run())
	w.must(stage.Add(w.Context(), set))
	m, err := stage.Commit(w.Context())
	w.must(err)
	_, err = table.Merge(w.Context(), m, now)
	w.must(err)
}

// decide keeps a decision about each component, made now and good for an hour.
func (w *world) decide(reason schemas.Reason, n int32, components ...string) {
	w.Helper()
	now := w.clock.Now()
	s := forecasts.Set{Run: w.run(), Now: now, DataUntil: now.Truncate(schemas.DefaultStep)}
	for _, name := range components {
		s.Decisions = append(s.Decisions, schemas.Decision{
			Component: web(name), Time: now, Run: s.Run, Policy: schemas.DefaultPolicy(), From: now, To: now.Add(time.Hour),
			MinReplicas: n, MaxReplicas: 10, Reason: reason, Message: "because " + string(reason), Expires: now.Add(time.Hour),
		})
	}
	_, _, err := forecasts.Write(w.Context(), w.store, "test", s, nil)
	w.must(err)
}

// train accepts models that have seen what came before now.
func (w *world) train() {
	w.Helper()
	run, now := w.run(), w.clock.Now()
	_, _, err := w.store.Advance(w.Context(), schemas.ModelsHead, run, func(*artifact.Head) (artifact.Manifest, error) {
		return artifact.Manifest{Kind: "models", Run: run, From: now.Add(-24 * time.Hour), To: now}, nil
	})
	w.must(err)
}

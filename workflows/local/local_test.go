package local_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	workflowstest.Run(t, func(t *testing.T, w *workflowstest.World) workflows.Submitter {
		job := func(ctx context.Context, a local.Args) error {
			return w.Execute(ctx, workflowstest.Event{Run: a.RunID, Step: a.Step, Shard: a.Shard, Attempt: a.Attempt, Flags: a.Flags, Trace: a.Trace}, a.SetShards)
		}
		return open(t, local.Config{Jobs: jobs(w.Pipelines, job), Pipelines: w.Pipelines, Backoff: time.Nanosecond, Parallelism: 4, Recorder: w})
	})
}

// jobs gives every step of the pipelines the same job.
func jobs(pipelines []workflows.Pipeline, job local.Func) map[string]local.Func {
	m := map[string]local.Func{}
	for _, p := range pipelines {
		for i := range p.Steps {
			m[p.Steps[i].JobName()] = job
		}
	}
	return m
}

func open(t *testing.T, c local.Config) *local.Submitter {
	t.Helper()
	s, err := local.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run submits one run and returns its final record.
func run(t *testing.T, s *local.Submitter, pipeline string) workflows.Run {
	t.Helper()
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: pipeline, RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Wait(t.Context(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func one(step workflows.Step) []workflows.Pipeline {
	return []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{step}}}
}

func TestNewRefusesWhatCannotRun(t *testing.T) {
	nothing := func(context.Context, local.Args) error { return nil }
	for _, tt := range []struct {
		name string
		c    local.Config
		want string
	}{
		{"a job that is not there", local.Config{Jobs: map[string]local.Func{"b": nothing, "a": nothing}, Pipelines: one(workflows.Step{Name: "s", Job: "c"})},
			`local submitter: pipeline p: step "s" needs the job "c", which is not among [a b]`},
		{"a pipeline that is not valid", local.Config{Pipelines: []workflows.Pipeline{{Name: "p"}}},
			"pipeline p: must have at least one step"},
		{"two pipelines of one name", local.Config{Jobs: map[string]local.Func{"s": nothing}, Pipelines: append(one(workflows.Step{Name: "s"}), one(workflows.Step{Name: "s"})...)},
			`local submitter: pipeline names must be unique, but "p" occurs twice`},
		{"negative parallelism", local.Config{Parallelism: -1}, "local submitter: Parallelism must not be negative, but is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := local.New(tt.c)
			if err == nil || err.Error() != tt.want || schemas.CodeOf(err) != schemas.CodeInvalidConfig {
				t.Errorf("New = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := open(t, local.Config{
			Jobs: map[string]local.Func{"s": func(context.Context, local.Args) error {
				at = append(at, time.Since(start))
				return schemas.Errorf(schemas.CodeUnavailable, "no answer")
			}},
			Pipelines: one(workflows.Step{Name: "s", Attempts: 7}),
		})
		r := run(t, s, "p")
		want := []time.Duration{0, 10 * time.Second, 30 * time.Second, 70 * time.Second, 150 * time.Second, 270 * time.Second, 390 * time.Second}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
		if r.Phase != workflows.Failed || r.Message != "step s: no answer" || r.Finished.Sub(*r.Started) != 390*time.Second {
			t.Errorf("run is %s (%s) after %s", r.Phase, r.Message, r.Finished.Sub(*r.Started))
		}
	})
}

func TestStopEndsABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, local.Config{
			Jobs: map[string]local.Func{"s": func(context.Context, local.Args) error {
				return schemas.Errorf(schemas.CodeUnavailable, "no answer")
			}},
			Pipelines: one(workflows.Step{Name: "s", Attempts: 2}),
			Backoff:   time.Hour, MaxBackoff: time.Hour,
		})
		if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "p", RunID: "r1"}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		synctest.Wait() // until the step waits to be tried again
		if err := s.Stop(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		r, err := s.Wait(t.Context(), "r1")
		if err != nil || r.Phase != workflows.Stopped || time.Since(start) != 0 {
			t.Errorf("run is %s after %s, %v, want Stopped at once", r.Phase, time.Since(start), err)
		}
		if want := "the run was stopped while the step waited to be tried again after: no answer"; r.Steps[0].Message != want {
			t.Errorf("message is %q, want %q", r.Steps[0].Message, want)
		}
	})
}

func TestParallelismIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		shards := make([]string, 20)
		for i := range shards {
			shards[i] = fmt.Sprint(i)
		}
		s := open(t, local.Config{
			Jobs: map[string]local.Func{
				"split": func(_ context.Context, a local.Args) error { a.SetShards(shards); return nil },
				"work": func(context.Context, local.Args) error {
					mu.Lock()
					running++
					most = max(most, running)
					mu.Unlock()
					time.Sleep(time.Second) // in the bubble's time
					mu.Lock()
					running--
					mu.Unlock()
					return nil
				},
			},
			Pipelines:   []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{{Name: "split"}, {Name: "work", FanOut: "split"}}}},
			Parallelism: 3,
		})
		r := run(t, s, "p")
		if r.Phase != workflows.Succeeded || most != 3 || r.Finished.Sub(*r.Started) != 7*time.Second {
			t.Errorf("run is %s after %s with up to %d shards at once, want Succeeded after 7s with 3", r.Phase, r.Finished.Sub(*r.Started), most)
		}
	})
}

func TestPanicFailsTheStepAndNothingElse(t *testing.T) {
	s := open(t, local.Config{
		Jobs: map[string]local.Func{
			"bad":  func(context.Context, local.Args) error { panic("index out of range") },
			"good": func(context.Context, local.Args) error { return nil },
		},
		Pipelines: []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{{Name: "bad", Attempts: 3}, {Name: "good"}}}},
	})
	r := run(t, s, "p")
	if r.Phase != workflows.Failed || r.Message != "step bad: job bad panicked: index out of range" {
		t.Errorf("run is %s (%s)", r.Phase, r.Message)
	}
	if bad, good := r.Steps[0], r.Steps[1]; bad.Attempts != 1 || *bad.ExitCode != workflows.ExitSoftware || good.Phase != workflows.Succeeded {
		t.Errorf("bad ended with %d after %d attempts and good is %s", *bad.ExitCode, bad.Attempts, good.Phase)
	}
}

func TestShardsMustHaveNamesOfTheirOwn(t *testing.T) {
	for _, shards := range [][]string{{"0", "1", "0"}, {""}} {
		s := open(t, local.Config{
			Jobs: map[string]local.Func{
				"split": func(_ context.Context, a local.Args) error { a.SetShards(shards); return nil },
				"work":  func(context.Context, local.Args) error { t.Error("work began"); return nil },
			},
			Pipelines: []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{{Name: "split"}, {Name: "work", FanOut: "split"}}}},
		})
		if r := run(t, s, "p"); r.Phase != workflows.Failed || !strings.Contains(r.Message, "must name each shard once") {
			t.Errorf("with shards %q the run is %s (%s)", shards, r.Phase, r.Message)
		}
	}
}

func TestProgressIsSeenWhileAStepRuns(t *testing.T) {
	var s *local.Submitter
	var seen workflows.Progress
	s = open(t, local.Config{
		Jobs: map[string]local.Func{"s": func(ctx context.Context, a local.Args) error {
			a.Progress(3, 7)
			r, err := s.Get(ctx, a.RunID)
			seen = r.Steps[0].Progress
			return err
		}},
		Pipelines: one(workflows.Step{Name: "s"}),
	})
	run(t, s, "p")
	if want := (workflows.Progress{Done: 3, Total: 7}); seen != want {
		t.Errorf("progress is %v, want %v", seen, want)
	}
}

func TestTooManyPendingRunsAreRefusedForNow(t *testing.T) {
	release := make(chan struct{})
	s := open(t, local.Config{
		Jobs:       map[string]local.Func{"s": func(context.Context, local.Args) error { <-release; return nil }},
		Pipelines:  one(workflows.Step{Name: "s"}),
		MaxPending: 2,
	})
	var err error
	accepted := 0
	for i := range 4 {
		if _, err = s.Submit(t.Context(), workflows.Request{Pipeline: "p", RunID: fmt.Sprint("r", i)}); err != nil {
			break
		}
		accepted++
	}
	close(release)
	// The first may or may not have left the queue by then.
	if schemas.CodeOf(err) != schemas.CodeUnavailable || accepted < 2 || accepted > 3 {
		t.Errorf("%d runs were accepted, then %v; want 2 or 3 and then %s", accepted, err, schemas.CodeUnavailable)
	}
}

func TestOldRecordsAreForgotten(t *testing.T) {
	s := open(t, local.Config{
		Jobs:      map[string]local.Func{"s": func(context.Context, local.Args) error { return nil }},
		Pipelines: one(workflows.Step{Name: "s"}),
		KeepRuns:  2,
	})
	for i := range 5 {
		id := fmt.Sprint("r", i)
		if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "p", RunID: id}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), workflows.ListOptions{})
	if err != nil || len(list) != 2 || list[0].ID != "r4" || list[1].ID != "r3" {
		t.Errorf("List = %v, %v, want r4 and r3", list, err)
	}
	if _, err := s.Get(t.Context(), "r2"); schemas.CodeOf(err) != schemas.CodeNotFound {
		t.Errorf("Get of a forgotten run = %v, want %s", err, schemas.CodeNotFound)
	}
}

func TestCloseStopsEveryRunAndRefusesMore(t *testing.T) {
	begun := make(chan struct{})
	s := open(t, local.Config{
		Jobs: map[string]local.Func{"s": func(ctx context.Context, _ local.Args) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}},
		Pipelines: one(workflows.Step{Name: "s"}),
	})
	for _, id := range []string{"r1", "r2"} {
		if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "p", RunID: id}); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), workflows.ListOptions{Phase: workflows.Stopped})
	if err != nil || len(list) != 2 {
		t.Errorf("stopped runs are %v, %v, want both", list, err)
	}
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "p", RunID: "r3"}); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("Submit after Close = %v, want %s", err, schemas.CodeUnavailable)
	}
}

// recorder keeps the phases of the records it is given.
type recorder struct {
	mu    sync.Mutex
	lines []string
	err   error
}

func (r *recorder) Record(_ context.Context, x workflows.Run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := []string{string(x.Phase)}
	for _, s := range x.Steps {
		line = append(line, string(s.Phase))
	}
	r.lines = append(r.lines, strings.Join(line, " "))
	return r.err
}

func TestEveryChangeOfPhaseIsRecordedInOrder(t *testing.T) {
	for _, err := range []error{nil, errors.New("the disk is full")} {
		r := &recorder{err: err}
		s := open(t, local.Config{
			Jobs:      map[string]local.Func{"a": func(context.Context, local.Args) error { return nil }, "b": func(context.Context, local.Args) error { return workflowstest.Exit(65) }},
			Pipelines: []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{{Name: "a"}, {Name: "b", DependsOn: []string{"a"}}, {Name: "c", Job: "a", DependsOn: []string{"b"}}}}},
			Recorder:  r,
		})
		run(t, s, "p")
		want := []string{
			"Running Pending Pending Pending",
			"Running Running Pending Pending",
			"Running Succeeded Pending Pending",
			"Running Succeeded Running Pending",
			"Running Succeeded Failed Pending",
			"Running Succeeded Failed Omitted",
			"Failed Succeeded Failed Omitted",
		}
		if diff := cmp.Diff(want, r.lines); diff != "" {
			t.Errorf("records with a recorder that returns %v (-want +got):\n%s", err, diff)
		}
	}
}

func TestARecordIsACopy(t *testing.T) {
	s := open(t, local.Config{
		Jobs:      map[string]local.Func{"s": func(context.Context, local.Args) error { return nil }},
		Pipelines: one(workflows.Step{Name: "s"}),
	})
	r := run(t, s, "p")
	want := slices.Clone(r.Steps)
	r.Steps[0].Phase = workflows.Failed
	again, err := s.Get(t.Context(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.Steps); diff != "" {
		t.Errorf("the record changed with a copy of it (-want +got):\n%s", diff)
	}
}

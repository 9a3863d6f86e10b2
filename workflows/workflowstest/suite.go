package workflowstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// New makes a submitter for a world. It registers what must be cleaned up with
// t. Pauses between attempts should be short.
type New func(t *testing.T, w *World) workflows.Submitter

// Run holds a submitter to the contract of [workflows.Submitter].
func Run(t *testing.T, newSubmitter New) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, newSubmitter New)
	}{
		{"steps run once each and in order", testOrder},
		{"a fan-out runs once a shard and holds back what follows", testFanOut},
		{"a fan-out over no shard succeeds", testEmptyFanOut},
		{"a fan-out over a step that named no shards fails", testUnnamedShards},
		{"a temporary failure is tried again", testRetry},
		{"a temporary failure that stays is given up after the step's attempts", testRetryExhausted},
		{"a permanent failure is not tried again and stops what follows, not what stands beside", testPermanentFailure},
		{"a shard that fails leaves the other shards alone", testShardFailure},
		{"a run-id starts one run however often it is submitted", testIdempotent},
		{"a run-id cannot be used for another request", testConflict},
		{"a request that cannot be right is refused", testRefused},
		{"an unknown run-id is not found", testNotFound},
		{"parameters reach the steps that they concern", testParameters},
		{"steps are told the trace that their run belongs to", testTrace},
		{"runs of one pipeline wait for each other in order", testOverlap},
		{"runs of different pipelines do not wait for each other", testIndependence},
		{"a running run can be stopped", testStopRunning},
		{"a pending run can be stopped", testStopPending},
		{"stopping a finished run changes nothing", testStopDone},
		{"a list is newest first and can be narrowed", testList},
		{"waiting ends with its context", testWait},
		{"the record of a run is kept once it has ended", testRecord},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newSubmitter) })
	}
}

// diamond is a pipeline whose b and c may run side by side.
func diamond() workflows.Pipeline {
	return workflows.Pipeline{Name: "diamond", Parameters: []workflows.Parameter{{Name: "now"}, {Name: "scope", Default: "all"}, {Name: "depth", Jobs: []string{"c"}}}, Steps: []workflows.Step{
		{Name: "a", Attempts: 3},
		{Name: "b", DependsOn: []string{"a"}, Args: []string{"-fast"}, Attempts: 3},
		{Name: "c", DependsOn: []string{"a"}, Attempts: 3},
		{Name: "d", DependsOn: []string{"b", "c"}},
	}}
}

// fan is a pipeline with a fan-out in its middle.
func fan() workflows.Pipeline {
	return workflows.Pipeline{Name: "fan", Steps: []workflows.Step{
		{Name: "split"},
		{Name: "work", FanOut: "split", Attempts: 2},
		{Name: "join", DependsOn: []string{"work"}},
	}}
}

// single is a pipeline of one step.
func single(name string) workflows.Pipeline {
	return workflows.Pipeline{Name: name, Steps: []workflows.Step{{Name: name}}}
}

func submit(t *testing.T, s workflows.Submitter, pipeline, run string) workflows.Run {
	t.Helper()
	r, err := s.Submit(t.Context(), workflows.Request{Pipeline: pipeline, RunID: run})
	if err != nil {
		t.Fatalf("Submit(%s, %s): %v", pipeline, run, err)
	}
	return r
}

func wait(t *testing.T, s workflows.Submitter, run string) workflows.Run {
	t.Helper()
	r, err := s.Wait(t.Context(), run)
	if err != nil {
		t.Fatalf("Wait(%s): %v", run, err)
	}
	return r
}

// summary is what tests compare of a step record: its phase, attempts and exit
// code, as in "Succeeded 1 0"; "-" where there is no exit code.
func summary(r workflows.Run) map[string]string {
	m := map[string]string{}
	for _, s := range r.Steps {
		code := "-"
		if s.ExitCode != nil {
			code = fmt.Sprint(*s.ExitCode)
		}
		key := s.Step
		if s.Shard != "" {
			key += "/" + s.Shard
		}
		m[key] = fmt.Sprintf("%s %d %s", s.Phase, s.Attempts, code)
	}
	return m
}

func check(t *testing.T, r workflows.Run, phase workflows.Phase, want map[string]string) {
	t.Helper()
	if r.Phase != phase {
		t.Errorf("run %s is %s (%s), want %s", r.ID, r.Phase, r.Message, phase)
	}
	if diff := cmp.Diff(want, summary(r)); diff != "" {
		t.Errorf("steps of run %s (-want +got):\n%s", r.ID, diff)
	}
	if phase == workflows.Failed && r.Message == "" {
		t.Errorf("run %s failed without a message", r.ID)
	}
	if phase.Done() && (r.Finished == nil || r.Finished.Before(r.Submitted)) {
		t.Errorf("run %s was submitted at %s and finished at %v", r.ID, r.Submitted, r.Finished)
	}
}

// before checks that all of a step's attempts ended before another step began.
func before(t *testing.T, w *World, run, first, second string) {
	t.Helper()
	end, begin := w.order(run, first, true), w.order(run, second, false)
	if end < 0 || begin < 0 || end > begin {
		t.Errorf("run %s: step %s ended as event %d and step %s began as event %d, want that order: %v", run, first, end, second, begin, w.Events())
	}
}

func testOrder(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}}
	s := newSubmitter(t, w)
	submit(t, s, "diamond", "r1")
	r := wait(t, s, "r1")
	check(t, r, workflows.Succeeded, map[string]string{"a": "Succeeded 1 0", "b": "Succeeded 1 0", "c": "Succeeded 1 0", "d": "Succeeded 1 0"})
	for _, arrow := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "d"}, {"c", "d"}} {
		before(t, w, "r1", arrow[0], arrow[1])
	}
	if n := len(w.Events()); n != 8 {
		t.Errorf("there were %d events, want 8: %v", n, w.Events())
	}
	if p := r.Progress(); p != (workflows.Progress{Done: 4, Total: 4}) {
		t.Errorf("progress is %v, want 4 of 4", p)
	}
}

func testFanOut(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{fan()}, Behaviours: map[string]Behaviour{"split": {Shards: []string{"0", "1", "2"}}}}
	s := newSubmitter(t, w)
	submit(t, s, "fan", "r1")
	check(t, wait(t, s, "r1"), workflows.Succeeded, map[string]string{
		"split": "Succeeded 1 0", "work/0": "Succeeded 1 0", "work/1": "Succeeded 1 0", "work/2": "Succeeded 1 0", "join": "Succeeded 1 0",
	})
	before(t, w, "r1", "split", "work")
	before(t, w, "r1", "work", "join")
}

func testEmptyFanOut(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{fan()}, Behaviours: map[string]Behaviour{"split": {Shards: []string{}}}}
	s := newSubmitter(t, w)
	submit(t, s, "fan", "r1")
	check(t, wait(t, s, "r1"), workflows.Succeeded, map[string]string{"split": "Succeeded 1 0", "work": "Succeeded 0 -", "join": "Succeeded 1 0"})
	if w.order("r1", "work", false) >= 0 {
		t.Errorf("work began without a shard: %v", w.Events())
	}
}

func testUnnamedShards(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{fan()}}
	s := newSubmitter(t, w)
	submit(t, s, "fan", "r1")
	r := wait(t, s, "r1")
	if r.Phase != workflows.Failed || w.order("r1", "work", false) >= 0 || w.order("r1", "join", false) >= 0 {
		t.Errorf("run is %s after %v, want Failed and nothing after split", r.Phase, w.Events())
	}
}

func testRetry(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}, Behaviours: map[string]Behaviour{"b": {Exits: []int{75, 75, 0}}}}
	s := newSubmitter(t, w)
	submit(t, s, "diamond", "r1")
	check(t, wait(t, s, "r1"), workflows.Succeeded, map[string]string{"a": "Succeeded 1 0", "b": "Succeeded 3 0", "c": "Succeeded 1 0", "d": "Succeeded 1 0"})
	before(t, w, "r1", "b", "d")
}

func testRetryExhausted(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}, Behaviours: map[string]Behaviour{"b": {Exits: []int{75}}}}
	s := newSubmitter(t, w)
	submit(t, s, "diamond", "r1")
	check(t, wait(t, s, "r1"), workflows.Failed, map[string]string{"a": "Succeeded 1 0", "b": "Failed 3 75", "c": "Succeeded 1 0", "d": "Omitted 0 -"})
}

func testPermanentFailure(t *testing.T, newSubmitter New) {
	for _, code := range []int{1, 65, 70, 78} {
		t.Run(fmt.Sprintf("exit code %d", code), func(t *testing.T) {
			w := &World{Pipelines: []workflows.Pipeline{diamond()}, Behaviours: map[string]Behaviour{"b": {Exits: []int{code, 0}}}}
			s := newSubmitter(t, w)
			submit(t, s, "diamond", "r1")
			check(t, wait(t, s, "r1"), workflows.Failed, map[string]string{
				"a": "Succeeded 1 0", "b": fmt.Sprintf("Failed 1 %d", code), "c": "Succeeded 1 0", "d": "Omitted 0 -",
			})
		})
	}
}

func testShardFailure(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{fan()}, Behaviours: map[string]Behaviour{
		"split":  {Shards: []string{"0", "1", "2"}},
		"work/0": {Exits: []int{65}},
		"work/1": {Exits: []int{75, 0}},
	}}
	s := newSubmitter(t, w)
	submit(t, s, "fan", "r1")
	check(t, wait(t, s, "r1"), workflows.Failed, map[string]string{
		"split": "Succeeded 1 0", "work/0": "Failed 1 65", "work/1": "Succeeded 2 0", "work/2": "Succeeded 1 0", "join": "Omitted 0 -",
	})
}

func testIdempotent(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}}
	s := newSubmitter(t, w)
	var callers sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		callers.Go(func() {
			_, errs[i] = s.Submit(t.Context(), workflows.Request{Pipeline: "diamond", RunID: "r1"})
		})
	}
	callers.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	first := wait(t, s, "r1")
	again := submit(t, s, "diamond", "r1")
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("submitting a finished run again (-first +again):\n%s", diff)
	}
	if n := len(w.Events()); n != 8 {
		t.Errorf("there were %d events, want the 8 of one run: %v", n, w.Events())
	}
}

func testConflict(t *testing.T, newSubmitter New) {
	s := newSubmitter(t, &World{Pipelines: []workflows.Pipeline{diamond(), single("other")}})
	submit(t, s, "diamond", "r1")
	for _, r := range []workflows.Request{
		{Pipeline: "other", RunID: "r1"},
		{Pipeline: "diamond", RunID: "r1", Parameters: map[string]string{"now": "2026-01-01T00:00:00Z"}},
	} {
		if _, err := s.Submit(t.Context(), r); schemas.CodeOf(err) != schemas.CodeConflict {
			t.Errorf("Submit(%v) = %v, want %s", r, err, schemas.CodeConflict)
		}
	}
	// Giving a parameter its default is no difference.
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "diamond", RunID: "r1", Parameters: map[string]string{"scope": "all"}}); err != nil {
		t.Errorf("Submit with a parameter at its default: %v", err)
	}
	wait(t, s, "r1")
}

func testRefused(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}}
	s := newSubmitter(t, w)
	for _, r := range []workflows.Request{
		{Pipeline: "triangle", RunID: "r1"},
		{Pipeline: "diamond", RunID: ""},
		{Pipeline: "diamond", RunID: "../r1"},
		{Pipeline: "diamond", RunID: "r1", Parameters: map[string]string{"than": "ks"}},
	} {
		if _, err := s.Submit(t.Context(), r); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("Submit(%v) = %v, want %s", r, err, schemas.CodeInvalidConfig)
		}
	}
	if list, err := s.List(t.Context(), workflows.ListOptions{}); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want none", list, err)
	}
}

func testNotFound(t *testing.T, newSubmitter New) {
	s := newSubmitter(t, &World{Pipelines: []workflows.Pipeline{diamond()}})
	for name, call := range map[string]func() error{
		"Get":  func() error { _, err := s.Get(t.Context(), "r1"); return err },
		"Stop": func() error { return s.Stop(t.Context(), "r1") },
		"Wait": func() error { _, err := s.Wait(t.Context(), "r1"); return err },
	} {
		if err := call(); schemas.CodeOf(err) != schemas.CodeNotFound {
			t.Errorf("%s of an unknown run = %v, want %s", name, err, schemas.CodeNotFound)
		}
	}
}

func testParameters(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}}
	s := newSubmitter(t, w)
	const instant = "2026-01-01T00:00:00Z"
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "diamond", RunID: "r1", Parameters: map[string]string{"now": instant, "depth": "2"}}); err != nil {
		t.Fatal(err)
	}
	r := wait(t, s, "r1")
	if diff := cmp.Diff(map[string]string{"now": instant, "scope": "all", "depth": "2"}, r.Parameters); diff != "" {
		t.Errorf("parameters of the run (-want +got):\n%s", diff)
	}
	for _, e := range w.Events() {
		want := []string{"-now=" + instant, "-scope=all"}
		switch e.Step {
		case "b":
			want = append([]string{"-fast"}, want...)
		case "c":
			want = append([]string{"-depth=2"}, want...)
		}
		if diff := cmp.Diff(want, e.Flags); diff != "" {
			t.Errorf("flags of step %s (-want +got):\n%s", e.Step, diff)
		}
	}
}

func testRecord(t *testing.T, newSubmitter New) {
	w := &World{
		Pipelines: []workflows.Pipeline{diamond(), single("bad"), single("long")},
		Behaviours: map[string]Behaviour{
			"bad": {Exits: []int{workflows.ExitData}}, "long": {Blocks: true},
		},
	}
	s := newSubmitter(t, w)
	parameters := map[string]string{"scope": "some"}
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "diamond", RunID: "r1", Parameters: parameters}); err != nil {
		t.Fatal(err)
	}
	submit(t, s, "bad", "r2")
	submit(t, s, "long", "r3")
	w.await(t, "r3", "long")
	if got := w.recorded("r3"); len(got) != 0 {
		t.Errorf("the record %v of run r3 was kept before it ended", got)
	}
	if err := s.Stop(t.Context(), "r3"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []workflows.Run{
		{ID: "r1", Pipeline: "diamond", Parameters: parameters, Phase: workflows.Succeeded},
		{ID: "r2", Pipeline: "bad", Phase: workflows.Failed},
		{ID: "r3", Pipeline: "long", Phase: workflows.Stopped},
	} {
		wait(t, s, want.ID)
		kept := w.recorded(want.ID)
		if len(kept) != 1 {
			t.Errorf("of run %s the records %v were kept, want one", want.ID, kept)
			continue
		}
		r := kept[0]
		// What keeps the record may not know why a step was ended.
		if r.Phase == workflows.Failed && want.Phase == workflows.Stopped {
			r.Phase = workflows.Stopped
		}
		if r.Pipeline != want.Pipeline || r.Phase != want.Phase || !maps.Equal(r.Parameters, want.Parameters) || r.Finished == nil {
			t.Errorf("the record of run %s is %+v, want %+v with a time at which it ended", want.ID, r, want)
		}
	}
}

func testTrace(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond(), fan()}, Behaviours: map[string]Behaviour{"split": {Shards: []string{"x", "y"}}, "a": {Exits: []int{workflows.ExitTemporary, workflows.ExitOK}}}}
	s := newSubmitter(t, w)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ask := func(pipeline, run, trace string) workflows.Run {
		r, err := s.Submit(t.Context(), workflows.Request{Pipeline: pipeline, RunID: run, Trace: trace})
		if err != nil {
			t.Fatalf("Submit(%s, %s): %v", pipeline, run, err)
		}
		return r
	}
	ask("diamond", "traced", trace)
	// Who asks again asks for the same run, with another trace or with none.
	ask("diamond", "traced", "")
	if r := ask("diamond", "traced", strings.Replace(trace, "0af7", "0af8", 1)); len(r.Parameters) != 1 || r.Parameters["scope"] != "all" {
		t.Errorf("the record has the parameters %v, want those of the pipeline alone", r.Parameters)
	}
	ask("fan", "fanned", trace)
	wait(t, s, "traced")
	wait(t, s, "fanned")
	ask("diamond", "untraced", "")
	wait(t, s, "untraced")
	n := 0
	for _, e := range w.Events() {
		want := trace
		if e.Run == "untraced" {
			want = ""
		}
		if e.Trace != want {
			t.Errorf("attempt %d of step %s%s of run %s belongs to trace %q, want %q", e.Attempt, e.Step, e.Shard, e.Run, e.Trace, want)
		}
		n++
	}
	if n < 24 {
		t.Errorf("only %d events were looked at", n)
	}
}

func testOverlap(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}}
	s := newSubmitter(t, w)
	runs := []string{"r3", "r1", "r2"}
	for _, run := range runs {
		submit(t, s, "diamond", run)
	}
	for _, run := range runs {
		wait(t, s, run)
	}
	var order []string
	for _, e := range w.Events() {
		order = append(order, e.Run)
	}
	if got := slices.Compact(order); !slices.Equal(got, runs) {
		t.Errorf("events belong to the runs %v, want %v one after the other", got, runs)
	}
}

func testIndependence(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{single("x"), single("y")}, Behaviours: map[string]Behaviour{"x": {Blocks: true}}}
	s := newSubmitter(t, w)
	submit(t, s, "x", "r1")
	w.await(t, "r1", "x")
	submit(t, s, "y", "r2")
	check(t, wait(t, s, "r2"), workflows.Succeeded, map[string]string{"y": "Succeeded 1 0"})
	if err := s.Stop(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	wait(t, s, "r1")
}

func testStopRunning(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{diamond()}, Behaviours: map[string]Behaviour{"b": {Blocks: true}}}
	s := newSubmitter(t, w)
	submit(t, s, "diamond", "r1")
	w.await(t, "r1", "b")
	w.await(t, "r1", "c")
	if r, err := s.Get(t.Context(), "r1"); err != nil || r.Phase != workflows.Running {
		t.Errorf("Get of a run with a running step = %s, %v, want Running", r.Phase, err)
	}
	if err := s.Stop(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	r := wait(t, s, "r1")
	if r.Phase != workflows.Stopped {
		t.Errorf("run is %s, want Stopped", r.Phase)
	}
	phases := map[string]workflows.Phase{}
	for _, step := range r.Steps {
		phases[step.Step] = step.Phase
	}
	delete(phases, "c") // may have ended before
	if diff := cmp.Diff(map[string]workflows.Phase{"a": workflows.Succeeded, "b": workflows.Stopped, "d": workflows.Omitted}, phases); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	if w.order("r1", "b", true) < 0 {
		t.Error("the run was done before its step had let go")
	}
}

func testStopPending(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{single("x")}, Behaviours: map[string]Behaviour{"x": {Blocks: true}}}
	s := newSubmitter(t, w)
	submit(t, s, "x", "r1")
	w.await(t, "r1", "x")
	if r := submit(t, s, "x", "r2"); r.Phase != workflows.Pending {
		t.Errorf("the second run is %s, want Pending", r.Phase)
	}
	if err := s.Stop(t.Context(), "r2"); err != nil {
		t.Fatal(err)
	}
	check(t, wait(t, s, "r2"), workflows.Stopped, map[string]string{"x": "Omitted 0 -"})
	if err := s.Stop(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	wait(t, s, "r1")
	if w.order("r2", "x", false) >= 0 {
		t.Errorf("a run that was stopped while it was pending began: %v", w.Events())
	}
}

func testStopDone(t *testing.T, newSubmitter New) {
	s := newSubmitter(t, &World{Pipelines: []workflows.Pipeline{single("x")}})
	submit(t, s, "x", "r1")
	want := wait(t, s, "r1")
	if err := s.Stop(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, wait(t, s, "r1")); diff != "" {
		t.Errorf("the record changed (-before +after):\n%s", diff)
	}
}

func testList(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{single("x"), single("y")}, Behaviours: map[string]Behaviour{"y": {Exits: []int{65}}}}
	s := newSubmitter(t, w)
	for _, r := range [][2]string{{"x", "r1"}, {"y", "r2"}, {"x", "r3"}} {
		submit(t, s, r[0], r[1])
		wait(t, s, r[1])
	}
	for _, tt := range []struct {
		name    string
		options workflows.ListOptions
		want    []string
	}{
		{"everything", workflows.ListOptions{}, []string{"r3", "r2", "r1"}},
		{"one pipeline", workflows.ListOptions{Pipeline: "x"}, []string{"r3", "r1"}},
		{"one phase", workflows.ListOptions{Phase: workflows.Failed}, []string{"r2"}},
		{"the newest", workflows.ListOptions{Limit: 2}, []string{"r3", "r2"}},
		{"the newest of one pipeline", workflows.ListOptions{Pipeline: "y", Limit: 1}, []string{"r2"}},
		{"nothing that fits", workflows.ListOptions{Pipeline: "z"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := s.List(t.Context(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, r.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("List (-want +got):\n%s", diff)
			}
		})
	}
}

func testWait(t *testing.T, newSubmitter New) {
	w := &World{Pipelines: []workflows.Pipeline{single("x")}, Behaviours: map[string]Behaviour{"x": {Blocks: true}}}
	s := newSubmitter(t, w)
	submit(t, s, "x", "r1")
	w.await(t, "r1", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := s.Wait(ctx, "r1"); !errors.Is(err, context.Canceled) || r.ID != "r1" || r.Phase != workflows.Running {
		t.Errorf("Wait with an ended context = %s %s, %v, want the running r1 and %v", r.ID, r.Phase, err, context.Canceled)
	}
	if err := s.Stop(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	wait(t, s, "r1")
}

package controller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/record"
)

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestPipelinesRunBySchedule(t *testing.T) {
	w := newWorld(t)
	w.at("12:00")
	w.turn("runs")
	want := []string{"collect-2026-03-16T120000Z", "infer-2026-03-16T120000Z"}
	same(t, "runs at noon", want, w.runs.ids())
	w.at("12:15")
	w.turn("runs")
	same(t, "runs while those of noon go on", want, w.runs.ids())
	w.runs.finish("", workflows.Succeeded)
	w.turn("runs", "runs")
	want = append(want[:1:1], "collect-2026-03-16T121500Z", want[1], "infer-2026-03-16T121500Z")
	same(t, "runs once they have ended", want, w.runs.ids())
	w.runs.finish("", workflows.Succeeded)
	w.restart()
	w.turn("runs")
	same(t, "runs after another controller took over", want, w.runs.ids())
}

func TestATurnSaysWhenTheNextRunIsDue(t *testing.T) {
	w := newWorld(t)
	w.at("12:03")
	next, err := w.Turn(t.Context(), "runs", w.clock.Now())
	if err != nil || !next.Equal(noon.Add(15*time.Minute)) {
		t.Errorf("next turn at %s, %v; want at 12:15", next, err)
	}
}

func TestAMissedRunIsMadeUpFor(t *testing.T) {
	w := newWorld(t)
	w.at("14:22")
	w.turn("runs")
	// Of all that were missed only the newest slot has a run, and that of the night is
	// too long ago.
	same(t, "runs", []string{"collect-2026-03-16T141500Z", "infer-2026-03-16T141500Z"}, w.runs.ids())
}

func TestWhatIsSuspendedIsNotStarted(t *testing.T) {
	w := newWorld(t, func(c *controller.Config) { c.Plans[0].Suspend = true })
	w.suspended["infer"] = true
	w.turn("runs")
	same(t, "runs", []string(nil), w.runs.ids())
	w.suspended["infer"] = false
	w.turn("runs")
	same(t, "runs once one is resumed", []string{"infer-2026-03-16T120000Z"}, w.runs.ids())
}

func TestARunWaitsForWhatItReads(t *testing.T) {
	w := newWorld(t, func(c *controller.Config) { c.Plans[2].After = "collect" })
	next, err := w.Turn(t.Context(), "runs", noon)
	if err != nil || next.Sub(noon) > 15*time.Minute {
		t.Fatalf("next turn at %s, %v", next, err)
	}
	same(t, "runs", []string{"collect-2026-03-16T120000Z"}, w.runs.ids())
	if next, _ = w.Turn(t.Context(), "runs", noon); next.Sub(noon) > 10*time.Second {
		t.Errorf("next turn at %s, although a run waits", next)
	}
	w.runs.finish("collect", workflows.Succeeded)
	w.turn("runs")
	same(t, "runs once it has ended", []string{"collect-2026-03-16T120000Z", "infer-2026-03-16T120000Z"}, w.runs.ids())
}

func TestTheFirstRunFetchesThePast(t *testing.T) {
	w := newWorld(t, func(c *controller.Config) { c.Backfill = 28 * 24 * time.Hour; c.Plans = nil })
	w.storeDown = true
	w.turn("runs")
	same(t, "runs while nobody knows what is measured", []string(nil), w.runs.ids())
	w.storeDown = false
	w.turn("store", "runs", "runs")
	same(t, "runs", []string{"full-first-2026-03-16"}, w.runs.ids())
	if run, _ := w.runs.Get(t.Context(), "full-first-2026-03-16"); run.Parameters["backfill"] != "672h0m0s" {
		t.Errorf("backfill is %q", run.Parameters["backfill"])
	}
	same(t, "notices", []string{"RunSubmitted run full-first-2026-03-16 of the pipeline full was started: next to nothing is measured yet, and the past can be asked for"}, w.told())
	w.collect(28, "web")
	w.train()
	w.runs.finish("full", workflows.Succeeded)
	w.clock.Step(24 * time.Hour)
	w.restart()
	w.turn("store", "runs")
	same(t, "runs a day later", []string{"full-first-2026-03-16"}, w.runs.ids())
}

func TestAComponentThatCanBeLearnedFromIsLearned(t *testing.T) {
	w := newWorld(t, func(c *controller.Config) { c.Plans = nil })
	w.collect(2.5, "web")
	w.turn("store", "runs")
	same(t, "runs before there is enough", []string(nil), w.runs.ids())
	w.clock.Step(13 * time.Hour)
	w.collect(0.6, "web")
	w.turn("store", "runs")
	same(t, "runs", []string{"train-demand-2026-03-17T0000"}, w.runs.ids())
	w.runs.finish("train", workflows.Failed)
	w.turn("runs")
	w.clock.Step(5 * time.Hour)
	w.turn("store", "runs")
	same(t, "runs after it failed, within six hours", []string{"train-demand-2026-03-17T0000"}, w.runs.ids())
	w.clock.Step(2 * time.Hour)
	w.turn("store", "runs")
	same(t, "runs later", []string{"train-demand-2026-03-17T0000", "train-demand-2026-03-17T0600"}, w.runs.ids())
	w.train()
	w.runs.finish("train", workflows.Succeeded)
	w.clock.Step(24 * time.Hour)
	w.turn("store", "runs")
	same(t, "runs once it is learned", []string{"train-demand-2026-03-17T0000", "train-demand-2026-03-17T0600"}, w.runs.ids())
}

func TestAFailedRunIsToldOfOnce(t *testing.T) {
	w := newWorld(t)
	w.turn("runs")
	w.runs.finish("collect", workflows.Failed)
	w.turn("runs", "runs")
	same(t, "notices", []string{"RunFailed run collect-2026-03-16T120000Z of the pipeline collect failed: step collector: exit code 65"}, w.told())
	w.restart()
	w.turn("runs")
	same(t, "notices of the next controller", []string(nil), w.told())
}

func TestTheEndOfARunIsKept(t *testing.T) {
	w := newWorld(t)
	w.turn("runs")
	w.runs.finish("", workflows.Succeeded)
	w.storeDown = true
	if _, err := w.Turn(t.Context(), "runs", w.clock.Now()); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Fatalf("error %v, want that of the store", err)
	}
	w.storeDown = false
	w.restart()
	w.turn("runs")
	kept, err := record.NewReader(w.store).Get(t.Context(), "collect-2026-03-16T120000Z")
	if err != nil {
		t.Fatal(err)
	}
	run, _ := w.runs.Get(t.Context(), "collect-2026-03-16T120000Z")
	same(t, "record", run, kept)
	// It is not written again.
	before, _ := w.store.Files(t.Context(), "records", noon)
	w.restart()
	w.turn("runs")
	after, _ := w.store.Files(t.Context(), "records", noon)
	same(t, "records", before, after)
	if len(after) != 2 {
		t.Errorf("%d records, want those of two runs", len(after))
	}
}

func TestARunOfTheSameNameStands(t *testing.T) {
	w := newWorld(t)
	if _, err := w.runs.Submit(t.Context(), workflows.Request{Pipeline: "infer", RunID: "collect-2026-03-16T120000Z"}); err != nil {
		t.Fatal(err)
	}
	w.turn("runs", "runs")
	if n := strings.Count(w.logs.String(), "run stands with other parameters"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

// Whatever fails and whoever takes over: a slot has one run, no two runs of a pipeline
// are under way because of us, and as long as runs can be asked for, none is left out.
func TestControllersThatDieLeaveOneRunASlot(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		end := noon.Add(time.Duration(rapid.IntRange(30, 240).Draw(r, "minutes")) * time.Minute)
		lastServed := noon
		for w.clock.Now().Before(end) {
			switch rapid.SampledFrom([]string{"turn", "turn", "turn", "turn", "killed", "lost", "refused", "down", "suspend"}).Draw(r, "event") {
			case "killed":
				w.restart()
			case "lost":
				w.runs.faults = []string{"lost"}
			case "refused":
				w.runs.faults = []string{"refused", "refused"}
			case "down":
				w.runs.down = !w.runs.down
			case "suspend":
				w.suspended["infer"] = !w.suspended["infer"]
			}
			_, _ = w.Turn(t.Context(), "runs", w.clock.Now())
			if rapid.Bool().Draw(r, "the runs end") {
				w.runs.finish("", workflows.Succeeded)
			}
			w.clock.Step(time.Duration(rapid.IntRange(5, 180).Draw(r, "seconds")) * time.Second)
		}
		if w.runs.overlap != "" {
			r.Fatalf("two at once: %s", w.runs.overlap)
		}
		// Everything works again.
		w.runs.down, w.runs.faults, w.suspended = false, nil, map[string]bool{}
		w.runs.finish("", workflows.Succeeded)
		w.restart()
		if _, err := w.Turn(t.Context(), "runs", w.clock.Now()); err != nil {
			r.Fatal(err)
		}
		slot, due := w.config.Plans[0].Schedule.Last(w.clock.Now(), 10*time.Minute)
		for _, pipeline := range []string{"collect", "infer"} {
			if due && !slices.Contains(w.runs.ids(), schedule.RunID(pipeline, slot)) {
				r.Fatalf("%s of %s has no run; there are %v", pipeline, slot, w.runs.ids())
			}
		}
		for _, id := range w.runs.ids() {
			at, ok := schedule.Slot(strings.SplitN(id, "-", 2)[0], id)
			if !ok || at.Before(lastServed) && at.Before(noon) || at.After(w.clock.Now()) {
				r.Fatalf("run %s is of no slot", id)
			}
		}
	})
}

func TestStatusFollowsDecisionsAndTheCluster(t *testing.T) {
	w := newWorld(t)
	w.cluster.components = []controller.Component{
		{ID: web("db"), Mode: schemas.Shadow, Target: "StatefulSet/db", Replicas: 1},
		{ID: web("web"), Mode: schemas.Auto, Target: "Deployment/web", Replicas: 2},
	}
	w.turn("components")
	if w.cluster.publishes != 0 {
		t.Error("something was published before anything is known of decisions")
	}
	w.collect(1, "db", "web")
	w.decide(schemas.FloorRaised, 5, "db", "web")
	w.turn("store", "components")
	spell := func() (out []string) {
		for _, s := range w.cluster.published {
			asked := "-"
			if s.Asked != nil {
				asked = fmt.Sprint(*s.Asked)
			}
			out = append(out, fmt.Sprintf("%s %s asks %s %s", s.ID.Component, s.Mode, asked, s.Reason))
		}
		return out
	}
	same(t, "states", []string{"db Shadow asks 5 FloorRaised", "web Auto asks 5 FloorRaised"}, spell())

	// The floor is in force; then somebody else takes the workload over.
	w.cluster.components[1].Floor, w.cluster.components[1].Expires = floor(5), noon.Add(time.Hour)
	w.turn("components")
	w.cluster.components[1].Conflict = "VerticalPodAutoscaler/web moves the cpu requests of Deployment/web"
	w.cluster.components[1].Floor = nil
	w.turn("components")
	same(t, "states", []string{"db Shadow asks 5 FloorRaised", "web Auto asks - TargetNotScalable"}, spell())
	same(t, "notices", []string{
		"FloorApplied web: at least 5 replicas until 2026-03-16T13:00:00Z",
		"Conflict web: left alone, because VerticalPodAutoscaler/web moves the cpu requests of Deployment/web",
		"FloorEnded web: the operator's own minReplicas holds",
	}, w.told())

	// No run decides any more, and the store is gone as well.
	w.storeDown = true
	w.cluster.components[1].Conflict = ""
	w.clock.Step(time.Hour)
	w.turn("components")
	same(t, "states", []string{"db Shadow asks - FloorReleased", "web Auto asks - FloorReleased"}, spell())
}

func TestFloorsAreTakenBack(t *testing.T) {
	w := newWorld(t)
	hour := noon.Add(time.Hour)
	w.cluster.components = []controller.Component{
		{ID: web("auto"), Mode: schemas.Auto, Floor: floor(5), Expires: hour},
		{ID: web("off"), Mode: schemas.Auto, Floor: floor(5), Expires: hour},
		{ID: web("unknown"), Problem: "its policy cannot be followed", Floor: floor(5), Expires: hour},
	}
	w.turn("components")
	w.cluster.components[1].Mode = schemas.Off
	w.turn("guard")
	same(t, "floors before it is seen", "auto=5 off=5 unknown=5", w.cluster.floors())
	w.turn("components", "guard")
	same(t, "floors after it is seen", "auto=5 unknown=5", w.cluster.floors())

	// Nothing but the cluster is needed for what has expired.
	w.runs.down, w.storeDown = true, true
	w.clock.Step(time.Hour)
	w.restart()
	w.turn("guard")
	same(t, "floors after they expired", "", w.cluster.floors())
	same(t, "notices", []string{
		"FloorReleased off: the floor is given back: the component is gone or not in mode Auto",
		"FloorExpired auto: the floor has expired, because no run renewed it: the operator's own number holds",
		"FloorExpired unknown: the floor has expired, because no run renewed it: the operator's own number holds",
	}, w.told())
}

func TestALookAtTheClusterIsNoReasonForEver(t *testing.T) {
	w := newWorld(t)
	w.turn("components") // nothing is there
	w.clock.Step(10 * time.Minute)
	w.cluster.components = []controller.Component{{ID: web("new"), Mode: schemas.Auto, Floor: floor(5), Expires: noon.Add(time.Hour)}}
	w.turn("guard")
	same(t, "floors", "new=5", w.cluster.floors())
}

func TestOneTaskFailsAlone(t *testing.T) {
	w := newWorld(t)
	w.runs.down, w.storeDown = true, true
	w.cluster.components = []controller.Component{{ID: web("web"), Mode: schemas.Auto, Floor: floor(5), Expires: noon.Add(time.Minute)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Controller.Run(ctx); close(done) }()
	await(t, "every task to wait for its next turn", func() bool { return w.clock.Waiters() == 4 })
	w.clock.Step(time.Minute)
	await(t, "the floor to be taken back", func() bool { return w.cluster.floors() == "" })
	if err := w.Live(); err != nil {
		t.Errorf("the loop counts as stuck: %v", err)
	}
	await(t, "every task to wait again", func() bool { return w.clock.Waiters() == 4 })
	cancel()
	<-done
	if n := strings.Count(w.logs.String(), "task=store"); n != 1 {
		t.Errorf("the store's failure is logged %d times, want once:\n%s", n, w.logs.String())
	}
}

// await waits until something holds that other goroutines bring about.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestWhatIsSwitchedOffIsGivenBackAtOnce(t *testing.T) {
	w := newWorld(t)
	w.cluster.components = []controller.Component{{ID: web("web"), Mode: schemas.Auto, Floor: floor(5), Expires: noon.Add(time.Hour)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Controller.Run(ctx); close(done) }()
	await(t, "every task to wait for its next turn", func() bool { return w.clock.Waiters() == 4 })
	w.cluster.mu.Lock()
	w.cluster.components[0].Mode = schemas.Off
	tends := w.cluster.tends
	w.cluster.mu.Unlock()
	w.clock.Step(time.Minute)
	await(t, "the floor to be taken back", func() bool { return w.cluster.floors() == "" })
	await(t, "every task to wait again", func() bool { return w.clock.Waiters() == 4 })
	cancel()
	<-done
	if n := w.cluster.tends - tends; n > 2 {
		t.Errorf("the guard took %d turns, want one for the minute and one for the component", n)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Controller.Run(ctx)
}

// hanging is a cluster that does not heed the end of a context.
type hanging struct {
	*cluster
	release chan struct{}
	entered chan struct{}
}

func (h *hanging) Discover(context.Context) ([]controller.Component, error) {
	h.entered <- struct{}{}
	<-h.release
	return nil, nil
}

func TestATurnThatHangsMakesTheLoopCountAsStuck(t *testing.T) {
	h := &hanging{&cluster{}, make(chan struct{}), make(chan struct{}, 1)}
	w := newWorld(t, func(c *controller.Config) { c.Cluster = h })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Controller.Run(ctx); close(done) }()
	<-h.entered
	await(t, "the other tasks to wait for their next turn", func() bool { return w.clock.Waiters() == 3 })
	if err := w.Live(); err != nil {
		t.Errorf("at once: %v", err)
	}
	w.clock.Step(4 * time.Minute)
	if err := w.Live(); err == nil || !strings.Contains(err.Error(), "task components: a turn must end within 1m0s, but one has gone on for 4m0s") {
		t.Errorf("after four minutes: %v", err)
	}
	cancel()
	close(h.release)
	<-done
}

type panicking struct{ *cluster }

func (panicking) Discover(context.Context) ([]controller.Component, error) { panic("a bug") }

func TestAPanicIsAFailureOfItsTask(t *testing.T) {
	w := newWorld(t, func(c *controller.Config) { c.Cluster = panicking{&cluster{}} })
	if _, err := w.Turn(t.Context(), "components", noon); schemas.CodeOf(err) != schemas.CodeInternal || !strings.Contains(err.Error(), "components panicked: a bug") {
		t.Errorf("error %v", err)
	}
}

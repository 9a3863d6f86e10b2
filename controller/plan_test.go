package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/ledger"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

var noon = time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func web(name string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: "shop", Component: name}
}

// run is one that was submitted a number of minutes after noon.
func run(pipeline, id string, submitted int, phase workflows.Phase) workflows.Run {
	r := workflows.Run{ID: id, Pipeline: pipeline, Phase: phase, Submitted: at(submitted)}
	if phase.Done() {
		end := at(submitted + 1)
		r.Finished = &end
	}
	return r
}

func slot(pipeline string, minutes int) string { return schedule.RunID(pipeline, at(minutes)) }

func TestARunIsDue(t *testing.T) {
	quarterly, err := schedule.Parse([]string{"*/15 * * * *"}, "")
	if err != nil {
		t.Fatal(err)
	}
	infer := func(change func(*Plan)) Plan {
		p := Plan{Pipeline: "infer", Schedule: quarterly, Deadline: 10 * time.Minute}
		change(&p)
		return p
	}
	plain := infer(func(*Plan) {})
	cron := infer(func(p *Plan) { p.Grace = 2 * time.Minute })
	after := infer(func(p *Plan) { p.After = "collect" })
	const none = ""
	for _, tt := range []struct {
		name string
		plan Plan
		now  int // minutes after noon
		runs []workflows.Run
		want string
	}{
		{"at the slot", plain, 15, nil, slot("infer", 15)},
		{"late, within the deadline", plain, 24, nil, slot("infer", 15)},
		{"too late", plain, 25, nil, none},
		{"the slot has its run", plain, 16, []workflows.Run{run("infer", slot("infer", 15), 15, workflows.Succeeded)}, none},
		{"the slot had its run, which failed", plain, 16, []workflows.Run{run("infer", slot("infer", 15), 15, workflows.Failed)}, none},
		{"another pipeline's run is none", plain, 16, []workflows.Run{run("collect", slot("collect", 15), 15, workflows.Succeeded)}, slot("infer", 15)},
		{"somebody has asked for one since", plain, 18, []workflows.Run{run("infer", "by-hand", 16, workflows.Succeeded)}, none},
		{"somebody has asked for one before", plain, 18, []workflows.Run{run("infer", "by-hand", 14, workflows.Succeeded)}, slot("infer", 15)},
		{"an earlier slot's run was repeated since", plain, 18, []workflows.Run{run("infer", slot("infer", 0), 16, workflows.Succeeded)}, slot("infer", 15)},
		{"one is pending", plain, 16, []workflows.Run{run("infer", "by-hand", 10, workflows.Pending)}, none},
		{"one is running", plain, 16, []workflows.Run{run("infer", slot("infer", 0), 0, workflows.Running)}, none},
		{"a CronWorkflow still has time", cron, 16, nil, none},
		{"a CronWorkflow has missed it", cron, 17, nil, slot("infer", 15)},
		{"a CronWorkflow has missed it long ago", cron, 25, nil, none},
		{"what it reads is being written", after, 16, []workflows.Run{run("collect", slot("collect", 15), 15, workflows.Running)}, none},
		{"what it reads is written", after, 16, []workflows.Run{run("collect", slot("collect", 15), 15, workflows.Succeeded)}, slot("infer", 15)},
		{"what it reads takes too long", after, 20, []workflows.Run{run("collect", slot("collect", 15), 15, workflows.Running)}, slot("infer", 15)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.plan.due(at(tt.now), tt.runs)
			if ok != (tt.want != none) || got.request.RunID != tt.want {
				t.Fatalf("due is %q, want %q", got.request.RunID, tt.want)
			}
			if ok && got.request.Parameters["now"] != at(15).Format(time.RFC3339) {
				t.Errorf("its instant is %s, want that of the slot", got.request.Parameters["now"])
			}
		})
	}
}

func TestTrainingOnDemand(t *testing.T) {
	six := Training{Interval: 6 * time.Hour}
	learn := demanded([]schemas.ComponentID{web("new")}, ledger.Drift{})
	for _, tt := range []struct {
		name     string
		training Training
		demand   *demand
		runs     []workflows.Run
		want     string
	}{
		{"nothing asks for it", six, nil, nil, ""},
		{"a component can be learned from", six, learn, nil, "train-demand-2026-03-16T1200"},
		{"it is switched off", Training{Interval: six.Interval, Disabled: true}, learn, nil, ""},
		{"one is under way", six, learn, []workflows.Run{run("train", "nightly", -600, workflows.Running)}, ""},
		{"a full run is under way", six, learn, []workflows.Run{run("full", "first", -600, workflows.Pending)}, ""},
		{"one was begun not long ago", six, learn, []workflows.Run{run("train", "nightly", -359, workflows.Failed)}, ""},
		{"one was begun long ago", six, learn, []workflows.Run{run("train", "nightly", -360, workflows.Succeeded)}, "train-demand-2026-03-16T1200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := tt.training.start(tt.demand, noon, tt.runs)
			if got.request.RunID != tt.want {
				t.Errorf("run %q, want %q", got.request.RunID, tt.want)
			}
		})
	}
	// Whoever asks within one stretch of time asks for the same run.
	for _, minutes := range []int{0, 100, 359} {
		if got, _ := six.start(learn, at(minutes), nil); got.request.RunID != "train-demand-2026-03-16T1200" {
			t.Errorf("%d minutes later: run %q", minutes, got.request.RunID)
		}
	}
}

func TestWhatAsksForATraining(t *testing.T) {
	for _, tt := range []struct {
		name      string
		learnable []schemas.ComponentID
		drift     ledger.Drift
		want      *demand
	}{
		{"nothing", nil, ledger.Drift{Judged: 100}, nil},
		{"one component of a few drifts", nil, ledger.Drift{Judged: 20, Drifting: 1, Example: web("db")},
			&demand{byDrift, "forecasts of 1 component are worse than the same time of the day before, such as of default/shop/db"}},
		{"one component of many drifts", nil, ledger.Drift{Judged: 21, Drifting: 1, Example: web("db")}, nil},
		{"two components can be learned from", []schemas.ComponentID{web("a"), web("b")}, ledger.Drift{Judged: 1, Drifting: 1},
			&demand{byHistory, "2 components have history enough to learn from that no model has seen, such as default/shop/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, demanded(tt.learnable, tt.drift), cmp.AllowUnexported(demand{})); diff != "" {
				t.Errorf("demand (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFirstRun(t *testing.T) {
	old := workflows.Pipelines()
	for i := range old {
		old[i].Parameters = nil
	}
	const month = 28 * 24 * time.Hour
	for _, tt := range []struct {
		name      string
		backfill  time.Duration
		measured  time.Duration
		pipelines []workflows.Pipeline
		runs      []workflows.Run
		want      string // the run-id and its backfill
	}{
		{"nothing is measured", month, 0, workflows.Pipelines(), nil, "full-first-2026-03-16 672h0m0s"},
		{"a scheduled run was faster", month, 30 * time.Minute, workflows.Pipelines(), nil, "full-first-2026-03-16 672h0m0s"},
		{"enough is measured", month, 6 * time.Hour, workflows.Pipelines(), nil, ""},
		{"the past cannot be asked for", 0, 0, workflows.Pipelines(), nil, ""},
		{"all of a short past is measured", time.Hour, time.Hour, workflows.Pipelines(), nil, ""},
		{"it is under way", month, 0, workflows.Pipelines(), []workflows.Run{run("full", "full-first-2026-03-15", -10, workflows.Running)}, ""},
		{"today's has failed", month, 0, workflows.Pipelines(), []workflows.Run{run("full", "full-first-2026-03-16", -10, workflows.Failed)}, ""},
		{"yesterday's has failed", month, 0, workflows.Pipelines(), []workflows.Run{run("full", "full-first-2026-03-15", -900, workflows.Failed)}, "full-first-2026-03-16 672h0m0s"},
		{"the pipeline cannot be told how far back", month, 0, old, nil, "full-first-2026-03-16 "},
		{"there is no such pipeline", month, 0, old[:1], nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if s, ok := first(tt.backfill, tt.measured, noon, tt.pipelines, tt.runs); ok {
				got = s.request.RunID + " " + s.request.Parameters["backfill"]
			}
			if got != tt.want {
				t.Errorf("first run is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheStateOfAComponent(t *testing.T) {
	floor := int32(5)
	auto := Component{ID: web("web"), Mode: schemas.Auto, Target: "Deployment/web"}
	with := func(change func(*Component)) Component {
		c := auto
		change(&c)
		return c
	}
	decided := func(reason schemas.Reason) *schemas.Decision {
		return &schemas.Decision{Component: web("web"), Time: at(-10), Expires: at(50), MinReplicas: 5, Reason: reason, Message: "because"}
	}
	for _, tt := range []struct {
		name      string
		component Component
		decision  *schemas.Decision
		now       time.Time
		want      State
	}{
		{"a floor is asked for", auto, decided(schemas.FloorRaised), noon, State{Asked: &floor, Reason: schemas.FloorRaised, Message: "because", LastForecast: at(-10)}},
		{"an earlier floor stays for now", auto, decided(schemas.CoolingDown), noon, State{Asked: &floor, Reason: schemas.CoolingDown, Message: "because"}},
		{"there is no forecast", auto, decided(schemas.StaleSamples), noon, State{Reason: schemas.StaleSamples, Message: "because"}},
		{"nothing was decided yet", auto, nil, noon, State{Reason: schemas.InsufficientData, Message: "no run has decided about it yet"}},
		{"the decision has expired", auto, decided(schemas.FloorKept), at(50), State{Reason: schemas.FloorReleased, LastForecast: at(-10),
			Message: "no run has decided since 2026-03-16T11:50:00Z, and that decision has expired"}},
		{"it was switched off since", with(func(c *Component) { c.Mode = schemas.Off }), decided(schemas.FloorRaised), noon,
			State{Reason: schemas.NotManaged, Message: "the mode is Off", LastForecast: at(-10)}},
		{"somebody else scales it since", with(func(c *Component) { c.Conflict = "VerticalPodAutoscaler/web moves the cpu requests" }), decided(schemas.FloorRaised), noon,
			State{Reason: schemas.TargetNotScalable, Message: "VerticalPodAutoscaler/web moves the cpu requests", LastForecast: at(-10)}},
		{"its policy cannot be followed", with(func(c *Component) { c.Mode, c.Problem = "", "minReplicas must be from 1" }), nil, noon,
			State{Reason: schemas.TargetNotScalable, Message: "minReplicas must be from 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Component = tt.component
			if diff := cmp.Diff(tt.want, state(tt.component, tt.decision, nil, tt.now)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPlanThatCannotWorkIsRefused(t *testing.T) {
	known := map[string]bool{"infer": true}
	for want, p := range map[string]Plan{
		`plan: pipeline must be a known one, but is "inference"`:                              {Pipeline: "inference"},
		`plan of infer: pipeline to wait for must be a known one, but is "collector"`:         {Pipeline: "infer", After: "collector"},
		`plan of infer: deadline must be at least 1m, but is 1s`:                              {Pipeline: "infer", Deadline: time.Second},
		`plan of infer: grace must be from 0s to less than the deadline, 10m0s, but is 10m0s`: {Pipeline: "infer", Grace: 10 * time.Minute},
	} {
		if err := p.validate(known); schemas.CodeOf(err) != schemas.CodeInvalidConfig || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestTheRunIDTellsWhatStartedARun(t *testing.T) {
	for id, want := range map[string]string{
		schedule.RunID("train", noon):     "schedule", // of a CronWorkflow or of a controller
		"full-first-2026-03-16":           "first",
		"train-demand-2026-03-16T1200":    "demand",
		"train-2026":                      "request",
		"self-scaling-train-x7k2p":        "request", // of argo submit
		"8e1e0d7c-7a3e-4d0a-9a53-0e3d2c3": "request",
	} {
		if got := triggerOf(&workflows.Run{ID: id, Pipeline: "train"}); got != want {
			t.Errorf("%s was started by %s, want %s", id, got, want)
		}
	}
}

package controller

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/controller/ledger"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Plan says when a pipeline runs.
type Plan struct {
	Pipeline string
	Schedule schedule.Schedule
	// Deadline is how late a slot is still served; 0 means ten minutes. Of several
	// slots that were missed the newest is.
	Deadline time.Duration
	// Grace is how long a slot is left to whoever else starts its run, as a
	// CronWorkflow does; 0 where nobody does.
	Grace time.Duration
	// After names a pipeline whose run under way is waited for, because this one reads
	// what it writes; but no longer than for half of Deadline.
	After string
	// Suspend keeps the pipeline from being started.
	Suspend bool
}

func (p *Plan) validate(known map[string]bool) error {
	if p.Deadline == 0 {
		p.Deadline = 10 * time.Minute
	}
	switch {
	case !known[p.Pipeline]:
		return schemas.Errorf(schemas.CodeInvalidConfig, "plan: pipeline must be a known one, but is %q", p.Pipeline)
	case p.After != "" && !known[p.After]:
		return schemas.Errorf(schemas.CodeInvalidConfig, "plan of %s: pipeline to wait for must be a known one, but is %q", p.Pipeline, p.After)
	case p.Deadline < time.Minute:
		return schemas.Errorf(schemas.CodeInvalidConfig, "plan of %s: deadline must be at least 1m, but is %s", p.Pipeline, p.Deadline)
	case p.Grace < 0 || p.Grace >= p.Deadline:
		return schemas.Errorf(schemas.CodeInvalidConfig, "plan of %s: grace must be from 0s to less than the deadline, %s, but is %s", p.Pipeline, p.Deadline, p.Grace)
	}
	return nil
}

// The triggers of runs, as metrics and logs spell them.
const (
	bySchedule = "schedule"
	byHistory  = "history"
	byDrift    = "drift"
	byFirst    = "first"
)

// start is a run that is to be asked for.
type start struct {
	request workflows.Request
	trigger string
	why     string // for people, "" where it goes without saying
}

// What the run-ids begin with that no schedule gives.
const (
	firstPrefix  = "full-first-"
	demandPrefix = "train-demand-"
)

// triggerOf says what a run was started by, whoever did it: its run-id tells.
func triggerOf(r *workflows.Run) string {
	_, scheduled := schedule.Slot(r.Pipeline, r.ID)
	switch {
	case scheduled:
		return bySchedule
	case strings.HasPrefix(r.ID, firstPrefix):
		return byFirst
	case strings.HasPrefix(r.ID, demandPrefix):
		return "demand"
	}
	return "request"
}

// due returns the run that a plan wants now, false where it wants none. Runs are those
// that are known, of any pipeline.
func (p *Plan) due(now time.Time, runs []workflows.Run) (start, bool) {
	slot, ok := p.open(now, runs)
	if !ok || p.holds(now, slot, runs) {
		return start{}, false
	}
	return start{
		request: workflows.Request{
			Pipeline: p.Pipeline, RunID: schedule.RunID(p.Pipeline, slot),
			Parameters: map[string]string{nowParameter: slot.Format(time.RFC3339)},
		},
		trigger: bySchedule,
	}, true
}

// open returns the slot that wants a run, false where none does.
func (p *Plan) open(now time.Time, runs []workflows.Run) (time.Time, bool) {
	slot, ok := p.Schedule.Last(now.Add(-p.Grace), p.Deadline-p.Grace)
	return slot, ok && !served(p.Pipeline, slot, runs) && !active(p.Pipeline, runs)
}

// holds reports whether the run of a slot has to wait for another pipeline's.
func (p *Plan) holds(now, slot time.Time, runs []workflows.Run) bool {
	return p.After != "" && now.Sub(slot) < p.Deadline/2 && active(p.After, runs)
}

// held reports whether a run waits for another pipeline's.
func (p *Plan) held(now time.Time, runs []workflows.Run) bool {
	slot, ok := p.open(now, runs)
	return ok && p.holds(now, slot, runs)
}

// next returns when the plan may want a run next, zero where never.
func (p *Plan) next(now time.Time) time.Time {
	slot := p.Schedule.Next(now.Add(-p.Grace))
	if slot.IsZero() {
		return slot
	}
	return slot.Add(p.Grace)
}

// The parameters of pipelines that runs are given here.
const (
	nowParameter      = "now"
	backfillParameter = "backfill"
)

// served reports whether a slot of a pipeline has had its run: the slot's own, or another
// one that was asked for since, unless that is the one of an earlier slot again.
func served(pipeline string, slot time.Time, runs []workflows.Run) bool {
	return slices.ContainsFunc(runs, func(r workflows.Run) bool {
		if r.Pipeline != pipeline {
			return false
		}
		if of, ok := schedule.Slot(pipeline, r.ID); ok {
			return !of.Before(slot)
		}
		return !r.Submitted.Before(slot)
	})
}

// active reports whether a run of a pipeline is pending or running.
func active(pipeline string, runs []workflows.Run) bool {
	return slices.ContainsFunc(runs, func(r workflows.Run) bool { return r.Pipeline == pipeline && !r.Phase.Done() })
}

// Training says when a training is started that no schedule asks for: once a component
// has history enough to learn from that the newest models have not seen, and once the
// forecasts of a share of the components are worse than the same time of the day before.
type Training struct {
	// Disabled leaves training to the plans.
	Disabled bool
	// Interval is the least time between two trainings of which the second is not
	// scheduled; 0 means six hours.
	Interval time.Duration
}

// driftShare is the share of the components that can be judged from which on drift is a
// reason to train: a single one of many may be beyond forecasting.
const driftShare = 0.05

// demand is a reason to train now.
type demand struct{ trigger, why string }

// demanded returns why there should be a training, nil where there is no reason.
func demanded(learnable []schemas.ComponentID, drift ledger.Drift) *demand {
	switch {
	case len(learnable) > 0:
		return &demand{byHistory, plural(len(learnable), "component has", "components have") + " history enough to learn from that no model has seen, such as " + learnable[0].String()}
	case drift.Drifting > 0 && float64(drift.Drifting) >= driftShare*float64(drift.Judged):
		return &demand{byDrift, "forecasts of " + plural(drift.Drifting, "component are", "components are") + " worse than the same time of the day before, such as of " + drift.Example.String()}
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// start returns the training that a demand asks for, false where one is under way or was
// begun not long ago. Its run-id is that of a stretch of time, so that whoever asks
// within it asks for the same run.
func (t *Training) start(d *demand, now time.Time, runs []workflows.Run) (start, bool) {
	if d == nil || t.Disabled {
		return start{}, false
	}
	for _, r := range runs {
		if (r.Pipeline == "train" || r.Pipeline == "full") && (!r.Phase.Done() || now.Sub(begun(&r)) < t.Interval) {
			return start{}, false
		}
	}
	stretch := now.UTC().Truncate(t.Interval)
	return start{workflows.Request{Pipeline: "train", RunID: demandPrefix + stretch.Format("2006-01-02T1504")}, d.trigger, d.why}, true
}

func begun(r *workflows.Run) time.Time {
	if r.Started != nil {
		return *r.Started
	}
	return r.Submitted
}

// beginning is how much must be measured for the beginning to be over. A scheduled run
// may have been faster than the first one.
const beginning = 6 * time.Hour

// first returns the run with which everything begins where the past can be asked for: it
// measures it, learns from it and decides. There is one a day until more is measured than
// a beginning.
func first(backfill, measured time.Duration, now time.Time, pipelines []workflows.Pipeline, runs []workflows.Run) (start, bool) {
	i := slices.IndexFunc(pipelines, func(p workflows.Pipeline) bool { return p.Name == "full" })
	if measured >= min(beginning, backfill) || i < 0 || active("full", runs) {
		return start{}, false
	}
	r := workflows.Request{Pipeline: "full", RunID: firstPrefix + now.UTC().Format(time.DateOnly)}
	if slices.ContainsFunc(runs, func(x workflows.Run) bool { return x.ID == r.RunID }) {
		return start{}, false
	}
	if slices.ContainsFunc(pipelines[i].Parameters, func(p workflows.Parameter) bool { return p.Name == backfillParameter }) {
		r.Parameters = map[string]string{backfillParameter: backfill.String()}
	}
	return start{r, byFirst, "next to nothing is measured yet, and the past can be asked for"}, true
}

// order sorts starts so that what others wait for comes first.
func order(starts []start, plans []Plan) {
	after := map[string]bool{}
	for _, p := range plans {
		after[p.Pipeline] = p.After != ""
	}
	slices.SortStableFunc(starts, func(a, b start) int {
		return cmp.Compare(rank(after[a.request.Pipeline]), rank(after[b.request.Pipeline]))
	})
}

func rank(later bool) int {
	if later {
		return 1
	}
	return 0
}

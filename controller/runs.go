package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// runsInterval is how often runs are looked at where none is due.
const runsInterval = 30 * time.Second

// heldInterval is how often they are looked at where one waits for another to end.
const heldInterval = 5 * time.Second

// runs watches runs and starts those that are due.
type runs struct {
	*Controller
	// seen holds, by run-id, when the runs ended that have been told of; it is nil
	// before the first look.
	seen     map[string]time.Time
	recorded map[string]time.Time // those of which the store has the end
	// standing are the run-ids that somebody has used for another request, of which was
	// told.
	standing map[string]bool
}

func newRuns(c *Controller) *runs {
	return &runs{Controller: c, recorded: map[string]time.Time{}, standing: map[string]bool{}}
}

// turn looks at the runs, tells of those that have ended and starts those that are due.
// It returns when the next one may be due.
func (r *runs) turn(ctx context.Context, now time.Time) (next time.Time, err error) {
	all, err := r.config.Runs.List(ctx, workflows.ListOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("list runs: %w", err)
	}
	r.metrics.runs(all)
	r.watch(all)
	for i := range r.config.Plans {
		p := &r.config.Plans[i]
		next = earliest(next, p.next(now))
		if p.held(now, all) {
			next = earliest(next, now.Add(heldInterval))
		}
	}
	return next, errors.Join(r.begin(ctx, now, all), r.record(ctx, all))
}

// earliest returns the earlier of two instants, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// watch tells of the runs that have ended since the last look.
func (r *runs) watch(all []workflows.Run) {
	ended := map[string]time.Time{}
	for i := range all {
		run := &all[i]
		if !run.Phase.Done() || run.Finished == nil {
			continue
		}
		ended[run.ID] = *run.Finished
		if before, ok := r.seen[run.ID]; r.seen == nil || ok && before.Equal(*run.Finished) {
			continue
		}
		r.metrics.ended(run)
		r.config.Logger.Info("run ended", "run", run.ID, "pipeline", run.Pipeline, "phase", string(run.Phase), "message", run.Message)
		if run.Phase == workflows.Failed {
			r.config.Notify(Notice{Warning: true, Reason: "RunFailed", Message: fmt.Sprintf("run %s of the pipeline %s failed: %s", run.ID, run.Pipeline, run.Message)})
		}
		// There are new samples, decisions or models to read.
		r.kick("store")
	}
	r.seen = ended
}

// record keeps the ends of runs in the store, because what ran them goes after a while.
// What is there already is the same and stays.
func (r *runs) record(ctx context.Context, all []workflows.Run) error {
	ended := map[string]time.Time{}
	var store *artifact.Store
	var errs []error
	for i := range all {
		run := &all[i]
		if !run.Phase.Done() || run.Finished == nil {
			continue
		}
		if before, ok := r.recorded[run.ID]; !ok || !before.Equal(*run.Finished) {
			if store == nil {
				var err error
				if store, err = r.config.Store(ctx); err != nil {
					return fmt.Errorf("keep the ends of runs: %w", err)
				}
			}
			if err := r.keep(ctx, store, run); err != nil {
				errs = append(errs, err)
				if schemas.CodeOf(err) == schemas.CodeUnavailable {
					break // so are the others
				}
				continue
			}
		}
		ended[run.ID] = *run.Finished
	}
	if len(errs) == 0 {
		r.recorded = ended
		return nil
	}
	for id, at := range ended {
		r.recorded[id] = at
	}
	return errors.Join(errs...)
}

// keep writes the record of a run unless the store has one that tells of this end.
func (r *runs) keep(ctx context.Context, store *artifact.Store, run *workflows.Run) error {
	kept, err := record.NewReader(store).Get(ctx, run.ID)
	if err == nil && !kept.Finished.Before(*run.Finished) && len(kept.Steps) >= len(run.Steps) {
		return nil
	}
	if err != nil && schemas.CodeOf(err) == schemas.CodeUnavailable {
		return fmt.Errorf("keep the end of run %s: %w", run.ID, err)
	}
	return record.Write(ctx, store, r.config.Version, *run)
}

// begin starts the runs that are due.
func (r *runs) begin(ctx context.Context, now time.Time, all []workflows.Run) error {
	suspended := map[string]bool{}
	if r.config.Suspended != nil {
		var err error
		if suspended, err = r.config.Suspended(ctx); err != nil {
			return fmt.Errorf("ask what is suspended: %w", err)
		}
	}
	r.mu.Lock()
	demand, facts := r.demand, r.facts
	r.mu.Unlock()

	var starts []start
	for i := range r.config.Plans {
		p := &r.config.Plans[i]
		if suspended[p.Pipeline] = suspended[p.Pipeline] || p.Suspend; suspended[p.Pipeline] {
			continue
		}
		if s, ok := p.due(now, all); ok {
			starts = append(starts, s)
		}
	}
	order(starts, r.config.Plans)
	if facts.known {
		if s, ok := first(r.config.Backfill, facts.until.Sub(facts.from), now, r.config.Pipelines, all); ok {
			starts = append(starts, s)
		}
	}
	if s, ok := r.config.Training.start(demand, now, all); ok && !suspended["train"] {
		starts = append(starts, s)
	}
	var errs []error
	for _, s := range starts {
		if waits(s, all, r.config.Plans, now) {
			continue
		}
		run, err := r.submit(ctx, s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, run)
	}
	return errors.Join(errs...)
}

// waits reports whether a start must wait after all, because of one that was made in the
// same turn.
func waits(s start, all []workflows.Run, plans []Plan, now time.Time) bool {
	if active(s.request.Pipeline, all) {
		return true
	}
	for i := range plans {
		p := &plans[i]
		if s.trigger == bySchedule && p.Pipeline == s.request.Pipeline {
			_, due := p.due(now, all)
			return !due
		}
	}
	return false
}

// submit asks for one run. One that was asked for before, by whatever controller, is the
// same.
func (r *runs) submit(ctx context.Context, s start) (workflows.Run, error) {
	run, err := r.config.Runs.Submit(ctx, s.request)
	switch schemas.CodeOf(err) {
	case "":
		if _, known := r.seen[run.ID]; !known {
			r.metrics.submitted(s.request.Pipeline, s.trigger)
			r.config.Logger.Info("run submitted", "run", run.ID, "pipeline", run.Pipeline, "trigger", s.trigger, "reason", s.why)
			if s.why != "" {
				r.config.Notify(Notice{Reason: "RunSubmitted", Message: fmt.Sprintf("run %s of the pipeline %s was started: %s", run.ID, run.Pipeline, s.why)})
			}
		}
		return run, nil
	case schemas.CodeConflict:
		// Somebody has asked for a run of this name with other parameters. It stands.
		if !r.standing[s.request.RunID] {
			r.standing[s.request.RunID] = true
			r.config.Logger.Warn("run stands with other parameters", "run", s.request.RunID, "error", err)
		}
		return r.config.Runs.Get(ctx, s.request.RunID)
	}
	return workflows.Run{}, fmt.Errorf("submit %s: %w", s.request.Pipeline, err)
}

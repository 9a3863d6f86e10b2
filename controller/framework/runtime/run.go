package runtime

import (
	"context"
	"fmt"
	"math"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

// Result is how one component left a run.
type Result struct {
	Candidate *framework.Candidate
	// Forecasts holds the forecast of each resource that has one.
	Forecasts map[schemas.Resource]*schemas.Forecast
	// Decision is nil only where the run was interrupted before the component's
	// turn; then nothing was written either.
	Decision *schemas.Decision
	// Status is nil where all went well. Rejected and Wait say what kept the
	// forecast from becoming the floor, Error what broke.
	Status *framework.Status
	Notes  []Note

	state *framework.CycleState
}

// Run takes components through both cycles: first all forecast cycles, several
// at a time, then the binding cycles one by one in the order of the queue.
// Components that have no forecast come last, by name. The results are in the
// order of the candidates and depend neither on it nor on the number of
// workers. A plugin that breaks or panics costs only the component at hand.
//
// When ctx ends, what has not been bound yet stays as it is.
func (f *Framework) Run(ctx context.Context, run string, candidates []*framework.Candidate) []Result {
	s := f.Begin(run)
	results := s.Decide(ctx, candidates)
	s.Bind(ctx, results)
	return results
}

// Session is a run of many components, of which some are taken through the forecast
// cycle at a time, and all of them together through the binding cycle.
type Session struct {
	framework *Framework
	run       string
	startup   []Note
}

// Begin begins a run.
func (f *Framework) Begin(run string) *Session {
	var startup []Note
	for _, p := range f.starters {
		name := p.(framework.Plugin).Name()
		if st := guard(name, func() *framework.Status { p.StartRun(run); return nil }); !st.IsSuccess() {
			startup = append(startup, Note{Plugin: name, Status: st})
		}
	}
	return &Session{f, run, startup}
}

// Decide takes components through their forecast cycles, several at a time. The
// results are in their order.
func (s *Session) Decide(ctx context.Context, candidates []*framework.Candidate) []Result {
	results := make([]Result, len(candidates))
	workers := s.framework.workers
	if workers <= 0 {
		workers = goruntime.GOMAXPROCS(0)
	}
	var group errgroup.Group
	group.SetLimit(workers)
	for i, c := range candidates {
		group.Go(func() error {
			results[i] = s.framework.decide(ctx, s.run, c)
			results[i].Notes = append(slices.Clone(s.startup), results[i].Notes...)
			return nil
		})
	}
	_ = group.Wait() // decide reports in its result
	return results
}

// Bind takes the components of a run through their binding cycles, once all of them
// are decided.
func (s *Session) Bind(ctx context.Context, results []Result) {
	f := s.framework
	for _, i := range f.queue(results) {
		r := &results[i]
		if err := ctx.Err(); err != nil || r.Decision == nil {
			r.Decision = nil
			r.Status = interrupted(ctx)
			continue
		}
		notes, st := f.RunBindingCycle(ctx, r.state, r.Candidate, r.Decision)
		r.Notes = append(r.Notes, notes...)
		if r.Status == nil {
			r.Status = st
		}
	}
}

// Release lets go of a component's series and forecasts once it is decided. The
// binding cycle needs neither, and those of all components of a run need not be in
// memory together.
func (r *Result) Release() {
	r.Candidate.Series, r.Candidate.Measured = nil, nil
	for resource := range r.Forecasts {
		r.Forecasts[resource] = nil // that there was one still counts
	}
}

// decide runs one forecast cycle and computes the decision.
func (f *Framework) decide(ctx context.Context, run string, c *framework.Candidate) Result {
	r := Result{Candidate: c, state: framework.NewCycleState()}
	if ctx.Err() != nil {
		r.Status = interrupted(ctx)
		return r
	}
	r.Forecasts, r.Notes, r.Status = f.RunForecastCycle(ctx, r.state, c)
	r.state.EndForecastCycle()
	if ctx.Err() != nil {
		// A plugin may have given up because of it: that is no verdict.
		r.Forecasts, r.Status = nil, interrupted(ctx)
		return r
	}
	d := replicas.Plan(replicas.Input{
		Component: c.Component,
		Run:       run,
		Now:       c.Now,
		Interval:  time.Duration(f.profile.Interval),
		Policy:    c.Policy,
		Formula:   f.profile.Formula,
		Requests:  c.Requests,
		Forecasts: r.Forecasts,
		Highest:   highest(c),
		Histories: framework.ReadGrades(r.state),
		Mixtures:  mixtures(r.state, r.Forecasts),
		Previous:  c.Previous,
	})
	d.Profile = f.profile.Name
	for _, demand := range d.Demands {
		forecast := r.Forecasts[demand.Resource]
		winner := forecast.Forecasters[0]
		if d.Forecasters == nil {
			d.Forecasters = make(map[schemas.Resource]string)
		}
		d.Forecasters[demand.Resource] = winner
		if d.Model == "" {
			d.Model = framework.ReadModel(r.state, winner)
		}
	}
	switch {
	case !r.Status.IsSuccess():
		replicas.Release(&d, r.Status.Reason(), r.Status.Message())
	case !d.Reason.UsesForecast():
		r.Status = framework.NewStatus(framework.Rejected, d.Reason, d.Message)
	}
	r.Decision = &d
	return r
}

// mixtures returns what the forecasters that were believed for the next hour mixed.
func mixtures(state *framework.CycleState, forecasts map[schemas.Resource]*schemas.Forecast) []schemas.Mixture {
	var out []schemas.Mixture
	for _, r := range schemas.Resources() {
		if f := forecasts[r]; f != nil {
			out = append(out, framework.ReadMixtures(state, r, f.Forecasters[0])...)
		}
	}
	return out
}

// highest returns the highest usage ever measured of each resource: single
// readings where they are known, means elsewhere.
func highest(c *framework.Candidate) map[schemas.Resource]float64 {
	out := make(map[schemas.Resource]float64)
	for r, s := range c.Series {
		if s == nil {
			continue
		}
		top := math.Inf(-1)
		for _, values := range [][]float64{s.Mean, s.Max} {
			for _, v := range values {
				if v > top {
					top = v
				}
			}
		}
		if !math.IsInf(top, 0) {
			out[r] = top
		}
	}
	return out
}

// queue returns the results in the order in which they are bound.
func (f *Framework) queue(results []Result) []int {
	var sorted, rest []int
	for i := range results {
		if results[i].Forecasts != nil {
			sorted = append(sorted, i)
		} else {
			rest = append(rest, i)
		}
	}
	byName := func(a, b int) int {
		return results[a].Candidate.Component.Compare(results[b].Candidate.Component)
	}
	slices.SortStableFunc(rest, byName)
	slices.SortStableFunc(sorted, byName)
	if len(f.queueSorts) == 0 {
		return append(sorted, rest...)
	}
	proposals := make(map[int]*framework.Proposal, len(sorted))
	for _, i := range sorted {
		proposals[i] = &framework.Proposal{Candidate: results[i].Candidate, Decision: results[i].Decision}
	}
	p := f.queueSorts[0]
	byUrgency := slices.Clone(sorted)
	st := guard(p.Name(), func() *framework.Status {
		slices.SortStableFunc(byUrgency, func(a, b int) int {
			switch {
			case p.Less(proposals[a], proposals[b]):
				return -1
			case p.Less(proposals[b], proposals[a]):
				return 1
			}
			return 0
		})
		return nil
	})
	if !st.IsSuccess() {
		// Any order is better than none: by name then.
		for _, i := range sorted {
			results[i].Notes = append(results[i].Notes, Note{Plugin: p.Name(), Status: st})
		}
		return append(sorted, rest...)
	}
	return append(byUrgency, rest...)
}

// RunBindingCycle takes a decision through Permit, Bind and PostBind and
// completes its record. The status says what kept the forecast from becoming
// the floor, or what broke; it is nil where nothing did.
//
// Permit is asked only about a floor that comes from a forecast: giving the
// operator's number back needs nobody's leave. Bind is called in mode Auto only,
// and never for a workload that cannot be scaled or that somebody else scales.
func (f *Framework) RunBindingCycle(ctx context.Context, state *framework.CycleState, c *framework.Candidate, d *schemas.Decision) ([]Note, *framework.Status) {
	st := f.permit(ctx, state, c, d)
	var notes []Note
	if bound := f.bind(ctx, state, c, d); !bound.IsSuccess() {
		d.Message += "; not applied: " + bound.Message()
		if st.IsSuccess() || bound.Code() == framework.Error {
			st = bound
		}
	}
	for _, p := range f.postBinders {
		told := guard(p.Name(), func() *framework.Status { p.PostBind(ctx, state, c, d); return nil })
		if !told.IsSuccess() {
			notes = append(notes, Note{Plugin: p.Name(), Status: told})
		}
	}
	return notes, st
}

func (f *Framework) permit(ctx context.Context, state *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	if !d.Reason.UsesForecast() {
		return nil
	}
	for _, p := range f.permits {
		before, clamps := d.MinReplicas, d.Clamps
		st := guard(p.Name(), func() *framework.Status { return p.Permit(ctx, state, c, d) })
		if err := settle(p.Name(), d, before, clamps); err != nil {
			st = framework.AsStatus(err).WithPlugin(p.Name())
		}
		switch st.Code() {
		case framework.Success, framework.Skip:
			if d.MinReplicas != before {
				replicas.Conclude(d)
			}
		case framework.Wait:
			st = only(st, framework.Wait)
			replicas.Keep(d, st.Reason(), st.Message())
			return st
		default:
			st = only(st, framework.Rejected)
			replicas.Release(d, st.Reason(), st.Message())
			return st
		}
	}
	return nil
}

// settle sees to it that a plugin's change of the floor is in bounds and in the
// record, whatever the plugin did about that. A floor out of bounds is undone
// and reported.
func settle(plugin string, d *schemas.Decision, before int32, clamps []schemas.Clamp) error {
	after := d.MinReplicas
	said := d.Clamps[min(len(clamps), len(d.Clamps)):]
	if after == before && len(said) == 0 {
		return nil
	}
	chained := len(said) == 1 && said[0].Before == before && said[0].After == after
	lowest := d.Policy.MinReplicas
	if d.Formula == schemas.FormulaClassic {
		lowest = 1
	}
	bad := after < lowest || after > d.MaxReplicas
	if bad || !chained {
		d.MinReplicas, d.Clamps = before, clamps
	}
	if bad {
		return schemas.Errorf(schemas.CodeInternal, "floor must be from %d to %d, but was set to %d", lowest, d.MaxReplicas, after)
	}
	if !chained {
		replicas.Limit(d, plugin, after, "the plugin set it")
	}
	return nil
}

// bind writes a decision, if it may be written. It returns nil also where
// nothing was to be written.
func (f *Framework) bind(ctx context.Context, state *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	free := c.Target == nil || c.Target.Scalable && c.Target.Conflict == ""
	if c.Policy.Mode != schemas.Auto || !free || c.Policy.Validate() != nil {
		return nil
	}
	for _, p := range f.binders {
		st := guard(p.Name(), func() *framework.Status { return p.Bind(ctx, state, c, d) })
		switch st.Code() {
		case framework.Success:
			d.Applied = true
			return nil
		case framework.Skip:
			continue
		default:
			return only(st, framework.Rejected)
		}
	}
	return nil
}

func interrupted(ctx context.Context) *framework.Status {
	err := context.Cause(ctx)
	if err == nil {
		return nil
	}
	return framework.AsStatus(schemas.Errorf(schemas.CodeUnavailable, "the run was interrupted: %w", err))
}

// PanicError is the error of a plugin that panicked.
type PanicError struct {
	Plugin string
	Value  any
	Stack  []byte
}

// Error names the plugin and what it panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("plugin %s panicked: %v", e.Plugin, e.Value) }

// guard calls a plugin, notes its name in the status and turns a panic into an
// Error status.
func guard(name string, call func() *framework.Status) (st *framework.Status) {
	defer func() {
		if v := recover(); v != nil {
			err := &PanicError{Plugin: name, Value: v, Stack: debug.Stack()}
			st = framework.AsStatus(schemas.WithCode(schemas.CodeInternal, err)).WithPlugin(name)
		}
	}()
	return call().WithPlugin(name)
}

// only passes a status on if its code is an Error or one of those that are
// allowed here; any other answer is itself an error of the plugin.
func only(st *framework.Status, allowed ...framework.Code) *framework.Status {
	if st.Code() == framework.Error || slices.Contains(allowed, st.Code()) {
		if st.Reason() != "" {
			return st
		}
		return framework.NewStatus(st.Code(), schemas.PluginError, fmt.Sprintf("plugin %s gave no reason: %s", st.Plugin(), st.Message())).WithPlugin(st.Plugin())
	}
	return framework.AsStatus(schemas.Errorf(schemas.CodeInternal, "plugin %s must not answer %s here (%s)", st.Plugin(), st.Code(), st.Message())).WithPlugin(st.Plugin())
}

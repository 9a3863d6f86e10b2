// Package inference is the step that acts: every 15 minutes it forecasts from
// the newest samples with the newest accepted models, turns the forecasts into
// floors and has them bound, and keeps what it said and decided.
package inference

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Catalog knows what operators want and what their cluster runs.
type Catalog interface {
	// Policy returns what is wanted for a component.
	Policy(id schemas.ComponentID) schemas.Policy
	// Target returns the workload behind a component, nil where none is known.
	Target(id schemas.ComponentID) *framework.Target
}

// Requester can be optionally implemented by a Catalog that knows what pods
// request now. Without, what they requested when they were last measured counts.
type Requester interface {
	// Requests returns what one pod requests, nil where that is not known.
	Requests(id schemas.ComponentID) schemas.Requests
}

// Profiler can be optionally implemented by a Catalog whose operators choose the
// set of plugins for single components.
type Profiler interface {
	// Profile returns the name of the set, "" where none was chosen.
	Profile(id schemas.ComponentID) string
}

// Config is what a program decides for its inference step.
type Config struct {
	// Framework makes the plugins that decide, with the newest accepted models:
	// one a shard, none before the first training.
	Framework func([]models.Trained) (*runtime.Framework, error)
	// Profile makes the plugins of a set that a [Profiler] names. What a plugin
	// counts over a run, such as a budget, it counts for each set apart.
	Profile func(name string, trained []models.Trained) (*runtime.Framework, error)
	// Catalog is asked once a run, before plugins are made.
	Catalog func(ctx context.Context) (Catalog, error)
	// HistoryDays is how far back forecasts look; 0 means 28 days.
	HistoryDays int
	// Table keeps the samples; its zero value works.
	Table samples.Options
	// Decided, if not nil, is told of each component with its series and its
	// forecasts, in order, before anything is bound.
	Decided func(*runtime.Result)
	// Done, if not nil, is told what a run has made, without series and forecasts.
	Done func(forecasts.Set, []runtime.Result)
}

// DefaultHistoryDays is how far back forecasts look where nothing else is
// configured.
const DefaultHistoryDays = schemas.DefaultHistoryDays

// New returns the step. It forecasts for the end of the newest bucket in the
// table of samples, as long as that does not lie behind what an earlier run has
// already acted upon: a run that comes late changes nothing.
func New(c Config) jobs.Func {
	if c.HistoryDays == 0 {
		c.HistoryDays = DefaultHistoryDays
	}
	return func(ctx context.Context, env jobs.Env) error { return c.run(ctx, env) }
}

func (c *Config) run(ctx context.Context, env jobs.Env) error {
	previous, acted, err := forecasts.LatestDecisions(ctx, env.Store)
	if err != nil {
		return fmt.Errorf("read the decisions before: %w", err)
	}
	if acted && previous.Run == env.Run {
		env.Log.InfoContext(ctx, "this run has been made before", "run", env.Run)
		return nil
	}
	snapshot, err := samples.New(env.Store, c.Table).Snapshot(ctx)
	if errors.Is(err, artifact.ErrNotFound) {
		env.Log.InfoContext(ctx, "no samples have been collected yet")
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the samples: %w", err)
	}
	from, to := snapshot.Window(env.Now, c.HistoryDays)
	if acted && previous.DataUntil.After(to) {
		env.Log.WarnContext(ctx, "superseded: a run with newer data has already acted", "until", to, "acted", previous.DataUntil)
		return nil
	}
	inputs, err := inputOf(snapshot.Head)
	if err != nil {
		return err
	}
	trained, modelInputs, err := latestModels(ctx, env)
	if err != nil {
		return err
	}
	catalog, err := c.Catalog(ctx)
	if err != nil {
		return fmt.Errorf("read the policies: %w", err)
	}
	ids, err := snapshot.Components(ctx, from, to)
	if err != nil {
		return fmt.Errorf("list the components: %w", err)
	}
	set := forecasts.Set{Run: env.Run, Now: env.Now, DataUntil: to}
	writer := forecasts.NewWriter(env.Store, env.Version, set)
	d, err := c.decider(env.Run, catalog, trained)
	if err != nil {
		return err
	}
	before := make(map[schemas.ComponentID]*schemas.Decision, len(previous.Decisions))
	for i := range previous.Decisions {
		before[previous.Decisions[i].Component] = &previous.Decisions[i]
	}
	for part := range slices.Chunk(ids, passSize(int(to.Sub(from)/snapshot.Step()))) {
		histories, err := snapshot.Histories(ctx, part, from, to)
		if err != nil {
			return fmt.Errorf("read the histories: %w", err)
		}
		for few := range slices.Chunk(histories, atOnce) {
			candidates := make([]*framework.Candidate, len(few))
			for i := range few {
				candidates[i] = NewCandidate(&few[i], env.Now, catalog, before[few[i].Component])
			}
			decided, err := d.decide(ctx, candidates)
			if err != nil {
				return err
			}
			for i := range decided {
				r := &decided[i]
				if c.Decided != nil {
					c.Decided(r)
				}
				for _, res := range schemas.Resources() {
					if f := r.Forecasts[res]; f != nil && r.Decision != nil {
						writer.Add(ctx, f)
					}
				}
				r.Release()
			}
			clear(few)
		}
	}
	for _, f := range snapshot.Lost() {
		env.Log.WarnContext(ctx, "samples are missing: a file is damaged", "key", f.Key)
	}
	results := d.bind(ctx)
	for i := range results {
		r := &results[i]
		if r.Decision == nil {
			return schemas.Errorf(schemas.CodeUnavailable, "interrupted before %s: %w", r.Candidate.Component, r.Status.Err())
		}
		set.Decisions = append(set.Decisions, *r.Decision)
		if r.Status.Code() == framework.Error {
			env.Log.ErrorContext(ctx, "component failed", "component", r.Candidate.Component.String(), "plugin", r.Status.Plugin(), "reason", r.Status.Message())
		}
	}
	// Where nothing could be written because nobody answers, the run has to be made
	// again, and must not be on record as made.
	failure := allFailed(results)
	if schemas.CodeOf(failure) == schemas.CodeUnavailable {
		return failure
	}
	_, outcome, err := writer.Commit(ctx, set.Decisions, append(inputs, modelInputs...))
	if err != nil {
		return fmt.Errorf("keep the decisions: %w", err)
	}
	report(ctx, env.Log, set, writer.Forecasts(), outcome)
	if c.Done != nil {
		c.Done(set, results)
	}
	return failure
}

// passBytes is how much the series of one pass over the table may take. All files are
// read anew for each.
const passBytes = 128 << 20

// atOnce is how many components are decided before their forecasts are written and their
// series let go of.
const atOnce = 256

// passSize returns how many components are decided in one pass.
func passSize(buckets int) int {
	return max(1, passBytes/max(1, 32*buckets)) // means and maxima of two resources
}

// decider runs every candidate with the plugins that its catalog names.
type decider struct {
	config   *Config
	run      string
	trained  []models.Trained
	profiler Profiler // nil where all have the same set
	sets     map[string]*set
	results  []runtime.Result
}

// set is one set of plugins, with the places of its components among the results.
type set struct {
	session *runtime.Session
	places  []int
}

func (c *Config) decider(run string, catalog Catalog, trained []models.Trained) (*decider, error) {
	d := &decider{config: c, run: run, trained: trained, sets: map[string]*set{}}
	if p, ok := catalog.(Profiler); ok && c.Profile != nil {
		d.profiler = p
		return d, nil
	}
	_, err := d.set("") // a profile that is wrong is so without components, too
	return d, err
}

// set returns the set of a name, "" being the one that decides where none is named.
func (d *decider) set(name string) (*set, error) {
	if s := d.sets[name]; s != nil {
		return s, nil
	}
	build := d.config.Framework
	if name != "" {
		build = func(t []models.Trained) (*runtime.Framework, error) { return d.config.Profile(name, t) }
	}
	fw, err := build(d.trained)
	if err != nil {
		return nil, err
	}
	s := &set{session: fw.Begin(d.run)}
	d.sets[name] = s
	return s, nil
}

// decide takes candidates through their forecast cycles. The results are in their
// order, and valid until the next call of a method.
func (d *decider) decide(ctx context.Context, candidates []*framework.Candidate) ([]runtime.Result, error) {
	first := len(d.results)
	parts := map[string][]*framework.Candidate{}
	for i, k := range candidates {
		name := ""
		if d.profiler != nil {
			name = d.profiler.Profile(k.Component)
		}
		s, err := d.set(name)
		if err != nil {
			return nil, err
		}
		s.places = append(s.places, first+i)
		parts[name] = append(parts[name], k)
	}
	d.results = append(d.results, make([]runtime.Result, len(candidates))...)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		s, part := d.sets[name], parts[name]
		places := s.places[len(s.places)-len(part):]
		for j, r := range s.session.Decide(ctx, part) {
			d.results[places[j]] = r
		}
	}
	return d.results[first:], nil
}

// bind takes all that were decided through their binding cycles, and returns them in
// the order of their candidates.
func (d *decider) bind(ctx context.Context) []runtime.Result {
	for _, name := range slices.Sorted(maps.Keys(d.sets)) {
		s := d.sets[name]
		part := make([]runtime.Result, len(s.places))
		for j, i := range s.places {
			part[j] = d.results[i]
		}
		s.session.Bind(ctx, part)
		for j, i := range s.places {
			d.results[i] = part[j]
		}
	}
	return d.results
}

// allFailed returns why not a single decision could be carried out, because of
// something that all of them need: a server that does not answer, or a right
// that lacks. It returns nil where one could, or where none was to be.
func allFailed(results []runtime.Result) error {
	var first error
	for i := range results {
		r := &results[i]
		if r.Decision != nil && r.Decision.Applied {
			return nil
		}
		if r.Candidate.Policy.Mode != schemas.Auto {
			continue
		}
		err := r.Status.Err()
		if code := schemas.CodeOf(err); first == nil && (code == schemas.CodeUnavailable || code == schemas.CodeInvalidConfig) {
			first = fmt.Errorf("no floor could be written: %w", err)
		}
	}
	return first
}

func inputOf(h artifact.Head) ([]artifact.Input, error) {
	in, err := h.Input()
	return []artifact.Input{in}, err
}

// latestModels returns the newest models. Without one the forecasters that need
// none go on.
func latestModels(ctx context.Context, env jobs.Env) ([]models.Trained, []artifact.Input, error) {
	trained, head, err := models.Latest(ctx, env.Store)
	switch {
	case errors.Is(err, artifact.ErrNotFound):
		env.Log.InfoContext(ctx, "no model has been trained yet")
		return nil, nil, nil
	case err != nil && schemas.CodeOf(err) == schemas.CodeUnavailable:
		return nil, nil, fmt.Errorf("read the models: %w", err)
	case err != nil:
		// A model that cannot be read is no reason to stop: the bank needs none.
		env.Log.WarnContext(ctx, "the models cannot be used", "error", err.Error())
		return nil, nil, nil
	}
	inputs, err := inputOf(head)
	return trained, inputs, err
}

// NewCandidate returns a component as the plugins see it.
func NewCandidate(h *schemas.History, now time.Time, catalog Catalog, previous *schemas.Decision) *framework.Candidate {
	requests := h.Requests
	if r, ok := catalog.(Requester); ok {
		if now := r.Requests(h.Component); now != nil {
			requests = now
		}
	}
	return &framework.Candidate{
		Component: h.Component,
		Now:       now,
		Policy:    catalog.Policy(h.Component),
		Series:    h.Series,
		Requests:  requests,
		Target:    catalog.Target(h.Component),
		Previous:  previous,
	}
}

// report writes one line about the run.
func report(ctx context.Context, log *slog.Logger, set forecasts.Set, made int, outcome artifact.Outcome) {
	count := map[schemas.Reason]int{}
	applied := 0
	for i := range set.Decisions {
		count[set.Decisions[i].Reason]++
		if set.Decisions[i].Applied {
			applied++
		}
	}
	reasons := make([]any, 0, len(count))
	for r, n := range count {
		reasons = append(reasons, slog.Int(string(r), n))
	}
	slices.SortFunc(reasons, func(a, b any) int {
		if a.(slog.Attr).Key < b.(slog.Attr).Key {
			return -1
		}
		return 1
	})
	log.InfoContext(ctx, "decided", "run", set.Run, "components", len(set.Decisions), "forecasts", made,
		"applied", applied, "until", set.DataUntil, "outcome", outcome.String(), slog.Group("reasons", reasons...))
}

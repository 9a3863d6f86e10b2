package collector

import (
	"cmp"
	"context"
	"time"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// Options say what a run of the collector measures. The zero value works.
type Options struct {
	// Step is the length of a bucket; [schemas.DefaultStep] where 0.
	Step time.Duration
	// Retention is how long samples are kept; [samples.DefaultRetention] where
	// 0.
	Retention time.Duration
	// Backfill is how far back the run looks. 0 means the last whole bucket,
	// and whatever the table lacks between its newest bucket and that one, but
	// no more than CatchUp.
	Backfill time.Duration
	// CatchUp bounds what a run makes up for of its own accord, after runs that
	// did not take place; [DefaultCatchUp] where 0.
	CatchUp time.Duration
}

// DefaultCatchUp is how far back a run looks after runs that did not take place.
const DefaultCatchUp = 6 * time.Hour

// maxRows is how many samples are held in memory before they are stored.
const maxRows = 1 << 20

// New returns the step. It asks the source for the buckets that end at or
// before the run's instant, stages the answer under the run-id and merges it
// into the table of samples.
func New(src Source, opts Options) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error {
		_, err := Collect(ctx, src, opts, env)
		return err
	}
}

// Collect is the step, with a report of what it did.
func Collect(ctx context.Context, src Source, opts Options, env jobs.Env) (samples.Report, error) {
	step := cmp.Or(opts.Step, schemas.DefaultStep)
	if err := schemas.ValidateStep(step); err != nil {
		return samples.Report{}, err
	}
	table := samples.New(env.Store, samples.Options{Step: step, Retention: opts.Retention, Writer: env.Version})
	staged, ok, err := table.Staged(ctx, env.Run)
	if err != nil {
		return samples.Report{}, err
	}
	if ok {
		env.Log.Info("samples were staged before", "rows", staged.Labels["rows"])
	} else {
		from, to, err := window(ctx, table, opts, env.Now)
		if err != nil {
			return samples.Report{}, err
		}
		stage := table.Stage(env.Run)
		if err := ask(ctx, src, stage, from, to, step, env.Report); err != nil {
			return samples.Report{}, err
		}
		if staged, err = stage.Commit(ctx); err != nil {
			return samples.Report{}, err
		}
		env.Log.Info("samples staged", "rows", staged.Labels["rows"], "from", from, "to", to)
	}
	report, err := table.Merge(ctx, staged, env.Now)
	if err != nil {
		return samples.Report{}, err
	}
	env.Log.Info("samples merged", "outcome", report.Outcome.String(), "rows", report.Rows, "added", report.Added,
		"duplicates", report.Duplicates, "conflicts", report.Conflicts, "expired", report.Expired)
	if report.Lost > 0 {
		env.Log.Warn("sample files were damaged and have left the table", "files", report.Lost)
	}
	return report, nil
}

// window returns the buckets that a run asks for.
func window(ctx context.Context, table *samples.Table, opts Options, now time.Time) (from, to time.Time, err error) {
	step := table.Step()
	to = now.UTC().Truncate(step)
	if opts.Backfill > 0 {
		return to.Add(-min(opts.Backfill, table.Retention())).Truncate(step), to, nil
	}
	from = to.Add(-step)
	snapshot, err := table.Snapshot(ctx)
	switch {
	case schemas.CodeOf(err) == schemas.CodeNotFound:
		return from, to, nil
	case err != nil:
		return from, to, err
	}
	if newest := snapshot.Head.Manifest.To; newest.Before(from) && !newest.IsZero() {
		from = newest
		if oldest := to.Add(-cmp.Or(opts.CatchUp, DefaultCatchUp)); from.Before(oldest) {
			from = oldest.Truncate(step)
		}
	}
	return from, to, nil
}

// ask stages what the source knows of [from, to), a day at a time, and reports how
// many buckets that were.
func ask(ctx context.Context, src Source, stage *samples.Stage, from, to time.Time, step time.Duration, report func(done, total int)) error {
	const day = 24 * time.Hour
	buckets := func(until time.Time) int { return int(until.Sub(from) / step) }
	for start := from; start.Before(to); {
		end := start.Truncate(day).Add(day)
		if end.After(to) {
			end = to
		}
		set := columnar.NewSamples(step)
		rows := 0
		err := src.Samples(ctx, start, end, step, func(s *schemas.Sample) error {
			if s.Start.Before(start) || !s.Start.Before(end) {
				return schemas.Errorf(schemas.CodeInvalidData, "source: %s: start must be within %s to %s, but is %s",
					s.Component, start.Format(time.RFC3339), end.Format(time.RFC3339), s.Start.Format(time.RFC3339))
			}
			if err := set.Add(s); err != nil {
				return err
			}
			if rows++; rows < maxRows {
				return nil
			}
			full := set
			set, rows = columnar.NewSamples(step), 0
			return stage.Add(ctx, full)
		})
		if err != nil {
			return err
		}
		if err := stage.Add(ctx, set); err != nil {
			return err
		}
		report(buckets(end), buckets(to))
		start = end
	}
	return nil
}

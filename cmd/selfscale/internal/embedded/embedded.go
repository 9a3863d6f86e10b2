// Package embedded runs the pipelines in this process: the same steps over the
// same store as in a cluster, walked by the local submitter.
package embedded

import (
	"cmp"
	"context"
	"flag"
	"io"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/dataset"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// Config is what the pipelines work with.
type Config struct {
	Store *artifact.Store
	// Collector makes the step that measures, which looks back as far as it is told;
	// 0 means that it takes what is missing since the last run.
	Collector func(backfill time.Duration) jobs.Func
	// HistoryDays says how many days are learned from, whenever a training begins; nil
	// means the step's own default.
	HistoryDays func(context.Context) (int, error)
	// Calendars are read whenever a training begins; nil leaves those of Trainer.
	Calendars func() (*calendar.Calendars, error)
	Trainer   trainer.Config
	Inference jobs.Func
	// Step, if not nil, is called when a step begins, and what it returns when it ends.
	Step     func(ctx context.Context, trace, run, step, shard string) (context.Context, func(error))
	Version  string
	KeepRuns int          // how many runs that have ended are remembered; 0 means 16
	Clock    clock.Clock  // of runs that are not for an instant of their own, and of records; nil means the real one
	Log      *slog.Logger // nil means none
}

// Always returns a [Config.Collector] whose step looks back as far whatever it is
// told.
func Always(step jobs.Func) func(time.Duration) jobs.Func {
	return func(time.Duration) jobs.Func { return step }
}

// Pipelines runs the pipelines one at a time.
type Pipelines struct {
	submitter *local.Submitter
}

// New returns the pipelines. Close them after use.
func New(c Config) (*Pipelines, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	step := func(make func(local.Args) jobs.Func) local.Func {
		return func(ctx context.Context, args local.Args) error {
			env, _, err := c.env(args)
			if err != nil {
				return err
			}
			return jobs.Call(ctx, make(args), env)
		}
	}
	collect := func(ctx context.Context, args local.Args) error {
		env, backfill, err := c.env(args)
		if err != nil {
			return err
		}
		return jobs.Call(ctx, c.Collector(backfill), env)
	}
	submitter, err := local.New(local.Config{
		Pipelines: workflows.Pipelines(),
		Jobs: c.around(map[string]local.Func{
			workflows.CollectorJob: collect,
			workflows.DatasetJob: step(func(args local.Args) jobs.Func {
				return func(ctx context.Context, env jobs.Env) error {
					var opts dataset.Options
					if c.HistoryDays != nil {
						var err error
						if opts.Days, err = c.HistoryDays(ctx); err != nil {
							return err
						}
					}
					shards, err := dataset.Build(ctx, opts, env)
					if err == nil {
						args.SetShards(shards)
					}
					return err
				}
			}),
			workflows.TrainerJob: step(func(args local.Args) jobs.Func {
				return func(ctx context.Context, env jobs.Env) error {
					cfg := c.Trainer
					cfg.Commit = args.Step == "commit"
					if c.Calendars != nil {
						var err error
						if cfg.Calendars, err = c.Calendars(); err != nil {
							return err
						}
					}
					return trainer.New(cfg)(ctx, env)
				}
			}),
			workflows.InferenceJob: step(func(local.Args) jobs.Func { return c.Inference }),
		}),
		KeepRuns: cmp.Or(c.KeepRuns, 16),
		Clock:    c.Clock,
		Logger:   c.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Pipelines{submitter}, nil
}

// around has the configuration's Step know of each job's steps.
func (c *Config) around(jobs map[string]local.Func) map[string]local.Func {
	if c.Step == nil {
		return jobs
	}
	out := make(map[string]local.Func, len(jobs))
	for name, job := range jobs {
		out[name] = func(ctx context.Context, args local.Args) error {
			ctx, end := c.Step(ctx, args.Trace, args.RunID, args.Step, args.Shard)
			err := job(ctx, args)
			end(err)
			return err
		}
	}
	return out
}

// env reads what a step is told: the flags that every program of a step has.
func (c *Config) env(args local.Args) (jobs.Env, time.Duration, error) {
	env := jobs.Env{Store: c.Store, Log: c.Log, Run: args.RunID, Shard: args.Shard, Version: c.Version, Progress: args.Progress}
	flags := flag.NewFlagSet(args.Step, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	now := flags.String("now", "", "")
	backfill := flags.Duration("backfill", 0, "")
	flags.Bool("commit", false, "")
	if err := flags.Parse(args.Flags); err != nil {
		return jobs.Env{}, 0, schemas.Errorf(schemas.CodeInvalidConfig, "step %s: %w", args.Step, err)
	}
	at := c.Clock.Now()
	if *now != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, *now); err != nil {
			return jobs.Env{}, 0, schemas.Errorf(schemas.CodeInvalidConfig, "step %s: -now must be an RFC 3339 time, but is %q", args.Step, *now)
		}
	}
	if *backfill < 0 {
		return jobs.Env{}, 0, schemas.Errorf(schemas.CodeInvalidConfig, "step %s: -backfill must not be negative, but is %s", args.Step, *backfill)
	}
	env.Now = at.UTC()
	return env, *backfill, nil
}

// Submitter returns what the pipelines can be asked for runs by.
func (p *Pipelines) Submitter() workflows.Submitter { return p.submitter }

// Run runs a pipeline for an instant and returns when it is done. The run-id is
// made from both, so that the same call runs the same run. Watch, if not nil, is
// given the run's record now and then while it is under way.
func (p *Pipelines) Run(ctx context.Context, pipeline string, now time.Time, watch func(workflows.Run)) error {
	id := pipeline + "-" + now.UTC().Format("20060102t150405z")
	_, err := p.submitter.Submit(ctx, workflows.Request{
		Pipeline: pipeline, RunID: id,
		Parameters: map[string]string{"now": now.UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return err
	}
	run, err := p.wait(ctx, id, watch)
	if err != nil {
		return err
	}
	if run.Phase == workflows.Succeeded {
		return nil
	}
	for _, s := range run.Steps {
		if s.Phase != workflows.Failed {
			continue
		}
		return schemas.Errorf(codeOf(s.ExitCode), "%s", s.Message)
	}
	return schemas.Errorf(schemas.CodeInternal, "run %s is %s: %s", id, run.Phase, run.Message)
}

// wait returns the record of a run that is done.
func (p *Pipelines) wait(ctx context.Context, id string, watch func(workflows.Run)) (workflows.Run, error) {
	for watch != nil {
		some, cancel := context.WithTimeout(ctx, watchEvery)
		run, err := p.submitter.Wait(some, id)
		cancel()
		if err == nil || ctx.Err() != nil {
			return run, err
		}
		watch(run)
	}
	return p.submitter.Wait(ctx, id)
}

// watchEvery is how often a run's progress is told.
const watchEvery = 200 * time.Millisecond

// codeOf returns the code that a step's exit code stands for.
func codeOf(exit *int) schemas.Code {
	if exit == nil {
		return schemas.CodeInternal
	}
	switch *exit {
	case workflows.ExitData:
		return schemas.CodeInvalidData
	case workflows.ExitConfig:
		return schemas.CodeInvalidConfig
	case workflows.ExitTemporary:
		return schemas.CodeUnavailable
	}
	return schemas.CodeInternal
}

// Close stops what is running.
func (p *Pipelines) Close() { p.submitter.Close() }

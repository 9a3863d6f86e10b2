// Trainer is the step of the pipelines that learns.
package main

import (
	"cmp"
	"context"
	"flag"
	"os"

	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/cmd/internal/trainvalues"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

const long = `
Trains on one shard of the dataset that the same run has made: the network that
corrects the forecasts of the bank of simple candidates. Every forecaster is
judged on the newest day, which none of them has seen; the network is kept only
if it did better there than the bank alone. Training goes on from the weights
that the shard was last accepted with.

Days and events that a -calendar marks are left out; with -timezone, days are
those on the clock of a service's users.

With -commit it trains nothing and makes the models of all shards of the run the
current ones.

How far it learns to look ahead: -horizon or, without, as many days as the
variable TRAIN_FUTURE_DAYS says, else one.

Example:
  trainer -store file:///var/lib/self-scaling -run train-7 -shard 00000
  trainer -store file:///var/lib/self-scaling -run train-7 -commit
`

// version is set by the linker.
var version string

func main() {
	memory.Limit()
	os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr))
}

func program() jobs.Program {
	c := trainer.Config{Options: trainer.DefaultOptions()}
	horizon := 0
	var calendars standard.CalendarFlags
	return jobs.Program{
		Name: "trainer", Short: "learn from a shard of the dataset", Long: long, Linked: version,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&c.Commit, "commit", false, "accept the models of all shards instead of training")
			f.IntVar(&horizon, "horizon", 0, "how many `steps` ahead to forecast (default: $TRAIN_FUTURE_DAYS, else a day)")
			f.IntVar(&c.Options.Season, "season", 0, "`steps` in a season; 0 means a day")
			f.IntVar(&c.Options.Fit.Epochs, "epochs", c.Options.Fit.Epochs, "passes over the examples, at most")
			calendars.Register(f)
			f.Uint64Var(&c.Options.Fit.Seed, "seed", c.Options.Fit.Seed, "seed of the training; the same data and seed give the same model")
		},
		Step: tracing.Step("trainer", func(ctx context.Context, env jobs.Env) error {
			future, err := trainvalues.FutureDays()
			if err != nil {
				return err
			}
			if c.Calendars, err = calendars.Load(); err != nil {
				return err
			}
			c.Options.Horizon = cmp.Or(horizon, future*schemas.StepsPerDay(schemas.DefaultStep), c.Options.Horizon)
			return trainer.New(c)(ctx, env)
		}),
	}
}

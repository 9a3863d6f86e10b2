package serve

import (
	"context"
	"path/filepath"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/simulated"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// demoWorld is the simulated cluster, whose clock runs fast.
func demoWorld(o cli.ServeOptions) (*world, error) {
	state := ""
	if o.Data != "" {
		state = filepath.Join(o.Data, "demo.json")
	}
	cluster, err := simulated.New(state)
	if err != nil {
		return nil, err
	}
	values := simulated.TrainValues{Cluster: cluster}
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		return nil, err
	}
	training := trainer.DefaultOptions()
	// Each night goes on from the night before, and nights are short.
	training.Fit.Epochs = 3
	// What lies in memory is swept so that the demonstration can go on for long.
	retention := artifact.DefaultSweepOptions()
	retention.Heads[schemas.ForecastsHead] = 3 * 96
	retention.Heads[schemas.SamplesHead] = 96
	retention.Runs, retention.Grace = 24*time.Hour, 24*time.Hour
	return &world{
		cluster: cluster, services: simulated.Services{Cluster: cluster}, trainValues: values,
		clock: cluster.Clock(), speed: o.Speed,
		collector: func(backfill time.Duration) jobs.Func {
			return collector.New(cluster.Source(), collector.Options{Backfill: backfill})
		},
		trainer: trainer.Config{Options: training},
		inference: func(ctx context.Context, env jobs.Env) error {
			values, err := values.TrainValues(ctx)
			if err != nil {
				return err
			}
			p := profile
			p.Horizon = framework.Duration(time.Duration(values.Future) * 24 * time.Hour)
			return inference.New(inference.Config{
				HistoryDays: values.History,
				Framework:   standard.Framework(p, 0, cluster.Binder()),
				Catalog:     func(context.Context) (inference.Catalog, error) { return cluster, nil },
			})(ctx, env)
		},
		// What was measured before is there at once; the first training comes five
		// minutes later.
		begin: &workflows.Request{
			Pipeline: "collect", RunID: "collect-first",
			Parameters: map[string]string{"now": cluster.Clock().Now().Format(time.RFC3339), "backfill": samples.DefaultRetention.String()},
		},
		retention: retention,
		run:       func(ctx context.Context) error { return cluster.Run(ctx, o.Speed) },
	}, nil
}

package serve

import (
	"context"
	"path/filepath"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/simulated"
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
		cluster: cluster, services: simulated.Services{Cluster: cluster}, trainValues: simulated.TrainValues{Cluster: cluster},
		clock: cluster.Clock(), speed: o.Speed,
		collector: func(backfill time.Duration) jobs.Func {
			return collector.New(cluster.Source(), collector.Options{Backfill: backfill})
		},
		trainer: trainer.Config{Options: training},
		inference: inference.New(inference.Config{
			Framework: standard.Framework(profile, 0, cluster.Binder()),
			Catalog:   func(context.Context) (inference.Catalog, error) { return cluster, nil },
		}),
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

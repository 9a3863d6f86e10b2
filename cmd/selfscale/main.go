// Command selfscale shows on real usage what predictive autoscaling does, and
// turns a user's own usage into forecasts, decisions and HPA manifests. It
// needs no cluster.
package main

import (
	"context"
	"os"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/demo"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/lineage"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/measure"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/offline"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/query"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/remote"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/serve"
)

// version is set by the linker.
var version string

func main() {
	memory.Limit()
	os.Exit(cli.Main(engine(), version, os.Args[1:], os.Stdout, os.Stderr))
}

// runBytes is what selfscale run stays within, together with the program's own pages
// half a GiB, as far as its history allows.
const runBytes = 448 << 20

// engine says what each command does.
func engine() cli.Engine {
	return cli.Engine{
		Demo: func(ctx context.Context, o cli.DemoOptions, c cli.Console) error {
			return demo.Run(ctx, o, c, command.Version(version))
		},
		Run: func(ctx context.Context, o cli.RunOptions, c cli.Console) error {
			memory.Within(ctx, runBytes)
			return offline.Run(ctx, o, c, command.Version(version))
		},
		Remote: remote.Engine(),
		Serve: func(ctx context.Context, o cli.ServeOptions, c cli.Console) error {
			memory.Spare()
			return serve.Run(ctx, o, c, command.Version(version))
		},
		Forecast: query.Forecast,
		History:  query.History,
		Backtest: func(ctx context.Context, o cli.BacktestOptions, c cli.Console) error {
			return measure.Run(ctx, o, c, command.Version(version))
		},
		Models: &cli.ModelsEngine{
			List: lineage.List, Show: lineage.Show, Compare: lineage.Compare,
			Rollback: lineage.Rollback(command.Version(version), clock.RealClock{}.Now),
		},
	}
}

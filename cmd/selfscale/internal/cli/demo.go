package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// DemoOptions are the flags of selfscale demo.
type DemoOptions struct {
	Out string // the folder to write
}

func newDemo(run func(context.Context, DemoOptions, Console) error, console Console) *cobra.Command {
	var o DemoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Replay real usage with the HPA alone and with self-scaling",
		Long: `demo replays real one-minute usage of sixteen workloads against a simulated
cluster twice: once with the reactive HorizontalPodAutoscaler alone, once with
the floor that self-scaling sets under it. Training sees only what lay before
each decision. It needs no cluster and no network.

At the end it prints, per component, how the forecasts did against repeating
yesterday (seasonal naive), for how many minutes there were too few pods in
either run, and what both runs cost in replica-hours. It writes

  summary.json   the same figures for programs
  plots/         usage, forecast, floor and replicas of each component
  forecasts/     the forecasts as Parquet
  manifests/     the HPA of each component as YAML`,
		Example: `  selfscale demo
  selfscale demo --out /tmp/demo`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Out == "" {
				return usagef(cmd, "--out must name a folder, but is empty")
			}
			return run(cmd.Context(), o, console)
		},
	}
	cmd.Flags().StringVar(&o.Out, "out", "selfscale-demo", "folder to write; an earlier result in it is replaced")
	return cmd
}

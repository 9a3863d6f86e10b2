// Dataset is the step of the pipelines that cuts the table of samples into
// shards to train on.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/cmd/internal/trainvalues"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/dataset"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

const long = `
Reads the last days of the table of samples and writes, for every component,
dense series of CPU and memory usage that all end with the last whole bucket
before -now. Components are dealt into shards, in the order of their names; each
shard is a Parquet file with a manifest under the run. The list of shard ids, a
JSON array, goes to -shards-file, where a workflow's fan-out reads it.

How many days: -days or, without, the variable TRAIN_HISTORY_DAYS, else 28.

Example:
  dataset -store file:///var/lib/self-scaling -run train-7 -shards-file /tmp/shards.json
`

// version is set by the linker.
var version string

func main() {
	memory.Limit()
	os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr))
}

func program() jobs.Program {
	var opts dataset.Options
	return jobs.Program{
		Name: "dataset", Short: "cut the table of samples into shards to train on", Long: long, Linked: version,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&opts.Days, "days", 0, "`days` of history that the series have (default: $TRAIN_HISTORY_DAYS, else 28)")
			f.IntVar(&opts.ShardSize, "shard-size", dataset.DefaultShardSize, "largest `number` of components in a shard")
			f.StringVar(&opts.RunFile, "run-file", "", "`file` to write the run-id to, for the steps that take the shards up")
			f.StringVar(&opts.ShardsFile, "shards-file", "", "`file` to write the list of shard ids to")
		},
		Step: tracing.Step("dataset", func(ctx context.Context, env jobs.Env) (err error) {
			if opts.Days, err = trainvalues.HistoryDays(opts.Days, dataset.DefaultDays); err != nil {
				return err
			}
			return dataset.New(opts)(ctx, env)
		}),
	}
}

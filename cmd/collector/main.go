// Collector is the step of the pipelines that measures usage.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

const long = `
Asks a source what every component has used since the last run, and appends the
answer to the table of samples in the store, in buckets of 15 minutes. Days that
are over become one file; days older than the retention leave the table.

The source is a file of recorded usage, CSV or Parquet, with the columns

  time,service,component,cpu,memory[,namespace,replicas,cpu_request,memory_request]

where times are RFC 3339, cpu is in cores and memory in bytes, both summed over
the component's pods, and an empty field means not known. All of the file that
the retention lets in is taken, up to the last whole bucket before -now.

Example:
  collector -store file:///var/lib/self-scaling -run backfill-1 -history usage.csv -now 2024-03-23T00:00:00Z
`

func main() { os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr)) }

func program() jobs.Program {
	var path string
	opts := collector.Options{}
	return jobs.Program{
		Name: "collector", Short: "measure usage and append it to the table of samples", Long: long,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&path, "history", "", "`file` of recorded usage to read")
			f.DurationVar(&opts.Backfill, "backfill", samples.DefaultRetention, "how far back from -now to read")
			f.DurationVar(&opts.Retention, "retention", samples.DefaultRetention, "how long samples are kept")
		},
		Step: func(ctx context.Context, env jobs.Env) error {
			if path == "" {
				return schemas.Errorf(schemas.CodeInvalidConfig, "flag -history must name a file of recorded usage")
			}
			f, err := history.Read(ctx, path, history.Options{})
			if err != nil {
				return err
			}
			if oldest := env.Now.Add(-opts.Retention); f.To.Before(oldest) {
				return schemas.Errorf(schemas.CodeInvalidConfig, "flag -now must be within %s (the retention) after the end of %s, %s, but is %s",
					opts.Retention, f.Name, f.To.Format(time.RFC3339), env.Now.Format(time.RFC3339))
			}
			opts.Step = f.Step
			return collector.New(f, opts)(ctx, env)
		},
	}
}

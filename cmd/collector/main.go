// Collector is the step of the pipelines that measures usage.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/controller/cluster/prometheus"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
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
are over become one file; days older than the retention leave the table. There
are three sources.

-cluster: the controllers of this installation, which read the metrics API once
a minute and keep what they have read for 6 hours. Every Ready pod with the
labels -controller in -namespace is asked at its own address, port "metrics",
and who has read a component most often is believed, so that one that is gone
does not matter. It needs the right to list pods in -namespace.

-prometheus URL: a Prometheus server that scrapes the kubelets and
kube-state-metrics, which must export the pods' labels
(--metric-labels-allowlist=pods=[...]). It knows the past: -backfill 672h reads
four weeks. -watch-namespaces and -labels say which pods are components. It
needs no right in the cluster.

-history FILE: recorded usage, CSV or Parquet, with the columns

  time,service,component,cpu,memory[,namespace,replicas,cpu_request,memory_request]

where times are RFC 3339, cpu is in cores and memory in bytes, both summed over
the component's pods, and an empty field means not known. All of the file that
the retention lets in is taken, up to the last whole bucket before -now, unless
-backfill says less.

Examples:
  collector -store "$STORE_URL" -run collect-7 -cluster -namespace self-scaling
  collector -store "$STORE_URL" -run collect-7 -prometheus http://prometheus.monitoring:9090 -backfill 672h
  collector -store file:///var/lib/self-scaling -run backfill-1 -history usage.csv -now 2024-03-23T00:00:00Z
`

// controllers are the labels of the controller's pods in any release of the
// chart.
const controllers = "app.kubernetes.io/part-of=self-scaling,app.kubernetes.io/component=controller"

// version is set by the linker.
var version string

func main() {
	memory.Limit()
	os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the step's own flags.
type settings struct {
	cluster                         clusterflags.Flags
	controller, prometheus, history string
	options                         collector.Options
}

func program() jobs.Program {
	var s settings
	return jobs.Program{
		Name: "collector", Short: "measure usage and append it to the table of samples", Long: long, Linked: version,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			s.cluster.Register(f)
			f.StringVar(&s.controller, "controller", controllers, "`labels` of the controllers that are asked for their readings")
			f.StringVar(&s.prometheus, "prometheus", "", "`URL` of a Prometheus server to read usage from")
			f.StringVar(&s.history, "history", "", "`file` of recorded usage to read")
			f.DurationVar(&s.options.Backfill, "backfill", 0, "how far back from -now to read (default: what the table lacks; of a file, all)")
			f.DurationVar(&s.options.Retention, "retention", samples.DefaultRetention, "how long samples are kept")
		},
		Step: tracing.Step("collector", s.step),
	}
}

func (s *settings) step(ctx context.Context, env jobs.Env) error {
	command.Adopt(env.Log)
	if s.options.Backfill < 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -backfill must not be negative, but is %s", s.options.Backfill)
	}
	opts := s.options
	source, err := s.source(ctx, env, &opts)
	if err != nil {
		return err
	}
	return collector.New(source, opts)(ctx, env)
}

// source returns whom to ask, and completes the options by what it is.
func (s *settings) source(ctx context.Context, env jobs.Env, opts *collector.Options) (collector.Source, error) {
	scope, err := s.cluster.Scope()
	if err != nil {
		return nil, err
	}
	switch {
	case s.history != "" && (s.cluster.Cluster || s.prometheus != ""):
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -history must not be given together with -cluster or -prometheus: usage has one source")
	case s.history != "":
		return s.file(ctx, env, opts)
	case s.prometheus != "":
		return prometheus.New(s.prometheus, prometheus.Options{Scope: scope, Log: env.Log})
	case s.cluster.Cluster:
		client, err := s.cluster.Connect()
		if err != nil {
			return nil, err
		}
		return usage.NewRemote(client, usage.RemoteOptions{Namespace: s.cluster.Namespace, Selector: s.controller, Log: env.Log})
	}
	return nil, schemas.Errorf(schemas.CodeInvalidConfig, "one of the flags -cluster, -prometheus and -history must say where usage comes from")
}

func (s *settings) file(ctx context.Context, env jobs.Env, opts *collector.Options) (collector.Source, error) {
	f, err := history.Read(ctx, s.history, history.Options{})
	if err != nil {
		return nil, err
	}
	if oldest := env.Now.Add(-opts.Retention); f.To.Before(oldest) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -now must be within %s (the retention) after the end of %s, %s, but is %s",
			opts.Retention, f.Name, f.To.Format(time.RFC3339), env.Now.Format(time.RFC3339))
	}
	opts.Step = f.Step
	if opts.Backfill == 0 {
		opts.Backfill = opts.Retention
	}
	return f, nil
}

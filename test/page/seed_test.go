//go:build page

package page

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/learned"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/dataset"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/local"
)

const interval = 15 * time.Minute

// The seeded installation has run for a morning: it learned at dawn from a week
// of real usage, and has decided every 15 minutes since.
var (
	dawn = time.Date(2021, 10, 22, 6, 0, 0, 0, time.UTC)
	noon = dawn.Add(6 * time.Hour)
)

// shop is what its operators run: which of the real series each component's
// usage follows, and the mode it has.
var shop = []struct {
	id   schemas.ComponentID
	mode schemas.Mode
}{
	{schemas.ComponentID{Namespace: "payments", Service: "ledger", Component: "reader"}, schemas.Off},
	{schemas.ComponentID{Namespace: "payments", Service: "ledger", Component: "writer"}, schemas.Auto},
	{schemas.ComponentID{Namespace: "shop", Service: "catalogue", Component: "images"}, schemas.Shadow},
	{schemas.ComponentID{Namespace: "shop", Service: "catalogue", Component: "search"}, schemas.Auto},
	{schemas.ComponentID{Namespace: "shop", Service: "checkout", Component: "api"}, schemas.Auto},
	{schemas.ComponentID{Namespace: "shop", Service: "checkout", Component: "queue-consumer-with-a-long-name"}, schemas.Shadow},
	{schemas.ComponentID{Namespace: "shop", Service: "mail", Component: "sender"}, schemas.Shadow},
}

const (
	request       = 0.25      // cores
	memoryRequest = 512 << 20 // bytes
	minReplicas   = 2
	maxReplicas   = 20
)

// workloads returns the shop's workloads as they are at an instant. The last one
// requests nothing, so that there is no floor to compute for it.
func workloads() ([]sim.Workload, error) {
	all, err := traces.Load()
	if err != nil {
		return nil, err
	}
	end := noon.Add(48 * time.Hour).Truncate(24 * time.Hour)
	var out []sim.Workload
	for i, c := range shop {
		tr := all[i%len(all)]
		start := tr.Start.Add(end.Sub(tr.End().Truncate(24 * time.Hour)).Truncate(24 * time.Hour))
		sorted := slices.Sorted(slices.Values(tr.Values))
		scale := request * 7 / sorted[len(sorted)/2]
		cpu, memory := make([]float64, len(tr.Values)), make([]float64, len(tr.Values))
		for j, v := range tr.Values {
			cpu[j] = min(v*scale, request*maxReplicas)
			memory[j] = memoryRequest * (1.5 + cpu[j]/request/10)
		}
		w := sim.Workload{
			Component:   c.id,
			Demand:      map[schemas.Resource]sim.Trace{schemas.CPU: {Start: start, Values: cpu}, schemas.Memory: {Start: start, Values: memory}},
			Requests:    schemas.Requests{schemas.CPU: request, schemas.Memory: memoryRequest},
			Utilization: map[schemas.Resource]float64{schemas.CPU: .7},
			MinReplicas: minReplicas, MaxReplicas: maxReplicas, StartUp: 2 * time.Minute,
		}
		if i == len(shop)-1 {
			w.Requests, w.Utilization = nil, nil
		}
		out = append(out, w)
	}
	return out, nil
}

// operators is a catalog: what the operators want for the workloads of a cluster.
type operators struct {
	cluster *sim.Cluster
	mode    func(schemas.ComponentID) schemas.Mode
}

func (o operators) Policy(id schemas.ComponentID) schemas.Policy {
	p := schemas.DefaultPolicy()
	p.Mode = schemas.Off
	if w := o.cluster.Workload(id); w != nil {
		p.Mode = o.mode(id)
		p.MinReplicas, p.MaxReplicas, p.LeadTime = w.MinReplicas, w.MaxReplicas, w.StartUp
	}
	return p
}

func (o operators) Target(id schemas.ComponentID) *framework.Target { return o.cluster.Target(id) }

// pipelines runs the real steps over a store and a simulated cluster. Its records
// have the times of a clock.
func pipelines(store *artifact.Store, cluster *sim.Cluster, now clock.Clock, mode func(schemas.ComponentID) schemas.Mode) (*local.Submitter, error) {
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		return nil, err
	}
	decide := inference.New(inference.Config{
		Framework: func(trained []models.Trained) (*runtime.Framework, error) {
			library := learned.NewLibrary()
			for _, t := range trained {
				library.Add(t.Model, t.Weights)
			}
			registry := plugins.NewRegistry()
			if err := registry.Merge(learned.Factories(library, 0)); err != nil {
				return nil, err
			}
			return runtime.New(registry, profile, runtime.Options{Plugins: []framework.Plugin{cluster.Binder()}})
		},
		Catalog: func(context.Context) (inference.Catalog, error) { return operators{cluster, mode}, nil },
	})
	learning := trainer.Config{Options: trainer.DefaultOptions()}
	learning.Options.Fit.Epochs = 1
	step := func(make func(local.Args) jobs.Func) local.Func {
		return func(ctx context.Context, args local.Args) error {
			flags := flag.NewFlagSet(args.Step, flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			now := flags.String("now", "", "")
			flags.Bool("commit", false, "")
			flags.String("backfill", "", "")
			if err := flags.Parse(args.Flags); err != nil {
				return schemas.Errorf(schemas.CodeInvalidConfig, "step %s: %w", args.Step, err)
			}
			at := cluster.Now()
			if *now != "" {
				var err error
				if at, err = time.Parse(time.RFC3339, *now); err != nil {
					return schemas.Errorf(schemas.CodeInvalidConfig, "step %s: -now must be an RFC 3339 time, but is %q", args.Step, *now)
				}
			}
			return jobs.Call(ctx, make(args), jobs.Env{
				Store: store, Log: slog.New(slog.DiscardHandler), Run: args.RunID, Shard: args.Shard, Now: at.UTC(), Version: "test", Progress: args.Progress,
			})
		}
	}
	return local.New(local.Config{
		Pipelines: workflows.Pipelines(), Clock: now,
		Jobs: map[string]local.Func{
			workflows.CollectorJob: step(func(local.Args) jobs.Func {
				return collector.New(cluster, collector.Options{Backfill: samples.DefaultRetention})
			}),
			workflows.DatasetJob: step(func(args local.Args) jobs.Func {
				return func(ctx context.Context, env jobs.Env) error {
					shards, err := dataset.Build(ctx, dataset.Options{}, env)
					if err == nil {
						args.SetShards(shards)
					}
					return err
				}
			}),
			workflows.TrainerJob: step(func(args local.Args) jobs.Func {
				c := learning
				c.Commit = args.Step == "commit"
				return trainer.New(c)
			}),
			workflows.InferenceJob: step(func(local.Args) jobs.Func { return decide }),
		},
	})
}

// seed fills a store with what the installation made until noon.
func seed(ctx context.Context, store *artifact.Store) error {
	fleet, err := workloads()
	if err != nil {
		return err
	}
	cluster, err := sim.New(sim.Config{Start: dawn}, fleet)
	if err != nil {
		return err
	}
	modes := map[schemas.ComponentID]schemas.Mode{}
	for _, c := range shop {
		modes[c.id] = c.mode
	}
	submitter, err := pipelines(store, cluster, clock.RealClock{}, func(id schemas.ComponentID) schemas.Mode { return modes[id] })
	if err != nil {
		return err
	}
	defer submitter.Close()
	run := func(pipeline string) error {
		now := cluster.Now().UTC()
		id := pipeline + "-" + now.Format("20060102t150405z")
		if _, err := submitter.Submit(ctx, workflows.Request{Pipeline: pipeline, RunID: id, Parameters: map[string]string{"now": now.Format(time.RFC3339)}}); err != nil {
			return err
		}
		r, err := submitter.Wait(ctx, id)
		if err == nil && r.Phase != workflows.Succeeded {
			err = fmt.Errorf("run %s is %s: %s", id, r.Phase, r.Message)
		}
		return err
	}
	for t := dawn; !t.After(noon); t = t.Add(interval) {
		if err := cluster.Step(t.Add(time.Minute)); err != nil {
			return err
		}
		wanted := []string{"collect", "infer"}
		if t.Equal(dawn) {
			wanted = []string{"collect", "train", "infer"}
		}
		for _, pipeline := range wanted {
			if err := run(pipeline); err != nil {
				return err
			}
		}
	}
	return nil
}

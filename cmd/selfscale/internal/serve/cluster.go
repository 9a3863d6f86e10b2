package serve

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api/access"
	accesskubernetes "github.com/self-scaling/self-scaling/api/access/kubernetes"
	"github.com/self-scaling/self-scaling/cmd/internal/clusterservices"
	"github.com/self-scaling/self-scaling/cmd/internal/decide"
	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/oversight"
	"github.com/self-scaling/self-scaling/controller/cluster/prometheus"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/almanac"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// clusterWorld is a Kubernetes cluster.
func clusterWorld(o cli.ServeOptions, log *slog.Logger) (*world, error) {
	config, namespace, err := cluster.Config(o.Kubeconfig, o.Context)
	if err != nil {
		return nil, err
	}
	client, err := cluster.NewClient(config)
	if err != nil {
		return nil, err
	}
	scope := cluster.Scope{Namespaces: o.WatchNamespaces}
	if o.Labels != "" {
		if scope.Presets, err = cluster.ParsePresets(o.Labels); err != nil {
			return nil, err
		}
	}
	calendars := func() (*calendar.Calendars, error) { return calendar.Load(o.Calendars, o.Zones) }
	if _, err := calendars(); err != nil { // sooner than in the first night
		return nil, err
	}
	namespace = cmp.Or(o.Namespace, namespace)
	watched := oversight.New(client, oversight.Options{Scope: scope, Log: log})
	events, err := oversight.NewEvents(watched, namespace, os.Getenv("POD_NAME"))
	if err != nil {
		return nil, err
	}
	known := clusterservices.New(client, namespace, clusterservices.Options{Scope: scope, Log: log})
	w := &world{
		cluster: watched, services: known, trainValues: known,
		clock: clock.RealClock{}, speed: 1,
		trainer:   trainer.Config{Options: learning()},
		inference: deciding(client, scope, namespace, calendars),
		calendars: calendars,
		backfill:  o.Backfill,
		retention: artifact.DefaultSweepOptions(),
		notify:    events.Notify,
	}
	if o.Auth == cli.AuthKubernetes {
		w.access = access.NewCache(accesskubernetes.New(client.Dynamic, o.Audience), access.Options{})
	}
	sampler := usage.New(client, usage.Options{Scope: scope, Log: log})
	var source collector.Source = sampler
	w.run = func(ctx context.Context) error {
		defer events.Stop()
		var all sync.WaitGroup
		all.Go(func() { watched.Run(ctx) })
		if o.Prometheus == "" {
			all.Go(func() { sampler.Run(ctx) })
		}
		all.Wait()
		return nil
	}
	if o.Prometheus != "" {
		if source, err = prometheus.New(o.Prometheus, prometheus.Options{Scope: scope, Log: log}); err != nil {
			return nil, err
		}
	}
	w.collector = func(backfill time.Duration) jobs.Func {
		return collector.New(source, collector.Options{Backfill: backfill})
	}
	return w, nil
}

// learning are the options of training beside everything else in one process: with so
// much fewer examples, a hundred components are learned from in half of the memory and of
// the time, and the network's loss on the newest day grows by 0.3 % (a sixth of what the
// network gains).
func learning() trainer.Options {
	o := trainer.DefaultOptions()
	o.TotalWindows /= 2
	o.Examples /= 8
	o.Validation /= 4
	return o
}

// deciding returns the step that decides for a cluster, by the train values that hold
// and the calendars that are there when it runs.
func deciding(client *cluster.Client, scope cluster.Scope, namespace string, calendars func() (*calendar.Calendars, error)) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error {
		values, err := client.TrainValues(ctx, namespace)
		if err != nil {
			return err
		}
		marked, err := calendars()
		if err != nil {
			return err
		}
		named := func(name string) (runtime.Profile, error) {
			p, err := standard.Profile(name)
			p.Horizon = framework.Duration(time.Duration(values.FutureDays) * 24 * time.Hour)
			return p, err
		}
		profile, err := named(plugins.DefaultProfile)
		if err != nil {
			return err
		}
		return decide.OnCluster(decide.Options{
			Client: client, Scope: scope, Profile: profile, Named: named,
			Inference: inference.Config{HistoryDays: values.HistoryDays},
			Own:       []framework.Plugin{almanac.New(marked)},
		})(ctx, env)
	}
}

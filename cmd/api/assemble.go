package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/access/kubernetes"
	"github.com/self-scaling/self-scaling/api/rollback"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/web"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/internal/clusterservices"
	"github.com/self-scaling/self-scaling/cmd/internal/engine"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/metered"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// drivers are the stores that the program can open.
var drivers = artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open}

// assemble puts the server together: the cluster, the store and what starts runs. It
// makes no request, so that the server is there before any of them. Close is to be
// called at the end.
func assemble(ctx context.Context, o *options, at net.Addr, registry *prometheus.Registry, runs *tracing.Runs, log *slog.Logger) (_ *api.Server, closeAll func(), err error) {
	var closers []func() error
	closeAll = func() {
		for i := range closers {
			if err := closers[len(closers)-1-i](); err != nil {
				log.Warn("closing failed", "error", err)
			}
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	config, err := installation.Read(o.config)
	if err != nil {
		return nil, closeAll, err
	}
	scope, err := o.Scope()
	if err != nil {
		return nil, closeAll, err
	}
	client, err := o.Connect()
	if err != nil {
		return nil, closeAll, err
	}
	drivers := metered.Drivers(drivers, registry)
	// Read-only: a store that does not answer must not keep the server from starting.
	store, err := artifact.Open(ctx, o.store, drivers, artifact.Options{ReadOnly: true, OnInvalidHead: func(h artifact.InvalidHead) {
		log.Warn("head passed over", "pipeline", string(h.Pipeline), "number", h.Number, "error", h.Err)
	}})
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, store.Close)
	shown, err := view.New(store, view.Options{Dir: o.cache, Log: log})
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, shown.Close)
	// The engine's runs are the controller's to keep going.
	e, err := engine.New(engine.Options{
		Installation: config, Client: client, Namespace: o.Namespace, StoreURL: o.store, Version: programVersion(), Log: log,
		Store: func(context.Context) (*artifact.Store, error) { return store, nil },
	})
	if err != nil {
		return nil, closeAll, err
	}
	services := clusterservices.New(client, o.Namespace, clusterservices.Options{Scope: scope, Log: log})
	c := api.Config{
		View: shown, Services: services, TrainValues: services, Submitter: runs.Submitter(e.Submitter), Pipelines: workflows.Pipelines(),
		Records: records{record.NewReader(store)}, Sweep: sweep(o.store, drivers), Rollback: rollBack(o.store, drivers), Workflow: link(o, config), Page: web.Handler(""),
		Name: "self-scaling", Version: programVersion(), Limits: api.Limits{Reads: o.reads, Writes: o.writes}, Metrics: registry, Log: log,
	}
	switch o.auth {
	case authKubernetes:
		c.Access = access.NewCache(kubernetes.New(client.Dynamic, o.audience), access.Options{})
	case authNone:
		log.Warn("everybody who reaches this address may do everything (-auth none)", "address", at.String())
		c.Hosts = hosts(at)
	}
	server, err := api.New(c)
	return server, closeAll, err
}

// hosts are the names of a server that only this machine reaches; nil for others,
// whose names are not known.
func hosts(at net.Addr) []string {
	if tcp, ok := at.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil
	}
	return []string{"localhost", "127.0.0.1", "::1"}
}

// sweep deletes by the retention. The store is opened for each time: nothing else but a
// rollback writes.
func sweep(storeURL string, drivers artifact.Drivers) func(context.Context) (int, error) {
	return func(ctx context.Context) (n int, err error) {
		store, err := artifact.Open(ctx, storeURL, drivers, artifact.Options{})
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		report, err := store.Sweep(ctx, artifact.DefaultSweepOptions())
		return len(report.Deleted), err
	}
}

// rollBack goes back to earlier models. The store is opened for each time, as for sweep.
func rollBack(storeURL string, drivers artifact.Drivers) func(context.Context, uint64, wire.Rollback) (wire.RolledBack, error) {
	return func(ctx context.Context, from uint64, r wire.Rollback) (done wire.RolledBack, err error) {
		store, err := artifact.Open(ctx, storeURL, drivers, artifact.Options{})
		if err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		return rollback.Roll(ctx, store, programVersion(), time.Now(), from, r)
	}
}

// link returns what names the object of a run, and where Argo's page shows it.
func link(o *options, i *installation.Installation) func(*workflows.Run) *wire.Workflow {
	return func(r *workflows.Run) *wire.Workflow {
		if r.Object == "" {
			return nil
		}
		w := &wire.Workflow{Namespace: o.Namespace, Name: r.Object}
		if i.Engine == installation.Argo && o.argoUI != "" {
			if u, err := url.JoinPath(o.argoUI, "workflows", w.Namespace, w.Name); err == nil {
				w.UIURL = u
			}
		}
		return w
	}
}

// recordDays is how far back runs are listed.
const recordDays = 14

// records are what the store keeps of runs that have ended.
type records struct{ reader *record.Reader }

func (r records) Get(ctx context.Context, runID string) (workflows.Run, error) {
	return r.reader.Get(ctx, runID)
}

func (r records) List(ctx context.Context, before time.Time, o workflows.ListOptions) ([]workflows.Run, error) {
	return r.reader.List(ctx, record.ListOptions{ListOptions: o, From: before.AddDate(0, 0, -recordDays), To: before})
}

func metricsHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	return mux
}

// Package serve is selfscale serve: pipelines, controller, API and page in one
// process, over a store in a folder. Nothing in it is made for that: the steps, the
// loop and the server are those of an installation with Argo; only the submitter
// walks the pipelines in this process.
package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/listen"
	"github.com/self-scaling/self-scaling/api/rollback"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/web"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// world is what the process works on: a cluster, or the demonstration's.
type world struct {
	cluster     controller.Cluster
	services    api.Services
	trainValues api.TrainValuesStore
	clock       clock.Clock
	speed       float64 // of the clock
	collector   func(backfill time.Duration) jobs.Func
	// calendars are what is special about days; nil for nothing.
	calendars func() (*calendar.Calendars, error)
	trainer   trainer.Config
	inference jobs.Func
	// begin is a run with which everything begins, nil for none; otherwise backfill
	// is how far back the first run looks.
	begin    *workflows.Request
	backfill time.Duration
	// access is nil where everybody may do everything.
	access access.Reviewer
	// retention is what of a store is kept.
	retention artifact.SweepOptions
	notify    func(controller.Notice)
	// run keeps the world going until ctx ends; nil where nothing has to be done.
	run func(ctx context.Context) error
}

// historyDays returns how many days are learned from.
func (w *world) historyDays(ctx context.Context) (int, error) {
	v, err := w.trainValues.TrainValues(ctx)
	return v.History, err
}

// Run is selfscale serve. It returns when ctx ends, or something cannot go on.
func Run(ctx context.Context, o cli.ServeOptions, c cli.Console, version string) error {
	// Minutes of a demonstration pass in fractions of a second: to people it tells of
	// trouble alone.
	least := slog.LevelInfo
	if o.Demo {
		least = slog.LevelWarn
	}
	log := slog.New(slog.NewTextHandler(c.Log, &slog.HandlerOptions{Level: least}))
	if o.LogFormat == cli.JSONOutput {
		log = slog.New(slog.NewJSONHandler(c.Log, nil))
	}
	command.Adopt(log)
	w, err := newWorld(o, log)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, o, w.clock, log)
	if err != nil {
		return err
	}
	defer store.Close()
	tracer, err := tracing.Start(ctx, "selfscale", version, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			log.Warn("traces are lost", "error", err)
		}
	}()
	s, err := newServer(o, w, store, tracer.Runs(), version, log)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx, c, tracer)
}

func newWorld(o cli.ServeOptions, log *slog.Logger) (*world, error) {
	if o.Demo {
		return demoWorld(o)
	}
	return clusterWorld(o, log)
}

// openStore opens the store: a folder or a URL; where a demonstration names none, it
// is in memory.
func openStore(ctx context.Context, o cli.ServeOptions, c clock.Clock, log *slog.Logger) (*artifact.Store, error) {
	options := artifact.Options{
		Clock: c,
		OnInvalidHead: func(h artifact.InvalidHead) {
			log.Warn("head passed over", "pipeline", string(h.Pipeline), "number", h.Number, "error", h.Err)
		},
	}
	if o.Data == "" {
		return artifact.New(membucket.New(c), options), nil
	}
	location := o.Data
	if !strings.Contains(location, "://") {
		path, err := filepath.Abs(location)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "--data: %w", err)
		}
		location = "file://" + path
	}
	return artifact.Open(ctx, location, artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open}, options)
}

// server is all that runs.
type server struct {
	options    cli.ServeOptions
	world      *world
	store      *artifact.Store
	pipelines  *embedded.Pipelines
	controller *controller.Controller
	view       *view.View
	api        *api.Server
	metrics    *prometheus.Registry
	version    string
	log        *slog.Logger
}

func newServer(o cli.ServeOptions, w *world, store *artifact.Store, runs *tracing.Runs, version string, log *slog.Logger) (_ *server, err error) {
	s := &server{options: o, world: w, store: store, metrics: prometheus.NewRegistry(), version: version, log: log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.pipelines, err = embedded.New(embedded.Config{
		Store: store, Collector: w.collector, HistoryDays: w.historyDays, Calendars: w.calendars, Trainer: w.trainer, Inference: w.inference,
		Step: runs.Step, Version: version, KeepRuns: 500, Clock: w.clock, Log: log,
	})
	if err != nil {
		return s, err
	}
	plans, err := plans(w.speed)
	if err != nil {
		return s, err
	}
	counts := controller.NewMetrics(0)
	s.controller, err = controller.New(controller.Config{
		Cluster: w.cluster, Runs: s.pipelines.Submitter(), Pipelines: workflows.Pipelines(),
		Store:    func(context.Context) (*artifact.Store, error) { return store, nil },
		Plans:    plans,
		Backfill: w.backfill, Notify: w.notify, Metrics: counts, Version: version, Clock: w.clock, Logger: log,
	})
	if err != nil {
		return s, err
	}
	// Fast clocks make fast views.
	every := 5 * time.Second
	refresh := 15 * time.Second
	if w.speed > 1 {
		every, refresh = 5*time.Minute, time.Second
	}
	if s.view, err = view.New(store, view.Options{Every: every, Clock: w.clock, Log: log}); err != nil {
		return s, err
	}
	s.api, err = api.New(api.Config{
		View: s.view, Services: w.services, TrainValues: w.trainValues, Submitter: runs.Submitter(s.pipelines.Submitter()), Pipelines: workflows.Pipelines(),
		Records: records{record.NewReader(store)}, Sweep: s.sweep, Rollback: s.rollBack, Access: w.access, Page: web.Handler(""), Hosts: s.hosts(),
		Version: version, Refresh: refresh, Speed: w.speed, Clock: w.clock, Metrics: s.metrics, Log: log,
	})
	if err != nil {
		return s, err
	}
	s.metrics.MustRegister(counts, command.BuildInfo("selfscale", version), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s, nil
}

// hosts returns the names that a server without access control may be called by, so
// that no web page of somebody else's can reach it from this machine's browser.
func (s *server) hosts() []string {
	host, _, err := net.SplitHostPort(s.options.Listen)
	if s.world.access != nil || err != nil || host == "" {
		return nil
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil
	}
	return []string{"localhost", "127.0.0.1", "::1", host}
}

// plans are the schedules of an installation that sets none: measuring and deciding
// every quarter of an hour, training every night. A clock that runs fast leaves more
// of its time to a run that is late.
func plans(speed float64) ([]controller.Plan, error) {
	deadline := 10 * time.Minute
	if speed > 1 {
		deadline = time.Hour
	}
	var out []controller.Plan
	for _, p := range []struct{ pipeline, cron, after string }{
		{"collect", "*/15 * * * *", ""}, {"infer", "*/15 * * * *", "collect"}, {"train", "5 0 * * *", ""},
	} {
		s, err := schedule.Parse([]string{p.cron}, "")
		if err != nil {
			return nil, err
		}
		out = append(out, controller.Plan{Pipeline: p.pipeline, Schedule: s, Deadline: deadline, After: p.after})
	}
	return out, nil
}

func (s *server) sweep(ctx context.Context) (int, error) {
	report, err := s.store.Sweep(ctx, s.world.retention)
	return len(report.Deleted), err
}

func (s *server) rollBack(ctx context.Context, from uint64, r wire.Rollback) (wire.RolledBack, error) {
	return rollback.Roll(ctx, s.store, s.version, s.world.clock.Now(), from, r)
}

// sweepEvery is the time between two sweeps, by the world's clock.
const sweepEvery = 24 * time.Hour

// sweeps deletes every day what the retention does not keep.
func (s *server) sweeps(ctx context.Context) error {
	for {
		timer := s.world.clock.NewTimer(sweepEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		if n, err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("what is no longer kept was not deleted", "error", err)
		} else if n > 0 {
			s.log.Info("deleted what is no longer kept", "objects", n)
		}
	}
}

// run serves until ctx ends. It listens before it says so.
func (s *server) run(ctx context.Context, c cli.Console, tracer *tracing.Tracer) error {
	listener, err := net.Listen("tcp", s.options.Listen)
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "--listen: %w", err)
	}
	servers := []serving{{listener, tracer.Handler(s.api)}}
	if s.options.MetricsListen != "" {
		metrics, err := net.Listen("tcp", s.options.MetricsListen)
		if err != nil {
			listener.Close()
			return schemas.Errorf(schemas.CodeUnavailable, "--metrics-listen: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelError)}))
		servers = append(servers, serving{metrics, mux})
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, x := range servers {
		group.Go(func() error { return listen.Serve(ctx, x.handler, listen.On{Listener: x.Listener, Log: s.log}) })
	}
	group.Go(func() error { s.controller.Run(ctx); return nil })
	group.Go(func() error { s.api.Run(ctx); return nil })
	group.Go(func() error { return s.sweeps(ctx) })
	if s.world.run != nil {
		group.Go(func() error { return s.world.run(ctx) })
	}
	if err := s.api.Refresh(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the store cannot be read yet", "error", err)
	}
	fmt.Fprintf(c.Out, "self-scaling is at http://%s/ (Ctrl-C ends it)\n", listener.Addr())
	return group.Wait()
}

// begin makes the run with which everything begins.
func (s *server) begin(ctx context.Context) error {
	if s.world.begin == nil {
		return nil
	}
	run, err := s.pipelines.Submitter().Submit(ctx, *s.world.begin)
	if err == nil {
		run, err = s.pipelines.Submitter().Wait(ctx, run.ID)
	}
	if err == nil && run.Phase != workflows.Succeeded {
		err = schemas.Errorf(schemas.CodeUnavailable, "run %s is %s: %s", run.ID, run.Phase, run.Message)
	}
	return err
}

// serving is one listener with what answers on it.
type serving struct {
	net.Listener
	handler http.Handler
}

func (s *server) close() {
	if s.view != nil {
		s.view.Close()
	}
	if s.pipelines != nil {
		s.pipelines.Close()
	}
}

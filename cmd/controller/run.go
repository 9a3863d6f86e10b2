package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/api/listen"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/engine"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/lead"
	"github.com/self-scaling/self-scaling/controller/cluster/oversight"
	"github.com/self-scaling/self-scaling/controller/cluster/remains"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// The time that a slot is left to the CronWorkflow which should start its run.
const cronGrace = 2 * time.Minute

// settings are the flags of the controller.
type settings struct {
	common
	store, config, listen, metricsListen string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("controller", flag.ContinueOnError)
	s.register(flags)
	flags.StringVar(&s.store, "store", "", "`URL` of the store")
	flags.StringVar(&s.config, "config", installation.Path, "`file` that says what is installed")
	flags.StringVar(&s.listen, "listen", ":8080", "`address` of /livez and /readyz")
	flags.StringVar(&s.metricsListen, "metrics-listen", ":9090", "`address` of /metrics and "+usage.Path)
	if err := command.Parse(flags, help, args, stdout); err != nil {
		return err
	}
	if s.version {
		_, err := fmt.Fprintln(stdout, "controller", programVersion())
		return err
	}
	log, err := s.log.Open(stderr)
	if err != nil {
		return err
	}
	if s.store == "" || s.scope.Namespace == "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flags -store and -namespace must be given")
	}
	tracer, err := tracing.Start(ctx, "self-scaling-controller", programVersion(), log)
	if err != nil {
		return err
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			log.Warn("traces are lost", "error", err)
		}
	}()
	p, err := s.newProgram(tracer.Runs(), log)
	if err != nil {
		return err
	}
	defer p.close()
	return p.run(ctx)
}

// program is all that runs.
type program struct {
	settings
	client  *cluster.Client
	watched *oversight.Oversight
	elector *lead.Elector
	loop    controller.Config
	leading atomic.Pointer[controller.Controller] // nil where another replica leads
	sampler *usage.Sampler                        // nil where Prometheus is asked instead
	engine  *engine.Engine
	events  *oversight.Events
	metrics *prometheus.Registry
	log     *slog.Logger
	lease   string // its name

	mu    sync.Mutex
	store *artifact.Store
}

func (s settings) newProgram(runs *tracing.Runs, log *slog.Logger) (*program, error) {
	install, err := installation.Read(s.config)
	if err != nil {
		return nil, err
	}
	scope, err := s.scope.Scope()
	if err != nil {
		return nil, err
	}
	config, err := cluster.LoadConfig()
	if err != nil {
		return nil, err
	}
	p := &program{settings: s, log: log, metrics: prometheus.NewRegistry(), lease: remains.Lease(install.Name)}
	if p.client, err = cluster.NewClient(config); err != nil {
		return nil, err
	}
	identity := cmp.Or(os.Getenv("POD_NAME"), hostname())
	if p.elector, err = lead.New(config, lead.Options{Namespace: s.scope.Namespace, Name: p.lease, Identity: identity, Log: log}); err != nil {
		return nil, err
	}
	if p.engine, err = engine.New(engine.Options{Client: p.client, Namespace: s.scope.Namespace, Installation: install, StoreURL: s.store, Store: p.openStore, Version: programVersion(), Log: log}); err != nil {
		return nil, err
	}
	p.watched = oversight.New(p.client, oversight.Options{Scope: scope, Log: log})
	if p.events, err = oversight.NewEvents(p.watched, s.scope.Namespace, identity); err != nil {
		return nil, err
	}
	if install.Prometheus == "" {
		p.sampler = usage.New(p.client, usage.Options{Scope: scope, Log: log})
	}
	counts := controller.NewMetrics(0)
	plans, err := plans(install)
	if err != nil {
		return nil, err
	}
	keep, sweeps, enabled, err := install.Sweep()
	if err != nil {
		return nil, err
	}
	p.loop = controller.Config{
		Cluster: p.watched, Runs: runs.Submitter(p.engine.Submitter), Pipelines: workflows.Pipelines(), Store: p.openStore,
		Plans: plans, Suspended: p.engine.Suspended,
		Backfill: time.Duration(install.Backfill),
		Training: controller.Training{
			Disabled: install.Training.OnDemand != nil && !*install.Training.OnDemand, Interval: time.Duration(install.Training.Interval),
		},
		Notify: p.events.Notify, Metrics: counts, Version: programVersion(), Logger: log,
	}
	if enabled {
		p.loop.Retention = &controller.Retention{SweepOptions: keep, Schedule: sweeps}
	}
	if _, err := controller.New(p.loop); err != nil {
		return nil, err
	}
	leading := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "selfscaling_controller_leader", Help: "1 where this replica leads."}, func() float64 {
		if p.elector.Leading() {
			return 1
		}
		return 0
	})
	p.metrics.MustRegister(counts, leading, command.BuildInfo("controller", programVersion()), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p, nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "controller"
	}
	return name
}

// plans returns the schedules. Where CronWorkflows start the runs, a slot is left to
// them for a while.
func plans(i *installation.Installation) ([]controller.Plan, error) {
	all, err := i.Plans()
	if err != nil {
		return nil, err
	}
	var out []controller.Plan
	for _, name := range []string{"collect", "infer", "train"} {
		plan, ok := all[name]
		if !ok {
			continue
		}
		p := controller.Plan{Pipeline: name, Schedule: plan.Schedule, Deadline: plan.Deadline, Suspend: plan.Suspend}
		if name == "infer" {
			p.After = "collect"
		}
		if i.Engine == installation.Argo {
			p.Grace = min(cronGrace, p.Deadline/2)
		}
		out = append(out, p)
	}
	return out, nil
}

// openStore returns the store, and opens it where that has not succeeded yet.
func (p *program) openStore(ctx context.Context) (*artifact.Store, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != nil {
		return p.store, nil
	}
	store, err := artifact.Open(ctx, p.settings.store, drivers, artifact.Options{
		OnInvalidHead: func(h artifact.InvalidHead) {
			p.log.Warn("head passed over", "pipeline", string(h.Pipeline), "number", h.Number, "error", h.Err)
		},
	})
	if err != nil {
		return nil, err
	}
	p.store = store
	return store, nil
}

func (p *program) close() {
	p.events.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != nil {
		p.store.Close()
	}
}

// run works until ctx ends. Every replica reads usage, unless Prometheus is asked for it;
// one of them leads.
func (p *program) run(ctx context.Context) error {
	health, err := net.Listen("tcp", p.listen)
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "flag -listen: %w", err)
	}
	metrics, err := net.Listen("tcp", p.metricsListen)
	if err != nil {
		health.Close()
		return schemas.Errorf(schemas.CodeUnavailable, "flag -metrics-listen: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return listen.Serve(ctx, p.health(), listen.On{Listener: health, Log: p.log}) })
	group.Go(func() error { return listen.Serve(ctx, p.measured(), listen.On{Listener: metrics, Log: p.log}) })
	if p.sampler != nil {
		group.Go(func() error { p.sampler.Run(ctx); return nil })
	}
	group.Go(func() error { return p.elector.Run(ctx, p.lead) })
	return group.Wait()
}

// lead works for one term of leadership. Each has a controller with an empty memory: what
// another has done since the last term is in none.
func (p *program) lead(ctx context.Context) {
	c, err := controller.New(p.loop)
	if err != nil {
		p.log.Error("the loop did not start", "error", err) // it could when the program began
		return
	}
	p.leading.Store(c)
	defer p.leading.Store(nil)
	defer p.loop.Metrics.Clear()
	var all sync.WaitGroup
	all.Go(func() { p.watched.Run(ctx) })
	all.Go(func() { c.Run(ctx) })
	all.Go(func() { p.engine.Run(ctx) })
	all.Wait()
}

// live returns an error where the loop is stuck. A replica that does not lead has none.
func (p *program) live() error {
	if c := p.leading.Load(); c != nil {
		return c.Live()
	}
	return nil
}

var leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

// health answers whether the process works, and whether it can: it needs the API
// server, and nothing else to be of use.
func (p *program) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.live()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		_, err := p.client.Dynamic.Resource(leases).Namespace(p.scope.Namespace).Get(ctx, p.lease, metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // nobody has led yet
			err = nil
		}
		answer(w, err)
	})
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (p *program) measured() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	if p.sampler != nil {
		mux.Handle("GET "+usage.Path, usage.Handler(p.sampler))
	}
	return mux
}

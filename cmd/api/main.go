// Api is the program that answers the REST interface of an installation in a
// cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/listen"
	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/schemas"
)

const help = `api: answer the REST interface

Answers the REST interface of an installation: the one that the original had, a
modern one beside it (GET /openapi.json describes both) and the page. It reads what
the steps left in the store, changes policies and train values in the cluster, and
starts runs as Workflows or Jobs, as installation.yaml says.

Callers give a Kubernetes token, made for the API server, as kubectl create token and
most kubeconfigs give one, or for the audience self-scaling, which is of no use
elsewhere. The API server is asked who it stands for, and whether they may do what they
want with the resources of the group self-scaling.github.io, as in

  kubectl create role api-reader --verb=get --resource=forecasts.self-scaling.github.io,...

-auth none lets everybody do everything.

Requests are traced by OpenTelemetry where OTEL_EXPORTER_OTLP_ENDPOINT is set.

Examples:
  api -store s3://bucket/prefix?endpoint=minio:9000 -namespace self-scaling
  api -store file:///var/lib/self-scaling -namespace self-scaling -listen 127.0.0.1:8080 -auth none

Flags:
`

// version is set by the linker.
var version string

func programVersion() string { return command.Version(version) }

func main() { os.Exit(program(os.Args[1:], os.Stdout, os.Stderr)) }

// program runs until it is told to end, and returns its exit code. A failure is one line
// on stderr.
func program(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return command.Exit("api", run(ctx, args, stdout, stderr), stderr)
}

// options are the flags.
type options struct {
	clusterflags.Flags
	log             command.Log
	store, config   string
	listen, metrics string
	cert, key       string
	auth, audience  string
	argoUI, cache   string
	reads, writes   float64
	version         bool
}

func (o *options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("api", flag.ContinueOnError)
	o.Register(f)
	f.StringVar(&o.store, "store", "", "`URL` of the store: file:///var/lib/self-scaling, s3://bucket/prefix?endpoint=minio:9000")
	f.StringVar(&o.config, "config", installation.Path, "`file` that says how runs are started")
	f.StringVar(&o.listen, "listen", ":8080", "`address` to answer at")
	f.StringVar(&o.metrics, "metrics-listen", ":9090", "`address` to serve /metrics at")
	f.StringVar(&o.cert, "tls-cert", "", "`file` with the certificate to show, PEM; it is read again when it changes")
	f.StringVar(&o.key, "tls-key", "", "`file` with its key, PEM")
	f.StringVar(&o.auth, "auth", authKubernetes, "`way` to know callers: kubernetes, or none to let everybody do everything")
	f.StringVar(&o.audience, "audience", "", "`audience` that tokens must be made for (default: the API server, or self-scaling)")
	f.StringVar(&o.argoUI, "argo-ui", "", "`URL` of Argo's own page, which runs are linked to")
	f.StringVar(&o.cache, "cache", "", "`folder` for answers that are ready to be sent (default: one for temporary files)")
	f.Float64Var(&o.reads, "rate-reads", 0, "reads a second that each caller may make for long (default 5000; -1: no limit)")
	f.Float64Var(&o.writes, "rate-writes", 0, "changes a second that each caller may make for long (default 50; -1: no limit)")
	o.log.Register(f)
	f.BoolVar(&o.version, "version", false, "print the version and end")
	return f
}

// The ways to know callers.
const (
	authKubernetes = "kubernetes"
	authNone       = "none"
)

func (o *options) validate() error {
	switch {
	case o.store == "":
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -store must name the store")
	case o.Namespace == "":
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -namespace must name the namespace of this installation")
	case o.auth != authKubernetes && o.auth != authNone:
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -auth must be kubernetes or none, but is %q", o.auth)
	case o.audience != "" && o.auth == authNone:
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -audience goes with -auth kubernetes: nobody is asked for a token, but is %q", o.audience)
	case (o.cert == "") != (o.key == ""):
		return schemas.Errorf(schemas.CodeInvalidConfig, "flags -tls-cert and -tls-key must be given together")
	case o.argoUI != "" && !strings.HasPrefix(o.argoUI, "http://") && !strings.HasPrefix(o.argoUI, "https://"):
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -argo-ui must be a URL as https://argo.example.org, but is %q", o.argoUI)
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	if err := command.Parse(o.flags(), help, args, stdout); err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, "api", programVersion())
		return err
	}
	log, err := o.log.Open(stderr)
	if err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	memory.Follow(ctx, leastMemory)
	tracer, err := tracing.Start(ctx, "self-scaling-api", programVersion(), log)
	if err != nil {
		return err
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			log.Warn("traces are lost", "error", err)
		}
	}()
	registry := prometheus.NewRegistry()
	registry.MustRegister(command.BuildInfo("api", programVersion()), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listeners, err := open(&o, log)
	if err != nil {
		return err
	}
	defer listeners.close()
	server, closeAll, err := assemble(ctx, &o, listeners.api.Listener.Addr(), registry, tracer.Runs(), log)
	if err != nil {
		return err
	}
	defer closeAll()
	return listeners.serve(ctx, server, tracer, registry, log)
}

// leastMemory is what the program may use for itself, in bytes, before it collects
// garbage more often. With 10,000 components it holds half of it. Most of what it shows
// is in files, and what it reads anew is garbage soon.
const leastMemory = 72 << 20

// listeners are where the program is reached.
type listeners struct {
	api     listen.On
	metrics net.Listener
}

func open(o *options, log *slog.Logger) (*listeners, error) {
	l := &listeners{api: listen.On{Log: log}}
	if o.cert != "" {
		var err error
		if l.api.Certificate, err = listen.NewCertificate(o.cert, o.key, log); err != nil {
			return nil, err
		}
	}
	for _, x := range []struct {
		flag, address string
		to            *net.Listener
	}{{"listen", o.listen, &l.api.Listener}, {"metrics-listen", o.metrics, &l.metrics}} {
		listener, err := net.Listen("tcp", x.address)
		if err != nil {
			l.close()
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -%s: %w", x.flag, err)
		}
		*x.to = listener
	}
	return l, nil
}

func (l *listeners) close() {
	for _, x := range []net.Listener{l.api.Listener, l.metrics} {
		if x != nil {
			x.Close() // a server that has ended has closed it already
		}
	}
}

// serve answers until ctx ends.
func (l *listeners) serve(ctx context.Context, server *api.Server, tracer *tracing.Tracer, registry *prometheus.Registry, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	defer parts.Wait()
	errs := make(chan error, 2)
	part := func(f func() error) {
		parts.Go(func() {
			errs <- f()
			cancel()
		})
	}
	parts.Go(func() {
		fill(ctx, server, log)
		server.Run(ctx)
	})
	log.Info("ready to be asked", "address", l.api.Listener.Addr().String(), "metrics", l.metrics.Addr().String(), "version", programVersion())
	part(func() error { return listen.Serve(ctx, tracer.Handler(server), l.api) })
	part(func() error {
		return listen.Serve(ctx, metricsHandler(registry), listen.On{Listener: l.metrics, Log: log})
	})
	return errors.Join(<-errs, <-errs)
}

// fill reads everything for the first time. A store or a cluster that does not answer
// yet is asked again; until then there is little to show.
func fill(ctx context.Context, server *api.Server, log *slog.Logger) {
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		err := server.Refresh(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Warn("the store cannot be read yet", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

package cli

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// ServeOptions are the flags of selfscale serve.
type ServeOptions struct {
	// Data is a folder or the URL of a store; "" in a demonstration that keeps
	// nothing.
	Data string
	// Listen and MetricsListen are addresses; MetricsListen may be "".
	Listen, MetricsListen string
	// Demo says that the cluster is simulated, Speed how fast its clock runs.
	Demo  bool
	Speed float64

	ClusterOptions
	// WatchNamespaces are looked at, all where there are none.
	WatchNamespaces []string
	Labels          string        // presets of labels that make components
	Prometheus      string        // URL of the server that usage is read from, "" for the cluster's metrics API
	Backfill        time.Duration // how far back the first run asks Prometheus
	// Calendars and Zones say what is special about a day and by whose clock, as those of
	// [RunOptions] do.
	Calendars, Zones []string
	// Auth is AuthNone or AuthKubernetes.
	Auth string
	// Audience is what tokens must be made for, "" for the API server or us.
	Audience  string
	LogFormat string // TextOutput or JSONOutput
}

// ClusterOptions say which cluster is meant. Empty fields are those of the pod that
// the program runs in or, outside one, of the user's kubeconfig.
type ClusterOptions struct{ Kubeconfig, Context, Namespace string }

// register adds the flags, as kubectl spells them.
func (o *ClusterOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster")
	flags.StringVar(&o.Context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "namespace that self-scaling is installed in")
}

// Who may use what selfscale serve serves.
const (
	AuthNone       = "none"       // everybody who can reach it
	AuthKubernetes = "kubernetes" // whom the cluster knows and allows it
)

// TextOutput is the form of logs that people read.
const TextOutput = "text"

// The bounds of --speed: as fast as a real clock, and an hour in half a second.
const minSpeed, maxSpeed = 1, 7200

func newServe(run func(context.Context, ServeOptions, Console) error, console Console) *cobra.Command {
	var o ServeOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run everything in one process, with API and web page",
		Long: `serve runs the pipelines, the controller, the REST interface and the web page in
one process, and keeps what it learns in a folder. It needs neither Argo nor S3.

With --demo the cluster is simulated: sixteen workloads with real usage, whose clock
runs fast, so that the page is alive at once. Without, it looks after the cluster of
the pod that it runs in or, outside one, of your kubeconfig: it measures usage every
minute, decides every quarter of an hour and trains every night. Components that are
new are in mode Shadow: nothing is scaled before you say so.

Requests and the runs that they ask for are traced by OpenTelemetry where
OTEL_EXPORTER_OTLP_ENDPOINT is set.`,
		Example: `  # see it alive at http://127.0.0.1:8080/
  selfscale serve --demo

  # look after the cluster of your kubeconfig
  selfscale serve --data /var/lib/self-scaling`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o, console)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.Demo, "demo", false, "simulate the cluster")
	flags.Float64Var(&o.Speed, "speed", 900, "how fast the clock of --demo runs; 900 is 15 minutes a second")
	flags.StringVar(&o.Data, "data", "", "folder to keep everything in, or the URL of a store (with --demo a folder; it keeps nothing without)")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "`address` of the API and the page")
	flags.StringVar(&o.MetricsListen, "metrics-listen", "", "`address` of the Prometheus metrics (default: none)")
	flags.StringVar(&o.Auth, "auth", "", "who may use it: none, or kubernetes (whom the cluster knows and allows it); the default is none on a loopback address and kubernetes on all others")
	flags.StringVar(&o.Audience, "audience", "", "`audience` that tokens must be made for (default: the API server, or self-scaling)")
	o.register(cmd)
	flags.StringSliceVar(&o.WatchNamespaces, "watch-namespaces", nil, "namespaces whose components are looked after (default: all)")
	flags.StringVar(&o.Labels, "labels", "", "`presets` of labels that make components: aeros, assist-iot, aeros-orchestrator, recommended, or pairs service-key=component-key (default: all that have a name)")
	flags.StringVar(&o.Prometheus, "prometheus", "", "`URL` of a Prometheus server to read usage from (default: the metrics API)")
	flags.DurationVar(&o.Backfill, "backfill", 0, "how far back the first run asks Prometheus, as 336h")
	registerCalendars(flags, &o.Calendars, &o.Zones)
	flags.StringVar(&o.LogFormat, "log-format", TextOutput, "form of the log on standard error: text or json")
	return cmd
}

func (o *ServeOptions) check(cmd *cobra.Command) error {
	switch {
	case o.Data == "" && !o.Demo:
		return usagef(cmd, "--data must name a folder or a store, but is empty (or try --demo)")
	case o.Demo && strings.Contains(o.Data, "://"):
		return usagef(cmd, "--data must be a folder with --demo, whose clock and policies lie beside the store, but is %q", o.Data)
	case !(o.Speed >= minSpeed && o.Speed <= maxSpeed):
		return usagef(cmd, "--speed must be from %d to %d, but is %g", minSpeed, maxSpeed, o.Speed)
	case cmd.Flags().Changed("speed") && !o.Demo:
		return usagef(cmd, "--speed goes with --demo: a real clock cannot be made to run faster")
	case o.Backfill < 0 || o.Backfill > 0 && o.Prometheus == "":
		return usagef(cmd, "--backfill must be positive and goes with --prometheus, but is %s", o.Backfill)
	case o.Demo && len(o.Calendars)+len(o.Zones) > 0:
		return usagef(cmd, "--calendar and --timezone must not be given with --demo, whose workloads live by the clock of UTC")
	case o.LogFormat != TextOutput && o.LogFormat != JSONOutput:
		return usagef(cmd, "--log-format must be text or json, but is %q", o.LogFormat)
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return usagef(cmd, "--listen must be an address such as 127.0.0.1:8080, but is %q", o.Listen)
	}
	if o.MetricsListen != "" {
		if _, _, err := net.SplitHostPort(o.MetricsListen); err != nil {
			return usagef(cmd, "--metrics-listen must be an address such as :9090, but is %q", o.MetricsListen)
		}
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case o.Auth == "" && (loopback || o.Demo):
		o.Auth = AuthNone
	case o.Auth == "":
		o.Auth = AuthKubernetes
	case o.Auth != AuthNone && o.Auth != AuthKubernetes:
		return usagef(cmd, "--auth must be none or kubernetes, but is %q", o.Auth)
	case o.Auth == AuthKubernetes && o.Demo:
		return usagef(cmd, "--auth must be none with --demo: there is no cluster to ask, but is kubernetes")
	}
	if o.Audience != "" && o.Auth == AuthNone {
		return usagef(cmd, "--audience goes with --auth kubernetes: nobody is asked for a token, but is %q", o.Audience)
	}
	return nil
}

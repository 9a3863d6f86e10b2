package cli

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/schemas"
)

// YAMLOutput is the form that Kubernetes' users know.
const YAMLOutput = "yaml"

// ServerOptions say which installation is asked, and how it answers.
type ServerOptions struct {
	// Server is the URL of its API, "" where it is reached through the API server of a
	// cluster. Token is what lets one in.
	Server, Token string
	// Cluster is the cluster that it is reached through where Server is "". Its
	// Namespace is the one that the installation is in, "" where it is looked for.
	Cluster ClusterOptions
	// Account is a service account, namespace/name, whose rights are used; "" for the
	// kubeconfig's user.
	Account string
	// Output is TableOutput, JSONOutput or YAMLOutput, unless it is said otherwise.
	Output string
}

// The variables that stand for flags which are not given.
const (
	serverVariable = "SELFSCALE_SERVER"
	tokenVariable  = "SELFSCALE_TOKEN"
)

// defaultServer is where `selfscale serve` listens.
const defaultServer = "http://127.0.0.1:8080"

// serverFlags are the flags that name an installation.
var serverFlags = []string{"server", "token", "kubeconfig", "context", "installed-in", "account"}

// clusterFlags are those that say that it is reached through a cluster.
var clusterFlags = serverFlags[2:]

// forms are the forms of most answers.
var forms = []string{TableOutput, JSONOutput, YAMLOutput}

// register adds all flags.
func (o *ServerOptions) register(cmd *cobra.Command) {
	o.registerServer(cmd)
	o.registerOutput(cmd, forms)
}

func (o *ServerOptions) registerServer(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.Server, "server", "", "`URL` of the API (default: $"+serverVariable+", else "+defaultServer+")")
	flags.StringVar(&o.Token, "token", "", "bearer `token`, as kubectl create token makes one (default: $"+tokenVariable+")")
	flags.StringVar(&o.Cluster.Kubeconfig, "kubeconfig", "", "reach the installation through the API server of this kubeconfig `file`")
	flags.StringVar(&o.Cluster.Context, "context", "", "reach it through the cluster of this context of the kubeconfig")
	flags.StringVar(&o.Cluster.Namespace, "installed-in", "", "reach it in this `namespace` of the kubeconfig's cluster (default: look in all)")
	flags.StringVar(&o.Account, "account", "", "in the cluster, ask with a token that is made for this service account, `namespace/name` (default: the kubeconfig's own token)")
}

func (o *ServerOptions) registerOutput(cmd *cobra.Command, forms []string) {
	registerOutput(cmd, &o.Output, forms)
}

func registerOutput(cmd *cobra.Command, form *string, forms []string) {
	cmd.Flags().StringVarP(form, "output", "o", TableOutput, "form of the answer: "+oneOf(forms))
	complete(cmd, "output", forms...)
}

func (o *ServerOptions) check(cmd *cobra.Command) error {
	if err := o.checkServer(cmd); err != nil {
		return err
	}
	return o.checkOutput(cmd, forms)
}

func (o *ServerOptions) checkServer(cmd *cobra.Command) error {
	o.Token = cmp.Or(o.Token, os.Getenv(tokenVariable))
	through := isPlugin(cmd) && o.Server == "" && os.Getenv(serverVariable) == ""
	for _, f := range clusterFlags {
		if !cmd.Flags().Changed(f) {
			continue
		}
		if o.Server != "" {
			return usagef(cmd, "--server and --%s must not be given together: a server is either at a URL or in a cluster", f)
		}
		through = true
	}
	if namespace, name, ok := strings.Cut(o.Account, "/"); o.Account != "" && (!ok || namespace == "" || name == "" || strings.Contains(name, "/")) {
		return usagef(cmd, "--account must have the form namespace/name, but is %q", o.Account)
	}
	if !through {
		o.Server = cmp.Or(o.Server, os.Getenv(serverVariable), defaultServer)
	}
	return nil
}

func (o *ServerOptions) checkOutput(cmd *cobra.Command, forms []string) error {
	return checkOutput(cmd, o.Output, forms)
}

func checkOutput(cmd *cobra.Command, form string, forms []string) error {
	if slices.Contains(forms, form) {
		return nil
	}
	return usagef(cmd, "--output must be %s, but is %q", oneOf(forms), form)
}

// namesTimeout is how long somebody who pressed Tab waits.
const namesTimeout = 3 * time.Second

// completeComponents tells the shell what a command's one argument may be: the
// components of the installation that the flags before it name.
func completeComponents(cmd *cobra.Command, o *ServerOptions, names func(context.Context, ServerOptions) ([]string, error)) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || names == nil || o.checkServer(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), namesTimeout)
		defer cancel()
		all, err := names(ctx, *o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// oneOf spells a choice: "table, json or yaml".
func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// complete tells the shell what a flag may be.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// RemoteEngine is what the commands do that ask an installation.
type RemoteEngine struct {
	// Names returns the names of all components, for the shell to complete.
	Names     func(ctx context.Context, o ServerOptions) ([]string, error)
	Services  func(ctx context.Context, o ServicesOptions, c Console) error
	Manage    func(ctx context.Context, o ManageOptions, c Console) error
	Start     func(ctx context.Context, o StartOptions, c Console) error
	Runs      func(ctx context.Context, o RunsOptions, c Console) error
	Decisions func(ctx context.Context, o DecisionsOptions, c Console) error
	Explain   func(ctx context.Context, o ExplainOptions, c Console) error
	Doctor    func(ctx context.Context, o DoctorOptions, c Console) error
}

// ServicesOptions are the flags of selfscale services.
type ServicesOptions struct {
	ServerOptions
	Mode string
}

// ManageOptions are the flags of selfscale manage.
type ManageOptions struct {
	ServerOptions
	Namespace string
	Service   string
	Component string // "" for the whole service
	Mode      schemas.Mode
}

// StartOptions are the flags of selfscale train and selfscale infer.
type StartOptions struct {
	ServerOptions
	Pipeline string
	Wait     bool
}

// RunsOptions are the flags of selfscale runs.
type RunsOptions struct {
	ServerOptions
	Run               string // one run; "" for the newest ones
	Pipeline, Phase   string
	Limit             int
	Stop, Retry, Wait bool
}

// DecisionsOptions are the flags of selfscale decisions.
type DecisionsOptions struct {
	ServerOptions
	Component *schemas.ComponentID
	Reason    string
	Limit     int
}

// ExplainOptions are the flags of selfscale explain.
type ExplainOptions struct {
	ServerOptions
	Component schemas.ComponentID
}

// DoctorOptions are the flags of selfscale doctor.
type DoctorOptions struct {
	ClusterOptions
	WatchNamespaces []string
	Labels          string
	Secret          string
	Output          string
}

func remoteCommands(e *RemoteEngine, console Console) []*cobra.Command {
	return []*cobra.Command{
		newServices(e.Services, console), newManage(e, console),
		newStart("train", "Learn from what was measured until now", e.Start, console),
		newStart("infer", "Forecast and decide now", e.Start, console),
		newRuns(e.Runs, console), newDecisions(e, console), newExplain(e, console), newDoctor(e.Doctor, console),
	}
}

func newServices(run func(context.Context, ServicesOptions, Console) error, console Console) *cobra.Command {
	var o ServicesOptions
	cmd := &cobra.Command{
		Use:   "services",
		Short: "List services and components with their modes, floors and reasons",
		Example: `  selfscale services
  selfscale services --mode Shadow -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.Mode != "" {
				mode, err := parseMode(cmd, o.Mode)
				if err != nil {
					return err
				}
				o.Mode = string(mode)
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&o.Mode, "mode", "", "only components in this mode: Off, Shadow or Auto")
	complete(cmd, "mode", modes...)
	return cmd
}

// modes are what may be done for a component.
var modes = []string{string(schemas.Off), string(schemas.Shadow), string(schemas.Auto)}

// parseMode reads a mode in any case.
func parseMode(cmd *cobra.Command, s string) (schemas.Mode, error) {
	for _, m := range []schemas.Mode{schemas.Off, schemas.Shadow, schemas.Auto} {
		if strings.EqualFold(s, string(m)) {
			return m, nil
		}
	}
	return "", usagef(cmd, "--mode must be Off, Shadow or Auto, but is %q", s)
}

func newManage(e *RemoteEngine, console Console) *cobra.Command {
	var o ManageOptions
	mode := ""
	cmd := &cobra.Command{
		Use:   "manage [namespace/]service[/component]",
		Short: "Switch a service or one of its components to Off, Shadow or Auto",
		Long: `manage says what may be done for a service or for one of its components.

  Off     neither forecast nor decide; a floor that is there is given back
  Shadow  forecast and decide, and write nothing (what a new service begins with)
  Auto    forecast, decide and move the floor under the autoscaler

A name of two parts is a service and its component, one of three parts begins with
the namespace; --namespace names the namespace of a service.`,
		Example: `  selfscale manage shop --namespace store --mode Auto
  selfscale manage store/shop/cart --mode Shadow`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return usagef(cmd, "manage takes one service or component, but was given %d", len(args))
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			if mode == "" {
				return usagef(cmd, "--mode must be Off, Shadow or Auto, but is empty")
			}
			if o.Mode, err = parseMode(cmd, mode); err != nil {
				return err
			}
			if !strings.Contains(args[0], "/") {
				o.Service = args[0]
				return e.Manage(cmd.Context(), o, console)
			}
			id, err := schemas.ParseComponentID(args[0])
			if err != nil {
				return usagef(cmd, "%s", err)
			}
			if id.Namespace != "" && o.Namespace != "" && id.Namespace != o.Namespace {
				return usagef(cmd, "--namespace must be that of %s, but is %q", args[0], o.Namespace)
			}
			o.Service, o.Component = id.Service, id.Component
			if id.Namespace != "" {
				o.Namespace = id.Namespace
			}
			return e.Manage(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	completeComponents(cmd, &o.ServerOptions, e.Names)
	cmd.Flags().StringVar(&mode, "mode", "", "Off, Shadow or Auto (required)")
	complete(cmd, "mode", modes...)
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "", "namespace of the service")
	return cmd
}

func newStart(pipeline, short string, run func(context.Context, StartOptions, Console) error, console Console) *cobra.Command {
	o := StartOptions{Pipeline: pipeline}
	cmd := &cobra.Command{
		Use:     pipeline,
		Short:   short,
		Example: "  selfscale " + pipeline + "\n  selfscale " + pipeline + " --wait",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait for the end, and fail where the run does")
	return cmd
}

func newRuns(run func(context.Context, RunsOptions, Console) error, console Console) *cobra.Command {
	var o RunsOptions
	cmd := &cobra.Command{
		Use:   "runs [run]",
		Short: "List runs, or look at, wait for, stop or repeat one",
		Example: `  selfscale runs --pipeline train
  selfscale runs train-2026-03-09T000500Z --wait
  selfscale runs train-2026-03-09T000500Z --retry`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "runs takes at most one run, but was given %d", len(args))
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			if len(args) == 1 {
				o.Run = args[0]
			}
			chosen := 0
			for _, c := range []bool{o.Stop, o.Retry} {
				if c {
					chosen++
				}
			}
			switch {
			case o.Run == "" && (chosen > 0 || o.Wait):
				return usagef(cmd, "--stop, --retry and --wait are about one run, but none is named")
			case chosen > 1:
				return usagef(cmd, "--stop and --retry must not be given together")
			case o.Limit < 1:
				return usagef(cmd, "--limit must be at least 1, but is %d", o.Limit)
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.Pipeline, "pipeline", "", "only runs of this pipeline: collect, train, infer or full")
	flags.StringVar(&o.Phase, "phase", "", "only runs in this phase: Pending, Running, Succeeded, Failed or Stopped")
	complete(cmd, "pipeline", "collect", "train", "infer", "full")
	complete(cmd, "phase", "Pending", "Running", "Succeeded", "Failed", "Stopped")
	flags.IntVar(&o.Limit, "limit", 20, "how many runs to list")
	flags.BoolVar(&o.Stop, "stop", false, "tell the run to end")
	flags.BoolVar(&o.Retry, "retry", false, "start the same run again, under a new id")
	flags.BoolVar(&o.Wait, "wait", false, "wait for the end, and fail where the run does")
	return cmd
}

func newDecisions(e *RemoteEngine, console Console) *cobra.Command {
	var o DecisionsOptions
	cmd := &cobra.Command{
		Use:   "decisions [[namespace/]service/component]",
		Short: "List what was decided, the newest first, with reasons",
		Example: `  selfscale decisions --reason FloorRaised
  selfscale decisions store/shop/cart --limit 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.Limit < 1 {
				return usagef(cmd, "--limit must be at least 1, but is %d", o.Limit)
			}
			id, err := oneComponent(cmd, args, false)
			if err != nil {
				return err
			}
			o.Component = id
			return e.Decisions(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	completeComponents(cmd, &o.ServerOptions, e.Names)
	cmd.Flags().StringVar(&o.Reason, "reason", "", "only decisions with this reason, such as FloorRaised or StaleSamples")
	cmd.Flags().IntVar(&o.Limit, "limit", 20, "how many decisions to list")
	return cmd
}

func oneComponent(cmd *cobra.Command, args []string, required bool) (*schemas.ComponentID, error) {
	switch {
	case len(args) == 0 && !required:
		return nil, nil
	case len(args) != 1:
		return nil, usagef(cmd, "%s takes one component, but was given %d", cmd.Name(), len(args))
	}
	id, err := schemas.ParseComponentID(args[0])
	if err != nil {
		return nil, usagef(cmd, "%s", err)
	}
	return &id, nil
}

func newExplain(e *RemoteEngine, console Console) *cobra.Command {
	var o ExplainOptions
	cmd := &cobra.Command{
		Use:   "explain [namespace/]service/component",
		Short: "Say how a component's floor came about, step by step",
		Long: `explain shows the newest decision about a component as it was made: what was
forecast for which quarter of an hour, how that became replicas, and each limit
that was applied after that, in order. The same decision can be computed again
from what it shows.`,
		Example: `  selfscale explain store/shop/cart`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			id, err := oneComponent(cmd, args, true)
			if err != nil {
				return err
			}
			o.Component = *id
			return e.Explain(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	completeComponents(cmd, &o.ServerOptions, e.Names)
	return cmd
}

func newDoctor(run func(context.Context, DoctorOptions, Console) error, console Console) *cobra.Command {
	var o DoctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what an installation needs of its cluster, and say what to mend",
		Long: `doctor looks at the cluster of your kubeconfig as an installation needs it, before
it is installed and after: versions, the metrics API, Argo Workflows, credentials,
schedules, the components that are found and why some cannot be scaled. It only
reads. Its exit code is 78 where something keeps self-scaling from working.`,
		Example: `  selfscale doctor --namespace self-scaling`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, o.Output, forms); err != nil {
				return err
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.ClusterOptions.register(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&o.WatchNamespaces, "watch-namespaces", nil, "namespaces whose components are looked at (default: all)")
	flags.StringVar(&o.Labels, "labels", "", "`presets` of labels that make components, as the chart's discovery.labels")
	flags.StringVar(&o.Secret, "secret", "", "Secret with the store's URL and credentials (default: self-scaling-s3)")
	registerOutput(cmd, &o.Output, forms)
	return cmd
}

// Package cli is the command line of selfscale: its commands, flags, help and
// exit codes. What the commands do is given to it as an [Engine], so that this
// package knows neither models nor stores.
//
// Results go to standard output; progress and the one line that says what went
// wrong go to standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Engine is what the commands do. A command whose function is nil is not there.
// Each function returns when ctx ends, and gets flags that are valid.
type Engine struct {
	Demo     func(ctx context.Context, o DemoOptions, c Console) error
	Run      func(ctx context.Context, o RunOptions, c Console) error
	Forecast func(ctx context.Context, o ForecastOptions, c Console) error
	History  func(ctx context.Context, o HistoryOptions, c Console) error
	Backtest func(ctx context.Context, o BacktestOptions, c Console) error
	Serve    func(ctx context.Context, o ServeOptions, c Console) error
	// Remote is what the commands do that ask an installation.
	Remote *RemoteEngine
	Models *ModelsEngine
}

// names returns what completes the names of components, nil where nothing does.
func (e *Engine) names() func(context.Context, ServerOptions) ([]string, error) {
	if e.Remote == nil {
		return nil
	}
	return e.Remote.Names
}

// Console is where a command talks to the person who called it.
type Console struct {
	Out      io.Writer          // results
	Log      io.Writer          // what happens while a command goes on
	Progress *progress.Reporter // what is being done
}

// PluginName is what the program must be called to be found as `kubectl selfscale`.
const PluginName = "kubectl-selfscale"

// isPlugin reports whether kubectl has called the program.
func isPlugin(cmd *cobra.Command) bool {
	return cmd.Root().Annotations[cobra.CommandDisplayNameAnnotation] != ""
}

// exitInterrupted is what a shell gives a program that was interrupted.
const exitInterrupted = 130

// Main runs the command that args name and returns its exit code: 0, 65 for bad
// data, 75 for a failure that may pass, 78 for a wrong flag or configuration,
// 70 for a bug, 130 when it was interrupted.
func Main(engine Engine, version string, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f, isFile := stderr.(*os.File)
	reporter := progress.New(stderr, isFile && progress.IsTerminal(f), clock.RealClock{})
	root := newRoot(engine, version, Console{Out: stdout, Log: stderr, Progress: reporter})
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == PluginName {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl selfscale"}
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	reporter.Close()
	switch {
	case err == nil:
		return workflows.ExitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "selfscale: interrupted; nothing was written")
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "selfscale: %s\n", strings.TrimSpace(err.Error()))
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "selfscale: '%s --help' tells what there is\n", usage.command)
	}
	return workflows.ExitCode(err)
}

// usageError is an error in the way the program was called.
type usageError struct {
	error
	command string
}

func (e *usageError) Unwrap() error { return e.error }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{schemas.Errorf(schemas.CodeInvalidConfig, format, args...), cmd.CommandPath()}
}

func newRoot(engine Engine, version string, console Console) *cobra.Command {
	root := &cobra.Command{
		Use:   "selfscale",
		Short: "Predictive autoscaling for Kubernetes",
		Long: `selfscale learns how the CPU and memory usage of each service component moves
and raises the floor under its HorizontalPodAutoscaler before a rise comes.

See it work on real usage first, which needs no cluster, then give it the usage of
your own services.

Commands that ask an installation take its URL (--server), or reach it through the
API server of a kubeconfig (--context, --kubeconfig, --installed-in). Called
kubectl-selfscale, by a link of that name in the PATH, it is ` + "`kubectl selfscale`" + `,
and looks for the installation in kubectl's own cluster.`,
		Example: `  # replay 16 real series with the HPA alone and with self-scaling, and compare
  selfscale demo

  # forecast your own usage and get HPA manifests for it
  selfscale run --history usage.csv --out result
  kubectl apply --dry-run=server -f result/manifests`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
				hint = ": did you mean " + strings.Join(similar, " or ") + "?"
			}
			return usagef(cmd, "unknown command %q%s", args[0], hint)
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(flagError)
	root.Version = command.Version(version)
	root.SetVersionTemplate(versionLine(version))
	root.AddCommand(newVersion(version, console))
	if engine.Demo != nil {
		root.AddCommand(newDemo(engine.Demo, console))
	}
	if engine.Serve != nil {
		root.AddCommand(newServe(engine.Serve, console))
	}
	if engine.Run != nil {
		root.AddCommand(newRun(engine.Run, console))
	}
	if engine.Forecast != nil {
		root.AddCommand(newForecast(engine.Forecast, engine.names(), console))
	}
	if engine.History != nil {
		root.AddCommand(newHistory(engine.History, engine.names(), console))
	}
	if engine.Backtest != nil {
		root.AddCommand(newBacktest(engine.Backtest, console))
	}
	if engine.Remote != nil {
		root.AddCommand(remoteCommands(engine.Remote, console)...)
	}
	if engine.Models != nil {
		root.AddCommand(newModels(engine.Models, console))
	}
	return root
}

// noArgs refuses arguments that are no flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd, "%s takes flags only, but was given %q", cmd.Name(), args[0])
	}
	return nil
}

// flagError says in our own words what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var notExist *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &notExist):
		dashes := "--"
		if notExist.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return usagef(cmd, "%s has no flag %s%s", cmd.CommandPath(), dashes, notExist.GetSpecifiedName())
	case errors.As(err, &missing):
		return usagef(cmd, "--%s must have a value, but has none", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		kind := map[string]string{
			"int32": "a whole number", "int": "a whole number", "float64": "a number",
			"duration": "a duration such as 90s or 2m", "time": "a time such as 2026-01-31T06:00:00Z", "bool": "true or false",
		}[invalid.GetFlag().Value.Type()]
		if kind == "" {
			kind = "a valid " + invalid.GetFlag().Value.Type()
		}
		return usagef(cmd, "--%s must be %s, but is %q", invalid.GetFlag().Name, kind, invalid.GetValue())
	}
	return usagef(cmd, "%s", err)
}

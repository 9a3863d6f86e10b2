// Controller keeps an installation going: it finds components, sees that pipelines
// run when they should, tells operators what became of them, and takes floors back
// that nobody stands for any more.
//
//	controller            run until SIGTERM
//	controller restore    give every floor back and end, as an uninstall does
//	controller report     keep the record of a run that has ended, and end
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// version is set by the linker.
var version string

func programVersion() string {
	if version != "" {
		return version
	}
	return jobs.Version()
}

func main() {
	memory.Limit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const help = `controller: keep an installation of self-scaling going

It finds components and gives new services a policy in mode Shadow, starts the
pipelines that are due, watches runs, keeps the status of ScalingPolicies, and gives
floors back that have expired. Of several replicas one leads, by a Lease; all of them
read usage every minute, unless the installation names a Prometheus server.

Usage:
  controller [flags]            run until SIGTERM
  controller restore [flags]    give every floor back, delete the autoscalers that
                                self-scaling made, and end; needs no store
  controller report [flags]     keep the record of a run that has ended, and end
                                ("controller report -help" lists its flags)
  controller check [flags]      compare the account's rights with those that are needed
                                ("controller check -help" lists its flags)

Flags:
`

// Main runs a command and returns its exit code, see [workflows.ExitCode]. A failure
// is one line on stderr.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := run
	switch {
	case len(args) > 0 && args[0] == "restore":
		command, args = restore, args[1:]
	case len(args) > 0 && args[0] == "report":
		command, args = report, args[1:]
	case len(args) > 0 && args[0] == "check":
		return checkMain(ctx, args[1:], stdout, stderr)
	}
	err := command(ctx, args, stdout, stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return workflows.ExitOK
	}
	fmt.Fprintf(stderr, "controller: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	return workflows.ExitCode(err)
}

// common are the flags of commands that work on a cluster.
type common struct {
	scope   clusterflags.Flags
	log     logFlags
	version bool
}

func (c *common) register(flags *flag.FlagSet) {
	c.scope.Register(flags)
	c.log.register(flags)
	flags.BoolVar(&c.version, "version", false, "print the version and end")
}

// parse reads the flags of a command. It prints help and returns [flag.ErrHelp] where
// that is asked for.
func parse(flags *flag.FlagSet, text string, args []string, stdout io.Writer) error {
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, text)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%w (-help lists the flags)", err)
	case flags.NArg() > 0:
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be flags or one of restore and report, but there is %q", flags.Arg(0))
	}
	return nil
}

// logFlags say what is logged, as those of the steps do.
type logFlags struct{ format, level string }

func (l *logFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&l.format, "log-format", "text", "`form` of the log on standard error: text or json")
	flags.StringVar(&l.level, "log-level", "info", "least `level` to log: debug, info, warn or error")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	return jobs.NewLogger(w, l.format, l.level)
}

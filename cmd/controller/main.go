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
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
)

// version is set by the linker.
var version string

func programVersion() string { return command.Version(version) }

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
read usage every minute, unless the installation names a Prometheus server. Runs are
traced by OpenTelemetry where OTEL_EXPORTER_OTLP_ENDPOINT is set.

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
	run := run
	switch {
	case len(args) > 0 && args[0] == "restore":
		run, args = restore, args[1:]
	case len(args) > 0 && args[0] == "report":
		run, args = report, args[1:]
	case len(args) > 0 && args[0] == "check":
		return command.Exit("controller check", check(ctx, args[1:], stdout), stderr)
	}
	return command.Exit("controller", run(ctx, args, stdout, stderr), stderr)
}

// common are the flags of commands that work on a cluster.
type common struct {
	scope   clusterflags.Flags
	log     command.Log
	version bool
}

func (c *common) register(flags *flag.FlagSet) {
	c.scope.Register(flags)
	c.log.Register(flags)
	flags.BoolVar(&c.version, "version", false, "print the version and end")
}

// Package command is what programs that are no step of a pipeline do alike: they read
// flags, log, and end with one line that says why. The steps have package jobs for it.
package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Parse reads flags; every argument must be one. Where help is asked for it prints the
// text and what the flags mean, and returns [flag.ErrHelp]; see [Exit].
func Parse(flags *flag.FlagSet, help string, args []string, stdout io.Writer) error {
	flags.SetOutput(io.Discard) // the one line on stderr is ours
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%w (-help lists the flags)", err)
	case flags.NArg() > 0:
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be flags, but there is %q (-help lists them)", flags.Arg(0))
	}
	return nil
}

// Version returns the version of a program: the one that its linker was told or, where
// it was told none, what its build knows.
func Version(linked string) string { return cmp.Or(linked, jobs.Version()) }

// BuildInfo returns the metric that says which program runs, and in which version.
func BuildInfo(name, version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "selfscaling_build_info", Help: "Always 1; the labels say which program runs, and what it was built from.",
		ConstLabels: prometheus.Labels{"program": name, "version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// Exit returns the exit code of a program that ends with err, see [workflows.ExitCode].
// A failure becomes one line on stderr that begins with the program's name. To have
// asked for help is none.
func Exit(name string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return workflows.ExitOK
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
	return workflows.ExitCode(err)
}

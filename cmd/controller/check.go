package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/controller/cluster/rights"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

const checkHelp = `controller check: compare rights with those that are needed

Asks the API server whether the account that it runs as has the rights that it
was meant to be given, and whether there are the resources that they are about.
It is what the chart's test runs as the account of each program.

Example:
  controller check -grant 'scaling=[{"apiGroups":["argoproj.io"],"resources":["workflows"],"verbs":["create"]}]'

Flags:
`

// checkMain is controller check. It returns an exit code, see [workflows.ExitCode].
func checkMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := check(ctx, args, stdout)
	if err == nil {
		return workflows.ExitOK
	}
	fmt.Fprintf(stderr, "controller check: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	return workflows.ExitCode(err)
}

func check(ctx context.Context, args []string, stdout io.Writer) error {
	var grants []rights.Grant
	flags := flag.NewFlagSet("controller check", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the one line on stderr is ours
	flags.Func("grant", "`namespace=rules` to ask about: the rules of a Role, in JSON; without a namespace, in all of them. May be repeated", func(text string) error {
		g, err := rights.Parse(text)
		grants = append(grants, g)
		return err
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, checkHelp)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%w (-help lists the flags)", err)
	case flags.NArg() > 0:
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be flags, but there is %q", flags.Arg(0))
	case len(grants) == 0:
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -grant must be given")
	}
	var here clusterflags.Flags
	client, err := here.Connect()
	if err != nil {
		return err
	}
	api, err := clientset.For(client)
	if err != nil {
		return err
	}
	r, err := rights.Check(ctx, api, grants)
	if err != nil {
		return err
	}
	var wrong []string
	if len(r.Denied) > 0 {
		wrong = append(wrong, "the account may not "+strings.Join(r.Denied, ", may not "))
	}
	if len(r.Absent) > 0 {
		wrong = append(wrong, "the API server has no "+strings.Join(r.Absent, ", has no "))
	}
	if len(wrong) > 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s", strings.Join(wrong, "; "))
	}
	fmt.Fprintf(stdout, "controller check: all %d rights are there\n", r.Checked)
	return nil
}

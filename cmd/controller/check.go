package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/controller/cluster/rights"
	"github.com/self-scaling/self-scaling/schemas"
)

const checkHelp = `controller check: compare rights with those that are needed

Asks the API server whether the account that it runs as has the rights that it
was meant to be given, and whether there are the resources that they are about.
It is what the chart's test runs as the account of each program.

Example:
  controller check -grant 'scaling=[{"apiGroups":["argoproj.io"],"resources":["workflows"],"verbs":["create"]}]'

Flags:
`

func check(ctx context.Context, args []string, stdout io.Writer) error {
	var grants []rights.Grant
	flags := flag.NewFlagSet("controller check", flag.ContinueOnError)
	flags.Func("grant", "`namespace=rules` to ask about: the rules of a Role, in JSON; without a namespace, in all of them. May be repeated", func(text string) error {
		g, err := rights.Parse(text)
		grants = append(grants, g)
		return err
	})
	if err := command.Parse(flags, checkHelp, args, stdout); err != nil {
		return err
	}
	if len(grants) == 0 {
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

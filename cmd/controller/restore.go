package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/self-scaling/self-scaling/controller/cluster/bind"
)

const restoreHelp = `controller restore: give every floor back, as an uninstall does

Every autoscaler gets its user's own number back, and those that self-scaling made are
deleted; their workloads get the number of replicas back that they were set to before.
It can be repeated, and needs no store.

Flags:
`

// restoreTimeout bounds a restore.
const restoreTimeout = 4 * time.Minute

func restore(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var c common
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	c.register(flags)
	if err := parse(flags, restoreHelp, args, stdout); err != nil {
		return err
	}
	scope, err := c.scope.Scope()
	if err != nil {
		return err
	}
	client, err := c.scope.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	n, err := bind.ReleaseAll(ctx, client, scope.Namespaces...)
	if err != nil {
		return fmt.Errorf("%d floors were given back, but not all: %w", n, err)
	}
	_, err = fmt.Fprintf(stdout, "controller: %d floors were given back\n", n)
	return err
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/cluster/remains"
	"github.com/self-scaling/self-scaling/schemas"
)

const restoreHelp = `controller restore: give every floor back, as an uninstall does

Every autoscaler gets its user's own number back, and those that self-scaling made are
deleted; their workloads get the number of replicas back that they were set to before.
What fails is tried again until -timeout, unless another try cannot mend it.
It can be repeated, and needs no store.

With -remove it first deletes what the programs of an installation have made in its
namespace, and waits until their pods have ended: for when all else is deleted. For
that it takes at most half of -timeout; floors are given back in any case.

Flags:
`

func restore(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c common
	var installation string
	timeout := 4 * time.Minute
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	c.register(flags)
	flags.StringVar(&installation, "remove", "", "`name` of the installation in -namespace whose runs, Lease and pods of tests are deleted as well")
	flags.DurationVar(&timeout, "timeout", timeout, "when to give up")
	if err := command.Parse(flags, restoreHelp, args, stdout); err != nil {
		return err
	}
	if c.version {
		_, err := fmt.Fprintln(stdout, "controller", programVersion())
		return err
	}
	log, err := c.log.Open(stderr)
	if err != nil {
		return err
	}
	if timeout < time.Second {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -timeout must be at least 1s, but is %s", timeout)
	}
	if installation != "" && c.scope.Namespace == "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -remove needs the flag -namespace")
	}
	scope, err := c.scope.Scope()
	if err != nil {
		return err
	}
	client, err := c.scope.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var left error
	if installation != "" { // first, because a run that goes on writes floors
		left = remove(ctx, client, c.scope.Namespace, installation, timeout/2, stdout)
	}
	n := 0
	err = again(ctx, log, func() error {
		released, err := bind.ReleaseAll(ctx, client, scope.Namespaces...)
		n += released
		return err
	})
	if err != nil {
		return errors.Join(left, fmt.Errorf("%d floors were given back, but not all: %w", n, err))
	}
	_, err = fmt.Fprintf(stdout, "controller: %d floors were given back\n", n)
	return errors.Join(left, err)
}

// remove deletes what an installation has made, within a limit.
func remove(ctx context.Context, client *cluster.Client, namespace, installation string, limit time.Duration, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n, err := remains.Remove(ctx, client, namespace, installation)
	if err != nil {
		return fmt.Errorf("%d objects were removed, but not all: %w", n, err)
	}
	_, err = fmt.Fprintf(stdout, "controller: %d objects were removed\n", n)
	return err
}

// restorePause is the time between two tries of [again].
const restorePause = 2 * time.Second

// again tries until there is no error, or one that another try cannot mend, or ctx ends.
func again(ctx context.Context, log *slog.Logger, try func() error) error {
	for {
		err := try()
		switch schemas.CodeOf(err) {
		case "":
			return nil
		case schemas.CodeUnavailable, schemas.CodeConflict:
		default:
			return err
		}
		log.Warn("some floors are still held, which is tried again", "error", err)
		select {
		case <-ctx.Done():
			return schemas.WithCode(schemas.CodeUnavailable, err)
		case <-time.After(restorePause):
		}
	}
}

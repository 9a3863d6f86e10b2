package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
	"github.com/self-scaling/self-scaling/workflows/record"
)

const reportHelp = `controller report: keep the record of a run that has ended

It is the exit handler of a Workflow, whose variables are its flags: see package
workflows/record. An empty flag counts as left out.

Flags:
`

var drivers = artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open}

func report(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	exit := argo.Exit{Parameters: map[string]string{}}
	var storeURL, submitted string
	var logs command.Log
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.StringVar(&storeURL, "store", "", "`URL` of the store")
	flags.StringVar(&exit.RunID, "run", "", "`id` of the run")
	flags.StringVar(&exit.Pipeline, "pipeline", "", "`name` of its pipeline")
	flags.StringVar(&exit.Status, "status", "", "`phase` that it ended in: Succeeded, Failed or Error")
	flags.StringVar(&exit.Failures, "failures", "", "`nodes` that failed, as Argo lists them")
	flags.StringVar(&submitted, "submitted", "", "`time` when it was submitted, RFC 3339")
	logs.Register(flags)
	flags.Func("parameter", "`name=value` of a parameter; once for each", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return schemas.Errorf(schemas.CodeInvalidConfig, "must be name=value, but is %q", s)
		}
		exit.Parameters[name] = value
		return nil
	})
	if err := command.Parse(flags, reportHelp, args, stdout); err != nil {
		return err
	}
	log, err := logs.Open(stderr)
	if err != nil {
		return err
	}
	if storeURL == "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -store must name the store")
	}
	if submitted != "" {
		if exit.Submitted, err = time.Parse(time.RFC3339, submitted); err != nil {
			return schemas.Errorf(schemas.CodeInvalidConfig, "flag -submitted must be a time as 2006-01-02T15:04:05Z, but is %q", submitted)
		}
	}
	run, err := exit.Record(workflows.Pipelines(), time.Now())
	if err != nil {
		return err
	}
	store, err := artifact.Open(ctx, storeURL, drivers, artifact.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := record.Write(ctx, store, programVersion(), run); err != nil {
		return err
	}
	log.Info("record kept", "run", run.ID, "pipeline", run.Pipeline, "phase", string(run.Phase))
	return nil
}

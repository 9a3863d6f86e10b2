// Package offline turns a file with a user's own usage into forecasts, decisions
// and manifests, with the pipelines of a real installation and no cluster.
package offline

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/report"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins/almanac"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// The files of a result beside those of package report.
const (
	// StoreDir is the store that "selfscale forecast" and "selfscale history"
	// read.
	StoreDir = "store"
	// DecisionsFile holds one decision a line, as JSON.
	DecisionsFile = "decisions.jsonl"
	// ForecastsFile is the Parquet file of all forecasts.
	ForecastsFile = report.ForecastsDir + "/forecasts.parquet"
)

// Run is selfscale run.
func Run(ctx context.Context, o cli.RunOptions, c cli.Console, version string) error {
	profile, err := standard.Profile(o.Profile)
	if err != nil {
		return err
	}
	if err := o.Policy.Validate(); err != nil {
		return err
	}
	calendars, err := calendar.Load(o.Calendars, o.Zones)
	if err != nil {
		return err
	}
	reading := c.Progress.Stage("reading "+o.History, 0)
	file, err := history.Read(ctx, o.History, history.Options{})
	reading.Done()
	if err != nil {
		return err
	}
	now, err := instant(o.Now, file)
	if err != nil {
		return err
	}
	out, err := outdir.Open(o.Out)
	if err != nil {
		return err
	}
	defer out.Discard()

	bucket := out.Bucket(StoreDir)
	var set forecasts.Set
	var results []runtime.Result
	seen := map[schemas.ComponentID]outlook{}
	manifests := map[schemas.ComponentID]*autoscalingv2.HorizontalPodAutoscaler{}
	binder := manifest.New(func(id schemas.ComponentID, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
		manifests[id] = hpa
		return nil
	})
	table := samples.Options{Step: file.Step}
	pipelines, err := embedded.New(embedded.Config{
		Store:     artifact.New(bucket, artifact.Options{}),
		Collector: embedded.Always(collector.New(file, collector.Options{Step: file.Step, Backfill: samples.DefaultRetention})),
		Trainer:   trainer.Config{Options: trainer.DefaultOptions(), Calendars: calendars},
		Inference: inference.New(inference.Config{
			Framework: standard.Framework(profile, 0, binder, almanac.New(calendars)),
			Catalog:   func(context.Context) (inference.Catalog, error) { return standard.OnePolicy(o.Policy), nil },
			Table:     table,
			Decided:   func(r *runtime.Result) { seen[r.Candidate.Component] = look(r) },
			Done:      func(s forecasts.Set, r []runtime.Result) { set, results = s, r },
		}),
		Version: version,
	})
	if err != nil {
		return err
	}
	defer pipelines.Close()
	for _, stage := range []struct{ name, pipeline string }{
		{"collecting", "collect"}, {"training", "train"}, {"forecasting and deciding", "infer"},
	} {
		if err := run(ctx, pipelines, stage.pipeline, stage.name, now, c); err != nil {
			// Where the folder cannot be written, that is what there is to say.
			return cmp.Or(bucket.Err(), err)
		}
		file.Release() // the store has it
	}
	writing := c.Progress.Stage("writing "+o.Out, 0)
	err = write(ctx, out, bucket, set, manifests)
	writing.Done()
	if err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	return tell(c.Out, file, now, results, seen, out.Path())
}

// instant returns the instant to decide for: the one that was asked for, or the
// end of the history. There must be a bucket before it that is not too old to
// be kept.
func instant(asked time.Time, file *history.File) (time.Time, error) {
	first, last := file.From.Add(file.Step), file.To.Add(samples.DefaultRetention-file.Step)
	switch {
	case asked.IsZero():
		return file.To, nil
	case asked.Before(first):
		return time.Time{}, schemas.Errorf(schemas.CodeInvalidConfig, "--now must be at or after the end of the first bucket of %s (%s), but is %s", file.Name, first.Format(time.RFC3339), asked.Format(time.RFC3339))
	case asked.After(last):
		return time.Time{}, schemas.Errorf(schemas.CodeInvalidConfig, "--now must be within %d days after the end of %s (%s), but is %s", samples.DefaultRetention/(24*time.Hour), file.Name, file.To.Format(time.RFC3339), asked.Format(time.RFC3339))
	}
	return asked, nil
}

func run(ctx context.Context, p *embedded.Pipelines, pipeline, name string, now time.Time, c cli.Console) error {
	stage := c.Progress.Stage(name, 0)
	defer stage.Done()
	return p.Run(ctx, pipeline, now, func(r workflows.Run) {
		for _, s := range r.Steps {
			if s.Phase == workflows.Running && s.Progress.Total > 0 {
				stage.Set(s.Progress.Done, s.Progress.Total)
			}
		}
	})
}

// write fills the output folder.
func write(ctx context.Context, out *outdir.Dir, bucket artifact.Bucket, set forecasts.Set, manifests map[schemas.ComponentID]*autoscalingv2.HorizontalPodAutoscaler) error {
	for id, hpa := range manifests {
		data, err := manifest.Encode(hpa)
		if err != nil {
			return err
		}
		if err := out.WriteFile(report.Name(report.ManifestsDir, id, "yaml"), data); err != nil {
			return err
		}
	}
	if err := writeDecisions(out, set.Decisions); err != nil {
		return err
	}
	return forecastsFile(ctx, out, artifact.New(bucket, artifact.Options{ReadOnly: true}))
}

// writeDecisions writes one decision a line.
func writeDecisions(out *outdir.Dir, decisions []schemas.Decision) error {
	file, err := out.Create(DecisionsFile)
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(file)
	encoder := json.NewEncoder(lines)
	for i := range decisions {
		if err := encoder.Encode(&decisions[i]); err != nil {
			return errors.Join(fmt.Errorf("write the decision about %s: %w", decisions[i].Component, err), file.Close())
		}
	}
	return errors.Join(lines.Flush(), file.Close())
}

// forecastsFile writes the newest forecasts once more where people look for
// them.
func forecastsFile(ctx context.Context, out *outdir.Dir, store *artifact.Store) error {
	data, ok, err := forecasts.File(ctx, store)
	if err != nil || !ok {
		return err
	}
	return out.WriteFile(ForecastsFile, data)
}

// Package demo replays real usage against a simulated cluster twice: with the
// reactive HorizontalPodAutoscaler alone, and with the floors of self-scaling
// under it. The pipelines are those of a real installation; only the cluster and
// its clock are simulated.
package demo

import (
	"context"
	"fmt"
	"path"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/report"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/summary"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

const (
	interval = 15 * time.Minute
	// delay is how long after the end of a bucket its decision is carried out:
	// what collecting, deciding and starting the steps' pods takes in a cluster.
	delay = time.Minute
)

// Run is selfscale demo.
func Run(ctx context.Context, o cli.DemoOptions, c cli.Console, version string) error {
	out, err := outdir.Open(o.Out)
	if err != nil {
		return err
	}
	defer out.Discard()
	workloads, err := fleet.Workloads()
	if err != nil {
		return err
	}
	reactive, err := replayReactive(ctx, workloads, c.Progress)
	if err != nil {
		return err
	}
	ours, err := replayOurs(ctx, workloads, version, c.Progress)
	if err != nil {
		return err
	}
	sum := summarize(workloads, reactive, ours)
	if err := write(ctx, out, sum, workloads, reactive, ours, c.Progress); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	if err := sum.WriteText(c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "\nPlots, forecasts, manifests and summary.json are in %s\n", out.Path())
	return err
}

// replayReactive lets the autoscalers of the cluster work alone.
func replayReactive(ctx context.Context, workloads []sim.Workload, p *progress.Reporter) (*record, error) {
	cluster, err := sim.New(sim.Config{Start: fleet.ReplayStart}, workloads)
	if err != nil {
		return nil, err
	}
	r := newRecord(workloads)
	cluster.Observe(r.observe)
	stage := p.Stage("replaying with the HPA alone", fleet.ReplayDays*24)
	defer stage.Done()
	for t := fleet.ReplayStart; t.Before(fleet.ReplayEnd); t = t.Add(time.Hour) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := cluster.Step(t.Add(time.Hour)); err != nil {
			return nil, err
		}
		stage.Add(1)
	}
	return r, r.total(cluster)
}

// replayOurs has the pipelines collect, train, forecast and decide beside the
// autoscalers: every 15 minutes, and once a day for the training.
func replayOurs(ctx context.Context, workloads []sim.Workload, version string, p *progress.Reporter) (*record, error) {
	cluster, err := sim.New(sim.Config{Start: fleet.ReplayStart}, workloads)
	if err != nil {
		return nil, err
	}
	r := newRecord(workloads)
	cluster.Observe(r.observe)
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		return nil, err
	}
	binder := cluster.Binder()
	pipelines, err := embedded.New(embedded.Config{
		Store:     artifact.New(membucket.New(cluster), artifact.Options{}),
		Collector: embedded.Always(collect(cluster)),
		Trainer:   trainer.Config{Options: training()},
		Inference: inference.New(inference.Config{
			Framework: standard.Framework(profile, 0, binder),
			Catalog:   func(context.Context) (inference.Catalog, error) { return fleet.Catalog{Cluster: cluster}, nil },
			Decided:   r.decided,
		}),
		Version: version,
	})
	if err != nil {
		return nil, err
	}
	defer pipelines.Close()
	stage := p.Stage("replaying with self-scaling", fleet.ReplayDays*24*4)
	defer stage.Done()
	for t := fleet.ReplayStart; t.Before(fleet.ReplayEnd); t = t.Add(interval) {
		if err := cluster.Step(t.Add(delay)); err != nil {
			return nil, err
		}
		if err := pipelines.Run(ctx, "collect", cluster.Now(), nil); err != nil {
			return nil, err
		}
		if t.Equal(t.Truncate(24 * time.Hour)) {
			if err := pipelines.Run(ctx, "train", cluster.Now(), nil); err != nil {
				return nil, err
			}
		}
		if err := pipelines.Run(ctx, "infer", cluster.Now(), nil); err != nil {
			return nil, err
		}
		stage.Add(1)
	}
	if err := cluster.Step(fleet.ReplayEnd); err != nil {
		return nil, err
	}
	return r, r.total(cluster)
}

// collect returns the collector. Its first run takes in what the cluster was
// used for before the replay, as a backfill does.
func collect(cluster *sim.Cluster) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error {
		var o collector.Options
		if env.Now.Before(fleet.ReplayStart.Add(interval)) {
			o.Backfill = samples.DefaultRetention
		}
		return collector.New(cluster, o)(ctx, env)
	}
}

// training returns the options of the demonstration's nightly training: those of
// production with fewer passes, since each night goes on from the night before.
func training() trainer.Options {
	o := trainer.DefaultOptions()
	o.Fit.Epochs = 3
	return o
}

// summarize compares the two runs.
func summarize(workloads []sim.Workload, reactive, ours *record) *summary.Summary {
	s := &summary.Summary{}
	for i := range workloads {
		id := workloads[i].Component
		a, b := reactive.components[id], ours.components[id]
		c := summary.Component{
			ID: id, RelMAE: b.relMAE(), Reactive: a.outcome(), Selfscale: b.outcome(),
			History: fleet.ReplayEnd.Sub(workloads[i].Demand[schemas.CPU].Start),
		}
		if d := b.last; d != nil {
			if d.Reason.UsesForecast() {
				c.Floor = &d.MinReplicas
			} else {
				c.Note = d.Message
			}
		}
		s.Components = append(s.Components, c)
	}
	s.Sort()
	return s
}

// write fills the output folder.
func write(ctx context.Context, out *outdir.Dir, sum *summary.Summary, workloads []sim.Workload, reactive, ours *record, p *progress.Reporter) error {
	if err := report.WriteSummary(out, sum); err != nil {
		return err
	}
	newest := make(map[schemas.ComponentID]*schemas.Forecast)
	for _, f := range ours.newest {
		newest[f.Component] = f
	}
	var plots []report.Plot
	for i := range workloads {
		id := workloads[i].Component
		plots = append(plots, report.Plot{Component: id, Chart: draw(&workloads[i], reactive.components[id], ours.components[id], newest[id])})
	}
	stage := p.Stage("drawing", len(plots))
	err := report.WritePlots(ctx, out, plots, stage)
	stage.Done()
	if err != nil {
		return err
	}
	data, err := columnar.EncodeForecasts(ours.newest)
	if err != nil {
		return err
	}
	if err := out.WriteFile(path.Join(report.ForecastsDir, "forecasts.parquet"), data); err != nil {
		return err
	}
	for i := range ours.results {
		r := &ours.results[i]
		if r.Decision == nil || !r.Decision.Reason.UsesForecast() {
			continue
		}
		hpa, err := manifest.HPA(r.Candidate, r.Decision)
		if err != nil {
			return err
		}
		if err := writeManifest(out, r.Candidate.Component, hpa); err != nil {
			return err
		}
	}
	return nil
}

func writeManifest(out *outdir.Dir, id schemas.ComponentID, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
	data, err := manifest.Encode(hpa)
	if err != nil {
		return err
	}
	return out.WriteFile(report.Name(report.ManifestsDir, id, "yaml"), data)
}

// Package report lays out a folder of results: where the summary, the plots and
// the files of each component lie in it.
package report

import (
	"bytes"
	"context"
	"path"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/summary"
	"github.com/self-scaling/self-scaling/schemas"
)

// The folders of a result.
const (
	PlotsDir     = "plots"
	ForecastsDir = "forecasts"
	ManifestsDir = "manifests"
)

// Name returns the name of a component's file in one of the folders, as in
// plots/shop/cart.cpu.svg. Names of components keep to letters, digits, '-',
// '_' and '.' and cannot lead out of the folder.
func Name(dir string, id schemas.ComponentID, ending string) string {
	return path.Join(dir, id.Namespace, id.Service, id.Component+"."+ending)
}

// WriteSummary writes summary.json.
func WriteSummary(d *outdir.Dir, s *summary.Summary) error {
	var buf bytes.Buffer
	if err := s.WriteJSON(&buf); err != nil {
		return err
	}
	return d.WriteFile(summary.File, buf.Bytes())
}

// Plot is the chart of one component.
type Plot struct {
	Component schemas.ComponentID
	Chart     *chart.Chart
}

// WritePlots draws each chart as SVG and PNG, one a CPU at a time, and counts
// the charts that are done in stage.
func WritePlots(ctx context.Context, d *outdir.Dir, plots []Plot, stage *progress.Stage) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range plots {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var svg, png bytes.Buffer
			if err := p.Chart.WriteSVG(&svg); err != nil {
				return err
			}
			if err := p.Chart.WritePNG(&png); err != nil {
				return err
			}
			resource := string(p.Chart.Resource)
			if err := d.WriteFile(Name(PlotsDir, p.Component, resource+".svg"), svg.Bytes()); err != nil {
				return err
			}
			if err := d.WriteFile(Name(PlotsDir, p.Component, resource+".png"), png.Bytes()); err != nil {
				return err
			}
			stage.Add(1)
			return nil
		})
	}
	return g.Wait()
}

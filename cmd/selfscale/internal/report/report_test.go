package report_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/report"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/summary"
	"github.com/self-scaling/self-scaling/schemas"
)

func plots() []report.Plot {
	var plots []report.Plot
	for _, id := range []schemas.ComponentID{{Service: "shop", Component: "cart"}, {Namespace: "prod", Service: "shop", Component: "cart"}} {
		for _, r := range schemas.Resources() {
			plots = append(plots, report.Plot{Component: id, Chart: &chart.Chart{
				Title: id.String(), Resource: r, Usage: []chart.Point{{Time: time.Unix(0, 0), Value: 1}, {Time: time.Unix(900, 0), Value: 2}},
			}})
		}
	}
	return plots
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	d, err := outdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	if err := errors.Join(
		report.WriteSummary(d, &summary.Summary{}),
		report.WritePlots(t.Context(), d, plots(), nil),
		d.WriteFile(report.Name(report.ManifestsDir, schemas.ComponentID{Service: "shop", Component: "cart"}, "yaml"), []byte("a: b\n")),
		d.Commit(),
	); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		".selfscale.json",
		"manifests/shop/cart.yaml",
		"plots/prod/shop/cart.cpu.png", "plots/prod/shop/cart.cpu.svg", "plots/prod/shop/cart.memory.png", "plots/prod/shop/cart.memory.svg",
		"plots/shop/cart.cpu.png", "plots/shop/cart.cpu.svg", "plots/shop/cart.memory.png", "plots/shop/cart.memory.svg",
		"summary.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWritePlotsEndsWithItsContext(t *testing.T) {
	d, err := outdir.Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := report.WritePlots(ctx, d, plots(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("WritePlots = %v, want %v", err, context.Canceled)
	}
}

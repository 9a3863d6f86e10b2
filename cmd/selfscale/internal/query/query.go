// Package query shows what a store holds: samples and forecasts.
package query

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/storage"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// History is selfscale history.
func History(ctx context.Context, o cli.HistoryOptions, c cli.Console) error {
	store, err := storage.Open(ctx, o.Store, true)
	if err != nil {
		return err
	}
	defer store.Close()
	snapshot, err := samples.New(store.Store, samples.Options{}).Snapshot(ctx)
	switch {
	case errors.Is(err, artifact.ErrNotFound):
		return store.Nothing("samples")
	case err != nil:
		return fmt.Errorf("store %s: %w", o.Store, err)
	}
	from, to := snapshot.Head.Manifest.From.Truncate(snapshot.Step()), snapshot.Head.Manifest.To
	if !o.From.IsZero() && o.From.After(from) {
		from = o.From.Truncate(snapshot.Step())
	}
	if !o.To.IsZero() && o.To.Before(to) {
		to = o.To.Truncate(snapshot.Step())
	}
	if !from.Before(to) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "store %s has samples from %s to %s only", o.Store, stamp(snapshot.Head.Manifest.From), stamp(snapshot.Head.Manifest.To))
	}
	ids, err := snapshot.Components(ctx, from, to)
	if err != nil {
		return err
	}
	if o.Component != nil {
		if ids, err = only(ids, *o.Component, o.Store); err != nil {
			return err
		}
	}
	histories, err := snapshot.Histories(ctx, ids, from, to)
	if err != nil {
		return err
	}
	if o.Component == nil {
		return listHistories(c.Out, o.Query, histories)
	}
	s := histories[0].Series[o.Resource]
	if s == nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s of %s was never measured", o.Resource, o.Component)
	}
	if o.Plot != "" {
		if err := draw(o.Plot, &chart.Chart{Title: o.Component.String(), Subtitle: "usage, all pods", Resource: o.Resource, Usage: points(s)}); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, s.Len())
	for i, v := range s.Mean {
		if v == v {
			rows = append(rows, []string{stamp(s.Time(i)), number(v), number(s.Max[i])})
		}
	}
	return print(c.Out, o.Output, []string{"time", "mean", "max"}, rows, func(row []string) []string {
		return []string{row[0], people(o.Resource, row[1]), people(o.Resource, row[2])}
	})
}

func only(ids []schemas.ComponentID, id schemas.ComponentID, store string) ([]schemas.ComponentID, error) {
	for _, known := range ids {
		if known == id {
			return []schemas.ComponentID{id}, nil
		}
	}
	return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store %s has no component %s; without one the command lists them", store, id)
}

func points(s *schemas.Series) []chart.Point {
	out := make([]chart.Point, s.Len())
	for i, v := range s.Mean {
		out[i] = chart.Point{Time: s.Time(i), Value: v}
	}
	return out
}

func listHistories(w io.Writer, q cli.Query, histories []schemas.History) error {
	rows := make([][]string, 0, len(histories))
	for i := range histories {
		h := &histories[i]
		row := []string{h.Component.String(), "", "", "0", "", ""}
		if s := h.Series[q.Resource]; s != nil {
			known := s.Quality()
			measured := s.Measured()
			row[1], row[2] = stamp(known.First), stamp(known.Last.Add(s.Step))
			row[3] = strconv.FormatFloat(float64(known.Valid)/float64(max(1, measured.Len())), 'f', 3, 64)
			low, high := math.Inf(1), math.Inf(-1)
			for _, v := range s.Mean {
				if v == v {
					low, high = min(low, v), max(high, v)
				}
			}
			row[4], row[5] = number(low), number(high)
		}
		rows = append(rows, row)
	}
	return print(w, q.Output, []string{"component", "from", "to", "measured", "lowest", "highest"}, rows, func(row []string) []string {
		out := append([]string(nil), row...)
		out[4], out[5] = people(q.Resource, row[4]), people(q.Resource, row[5])
		return out
	})
}

// Forecast is selfscale forecast.
func Forecast(ctx context.Context, o cli.ForecastOptions, c cli.Console) error {
	store, err := storage.Open(ctx, o.Store, true)
	if err != nil {
		return err
	}
	defer store.Close()
	set, ok, err := forecasts.Latest(ctx, store.Store)
	if err != nil {
		return fmt.Errorf("store %s: %w", o.Store, err)
	}
	if !ok {
		return store.Nothing("forecasts")
	}
	header := []string{"time"}
	for _, l := range o.Levels {
		header = append(header, "p"+strconv.FormatFloat(100*l, 'g', 4, 64))
	}
	if o.Component == nil {
		return listForecasts(c.Out, o, set)
	}
	for _, f := range set.Forecasts {
		if f.Component != *o.Component || f.Resource != o.Resource {
			continue
		}
		if o.Plot != "" {
			if err := plotForecast(ctx, store.Store, o, f); err != nil {
				return err
			}
		}
		rows := make([][]string, 0, f.Steps())
		for i := range f.Steps() {
			row := []string{stamp(f.Time(i))}
			for _, l := range o.Levels {
				row = append(row, number(f.At(i, l)))
			}
			rows = append(rows, row)
		}
		return print(c.Out, o.Output, header, rows, func(row []string) []string {
			out := []string{row[0]}
			for _, v := range row[1:] {
				out = append(out, people(o.Resource, v))
			}
			return out
		})
	}
	for i := range set.Decisions {
		if d := &set.Decisions[i]; d.Component == *o.Component {
			return schemas.Errorf(schemas.CodeInvalidConfig, "%s has no %s forecast: %s (%s)", o.Component, o.Resource, d.Message, d.Reason)
		}
	}
	return schemas.Errorf(schemas.CodeInvalidConfig, "store %s has no component %s; without one the command lists them", o.Store, o.Component)
}

func listForecasts(w io.Writer, o cli.ForecastOptions, set forecasts.Set) error {
	byComponent := map[schemas.ComponentID]*schemas.Forecast{}
	for _, f := range set.Forecasts {
		if f.Resource == o.Resource {
			byComponent[f.Component] = f
		}
	}
	header := []string{"component", "origin"}
	for _, l := range o.Levels {
		header = append(header, "highest p"+strconv.FormatFloat(100*l, 'g', 4, 64))
	}
	header = append(header, "floor", "reason")
	n := len(o.Levels)
	var rows [][]string
	for i := range set.Decisions {
		d := &set.Decisions[i]
		row := make([]string, 2, n+4)
		row[0] = d.Component.String()
		f := byComponent[d.Component]
		if f != nil {
			row[1] = stamp(f.Origin)
		}
		for _, l := range o.Levels {
			top := ""
			if f != nil {
				v, _, _ := f.Highest(l, f.Origin, f.Time(f.Steps()))
				top = number(v)
			}
			row = append(row, top)
		}
		rows = append(rows, append(row, strconv.Itoa(int(d.MinReplicas)), string(d.Reason)))
	}
	return print(w, o.Output, header, rows, func(row []string) []string {
		out := append([]string(nil), row...)
		for i := range n {
			out[2+i] = people(o.Resource, row[2+i])
		}
		return out
	})
}

// plotForecast draws a forecast behind the usage that led to it.
func plotForecast(ctx context.Context, store *artifact.Store, o cli.ForecastOptions, f *schemas.Forecast) error {
	c := &chart.Chart{
		Title: f.Component.String(), Subtitle: "usage of all pods, and its forecast for the next day", Resource: f.Resource,
		ForecastStep: f.Step, BandLabel: "10th to 90th percentile", MidLabel: "median", Now: f.Origin,
	}
	for i := range f.Steps() {
		c.Forecast = append(c.Forecast, chart.Interval{Time: f.Time(i), Low: f.At(i, .1), Mid: f.At(i, .5), High: f.At(i, .9)})
	}
	const days = 5
	snapshot, err := samples.New(store, samples.Options{}).Snapshot(ctx)
	if err != nil {
		return err
	}
	from, to := snapshot.Window(f.Origin, days)
	histories, err := snapshot.Histories(ctx, []schemas.ComponentID{f.Component}, from, to)
	if err != nil {
		return err
	}
	if s := histories[0].Series[f.Resource]; s != nil {
		c.Usage = points(s)
	}
	return draw(o.Plot, c)
}

// draw writes a chart, whole or not at all.
func draw(path string, c *chart.Chart) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".plot-*")
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the temporary file's name tells nobody anything
		}
		return schemas.Errorf(schemas.CodeInvalidConfig, "plot %s cannot be written: %w", path, err)
	}
	defer os.Remove(temp.Name()) // gone already where all went well
	write := c.WriteSVG
	if strings.EqualFold(filepath.Ext(path), ".png") {
		write = c.WritePNG
	}
	if err := write(temp); err != nil {
		temp.Close()
		return schemas.Errorf(schemas.CodeUnavailable, "plot %s: %w", path, err)
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "plot %s: %w", path, err)
	}
	return schemas.WithCode(schemas.CodeUnavailable, os.Rename(temp.Name(), path))
}

// print writes rows in the form that was asked for. In a table, numbers are
// written for people by the function spell.
func print(w io.Writer, output string, header []string, rows [][]string, spell func([]string) []string) error {
	switch output {
	case cli.CSVOutput:
		out := csv.NewWriter(w)
		if err := out.Write(header); err != nil {
			return err
		}
		if err := out.WriteAll(rows); err != nil {
			return err
		}
		return out.Error()
	case cli.JSONOutput:
		list := make([]map[string]any, 0, len(rows))
		for _, row := range rows {
			entry := make(map[string]any, len(row))
			for i, v := range row {
				if n, err := strconv.ParseFloat(v, 64); err == nil {
					entry[header[i]] = n
				} else if v != "" {
					entry[header[i]] = v
				}
			}
			list = append(list, entry)
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	columns := make([]table.Column, len(header))
	for i, h := range header {
		columns[i] = table.Column{Heading: h, Align: table.Right}
		if i == 0 || h == "reason" {
			columns[i].Align = table.Left
		}
	}
	t := table.New(columns...)
	for _, row := range rows {
		t.Row(spell(row)...)
	}
	_, err := t.WriteTo(w)
	return err
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// people spells a number in the table.
func people(r schemas.Resource, v string) string {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsInf(n, 0) {
		return "-"
	}
	return replicas.Quantity(r, n)
}

// Package query shows samples and forecasts: those that a store holds, or those that
// an installation has.
package query

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/answer"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
)

// source is where the answers are: a store, or an installation.
type source interface {
	// histories returns what was measured of a component, or of all where id is nil,
	// in the buckets that begin within [from, to). Zero times leave the bounds to the
	// source.
	histories(ctx context.Context, id *schemas.ComponentID, from, to time.Time) ([]schemas.History, error)
	// forecasts returns the newest forecasts of a resource and the newest decisions,
	// of one component or of all.
	forecasts(ctx context.Context, id *schemas.ComponentID, r schemas.Resource) (forecasts.Set, error)
	// unknown returns the error for a component that is not there.
	unknown(id schemas.ComponentID) error
	Close() error
}

// open opens what is asked for.
func open(ctx context.Context, q cli.Query, c cli.Console) (source, error) {
	if q.Store != "" {
		return openStore(ctx, q.Store)
	}
	return openServer(ctx, q.ServerOptions, c)
}

// History is selfscale history.
func History(ctx context.Context, o cli.HistoryOptions, c cli.Console) error {
	from, err := open(ctx, o.Query, c)
	if err != nil {
		return err
	}
	defer from.Close()
	histories, err := from.histories(ctx, o.Component, o.From, o.To)
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
	from, err := open(ctx, o.Query, c)
	if err != nil {
		return err
	}
	defer from.Close()
	set, err := from.forecasts(ctx, o.Component, o.Resource)
	if err != nil {
		return err
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
			if err := plotForecast(ctx, from, o, f); err != nil {
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
			if d.Reason.UsesForecast() {
				return schemas.Errorf(schemas.CodeInvalidConfig, "%s has no %s forecast: too little of its %s has been measured, but a forecast of what else it uses is there", o.Component, o.Resource, o.Resource)
			}
			return schemas.Errorf(schemas.CodeInvalidConfig, "%s has no %s forecast: %s (%s)", o.Component, o.Resource, d.Message, d.Reason)
		}
	}
	return from.unknown(*o.Component)
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
func plotForecast(ctx context.Context, from source, o cli.ForecastOptions, f *schemas.Forecast) error {
	c := &chart.Chart{
		Title: f.Component.String(), Subtitle: "usage of all pods, and its forecast for the next day", Resource: f.Resource,
		ForecastStep: f.Step, BandLabel: "10th to 90th percentile", MidLabel: "median", Now: f.Origin,
	}
	for i := range f.Steps() {
		c.Forecast = append(c.Forecast, chart.Interval{Time: f.Time(i), Low: f.At(i, .1), Mid: f.At(i, .5), High: f.At(i, .9)})
	}
	const before = 5 * 24 * time.Hour
	histories, err := from.histories(ctx, &f.Component, f.Origin.Add(-before), f.Origin)
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
	case cli.JSONOutput, cli.YAMLOutput:
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
		_, err := answer.Write(w, output, list)
		return err
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

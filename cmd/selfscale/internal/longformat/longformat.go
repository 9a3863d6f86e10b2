// Package longformat reads series of any kind from a file with the columns
// series, time and value: CSV, plain or compressed with gzip, or Parquet.
package longformat

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// columns of the file, in the order in which a row is handed on.
var columns = [3]string{"series", "time", "value"}

// maxSteps bounds the length of one series: beyond it a wrong year is more
// likely than a long memory.
const maxSteps = 10_000_000

// Series is one series with the name that the file gives it.
type Series struct {
	Name string
	*schemas.Series
}

// Read returns the series of a file on a grid of the given step, in the order of
// their names. Values within one step are averaged; a step without any, and an
// empty value, is missing. A file that breaks a rule is an error with
// [schemas.CodeInvalidData].
func Read(ctx context.Context, path string, step time.Duration) ([]Series, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "data file: %w", err)
	}
	defer f.Close()
	name := filepath.Base(path)
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "data file %s: %w", path, err)
	}
	g := gatherer{name: name, step: step, series: map[string]*gathered{}}
	switch {
	case n == 0:
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must have a header and rows, but is empty", name)
	case string(head[:n]) == "PAR1":
		err = g.parquet(ctx, f)
	case n >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, zerr := gzip.NewReader(f)
		if zerr != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: %w", name, zerr)
		}
		err = g.csv(ctx, z)
	default:
		err = g.csv(ctx, f)
	}
	if err != nil {
		return nil, err
	}
	return g.result()
}

type gatherer struct {
	name   string
	step   time.Duration
	series map[string]*gathered
}

// gathered is one series while it is read: sums and counts by step.
type gathered struct {
	first int64 // step of index 0
	sum   []float64
	count []int32
}

func (g *gatherer) errorf(row int64, column, format string, args ...any) error {
	return g.wrap(row, column, fmt.Errorf(format, args...))
}

func (g *gatherer) wrap(row int64, column string, err error) error {
	return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: %s %w", g.name, row, column, err)
}

// add takes one row in. Rows count from 1, the header not counted.
func (g *gatherer) add(row int64, series string, at time.Time, value float64) error {
	if series == "" {
		return g.errorf(row, columns[0], "must not be empty")
	}
	if math.IsInf(value, 0) || math.Abs(value) > schemas.MaxMemory {
		return g.errorf(row, columns[2], "must be a number of at most %g, but is %v", float64(schemas.MaxMemory), value)
	}
	if y := at.Year(); y < 1970 || y > 2199 {
		return g.errorf(row, columns[1], "must be of the years 1970 to 2199, but is %s", at.Format(time.RFC3339))
	}
	i := at.UnixNano() / int64(g.step)
	s := g.series[series]
	if s == nil {
		s = &gathered{first: i}
		g.series[strings.Clone(series)] = s
	}
	if i < s.first {
		return g.errorf(row, columns[1], "must not go back, but %s of series %q is before the row above it", at.Format(time.RFC3339), series)
	}
	k := i - s.first
	if k >= maxSteps {
		return g.errorf(row, columns[1], "must be within %d steps of the first of its series, but is %s", maxSteps, at.Format(time.RFC3339))
	}
	if k+1 < int64(len(s.sum)) {
		return g.errorf(row, columns[1], "must not go back, but %s of series %q is before the row above it", at.Format(time.RFC3339), series)
	}
	for int64(len(s.sum)) <= k {
		s.sum, s.count = append(s.sum, 0), append(s.count, 0)
	}
	if value == value {
		s.sum[k] += value
		s.count[k]++
	}
	return nil
}

func (g *gatherer) csv(ctx context.Context, in io.Reader) error {
	r := csv.NewReader(bufio.NewReaderSize(in, 1<<20))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: must begin with a header: %w", g.name, err)
	}
	at, err := g.layout(header)
	if err != nil {
		return err
	}
	for row := int64(1); ; row++ {
		if row%65536 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: %w", g.name, err)
		}
		t, err := parseTime(record[at[1]])
		if err != nil {
			return g.wrap(row, columns[1], err)
		}
		v, err := parseValue(record[at[2]])
		if err != nil {
			return g.wrap(row, columns[2], err)
		}
		if err := g.add(row, record[at[0]], t, v); err != nil {
			return err
		}
	}
}

// layout returns where each column stands in the header.
func (g *gatherer) layout(header []string) (at [3]int, err error) {
	for i, want := range columns {
		at[i] = slices.IndexFunc(header, func(h string) bool {
			return strings.EqualFold(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff")), want)
		})
		if at[i] < 0 {
			return at, schemas.Errorf(schemas.CodeInvalidData, "%s: must have the columns series, time and value, but %s is missing from %q", g.name, want, header)
		}
	}
	return at, nil
}

// parseTime reads an instant: RFC 3339, the same without a zone (UTC), a day, or
// seconds since 1970.
func parseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds >= 0 && seconds < 1<<33 {
		return time.Unix(seconds, 0).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("must be a time such as 2026-01-31T06:00:00Z or seconds since 1970, but is %q", s)
}

// parseValue reads a number; an empty one and NaN are missing.
func parseValue(s string) (float64, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("must be a number, but is %q", s)
	}
	return v, nil
}

func (g *gatherer) parquet(ctx context.Context, in *os.File) error {
	f, err := columnar.OpenForeign(g.name, in)
	if err != nil {
		return err
	}
	header := make([]string, len(f.Columns()))
	for i, c := range f.Columns() {
		header[i] = c.Name
	}
	at, err := g.layout(header)
	if err != nil {
		return err
	}
	if f.Columns()[at[0]].Kind != columnar.Text || f.Columns()[at[2]].Kind != columnar.Real {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: series must be text and value a number", g.name)
	}
	return f.Scan(at[:], func(b *columnar.ForeignBatch) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range b.Rows {
			row := b.First + int64(i) + 1
			var t time.Time
			switch v := &b.Columns[1]; {
			case v.Instants != nil && v.Instants[i] != columnar.Unknown:
				t = columnar.Time(v.Instants[i])
			case v.Texts != nil:
				if t, err = parseTime(string(v.Texts[i])); err != nil {
					return g.wrap(row, columns[1], err)
				}
			case v.Reals != nil && v.Reals[i] >= 0 && v.Reals[i] < 1<<33:
				t = time.Unix(int64(v.Reals[i]), 0).UTC()
			default:
				return g.errorf(row, columns[1], "must be a time")
			}
			if err := g.add(row, string(b.Columns[0].Texts[i]), t, b.Columns[2].Reals[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *gatherer) result() ([]Series, error) {
	out := make([]Series, 0, len(g.series))
	for name, s := range g.series {
		y := &schemas.Series{
			// Memory has the wider limits: these values can be anything.
			Resource: schemas.Memory,
			Start:    time.Unix(0, s.first*int64(g.step)).UTC(), Step: g.step, Mean: make([]float64, len(s.sum)),
		}
		for i := range s.sum {
			y.Mean[i] = s.sum[i] / float64(s.count[i]) // NaN where there is none
		}
		if y.LastValid() >= 0 {
			out = append(out, Series{name, y})
		}
	}
	if len(out) == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must have at least one value, but has none", g.name)
	}
	slices.SortFunc(out, func(a, b Series) int { return cmp.Compare(a.Name, b.Name) })
	for i := range out {
		// A name in the file can be anything, that of a component cannot.
		out[i].Component = schemas.ComponentID{Service: "series", Component: strconv.Itoa(i)}
	}
	return out, nil
}

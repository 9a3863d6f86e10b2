package columnar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// ForecastsSchema is the table of forecasts with the given quantile levels: one
// row for each component and bucket, with one column for each resource and
// level of its mean, and one for each level of its peak, which the far buckets
// do not have. Which forecaster made a bucket stands beside it.
func ForecastsSchema(levels []float64) *Schema {
	s := &Schema{Name: "forecasts", Version: 1, Key: keys, Columns: keyColumns()}
	for _, r := range schemas.Resources() {
		s.Columns = append(s.Columns, Column{Name: string(r) + "_forecaster", Kind: Text, Optional: true, Repeats: true})
		for _, statistic := range []string{"", "_peak"} {
			for _, l := range levels {
				c := Column{Name: fmt.Sprintf("%s%s_p%s", r, statistic, levelName(l)), Kind: Cores, Optional: true}
				if r == schemas.Memory {
					c.Name, c.Kind = c.Name+"_kib", KiB
				}
				s.Columns = append(s.Columns, c)
			}
		}
	}
	return s
}

// levelName spells a level as a percentage: 0.9 is 90, 0.975 is 97_5.
func levelName(level float64) string {
	// Rounded, because 0.57*100 is not quite 57.
	s := strconv.FormatFloat(level*100, 'f', 6, 64)
	return strings.ReplaceAll(strings.TrimRight(strings.TrimRight(s, "0"), "."), ".", "_")
}

// EncodeForecasts returns forecasts as a Parquet file. All must be valid, and
// have the same step and the same levels; no component may have two of one
// resource. Quantiles come back rounded to whole stored units.
func EncodeForecasts(forecasts []*schemas.Forecast) ([]byte, error) {
	w := NewForecastsWriter()
	sorted := slices.SortedStableFunc(slices.Values(forecasts), func(a, b *schemas.Forecast) int { return a.Component.Compare(b.Component) })
	for _, f := range sorted {
		if err := w.Add(f); err != nil {
			return nil, err
		}
	}
	return w.Close()
}

// ForecastsWriter writes forecasts to a Parquet file, one after the other: it holds
// those of one component, and the file.
type ForecastsWriter struct {
	step   time.Duration
	levels []float64
	file   *Writer // nil before the first forecast
	rows   *builder
	// of holds the forecasts of the newest component.
	component schemas.ComponentID
	of        map[schemas.Resource]*schemas.Forecast
}

// NewForecastsWriter returns a writer of an empty file.
func NewForecastsWriter() *ForecastsWriter {
	return &ForecastsWriter{of: map[schemas.Resource]*schemas.Forecast{}}
}

// Add takes a forecast, by the rules of [EncodeForecasts]. Components must come in
// order.
func (w *ForecastsWriter) Add(f *schemas.Forecast) error {
	if err := f.Validate(); err != nil {
		return err
	}
	if err := f.Component.Validate(); err != nil {
		return err
	}
	if w.file == nil {
		var err error
		if w.file, err = NewWriter(ForecastsSchema(f.Levels)); err != nil {
			return err
		}
		w.step, w.levels, w.component, w.rows = f.Step, slices.Clone(f.Levels), f.Component, newBuilder(w.file.schema)
	}
	if f.Step != w.step || !slices.Equal(f.Levels, w.levels) {
		return schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s %s must have the step %s and levels %v of the others, but has %s and %v", f.Component, f.Resource, w.step, w.levels, f.Step, f.Levels)
	}
	if n := len(f.Forecasters); n != 0 && n != len(schemas.Bands(f.Steps())) {
		return schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s %s must name a forecaster for each of its %d bands, but names %d", f.Component, f.Resource, len(schemas.Bands(f.Steps())), n)
	}
	switch c := f.Component.Compare(w.component); {
	case c < 0:
		return schemas.Errorf(schemas.CodeInternal, "forecasts: components must come in order, but %s comes after %s", f.Component, w.component)
	case c > 0:
		if err := w.flush(); err != nil {
			return err
		}
		w.component = f.Component
	case w.of[f.Resource] != nil:
		return schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s must have one of %s, but has two", f.Component, f.Resource)
	}
	w.of[f.Resource] = f
	return nil
}

// flush writes the rows of the newest component.
func (w *ForecastsWriter) flush() error {
	b := w.rows
	for _, at := range instants(w.of) {
		if b.rows() == GroupRows {
			if err := w.group(); err != nil {
				return err
			}
		}
		b.key(w.component, at)
		column := keys
		for _, r := range schemas.Resources() {
			var name string
			var mean, peak []float64
			if f := w.of[r]; f != nil {
				name, mean, peak = rowAt(f, at)
			}
			b.text(column, name)
			for _, row := range [][]float64{mean, peak} {
				for i := range w.levels {
					units := int64(Unknown)
					if row != nil {
						units = Units(r, row[i])
					}
					b.ints(column+1+i, units)
				}
				column += len(w.levels)
			}
			column++
		}
	}
	clear(w.of)
	return nil
}

// group writes a group of rows.
func (w *ForecastsWriter) group() error {
	err := w.file.Append(w.rows.frame())
	w.rows.reset()
	return err
}

// Close returns the file.
func (w *ForecastsWriter) Close() ([]byte, error) {
	if w.file == nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "forecasts: there must be at least one")
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := w.group(); err != nil {
		return nil, err
	}
	spelled := make([]string, len(w.levels))
	for i, l := range w.levels {
		spelled[i] = strconv.FormatFloat(l, 'g', -1, 64)
	}
	return w.file.Close(map[string]string{"step": w.step.String(), "levels": strings.Join(spelled, ",")})
}

// instants returns the starts of all buckets that any of the forecasts covers,
// ascending, in milliseconds.
func instants(of map[schemas.Resource]*schemas.Forecast) []int64 {
	var out []int64
	for _, f := range of {
		for i := range f.Steps() {
			out = append(out, f.Time(i).UnixMilli())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// rowAt returns the quantiles of the mean and of the peak of the bucket that
// starts at the given millisecond and who made them; nil where the forecast does
// not cover it.
func rowAt(f *schemas.Forecast, ms int64) (forecaster string, mean, peak []float64) {
	since := ms - f.Origin.UnixMilli()
	i := int(since / f.Step.Milliseconds())
	if since < 0 || since%f.Step.Milliseconds() != 0 || i >= f.Steps() {
		return "", nil, nil
	}
	for k, band := range schemas.Bands(f.Steps()) {
		if len(f.Forecasters) > 0 && i+1 >= band.First && i+1 <= band.Last {
			forecaster = f.Forecasters[k]
		}
	}
	if i < f.PeakSteps() {
		peak = f.PeakRow(i)
	}
	return forecaster, f.Row(i), peak
}

// DecodeForecasts reads what [EncodeForecasts] wrote, ordered by component and
// resource.
func DecodeForecasts(name string, data []byte) ([]*schemas.Forecast, error) {
	var out []*schemas.Forecast
	err := ScanForecasts(name, data, func(f *schemas.Forecast) error {
		out = append(out, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ScanForecasts is [DecodeForecasts] for readers that need not hold all forecasts
// at once: it calls yield with each of them, in the same order, and ends with
// yield's first error.
func ScanForecasts(name string, data []byte, yield func(*schemas.Forecast) error) error {
	r, err := open(name, data)
	if err != nil {
		return err
	}
	var levels []float64
	for _, s := range strings.Split(r.Attribute("levels"), ",") {
		l, err := strconv.ParseFloat(s, 64)
		if err != nil || len(levels) > 100 {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: levels must be at most 100 numbers, but are %.100q", name, r.Attribute("levels"))
		}
		levels = append(levels, l)
	}
	if err := r.conform(ForecastsSchema(levels)); err != nil {
		return err
	}
	step, err := r.step()
	if err != nil {
		return err
	}
	var current schemas.ComponentID
	of := map[schemas.Resource]*schemas.Forecast{} // of the current component
	makers := map[schemas.Resource][]string{}      // who made each step of them
	finish := func() error {
		for _, res := range schemas.Resources() {
			f := of[res]
			if f == nil {
				continue
			}
			if made := makers[res]; made[0] != "" {
				for _, band := range schemas.Bands(f.Steps()) {
					f.Forecasters = append(f.Forecasters, made[band.First-1])
				}
			}
			if err := f.Validate(); err != nil {
				return schemas.Errorf(schemas.CodeInvalidData, "%s: %w", name, err)
			}
			if err := yield(f); err != nil {
				return err
			}
		}
		clear(of)
		clear(makers)
		return nil
	}
	err = r.All(func(frame Frame) error {
		return r.components(frame, func(id schemas.ComponentID, from, to int) error {
			if id != current {
				if err := finish(); err != nil {
					return err
				}
				current = id
			}
			for i := from; i < to; i++ {
				at := Time(frame[3].Ints[i])
				column := keys
				for _, res := range schemas.Resources() {
					values, known := quantiles(res, frame[column+1:column+1+len(levels)], i)
					peaks, knownPeaks := quantiles(res, frame[column+1+len(levels):column+1+2*len(levels)], i)
					v := &frame[column]
					maker := v.Texts[v.Index[i]]
					column += 1 + 2*len(levels)
					if known == 0 && knownPeaks == 0 {
						continue
					}
					f := of[res]
					if f == nil {
						f = &schemas.Forecast{Component: id, Resource: res, Origin: at, Step: step, Levels: levels}
						of[res] = f
					}
					if known != len(levels) || !f.Time(f.Steps()).Equal(at) {
						return schemas.Errorf(schemas.CodeInvalidData, "%s: %s %s: each bucket from %s on must have all %d levels, but the one at %s has %d", name, id, res, f.Origin.Format(time.RFC3339), len(levels), at.Format(time.RFC3339), known)
					}
					if knownPeaks != 0 {
						if knownPeaks != len(levels) || f.PeakSteps() != f.Steps() {
							return schemas.Errorf(schemas.CodeInvalidData, "%s: %s %s: the peaks must have all %d levels and go on from %s without a gap, but the bucket at %s has %d", name, id, res, len(levels), f.Origin.Format(time.RFC3339), at.Format(time.RFC3339), knownPeaks)
						}
						f.Peaks = append(f.Peaks, peaks...)
					}
					f.Values = append(f.Values, values...)
					makers[res] = append(makers[res], maker)
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return finish()
}

// quantiles returns one row of quantiles and how many of them are known.
func quantiles(r schemas.Resource, columns Frame, row int) (values []float64, known int) {
	values = make([]float64, len(columns))
	for i := range columns {
		units := columns[i].Ints[row]
		values[i] = Quantity(r, units)
		if units != Unknown {
			known++
		}
	}
	return values, known
}

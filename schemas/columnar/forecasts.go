package columnar

import (
	"fmt"
	"maps"
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
	if len(forecasts) == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "forecasts: there must be at least one")
	}
	step, levels := forecasts[0].Step, forecasts[0].Levels
	byComponent := map[schemas.ComponentID]map[schemas.Resource]*schemas.Forecast{}
	for _, f := range forecasts {
		if err := f.Validate(); err != nil {
			return nil, err
		}
		if err := f.Component.Validate(); err != nil {
			return nil, err
		}
		if f.Step != step || !slices.Equal(f.Levels, levels) {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s %s must have the step %s and levels %v of the others, but has %s and %v", f.Component, f.Resource, step, levels, f.Step, f.Levels)
		}
		if n := len(f.Forecasters); n != 0 && n != len(schemas.Bands(f.Steps())) {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s %s must name a forecaster for each of its %d bands, but names %d", f.Component, f.Resource, len(schemas.Bands(f.Steps())), n)
		}
		of := byComponent[f.Component]
		if of == nil {
			of = map[schemas.Resource]*schemas.Forecast{}
			byComponent[f.Component] = of
		}
		if of[f.Resource] != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "forecasts: %s must have one of %s, but has two", f.Component, f.Resource)
		}
		of[f.Resource] = f
	}
	s := ForecastsSchema(levels)
	w, err := NewWriter(s)
	if err != nil {
		return nil, err
	}
	b := newBuilder(s)
	flush := func() error {
		err := w.Append(b.frame())
		b.reset()
		return err
	}
	for _, id := range slices.SortedFunc(maps.Keys(byComponent), schemas.ComponentID.Compare) {
		of := byComponent[id]
		for _, at := range instants(of) {
			if b.rows() == GroupRows {
				if err := flush(); err != nil {
					return nil, err
				}
			}
			b.key(id, at)
			column := keys
			for _, r := range schemas.Resources() {
				var name string
				var mean, peak []float64
				if f := of[r]; f != nil {
					name, mean, peak = rowAt(f, at)
				}
				b.text(column, name)
				for _, row := range [][]float64{mean, peak} {
					for i := range levels {
						units := int64(Unknown)
						if row != nil {
							units = Units(r, row[i])
						}
						b.ints(column+1+i, units)
					}
					column += len(levels)
				}
				column++
			}
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	spelled := make([]string, len(levels))
	for i, l := range levels {
		spelled[i] = strconv.FormatFloat(l, 'g', -1, 64)
	}
	return w.Close(map[string]string{"step": step.String(), "levels": strings.Join(spelled, ",")})
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

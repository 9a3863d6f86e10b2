package schemas

import (
	"math"
	"slices"
	"sort"
	"time"
)

// DefaultHorizon is how many buckets a forecast covers where nothing else is
// configured: a day of quarter hours.
const DefaultHorizon = 96

// DefaultLevels returns the quantile levels of a forecast: the nine deciles and
// the two upper levels that operators ask for.
func DefaultLevels() []float64 {
	return []float64{.1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .975}
}

// Band is a stretch of the horizon that is weighted, calibrated and judged on
// its own, because what forecasts the next hour best does not forecast tomorrow
// best (measured: last value wins within the hour, day profiles beyond it).
type Band struct {
	First, Last int // steps ahead, 1-based, both included
}

// NearSteps is how many steps ahead the bands before the last, far one reach.
const NearSteps = 16

// Bands returns the bands that cover a horizon of the given number of steps:
// 1-4, 5-16 and the rest.
func Bands(horizon int) []Band {
	var bands []Band
	for _, b := range []Band{{1, 4}, {5, NearSteps}, {NearSteps + 1, horizon}} {
		if b.First <= horizon {
			bands = append(bands, Band{b.First, min(b.Last, horizon)})
		}
	}
	return bands
}

// Forecast is what one component will use of one resource, as quantiles for
// each bucket of the horizon.
type Forecast struct {
	Component ComponentID
	Resource  Resource
	// Forecasters names, per band of [Bands], the plugin that made that part.
	Forecasters []string
	// Origin is the start of the first bucket that is forecast, UTC. Nothing
	// measured at or after Origin was seen.
	Origin time.Time
	Step   time.Duration
	Levels []float64 // ascending, each above 0 and below 1
	// Values holds len(Levels) quantiles of the mean usage of each bucket, step
	// after step, in cores or bytes, ascending within a step.
	Values []float64
	// Peaks holds quantiles of the highest reading within each bucket, laid out
	// like Values, for the first hours: it is what the floor must serve, and a
	// mean hides it. It is nil where only means were ever measured.
	Peaks []float64
}

// NewForecast returns a forecast of the given number of steps, with values to
// be filled in.
func NewForecast(s *Series, steps int, levels []float64) *Forecast {
	return &Forecast{
		Component: s.Component,
		Resource:  s.Resource,
		Origin:    s.End(),
		Step:      s.Step,
		Levels:    levels,
		Values:    make([]float64, steps*len(levels)),
	}
}

// Steps returns the number of buckets that are forecast.
func (f *Forecast) Steps() int {
	if len(f.Levels) == 0 {
		return 0
	}
	return len(f.Values) / len(f.Levels)
}

// PeakSteps returns the number of buckets, from the first on, whose peak is
// forecast.
func (f *Forecast) PeakSteps() int {
	if len(f.Levels) == 0 {
		return 0
	}
	return len(f.Peaks) / len(f.Levels)
}

// PeakRow returns the quantiles of the peak of step i, sharing the forecast's
// memory.
func (f *Forecast) PeakRow(i int) []float64 {
	n := len(f.Levels)
	return f.Peaks[i*n : (i+1)*n : (i+1)*n]
}

// Row returns the quantiles of the mean of step i (0 is the first bucket), sharing the
// forecast's memory.
func (f *Forecast) Row(i int) []float64 {
	n := len(f.Levels)
	return f.Values[i*n : (i+1)*n : (i+1)*n]
}

// At returns the quantile of the given level of the mean of step i. Between two
// levels it interpolates linearly; outside them it returns the nearest one.
func (f *Forecast) At(i int, level float64) float64 { return f.interpolate(f.Row(i), level) }

// PeakAt returns the quantile of the given level of the peak of step i, in the
// manner of [Forecast.At].
func (f *Forecast) PeakAt(i int, level float64) float64 { return f.interpolate(f.PeakRow(i), level) }

func (f *Forecast) interpolate(row []float64, level float64) float64 {
	j := sort.SearchFloat64s(f.Levels, level)
	switch {
	case j == 0:
		return row[0]
	case j == len(f.Levels):
		return row[j-1]
	}
	lo, hi := f.Levels[j-1], f.Levels[j]
	return row[j-1] + (row[j]-row[j-1])*(level-lo)/(hi-lo)
}

// Time returns the start of the bucket that step i forecasts.
func (f *Forecast) Time(i int) time.Time { return f.Origin.Add(time.Duration(i) * f.Step) }

// Highest returns the highest quantile of the given level of the means of the
// buckets that overlap [from, to), and the step it belongs to. It reports false
// where the forecast covers no part of that window.
func (f *Forecast) Highest(level float64, from, to time.Time) (value float64, step int, ok bool) {
	return f.highest(f.Steps(), level, from, to, f.At)
}

// HighestPeak is [Forecast.Highest] for the peaks.
func (f *Forecast) HighestPeak(level float64, from, to time.Time) (value float64, step int, ok bool) {
	return f.highest(f.PeakSteps(), level, from, to, f.PeakAt)
}

func (f *Forecast) highest(steps int, level float64, from, to time.Time, at func(int, float64) float64) (value float64, step int, ok bool) {
	for i := range steps {
		if !f.Time(i+1).After(from) || !f.Time(i).Before(to) {
			continue
		}
		if v := at(i, level); !ok || v > value {
			value, step, ok = v, i, true
		}
	}
	return value, step, ok
}

// Validate reports a forecast that must not be used: misshapen, not finite,
// negative, unbelievably large or with crossing quantiles.
func (f *Forecast) Validate() error {
	name := f.Component.String() + " " + string(f.Resource) + " forecast"
	if f.Step <= 0 || len(f.Levels) == 0 || len(f.Values) == 0 || len(f.Values)%len(f.Levels) != 0 {
		return Errorf(CodeInvalidData, "%s must have a step, levels and a whole number of rows, but has step %s, %d levels and %d values", name, f.Step, len(f.Levels), len(f.Values))
	}
	for i, l := range f.Levels {
		if !(l > 0 && l < 1) || i > 0 && l <= f.Levels[i-1] {
			return Errorf(CodeInvalidData, "%s: levels must ascend between 0 and 1, but are %v", name, f.Levels)
		}
	}
	if len(f.Peaks)%len(f.Levels) != 0 || len(f.Peaks) > len(f.Values) {
		return Errorf(CodeInvalidData, "%s must have a whole number of peak rows, at most as many as rows, but has %d values for %d levels", name, len(f.Peaks), len(f.Levels))
	}
	for i := range f.Steps() {
		if err := f.validateRow(name, i, f.Row(i)); err != nil {
			return err
		}
	}
	for i := range f.PeakSteps() {
		if err := f.validateRow(name+" of peaks", i, f.PeakRow(i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Forecast) validateRow(name string, i int, row []float64) error {
	for _, v := range row {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || v > f.Resource.Limit() {
			return Errorf(CodeInvalidData, "%s: values must be from 0 to %g, but step %d has %v", name, f.Resource.Limit(), i+1, v)
		}
	}
	if !slices.IsSorted(row) {
		return Errorf(CodeInvalidData, "%s: quantiles must not cross, but step %d has %v", name, i+1, row)
	}
	return nil
}

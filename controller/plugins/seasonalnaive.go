package plugins

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// SeasonalNaive forecasts what was used one day before, and takes the spread
// from how much usage has differed from the day before in the past:
//
//	q(t, level) = y(t - day) + quantile(level of all y(s) - y(s - day))
//
// over the last week's s, cut at 0. Where yesterday's bucket is missing, the
// same bucket of the day before that is taken, and so on. With too few such
// differences, as on the first day, the spread is that of the whole history
// around its median: wide, and honest about what is not known.
type SeasonalNaive struct{}

var _ framework.ForecastPlugin = SeasonalNaive{}

func newSeasonalNaive(args []byte) (framework.Plugin, error) { return SeasonalNaive{}, noArgs(args) }

// Name returns [framework.Baseline].
func (SeasonalNaive) Name() string { return framework.Baseline }

// Bounds of what the forecaster looks at and needs.
const (
	spreadDays     = 7    // days of differences that the spread is taken from
	minDifferences = 24   // fewer say nothing about the tails
	minSeason      = 0.25 // share of the day's phases that must be known
	peakSteps      = 16   // steps whose peaks are forecast: the bands of the first hours
)

// Forecast rejects a resource that has not been measured for a day, or so
// little that less than a quarter of the day's phases are known. Where the
// highest readings are known too, the peaks of the first hours are forecast in
// the same way.
func (SeasonalNaive) Forecast(_ context.Context, _ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	s := c.Series[r]
	day := schemas.StepsPerDay(s.Step)
	if s.Len() < day {
		return nil, rejected(schemas.InsufficientData, fmt.Sprintf("%d buckets are known; a day has %d", s.Len(), day))
	}
	f := schemas.NewForecast(s, steps, schemas.DefaultLevels())
	known, ok := repeat(s.Mean, day, f.Levels, f.Values, r.Limit())
	if !ok {
		return nil, rejected(schemas.InsufficientData, fmt.Sprintf("%d of the day's %d buckets are known", known, day))
	}
	if s.Max != nil {
		peaks := make([]float64, min(steps, peakSteps)*len(f.Levels))
		if _, ok := repeat(s.Max, day, f.Levels, peaks, r.Limit()); ok {
			f.Peaks = peaks
		}
	}
	return f, nil
}

// repeat fills values, one row of levels a step, from usage. It returns how many
// of the day's phases are known and whether they are enough.
func repeat(usage []float64, day int, levels, values []float64, limit float64) (known int, ok bool) {
	season, known := lastSeason(usage, day)
	if known == 0 || float64(known) < minSeason*float64(day) {
		return known, false
	}
	spread := differences(usage, day)
	if len(spread) < minDifferences {
		spread = deviations(usage)
	}
	for j, level := range levels {
		offset := quantile(spread, level)
		for i := 0; i*len(levels) < len(values); i++ {
			values[i*len(levels)+j] = min(max(0, season[i%day]+offset), limit)
		}
	}
	return known, true
}

// lastSeason returns the newest known value of each phase of the day, the first
// being that of the bucket after the series, and how many are known. A phase
// that is never known takes the median of those that are.
func lastSeason(usage []float64, day int) (season []float64, known int) {
	season = make([]float64, day)
	var values []float64
	for i := range season {
		season[i] = math.NaN()
		for j := len(usage) - day + i; j >= 0; j -= day {
			if !math.IsNaN(usage[j]) {
				season[i] = usage[j]
				values = append(values, usage[j])
				break
			}
		}
	}
	if len(values) == 0 {
		return season, 0
	}
	slices.Sort(values)
	for i, v := range season {
		if math.IsNaN(v) {
			season[i] = quantile(values, 0.5)
		}
	}
	return season, len(values)
}

// differences returns y(s) - y(s-day) of the last week, sorted.
func differences(usage []float64, day int) []float64 {
	var out []float64
	for i := max(day, len(usage)-spreadDays*day); i < len(usage); i++ {
		if d := usage[i] - usage[i-day]; !math.IsNaN(d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// deviations returns all values less their median, sorted.
func deviations(usage []float64) []float64 {
	var out []float64
	for _, v := range usage {
		if !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	median := quantile(out, 0.5)
	for i := range out {
		out[i] -= median
	}
	return out
}

// quantile interpolates linearly between the order statistics of sorted values
// (type 7 of Hyndman and Fan, 1996).
func quantile(sorted []float64, level float64) float64 {
	h := level * float64(len(sorted)-1)
	i := int(h)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}

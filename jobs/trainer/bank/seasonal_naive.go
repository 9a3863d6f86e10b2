package bank

import (
	"math"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
	"github.com/self-scaling/self-scaling/schemas"
)

// Bounds of what [SeasonalNaive] looks at and needs.
const (
	spreadPeriods  = 7    // periods of differences that the spread is taken from
	minDifferences = 24   // fewer say nothing about the tails
	minPhases      = 0.25 // share of the period's phases that must be known
	peakSteps      = 16   // steps whose peaks are forecast: the bands of the first hours
)

// SeasonalNaive forecasts, for the steps from index at of a series on, what was
// used one period before, and takes the spread from how much usage has differed
// from the period before in the past:
//
//	q(t, level) = y(t - period) + quantile(level of all y(s) - y(s - period))
//
// over the last seven periods' s, cut at 0. Where the bucket one period ago is
// missing, the same bucket of the period before that is taken, and so on. With
// too few such differences, as on the first day, the spread is that of the whole
// history around its median: wide, and honest about what is not known. Where the
// highest readings are known too, the peaks of the first hours are forecast in
// the same way.
//
// It is what every other forecaster has to beat. It reports false where less
// than a period is known, or less than a quarter of its phases.
func SeasonalNaive(s *schemas.Series, period, at, steps int, levels []float64) (*schemas.Forecast, bool) {
	past := s.Slice(0, at)
	if past.Len() < period {
		return nil, false
	}
	f := schemas.NewForecast(&past, steps, levels)
	if !repeat(past.Mean, period, levels, f.Values, s.Resource.Limit()) {
		return nil, false
	}
	if past.Max != nil {
		peaks := make([]float64, min(steps, peakSteps)*len(levels))
		if repeat(past.Max, period, levels, peaks, s.Resource.Limit()) {
			f.Peaks = peaks
		}
	}
	return f, true
}

// repeat fills values, one row of levels a step, from usage. It reports whether
// enough of the period's phases are known.
func repeat(usage []float64, period int, levels, values []float64, limit float64) bool {
	season, known := lastSeason(usage, period)
	if known == 0 || float64(known) < minPhases*float64(period) {
		return false
	}
	spread := differences(usage, period)
	if len(spread) < minDifferences {
		spread = deviations(usage)
	}
	for j, level := range levels {
		offset := orderstat.Quantile(spread, level)
		phase := 0
		for i := j; i < len(values); i += len(levels) {
			values[i] = min(max(0, season[phase]+offset), limit)
			if phase++; phase == period {
				phase = 0
			}
		}
	}
	return true
}

// lastSeason returns the newest known value of each phase, the first being that
// of the bucket after the series, and how many are known. A phase that is never
// known takes the median of those that are.
func lastSeason(usage []float64, period int) (season []float64, known int) {
	memory := make([]float64, 2*period)
	season, values := memory[:period:period], memory[period:period]
	for i := range season {
		season[i] = math.NaN()
		for j := len(usage) - period + i; j >= 0; j -= period {
			if v := usage[j]; v == v {
				season[i] = v
				values = append(values, v)
				break
			}
		}
	}
	known = len(values)
	if known == 0 {
		return season, 0
	}
	median := orderstat.Median(values)
	for i, v := range season {
		if v != v {
			season[i] = median
		}
	}
	return season, known
}

// differences returns y(s) - y(s-period) of the last periods, sorted.
func differences(usage []float64, period int) []float64 {
	first := max(period, len(usage)-spreadPeriods*period)
	out := make([]float64, 0, max(0, len(usage)-first))
	for i := first; i < len(usage); i++ {
		if d := usage[i] - usage[i-period]; d == d {
			out = append(out, d)
		}
	}
	orderstat.Sort(out)
	return out
}

// deviations returns all values less their median, sorted.
func deviations(usage []float64) []float64 {
	var out []float64
	for _, v := range usage {
		if v == v {
			out = append(out, v)
		}
	}
	orderstat.Sort(out)
	median := orderstat.Quantile(out, .5)
	for i := range out {
		out[i] -= median
	}
	return out
}

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
)

// Forecast rejects a resource that has not been measured for a day, or so
// little that less than a quarter of the day's phases are known.
func (SeasonalNaive) Forecast(_ context.Context, _ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	s := c.Series[r]
	day := schemas.StepsPerDay(s.Step)
	if s.Len() < day {
		return nil, rejected(schemas.InsufficientData, fmt.Sprintf("%d buckets are known; a day has %d", s.Len(), day))
	}
	season, known := lastSeason(s, day)
	if known == 0 || float64(known) < minSeason*float64(day) {
		return nil, rejected(schemas.InsufficientData, fmt.Sprintf("%d of the day's %d buckets are known", known, day))
	}
	spread := differences(s, day)
	if len(spread) < minDifferences {
		spread = deviations(s)
	}
	levels := schemas.DefaultLevels()
	offsets := make([]float64, len(levels))
	for i, level := range levels {
		offsets[i] = quantile(spread, level)
	}
	f := schemas.NewForecast(s, steps, levels)
	for i := range steps {
		row := f.Row(i)
		for j := range levels {
			row[j] = min(max(0, season[i%day]+offsets[j]), r.Limit())
		}
	}
	return f, nil
}

// lastSeason returns the newest known value of each phase of the day, the first
// being that of the bucket after the series, and how many are known. A phase
// that is never known takes the median of those that are.
func lastSeason(s *schemas.Series, day int) (season []float64, known int) {
	season = make([]float64, day)
	var values []float64
	for i := range season {
		season[i] = math.NaN()
		for j := s.Len() - day + i; j >= 0; j -= day {
			if !math.IsNaN(s.Mean[j]) {
				season[i] = s.Mean[j]
				values = append(values, s.Mean[j])
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
func differences(s *schemas.Series, day int) []float64 {
	var out []float64
	for i := max(day, s.Len()-spreadDays*day); i < s.Len(); i++ {
		if d := s.Mean[i] - s.Mean[i-day]; !math.IsNaN(d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// deviations returns all values less their median, sorted.
func deviations(s *schemas.Series) []float64 {
	var out []float64
	for _, v := range s.Mean {
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

package bank

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
	"github.com/self-scaling/self-scaling/schemas"
)

// SeasonalNaive forecasts that the next steps from index at on are as they were
// one period ago, with the spread of the differences between one period and the
// next over the last five. It is what every other forecaster has to beat. It
// reports false where the period before at has too little in it.
func SeasonalNaive(s *schemas.Series, period, at, steps int, levels []float64) (*schemas.Forecast, bool) {
	y := s.Mean
	if at < period {
		return nil, false
	}
	diffs := make([]float64, 0, 5*period)
	for i := max(period, at-5*period); i < at; i++ {
		if d := y[i] - y[i-period]; d == d {
			diffs = append(diffs, d)
		}
	}
	slices.Sort(diffs)
	offsets := make([]float64, len(levels))
	for i, l := range levels {
		offsets[i] = orderstat.Quantile(diffs, l)
		if math.IsNaN(offsets[i]) {
			offsets[i] = 0 // the first day: no difference is known, and no spread is claimed
		}
	}
	past := s.Slice(0, at)
	f := schemas.NewForecast(&past, steps, levels)
	last := math.NaN()
	for i := range steps {
		v := y[at-period+i%period]
		// A gap is bridged by the nearest older value of the same time, else by
		// the value before.
		for j := at - 2*period + i%period; v != v && j >= 0; j -= period {
			v = y[j]
		}
		if v != v {
			v = last
		}
		if v != v {
			return nil, false
		}
		last = v
		row := f.Row(i)
		for k, o := range offsets {
			row[k] = max(0, v+o)
		}
	}
	return f, true
}

package network

import "github.com/self-scaling/self-scaling/schemas"

// Forecaster turns windows into forecasts and reuses its memory between them.
// It is not safe for concurrent use.
type Forecaster struct {
	period, horizon int
	levels          []float64
	x, out, scratch []float32
	steps           []Step
}

// NewForecaster returns a forecaster for series with the given period, horizon
// and quantile levels.
func NewForecaster(period, horizon int, levels []float64) *Forecaster {
	return &Forecaster{period: period, horizon: horizon, levels: levels}
}

// Forecast returns the quantiles of the next steps: the bank's own where weights
// is nil, else with the network's correction. It reports false where the bank
// has no forecast for one of the steps, and where a correction is not finite.
func (f *Forecaster) Forecast(w *Window, s *schemas.Series, steps int, weights *Weights) (*schemas.Forecast, bool) {
	q := len(f.levels)
	if len(f.steps) < steps {
		f.steps = make([]Step, steps)
		f.x = make([]float32, steps*NumFeatures)
		f.out = make([]float32, steps*q)
	}
	for i := range steps {
		var x []float32
		if weights != nil {
			x = f.x[i*NumFeatures : (i+1)*NumFeatures]
		}
		st, ok := w.Features(i, x)
		if !ok {
			return nil, false
		}
		f.steps[i] = st
	}
	past := s.Slice(0, w.at)
	fc := schemas.NewForecast(&past, steps, f.levels)
	if weights != nil {
		f.scratch = weights.Forward(f.x[:steps*NumFeatures], steps, f.out, f.scratch)
		for _, v := range f.out[:steps*q] {
			if v-v != 0 { // NaN or infinite
				return nil, false
			}
		}
	}
	for i := range steps {
		var correction []float32
		if weights != nil {
			correction = f.out[i*q : (i+1)*q]
		}
		f.steps[i].Quantiles(correction, fc.Row(i))
	}
	return fc, true
}

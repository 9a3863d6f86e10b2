package network

import "github.com/self-scaling/self-scaling/schemas"

// Forecaster turns windows into forecasts and reuses its memory between them.
// It is not safe for concurrent use.
type Forecaster struct {
	levels          []float64
	x, out, scratch []float32
	steps           []Step
}

// NewForecaster returns a forecaster of the given quantile levels.
func NewForecaster(levels []float64) *Forecaster { return &Forecaster{levels: levels} }

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

// PeakHorizon is how many steps of peaks are forecast: four hours of quarter
// hours. A floor looks no further ahead than until a pod would be Ready.
const PeakHorizon = 16

// Peaks returns the series of the highest readings of s, as a series to be
// forecast like any other. It reports false where they are not known, or
// nowhere within the last week more than 1 % above the mean, so that the mean
// serves as well.
func Peaks(s *schemas.Series) (*schemas.Series, bool) {
	if s.Max == nil {
		return nil, false
	}
	week := 7 * schemas.StepsPerDay(s.Step)
	for i := max(0, s.Len()-week); i < s.Len(); i++ {
		if s.Max[i] > 1.01*s.Mean[i] {
			p := *s
			p.Mean, p.Max = s.Max, nil
			return &p, true
		}
	}
	return nil, false
}

package network

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

// Forecaster turns windows into forecasts and reuses its memory between them.
// It is not safe for concurrent use.
type Forecaster struct {
	levels  []float64
	offsets []float64
	step    [numOfStep]float32
	pass    Pass
}

// NewForecaster returns a forecaster of the given quantile levels.
func NewForecaster(levels []float64) *Forecaster {
	return &Forecaster{levels: levels, offsets: make([]float64, len(levels))}
}

// Forecast returns the quantiles of the next steps: the bank's own where weights
// is nil, else the network's. It reports false where an answer is not finite.
func (f *Forecaster) Forecast(w *Window, s *schemas.Series, steps int, weights *Weights) (*schemas.Forecast, bool) {
	past := s.Slice(0, w.at)
	fc := schemas.NewForecast(&past, steps, f.levels)
	if weights == nil {
		for i := range steps {
			w.Offsets(i, f.offsets)
			row := fc.Row(i)
			for j, o := range f.offsets {
				row[j] = w.anchor[i] + o
			}
			if !settle(row) {
				return nil, false
			}
		}
		return fc, true
	}
	f.pass.Load(weights)
	band := -1
	for i := 0; i < steps; {
		if b := w.band(i); b != band {
			band = b
			f.pass.begin(w.bands[b].features[:])
		}
		w.stepFeatures(i, f.step[:])
		_, last := w.row(i)
		o := newOutput(f.pass.finish(&f.step), w.bands[band].features[:])
		for ; i < min(last, steps); i++ {
			w.Offsets(i, f.offsets)
			if row := fc.Row(i); !o.quantiles(w, i, f.levels, f.offsets, row) || !settle(row) {
				return nil, false
			}
		}
	}
	return fc, true
}

// output is what the network says about a row.
type output struct {
	weight       [bank.Count]float64 // of each candidate, adding up to 1
	lower, upper float64             // factors of the spread below and above the median
	shift        float64             // of the whole, in distances of the residuals' .1 and .9 quantiles
}

// newOutput reads the network's output (NumOutputs values) beside the features.
func newOutput(z, features []float32) output {
	o := output{
		lower: factor(z[bank.Count]), upper: factor(z[bank.Count+1]), shift: float64(z[bank.Count+2]),
	}
	most := math.Inf(-1)
	for c := range o.weight {
		v := float64(z[c]) - bank.Exponent*float64(features[c])
		if o.weight[c] = v; v > most {
			most = v
		}
	}
	sum := 0.0
	for c, v := range o.weight {
		o.weight[c] = 0
		if v -= most; v > logLeastWeight || v != v {
			o.weight[c] = math.Exp(v)
			sum += o.weight[c]
		}
	}
	for c := range o.weight {
		o.weight[c] /= sum
	}
	return o
}

// logLeastWeight is the logarithm of what a candidate must count for, beside the
// best one, to be looked at.
var logLeastWeight = math.Log(1e-7)

// factor reads the logarithm of a factor, which is kept from being absurd.
func factor(z float32) float64 { return math.Exp(max(-3, min(2, float64(z)))) }

// quantiles fills row with the quantiles of a step, unsettled. Offsets are the
// bank's. It reports false where none of the candidates that count has a
// forecast.
func (o *output) quantiles(w *Window, step int, levels, offsets, row []float64) bool {
	point, total := 0.0, 1.0
	at := step
	for c := range o.weight {
		if weight := o.weight[c]; weight != 0 {
			point += weight * w.forecasts[at]
		}
		at += w.Steps
	}
	if point != point {
		point, total = o.known(w, step)
	}
	if !(total > 0) {
		return false
	}
	share, b := w.restlessness(step), &w.bands[w.band(step)]
	o.spread(point/total, b.middle*share, b.spread*share, levels, offsets, row)
	return true
}

// known returns the weighted sum of the forecasts that there are of a step, and of
// their weights.
func (o *output) known(w *Window, step int) (sum, total float64) {
	for c, weight := range o.weight {
		if v := w.forecasts[c*w.Steps+step]; v == v {
			sum += weight * v
			total += weight
		}
	}
	return sum, total
}

// spread puts quantiles around a point. The middle of the offsets and how far they
// are apart are those of [Center].
func (o *output) spread(point, middle, apart float64, levels, offsets, row []float64) {
	point += middle + o.shift*apart
	for j, l := range levels {
		k := o.upper
		if l < .5 {
			k = o.lower
		}
		row[j] = point + (offsets[j]-middle)*k
	}
}

// Quantiles fills row with what an output z says of an example: its features,
// the candidates' differences from the anchor and the bank's offsets, as
// differences from the anchor.
func Quantiles(z, features, differences []float32, levels, offsets, row []float64) {
	o := newOutput(z, features)
	point, total := 0.0, 0.0
	for c, weight := range o.weight {
		if d := differences[c]; d == d {
			point += weight * float64(d)
			total += weight
		}
	}
	if total > 0 {
		point /= total
	}
	middle, apart := Center(levels, offsets)
	o.spread(point, middle, apart, levels, offsets, row)
}

// Center returns the offset of the median, and how far those of the levels .1
// and .9 are apart. Where these are no levels it takes what lies between their
// neighbours, or the outermost.
func Center(levels, offsets []float64) (middle, spread float64) {
	at := func(level float64) float64 {
		j, ok := slices.BinarySearch(levels, level)
		switch {
		case ok || j == 0:
			return offsets[j]
		case j == len(levels):
			return offsets[j-1]
		}
		return offsets[j-1] + (offsets[j]-offsets[j-1])*(level-levels[j-1])/(levels[j]-levels[j-1])
	}
	return at(.5), at(.9) - at(.1)
}

// settle puts quantiles in order and above zero, and reports whether they are
// finite.
func settle(row []float64) bool {
	sorted, before := true, 0.0
	for j, v := range row {
		if v-v != 0 { // NaN or infinite
			return false
		}
		if !(v > 0) {
			v = 0
		}
		row[j] = v
		sorted = sorted && v >= before
		before = v
	}
	if !sorted { // seldom
		slices.Sort(row)
	}
	return true
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

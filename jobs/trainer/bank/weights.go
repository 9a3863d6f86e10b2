package bank

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
	"github.com/self-scaling/self-scaling/schemas"
)

// BandWeights is how far each candidate is to be believed over one band of the
// horizon.
type BandWeights struct {
	Band schemas.Band
	// Error is each candidate's mean absolute error over the backtest, NaN where
	// the history did not allow it.
	Error [Count]float64
	// Weight is what each candidate counts for. The weights add up to 1.
	Weight [Count]float64
	// Best is the candidate of the smallest error.
	Best Candidate
	// MAE and BaselineMAE are the weighted forecast's own mean absolute error
	// over the backtest, and that of [Yesterday] over the same steps.
	MAE, BaselineMAE float64
	// Loss and BaselineLoss are the pinball losses, at LossLevel, of that quantile
	// of the two: what predicting too little costs more than predicting too much.
	Loss, BaselineLoss float64
	// Residuals holds actual - forecast over the backtest, ascending.
	Residuals []float64
}

// LossLevel is the quantile level at which the bank is compared with its
// baseline: what a floor serves where nothing else is configured.
const LossLevel = 0.8

// Exponent is the power of the inverse error that makes a weight.
var Exponent = [3]float64{12, 10, 10}

// tryout is one backtest forecast of one step.
type tryout struct {
	actual float64
	out    [Count]float64
}

// Weigh backtests the candidates before origin t and returns their weights for
// each band of the horizon. Bands of the next hours are tried from many origins
// over the last three days, the rest of the horizon once a day over the last
// week.
func (h *History) Weigh(t, horizon int) []BandWeights {
	bands := schemas.Bands(horizon)
	tries := h.tries[:len(bands)]
	for b := range tries {
		tries[b] = tries[b][:0]
	}
	try := func(origin, first, last int) {
		o := h.Origin(origin)
		for step := first - 1; step < last && origin+step < t; step++ {
			actual := h.y[origin+step]
			if actual != actual {
				continue
			}
			for b, band := range bands {
				if step+1 >= band.First && step+1 <= band.Last {
					var x tryout
					x.actual = actual
					h.At(&o, step, &x.out)
					tries[b] = append(tries[b], x)
				}
			}
		}
	}
	short := min(16, horizon)
	every := max(1, h.period/12)
	earliest := max(h.from+min(h.period, t/2), 4)
	for k := 0; k < 36; k++ {
		if origin := t - 4 - k*every; origin >= earliest {
			try(origin, 1, short)
		}
	}
	for k := 1; k <= 7 && horizon > short; k++ {
		if origin := t - k*h.period; origin >= earliest {
			try(origin, short+1, horizon)
		}
	}
	weights := make([]BandWeights, len(bands))
	for b, band := range bands {
		h.tries[b] = tries[b] // the next series finds the memory
		weights[b] = weigh(band, tries[b], Exponent[b])
	}
	return weights
}

func weigh(band schemas.Band, tries []tryout, exponent float64) BandWeights {
	w := BandWeights{Band: band, MAE: math.NaN(), BaselineMAE: math.NaN(), Loss: math.NaN(), BaselineLoss: math.NaN()}
	var count [Count]int
	for i := range tries {
		for c, v := range tries[i].out {
			if v == v {
				w.Error[c] += math.Abs(tries[i].actual - v)
				count[c]++
			}
		}
	}
	best := math.Inf(1)
	for c := range w.Error {
		// A candidate that could only be tried on few of the steps is not
		// comparable with the others.
		if count[c]*2 < len(tries) || count[c] == 0 {
			w.Error[c] = math.NaN()
			continue
		}
		w.Error[c] /= float64(count[c])
		if w.Error[c] < best {
			best, w.Best = w.Error[c], Candidate(c)
		}
	}
	if math.IsInf(best, 1) {
		return w
	}
	floor := best * 1e-3
	sum := 0.0
	for c, e := range w.Error {
		if e != e {
			continue
		}
		if best == 0 {
			if e == 0 {
				w.Weight[c] = 1
			}
		} else {
			w.Weight[c] = math.Pow(best/max(e, floor), exponent)
		}
		sum += w.Weight[c]
	}
	for c := range w.Weight {
		w.Weight[c] /= sum
	}
	w.Residuals = make([]float64, 0, len(tries))
	baseline := make([]float64, 0, len(tries))
	for i := range tries {
		x := &tries[i]
		f := w.Combine(&x.out)
		if f != f {
			continue
		}
		w.Residuals = append(w.Residuals, x.actual-f)
		if v := x.out[Yesterday]; v == v {
			baseline = append(baseline, x.actual-v)
		}
	}
	w.MAE, w.Loss = judge(w.Residuals)
	w.BaselineMAE, w.BaselineLoss = judge(baseline)
	return w
}

// judge sorts residuals and returns their mean absolute value and the pinball
// loss of their quantile of LossLevel, both NaN without residuals.
func judge(residuals []float64) (mae, loss float64) {
	slices.Sort(residuals)
	q := orderstat.Quantile(residuals, LossLevel)
	for _, r := range residuals {
		mae += math.Abs(r)
		loss += max(LossLevel*(r-q), (LossLevel-1)*(r-q))
	}
	n := float64(len(residuals))
	return mae / n, loss / n
}

// Combine returns the weighted mean of the candidates that are there, NaN if
// none of those that count is.
func (w *BandWeights) Combine(out *[Count]float64) float64 {
	var sum, total float64
	for c, v := range out {
		if v == v && w.Weight[c] > 0 {
			sum += w.Weight[c] * v
			total += w.Weight[c]
		}
	}
	if total == 0 {
		return math.NaN()
	}
	return sum / total
}

// Offset returns the residual of the given quantile level.
func (w *BandWeights) Offset(level float64) float64 {
	return orderstat.Quantile(w.Residuals, level)
}

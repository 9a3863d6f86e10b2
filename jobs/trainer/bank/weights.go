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

// exponents are, per band, the power of the inverse error that makes a weight.
var exponents = [3]float64{12, 10, 10}

// tryout is what really happened less what each candidate had forecast, for one
// step from one past origin. It is NaN for a candidate that had no forecast, and
// for all of them where the step was not measured.
type tryout [Count]float64

// tryouts holds the tries of one origin, for the steps from first on.
type tryouts struct {
	first int
	tries []tryout
}

// shortHorizon is how far the frequent origins look: the first two bands.
const shortHorizon = 16

// try returns the tries of one origin: the steps of the near bands, or those
// beyond them. What it has once computed it keeps, because neighbouring
// forecasts of one series are weighed on the same origins.
func (h *History) try(origin int, far bool, horizon int) tryouts {
	cache, first, last := &h.near, 0, shortHorizon
	if far {
		cache, first, last = &h.far, shortHorizon, horizon
	}
	if kept, ok := (*cache)[origin]; ok && len(kept) >= last-first {
		return tryouts{first, kept}
	}
	o := h.Origin(origin)
	tries := h.arena.take(last - first)
	for k := range tries {
		actual := math.NaN()
		if i := origin + first + k; i < len(h.y) {
			actual = h.y[i]
		}
		var out [Count]float64
		if actual == actual {
			h.At(&o, first+k, &out)
		}
		for c, v := range out {
			tries[k][c] = actual - v
		}
	}
	(*cache)[origin] = tries
	return tryouts{first, tries}
}

// arena hands out tries and takes them all back at once.
type arena struct {
	blocks [][]tryout
	block  int
	used   int
}

const arenaBlock = 1024

func (a *arena) take(n int) []tryout {
	if n > arenaBlock {
		return make([]tryout, n)
	}
	if a.block < len(a.blocks) && a.used+n > arenaBlock {
		a.block, a.used = a.block+1, 0
	}
	if a.block == len(a.blocks) {
		a.blocks = append(a.blocks, make([]tryout, arenaBlock))
	}
	out := a.blocks[a.block][a.used : a.used+n : a.used+n]
	a.used += n
	return out
}

func (a *arena) reset() { a.block, a.used = 0, 0 }

// Weigh backtests the candidates before origin t and returns their weights for
// each band of the horizon. Bands of the next hours are tried from many origins
// over the last three days, the rest of the horizon once a day over the last
// week.
func (h *History) Weigh(t, horizon int) []BandWeights {
	bands := schemas.Bands(horizon)
	tried := make([][]*tryout, len(bands))
	collect := func(ts tryouts) {
		for k := range ts.tries {
			step := ts.first + k
			if step >= horizon {
				break
			}
			b := 0
			for step >= bands[b].Last {
				b++
			}
			tried[b] = append(tried[b], &ts.tries[k])
		}
	}
	short := min(shortHorizon, horizon)
	every := max(1, h.period/12)
	earliest := max(h.from+min(h.period, t/2), 4)
	for b, band := range bands {
		n := 36 * (band.Last - band.First + 1)
		if band.First > shortHorizon {
			n = 7 * (band.Last - band.First + 1)
		}
		tried[b] = make([]*tryout, 0, n)
	}
	// The origins lie on a grid of their own, so that the next forecasts of this
	// series are weighed on the same ones.
	newest := (t - 4) / every * every
	for k := range 36 {
		origin := newest - k*every
		if origin < earliest {
			break
		}
		ts := h.try(origin, false, horizon)
		ts.tries = ts.tries[:min(short, t-origin)]
		collect(ts)
	}
	for k := 1; k <= 7 && horizon > short; k++ {
		origin := t/every*every - k*h.period
		if origin < earliest {
			break
		}
		ts := h.try(origin, true, horizon)
		ts.tries = ts.tries[:max(0, min(horizon-short, t-origin-short))]
		collect(ts)
	}
	weights := make([]BandWeights, len(bands))
	for b, band := range bands {
		weights[b] = weigh(band, tried[b], exponents[b])
	}
	return weights
}

func weigh(band schemas.Band, tries []*tryout, exponent float64) BandWeights {
	w := BandWeights{Band: band, MAE: math.NaN(), BaselineMAE: math.NaN(), Loss: math.NaN(), BaselineLoss: math.NaN()}
	var count [Count]int
	for _, x := range tries {
		for c, r := range x {
			if r == r {
				w.Error[c] += math.Abs(r)
				count[c]++
			}
		}
	}
	// A candidate that could only be tried on few of the steps is not comparable
	// with the others.
	most := slices.Max(count[:])
	best := math.Inf(1)
	for c := range w.Error {
		if count[c] == 0 || count[c]*2 < most {
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
	sum := 0.0
	for c, e := range w.Error {
		switch {
		case e != e:
		case e == best:
			w.Weight[c] = 1
		case best > 0:
			w.Weight[c] = math.Pow(best/e, exponent)
		}
		sum += w.Weight[c]
	}
	for c := range w.Weight {
		w.Weight[c] /= sum
	}
	w.Residuals = make([]float64, 0, len(tries))
	baseline := make([]float64, 0, len(tries))
	for _, x := range tries {
		r := w.Combine((*[Count]float64)(x))
		if r != r {
			continue
		}
		w.Residuals = append(w.Residuals, r)
		if b := x[Yesterday]; b == b {
			baseline = append(baseline, b)
		}
	}
	slices.Sort(w.Residuals)
	w.MAE, w.Loss = judge(w.Residuals, w.Offset(LossLevel))
	if n := len(baseline); n > 0 {
		q := orderstat.Select(baseline, int(math.Round(LossLevel*float64(n-1))))
		w.BaselineMAE, w.BaselineLoss = judge(baseline, q)
	}
	return w
}

// judge returns the mean absolute value of residuals and the pinball loss, at
// LossLevel, of their quantile q; both are NaN without residuals.
func judge(residuals []float64, q float64) (mae, loss float64) {
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

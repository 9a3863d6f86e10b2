package network

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

// The inputs, in order. What a band has in common comes first. Differences are
// from the bank's weighted forecast of the same step (the anchor), in units of
// the bank's own mean absolute error in the band of that step, cut to +-clip.
const (
	numErrors    = bank.Count // log of each candidate's backtest error over the best one's
	numResiduals = 5          // quantiles of the bank's residuals in the band's backtest
	numSizes     = 3          // logs of: yesterday's error, the spread of those residuals, the spread of days
	numBands     = 2          // whether it is the first band, and the second
	numOfBand    = numErrors + numResiduals + numSizes + numBands

	numCandidates = bank.Count // each candidate's difference
	numTime       = 3          // how far ahead, as decays
	numSpreads    = 2          // logs of: how restless the time of day is, how far the candidates are apart
	numOfStep     = numCandidates + numTime + numSpreads

	// NumFeatures is the length of a feature vector.
	NumFeatures = numOfBand + numOfStep
)

// clip bounds what is measured in units of the bank's error, and clipLog a
// logarithm.
const (
	clip    = 8
	clipLog = 3
)

// rowSteps is how many steps of each band share a row of features: their candidates
// differ, what is to be thought of them hardly does.
var rowSteps = [numBands + 1]int{1, 2, 8}

// Window is one origin of one series, ready to be turned into feature vectors.
type Window struct {
	Weights    []bank.BandWeights
	Steps      int
	forecasts  []float64 // the candidates', candidate after candidate
	anchor     []float64 // the bank's weighted forecast, by step
	volatility []float64 // of a period, see [bank.History.Volatility]
	at         int       // index of the first step to be forecast
	levels     []float64
	bands      []windowBand
}

// windowBand is what the steps of one band have in common.
type windowBand struct {
	scale    float64
	offsets  []float64 // the bank's residual quantile of each level
	middle   float64   // of the offsets, and how far apart they are, see [Center]
	spread   float64
	features [numOfBand]float32
}

// NewWindow prepares origin at (an index into s, or its length) for the given
// horizon and levels. History must have been made from s and reach back as far
// as [bank.NewHistory] was told. It reports false where the bank has no
// forecast, as on a history without any tried-out step. The window does not keep
// the history.
func NewWindow(h *bank.History, s *schemas.Series, period, at, horizon int, levels []float64) (*Window, bool) {
	w := &Window{Weights: h.Weigh(at, horizon), Steps: horizon, at: at, levels: levels}
	memory := make([]float64, (bank.Count+1)*horizon+period+len(w.Weights)*len(levels))
	w.forecasts, memory = memory[:bank.Count*horizon], memory[bank.Count*horizon:]
	w.anchor, memory = memory[:horizon], memory[horizon:]
	w.volatility, memory = memory[:period], memory[period:]
	w.bands = make([]windowBand, len(w.Weights))
	origin := h.Origin(at)
	h.Forecast(&origin, 0, horizon, w.forecasts)
	spread := h.Volatility(at, w.volatility)
	floor := scaleFloor(s.Mean[max(0, at-5*period):at])
	for b := range w.Weights {
		bw := &w.Weights[b]
		if len(bw.Residuals) == 0 {
			return nil, false
		}
		first, last := bw.Band.First-1, bw.Band.Last
		bw.Combine(w.forecasts, horizon, first, last, w.anchor[first:first:last])
		if slices.ContainsFunc(w.anchor[first:last], math.IsNaN) {
			return nil, false
		}
		w.bands[b] = newWindowBand(bw, b, levels, memory[b*len(levels):][:len(levels)], floor, spread)
	}
	return w, true
}

func newWindowBand(bw *bank.BandWeights, b int, levels, offsets []float64, floor, spread float64) windowBand {
	wb := windowBand{scale: max(bw.MAE, floor), offsets: offsets}
	for i, l := range levels {
		wb.offsets[i] = bw.Offset(l)
	}
	wb.middle, wb.spread = Center(levels, wb.offsets)
	x := wb.features[:0]
	least := 1e-3 * wb.scale
	var logs [numErrors]float64
	best := math.Inf(1)
	for c, e := range bw.Error {
		logs[c] = math.Log(max(e, least))
		if e == e {
			best = min(best, logs[c])
		}
	}
	for c, e := range bw.Error {
		v := float64(clipLog)
		if e == e {
			v = min(clipLog, logs[c]-best)
		}
		x = append(x, float32(v))
	}
	for _, l := range [numResiduals]float64{.1, .25, .5, .75, .9} {
		x = append(x, cut(bw.Offset(l)/wb.scale))
	}
	x = append(x,
		cutLog(bw.BaselineMAE/max(bw.MAE, least)),
		cutLog((bw.Offset(.9)-bw.Offset(.1))/wb.scale),
		cutLog(spread/wb.scale))
	for k := range numBands {
		v := float32(0)
		if b == k {
			v = 1
		}
		x = append(x, v)
	}
	return wb
}

func cut(v float64) float32 {
	switch {
	case v > clip:
		return clip
	case v < -clip:
		return -clip
	case v != v:
		return 0
	}
	return float32(v)
}

func cutLog(v float64) float32 {
	if v != v {
		return 0
	}
	return float32(math.Log(max(.05, min(20, v))))
}

// scaleFloor returns the smallest error that is still worth a correction: a
// twentieth of the mean absolute deviation of the last days, and a thousandth of
// their level.
func scaleFloor(y []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range y {
		if v == v {
			sum += v
			n++
		}
	}
	if n == 0 {
		return 1e-9
	}
	mean := sum / float64(n)
	dev := 0.0
	for _, v := range y {
		if v == v {
			dev += math.Abs(v - mean)
		}
	}
	return max(.05*dev/float64(n), 1e-3*math.Abs(mean), 1e-9)
}

func (w *Window) band(step int) int {
	for b := range w.Weights {
		if step < w.Weights[b].Band.Last {
			return b
		}
	}
	return len(w.Weights) - 1
}

// row returns the steps [first, last) that share their features with a step.
func (w *Window) row(step int) (first, last int) {
	b := w.band(step)
	band := &w.Weights[b].Band
	first = step - (step-band.First+1)%rowSteps[b]
	return first, min(first+rowSteps[b], band.Last)
}

// Features fills x (NumFeatures values) for the row of a step (0 is the first).
func (w *Window) Features(step int, x []float32) {
	b := &w.bands[w.band(step)]
	copy(x, b.features[:])
	w.stepFeatures(step, x[numOfBand:])
}

// stepFeatures fills the part of the features that the steps of a band do not
// share.
func (w *Window) stepFeatures(step int, x []float32) {
	band := w.band(step)
	b, weight := &w.bands[band], &w.Weights[band].Weight
	first, last := w.row(step)
	inv := 1 / (b.scale * float64(last-first))
	apart := 0.0
	anchor := w.anchor[first:last]
	for c := range bank.Count {
		sum, far := 0.0, 0.0
		row := w.forecasts[c*w.Steps+first:][:len(anchor)]
		for k, v := range anchor {
			d := row[k] - v
			sum += d
			far += math.Abs(d)
		}
		x[c] = cut(sum * inv)
		if weight[c] > 0 && far == far {
			apart += weight[c] * far * inv
		}
	}
	x = x[numCandidates:]
	copy(x, ahead(first+last-1))
	restless := 0.0
	for k := first; k < last; k++ {
		restless += w.volatility[k%len(w.volatility)]
	}
	x[3] = cutLog(restless / float64(last-first))
	x[4] = cutLog(apart)
}

// ahead returns how far ahead a row lies, as decays: twice the mean of its first and
// last step is given.
func ahead(twice int) []float32 {
	if twice >= len(aheads) {
		t := timeOf(twice)
		return t[:]
	}
	return aheads[twice][:]
}

func timeOf(twice int) [numTime]float32 {
	h := float64(twice) / 2
	return [numTime]float32{float32(math.Exp(-h / 2)), float32(math.Exp(-h / 8)), float32(math.Exp(-h / 32))}
}

// aheads are those of the first days of quarter hours.
var aheads = func() (t [400][numTime]float32) {
	for i := range t {
		t[i] = timeOf(i)
	}
	return t
}()

// Anchor returns the bank's weighted forecast of a step.
func (w *Window) Anchor(step int) float64 { return w.anchor[step] }

// Scale returns the unit of the examples of a step, in cores or bytes: the bank's
// mean absolute error in its band, kept above what is worth a correction.
func (w *Window) Scale(step int) float64 { return w.bands[w.band(step)].scale }

// Surprise returns how far what came lies from the bank's forecast on average, in
// units of the scale, and NaN where nothing was measured.
func (w *Window) Surprise(actual []float64) float64 {
	sum, n := 0.0, 0
	for b := range w.bands {
		inv := 1 / w.bands[b].scale
		for step := w.Weights[b].Band.First - 1; step < min(w.Weights[b].Band.Last, len(actual)); step++ {
			if d := actual[step] - w.anchor[step]; d == d {
				sum += math.Abs(d) * inv
				n++
			}
		}
	}
	return sum / float64(n)
}

// Differences fills out (a value a candidate) with what each candidate says about
// a step, less the anchor, in units of the scale. A candidate without a forecast
// is NaN.
func (w *Window) Differences(step int, out []float32) {
	inv := 1 / w.Scale(step)
	for c := range bank.Count {
		out[c] = float32((w.forecasts[c*w.Steps+step] - w.anchor[step]) * inv)
	}
}

// Offsets fills out (a value a level) with how far the bank's quantiles of a step
// lie from its anchor, in cores or bytes: as far as its residuals do, more where
// the time of day is restless and less where it is quiet.
func (w *Window) Offsets(step int, out []float64) {
	share := w.restlessness(step)
	for i, o := range w.bands[w.band(step)].offsets {
		out[i] = o * share
	}
}

// restlessness returns how far the offsets of a step lie beside those of its band.
func (w *Window) restlessness(step int) float64 {
	if step >= len(w.volatility) {
		step %= len(w.volatility)
	}
	return math.Sqrt(w.volatility[step])
}

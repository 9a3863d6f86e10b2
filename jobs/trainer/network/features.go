package network

import (
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

// The inputs, in order. Differences are from the bank's weighted forecast of the
// same step (the anchor), in units of the bank's own mean absolute error in the
// band of that step, cut to +-clip.
const (
	numCandidates = bank.Count // each candidate's difference
	numErrors     = bank.Count // log of each candidate's backtest error over the best one's
	numLags       = 5          // the same time on the last five days
	numNeighbours = 6          // yesterday, 1, 2 and 4 steps before and after
	numRecent     = 6          // the last value, and residuals of the last steps, hours and day, decaying
	numSpread     = 5          // residual quantiles of the band's backtest, and the best candidate's error
	numTime       = 6          // how far ahead, and whether the step and yesterday fall on a weekend

	// NumFeatures is the length of a feature vector.
	NumFeatures = numCandidates + numErrors + numLags + numNeighbours + numRecent + numSpread + numTime
)

const clip = 8

// Window is one origin of one series, ready to be turned into feature vectors.
type Window struct {
	Weights []bank.BandWeights
	origin  bank.Origin
	outs    [][bank.Count]float64 // per step, the candidates' forecasts
	y       []float64
	period  int
	at      int // index of the first step to be forecast
	start   time.Time
	step    time.Duration
	floor   float64     // smallest scale
	offsets [][]float64 // per band, the bank's residual quantile of each level
	scales  []float64   // per band
	logErr  [][numErrors]float32
	levels  []float64
}

// NewWindow prepares origin at (an index into s, or its length) for the given
// horizon and levels. History must have been made from s and reach back as far
// as [bank.NewHistory] was told. It reports false where the bank has no
// forecast, as on a history without any tried-out step. The window does not keep
// the history.
func NewWindow(h *bank.History, s *schemas.Series, period, at, horizon int, levels []float64) (*Window, bool) {
	w := &Window{
		Weights: h.Weigh(at, horizon), origin: h.Origin(at), outs: make([][bank.Count]float64, horizon),
		y: s.Mean, period: period, at: at, start: s.Time(at), step: s.Step, levels: levels,
	}
	for step := range w.outs {
		h.At(&w.origin, step, &w.outs[step])
	}
	w.floor = scaleFloor(s.Mean[max(0, at-5*period):at], period)
	for b := range w.Weights {
		bw := &w.Weights[b]
		if len(bw.Residuals) == 0 {
			return nil, false
		}
		scale := max(bw.MAE, w.floor)
		w.scales = append(w.scales, scale)
		offsets := make([]float64, len(levels))
		for i, l := range levels {
			offsets[i] = bw.Offset(l)
		}
		w.offsets = append(w.offsets, offsets)
		var logs [numErrors]float32
		best := max(bw.Error[bw.Best], 1e-3*scale)
		for c, e := range bw.Error {
			v := 3.0
			if e == e {
				v = min(3, math.Log(max(e, best)/best))
			}
			logs[c] = float32(v)
		}
		w.logErr = append(w.logErr, logs)
	}
	return w, true
}

// scaleFloor returns the smallest error that is still worth a correction: a
// twentieth of the mean absolute deviation of the last days, and a thousandth of
// their level.
func scaleFloor(y []float64, period int) float64 {
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

// Step is what the network needs and what its output means for one step.
type Step struct {
	Anchor  float64   // the bank's weighted forecast
	Scale   float64   // what one unit of output is worth, in cores or bytes
	Offsets []float64 // the bank's residual quantiles, to be added to the anchor
}

// Features fills x (NumFeatures values) for one step (0 is the first) and
// returns how to read the output. It reports false where the bank has no
// forecast for the step.
func (w *Window) Features(step int, x []float32) (Step, bool) {
	out := &w.outs[step]
	b := w.band(step)
	anchor := w.Weights[b].Combine(out)
	if anchor != anchor {
		return Step{}, false
	}
	st := Step{Anchor: anchor, Scale: w.scales[b], Offsets: w.offsets[b]}
	if x == nil {
		return st, true
	}
	inv := 1 / st.Scale
	k := 0
	put := func(v float64) {
		switch {
		case v != v:
			v = 0
		case v > clip:
			v = clip
		case v < -clip:
			v = -clip
		}
		x[k] = float32(v)
		k++
	}
	diff := func(v float64) { put((v - anchor) * inv) }
	for _, v := range out {
		diff(v)
	}
	k += copy(x[k:], w.logErr[b][:])
	i := w.at + step%w.period
	value := func(j int) float64 {
		if j < 0 || j >= w.at {
			return math.NaN()
		}
		return w.y[j]
	}
	for d := 1; d <= numLags; d++ {
		diff(value(i - d*w.period))
	}
	for _, d := range [numNeighbours]int{-4, -2, -1, 1, 2, 4} {
		diff(value(i - w.period + d))
	}
	h := float64(step)
	d2, d8, d32 := math.Exp(-h/2), math.Exp(-h/8), math.Exp(-h/32)
	last := out[bank.LastValue]
	diff(last)
	r1, r4, level := w.origin.Residuals()
	put(r1 * inv * d2)
	put(r4 * inv * d8)
	put(level * inv)
	put(level * inv * d32)
	put((last - out[bank.LastFour]) * inv * d2)
	bw := &w.Weights[b]
	for _, l := range [numSpread - 1]float64{.1, .5, .9, .975} {
		put(bw.Offset(l) * inv)
	}
	put(bw.Error[bw.Best] * inv)
	put(d2)
	put(d8)
	put(d32)
	at := w.start.Add(time.Duration(step) * w.step)
	today, yesterday := weekend(at), weekend(at.Add(-24*time.Hour))
	put(today)
	put(yesterday)
	put(today * yesterday)
	return st, true
}

func weekend(t time.Time) float64 {
	if d := t.Weekday(); d == time.Saturday || d == time.Sunday {
		return 1
	}
	return 0
}

// Quantiles writes the quantiles of one step into row: the anchor, the bank's
// own residual quantile and the network's correction (nil for the bank alone),
// ascending and not below zero.
func (s *Step) Quantiles(correction []float32, row []float64) {
	for i := range row {
		v := s.Anchor + s.Offsets[i]
		if correction != nil {
			v += s.Scale * float64(correction[i])
		}
		row[i] = max(0, v)
	}
	slices.Sort(row)
}

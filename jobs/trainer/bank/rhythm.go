package bank

import (
	"math"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
)

// A rhythm is a number of steps, shorter than the period, after which usage is
// nearly as it was: a job every five hours, a cache that empties every ninety
// minutes. It is looked for in the same series at fixed indices, some periods
// apart, so that all origins in between share what was found and none sees more
// than lay before it.
const (
	rhythmEvery  = 3   // periods after which it is looked for anew
	rhythmCycles = 4   // cycles that a rhythm must have shown itself in, and a period at least
	minRhythm    = 3   // steps; anything shorter is what the last values say
	clearRhythm  = .6  // of the difference before it: how small the difference must be
	asClear      = .05 // within which the shortest rhythm is taken, not a multiple of it
)

// rhythms keeps what was found.
type rhythms struct {
	found []int     // by where it was looked for; unknownRhythm where it was not yet
	dips  []float64 // memory
	cycle []float64 // memory
}

const unknownRhythm = -1

func (r *rhythms) reset() { r.found = r.found[:0] }

// rhythm returns the rhythm that was known at origin t, 0 where there was none.
func (h *History) rhythm(t int) int {
	every := rhythmEvery * h.period
	block := t / every
	for len(h.rhythms.found) <= block {
		h.rhythms.found = append(h.rhythms.found, unknownRhythm)
	}
	if h.rhythms.found[block] == unknownRhythm {
		h.rhythms.found[block] = h.findRhythm(block * every)
	}
	return h.rhythms.found[block]
}

// findRhythm looks for a rhythm in the values before index t: a lag at which the
// mean absolute difference of the values to those so much before has a dip (Ross et
// al., "Average magnitude difference function pitch extractor", 1974). Unlike the
// autocorrelation it is not ruled by a few spikes, and it needs no value where one is
// missing. All lags are looked at over the last period, and those with a dip over their
// cycles.
func (h *History) findRhythm(t int) int {
	// Lags are whole quarters of an hour where a step is less.
	unit := max(1, h.period/96)
	last := (h.period - 1) * 9 / 10 / unit
	if minRhythm > last || t < h.period {
		return 0
	}
	y := h.y[:t]
	diff := resize(h.rhythms.dips, last+2)
	h.rhythms.dips = diff
	for k := 1; k <= last+1; k++ {
		diff[k] = lagDifference(y, k*unit, h.period)
	}
	best, found := math.Inf(1), 0
	for k := minRhythm; k <= last; k++ {
		d := diff[k]
		if !(d < diff[k-1]) || !(d <= diff[k+1]) {
			continue
		}
		most := 0.0
		for _, v := range diff[(k+1)/2 : k] {
			most = max(most, v)
		}
		depth := d / most
		if cycles := rhythmCycles * k * unit; depth < clearRhythm && cycles > h.period {
			depth = lagDifference(y, k*unit, cycles) / most // NaN where too little is known
		}
		if depth < clearRhythm && depth < best-asClear {
			best, found = depth, k*unit
		}
	}
	return found
}

// lagDifference returns the mean absolute difference of the last n values to
// those lag before, NaN where less than half of them is known.
func lagDifference(y []float64, lag, n int) float64 {
	now := y[max(lag, len(y)-n):]
	if len(y) < lag || 2*len(now) < n {
		return math.NaN()
	}
	before := y[len(y)-len(now)-lag:][:len(now)]
	if sum := apart(now, before); sum == sum {
		return sum / float64(len(now))
	}
	sum, known := 0.0, 0
	for i, v := range now {
		if d := math.Abs(v - before[i]); d == d {
			sum += d
			known++
		}
	}
	if 2*known < n {
		return math.NaN()
	}
	return sum / float64(known)
}

// apart returns the sum of the absolute differences of values to others, NaN where one
// is missing.
func apart(a, b []float64) float64 {
	// Four sums, because an addition waits for the one before.
	var s0, s1, s2, s3 float64
	for ; len(a) >= 4 && len(b) >= 4; a, b = a[4:], b[4:] {
		s0 += math.Abs(a[0] - b[0])
		s1 += math.Abs(a[1] - b[1])
		s2 += math.Abs(a[2] - b[2])
		s3 += math.Abs(a[3] - b[3])
	}
	for i, v := range a {
		s0 += math.Abs(v - b[i])
	}
	return s0 + s1 + s2 + s3
}

// followRhythm fills out with the profile for the steps from first on, and with the
// median residual of each phase of the rhythm over its last cycles. It is NaN where
// there is no rhythm.
func (h *History) followRhythm(t, first int, profile, out []float64) {
	q := h.rhythm(t)
	if q == 0 {
		fill(out, math.NaN())
		return
	}
	cycle := resize(h.rhythms.cycle, q)
	h.rhythms.cycle = cycle
	for phase := range cycle {
		var values [rhythmCycles + 1]float64
		n := 0
		for i := t - q + phase; i >= max(h.from, t-len(values)*q); i -= q {
			if r := h.resid[i]; r == r {
				values[n] = r
				n++
			}
		}
		cycle[phase] = orZero(orderstat.Median(values[:n]))
	}
	phase := first % q
	for k, v := range profile {
		out[k] = max(0, v+cycle[phase])
		if phase++; phase == q {
			phase = 0
		}
	}
}

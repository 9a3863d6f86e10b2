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
const Exponent = 12

// tiny keeps an error of nothing from being compared with itself.
const tiny = 1e-12

// leastWeight is what a candidate must count for, beside the best one, to count
// at all.
const leastWeight = 1e-3

// tryout is what really happened less what the candidates had forecast, for n
// steps of those ahead of one past origin, candidate after candidate. It is NaN for a
// candidate that had no forecast, and for all of them where the step was not
// measured.
type tryout struct {
	first, n  int
	residuals []float64 // Count x n
	rhythm    bool      // whether [Rhythm] was tried
	// For each candidate the sum of the absolute residuals that are known, and their
	// number: over the steps before edge and over the others, which is what bands ask for.
	edge   int
	errors []float64 // 4 x Count
}

func (t *tryout) of(c int) []float64 { return t.residuals[c*t.n : (c+1)*t.n] }

// before and after return the sums and numbers before the edge, and from there on.
func (t *tryout) before() (sum, known []float64) { return t.errors[:Count], t.errors[Count : 2*Count] }
func (t *tryout) after() (sum, known []float64) {
	return t.errors[2*Count : 3*Count], t.errors[3*Count : 4*Count]
}

// compare turns forecasts into residuals. What lies beyond the actual values is not
// known.
func (t *tryout) compare(actual []float64) {
	n := len(actual)
	edge := min(t.edge, n)
	sum0, known0 := t.before()
	sum1, known1 := t.after()
	fill(known0, float64(edge))
	fill(known1, float64(n-edge))
	for c := range Count {
		r := t.of(c)
		if c == int(Rhythm) && !t.rhythm {
			fill(r, math.NaN())
			sum0[c], known0[c], sum1[c], known1[c] = 0, 0, 0, 0
			continue
		}
		before, after := residuals(actual, r, edge)
		if n < len(r) {
			fill(r[n:], math.NaN())
		}
		if before != before || after != after {
			before, known0[c] = absolute(r[:edge])
			after, known1[c] = absolute(r[edge:n])
		}
		sum0[c], sum1[c] = before, after
	}
}

// residuals turns forecasts into what they lack of the actual values, and returns
// the sums of the absolute values before an edge and from there on, NaN where one
// is not known.
func residuals(actual, forecasts []float64, edge int) (before, after float64) {
	forecasts = forecasts[:len(actual)]
	return lacking(actual[:edge], forecasts[:edge]), lacking(actual[edge:], forecasts[edge:])
}

// lacking is [residuals] without an edge. It adds up four sums, because an addition
// waits for the one before.
func lacking(actual, forecasts []float64) float64 {
	f := forecasts[:len(actual)]
	var s0, s1, s2, s3 float64
	for k := 0; k < len(actual)-3; k += 4 {
		r0, r1, r2, r3 := actual[k]-f[k], actual[k+1]-f[k+1], actual[k+2]-f[k+2], actual[k+3]-f[k+3]
		f[k], f[k+1], f[k+2], f[k+3] = r0, r1, r2, r3
		s0 += math.Abs(r0)
		s1 += math.Abs(r1)
		s2 += math.Abs(r2)
		s3 += math.Abs(r3)
	}
	for k := len(actual) &^ 3; k < len(actual); k++ {
		r := actual[k] - f[k]
		f[k] = r
		s0 += math.Abs(r)
	}
	return s0 + s1 + s2 + s3
}

// shortHorizon is how far the frequent origins look: the first two bands.
const shortHorizon = 16

// firstBand is how far the first of them reaches.
var firstBand = schemas.Bands(shortHorizon)[0].Last

// weighing keeps tryouts, because neighbouring forecasts of one series are
// weighed on the same origins, and the memory for them.
type weighing struct {
	tried     []tryout
	near, far []int32 // by origin: 1 + the index of that of the near bands, and of the rest of the horizon
	arena     arena
	parts     [3][]part
	combined  []float64
	baseline  []float64
}

// reset forgets all tryouts, and makes room for those of a series of n steps.
func (w *weighing) reset(n int) {
	w.tried = w.tried[:0]
	for _, v := range []*[]int32{&w.near, &w.far} {
		*v = resize(*v, n)
		clear(*v)
	}
	w.arena.reset()
}

// part is a stretch of a tryout's steps.
type part struct {
	tryout
	from, to int
}

// sums returns, for each candidate, the sum of the absolute residuals and how many
// are known, in memory that is given where they are not kept.
func (p *part) sums(memory *[2][Count]float64) (sum, known []float64) {
	switch {
	case p.from == 0 && p.to == p.edge:
		return p.before()
	case p.from == p.edge && p.to == p.n:
		return p.after()
	}
	sum, known = memory[0][:], memory[1][:]
	for c := range sum {
		sum[c], known[c] = absolute(p.of(c)[p.from:p.to])
	}
	return sum, known
}

// try returns the residuals of the steps [first, last) ahead of one origin, or of more
// of them: the near bands are always tried together. [Rhythm] takes part where it is
// asked for.
func (h *History) try(origin, first, last int, rhythm bool) tryout {
	cache, edge := h.weighing.far, 0
	if first < shortHorizon {
		cache, first, last, edge = h.weighing.near, 0, shortHorizon, firstBand
	}
	if at := cache[origin]; at > 0 {
		if kept := h.weighing.tried[at-1]; kept.first <= first && kept.first+kept.n >= last && (kept.rhythm || !rhythm) {
			return kept
		}
	}
	o := h.Origin(origin)
	memory := &h.weighing.arena
	t := tryout{first: first, n: last - first, residuals: memory.take(Count * (last - first)), rhythm: rhythm, edge: edge, errors: memory.take(4 * Count)}
	h.forecast(&o, first, last, rhythm, t.residuals)
	t.compare(h.y[min(origin+first, len(h.y)):min(origin+last, len(h.y))])
	h.weighing.tried = append(h.weighing.tried, t)
	cache[origin] = int32(len(h.weighing.tried))
	return t
}

// arena hands out floats and takes them all back at once.
type arena struct {
	blocks [][]float64
	block  int
	used   int
}

const arenaBlock = 1 << 15

func (a *arena) take(n int) []float64 {
	if n > arenaBlock {
		return make([]float64, n)
	}
	if a.block < len(a.blocks) && a.used+n > arenaBlock {
		a.block, a.used = a.block+1, 0
	}
	if a.block == len(a.blocks) {
		a.blocks = append(a.blocks, make([]float64, arenaBlock))
	}
	out := a.blocks[a.block][a.used : a.used+n : a.used+n]
	a.used += n
	return out
}

func (a *arena) reset() { a.block, a.used = 0, 0 }

// How many past origins the candidates are tried from: every two hours of the
// last two days for the bands of the next hours, once a day for the rest. Each step of
// the rest is tried on a week's days at most. Where there is a fortnight, one half of
// them is tried on one day and the other on the next, because what a single week
// showed does not hold long.
const (
	nearOrigins   = 24
	farOrigins    = 14
	nearPerPeriod = 12
)

// Earliest returns the earliest origin that is tried for a forecast from index t on, or
// one a little earlier: what to tell [NewHistory] where there is no other forecast.
func Earliest(t, period int) int {
	return t - farOrigins*period - max(nearEvery(period), min(period, beforeOrigin))
}

// nearEvery returns how far the frequent origins lie apart.
func nearEvery(period int) int { return max(1, period/nearPerPeriod) }

// Weigh backtests the candidates before origin t and returns their weights for
// each band of the horizon. Bands of the next hours are tried from many origins
// over the last two days, the rest of the horizon once a day over the last
// fortnight, half of it at a time.
func (h *History) Weigh(t, horizon int) []BandWeights {
	bands := schemas.Bands(horizon)
	parts := &h.weighing.parts
	for b := range parts {
		parts[b] = parts[b][:0]
	}
	short := min(shortHorizon, horizon)
	every := nearEvery(h.period)
	earliest := max(h.from+min(h.period, t/2), 4)
	// The origins lie on a grid of their own, so that the next forecasts of this
	// series are weighed on the same ones.
	newest := (t - 4) / every * every
	// A rhythm that came to an end forecasts nothing, however well it once did, and need
	// not be looked for where it was.
	rhythm := h.rhythm(t) != 0
	for k := range nearOrigins {
		origin := newest - k*every
		if origin < earliest {
			break
		}
		tried := h.try(origin, 0, shortHorizon, rhythm)
		for b, band := range bands[:min(2, len(bands))] {
			if last := min(band.Last, short, t-origin); last >= band.First {
				parts[b] = append(parts[b], part{tried, band.First - 1, last})
			}
		}
	}
	today := t / every * every
	days := min(farOrigins, (today-earliest)/h.period)
	for k := 1; k <= days; k++ {
		origin := today - k*h.period
		first, last := short, horizon
		if k > farOrigins-days { // the older days, and all of a fortnight: one half each
			if half := (short + horizon) / 2; k%2 == 1 {
				last = half
			} else {
				first = half
			}
		}
		if last = min(last, t-origin); last > first {
			tried := h.try(origin, first, last, rhythm)
			parts[2] = append(parts[2], part{tried, first - tried.first, last - tried.first})
		}
	}
	weights := make([]BandWeights, len(bands))
	for b, band := range bands {
		weights[b] = h.weigh(band, parts[b], rhythm)
	}
	return weights
}

func (h *History) weigh(band schemas.Band, parts []part, rhythm bool) BandWeights {
	w := BandWeights{Band: band, MAE: math.NaN(), BaselineMAE: math.NaN(), Loss: math.NaN(), BaselineLoss: math.NaN()}
	var count [Count]float64
	var memory [2][Count]float64
	for i := range parts {
		sum, known := parts[i].sums(&memory)
		sum, known = sum[:Count], known[:Count]
		for c := range Count {
			w.Error[c] += sum[c]
			count[c] += known[c]
		}
	}
	if !rhythm {
		count[Rhythm] = 0
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
		w.Error[c] /= count[c]
		if w.Error[c] < best {
			best, w.Best = w.Error[c], Candidate(c)
		}
	}
	if math.IsInf(best, 1) {
		return w
	}
	sum := 0.0
	for c, e := range w.Error {
		if e == e {
			x := (best + tiny) / (e + tiny)
			x *= x * x
			x *= x
			if x *= x; x >= leastWeight { // to the power of Exponent
				w.Weight[c] = x
			}
		}
		sum += w.Weight[c]
	}
	for c := range w.Weight {
		w.Weight[c] /= sum
	}
	w.Residuals = make([]float64, 0, int(most))
	baseline := h.weighing.baseline[:0]
	mixed := w.mixed()
	for i := range parts {
		p := &parts[i]
		h.weighing.combined = mixed.combine(p.residuals, p.n, p.from, p.to, h.weighing.combined)
		w.Residuals = appendKnown(w.Residuals, h.weighing.combined)
		baseline = appendKnown(baseline, p.of(int(Yesterday))[p.from:p.to])
	}
	h.weighing.baseline = baseline
	orderstat.Sort(w.Residuals)
	w.MAE, w.Loss = judge(w.Residuals, w.Offset(LossLevel))
	if n := len(baseline); n > 0 {
		q := orderstat.Select(baseline, int(math.Round(LossLevel*float64(n-1))))
		w.BaselineMAE, w.BaselineLoss = judge(baseline, q)
	}
	return w
}

// appendKnown appends the values that are known.
func appendKnown(out, values []float64) []float64 {
	from := len(out)
	out = append(out, values...)
	n := from
	for _, v := range out[from:] {
		out[n] = v
		if v == v {
			n++
		}
	}
	return out[:n]
}

// absolute returns the sum of the absolute values of those that are known, and
// their number.
func absolute(values []float64) (sum, known float64) {
	for _, x := range values {
		if x == x {
			sum += math.Abs(x)
			known++
		}
	}
	return sum, known
}

// judge returns the mean absolute value of residuals and the pinball loss, at
// LossLevel, of their quantile q; both are NaN without residuals.
func judge(residuals []float64, q float64) (mae, loss float64) {
	// The pinball loss of d is .5 |d| + (level - .5) d.
	sum := 0.0
	for _, r := range residuals {
		mae += math.Abs(r)
		loss += math.Abs(r - q)
		sum += r - q
	}
	n := float64(len(residuals))
	return mae / n, (.5*loss + (LossLevel-.5)*sum) / n
}

// Combine returns the weighted means of what [History.Forecast] filled for n
// steps, of which it takes [first, last): the mean of the candidates that are
// there, NaN if none of those that count is. It reuses out.
func (w *BandWeights) Combine(values []float64, n, first, last int, out []float64) []float64 {
	m := w.mixed()
	return m.combine(values, n, first, last, out)
}

// mixed holds the candidates that count, and what for.
type mixed struct {
	candidates [Count]int
	weights    [Count]float64
	n          int
}

func (w *BandWeights) mixed() (m mixed) {
	for c, weight := range w.Weight {
		if weight > 0 {
			m.candidates[m.n], m.weights[m.n] = c, weight
			m.n++
		}
	}
	return m
}

// addRows adds to out rows that begin at some places of what holds them, each times its
// weight: eight at once, and then four, so that out is read and written less often.
func addRows(out, all []float64, at []int, weights []float64) {
	n := len(out)
	for ; len(at) >= 8 && len(weights) >= 8; at, weights = at[8:], weights[8:] {
		v0, v1, v2, v3 := all[at[0]:][:n], all[at[1]:][:n], all[at[2]:][:n], all[at[3]:][:n]
		v4, v5, v6, v7 := all[at[4]:][:n], all[at[5]:][:n], all[at[6]:][:n], all[at[7]:][:n]
		w0, w1, w2, w3, w4, w5, w6, w7 := weights[0], weights[1], weights[2], weights[3], weights[4], weights[5], weights[6], weights[7]
		for i, sum := range out {
			out[i] = sum + w0*v0[i] + w1*v1[i] + w2*v2[i] + w3*v3[i] + w4*v4[i] + w5*v5[i] + w6*v6[i] + w7*v7[i]
		}
	}
	for ; len(at) >= 4 && len(weights) >= 4; at, weights = at[4:], weights[4:] {
		v0, v1, v2, v3 := all[at[0]:][:n], all[at[1]:][:n], all[at[2]:][:n], all[at[3]:][:n]
		w0, w1, w2, w3 := weights[0], weights[1], weights[2], weights[3]
		for i, sum := range out {
			out[i] = sum + w0*v0[i] + w1*v1[i] + w2*v2[i] + w3*v3[i]
		}
	}
	for k, w := range weights {
		v := all[at[k]:][:n]
		for i, sum := range out {
			out[i] = sum + w*v[i]
		}
	}
}

// combine is [BandWeights.Combine].
func (m *mixed) combine(values []float64, n, first, last int, out []float64) []float64 {
	out = resize(out, last-first)
	if m.n == 0 {
		fill(out, math.NaN())
		return out
	}
	var at [Count]int
	for i, c := range m.candidates[:m.n] {
		at[i] = c*n + first
	}
	clear(out)
	addRows(out, values, at[:m.n], m.weights[:m.n])
	for k, v := range out {
		if v == v {
			continue
		}
		sum, total := 0.0, 0.0
		for i := range m.n {
			if v := values[at[i]+k]; v == v {
				sum += m.weights[i] * v
				total += m.weights[i]
			}
		}
		out[k] = math.NaN()
		if total > 0 {
			out[k] = sum / total
		}
	}
	return out
}

// Offset returns the residual of the given quantile level.
func (w *BandWeights) Offset(level float64) float64 {
	return orderstat.Quantile(w.Residuals, level)
}

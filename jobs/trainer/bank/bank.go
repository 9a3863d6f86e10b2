// Package bank forecasts with a bank of simple, robust candidates: yesterday,
// medians over days, the same corrected by today's level, the last value, last
// week, what followed on the days that began like this one. None of them is
// trained. Each is tried out on the newest days of the very series that is to be
// forecast, separately for each band of the horizon, and is then weighted by how
// well it did there.
//
// Medians instead of means, because usage has spikes; errors measured at the
// horizon that is served, because what forecasts the next hour best (the last
// value and its residual) is not what forecasts tomorrow best (the profile of
// the last days).
package bank

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
)

// Candidate is one simple forecaster.
type Candidate int

// The candidates. P is the period (a day), W the week, r the residual of a value
// against the median of the five days before. An analog is a day of the last
// three weeks; it counts by how little the period before it differed from the
// last period.
const (
	Yesterday      Candidate = iota // y[i-P]
	Median5                         // median over 5 days
	Level                           // Median5 + today's level + last residuals, decaying
	MedianResidual                  // Median5 + last residual, decaying within the hour
	LastFour                        // median of the last 4 values, flat
	LastDay                         // median of the last P values, flat
	LastValue                       // the last value, flat
	Revert                          // from the last value to the median of the last P values, within hours
	YesterdayDrift                  // y[i-P] + last difference to yesterday, decaying
	YesterdayLevel                  // y[i-P] + the median difference to yesterday over the last hours
	Increment                       // last value + the step of Median5 since then
	LastWeek                        // y[i-W]
	WeekLevel                       // y[i-W] + level of the last day against the week before, + decaying residual
	WeekDrift                       // y[i-W] + last difference to last week, decaying
	TwoWeeks                        // mean of y[i-W], y[i-2W]
	Median14                        // median over 14 days
	MedianWeek                      // mean of Median5 and y[i-W]
	Smooth14                        // Median14, smoothed over 5 steps
	SmoothLevel                     // Median5, smoothed over 7 steps, + most of today's level + last residuals, decaying
	Analog                          // weighted mean of what followed on the analogs
	AnalogDrift                     // the same + last residuals against them, decaying
	AnalogMedian                    // median of what followed on the five nearest analogs, smoothed over 3 steps
	numCandidates
)

var candidateNames = [numCandidates]string{
	"yesterday", "median5", "level", "median-residual", "last-four", "last-day", "last-value", "revert",
	"yesterday-drift", "yesterday-level", "increment", "last-week", "week-level", "week-drift", "two-weeks", "median14", "median-week",
	"smooth14", "smooth-level", "analog", "analog-drift", "analog-median",
}

// String returns the candidate's name.
func (c Candidate) String() string { return candidateNames[c] }

// Count is the number of candidates.
const Count = int(numCandidates)

// History holds what all origins of one series share. It is not safe for
// concurrent use.
type History struct {
	y        []float64 // NaN is missing
	period   int
	week     int
	from     int       // first index for which the profiles below are filled
	median5  []float64 // profile value for index i, made from the days before i; len(y)+period values
	median14 []float64
	smooth5  []float64 // the same, each value the mean of itself and its neighbours
	smooth14 []float64
	resid    []float64 // y - median5, len(y) values
	rough    []float64 // y - smooth5, len(y) values
	ahead    []float64 // y[i] - median5[i+P]: against the profile that forecasts the next period
	daily    []float64 // y[i] - y[i-P], len(y) values
	weekly   []float64 // y[i] - y[i-W], len(y) values
	lags     lags
	scratch  []float64
	weighing weighing
}

// NewHistory prepares a series for forecasts from origins at or after the index
// earliest. Period is the number of steps in a season, a day unless told
// otherwise. Missing values are NaN.
func NewHistory(y []float64, period, earliest int) *History {
	h := &History{scratch: make([]float64, 0, max(period, 16))}
	h.Reset(y, period, earliest)
	return h
}

// Half widths of the windows that profiles are smoothed over.
const (
	half5  = 3
	half14 = 2
)

// Reset prepares for another series, reusing memory.
func (h *History) Reset(y []float64, period, earliest int) {
	n := len(y)
	h.y, h.period, h.week = y, period, 7*period
	h.weighing.reset()
	// A level looks back one period from the origin.
	h.from = max(0, earliest-period)
	for _, v := range []*[]float64{&h.median5, &h.median14, &h.smooth5, &h.smooth14} {
		*v = resize(*v, n+period)
	}
	for _, v := range []*[]float64{&h.resid, &h.rough, &h.ahead, &h.daily, &h.weekly} {
		*v = resize(*v, n)
	}
	for first := h.from; first < min(h.from+period, n+period); first++ {
		h.profile(first)
	}
	bridge(h.median5[h.from:])
	bridge(h.median14[h.from:])
	for i := h.from; i < n+period; i++ {
		h.smooth5[i] = h.smoothed(h.median5, i, half5, n+period)
		h.smooth14[i] = h.smoothed(h.median14, i, half14, n+period)
	}
	for i := h.from; i < n; i++ {
		h.resid[i] = y[i] - h.median5[i]
		h.rough[i] = y[i] - h.smooth5[i]
		h.ahead[i] = y[i] - h.median5[i+period]
		h.daily[i] = math.NaN()
		if j := i - period; j >= 0 {
			h.daily[i] = y[i] - y[j]
		}
		h.weekly[i] = math.NaN()
		if j := i - h.week; j >= 0 {
			h.weekly[i] = y[i] - y[j]
		}
	}
	h.lags.reset(y, period, h.from)
}

// profile fills the medians of one phase, from index first on, with medians over
// the days before each.
func (h *History) profile(first int) {
	var five, fortnight sorted
	n, p := len(h.y), h.period
	for d := min(14, first/p); d >= 1; d-- {
		fortnight.insert(h.y[first-d*p])
		if d <= 5 {
			five.insert(h.y[first-d*p])
		}
	}
	for i := first; i < n+p; i += p {
		h.median5[i], h.median14[i] = five.median(), fortnight.median()
		if i >= n {
			break
		}
		five.insert(h.y[i])
		fortnight.insert(h.y[i])
		if j := i - 4*p; j-p >= 0 {
			five.remove(h.y[j-p])
		}
		if j := i - 13*p; j-p >= 0 {
			fortnight.remove(h.y[j-p])
		}
	}
}

// sorted is a small multiset in order.
type sorted struct {
	values [16]float64
	n      int
}

func (s *sorted) insert(v float64) {
	if v != v {
		return
	}
	k := s.n
	for k > 0 && s.values[k-1] > v {
		s.values[k] = s.values[k-1]
		k--
	}
	s.values[k] = v
	s.n++
}

func (s *sorted) remove(v float64) {
	if v != v {
		return
	}
	k := 0
	for k < s.n-1 && s.values[k] != v {
		k++
	}
	copy(s.values[k:s.n-1], s.values[k+1:s.n])
	s.n--
}

func (s *sorted) median() float64 { return middle(s.values[:s.n]) }

func resize(s []float64, n int) []float64 {
	if cap(s) < n {
		return make([]float64, n)
	}
	return s[:n]
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// bridge fills the gaps of a profile, a time of day that was never measured,
// with the value before, up to four steps on. A value after could come from a
// day that an earlier origin must not see.
func bridge(profile []float64) {
	last, age := math.NaN(), 0
	for i, v := range profile {
		if v == v {
			last, age = v, 0
			continue
		}
		if age++; age <= 4 {
			profile[i] = last
		}
	}
}

// smoothed returns the mean of a profile's values around index i, as far as they
// lie before end and are known. It is NaN where the value itself is.
func (h *History) smoothed(profile []float64, i, half, end int) float64 {
	if profile[i] != profile[i] {
		return math.NaN()
	}
	sum, n := 0.0, 0
	for _, v := range profile[max(h.from, i-half):min(end, i+half+1)] {
		if v == v {
			sum += v
			n++
		}
	}
	return sum / float64(n)
}

// medianOf returns the median of the values that are not missing.
func (h *History) medianOf(values []float64) float64 { return h.thinned(values, 1) }

// thinned returns the median of every stride-th value, counted from the last,
// that is not missing.
func (h *History) thinned(values []float64, stride int) float64 {
	s := h.scratch[:0]
	for i := len(values) - 1; i >= 0; i -= stride {
		if v := values[i]; v == v {
			s = append(s, v)
		}
	}
	h.scratch = s
	return orderstat.Median(s)
}

// lastValid returns the newest value before t that is at most back steps old,
// NaN if there is none.
func (h *History) lastValid(v []float64, t, back int) float64 {
	for i := t - 1; i >= 0 && i >= t-back && i >= h.from; i-- {
		if v[i] == v[i] {
			return v[i]
		}
	}
	return math.NaN()
}

// Origin is what is known at one origin t: the index of the first step to be
// forecast. Nothing at or after t is looked at.
type Origin struct {
	t         int
	last      float64 // newest value of the last 4 steps
	lastFour  float64
	lastDay   float64
	level     float64 // median of the last period against the profile that forecasts the next one
	resid1    float64 // newest residual of the last 4 steps
	resid4    float64 // median residual of the last 4 steps
	rough8    float64 // median residual against the smoothed profile, of the last 8 steps
	daily1    float64 // newest difference to yesterday
	dailyFew  float64 // median difference to yesterday over the last 8 steps
	week1     float64 // newest difference to last week
	weekLevel float64 // median difference to last week over the last period
	median5   float64 // at the newest value, the profile that forecasts the next period
	analogs   analogs
}

// levelSamples is from how many values of a period its level is taken.
const levelSamples = 16

// Origin gathers what the candidates need at origin t.
func (h *History) Origin(t int) Origin {
	o := Origin{t: t}
	from4, from8, fromP := max(h.from, t-4), max(h.from, t-8), max(h.from, t-h.period)
	stride := max(1, h.period/levelSamples)
	o.last = h.lastValid(h.y, t, 4)
	o.lastFour = h.medianOf(h.y[from4:t])
	o.lastDay = h.thinned(h.y[fromP:t], stride)
	o.level = orZero(h.thinned(h.ahead[fromP:t], stride))
	o.resid1 = orZero(h.lastValid(h.resid, t, 4))
	o.resid4 = orZero(h.medianOf(h.resid[from4:t]))
	o.rough8 = orZero(h.medianOf(h.rough[from8:t]))
	o.week1 = orZero(h.lastValid(h.weekly, t, 4))
	o.weekLevel = orZero(h.thinned(h.weekly[fromP:t], stride))
	o.daily1 = orZero(h.lastValid(h.daily, t, 4))
	o.dailyFew = orZero(h.medianOf(h.daily[from8:t]))
	o.median5 = o.last - orZero(h.lastValid(h.ahead, t, 4))
	h.findAnalogs(&o)
	return o
}

func orZero(v float64) float64 {
	if v != v {
		return 0
	}
	return v
}

// maxDecay is where a decay has come to nothing.
const maxDecay = 256

// Decays over the horizon, in steps: 3 of the newest residual, 8 of the last
// few, 16 of those of the last hours, 24 of the last value itself.
var decay3, decay8, decay16, decay24 = decayTable(3), decayTable(8), decayTable(16), decayTable(24)

func decayTable(tau float64) (t [maxDecay]float64) {
	for i := range t {
		t[i] = math.Exp(-float64(i) / tau)
	}
	return t
}

func decay(table *[maxDecay]float64, step int) float64 {
	if step >= maxDecay {
		return 0
	}
	return table[step]
}

// Forecast fills out, candidate after candidate, with their forecasts for the
// steps [first, last) ahead (0 is the origin itself): out[c*(last-first)+k] is
// what candidate c says about step first+k. A candidate that the history does
// not allow is NaN.
func (h *History) Forecast(o *Origin, first, last int, out []float64) {
	n, p, y, t := last-first, h.period, h.y, o.t
	row := func(c Candidate) []float64 { return out[int(c)*n : (int(c)+1)*n : (int(c)+1)*n] }
	yesterday, median5, median14 := row(Yesterday), row(Median5), row(Median14)
	smooth14, smoothLevel := row(Smooth14), row(SmoothLevel)
	i := t + first%p
	for k := range n {
		// Beyond one period the first forecast period is repeated, so that nothing
		// at or after the origin is read.
		if i == t+p {
			i = t
		}
		m5 := h.median5[i]
		v := math.NaN()
		if i >= p {
			v = y[i-p]
		}
		if v != v {
			v = m5
		}
		yesterday[k], median5[k], median14[k] = v, m5, h.median14[i]
		if i+half5 < t+p {
			smooth14[k], smoothLevel[k] = h.smooth14[i], h.smooth5[i]
		} else {
			smooth14[k], smoothLevel[k] = h.smoothed(h.median14, i, half14, t+p), h.smoothed(h.median5, i, half5, t+p)
		}
		i++
	}
	level, medianResidual, increment := row(Level), row(MedianResidual), row(Increment)
	yesterdayDrift, yesterdayLevel := row(YesterdayDrift), row(YesterdayLevel)
	lastFour, lastDay, lastValue, revert := row(LastFour), row(LastDay), row(LastValue), row(Revert)
	for k := range n {
		d3, d8 := decay(&decay3, first+k), decay(&decay8, first+k)
		m5, yd := median5[k], yesterday[k]
		level[k] = m5 + o.level + (o.resid4-o.level)*d8
		medianResidual[k] = m5 + o.resid1*d3
		increment[k] = o.last + m5 - o.median5
		yesterdayDrift[k] = yd + o.daily1*d3
		yesterdayLevel[k] = yd + o.dailyFew
		lastFour[k], lastDay[k], lastValue[k] = o.lastFour, o.lastDay, o.last
		revert[k] = o.lastDay + (o.last-o.lastDay)*decay(&decay24, first+k)
		smoothLevel[k] += levelShare*o.level + (o.rough8-levelShare*o.level)*decay(&decay16, first+k)
	}
	week, weekLevel, weekDrift, twoWeeks, medianWeek := row(LastWeek), row(WeekLevel), row(WeekDrift), row(TwoWeeks), row(MedianWeek)
	for k := range n {
		v, v2 := math.NaN(), math.NaN()
		if step := first + k; step < h.week {
			if j := t + step - h.week; j >= 0 {
				v = y[j]
				if j -= h.week; j >= 0 {
					v2 = y[j]
				}
				if v != v {
					v = v2
				}
			}
		}
		week[k] = v
		weekLevel[k] = v + o.weekLevel + (o.week1-o.weekLevel)*decay(&decay8, first+k)
		weekDrift[k] = v + o.week1*decay(&decay3, first+k)
		twoWeeks[k] = (v + v2) / 2
		medianWeek[k] = (median5[k] + v) / 2
	}
	h.followAnalogs(o, first, row(Analog), row(AnalogMedian))
	analog, drift := row(Analog), row(AnalogDrift)
	for k := range n {
		drift[k] = analog[k] + o.analogs.resid*decay(&decay8, first+k)
	}
	for i, v := range out[:Count*n] {
		if v < 0 {
			out[i] = 0
		}
	}
}

// levelShare is how much of the last period's level is believed to last.
const levelShare = .7

// Residuals returns how the newest values lie against the profile of the days
// before: the newest one, the median of the last four, and the median of the
// last period. What is not known is 0.
func (o *Origin) Residuals() (newest, lastFour, period float64) {
	return o.resid1, o.resid4, o.level
}

// Volatility fills out (a period's values) with how far usage lies from its
// median over the days before origin t, for each step ahead, over the mean of
// that over the period, and 1 where that is not known: a time of day that is
// quiet is below 1. It looks back a fortnight, and returns the mean, NaN where
// nothing is known.
func (h *History) Volatility(t int, out []float64) (mean float64) {
	p := h.period
	total, known := 0.0, 0
	for k := range out {
		i := t + k
		sum, n := 0.0, 0
		for d := 1; d <= 14 && i-d*p >= 0; d++ {
			if r := h.y[i-d*p] - h.median14[i]; r == r {
				sum += math.Abs(r)
				n++
			}
		}
		out[k] = math.NaN()
		if n > 0 {
			out[k] = sum / float64(n)
			total += out[k]
			known++
		}
	}
	mean = total / float64(known)
	smooth := h.scratch[:0]
	for k := range out {
		sum, n := 0.0, 0
		for _, v := range out[max(0, k-2):min(len(out), k+3)] {
			if v == v {
				sum += v
				n++
			}
		}
		v := sum / float64(n) / mean
		if !(v > 0) || math.IsInf(v, 0) {
			v = 1
			if mean > 0 && n > 0 {
				v = minVolatility
			}
		}
		smooth = append(smooth, min(max(v, minVolatility), 1/minVolatility))
	}
	copy(out, smooth)
	h.scratch = smooth
	return mean
}

// minVolatility keeps a time of day at which nothing ever happened from being
// taken for certain.
const minVolatility = .05

// lags holds, for each lag of whole periods, running sums of how much the series
// differs from itself that much before, so that the difference over any period is
// a subtraction.
type lags struct {
	from  int // index of the first sum
	sums  [maxAnalogs + 1][]float64
	known [maxAnalogs + 1][]int32 // how many differences each sum holds
}

// maxAnalogs is how many days back an analog may lie.
const maxAnalogs = 21

func (l *lags) reset(y []float64, period, from int) {
	l.from = max(0, from)
	for d := 1; d <= maxAnalogs; d++ {
		n := len(y) - l.from + 1
		l.sums[d] = resize(l.sums[d], n)
		if cap(l.known[d]) < n {
			l.known[d] = make([]int32, n)
		}
		l.known[d] = l.known[d][:n]
		sum, count := 0.0, int32(0)
		sums, known := l.sums[d], l.known[d]
		sums[0], known[0] = 0, 0
		// Nothing is known before the first value that has one so much before it.
		none := min(max(0, d*period-l.from), n-1)
		clear(sums[1 : none+1])
		clear(known[1 : none+1])
		now := y[l.from+none:]
		before := y[max(0, l.from+none-d*period):][:len(now)]
		sums, known = sums[none+1:][:len(now)], known[none+1:][:len(now)]
		for k, v := range now {
			r := math.Abs(v - before[k])
			if r != r {
				r = 0
				count--
			}
			sum += r
			count++
			sums[k], known[k] = sum, count
		}
	}
}

// distance returns the mean absolute difference over [a, b) to d periods before,
// NaN where less than a quarter of it is known.
func (l *lags) distance(d, a, b int) float64 {
	a, b = max(a, l.from)-l.from, b-l.from
	n := l.known[d][b] - l.known[d][a]
	if n == 0 || int(n)*4 < b-a {
		return math.NaN()
	}
	return (l.sums[d][b] - l.sums[d][a]) / float64(n)
}

// analogs are the days that count at one origin.
type analogs struct {
	n       int
	lag     [maxAnalogs]int     // in periods
	weight  [maxAnalogs]float64 // adding up to 1
	nearest [5]int              // lags of the nearest ones
	near    int                 // how many of those there are
	resid   float64             // median of the last values against the weighted mean
}

// minAnalogs is how many analogs there must be to choose from.
const minAnalogs = 4

func (h *History) findAnalogs(o *Origin) {
	a := &o.analogs
	var dist [maxAnalogs]float64
	sum := 0.0
	for d := 1; d <= maxAnalogs && o.t-(d+1)*h.period >= 0; d++ {
		v := h.lags.distance(d, o.t-h.period, o.t)
		if v != v {
			continue
		}
		a.lag[a.n], dist[a.n] = d, v
		sum += v
		a.n++
	}
	if a.n < minAnalogs {
		a.n = 0
		return
	}
	// A thousandth of the usual distance more keeps one exact repetition from
	// counting alone.
	more := 1e-3 * sum / float64(a.n)
	least := slices.Min(dist[:a.n]) + more
	total := 0.0
	for k := range a.n {
		w := 1.0
		if least > 0 {
			w = least / (dist[k] + more)
			w *= w
			w *= w
		}
		a.weight[k] = w
		total += w
	}
	for k := range a.n {
		a.weight[k] /= total
	}
	var order [len(a.nearest)]float64
	for k := range a.n {
		i := a.near
		for i > 0 && order[i-1] > dist[k] {
			if i < len(order) {
				order[i], a.nearest[i] = order[i-1], a.nearest[i-1]
			}
			i--
		}
		if i < len(order) {
			order[i], a.nearest[i] = dist[k], a.lag[k]
			a.near = min(a.near+1, len(order))
		}
	}
	var resid [4]float64
	n := 0
	for i := max(0, o.t-4); i < o.t; i++ {
		if r := h.y[i] - a.mean(h.y, i, h.period, o.t); r == r {
			resid[n] = r
			n++
		}
	}
	slices.Sort(resid[:n])
	a.resid = orZero(middle(resid[:n]))
}

// mean returns the weighted mean of the analogs of index i, of those that are
// known and lie before t.
func (a *analogs) mean(y []float64, i, period, t int) float64 {
	sum, total := 0.0, 0.0
	for k := range a.n {
		j := i - a.lag[k]*period
		if j < 0 || j >= t {
			continue
		}
		if v := y[j]; v == v {
			sum += a.weight[k] * v
			total += a.weight[k]
		}
	}
	if total == 0 {
		return math.NaN()
	}
	return sum / total
}

// followAnalogs fills mean and median with what followed on the analogs, for the
// steps from first on.
func (h *History) followAnalogs(o *Origin, first int, mean, median []float64) {
	a := &o.analogs
	if a.n == 0 {
		for k := range mean {
			mean[k], median[k] = math.NaN(), math.NaN()
		}
		return
	}
	p := h.period
	// Whole rows at a time, as long as nothing is missing.
	clear(mean)
	for e := range a.n {
		w := a.weight[e]
		for k, phase := 0, first%p; k < len(mean); phase = 0 {
			n := min(len(mean)-k, p-phase)
			past := h.y[o.t-a.lag[e]*p+phase:][:n]
			for i, m := range mean[k : k+n] {
				mean[k+i] = m + w*past[i]
			}
			k += n
		}
	}
	for k, v := range mean {
		if v != v {
			mean[k] = a.mean(h.y, o.t+(first+k)%p, p, o.t)
		}
	}
	// The median's neighbours on both sides, within the period.
	for k, phase := 0, first%p; k < len(median); phase = 0 {
		n := min(len(median)-k, p-phase)
		h.smoothMedians(o, phase, median[k:k+n])
		k += n
	}
}

// smoothMedians fills out with what the nearest analogs say of the phases from one
// on, which lie within the period, each smoothed with its neighbours there.
func (h *History) smoothMedians(o *Origin, phase int, out []float64) {
	before, here := math.NaN(), h.nearestMedian(o, phase)
	if phase > 0 {
		before = h.nearestMedian(o, phase-1)
	}
	// Where all five are known, without a branch.
	var past [len(o.analogs.nearest)][]float64
	next := 0
	if a := &o.analogs; a.near == len(past) {
		for i, lag := range a.nearest {
			past[i] = h.y[o.t+phase+1-lag*h.period:]
		}
		next = min(len(out), h.period-phase-1)
	}
	for k := range out {
		after := math.NaN()
		if k < next {
			after = median5(past[0][k], past[1][k], past[2][k], past[3][k], past[4][k])
		}
		if after != after && phase+k+1 < h.period {
			after = h.nearestMedian(o, phase+k+1)
		}
		out[k] = (before + here + after) / 3
		if out[k] != out[k] {
			sum, n := 0.0, 0.0
			for _, v := range [3]float64{before, here, after} {
				if v == v {
					sum += v
					n++
				}
			}
			out[k] = sum / n
		}
		before, here = here, after
	}
}

// median5 returns the median of five values, NaN where one of them is.
func median5(a, b, c, d, e float64) float64 {
	f, g := max(min(a, b), min(c, d)), min(max(a, b), max(c, d))
	return max(min(e, f), min(max(e, f), g))
}

// nearestMedian returns the median of the nearest analogs at a phase of the
// period from the origin on.
func (h *History) nearestMedian(o *Origin, phase int) float64 {
	var values [len(o.analogs.nearest)]float64
	n := 0
	for _, lag := range o.analogs.nearest[:o.analogs.near] {
		v := h.y[o.t+phase-lag*h.period]
		if v != v {
			continue
		}
		k := n
		for k > 0 && values[k-1] > v {
			values[k] = values[k-1]
			k--
		}
		values[k] = v
		n++
	}
	return middle(values[:n])
}

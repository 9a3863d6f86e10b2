// Package bank forecasts with a bank of simple, robust candidates: yesterday,
// medians over days, the same corrected by today's level, the last value, last
// week, what followed on the days that began like this one, what comes back after
// another number of steps than those of a day. None of them is trained. Each is
// tried out on the newest days of the very series that is to be forecast, separately
// for each band of the horizon, and is then weighted by how well it did there.
//
// Medians instead of means, because usage has spikes; errors measured at the
// horizon that is served, because what forecasts the next hour best (the last
// value and its residual) is not what forecasts tomorrow best (the profile of
// the last days).
package bank

import (
	"math"

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
	LastWeek                        // median of y[i-W], y[i-2W] (or Yesterday, while that is not known) and Median5
	WeekLevel                       // LastWeek + level of the last day against the week before, + decaying residual
	WeekDrift                       // LastWeek + last difference to last week, decaying
	Median14                        // median over 14 days
	MedianWeek                      // mean of Median5 and LastWeek
	Smooth14                        // Median14, smoothed over 5 steps
	SmoothLevel                     // Median5, smoothed over 7 steps, + most of today's level + last residuals, decaying
	Analog                          // weighted mean of what followed on the analogs
	AnalogDrift                     // the same + last residuals against them, decaying
	AnalogMedian                    // median of what followed on the five nearest analogs, smoothed over 3 steps
	Rhythm                          // Median5 + the median residual over the last cycles of another rhythm than the day's
	numCandidates
)

var candidateNames = [numCandidates]string{
	"yesterday", "median5", "level", "median-residual", "last-four", "last-day", "last-value", "revert",
	"yesterday-drift", "yesterday-level", "increment", "last-week", "week-level", "week-drift", "median14", "median-week",
	"smooth14", "smooth-level", "analog", "analog-drift", "analog-median", "rhythm",
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
	negative bool      // whether any value has a sign
	from     int       // first index for which the profiles and differences below are filled
	median5  []float64 // profile value for index i, made from the days before i; len(y)+period values
	median14 []float64
	smooth5  []float64 // the same, each value the mean of itself and its neighbours
	smooth14 []float64
	resid    []float64 // y - median5, len(y) values
	rough    []float64 // y - smooth5, len(y) values
	ahead    []float64 // y[i] - median5[i+P]: against the profile that forecasts the next period
	daily    []float64 // y[i] - y[i-P], len(y) values
	usual    []float64 // what is usual at that time of the week, from the days before i; len(y)+period values
	weekly   []float64 // y - usual, len(y) values
	lags     lags
	rhythms  rhythms
	scratch  []float64
	weighing weighing

	phase phase
}

// phase is the memory for one phase's values: those of days that follow each other.
type phase struct {
	order   orderstat.Order
	column  [64]float64
	medians [64 + 1]float64
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

// beforeOrigin is how far before an origin its profile is looked at: eight steps,
// half a window for smoothing and what bridges a gap.
const beforeOrigin = 16

// Reset prepares for another series, reusing memory.
func (h *History) Reset(y []float64, period, earliest int) {
	n := len(y)
	h.y, h.period, h.week = y, period, 7*period
	h.weighing.reset(n)
	signs := uint64(0)
	for _, v := range y {
		signs |= math.Float64bits(v)
	}
	h.negative = signs>>63 != 0
	h.rhythms.reset()
	// A level looks back one period from the origin.
	h.from = max(0, earliest-period)
	for _, v := range []*[]float64{&h.median5, &h.median14, &h.smooth5, &h.smooth14, &h.usual} {
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
	h.smooth(h.median5, h.smooth5, half5)
	h.smooth(h.median14, h.smooth14, half14)
	subtract(h.resid, y, h.median5, h.from)
	subtract(h.rough, y, h.smooth5, h.from)
	subtract(h.ahead, y, h.median5[period:], h.from)
	h.yesterdays()
	h.weeks()
	subtract(h.weekly, y, h.usual, h.from)
	h.lags.reset(y, period, h.from)
}

// profile fills the medians of one phase, from index first on, with medians over
// the days before each.
func (h *History) profile(first int) {
	n, p := len(h.y), h.period
	column, medians, order := &h.phase.column, &h.phase.medians, &h.phase.order
	for i := first; i < n+p; {
		before := min(14, i/p)
		days := column[:0]
		for j := i - before*p; j < n && len(days) < len(column); j += p {
			days = append(days, h.y[j])
		}
		order.Reset(days)
		// The last is of the day after the column, with which the next one begins.
		rows := medians[:len(days)-before+1]
		order.Medians(5, before, rows)
		for k, v := range rows {
			if j := i + k*p; j < n+p {
				h.median5[j] = v
			}
		}
		order.Medians(14, before, rows)
		for k, v := range rows {
			if j := i + k*p; j < n+p {
				h.median14[j] = v
			}
		}
		i += len(rows) * p
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
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

// smooth fills out, from where the profiles are filled on, with what
// [History.smoothed] says of a profile.
func (h *History) smooth(profile, out []float64, half int) {
	end := len(profile)
	// Whole windows, NaN where one has a gap or is cut short.
	p, o := profile[h.from:], out[h.from:]
	fill(o[:min(half, len(o))], math.NaN())
	fill(o[max(0, len(o)-half):], math.NaN())
	switch half {
	case half5:
		o := o[min(half, len(o)):]
		for k := 0; k < len(p)-6; k++ {
			o[k] = (p[k] + p[k+1] + p[k+2] + p[k+3] + p[k+4] + p[k+5] + p[k+6]) / 7
		}
	case half14:
		o := o[min(half, len(o)):]
		for k := 0; k < len(p)-4; k++ {
			o[k] = (p[k] + p[k+1] + p[k+2] + p[k+3] + p[k+4]) / 5
		}
	}
	for i, v := range o {
		if v != v {
			o[i] = h.smoothed(profile, h.from+i, half, end)
		}
	}
}

// yesterdays fills h.daily, with NaN where there is no day before.
func (h *History) yesterdays() {
	first := min(max(h.from, h.period), len(h.y))
	fill(h.daily[min(h.from, first):first], math.NaN())
	subtract(h.daily[first:], h.y[first:], h.y[first-min(first, h.period):], 0)
}

// weeks fills h.usual.
func (h *History) weeks() {
	w, end := h.week, len(h.usual)
	one := min(max(h.from, w), end)   // from where on one week before is
	two := min(max(h.from, 2*w), end) // and two
	fill(h.usual[min(h.from, one):one], math.NaN())
	orderstat.MediansOf3(h.y[one-min(one, w):], h.y[one-min(one, h.period):], h.median5[one:], h.usual[one:two])
	orderstat.MediansOf3(h.y[two-min(two, w):], h.y[two-min(two, 2*w):], h.median5[two:], h.usual[two:])
	for i := one; i < end; i++ {
		if h.usual[i] != h.usual[i] {
			yesterday := h.at(i - h.period)
			if yesterday != yesterday {
				yesterday = h.median5[i]
			}
			h.usual[i] = usualWeek(h.at(i-w), h.at(i-2*w), yesterday, h.median5[i])
		}
	}
}

// subtract fills out with a - b from an index on.
func subtract(out, a, b []float64, from int) {
	out, a, b = out[from:], a[from:], b[from:]
	a, b = a[:len(out)], b[:len(out)]
	for i := range out {
		out[i] = a[i] - b[i]
	}
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

// decays are what is left of something after each of n steps: by3 of the newest
// residual, by8 of the last few, by16 of those of the last hours, by24 of the last value
// itself. The number is that of the steps in which e times less is left.
type decays struct {
	by3, by8, by16, by24 []float64
	n                    int
}

var allDecays = decays{decayTable(3), decayTable(8), decayTable(16), decayTable(24), maxDecay}

func decayTable(tau float64) []float64 {
	t := make([]float64, maxDecay)
	for i := range t {
		t[i] = math.Exp(-float64(i) / tau)
	}
	return t
}

var nothing [maxDecay]float64

// decaysFrom returns the decays from a step on.
func decaysFrom(step int) decays {
	if step >= maxDecay {
		return decays{nothing[:], nothing[:], nothing[:], nothing[:], maxDecay}
	}
	d := allDecays
	return decays{d.by3[step:], d.by8[step:], d.by16[step:], d.by24[step:], d.n - step}
}

// Forecast fills out, candidate after candidate, with their forecasts for the
// steps [first, last) ahead (0 is the origin itself): out[c*(last-first)+k] is
// what candidate c says about step first+k. A candidate that the history does
// not allow is NaN.
func (h *History) Forecast(o *Origin, first, last int, out []float64) {
	h.forecast(o, first, last, true, out)
}

// forecast is [History.Forecast], in which the row of [Rhythm] is left alone where it is
// not asked for.
func (h *History) forecast(o *Origin, first, last int, rhythm bool, out []float64) {
	n, p, y, t := last-first, h.period, h.y, o.t
	row := func(c Candidate) []float64 { return out[int(c)*n : (int(c)+1)*n : (int(c)+1)*n] }
	yesterday, median5, median14 := row(Yesterday), row(Median5), row(Median14)
	smooth5, smooth14 := row(SmoothLevel), row(Smooth14)
	// Beyond one period the first forecast period is repeated, so that nothing at or
	// after the origin is read.
	for k := 0; k < n; {
		i := t + (first+k)%p
		end := min(t+p, i+n-k)
		copy(median5[k:], h.median5[i:end])
		copy(median14[k:], h.median14[i:end])
		copy(smooth5[k:], h.smooth5[i:end])
		copy(smooth14[k:], h.smooth14[i:end])
		copy(yesterday[k:], median5[k:])
		if i >= p {
			copy(yesterday[k:], y[i-p:end-p])
		}
		for j := max(i, t+p-half5); j < end; j++ {
			smooth5[k+j-i], smooth14[k+j-i] = h.smoothed(h.median5, j, half5, t+p), h.smoothed(h.median14, j, half14, t+p)
		}
		k += end - i
	}
	for k, v := range yesterday {
		if v != v {
			yesterday[k] = median5[k]
		}
	}
	week, medianWeek := row(LastWeek), row(MedianWeek)
	known := max(0, min(n, h.week-first)) // steps of which a week before is
	within := max(0, min(known, p-first)) // of those, steps of the first period
	copy(week[:within], h.usual[t+first:])
	for k := within; k < known; k++ {
		i := t + first + k
		week[k] = usualWeek(h.at(i-h.week), h.at(i-2*h.week), yesterday[k], median5[k])
	}
	fill(week[known:], math.NaN())
	for k, v := range week {
		medianWeek[k] = (median5[k] + v) / 2
	}
	analog := row(Analog)
	h.followAnalogs(o, first, analog, row(AnalogMedian))
	if rhythm {
		h.followRhythm(t, first, median5, row(Rhythm))
	}

	fill(row(LastFour), o.lastFour)
	fill(row(LastDay), o.lastDay)
	fill(row(LastValue), o.last)
	shift(row(Increment), median5, o.last-o.median5)
	shift(row(YesterdayLevel), yesterday, o.dailyFew)
	for k := 0; k < n; {
		d := decaysFrom(first + k)
		m := min(n-k, d.n)
		part := func(v []float64) []float64 { return v[k : k+m] }
		relax(part(row(Level)), part(median5), o.resid4, o.level, d.by8)
		relax(part(row(MedianResidual)), part(median5), o.resid1, 0, d.by3)
		relax(part(row(YesterdayDrift)), part(yesterday), o.daily1, 0, d.by3)
		relax(part(row(WeekLevel)), part(week), o.week1, o.weekLevel, d.by8)
		relax(part(row(WeekDrift)), part(week), o.week1, 0, d.by3)
		relax(part(row(Revert)), part(row(LastDay)), o.last-o.lastDay, 0, d.by24)
		relax(part(smooth5), part(smooth5), o.rough8, levelShare*o.level, d.by16)
		relax(part(row(AnalogDrift)), part(analog), o.analogs.resid, 0, d.by8)
		k += m
	}
	if h.negative {
		for i, v := range out[:Count*n] {
			if v < 0 {
				out[i] = 0
			}
		}
	}
}

func fill(out []float64, v float64) {
	for i := range out {
		out[i] = v
	}
}

// shift fills out with what lies so far above base, and not below 0.
func shift(out, base []float64, by float64) {
	base = base[:len(out)]
	for i, v := range base {
		if v += by; v < 0 {
			v = 0
		}
		out[i] = v
	}
}

// relax fills out with what lies above base by something that goes from one value to
// another as far as the decay has come, and not below 0.
func relax(out, base []float64, from, to float64, decay []float64) {
	base, decay = base[:len(out)], decay[:len(out)]
	from -= to
	for i, v := range base {
		if v = v + to + from*decay[i]; v < 0 {
			v = 0
		}
		out[i] = v
	}
}

// at returns the value at an index, NaN where there is none before the first.
func (h *History) at(i int) float64 {
	if i < 0 {
		return math.NaN()
	}
	return h.y[i]
}

// usualWeek returns what a time of the week is taken to be: the median of what it
// was one and two weeks before and of the last days, so that what happened once is
// not taken for a habit, and a weekend that both weeks had is. While one week is
// known, yesterday is heard in the place of the other.
func usualWeek(one, two, yesterday, days float64) float64 {
	switch {
	case one != one:
		return two
	case two != two:
		two = yesterday
	}
	if two != two || days != days {
		return one
	}
	return max(min(one, two), min(max(one, two), days))
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
	// Whole days at a time, as long as nothing is missing.
	clear(out)
	days := min(14, t/p)
	median := h.median14[t:][:len(out)]
	for d := 1; d <= days; d++ {
		day := h.y[t-d*p:][:len(out)]
		for k, v := range day {
			out[k] += math.Abs(v - median[k])
		}
	}
	for k, sum := range out {
		n := days
		if t+k >= (days+1)*p && days < 14 || sum != sum {
			sum, n = 0, 0
			for d := 1; d <= 14 && t+k-d*p >= 0; d++ {
				if r := h.y[t+k-d*p] - median[k]; r == r {
					sum += math.Abs(r)
					n++
				}
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
// a subtraction. It keeps the sums before blocks of a few differences, and what
// lies beside whole blocks is added up when it is asked for.
type lags struct {
	y      []float64
	period int
	from   int       // index of the first block
	sums   []float64 // before each block, the lags side by side
	known  []int32   // how many differences each sum holds
}

const (
	// maxAnalogs is how many days back an analog may lie.
	maxAnalogs = 21
	// lagBlock is how many differences make a block. They begin at its multiples, as
	// origins of backtests do where a day is of quarter hours.
	lagBlock = 8
)

func (l *lags) reset(y []float64, period, from int) {
	l.y, l.period, l.from = y, period, from/lagBlock*lagBlock
	blocks := max(0, len(y)-l.from) / lagBlock
	l.sums = resize(l.sums, (blocks+1)*maxAnalogs)
	if cap(l.known) < len(l.sums) {
		l.known = make([]int32, len(l.sums))
	}
	l.known = l.known[:len(l.sums)]
	for d := range maxAnalogs {
		back := (d + 1) * period
		b, end := l.from, l.from+blocks*lagBlock
		sum, count, at := 0.0, int32(0), d
		for ; b < end && b < back; b += lagBlock {
			l.sums[at], l.known[at] = sum, count
			s, n := l.differences(d+1, b, b+lagBlock)
			sum, count, at = sum+s, count+n, at+maxAnalogs
		}
		x, z := y[b:end], y[b-min(b, back):][:end-b]
		for k := 0; k < len(x)-(lagBlock-1); k += lagBlock {
			l.sums[at], l.known[at] = sum, count
			// By twos, because an addition waits for the one before.
			s, n := ((math.Abs(x[k]-z[k])+math.Abs(x[k+1]-z[k+1]))+(math.Abs(x[k+2]-z[k+2])+math.Abs(x[k+3]-z[k+3])))+
				((math.Abs(x[k+4]-z[k+4])+math.Abs(x[k+5]-z[k+5]))+(math.Abs(x[k+6]-z[k+6])+math.Abs(x[k+7]-z[k+7]))), int32(lagBlock)
			if s != s {
				s, n = l.differences(d+1, b+k, b+k+lagBlock)
			}
			sum, count, at = sum+s, count+n, at+maxAnalogs
		}
		l.sums[at], l.known[at] = sum, count
	}
}

// differences returns the sum of the absolute differences over [a, b) to d periods
// before, and how many are known.
func (l *lags) differences(d, a, b int) (sum float64, known int32) {
	back := d * l.period
	for i := max(a, back); i < b; i++ {
		if r := math.Abs(l.y[i] - l.y[i-back]); r == r {
			sum += r
			known++
		}
	}
	return sum, known
}

// distances fills out, for lags from one period on, with the mean absolute difference
// over [a, b), from the first block on, NaN where less than a quarter of it is known.
func (l *lags) distances(a, b int, out []float64) {
	a = max(a, l.from)
	first, last := (a-l.from+lagBlock-1)/lagBlock, (b-l.from)/lagBlock
	begin, end := l.from+first*lagBlock, l.from+last*lagBlock
	if begin > end { // within one block
		first, last, begin, end = 0, 0, b, b
	}
	beside := a < begin || end < b
	sums0, sums1 := l.sums[first*maxAnalogs:][:len(out)], l.sums[last*maxAnalogs:][:len(out)]
	known0, known1 := l.known[first*maxAnalogs:][:len(out)], l.known[last*maxAnalogs:][:len(out)]
	for d := range out {
		sum, n := sums1[d]-sums0[d], known1[d]-known0[d]
		if beside {
			s0, n0 := l.differences(d+1, a, begin)
			s1, n1 := l.differences(d+1, end, b)
			sum, n = sum+s0+s1, n+n0+n1
		}
		out[d] = sum / float64(n)
		if int(n)*4 < b-a {
			out[d] = math.NaN()
		}
	}
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
	days := min(maxAnalogs, o.t/h.period-1)
	if days < minAnalogs {
		return
	}
	h.lags.distances(o.t-h.period, o.t, dist[:days])
	sum := 0.0
	for d, v := range dist[:days] {
		a.lag[d] = d + 1
		sum += v
	}
	a.n = days
	if sum != sum {
		a.n, sum = 0, 0
		for d, v := range dist[:days] {
			if v == v {
				a.lag[a.n], dist[a.n] = d+1, v
				sum += v
				a.n++
			}
		}
	}
	if a.n < minAnalogs {
		a.n = 0
		return
	}
	// A thousandth of the usual distance more keeps one exact repetition from
	// counting alone.
	more := 1e-3 * sum / float64(a.n)
	// Of those that are equally near, but for rounding, the newest come first.
	// Distances are not negative, so that their bits are in their order.
	const none = math.MaxInt64
	least := int64(none)
	n0, n1, n2, n3, n4 := int64(none), int64(none), int64(none), int64(none), int64(none)
	for k, d := range dist[:a.n] {
		least = min(least, int64(math.Float64bits(d)))
		key := int64(math.Float32bits(float32(d)))<<8 | int64(a.lag[k])
		n0, key = min(key, n0), max(key, n0)
		n1, key = min(key, n1), max(key, n1)
		n2, key = min(key, n2), max(key, n2)
		n3, key = min(key, n3), max(key, n3)
		n4 = min(key, n4)
	}
	total := 0.0
	if scale := math.Float64frombits(uint64(least)) + more; scale > 0 {
		for k, d := range dist[:a.n] {
			w := scale / (d + more)
			w *= w
			w *= w
			a.weight[k] = w
			total += w
		}
	} else {
		for k := range a.n {
			a.weight[k] = 1
		}
		total = float64(a.n)
	}
	share := 1 / total
	for k := range a.weight[:a.n] {
		a.weight[k] *= share
	}
	nearest := [len(a.nearest)]int64{n0, n1, n2, n3, n4}
	a.near = min(a.n, len(nearest))
	for i, key := range nearest[:a.near] {
		a.nearest[i] = int(key & 0xff)
	}
	a.resid = h.analogResidual(o)
}

// analogResidual returns the median of the last four values less what the analogs
// say of them, as far as they are known, 0 where none is.
func (h *History) analogResidual(o *Origin) float64 {
	a := &o.analogs
	var r [4]float64
	if from := o.t - len(r); from-a.lag[a.n-1]*h.period >= 0 {
		// As long as nothing is missing.
		total := 0.0
		for k, w := range a.weight[:a.n] {
			v := (*[len(r)]float64)(h.y[from-a.lag[k]*h.period:])
			r[0] += w * v[0]
			r[1] += w * v[1]
			r[2] += w * v[2]
			r[3] += w * v[3]
			total += w
		}
		sum := 0.0
		for i, v := range h.y[from:o.t] {
			r[i] = v - r[i]/total
			sum += r[i]
		}
		if sum == sum {
			return orderstat.Median(r[:])
		}
	}
	n := 0
	for i := max(0, o.t-len(r)); i < o.t; i++ {
		if v := h.y[i] - a.mean(h.y, i, h.period, o.t); v == v {
			r[n] = v
			n++
		}
	}
	return orZero(orderstat.Median(r[:n]))
}

// mean returns the weighted mean of the analogs of index i, of those that are
// known and lie before t.
func (a *analogs) mean(y []float64, i, period, t int) float64 {
	sum, total := 0.0, 0.0
	for k, lag := range a.lag[:a.n] {
		j := i - lag*period
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
	var at [maxAnalogs]int
	for k, phase := 0, first%p; k < len(mean); phase = 0 {
		out := mean[k:min(len(mean), k+p-phase)]
		for e, lag := range a.lag[:a.n] {
			at[e] = o.t - lag*p + phase
		}
		addRows(out, h.y, at[:a.n], a.weight[:a.n])
		k += len(out)
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
	medians := resize(h.scratch, len(out)+2) // from the phase before on
	h.scratch = medians
	h.nearestMedians(o, phase-1, medians)
	for k := 0; k < len(medians)-2; k++ {
		before, here, after := medians[k], medians[k+1], medians[k+2]
		v := (before + here + after) / 3
		if v != v {
			sum, n := 0.0, 0.0
			for _, v := range [3]float64{before, here, after} {
				if v == v {
					sum += v
					n++
				}
			}
			v = sum / n
		}
		out[k] = v
	}
}

// nearestMedians fills out with the medians of the nearest analogs, from a phase on,
// NaN for phases that lie without the period.
func (h *History) nearestMedians(o *Origin, phase int, out []float64) {
	fill(out, math.NaN())
	if phase < 0 {
		phase, out = 0, out[1:]
	}
	out = out[:min(len(out), h.period-phase)]
	var past [len(o.analogs.nearest)][]float64
	if a := &o.analogs; a.near == len(past) {
		for i, lag := range a.nearest {
			past[i] = h.y[o.t+phase-lag*h.period:]
		}
		orderstat.MediansOf5(past[0], past[1], past[2], past[3], past[4], out)
	}
	for k, v := range out {
		if v != v {
			out[k] = h.nearestMedian(o, phase+k)
		}
	}
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

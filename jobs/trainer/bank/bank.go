// Package bank forecasts with a bank of simple, robust candidates: yesterday,
// medians over days, the same corrected by today's level, the last value, last
// week. None of them is trained. Each is tried out on the newest days of the
// very series that is to be forecast, separately for each band of the horizon,
// and is then weighted by how well it did there.
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
// against the median of the five days before.
const (
	Yesterday      Candidate = iota // y[i-P]
	Median3                         // median of y[i-P], y[i-2P], y[i-3P]
	Median5                         // median over 5 days
	HalfLevel                       // Median5 + half of today's level + last residuals, decaying
	Level                           // Median5 + today's level + last residuals, decaying
	MedianResidual                  // Median5 + last residual, decaying within the hour
	LastFour                        // median of the last 4 values, flat
	LastDay                         // median of the last P values, flat
	LastValue                       // the last value, flat
	YesterdayDrift                  // y[i-P] + last difference to yesterday, decaying
	YesterdayLevel                  // y[i-P] + the median difference to yesterday over the last hours
	Increment                       // last value + the step of Median5 since then
	LastWeek                        // y[i-W]
	WeekLevel                       // y[i-W] + level of the last day against the week before, + decaying residual
	WeekDrift                       // y[i-W] + last difference to last week, decaying
	TwoWeeks                        // mean of y[i-W], y[i-2W]
	Median14                        // median over 14 days
	MedianWeek                      // mean of Median5 and y[i-W]
	numCandidates
)

var candidateNames = [numCandidates]string{
	"yesterday", "median3", "median5", "half-level", "level", "median-residual", "last-four", "last-day", "last-value",
	"yesterday-drift", "yesterday-level", "increment", "last-week", "week-level", "week-drift", "two-weeks", "median14", "median-week",
}

// String returns the candidate's name.
func (c Candidate) String() string { return candidateNames[c] }

// Count is the number of candidates.
const Count = int(numCandidates)

// History holds what all origins of one series share. It is not safe for
// concurrent use.
type History struct {
	y       []float64 // NaN is missing
	period  int
	week    int
	from    int       // first index for which the profiles below are filled
	median3 []float64 // profile value for index i, made from the days before i; len(y)+period values
	median5 []float64
	med14   []float64
	resid   []float64 // y - median5, len(y) values
	ahead   []float64 // y[i] - median5[i+P]: against the profile that forecasts the next period
	daily   []float64 // y[i] - y[i-P], len(y) values
	weekly  []float64 // y[i] - y[i-W], len(y) values
	scratch []float64
	near    map[int][]tryout // tries by origin, of the near bands
	far     map[int][]tryout // and of the rest of the horizon
	arena   arena
}

// NewHistory prepares a series for forecasts from origins at or after the index
// earliest. Period is the number of steps in a season, a day unless told
// otherwise. Missing values are NaN.
func NewHistory(y []float64, period, earliest int) *History {
	h := &History{scratch: make([]float64, 0, max(period, 16)), near: map[int][]tryout{}, far: map[int][]tryout{}}
	h.Reset(y, period, earliest)
	return h
}

// Reset prepares for another series, reusing memory.
func (h *History) Reset(y []float64, period, earliest int) {
	n := len(y)
	h.y, h.period, h.week = y, period, 7*period
	clear(h.near)
	clear(h.far)
	h.arena.reset()
	// A level looks back one period from the origin.
	h.from = max(0, earliest-period)
	h.median3 = resize(h.median3, n+period)
	h.median5 = resize(h.median5, n+period)
	h.med14 = resize(h.med14, n+period)
	h.resid = resize(h.resid, n)
	h.ahead = resize(h.ahead, n)
	h.daily = resize(h.daily, n)
	h.weekly = resize(h.weekly, n)
	var buf [14]float64
	for i := h.from; i < n+period; i++ {
		k := 0
		for d := 1; d <= 14; d++ {
			j := i - d*period
			if j < 0 {
				break
			}
			if j >= n {
				continue
			}
			if v := y[j]; v == v {
				// Insertion keeps buf sorted, so that each median is a look-up.
				p := k
				for p > 0 && buf[p-1] > v {
					buf[p] = buf[p-1]
					p--
				}
				buf[p] = v
				k++
			}
			switch d {
			case 3:
				h.median3[i] = middle(buf[:k])
			case 5:
				h.median5[i] = middle(buf[:k])
			}
		}
		m := middle(buf[:k])
		days := i / period
		if days < 3 {
			h.median3[i] = m
		}
		if days < 5 {
			h.median5[i] = m
		}
		h.med14[i] = m
	}
	for _, profile := range [][]float64{h.median3, h.median5, h.med14} {
		bridge(profile[h.from:])
	}
	for i := h.from; i < n; i++ {
		h.resid[i] = y[i] - h.median5[i]
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
}

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

// medianOf returns the median of the values that are not missing.
func (h *History) medianOf(values []float64) float64 {
	s := h.scratch[:0]
	for _, v := range values {
		if v == v {
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
	daily1    float64 // newest difference to yesterday
	dailyFew  float64 // median difference to yesterday over the last 8 steps
	week1     float64 // newest difference to last week
	weekLevel float64 // median difference to last week over the last period
	median5   float64 // at the newest value, the profile that forecasts the next period
}

// Origin gathers what the candidates need at origin t.
func (h *History) Origin(t int) Origin {
	o := Origin{t: t}
	from4, fromP := max(h.from, t-4), max(h.from, t-h.period)
	o.last = h.lastValid(h.y, t, 4)
	o.lastFour = h.medianOf(h.y[from4:t])
	o.lastDay = h.medianOf(h.y[fromP:t])
	o.level = orZero(h.medianOf(h.ahead[fromP:t]))
	o.resid1 = orZero(h.lastValid(h.resid, t, 4))
	o.resid4 = orZero(h.medianOf(h.resid[from4:t]))
	o.week1 = orZero(h.lastValid(h.weekly, t, 4))
	o.weekLevel = orZero(h.medianOf(h.weekly[fromP:t]))
	o.daily1 = orZero(h.lastValid(h.daily, t, 4))
	o.dailyFew = orZero(h.medianOf(h.daily[max(h.from, t-8):t]))
	o.median5 = o.last - orZero(h.lastValid(h.ahead, t, 4))
	return o
}

func orZero(v float64) float64 {
	if v != v {
		return 0
	}
	return v
}

// decays of a residual over the horizon, in steps: 8 for a level, 3 for the
// newest value. Beyond 40 steps the slow one is below 1 %.
const maxDecay = 64

var slowDecay, fastDecay = decayTable(8), decayTable(3)

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

// At fills out with the candidates' forecasts for the step-th step ahead (0 is
// the origin itself). A candidate that the history does not allow is NaN.
func (h *History) At(o *Origin, step int, out *[Count]float64) {
	p := h.period
	// Beyond one period the first forecast period is repeated, so that nothing
	// at or after the origin is read.
	i := o.t + step%p
	slow, fast := decay(&slowDecay, step), decay(&fastDecay, step)
	y := h.y
	at := func(j int) float64 {
		if j < 0 || j >= o.t {
			return math.NaN()
		}
		return y[j]
	}
	m3, m5 := h.median3[i], h.median5[i]
	yesterday := at(i - p)
	if yesterday != yesterday {
		yesterday = m5
	}
	week, week2 := math.NaN(), math.NaN()
	if j := o.t + step - h.week; step < h.week {
		week, week2 = at(j), at(j-h.week)
		if week != week {
			week = week2
		}
	}
	out[Yesterday] = yesterday
	out[Median3] = m3
	out[Median5] = m5
	out[HalfLevel] = m5 + .5*o.level + (o.resid4-.5*o.level)*slow
	out[Level] = m5 + o.level + (o.resid4-o.level)*slow
	out[MedianResidual] = m5 + o.resid1*fast
	out[LastFour] = o.lastFour
	out[LastDay] = o.lastDay
	out[LastValue] = o.last
	out[YesterdayDrift] = yesterday + o.daily1*fast
	out[YesterdayLevel] = yesterday + o.dailyFew
	out[Increment] = o.last + m5 - o.median5
	out[LastWeek] = week
	out[WeekLevel] = week + o.weekLevel + (o.week1-o.weekLevel)*slow
	out[WeekDrift] = week + o.week1*fast
	out[TwoWeeks] = (week + week2) / 2
	out[Median14] = h.med14[i]
	out[MedianWeek] = (m5 + week) / 2
	for c, v := range out {
		if v < 0 {
			out[c] = 0
		}
	}
}

// Residuals returns how the newest values lie against the profile of the days
// before: the newest one, the median of the last four, and the median of the
// last period. What is not known is 0.
func (o *Origin) Residuals() (newest, lastFour, period float64) {
	return o.resid1, o.resid4, o.level
}

// Package hedge is the guard of the forecast: it mixes the network, the bank and
// seasonal naive by how wrong each has been of late about the very series, band
// by band, and widens or narrows the mixture until it covers what it promises.
//
// Errors are those of days that have passed: what each forecaster said, or would
// have said, from origins on that day, against what then happened. The trainer
// adds the newest day every night; a backtest adds the days before its window.
package hedge

import (
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/schemas"
)

// Names of the forecasters that are mixed, in the order of [Trial].
var names = [...]string{schemas.SeasonalNaive, schemas.Bank, schemas.Network}

const (
	ofNaive = iota
	ofBank
	ofNetwork
	count
)

const (
	// memory is what yesterday's errors count for beside today's.
	memory = 0.8
	// eagerness is how fast weight goes to the better one: a forecaster whose loss
	// has been one mean loss higher counts for exp(-eagerness) of the other. With
	// more of it, the mixture runs after what was right by chance
	// (Freund and Schapire, "A Decision-Theoretic Generalization of On-Line Learning
	// and an Application to Boosting", 1997).
	eagerness = 0.7
	// patience is on how many days in a row the network may be the worse before it
	// is left out.
	patience = 3
	// margin is by how much it must be the worse for that: with less, the best of
	// two others is better by chance on every second day.
	margin = 0.05
	// negligible is what a forecaster must count for to count at all: a hundredth of
	// one that is wrong spoils one that is exact, as any is of usage that never
	// changes.
	negligible = 0.02
	// adaption is how far the logarithm of a factor of the spread goes on a day with
	// twice as many misses as promised, or back on a day with none.
	adaption = 0.06
	// doubt is the logarithm of what the spread is multiplied with before any day
	// has shown whether it covers what it promises, and fading what is left of it
	// after each day that has: few days of history hold few of the errors to come
	// (chosen on histories of five days).
	doubt  = 0.4
	fading = 0.75
)

// confidence is what each forecaster counts for before anything is known of it on
// the series: what is right for all of them, on average, the network has learned.
var confidence = [count]float64{.005, .025, .97}

// Trial is what the forecasters said from one origin, and what happened.
type Trial struct {
	Naive, Bank, Network *schemas.Forecast // nil where one had no answer
	// Actual holds what happened, NaN where it was not measured. It may be shorter
	// than the forecasts.
	Actual []float64
}

func (t *Trial) made() [count]*schemas.Forecast {
	return [count]*schemas.Forecast{t.Naive, t.Bank, t.Network}
}

// Learn adds a day of trials to a record, which is nil in the beginning, and
// returns the new one. Bands are those of the forecasts' horizon. The old record
// is not changed.
func Learn(record []schemas.BandRecord, bands []schemas.Band, day []Trial) []schemas.BandRecord {
	out := make([]schemas.BandRecord, len(bands))
	for b, band := range bands {
		if b < len(record) {
			out[b] = record[b].Clone()
		}
		learn(&out[b], band, day)
	}
	return out
}

func learn(r *schemas.BandRecord, band schemas.Band, day []Trial) {
	var loss [count]float64
	var served tally
	n := 0
	for i := range day {
		t := &day[i]
		made := t.made()
		if slices.Contains(made[:], nil) {
			continue // only what can be compared
		}
		levels := t.Bank.Levels
		row := make([]float64, len(levels))
		m := newMixture(r, made)
		for step := band.First - 1; step < min(band.Last, len(t.Actual), t.Bank.Steps()); step++ {
			y := t.Actual[step]
			if y != y {
				continue
			}
			for f, forecast := range made {
				loss[f] += pinball(levels, forecast.Row(step), y)
			}
			m.row(made, step, row)
			m.spread(levels, row)
			served.add(levels, row, y)
			n++
		}
	}
	if n == 0 {
		return
	}
	mean := (loss[ofNaive] + loss[ofBank] + loss[ofNetwork]) / count
	if r.Loss == nil {
		r.Loss = map[string]float64{}
	}
	for f, name := range names {
		today := 1.0 // all are perfect
		if mean > 0 {
			today = loss[f] / mean
		}
		r.Loss[name] = memory*r.Loss[name] + today
	}
	r.Days++
	switch least := min(loss[ofNaive], loss[ofBank]); {
	case loss[ofNetwork] > (1+margin)*least:
		r.Lost++
	case loss[ofNetwork] < least || r.Lost < patience:
		r.Lost = 0
	}
	served.adapt(r)
}

// Weights returns what seasonal naive, the bank and the network count for in a
// band of the given record, where all of them have a forecast. They add up to 1.
func Weights(r *schemas.BandRecord) (weights [count]float64) {
	return weigh(r, [count]bool{true, true, true})
}

// weigh returns what those that are there count for.
func weigh(r *schemas.BandRecord, there [count]bool) (weights [count]float64) {
	for f, name := range names {
		if !there[f] {
			continue
		}
		weights[f] = confidence[f]
		if r != nil {
			weights[f] *= math.Exp(-eagerness * r.Loss[name])
		}
		if f == ofNetwork && r != nil && r.Lost >= patience {
			weights[f] = 0
		}
	}
	normalise(&weights)
	for f, w := range weights {
		if w < negligible {
			weights[f] = 0
		}
	}
	normalise(&weights)
	return weights
}

func normalise(weights *[count]float64) {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	for f := range weights {
		weights[f] /= sum
	}
}

// Describe returns what the forecasters count for in the next hour, after a record
// that may be nil.
func Describe(record []schemas.BandRecord, r schemas.Resource, of schemas.Statistic) schemas.Mixture {
	m := schemas.Mixture{Resource: r, Statistic: of, Weights: map[string]float64{}}
	var first *schemas.BandRecord
	if len(record) > 0 {
		first = &record[0]
		m.Days, m.Lost = first.Days, first.Lost
	}
	for f, w := range Weights(first) {
		m.Weights[names[f]] = w
	}
	return m
}

// Mix returns the mixture of the forecasts, of which the network's may be nil, and
// so may the record. Values and peaks have records of their own.
func Mix(t Trial, values, peaks []schemas.BandRecord) *schemas.Forecast {
	out := *t.Bank
	out.Values = mixAll(t.made(), values, t.Bank.Steps())
	out.Peaks = nil
	steps := t.Bank.PeakSteps()
	var made [count]*schemas.Forecast
	for f, forecast := range t.made() {
		if forecast != nil {
			if forecast.PeakSteps() < steps {
				continue
			}
			of := *forecast
			of.Values = forecast.Peaks[:steps*len(forecast.Levels)]
			made[f] = &of
		}
	}
	if steps > 0 {
		out.Peaks = mixAll(made, peaks, steps)
	}
	return &out
}

func mixAll(made [count]*schemas.Forecast, record []schemas.BandRecord, steps int) []float64 {
	levels, limit := made[ofBank].Levels, made[ofBank].Resource.Limit()
	values := make([]float64, 0, steps*len(levels))
	for b, band := range schemas.Bands(steps) {
		var r *schemas.BandRecord
		if b < len(record) {
			r = &record[b]
		}
		m := newMixture(r, made)
		for step := band.First - 1; step < band.Last; step++ {
			values = values[:len(values)+len(levels)]
			row := values[len(values)-len(levels):]
			m.row(made, step, row)
			m.spread(levels, row)
			for j, v := range row {
				row[j] = min(max(0, v), limit)
			}
			if !slices.IsSorted(row) { // seldom
				slices.Sort(row)
			}
		}
	}
	return values
}

// mixture is what a record makes of forecasts.
type mixture struct {
	weights      [count]float64
	lower, upper float64
	median       int // its level's index
}

func newMixture(r *schemas.BandRecord, made [count]*schemas.Forecast) mixture {
	var there [count]bool
	for f := range made {
		there[f] = made[f] != nil
	}
	lower, upper, days := 0.0, 0.0, 0
	if r != nil {
		lower, upper, days = r.Lower, r.Upper, r.Days
	}
	more := doubt * math.Pow(fading, float64(days))
	return mixture{weigh(r, there), math.Exp(lower + more), math.Exp(upper + more), middle(made[ofBank].Levels)}
}

// row fills row with the weighted means of the quantiles of a step.
func (m *mixture) row(made [count]*schemas.Forecast, step int, row []float64) {
	clear(row)
	for f, w := range m.weights {
		if w == 0 {
			continue
		}
		for j, v := range made[f].Row(step) {
			row[j] += w * v
		}
	}
}

// spread moves quantiles away from their median, or towards it.
func (m *mixture) spread(levels, row []float64) {
	median := row[m.median]
	for j, l := range levels {
		switch {
		case l < .5:
			row[j] = median + m.lower*(row[j]-median)
		case l > .5:
			row[j] = median + m.upper*(row[j]-median)
		}
	}
}

// middle returns the index of the level nearest to one half.
func middle(levels []float64) int {
	best := 0
	for j, l := range levels {
		if math.Abs(l-.5) < math.Abs(levels[best]-.5) {
			best = j
		}
	}
	return best
}

func pinball(levels, row []float64, y float64) float64 {
	sum := 0.0
	for j, l := range levels {
		e := y - row[j]
		sum += max(l*e, (l-1)*e)
	}
	return sum
}

// tally gathers how the mixture did on one day.
type tally struct {
	n            int
	lower, upper int    // below the quantile of 10 %, and above that of 90 %, as served
	below        [3]int // at or below the quantiles of 80, 90 and 95 %
}

var coverLevels = [3]float64{.8, .9, .95}

func (t *tally) add(levels, row []float64, y float64) {
	t.n++
	if low, ok := slices.BinarySearch(levels, .1); ok && y < row[low] {
		t.lower++
	}
	if high, ok := slices.BinarySearch(levels, .9); ok && y > row[high] {
		t.upper++
	}
	for k, l := range coverLevels {
		if j, ok := slices.BinarySearch(levels, l); ok && y <= row[j] {
			t.below[k]++
		}
	}
}

// adapt moves the factors of the spread: wider after a day that missed more often
// than promised, narrower after one that missed less often (Gibbs and Candes,
// "Adaptive Conformal Inference Under Distribution Shift", 2021, on the scale of
// the spread instead of the level). It notes the coverage.
func (t *tally) adapt(r *schemas.BandRecord) {
	r.Lower = adapted(r.Lower, float64(t.lower)/float64(t.n))
	r.Upper = adapted(r.Upper, float64(t.upper)/float64(t.n))
	for k := range r.Covered {
		r.Covered[k] = memory*r.Covered[k] + float64(t.below[k])
	}
	r.Steps = memory*r.Steps + float64(t.n)
}

// Bounds of the logarithm of a factor, and of what one day moves it.
const (
	leastFactor = -1
	mostFactor  = 1.5
	mostMove    = 0.25
)

func adapted(factor, missed float64) float64 {
	const promised = 0.05 // half of what is said, because drift comes on top of what the days before showed
	return max(leastFactor, min(mostFactor, factor+min(mostMove, adaption*(missed/promised-1))))
}

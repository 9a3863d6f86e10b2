package backtest

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
	"github.com/self-scaling/self-scaling/schemas"
)

func bandsOf(horizon int) []schemas.Band { return schemas.Bands(horizon) }

// spread turns a point forecast into quantiles with the spread of residuals
// around their median, so that the median stays the point. It sorts them.
func spread(past *schemas.Series, points, residuals []float64) *schemas.Forecast {
	levels := schemas.DefaultLevels()
	f := schemas.NewForecast(past, len(points), levels)
	slices.Sort(residuals)
	median := orderstat.Quantile(residuals, .5)
	for i, p := range points {
		row := f.Row(i)
		for j, l := range levels {
			offset := 0.0
			if len(residuals) > 0 {
				offset = orderstat.Quantile(residuals, l) - median
			}
			row[j] = max(0, p+offset)
		}
	}
	return f
}

// lastValue returns the newest value that was measured.
func lastValue(y []float64) (float64, bool) {
	for i := len(y) - 1; i >= 0; i-- {
		if y[i] == y[i] {
			return y[i], true
		}
	}
	return 0, false
}

// differences returns y[i] - y[i-lag].
func differences(y []float64, lag int) []float64 {
	var out []float64
	for i := lag; i < len(y); i++ {
		if d := y[i] - y[i-lag]; d == d {
			out = append(out, d)
		}
	}
	return out
}

// Naive forecasts the last value.
type Naive struct{}

// Name implements [Model].
func (Naive) Name() string { return NaiveName }

// Forecast implements [Model].
func (Naive) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	last, ok := lastValue(past.Mean)
	if !ok {
		return nil, false
	}
	points := make([]float64, steps)
	for i := range points {
		points[i] = last
	}
	return spread(past, points, differences(past.Mean, 1)), true
}

// Naive2 is the M4 competition's: the last value of the seasonally adjusted
// series, seasonal again, where the autocorrelation at the season is significant
// at 90 %; [Naive] elsewhere.
type Naive2 struct{ Season int }

// Name implements [Model].
func (Naive2) Name() string { return Naive2Name }

// Forecast implements [Model].
func (m Naive2) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	y := filled(past.Mean)
	if m.Season < 2 || len(y) < 3*m.Season || !seasonal(y, m.Season) {
		return Naive{}.Forecast(past, steps)
	}
	index, ok := seasonalIndices(y, m.Season)
	if !ok {
		return Naive{}.Forecast(past, steps)
	}
	n := len(y)
	level := y[n-1] / index[(n-1)%m.Season]
	points := make([]float64, steps)
	for i := range points {
		points[i] = level * index[(n+i)%m.Season]
	}
	return spread(past, points, differences(past.Mean, m.Season)), true
}

// filled bridges gaps linearly, and cuts those at the ends.
func filled(y []float64) []float64 {
	out := make([]float64, 0, len(y))
	gap := 0
	for _, v := range y {
		if v != v {
			gap++
			continue
		}
		if n := len(out); n > 0 {
			from := out[n-1]
			for k := 1; k <= gap; k++ {
				out = append(out, from+(v-from)*float64(k)/float64(gap+1))
			}
		}
		out, gap = append(out, v), 0
	}
	return out
}

// seasonal is the M4 competition's test for seasonality at 90 %.
func seasonal(y []float64, m int) bool {
	n := float64(len(y))
	mean := 0.0
	for _, v := range y {
		mean += v / n
	}
	acf := func(lag int) float64 {
		var num, den float64
		for i, v := range y {
			den += (v - mean) * (v - mean)
			if i >= lag {
				num += (v - mean) * (y[i-lag] - mean)
			}
		}
		if den == 0 {
			return 0
		}
		return num / den
	}
	sum := 0.0
	for lag := 1; lag < m; lag++ {
		r := acf(lag)
		sum += r * r
	}
	return math.Abs(acf(m)) > 1.645*math.Sqrt((1+2*sum)/n)
}

// seasonalIndices returns the multiplicative indices of a classical
// decomposition, by position in the season. It reports false where a value is
// not positive.
func seasonalIndices(y []float64, m int) ([]float64, bool) {
	sums, counts := make([]float64, m), make([]float64, m)
	for i := m / 2; i+m/2 < len(y); i++ {
		average := 0.0
		if m%2 == 0 {
			average = (y[i-m/2] + y[i+m/2]) / 2
			for k := i - m/2 + 1; k < i+m/2; k++ {
				average += y[k]
			}
		} else {
			for k := i - m/2; k <= i+m/2; k++ {
				average += y[k]
			}
		}
		average /= float64(m)
		if !(average > 0) || !(y[i] > 0) {
			return nil, false
		}
		sums[i%m] += y[i] / average
		counts[i%m]++
	}
	total := 0.0
	for i := range sums {
		if counts[i] == 0 {
			return nil, false
		}
		sums[i] /= counts[i]
		total += sums[i]
	}
	for i := range sums {
		sums[i] *= float64(m) / total
	}
	return sums, true
}

// SeasonalNaive forecasts that everything is as it was one season ago, under a
// name of the caller's: the season may be a day or a week.
type SeasonalNaive struct {
	Label  string
	Season int
}

// Name implements [Model].
func (m SeasonalNaive) Name() string { return m.Label }

// Forecast implements [Model].
func (m SeasonalNaive) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	y := past.Mean
	if len(y) < m.Season {
		return nil, false
	}
	points := make([]float64, steps)
	for i := range points {
		points[i] = math.NaN()
		// A gap is bridged by the same phase of the season before.
		for k := len(y) - m.Season + i%m.Season; k >= 0 && points[i] != points[i]; k -= m.Season {
			points[i] = y[k]
		}
		if points[i] != points[i] {
			return nil, false
		}
	}
	return spread(past, points, differences(y, m.Season)), true
}

// DayMedian forecasts, for each phase, the median of the last five seasons.
type DayMedian struct{ Season int }

// Name implements [Model].
func (DayMedian) Name() string { return "day-median" }

// Forecast implements [Model].
func (m DayMedian) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	h := bank.NewHistory(past.Mean, m.Season, 0)
	n := past.Len()
	if n < m.Season {
		return nil, false
	}
	forecasts := make([]float64, bank.Count*max(steps, m.Season))
	median := func(t, steps int) []float64 {
		o := h.Origin(t)
		h.Forecast(&o, 0, steps, forecasts)
		return forecasts[int(bank.Median5)*steps:][:steps]
	}
	points := slices.Clone(median(n, steps))
	if slices.ContainsFunc(points, math.IsNaN) {
		return nil, false
	}
	var residuals []float64
	for t := max(2*m.Season, n-5*m.Season); t+m.Season <= n; t += m.Season {
		for i, v := range median(t, m.Season) {
			if r := past.Mean[t+i] - v; r == r {
				residuals = append(residuals, r)
			}
		}
	}
	return spread(past, points, residuals), true
}

// HoltWinters is exponential smoothing with an additive season and no trend,
// ETS(A,N,A) (Hyndman et al., "Forecasting with Exponential Smoothing", 2008),
// its two parameters chosen from a grid by the squared error one step ahead.
type HoltWinters struct{ Season int }

// Name implements [Model].
func (HoltWinters) Name() string { return "holt-winters" }

// Forecast implements [Model].
func (m HoltWinters) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	y := filled(past.Mean)
	if len(y) < 2*m.Season {
		return nil, false
	}
	var level float64
	var season []float64
	least := math.Inf(1)
	var residuals []float64
	for _, alpha := range []float64{.02, .1, .3, .6, .9} {
		for _, gamma := range []float64{.02, .1, .3, .6} {
			l, s, sse, res := smooth(y, m.Season, alpha, gamma)
			if sse < least {
				least, level, season, residuals = sse, l, s, res
			}
		}
	}
	points := make([]float64, steps)
	for i := range points {
		points[i] = level + season[(len(y)+i)%m.Season]
	}
	return spread(past, points, residuals), true
}

func smooth(y []float64, m int, alpha, gamma float64) (level float64, season []float64, sse float64, residuals []float64) {
	season = make([]float64, m)
	for i := range m {
		level += y[i] / float64(m)
	}
	for i := range m {
		season[i] = y[i] - level
	}
	for i := m; i < len(y); i++ {
		e := y[i] - level - season[i%m]
		sse += e * e
		residuals = append(residuals, e)
		level += alpha * e
		season[i%m] += gamma * (1 - alpha) * e
	}
	return level, season, sse, residuals
}

// Recipe is the recipe of the system that this one replaces, by least squares: a
// piecewise linear trend with ten changepoints over the first 80 % of the
// history and Fourier terms of order six for the day and, from fourteen days on,
// of order three for the week. Its own package fits the same terms by gradient
// descent; test/neuralprophet runs that.
type Recipe struct{ Season int }

// Name implements [Model].
func (Recipe) Name() string { return "original-recipe" }

// Forecast implements [Model].
func (m Recipe) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	y := past.Mean
	n := len(y)
	weekly := n >= 14*m.Season
	width := 2 + 10 + 12
	if weekly {
		width += 6
	}
	if past.Valid() < width+m.Season {
		return nil, false
	}
	term := func(i int, row []float64) {
		t := float64(i) / float64(n)
		row[0], row[1] = 1, t
		for c := range 10 {
			row[2+c] = max(0, t-.8*float64(c+1)/11)
		}
		k := 12
		fourier := func(period, order int) {
			for j := 1; j <= order; j++ {
				s, c := math.Sincos(2 * math.Pi * float64(j) * float64(i) / float64(period))
				row[k], row[k+1] = s, c
				k += 2
			}
		}
		fourier(m.Season, 6)
		if weekly {
			fourier(7*m.Season, 3)
		}
	}
	// Normal equations with a little ridge, as the terms are nearly dependent.
	gram := mat.NewSymDense(width, nil)
	right := make([]float64, width)
	row := make([]float64, width)
	for i, v := range y {
		if v != v {
			continue
		}
		term(i, row)
		gram.SymRankOne(gram, 1, mat.NewVecDense(width, row))
		for j, x := range row {
			right[j] += x * v
		}
	}
	for j := range width {
		gram.SetSym(j, j, gram.At(j, j)+1e-6*float64(n))
	}
	var chol mat.Cholesky
	if !chol.Factorize(gram) {
		return nil, false
	}
	var beta mat.VecDense
	if err := chol.SolveVecTo(&beta, mat.NewVecDense(width, right)); err != nil {
		return nil, false
	}
	value := func(i int) float64 {
		term(i, row)
		return mat.Dot(&beta, mat.NewVecDense(width, row))
	}
	points := make([]float64, steps)
	for i := range points {
		points[i] = max(0, value(n+i))
	}
	var residuals []float64
	for i, v := range y {
		if v == v {
			residuals = append(residuals, v-value(i))
		}
	}
	return spread(past, points, residuals), true
}

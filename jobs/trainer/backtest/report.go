package backtest

import (
	"encoding/json"
	"math"
	"strconv"
)

// Names of the models that others are compared with.
const (
	NaiveName         = "naive"
	Naive2Name        = "naive2"
	SeasonalNaiveName = "seasonal-naive"
)

// Report is what all models came to.
type Report struct {
	Options Options
	Models  []string
	// TrainMillis is the training time of a model, per series; absent where it
	// has none.
	TrainMillis map[string]float64
	// PeakBytes is the most memory that the process held.
	PeakBytes int64

	results []result
	seen    map[int]bool // series with a window
}

func newReport(models []Model, o Options, windows int) *Report {
	r := &Report{Options: o, results: make([]result, windows), TrainMillis: map[string]float64{}, seen: map[int]bool{}}
	for _, m := range models {
		r.Models = append(r.Models, m.Name())
	}
	return r
}

// Series returns how many series had a window.
func (r *Report) Series() int { return len(r.seen) }

// Windows returns how many windows were measured.
func (r *Report) Windows() int {
	n := 0
	for i := range r.results {
		if r.results[i].ok {
			n++
		}
	}
	return n
}

// LeftOut returns how many windows could not be measured: their history was
// constant, or all but constant beside what came, or nothing was measured after it.
func (r *Report) LeftOut() int { return len(r.results) - r.Windows() }

// Metrics is what one model came to over all windows, in one band or over the
// whole horizon. A number that cannot be computed is NaN.
type Metrics struct {
	// MASE is the mean over windows of the mean absolute error over [Scale].
	MASE float64
	// SMAPE is the symmetric mean absolute percentage error, in percent, as the
	// M4 competition computes it: 200 |y - f| / (|y| + |f|).
	SMAPE float64
	// OWA is the mean of MASE and SMAPE, each over that of Naive2.
	OWA float64
	// RelMAE is the geometric mean over windows of the mean absolute error over
	// that of seasonal naive. RelLast is the same over the last value.
	RelMAE, RelLast float64
	// WorsePercent is the share of series whose mean absolute error over all their
	// windows is more than 5 % above seasonal naive's, and Worst the largest such
	// ratio.
	WorsePercent, Worst float64
	// SQLRel is the geometric mean over windows of the scaled quantile loss
	// (pinball loss of the nine deciles over [Scale]) over that of seasonal naive.
	SQLRel float64
	// WQL is the weighted quantile loss: twice the pinball loss, averaged over the
	// deciles, over the sum of |y|.
	WQL float64
	// Cover80, Cover90 and Cover95 are the shares of steps at or below the
	// quantile of that level.
	Cover80, Cover90, Cover95 float64
	// PredictMillis is the time of one forecast.
	PredictMillis float64
}

// ratioFloor, in units of MASE, is added to both sides of a ratio of errors:
// where both are next to nothing, neither is much better.
const ratioFloor = 0.005

// Band returns a model's metrics in one band of [schemas.Bands].
func (r *Report) Band(model string, band int) Metrics { return r.metrics(model, band) }

// Total returns a model's metrics over the whole horizon.
func (r *Report) Total(model string) Metrics {
	for i := range r.results {
		if r.results[i].ok {
			return r.metrics(model, len(r.results[i].models[0].bands)-1)
		}
	}
	return r.metrics(model, 0)
}

func (r *Report) index(model string) int {
	for i, m := range r.Models {
		if m == model {
			return i
		}
	}
	return -1
}

func (r *Report) metrics(model string, band int) Metrics {
	own, seasonal, last, second := r.index(model), r.index(SeasonalNaiveName), r.index(NaiveName), r.index(Naive2Name)
	own1, base1 := map[int]float64{}, map[int]float64{} // sums of scaled errors by series
	var mase, smape, mase2, smape2, logRel, logLast, logSQL, pinball, actual, millis float64
	var n, steps, b80, b90, b95 int
	for i := range r.results {
		res := &r.results[i]
		if !res.ok || own < 0 || res.models[own].bands[band].n == 0 {
			continue
		}
		s := &res.models[own].bands[band]
		k := float64(s.n)
		n++
		mase += s.absolute / k / s.scale
		smape += 100 * s.symmetric / k
		pinball += s.pinball
		actual += s.actual
		steps += s.n
		b80, b90, b95 = b80+s.below80, b90+s.below90, b95+s.below95
		millis += float64(res.models[own].took.Microseconds()) / 1000
		rel := func(other int) float64 {
			o := &res.models[other].bands[band]
			return (s.absolute/k/s.scale + ratioFloor) / (o.absolute/k/s.scale + ratioFloor)
		}
		if seasonal >= 0 {
			logRel += math.Log(rel(seasonal))
			o := &res.models[seasonal].bands[band]
			unit := k * s.scale
			own1[res.series] += s.absolute/unit + ratioFloor
			base1[res.series] += o.absolute/unit + ratioFloor
			// Over nine deciles, the mean loss is of the order of half the error.
			deciles := float64(len(deciles))
			logSQL += math.Log((s.pinball/deciles/unit + ratioFloor/2) / (o.pinball/deciles/unit + ratioFloor/2))
		}
		if last >= 0 {
			logLast += math.Log(rel(last))
		}
		if second >= 0 {
			o := &res.models[second].bands[band]
			mase2 += o.absolute / k / s.scale
			smape2 += 100 * o.symmetric / k
		}
	}
	c := float64(n)
	m := Metrics{
		MASE: mase / c, SMAPE: smape / c, PredictMillis: millis / c,
		WQL:     2 * pinball / float64(len(deciles)) / actual,
		Cover80: float64(b80) / float64(steps), Cover90: float64(b90) / float64(steps), Cover95: float64(b95) / float64(steps),
		OWA: math.NaN(), RelMAE: math.NaN(), RelLast: math.NaN(), WorsePercent: math.NaN(), Worst: math.NaN(), SQLRel: math.NaN(),
	}
	if seasonal >= 0 {
		m.RelMAE, m.SQLRel = math.Exp(logRel/c), math.Exp(logSQL/c)
		worse, worst := 0, math.NaN()
		for i, base := range base1 {
			x := own1[i] / base
			if !(x <= worst) { // no ratio is known before the first
				worst = x
			}
			if x > 1.05 {
				worse++
			}
		}
		m.Worst, m.WorsePercent = worst, 100*float64(worse)/float64(len(base1))
	}
	if last >= 0 {
		m.RelLast = math.Exp(logLast / c)
	}
	if second >= 0 {
		m.OWA = (mase/mase2 + smape/smape2) / 2
	}
	return m
}

// MarshalJSON gives the report as programs read it. What cannot be computed is
// null.
func (r *Report) MarshalJSON() ([]byte, error) {
	type coverage struct {
		P80 *float64 `json:"80"`
		P90 *float64 `json:"90"`
		P95 *float64 `json:"95"`
	}
	type metrics struct {
		MASE         *float64 `json:"mase"`
		SMAPE        *float64 `json:"smape"`
		OWA          *float64 `json:"owa"`
		RelMAE       *float64 `json:"relMAE"`
		RelLast      *float64 `json:"relLast"`
		WorsePercent *float64 `json:"worsePercent"`
		Worst        *float64 `json:"worst"`
		SQLRel       *float64 `json:"sqlRel"`
		WQL          *float64 `json:"wql"`
		Coverage     coverage `json:"coverage"`
	}
	type model struct {
		Name string `json:"name"`
		metrics
		Bands         map[string]metrics `json:"bands"`
		TrainMillis   *float64           `json:"trainMillisPerSeries"`
		PredictMillis *float64           `json:"predictMillisPerSeries"`
	}
	spell := func(m Metrics) metrics {
		return metrics{
			known(m.MASE), known(m.SMAPE), known(m.OWA), known(m.RelMAE), known(m.RelLast), known(m.WorsePercent), known(m.Worst),
			known(m.SQLRel), known(m.WQL), coverage{known(m.Cover80), known(m.Cover90), known(m.Cover95)},
		}
	}
	out := struct {
		Models    []model `json:"models"`
		Series    int     `json:"series"`
		Windows   int     `json:"windows"`
		PeakBytes int64   `json:"peakBytes"`
	}{Models: []model{}, Series: r.Series(), Windows: r.Windows(), PeakBytes: r.PeakBytes}
	for _, name := range r.Models {
		total := r.Total(name)
		m := model{Name: name, metrics: spell(total), Bands: map[string]metrics{}, PredictMillis: known(total.PredictMillis)}
		if v, ok := r.TrainMillis[name]; ok {
			m.TrainMillis = known(v)
		}
		for b, label := range r.BandLabels() {
			m.Bands[label] = spell(r.Band(name, b))
		}
		out.Models = append(out.Models, m)
	}
	return json.Marshal(out)
}

// BandLabels names the bands of the horizon, as in "1-4".
func (r *Report) BandLabels() []string {
	var labels []string
	for _, b := range bandsOf(r.Options.Horizon) {
		labels = append(labels, strconv.Itoa(b.First)+"-"+strconv.Itoa(b.Last))
	}
	return labels
}

func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

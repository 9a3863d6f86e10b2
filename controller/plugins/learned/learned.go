// Package learned holds the forecast plugins that learn: Bank, which weighs
// simple candidates by how each did of late on the very component, Network, which
// weighs them by what a trained network has seen on all of them, and Hedge, which
// mixes these two and seasonal naive by how they did over the last days. They
// leave their backtest errors for the plugins that score.
package learned

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

var (
	_ framework.ForecastPlugin = (*Bank)(nil)
	_ framework.ForecastPlugin = (*Network)(nil)
)

// Bank is the plugin of jobs/trainer/bank.
type Bank struct {
	season int
}

// NewBank returns the plugin. Season is the number of steps in a season, 0 for
// a day.
func NewBank(season int) *Bank { return &Bank{season: season} }

// Name returns "Bank".
func (*Bank) Name() string { return schemas.Bank }

// Forecast implements [framework.ForecastPlugin].
func (p *Bank) Forecast(_ context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	if status := climb(schemas.Bank, c, r, p.season); !status.IsSuccess() {
		return nil, status
	}
	a, status := analyse(state, c, r, steps, p.season)
	if !status.IsSuccess() {
		return nil, status
	}
	f, ok := a.forecast(nil)
	if !ok {
		return nil, framework.NewStatus(framework.Rejected, schemas.InsufficientData, fmt.Sprintf("the bank has no candidate for every step of %s", r))
	}
	errors := framework.BacktestErrors{}
	for b, w := range a.mean.Weights {
		if e, ok := a.bankError(b); ok {
			errors[w.Band] = e
		}
	}
	framework.WriteBacktestErrors(state, r, schemas.Bank, errors)
	return f, nil
}

// Network is the plugin of jobs/trainer/network.
type Network struct {
	season int
	models *Library
}

// NewNetwork returns the plugin with the models that it may use.
func NewNetwork(models *Library, season int) *Network {
	return &Network{season: season, models: models}
}

// Name returns "Network".
func (*Network) Name() string { return schemas.Network }

// Forecast implements [framework.ForecastPlugin].
func (p *Network) Forecast(_ context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	n, status := networkOf(state, p.models, c, r, steps, p.season)
	if !status.IsSuccess() {
		return nil, status
	}
	framework.WriteBacktestErrors(state, r, schemas.Network, n.errors)
	framework.WriteModel(state, schemas.Network, n.model.WeightsSum)
	return n.forecast, status
}

// answer is what the network says about one resource of a component.
type answer struct {
	analysis *analysis
	model    *schemas.Model
	forecast *schemas.Forecast
	errors   framework.BacktestErrors
}

type answerKey struct {
	resource schemas.Resource
}

// networkOf returns what the network says. The first that asks has it made, and
// the next finds it in the cycle state.
func networkOf(state *framework.CycleState, models *Library, c *framework.Candidate, r schemas.Resource, steps, season int) (*answer, *framework.Status) {
	shelf := models.find(c.Component, r)
	if shelf == nil || shelf.weights == nil {
		return nil, framework.NewStatus(framework.Rejected, schemas.NoForecast, "no trained network has been accepted yet")
	}
	s := c.Series[r]
	// The network that ships is for any step.
	if s != nil && shelf.model.Step != 0 && s.Step != shelf.model.Step {
		return nil, framework.NewStatus(framework.Rejected, schemas.NoForecast, fmt.Sprintf("the network was trained on steps of %s, but %s has %s", shelf.model.Step, r, s.Step))
	}
	if status := climb(schemas.Network, c, r, season); !status.IsSuccess() {
		return nil, status
	}
	a, status := analyse(state, c, r, steps, season)
	if !status.IsSuccess() {
		return nil, status
	}
	if v, ok := state.Read(answerKey{r}); ok {
		return v.(*answer), nil
	}
	f, ok := a.forecast(shelf.weights)
	if !ok {
		return nil, framework.NewStatus(framework.Rejected, schemas.NoForecast, fmt.Sprintf("the network has no finite answer for %s", r))
	}
	n := &answer{analysis: a, model: shelf.model, forecast: f, errors: framework.BacktestErrors{}}
	own := models.scores[seriesKey{c.Component, r, schemas.Mean}].errors
	peak := models.scores[seriesKey{c.Component, r, schemas.Peak}].errors
	for b, w := range a.mean.Weights {
		e, ok := a.bankError(b)
		if !ok {
			continue
		}
		ratio := shelf.ratioFor(own, b)
		if a.peaks != nil && b < len(a.peaks.Weights) {
			ratio = math.Sqrt(ratio * shelf.ratioFor(peak, b))
		}
		n.errors[w.Band] = e * ratio
	}
	state.WriteWorking(answerKey{r}, n)
	return n, nil
}

// analysis is what Bank and Network both need of one resource of a component.
// The first of them makes it and the other finds it in the cycle state.
type analysis struct {
	once   sync.Once
	status *framework.Status
	series *schemas.Series
	steps  int
	period int
	bank   *schemas.Forecast // nil until it is asked for
	mean   *network.Window
	peaks  *network.Window // nil where peaks are not known
	max    *schemas.Series
}

type analysisKey struct {
	resource schemas.Resource
}

func analyse(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps, season int) (*analysis, *framework.Status) {
	a := &analysis{}
	if v, ok := state.Read(analysisKey{r}); ok {
		a = v.(*analysis)
	} else {
		// Forecasts are made resource by resource: what the others were made from
		// is not needed any more, and a run has many components.
		for _, other := range schemas.Resources() {
			state.Delete(analysisKey{other})
			state.Delete(answerKey{other})
		}
		state.WriteWorking(analysisKey{r}, a)
	}
	a.once.Do(func() { a.status = a.prepare(c.Series[r], r, steps, season) })
	return a, a.status
}

func (a *analysis) prepare(s *schemas.Series, r schemas.Resource, steps, season int) *framework.Status {
	if s == nil || s.LastValid() < 0 {
		return framework.NewStatus(framework.Rejected, schemas.InsufficientData, fmt.Sprintf("%s was never measured", r))
	}
	measured := s.Measured()
	s = &measured
	a.series, a.steps = s, steps
	period := season
	if period == 0 {
		period = schemas.StepsPerDay(s.Step)
	}
	a.period = period
	var ok bool
	if a.mean, ok = window(s, period, steps); !ok {
		return framework.NewStatus(framework.Rejected, schemas.InsufficientData, fmt.Sprintf("%s has too few measured buckets to try the bank's candidates out", r))
	}
	if p, ok := network.Peaks(s); ok {
		if a.peaks, ok = window(p, period, min(steps, network.PeakHorizon)); ok {
			a.max = p
		}
	}
	return nil
}

// window prepares the forecast from the end of a series.
func window(s *schemas.Series, period, steps int) (*network.Window, bool) {
	h := bankHistories.Get().(*bank.History)
	defer bankHistories.Put(h)
	h.Reset(s.Mean, period, bank.Earliest(s.Len(), period))
	return network.NewWindow(h, s, period, s.Len(), steps, schemas.DefaultLevels())
}

var bankHistories = sync.Pool{New: func() any { return bank.NewHistory(nil, 1, 0) }}

var forecasters = sync.Pool{New: func() any { return network.NewForecaster(schemas.DefaultLevels()) }}

// forecast returns the forecast of the bank where weights is nil, else that of the
// network.
func (a *analysis) forecast(weights *network.Weights) (*schemas.Forecast, bool) {
	if weights == nil && a.bank != nil {
		return a.bank, true
	}
	f, ok := a.make(weights)
	if weights == nil && ok {
		a.bank = f
	}
	return f, ok
}

func (a *analysis) make(weights *network.Weights) (*schemas.Forecast, bool) {
	fc := forecasters.Get().(*network.Forecaster)
	defer forecasters.Put(fc)
	f, ok := fc.Forecast(a.mean, a.series, a.steps, weights)
	if !ok || a.peaks == nil {
		return f, ok
	}
	p, ok := fc.Forecast(a.peaks, a.max, min(a.steps, network.PeakHorizon), weights)
	if !ok {
		return f, true
	}
	f.Peaks = p.Values
	return f, true
}

// bankError returns the bank's backtest error over that of its baseline in one
// band, of the means and, where they are known, of the peaks.
func (a *analysis) bankError(band int) (float64, bool) {
	e, ok := relative(&a.mean.Weights[band])
	if ok && a.peaks != nil && band < len(a.peaks.Weights) {
		if p, ok := relative(&a.peaks.Weights[band]); ok {
			e = (e + p) / 2
		}
	}
	return e, ok
}

func relative(w *bank.BandWeights) (float64, bool) {
	switch {
	case w.Loss != w.Loss || w.BaselineLoss != w.BaselineLoss:
		return 0, false
	case w.BaselineLoss > 0:
		return w.Loss / w.BaselineLoss, true
	case w.Loss == 0:
		return 1, true // both are perfect
	}
	return 0, false
}

// Factories returns the plugins of this package by name, to be registered by a
// program. Neither takes arguments.
func Factories(models *Library, season int) runtime.Registry {
	none := func(args []byte) error {
		var empty struct{}
		return framework.DecodeArgs(args, &empty)
	}
	return runtime.Registry{
		schemas.Bank:    func(args []byte) (framework.Plugin, error) { return NewBank(season), none(args) },
		schemas.Hedge:   func(args []byte) (framework.Plugin, error) { return NewHedge(models, season), none(args) },
		schemas.Network: func(args []byte) (framework.Plugin, error) { return NewNetwork(models, season), none(args) },
	}
}

package learned

import (
	"context"
	"fmt"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/hedge"
	"github.com/self-scaling/self-scaling/schemas"
)

var _ framework.ForecastPlugin = (*Hedge)(nil)

// Hedge is the plugin of jobs/trainer/hedge: it mixes SeasonalNaive, Bank and
// Network by how each did over the last days on the very series.
type Hedge struct {
	season int
	models *Library
}

// NewHedge returns the plugin with the models whose records it may use.
func NewHedge(models *Library, season int) *Hedge { return &Hedge{season: season, models: models} }

// Name returns "Hedge".
func (*Hedge) Name() string { return schemas.Hedge }

// Forecast implements [framework.ForecastPlugin]. Without a network there is
// nothing to guard: then the best of the others is believed.
func (p *Hedge) Forecast(_ context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	n, status := networkOf(state, p.models, c, r, steps, p.season)
	if !status.IsSuccess() {
		return nil, status
	}
	none := func() (*schemas.Forecast, *framework.Status) {
		return nil, framework.NewStatus(framework.Rejected, schemas.NoForecast, fmt.Sprintf("the forecasts of %s to be mixed are not all there", r))
	}
	a := n.analysis
	t := hedge.Trial{Network: n.forecast}
	var ok bool
	if t.Bank, ok = a.forecast(nil); !ok {
		return none()
	}
	if t.Naive, ok = bank.SeasonalNaive(a.series, a.period, a.series.Len(), steps, schemas.DefaultLevels()); !ok {
		return none()
	}
	values, peaks := p.models.record(state, c.Component, r)
	f := hedge.Mix(t, values, peaks)
	mixtures := []schemas.Mixture{hedge.Describe(values, r, schemas.Mean)}
	if f.PeakSteps() > 0 {
		mixtures = append(mixtures, hedge.Describe(peaks, r, schemas.Peak))
	}
	framework.WriteMixtures(state, r, schemas.Hedge, mixtures)
	// The mixture is believed wherever one of its parts would be.
	errors := framework.BacktestErrors{}
	for b, w := range a.mean.Weights {
		least := 1.0
		if e, ok := a.bankError(b); ok {
			least = min(least, e)
		}
		errors[w.Band] = hedged * min(least, n.errors[w.Band])
	}
	framework.WriteBacktestErrors(state, r, schemas.Hedge, errors)
	framework.WriteModel(state, schemas.Hedge, n.model.WeightsSum)
	return f, framework.NewStatus(framework.Success, "", "")
}

// hedged is what a mixture's error is taken for, over the least of its parts'.
const hedged = 0.99

type recordKey struct {
	resource schemas.Resource
}

type records struct{ values, peaks []schemas.BandRecord }

// WriteRecord leaves a record of the means and one of the peaks of a resource for
// the plugin Hedge, which then does not look for those of the accepted model.
func WriteRecord(state *framework.CycleState, r schemas.Resource, values, peaks []schemas.BandRecord) {
	state.Write(recordKey{r}, records{values, peaks})
}

// record returns the records of a series, nil where there are none.
func (l *Library) record(state *framework.CycleState, c schemas.ComponentID, r schemas.Resource) (values, peaks []schemas.BandRecord) {
	if v, ok := state.Read(recordKey{r}); ok {
		kept := v.(records)
		return kept.values, kept.peaks
	}
	return l.scores[seriesKey{c, r, schemas.Mean}].record, l.scores[seriesKey{c, r, schemas.Peak}].record
}

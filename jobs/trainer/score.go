package trainer

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/hedge"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// key names one thing that is forecast.
type key struct {
	component schemas.ComponentID
	resource  schemas.Resource
	statistic schemas.Statistic
}

// score judges every forecaster on the newest steps of each series, and goes on
// with the record of how those that were served did. Weights may be nil, and so may
// served, those of the network that made the forecasts of the newest day.
func (s *sampler) score(ctx context.Context, targets []target, weights, served *network.Weights, before *schemas.Model) ([]schemas.SeriesScore, error) {
	scores := make([]schemas.SeriesScore, len(targets))
	records := map[key][]schemas.BandRecord{}
	until := time.Time{}
	if before != nil {
		until = before.To
		for _, sc := range before.Scores {
			records[key{sc.Component, sc.Resource, sc.Statistic}] = sc.Record
		}
	}
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for k := range workers {
		g.Go(func() error {
			f := network.NewForecaster(s.levels)
			h := bank.NewHistory(nil, 1, 0)
			for i := k; i < len(targets); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				t := targets[i]
				scores[i] = s.scoreTarget(f, h, t, weights, served, records[key{t.series.Component, t.series.Resource, t.statistic}], until)
			}
			return nil
		})
	}
	return scores, g.Wait()
}

func (s *sampler) scoreTarget(f *network.Forecaster, h *bank.History, t target, weights, served *network.Weights, record []schemas.BandRecord, until time.Time) schemas.SeriesScore {
	y := t.series
	score := schemas.SeriesScore{Component: y.Component, Resource: y.Resource, Statistic: t.statistic, Errors: map[string][]*schemas.BandError{}}
	if y.Len() < s.holdout+s.period {
		return score
	}
	bands := schemas.Bands(t.horizon)
	h.Reset(y.Mean, s.period, y.Len()-2*(hedge.Days+1)*s.period)
	days := hedge.Replay(f, h, y, s.period, y.Len(), t.horizon, s.levels, weights, served)
	for name, of := range map[string]func(*hedge.Trial) *schemas.Forecast{
		schemas.SeasonalNaive: func(t *hedge.Trial) *schemas.Forecast { return t.Naive },
		schemas.Bank:          func(t *hedge.Trial) *schemas.Forecast { return t.Bank },
		schemas.Network:       func(t *hedge.Trial) *schemas.Forecast { return t.Network },
	} {
		errs, known := make([]*schemas.BandError, len(bands)), false
		for b, band := range bands {
			var sum tally
			for i := range days[0] {
				trial := &days[0][i]
				forecast := of(trial)
				if forecast == nil {
					continue
				}
				for step := band.First - 1; step < min(band.Last, len(trial.Actual)); step++ {
					if actual := trial.Actual[step]; actual == actual {
						sum.add(s.levels, forecast.Row(step), actual)
					}
				}
			}
			errs[b] = sum.bandError()
			known = known || errs[b] != nil
		}
		if known {
			score.Errors[name] = errs
		}
	}
	switch {
	case served == nil:
	case record == nil:
		score.Record = hedge.Begin(f, h, y, s.period, y.Len(), t.horizon, served, s.levels)
	case y.End().Sub(until) < y.Step*time.Duration(s.period)/2:
		score.Record = record // that day is in it
	default:
		score.Record = hedge.Learn(record, bands, days[1])
	}
	return score
}

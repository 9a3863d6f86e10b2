package trainer

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// score judges every forecaster on the newest steps of each series. Weights may
// be nil.
func (s *sampler) score(ctx context.Context, targets []target, weights *network.Weights) ([]schemas.SeriesScore, error) {
	scores := make([]schemas.SeriesScore, len(targets))
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for k := range workers {
		g.Go(func() error {
			var f *network.Forecaster
			h := bank.NewHistory(nil, 1, 0)
			for i := k; i < len(targets); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if f == nil {
					f = network.NewForecaster(s.levels)
				}
				scores[i] = s.scoreTarget(f, h, targets[i], weights)
			}
			return nil
		})
	}
	return scores, g.Wait()
}

func (s *sampler) scoreTarget(f *network.Forecaster, h *bank.History, t target, weights *network.Weights) schemas.SeriesScore {
	y := t.series
	bands := schemas.Bands(t.horizon)
	names := []string{schemas.SeasonalNaive, schemas.Bank, schemas.Network}
	tallies := make(map[string][]tally, len(names))
	for _, n := range names {
		tallies[n] = make([]tally, len(bands))
	}
	h.Reset(y.Mean, s.period, 0)
	for _, at := range s.holdoutOrigins(y.Len()) {
		steps := min(t.horizon, y.Len()-at)
		made := map[string]*schemas.Forecast{}
		if sf, ok := bank.SeasonalNaive(y, s.period, at, steps, s.levels); ok {
			made[schemas.SeasonalNaive] = sf
		}
		if w, ok := network.NewWindow(h, y, s.period, at, t.horizon, s.levels); ok {
			if bf, ok := f.Forecast(w, y, steps, nil); ok {
				made[schemas.Bank] = bf
			}
			if weights != nil {
				if nf, ok := f.Forecast(w, y, steps, weights); ok {
					made[schemas.Network] = nf
				}
			}
		}
		for step := range steps {
			actual := y.Mean[at+step]
			if actual != actual {
				continue
			}
			for b, band := range bands {
				if step+1 < band.First || step+1 > band.Last {
					continue
				}
				for n, fc := range made {
					tallies[n][b].add(s.levels, fc.Row(step), actual)
				}
			}
		}
	}
	score := schemas.SeriesScore{Component: y.Component, Resource: y.Resource, Statistic: t.statistic, Errors: map[string][]*schemas.BandError{}}
	for n, tally := range tallies {
		errs, any := make([]*schemas.BandError, len(bands)), false
		for b := range tally {
			errs[b] = tally[b].bandError()
			any = any || errs[b] != nil
		}
		if any {
			score.Errors[n] = errs
		}
	}
	return score
}

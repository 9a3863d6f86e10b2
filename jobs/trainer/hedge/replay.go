package hedge

import (
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// From how many origins of a day the bands of the next hours are tried: of the
// newest day, which is judged, and of each of those that a record is begun with.
// The rest of the horizon is tried from the first of them.
const (
	judgedTrials = 4
	begunTrials  = 2
)

// Replay returns, for each network, what the forecasters would have said on the
// day before index at of a series, and what happened. History must have been made
// from the series and reach back a fortnight before that day. Of weights that are
// nil there is no forecast. Forecasts are made with f.
func Replay(f *network.Forecaster, h *bank.History, s *schemas.Series, period, at, horizon int, levels []float64, weights ...*network.Weights) [][]Trial {
	return replay(judgedTrials, f, h, s, period, at, horizon, levels, weights...)
}

func replay(trials int, f *network.Forecaster, h *bank.History, s *schemas.Series, period, at, horizon int, levels []float64, weights ...*network.Weights) [][]Trial {
	days := make([][]Trial, len(weights))
	for k := range trials {
		origin, steps := at-period+k*period/trials, min(horizon, schemas.NearSteps)
		if k == 0 {
			steps = horizon
		}
		if origin < period {
			continue
		}
		t := Trial{Actual: s.Mean[origin:min(at, origin+steps)]}
		t.Naive, _ = bank.SeasonalNaive(s, period, origin, steps, levels)
		w, ok := network.NewWindow(h, s, period, origin, steps, levels)
		if ok {
			t.Bank, _ = f.Forecast(w, s, steps, nil)
		}
		for i := range weights {
			t.Network = nil
			if ok && weights[i] != nil {
				t.Network, _ = f.Forecast(w, s, steps, weights[i])
			}
			days[i] = append(days[i], t)
		}
	}
	return days
}

// Days is how many days a record is begun with.
const Days = 7

// Begin returns the record of the last days before index at, each replayed with
// the same weights. History must have been made from the series and reach back
// three weeks. It is nil where nothing can be compared. Days with less than
// minHistory periods before them are not replayed: what was right then is not
// what is right now.
func Begin(f *network.Forecaster, h *bank.History, s *schemas.Series, period, at, horizon int, weights *network.Weights, levels []float64) []schemas.BandRecord {
	if weights == nil {
		return nil
	}
	var record []schemas.BandRecord
	bands := schemas.Bands(horizon)
	for d := Days - 1; d >= 0; d-- {
		if end := at - d*period; end-period >= minHistory*period {
			record = Learn(record, bands, replay(begunTrials, f, h, s, period, end, horizon, levels, weights)[0])
		}
	}
	return record
}

const minHistory = 3

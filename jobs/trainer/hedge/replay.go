package hedge

import (
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// nearTrials is from how many origins of a day the bands of the next hours are
// tried. The rest of the horizon is tried from the first of them.
const nearTrials = 4

// nearSteps is where the far band begins.
const nearSteps = 16

// Replay returns what the forecasters would have said on the day before index at
// of a series, and what happened. History must have been made from the series and
// reach back a fortnight before that day. Weights may be nil. Forecasts are made
// with f.
func Replay(f *network.Forecaster, h *bank.History, s *schemas.Series, period, at, horizon int, weights *network.Weights, levels []float64) []Trial {
	var day []Trial
	for k := range nearTrials {
		origin, steps := at-period+k*period/nearTrials, min(horizon, nearSteps)
		if k == 0 {
			steps = horizon
		}
		if origin < period {
			continue
		}
		w, ok := network.NewWindow(h, s, period, origin, steps, levels)
		if !ok {
			continue
		}
		t := Trial{Actual: s.Mean[origin:min(at, origin+steps)]}
		if t.Naive, ok = bank.SeasonalNaive(s, period, origin, steps, levels); !ok {
			continue
		}
		if t.Bank, ok = f.Forecast(w, s, steps, nil); !ok {
			continue
		}
		if t.Network, ok = f.Forecast(w, s, steps, weights); !ok {
			continue
		}
		day = append(day, t)
	}
	return day
}

// Days is how many days a record is begun with.
const Days = 7

// Begin returns the record of the last days before index at, each replayed with
// the same weights. History must have been made from the series and reach back
// three weeks. It is nil where nothing can be compared.
func Begin(f *network.Forecaster, h *bank.History, s *schemas.Series, period, at, horizon int, weights *network.Weights, levels []float64) []schemas.BandRecord {
	if weights == nil {
		return nil
	}
	var record []schemas.BandRecord
	bands := schemas.Bands(horizon)
	for d := Days - 1; d >= 0; d-- {
		if day := Replay(f, h, s, period, at-d*period, horizon, weights, levels); len(day) > 0 {
			record = Learn(record, bands, day)
		}
	}
	return record
}

package hedge_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/hedge"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/footprint"
)

const day = 96

var bands = schemas.Bands(day)

func series(y []float64) *schemas.Series {
	return &schemas.Series{
		Component: schemas.ComponentID{Service: "shop", Component: "web"}, Resource: schemas.CPU,
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: 15 * time.Minute, Mean: y,
	}
}

// around returns a day's forecast whose median is the value given, and whose
// quantiles are those of a uniform distribution of the given width.
func around(value, width float64) *schemas.Forecast {
	f := schemas.NewForecast(series(nil), day, schemas.DefaultLevels())
	for i := range day {
		for j, l := range f.Levels {
			f.Row(i)[j] = max(0, value+(l-.5)*width)
		}
	}
	return f
}

// after returns the record after days on which the forecasts were the ones
// given, and usage was uniform around 10.
func after(days int, t hedge.Trial, width float64) []schemas.BandRecord {
	rng := rand.New(rand.NewPCG(1, 1))
	var record []schemas.BandRecord
	for range days {
		t.Actual = make([]float64, day)
		for i := range t.Actual {
			t.Actual[i] = 10 + (rng.Float64()-.5)*width
		}
		record = hedge.Learn(record, bands, []hedge.Trial{t})
	}
	return record
}

func TestWeightGoesToTheBetterOne(t *testing.T) {
	good, bad := around(10, 2), around(14, 2)
	for name, tt := range map[string]struct {
		trial hedge.Trial
		days  int
		check func(naive, bank, network float64) bool
	}{
		"before anything is known the network is believed":  {hedge.Trial{Naive: good, Bank: good, Network: good}, 0, func(_, _, n float64) bool { return n > .9 }},
		"a network as good as the others goes on being":     {hedge.Trial{Naive: good, Bank: good, Network: good}, 9, func(_, _, n float64) bool { return n > .9 }},
		"a network that is better gains":                    {hedge.Trial{Naive: bad, Bank: bad, Network: good}, 3, func(_, _, n float64) bool { return n > .99 }},
		"those that count for next to nothing are left out": {hedge.Trial{Naive: bad, Bank: bad, Network: good}, 5, func(s, b, n float64) bool { return s == 0 && b == 0 && n == 1 }},
		"one that is worse for two days keeps some":         {hedge.Trial{Naive: bad, Bank: good, Network: bad}, 2, func(_, _, n float64) bool { return n > 0 && n < .9 }},
		"one that is worse for three days has none":         {hedge.Trial{Naive: bad, Bank: good, Network: bad}, 3, func(_, b, n float64) bool { return n == 0 && b > .9 }},
		"seasonal naive is there when both are wrong":       {hedge.Trial{Naive: good, Bank: bad, Network: bad}, 9, func(s, _, n float64) bool { return n == 0 && s > .5 }},
	} {
		t.Run(name, func(t *testing.T) {
			record := after(tt.days, tt.trial, 2)
			for b := range bands {
				var r *schemas.BandRecord
				if b < len(record) {
					r = &record[b]
				}
				w := hedge.Weights(r)
				if !tt.check(w[0], w[1], w[2]) || math.Abs(w[0]+w[1]+w[2]-1) > 1e-9 {
					t.Errorf("band %d: weights %v of record %+v", b, w, r)
				}
			}
		})
	}
}

func TestANetworkComesBackOnceItWins(t *testing.T) {
	good, bad := around(10, 2), around(14, 2)
	record := after(4, hedge.Trial{Naive: bad, Bank: good, Network: bad}, 2)
	actual := make([]float64, day)
	for i := range actual {
		actual[i] = 10
	}
	won := hedge.Learn(record, bands, []hedge.Trial{{Naive: bad, Bank: bad, Network: good, Actual: actual}})
	if w := hedge.Weights(&won[0]); !(w[2] > 0) {
		t.Errorf("weights %v after a day that the network won", w)
	}
	if w := hedge.Weights(&record[0]); w[2] != 0 {
		t.Errorf("learning changed the record before: weights %v", w)
	}
}

func TestTheSpreadFollowsTheCoverage(t *testing.T) {
	f := around(10, 2)
	for name, tt := range map[string]struct {
		width float64
		check func(lower, upper float64) bool
	}{
		"usage that varies more than was said widens it":   {6, func(l, u float64) bool { return l > .3 && u > .3 }},
		"usage that varies less narrows it":                {.5, func(l, u float64) bool { return l < -.2 && u < -.2 }},
		"usage that varies as was said leaves it as it is": {2, func(l, u float64) bool { return math.Abs(l) < .25 && math.Abs(u) < .25 }},
	} {
		t.Run(name, func(t *testing.T) {
			for b, r := range after(14, hedge.Trial{Naive: f, Bank: f, Network: f}, tt.width) {
				if !tt.check(r.Lower, r.Upper) {
					t.Errorf("band %d: factors e^%.2f and e^%.2f", b, r.Lower, r.Upper)
				}
				if !(r.Steps > 0) || !(r.Covered[0] <= r.Covered[1] && r.Covered[1] <= r.Covered[2] && r.Covered[2] <= r.Steps) {
					t.Errorf("band %d: coverage %v of %v", b, r.Covered, r.Steps)
				}
			}
		})
	}
}

func TestTheSpreadIsWiderUntilDaysHaveShownItsCoverage(t *testing.T) {
	f := around(10, 2)
	trial := hedge.Trial{Naive: f, Bank: f, Network: f}
	spread := func(days int) float64 {
		var record []schemas.BandRecord
		if days > 0 {
			for range bands {
				record = append(record, schemas.BandRecord{Days: days})
			}
		}
		m := hedge.Mix(trial, record, nil)
		return (m.At(0, .9) - m.At(0, .1)) / (f.At(0, .9) - f.At(0, .1))
	}
	last := math.Inf(1)
	for _, days := range []int{0, 1, 2, 5, 20} {
		s := spread(days)
		if !(s < last) || !(s > 1) {
			t.Errorf("after %d days the spread is %.3f of what was said, want more than 1 and less than before (%.3f)", days, s, last)
		}
		last = s
	}
	if !(spread(0) > 1.3) || !(spread(20) < 1.01) {
		t.Errorf("the spread begins with %.3f of what was said and ends with %.3f", spread(0), spread(20))
	}
}

func TestAForecasterThatIsLeftOutStepsInForThoseThatAreMissing(t *testing.T) {
	good, bad := around(10, 2), around(14, 2)
	record := after(5, hedge.Trial{Naive: bad, Bank: bad, Network: good}, 2)
	m := hedge.Mix(hedge.Trial{Naive: bad, Bank: bad}, record, nil)
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := m.At(0, .5); math.Abs(got-14) > 1e-9 {
		t.Errorf("without the network the median is %v, want the others' 14", got)
	}
}

func TestMixturesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *schemas.Forecast {
			f := around(rapid.Float64Range(0, 1e3).Draw(t, name), rapid.Float64Range(0, 1e3).Draw(t, name+" width"))
			f.Peaks = f.Values[:16*len(f.Levels)]
			return f
		}
		trial := hedge.Trial{Naive: draw("naive"), Bank: draw("bank"), Network: draw("network")}
		if rapid.Bool().Draw(t, "without network") {
			trial.Network = nil
		}
		var record []schemas.BandRecord
		if rapid.Bool().Draw(t, "with a record") {
			for range bands {
				record = append(record, schemas.BandRecord{
					Loss: map[string]float64{schemas.Network: rapid.Float64Range(0, 15).Draw(t, "loss")},
					Lost: rapid.IntRange(0, 5).Draw(t, "lost"), Lower: rapid.Float64Range(-1, 1.5).Draw(t, "lower"), Upper: rapid.Float64Range(-1, 1.5).Draw(t, "upper"),
				})
			}
		}
		f := hedge.Mix(trial, record, record)
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		if f.Steps() != day || f.PeakSteps() != 16 {
			t.Errorf("%d steps and %d peaks", f.Steps(), f.PeakSteps())
		}
	})
}

func TestNothingMeasuredTeachesNothing(t *testing.T) {
	f := around(10, 2)
	record := after(3, hedge.Trial{Naive: f, Bank: f, Network: f}, 2)
	missing := make([]float64, day)
	for i := range missing {
		missing[i] = math.NaN()
	}
	for name, trial := range map[string]hedge.Trial{
		"a day without measurements": {Naive: f, Bank: f, Network: f, Actual: missing},
		"a day without the network":  {Naive: f, Bank: f, Actual: make([]float64, day)},
	} {
		if diff := cmp.Diff(record, hedge.Learn(record, bands, []hedge.Trial{trial})); diff != "" {
			t.Errorf("%s changed the record (-before +after):\n%s", name, diff)
		}
	}
}

func TestReplayedForecastsSeeNothingOfTheirDay(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	y := make([]float64, 12*day)
	for i := range y {
		y[i] = 3 + math.Sin(2*math.Pi*float64(i)/day) + .2*rng.NormFloat64()
	}
	replay := func(y []float64) []hedge.Trial {
		h := bank.NewHistory(y, day, len(y)-10*day)
		f := network.NewForecaster(schemas.DefaultLevels())
		return hedge.Replay(f, h, series(y), day, len(y), day, schemas.DefaultLevels(), network.New(schemas.DefaultLevels(), 2, rng.NormFloat64))[0]
	}
	before := replay(y)
	changed := append([]float64(nil), y...)
	for i := 11 * day; i < len(y); i++ {
		changed[i] = 100
	}
	if len(before) == 0 {
		t.Fatal("no trials")
	}
	// The first origin lies at the beginning of the day.
	for name, pair := range map[string][2]*schemas.Forecast{
		"naive": {before[0].Naive, replay(changed)[0].Naive}, "bank": {before[0].Bank, replay(changed)[0].Bank}, "network": {before[0].Network, replay(changed)[0].Network},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s depends on the day that it forecasts:\n%s", name, diff)
		}
	}
	// Later ones are judged on what is known by its end.
	if last := before[len(before)-1]; len(last.Actual) == 0 || len(last.Actual) > day {
		t.Errorf("%d steps are judged from the last origin", len(last.Actual))
	}
}

// BenchmarkServe is what one resource of a component takes in a run of inference,
// from its usage to the quantiles of the next day: the candidates, their backtests,
// the network, seasonal naive and the mixture, one component after the other in the
// memory of the one before. With peaks, the highest readings of the first hours are
// forecast as well. Of cpu-ns/op, the processor's time, other processes take nothing.
func BenchmarkServe(b *testing.B) {
	for _, tc := range []struct {
		name  string
		days  int
		peaks bool
	}{{"5 days", 5, false}, {"14 days", 14, false}, {"28 days", 28, false}, {"28 days and peaks", 28, true}} {
		b.Run(tc.name, func(b *testing.B) {
			levels := schemas.DefaultLevels()
			weights := pretrained.Weights()
			rng := rand.New(rand.NewPCG(3, 3))
			var all []*schemas.Series
			for range 16 {
				y, wander := make([]float64, tc.days*day), 0.0
				for i := range y {
					wander += .02*rng.NormFloat64() - .01*wander
					y[i] = 3 + math.Sin(2*math.Pi*float64(i)/day) + wander + .2*rng.NormFloat64()
				}
				s := series(y)
				if tc.peaks {
					for _, v := range y {
						s.Max = append(s.Max, v+math.Abs(.5*rng.NormFloat64()))
					}
				}
				all = append(all, s)
			}
			h, f := bank.NewHistory(nil, 1, 0), network.NewForecaster(levels)
			forecast := func(s *schemas.Series, steps int) (byBank, byNetwork *schemas.Forecast) {
				h.Reset(s.Mean, day, bank.Earliest(s.Len(), day))
				w, ok := network.NewWindow(h, s, day, s.Len(), steps, levels)
				if !ok {
					b.Fatal("no window")
				}
				byBank, _ = f.Forecast(w, s, steps, nil)
				byNetwork, _ = f.Forecast(w, s, steps, weights)
				return byBank, byNetwork
			}
			b.ReportAllocs()
			before := footprint.Used(b)
			for i := 0; b.Loop(); i++ {
				s := all[i%len(all)]
				var t hedge.Trial
				t.Bank, t.Network = forecast(s, day)
				if peaks, ok := network.Peaks(s); ok {
					byBank, byNetwork := forecast(peaks, network.PeakHorizon)
					t.Bank.Peaks, t.Network.Peaks = byBank.Values, byNetwork.Values
				}
				t.Naive, _ = bank.SeasonalNaive(s, day, s.Len(), day, levels)
				hedge.Mix(t, nil, nil)
			}
			b.ReportMetric(float64(footprint.Used(b).Processor-before.Processor)/float64(b.N), "cpu-ns/op")
		})
	}
}

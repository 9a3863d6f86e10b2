package trainer_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
)

const day = 96

// component returns a history of the given days whose CPU usage follows value,
// with peaks a fifth above the mean.
func component(name string, days float64, value func(i int, rng *rand.Rand) float64) schemas.History {
	rng := rand.New(rand.NewPCG(uint64(len(name)), uint64(days*day)))
	n := int(days * day)
	s := &schemas.Series{
		Component: schemas.ComponentID{Service: "shop", Component: name}, Resource: schemas.CPU,
		Start: time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC).Add(-time.Duration(n) * 15 * time.Minute), Step: 15 * time.Minute,
		Mean: make([]float64, n), Max: make([]float64, n),
	}
	for i := range n {
		s.Mean[i] = value(i, rng)
		s.Max[i] = 1.2 * s.Mean[i]
	}
	return schemas.History{Component: s.Component, Series: map[schemas.Resource]*schemas.Series{schemas.CPU: s}}
}

// lagging is a day whose height changes from day to day by a slow walk: the
// level of the last hours says more than any day before.
func lagging(i int, rng *rand.Rand) float64 {
	d := float64(i) / day
	return 5 + 2*math.Sin(2*math.Pi*d) + 1.5*math.Sin(2*math.Pi*d/3.7) + .1*rng.NormFloat64()
}

func flat(int, *rand.Rand) float64 { return 3 }

func options() trainer.Options {
	o := trainer.DefaultOptions()
	o.Windows, o.Fit.Epochs, o.Fit.Batch, o.Scratch = 16, 4, 128, true
	return o
}

func fleet() []schemas.History {
	histories := []schemas.History{component("constant", 8, flat)}
	for _, name := range []string{"web", "cart", "login", "search", "billing"} {
		histories = append(histories, component(name, 9, lagging))
	}
	return histories
}

func scoreOf(t *testing.T, m *schemas.Model, name string) schemas.SeriesScore {
	t.Helper()
	for _, s := range m.Scores {
		if s.Component.Component == name && s.Statistic == schemas.Mean {
			return s
		}
	}
	t.Fatalf("no score of %s", name)
	panic("unreachable")
}

func TestTheTrainedForecastersBeatSeasonalNaiveOnTheDayTheyHaveNotSeen(t *testing.T) {
	m, weights, err := trainer.Train(t.Context(), fleet(), options())
	if err != nil {
		t.Fatal(err)
	}
	if weights == nil {
		t.Fatalf("no network was accepted: %s", m.Verdict)
	}
	if !(*m.Loss < *m.BankLoss) {
		t.Errorf("accepted a network of loss %v over a bank of %v", *m.Loss, *m.BankLoss)
	}
	sum := map[string]float64{}
	for _, name := range []string{"web", "cart", "login", "search", "billing"} {
		for f, errs := range scoreOf(t, m, name).Errors {
			for _, e := range errs {
				sum[f] += e.Loss
			}
		}
	}
	for _, f := range []string{schemas.Bank, schemas.Network} {
		if !(sum[f] < sum[schemas.SeasonalNaive]) {
			t.Errorf("%s: loss %.4f, seasonal naive %.4f", f, sum[f], sum[schemas.SeasonalNaive])
		}
	}
}

func TestTheSameHistoriesGiveTheSameModel(t *testing.T) {
	var bytesBefore []byte
	var modelBefore *schemas.Model
	o := options()
	o.Fit.Seeds = 2
	processors := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(processors)
	for i, n := range []int{processors, 1, 3} {
		runtime.GOMAXPROCS(n)
		m, w, err := trainer.Train(t.Context(), fleet(), o)
		if err != nil {
			t.Fatal(err)
		}
		data, err := w.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if diff := cmp.Diff(modelBefore, m); diff != "" {
				t.Errorf("models differ with %d processors:\n%s", n, diff)
			}
			if !bytes.Equal(bytesBefore, data) {
				t.Errorf("weights differ with %d processors", n)
			}
		}
		bytesBefore, modelBefore = data, m
	}
}

func TestManyWindowsGiveFewerExamplesEach(t *testing.T) {
	o := options()
	o.Fit.Epochs, o.Fit.Seeds = 1, 1
	examples := func(most int) int {
		o.Examples = most
		m, _, err := trainer.Train(t.Context(), fleet(), o)
		if err != nil {
			t.Fatal(err)
		}
		return m.Examples
	}
	// No window goes without an example of each band.
	all, half, few := examples(1<<16), examples(1100), examples(1)
	if !(half < 3*all/4) || !(few < all/3) || !(few >= all/8) {
		t.Errorf("%d examples of all steps, %d where about half of them were asked for, %d where one was", all, half, few)
	}
}

func TestAThinComponentStopsNobody(t *testing.T) {
	empty := schemas.History{Component: schemas.ComponentID{Service: "shop", Component: "new"}}
	onePoint := component("one-point", 1.0/day, flat)
	half := component("half", 9, func(i int, rng *rand.Rand) float64 {
		if rng.IntN(2) == 0 {
			return math.NaN()
		}
		return lagging(i, rng)
	})
	gone := component("gone", 9, func(i int, rng *rand.Rand) float64 {
		if i > 2*day {
			return math.NaN()
		}
		return 1
	})
	zero := component("zero", 9, func(int, *rand.Rand) float64 { return 0 })
	m, weights, err := trainer.Train(t.Context(), append(fleet(), empty, onePoint, half, gone, zero), options())
	if err != nil {
		t.Fatal(err)
	}
	if weights == nil {
		t.Errorf("the others have no network: %s", m.Verdict)
	}
	for _, s := range m.Scores {
		for f, errs := range s.Errors {
			for _, e := range errs {
				if e != nil && (math.IsNaN(e.MAE) || math.IsNaN(e.Loss) || e.Count == 0) {
					t.Errorf("%s of %s has the score %+v", f, s.Component, *e)
				}
			}
		}
	}
}

func TestNothingToLearnFromIsNoModelAndNoError(t *testing.T) {
	for name, histories := range map[string][]schemas.History{
		"no component":             nil,
		"one component of a day":   {component("young", 1, lagging)},
		"a component with no data": {{Component: schemas.ComponentID{Service: "shop", Component: "new"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m, weights, err := trainer.Train(t.Context(), histories, options())
			if err != nil {
				t.Fatal(err)
			}
			if weights != nil || m.WeightsSum != "" {
				t.Error("a network from nothing")
			}
			if m.Verdict == "" {
				t.Error("no verdict")
			}
		})
	}
}

func TestWithoutABetterNetworkTheOneBeforeStays(t *testing.T) {
	o := options()
	o.Scratch = false
	before := pretrained.Weights()
	for name, histories := range map[string][]schemas.History{
		"nothing to learn from": {component("young", 1, lagging)},
		"nothing to learn":      {component("constant", 9, flat), component("as constant", 9, flat)},
	} {
		t.Run(name, func(t *testing.T) {
			m, weights, err := trainer.Train(t.Context(), histories, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, weights); diff != "" || m.WeightsSum == "" {
				t.Errorf("weights with the sum %q (-before +after):\n%s", m.WeightsSum, diff)
			}
		})
	}
}

func TestTheRecordGoesOnFromNightToNight(t *testing.T) {
	o := options()
	o.Scratch = false
	first, _, err := trainer.Train(t.Context(), []schemas.History{component("web", 9, lagging)}, o)
	if err != nil {
		t.Fatal(err)
	}
	days := func(m *schemas.Model) int {
		s := scoreOf(t, m, "web")
		if len(s.Record) != 3 {
			t.Fatalf("records of %d bands, want 3", len(s.Record))
		}
		return s.Record[0].Days
	}
	// Nine days less the three that are looked back on, at most a week.
	if got := days(first); got != 6 {
		t.Errorf("the record begins with %d days, want 6", got)
	}
	o.Before = first
	for name, tt := range map[string]struct {
		histories []schemas.History
		want      int
	}{
		"the same day again":  {[]schemas.History{component("web", 9, lagging)}, 6},
		"the next night":      {[]schemas.History{later(component("web", 9, lagging), day)}, 7},
		"an hour later":       {[]schemas.History{later(component("web", 9, lagging), 4)}, 6},
		"another component's": {[]schemas.History{component("web", 5, lagging)}, 6},
	} {
		if name == "another component's" {
			tt.histories[0].Series[schemas.CPU].Resource = schemas.Memory
			tt.histories[0].Series = map[schemas.Resource]*schemas.Series{schemas.Memory: tt.histories[0].Series[schemas.CPU]}
			tt.want = 2
		}
		t.Run(name, func(t *testing.T) {
			m, _, err := trainer.Train(t.Context(), tt.histories, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := days(m); got != tt.want {
				t.Errorf("%d days, want %d", got, tt.want)
			}
		})
	}
}

// later moves a history by a number of buckets.
func later(h schemas.History, steps int) schemas.History {
	for _, s := range h.Series {
		s.Start = s.Start.Add(time.Duration(steps) * s.Step)
	}
	return h
}

func TestMixedStepsAreRefused(t *testing.T) {
	other := component("hourly", 9, flat)
	other.Series[schemas.CPU].Step = time.Hour
	_, _, err := trainer.Train(t.Context(), append(fleet(), other), options())
	if schemas.CodeOf(err) != schemas.CodeInvalidData {
		t.Errorf("error %v, want invalid data", err)
	}
}

// BenchmarkTrain is a night's training of 50 components with two weeks behind
// them.
func BenchmarkTrain(b *testing.B) {
	var histories []schemas.History
	for i := range 50 {
		histories = append(histories, component(string(rune('a'+i%26))+"-component", 14+float64(i)/day, lagging))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := trainer.Train(b.Context(), histories, trainer.DefaultOptions()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/50, "ms/component")
}

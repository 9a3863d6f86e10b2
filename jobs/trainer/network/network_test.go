package network_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

const day = 96

func noisyDays(days int) *schemas.Series {
	rng := rand.New(rand.NewPCG(7, 7))
	y := make([]float64, days*day)
	for i := range y {
		y[i] = 2 + math.Sin(2*math.Pi*float64(i)/day) + .2*rng.NormFloat64()
	}
	return &schemas.Series{
		Component: schemas.ComponentID{Service: "shop", Component: "web"}, Resource: schemas.CPU,
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: 15 * time.Minute, Mean: y,
	}
}

func randomWeights(seed uint64) *network.Weights {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := network.New(schemas.DefaultLevels(), []int{16, 8}, rng.NormFloat64)
	last := &w.Layers[len(w.Layers)-1]
	for i := range last.Weight {
		last.Weight[i] = float32(rng.NormFloat64() * .1)
	}
	return w
}

func window(t testing.TB, s *schemas.Series) *network.Window {
	h := bank.NewHistory(s.Mean, day, s.Len()-8*day)
	w, ok := network.NewWindow(h, s, day, s.Len(), day, schemas.DefaultLevels())
	if !ok {
		t.Fatal("no window")
	}
	return w
}

func TestForecastsAreValid(t *testing.T) {
	s := noisyDays(9)
	for name, weights := range map[string]*network.Weights{
		"the bank alone":         nil,
		"an arbitrary network":   randomWeights(3),
		"another one, far off":   scaled(randomWeights(4), 1000),
		"corrections below zero": scaled(randomWeights(5), -1000),
	} {
		t.Run(name, func(t *testing.T) {
			f, ok := network.NewForecaster(schemas.DefaultLevels()).Forecast(window(t, s), s, day, weights)
			if !ok {
				t.Fatal("no forecast")
			}
			if err := f.Validate(); err != nil {
				t.Error(err)
			}
			if !f.Origin.Equal(s.End()) {
				t.Errorf("origin %s, want the end of the series %s", f.Origin, s.End())
			}
		})
	}
}

func scaled(w *network.Weights, by float32) *network.Weights {
	for i := range w.Layers[len(w.Layers)-1].Weight {
		w.Layers[len(w.Layers)-1].Weight[i] *= by
	}
	return w
}

func TestANetworkWithALastLayerOfZerosIsTheBank(t *testing.T) {
	s := noisyDays(9)
	f := network.NewForecaster(schemas.DefaultLevels())
	alone, _ := f.Forecast(window(t, s), s, day, nil)
	fresh := network.New(schemas.DefaultLevels(), []int{32, 32}, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	corrected, _ := f.Forecast(window(t, s), s, day, fresh)
	if diff := cmp.Diff(alone, corrected); diff != "" {
		t.Errorf("forecasts differ (-bank +network):\n%s", diff)
	}
}

func TestANetworkThatDivergedHasNoAnswer(t *testing.T) {
	w := randomWeights(1)
	w.Layers[0].Bias[0] = float32(math.NaN())
	s := noisyDays(9)
	if f, ok := network.NewForecaster(schemas.DefaultLevels()).Forecast(window(t, s), s, day, w); ok {
		t.Errorf("a forecast from NaN: %v", f.Row(0))
	}
	if err := w.Validate(); schemas.CodeOf(err) != schemas.CodeInvalidData {
		t.Errorf("Validate = %v, want invalid data", err)
	}
}

func TestFeaturesAreFinite(t *testing.T) {
	flat := noisyDays(9)
	for i := range flat.Mean {
		flat.Mean[i] = 0
	}
	gaps := noisyDays(9)
	for i := range gaps.Mean {
		if i%7 < 4 {
			gaps.Mean[i] = math.NaN()
		}
	}
	huge := noisyDays(9)
	for i := range huge.Mean {
		huge.Mean[i] *= 1e5
	}
	huge.Mean[700] = schemas.MaxCPU
	for name, s := range map[string]*schemas.Series{"noise": noisyDays(9), "all zero": flat, "more gaps than values": gaps, "huge with a spike": huge, "two days": noisyDays(2)} {
		t.Run(name, func(t *testing.T) {
			w := window(t, s)
			for step := range day {
				x := make([]float32, network.NumFeatures)
				if _, ok := w.Features(step, x); !ok {
					t.Fatalf("no features for step %d", step)
				}
				for i, v := range x {
					if f := float64(v); math.IsNaN(f) || math.Abs(f) > 8 {
						t.Fatalf("feature %d of step %d is %v", i, step, v)
					}
				}
			}
		})
	}
}

func TestEncodeIsReadBackAndRepeatable(t *testing.T) {
	w := randomWeights(9)
	first, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, _ := w.Encode()
		if !bytes.Equal(first, again) {
			t.Fatal("equal weights gave different bytes")
		}
	}
	got, err := network.Decode(first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("weights differ (-written +read):\n%s", diff)
	}
}

func FuzzDecodeNeverPanicsAndNeverPassesBadWeights(f *testing.F) {
	good, err := randomWeights(1).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\x7f{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := network.Decode(data)
		if err != nil {
			if schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("error %v has code %s", err, schemas.CodeOf(err))
			}
			return
		}
		if err := w.Validate(); err != nil {
			t.Errorf("decoded weights are invalid: %v", err)
		}
	})
}

func BenchmarkForecast(b *testing.B) {
	s := noisyDays(28)
	w := window(b, s)
	f := network.NewForecaster(schemas.DefaultLevels())
	weights := network.New(schemas.DefaultLevels(), []int{32, 32}, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	b.ReportAllocs()
	for b.Loop() {
		f.Forecast(w, s, day, weights)
	}
}

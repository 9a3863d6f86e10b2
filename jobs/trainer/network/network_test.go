package network_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/footprint"
)

const day = 96

func noisyDays(days int) *schemas.Series { return noise(days, 7) }

func noise(days int, seed uint64) *schemas.Series {
	rng := rand.New(rand.NewPCG(7, seed))
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
	w := network.New(schemas.DefaultLevels(), 16, rng.NormFloat64)
	for _, p := range []network.Matrix{w.Direct, w.Bias, w.HiddenBias, w.Output} {
		for i := range p.Data {
			p.Data[i] = float32(rng.NormFloat64() * .1)
		}
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
		"the bank alone":       nil,
		"an arbitrary network": randomWeights(3),
		"another one, far off": scaled(randomWeights(4), 1000),
		"one turned around":    scaled(randomWeights(5), -1000),
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
	for i := range w.Direct.Data {
		w.Direct.Data[i] *= by
	}
	return w
}

func TestANetworkOfZerosIsTheBank(t *testing.T) {
	s := noisyDays(9)
	f := network.NewForecaster(schemas.DefaultLevels())
	alone, _ := f.Forecast(window(t, s), s, day, nil)
	fresh := network.New(schemas.DefaultLevels(), 8, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	same, _ := f.Forecast(window(t, s), s, day, fresh)
	for i, v := range alone.Values {
		// Candidates of next to no weight are left out in either.
		if math.Abs(v-same.Values[i]) > 1e-3 {
			t.Fatalf("value %d is %v of the bank and %v of a network of zeros", i, v, same.Values[i])
		}
	}
}

func TestAForecastLiesAmongTheCandidates(t *testing.T) {
	s := noisyDays(9)
	w := window(t, s)
	weights := randomWeights(11)
	// No shift, and residuals of their own, so that the median is the point.
	for i := range network.NumFeatures {
		weights.Direct.Data[i*network.NumOutputs+bank.Count+2] = 0
	}
	for i := range weights.Hidden.Cols {
		weights.Output.Data[i*network.NumOutputs+bank.Count+2] = 0
	}
	weights.Bias.Data[bank.Count+2] = 0
	f, ok := network.NewForecaster(schemas.DefaultLevels()).Forecast(w, s, day, weights)
	if !ok {
		t.Fatal("no forecast")
	}
	offsets, differences := make([]float64, len(f.Levels)), make([]float32, bank.Count)
	for step := range day {
		w.Offsets(step, offsets)
		middle, _ := network.Center(f.Levels, offsets)
		w.Differences(step, differences)
		low, high := math.Inf(1), math.Inf(-1)
		for _, d := range differences {
			if v := w.Anchor(step) + float64(d)*w.Scale(step); v == v {
				low, high = min(low, v), max(high, v)
			}
		}
		if v := f.At(step, .5) - middle; v < low-1e-4 || v > high+1e-4 {
			t.Errorf("step %d is %v, want between the candidates' %v and %v", step, v, low, high)
		}
	}
}

func TestSurpriseIsTheDistanceFromTheBank(t *testing.T) {
	w := window(t, noisyDays(9))
	actual := make([]float64, day)
	for i := range actual {
		actual[i] = w.Anchor(i) - 3*w.Scale(i)
	}
	actual[7] = math.NaN()
	if got := w.Surprise(actual); math.Abs(got-3) > 1e-9 {
		t.Errorf("surprise %v by what lies 3 units from the forecast", got)
	}
	for i := range actual {
		actual[i] = math.NaN()
	}
	if got := w.Surprise(actual); !math.IsNaN(got) {
		t.Errorf("surprise %v by nothing", got)
	}
}

func TestJoinedNetworksAnswerWithTheirMean(t *testing.T) {
	a, b := randomWeights(1), randomWeights(2)
	rng := rand.New(rand.NewPCG(4, 4))
	x := make([]float32, network.NumFeatures)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	var out [3][network.NumOutputs]float32
	var pass network.Pass // for networks of different sizes
	for i, w := range []*network.Weights{a, b, network.Join(a, b)} {
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		pass.Load(w)
		copy(out[i][:], pass.Forward(x))
	}
	for i, v := range out[2] {
		if want := (out[0][i] + out[1][i]) / 2; math.Abs(float64(v-want)) > 1e-5 {
			t.Errorf("output %d is %v, want the mean %v", i, v, want)
		}
	}
}

func TestTheMeanOfANetworkAndItselfIsItself(t *testing.T) {
	w := randomWeights(1)
	if diff := cmp.Diff(w, network.Mean(w, w, w)); diff != "" {
		t.Errorf("weights differ (-one +mean):\n%s", diff)
	}
}

func TestANetworkThatDivergedHasNoAnswer(t *testing.T) {
	w := randomWeights(1)
	w.Bias.Data[0] = float32(math.NaN())
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
				w.Features(step, x)
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

// BenchmarkForecastFromHistory is what the forecast of one resource of a component
// takes from its usage on: the profiles, all candidates, their backtests and weights,
// the features, the forward pass of the three networks that ship and the quantiles of
// a day, one component after the other in the memory of the one before. What
// jobs/trainer/hedge adds is in its own benchmark. Of cpu-ns/op, the processor's time,
// other processes take nothing.
func BenchmarkForecastFromHistory(b *testing.B) {
	for _, days := range []int{5, 14, 28} {
		b.Run(strconv.Itoa(days)+" days", func(b *testing.B) {
			var all []*schemas.Series
			for seed := range uint64(16) { // more than a processor can learn by heart
				all = append(all, noise(days, seed))
			}
			levels, weights := schemas.DefaultLevels(), pretrained.Weights()
			h, f := bank.NewHistory(nil, 1, 0), network.NewForecaster(levels)
			b.ReportAllocs()
			before := footprint.Used(b)
			for i := 0; b.Loop(); i++ {
				s := all[i%len(all)]
				h.Reset(s.Mean, day, bank.Earliest(s.Len(), day))
				w, ok := network.NewWindow(h, s, day, s.Len(), day, levels)
				if !ok {
					b.Fatal("no window")
				}
				if _, ok := f.Forecast(w, s, day, weights); !ok {
					b.Fatal("no forecast")
				}
			}
			b.ReportMetric(float64(footprint.Used(b).Processor-before.Processor)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkForecast is the forward pass, the quantiles included, for a day.
func BenchmarkForecast(b *testing.B) {
	s := noisyDays(28)
	w := window(b, s)
	f := network.NewForecaster(schemas.DefaultLevels())
	weights := randomWeights(1)
	b.ReportAllocs()
	for b.Loop() {
		f.Forecast(w, s, day, weights)
	}
}

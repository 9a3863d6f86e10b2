package plugins_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// naive forecasts a CPU series, with peaks where maxima are given.
func naive(t *testing.T, steps int, means, maxima []float64) (*schemas.Forecast, *framework.Status) {
	t.Helper()
	s := series(schemas.CPU, means...)
	s.Max = maxima
	c := &framework.Candidate{Component: web, Now: now, Series: map[schemas.Resource]*schemas.Series{schemas.CPU: s}}
	f, st := plugin[framework.ForecastPlugin](t, framework.Baseline, "").Forecast(t.Context(), framework.NewCycleState(), c, schemas.CPU, steps)
	if st.IsSuccess() {
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		if f.Steps() != steps || !f.Origin.Equal(s.End()) {
			t.Fatalf("%d steps from %s, want %d from %s", f.Steps(), f.Origin, steps, s.End())
		}
	}
	return f, st
}

// ramp is a day that rises by one a bucket, plus what differs between days.
func ramp(offset float64) []float64 {
	out := make([]float64, day)
	for i := range out {
		out[i] = float64(i) + offset
	}
	return out
}

func TestSeasonalNaiveRepeatsTheLastDay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		usage  []float64
		median func(step int) float64
	}{
		{"a day like the one before", slices.Concat(ramp(10), ramp(10), ramp(10)), func(i int) float64 { return float64(i%day) + 10 }},
		{"a day that grew will have grown again", slices.Concat(ramp(10), ramp(12), ramp(14)), func(i int) float64 { return float64(i%day) + 16 }},
		{"a gap is bridged by the day before it", slices.Concat(ramp(10), ramp(10), ramp(10)[:90], gap(6)), func(i int) float64 { return float64(i%day) + 10 }},
		{"a phase that was never measured is a median and not 0", slices.Concat(ramp(10)[:90], gap(6), ramp(10)[:90], gap(6)),
			func(i int) float64 {
				if i%day >= 90 {
					return 10 + 44.5
				}
				return float64(i%day) + 10
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, st := naive(t, day+10, tt.usage, nil)
			if !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			for i := range f.Steps() {
				if got, want := f.At(i, 0.5), tt.median(i); math.Abs(got-want) > 1e-9 {
					t.Errorf("median of step %d = %v, want %v", i+1, got, want)
				}
			}
			if f.Peaks != nil {
				t.Error("peaks must be unknown where maxima are")
			}
		})
	}
}

func TestSeasonalNaiveSpreadsAsDaysDiffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	usage := make([]float64, 8*day)
	for i := range usage {
		usage[i] = 100 + rng.NormFloat64()
	}
	f, st := naive(t, day, usage, nil)
	if !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	// The difference of two days has twice the variance: its deciles lie 1.28 x
	// sqrt(2) away.
	if got, want := (f.At(0, 0.9)-f.At(0, 0.1))/2, 1.2816*math.Sqrt2; math.Abs(got-want) > 0.15*want {
		t.Errorf("half the width of the 80 %% band = %.2f, want about %.2f", got, want)
	}
}

func TestSeasonalNaiveForecastsPeaksWhereMaximaAreKnown(t *testing.T) {
	means := slices.Concat(ramp(10), ramp(10))
	maxima := slices.Concat(ramp(30), ramp(30))
	f, st := naive(t, day, means, maxima)
	if !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	if f.PeakSteps() != 16 {
		t.Fatalf("%d steps have peaks, want 16", f.PeakSteps())
	}
	for i := range f.PeakSteps() {
		if got, want := f.PeakAt(i, 0.8), float64(i)+30; math.Abs(got-want) > 1e-9 {
			t.Errorf("peak of step %d = %v, want %v", i+1, got, want)
		}
	}
}

func TestSeasonalNaiveOnThinHistory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		usage []float64
		want  schemas.Reason // empty: an answer
	}{
		{"nothing", nil, schemas.InsufficientData},
		{"one point", flat(1), schemas.InsufficientData},
		{"a bucket less than a day", flat(day - 1), schemas.InsufficientData},
		{"one day", flat(day), ""},
		{"a constant series", flat(5 * day), ""},
		{"half the buckets missing", slices.Repeat([]float64{1, math.NaN()}, 2*day), ""},
		{"a quarter of a day known", slices.Concat(flat(1), gap(day-24), flat(23)), ""},
		{"less than a quarter of a day known", slices.Concat(flat(1), gap(day-23), flat(22)), schemas.InsufficientData},
		{"a gap before the first day is no history", slices.Concat(gap(5*day), flat(day-1)), schemas.InsufficientData},
		{"nothing but gaps", gap(5 * day), schemas.InsufficientData},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, st := naive(t, day, tt.usage, nil)
			if st.Reason() != tt.want || !st.IsSuccess() && st.Code() != framework.Rejected {
				t.Fatalf("status = %s %q, want %q", st.Code(), st.Reason(), tt.want)
			}
			if tt.want == "" && f.At(0, 0.5) != 1 {
				t.Errorf("median = %v, want 1", f.At(0, 0.5))
			}
		})
	}
}

func TestSeasonalNaiveKnowsWhatItDoesNotKnowOnTheFirstDay(t *testing.T) {
	f, st := naive(t, day, ramp(100), nil)
	if !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	if width := f.At(0, 0.9) - f.At(0, 0.1); width < 70 {
		t.Errorf("the 80 %% band is %v wide after one day that spans 95, want the spread of that day", width)
	}
}

// FuzzSeasonalNaive holds the forecaster to valid answers for any history.
func FuzzSeasonalNaive(f *testing.F) {
	f.Add(uint64(1), 200, 0.1)
	f.Add(uint64(2), 97, 0.9)
	f.Fuzz(func(t *testing.T, seed uint64, n int, missing float64) {
		rng := rand.New(rand.NewPCG(seed, 3))
		usage := make([]float64, max(0, n)%2000)
		for i := range usage {
			usage[i] = math.Exp(rng.NormFloat64() * 8)
			if rng.Float64() < missing {
				usage[i] = math.NaN()
			}
		}
		naive(t, 1+int(seed%200), usage, usage) // which checks that the answer is valid
	})
}

func BenchmarkSeasonalNaive(b *testing.B) {
	usage := slices.Repeat(ramp(3), 14)
	s := series(schemas.CPU, usage...)
	s.Max = usage
	c := &framework.Candidate{Component: web, Now: now, Series: map[schemas.Resource]*schemas.Series{schemas.CPU: s}}
	p := plugin[framework.ForecastPlugin](b, framework.Baseline, "")
	b.ReportAllocs()
	for b.Loop() {
		if _, st := p.Forecast(b.Context(), framework.NewCycleState(), c, schemas.CPU, day); !st.IsSuccess() {
			b.Fatal(st.Message())
		}
	}
}

package bank_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

const day = 96

// daily returns days of a sine between 1 and 3 with noise of the given size.
func daily(days int, noise float64) []float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	y := make([]float64, days*day)
	for i := range y {
		y[i] = 2 + math.Sin(2*math.Pi*float64(i)/day) + noise*rng.NormFloat64()
	}
	return y
}

func forecast(y []float64, t, horizon int) ([]bank.BandWeights, []float64) {
	h := bank.NewHistory(y, day, t-8*day)
	w := h.Weigh(t, horizon)
	o := h.Origin(t)
	candidates := make([]float64, bank.Count*horizon)
	h.Forecast(&o, 0, horizon, candidates)
	out := make([]float64, 0, horizon)
	for b := range w {
		out = append(out, w[b].Combine(candidates, horizon, w[b].Band.First-1, w[b].Band.Last, nil)...)
	}
	return w, out
}

// first returns what each candidate says about the first step from origin t on.
func first(y []float64, t int) (out [bank.Count]float64) {
	h := bank.NewHistory(y, day, t-8*day)
	o := h.Origin(t)
	h.Forecast(&o, 0, 1, out[:])
	return out
}

func TestCandidatesSayWhatTheirNamesPromise(t *testing.T) {
	// 20 days whose value is the number of the day, and the origin at the start of
	// day 20.
	y := make([]float64, 20*day)
	for i := range y {
		y[i] = float64(i / day)
	}
	got := first(y, 20*day)
	for c, want := range map[bank.Candidate]float64{
		bank.Yesterday:  19,
		bank.Median5:    17,
		bank.Median14:   12.5,
		bank.LastFour:   19,
		bank.LastDay:    19,
		bank.LastValue:  19,
		bank.Revert:     19,
		bank.LastWeek:   13,
		bank.MedianWeek: 15,
		// Yesterday lies 3 above the median of the five days before it, and 2 above
		// the median that forecasts today.
		bank.Level:          20,
		bank.MedianResidual: 20,
		bank.YesterdayDrift: 20,
		bank.YesterdayLevel: 20,
		bank.WeekDrift:      20,
		bank.WeekLevel:      20,
		// Against the profile that forecasts today, yesterday lies 2 above.
		bank.Increment: 19,
	} {
		if math.Abs(got[c]-want) > 1e-9 {
			t.Errorf("%s = %v, want %v", c, got[c], want)
		}
	}
}

func TestWhatHappenedOnceAWeekAgoIsNoHabit(t *testing.T) {
	const event, at = 3, 16 * day // step of the day, and the origin
	week := func(y []float64) float64 {
		at := len(y)
		h := bank.NewHistory(y, day, at-8*day)
		o := h.Origin(at)
		out := make([]float64, bank.Count*day)
		h.Forecast(&o, 0, day, out)
		return out[int(bank.LastWeek)*day+event]
	}
	for name, tt := range map[string]struct {
		weeks []int // ago in which usage was 9 and not 5 at that time
		want  float64
	}{
		"once, a week ago":       {[]int{1}, 5},
		"once, two weeks ago":    {[]int{2}, 5},
		"in both of these weeks": {[]int{1, 2}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			y := make([]float64, at)
			for i := range y {
				y[i] = 5
			}
			for _, ago := range tt.weeks {
				y[at-7*ago*day+event] = 9
			}
			if got := week(y); got != tt.want {
				t.Errorf("last week says %v, want %v", got, tt.want)
			}
			if got := week(y[3*day:]); got != 5 {
				t.Errorf("where only one week is known it says %v, want 5", got)
			}
		})
	}
}

func TestSmoothProfilesAreThoseOfTheNeighbours(t *testing.T) {
	// The number of the day, and every fourth step 4 higher: over an odd number of
	// neighbours the mean is 1 higher, or a little less or more.
	y := make([]float64, 20*day)
	for i := range y {
		y[i] = float64(i / day)
		if i%4 == 0 {
			y[i] += 4
		}
	}
	const step = 10
	h := bank.NewHistory(y, day, 12*day)
	o := h.Origin(20 * day)
	var got [bank.Count]float64
	h.Forecast(&o, step, step+1, got[:])
	// Steps 8 to 12 hold two of the high ones, 7 to 13 as well.
	if want := 12.5 + 4*2./5; math.Abs(got[bank.Smooth14]-want) > 1e-9 {
		t.Errorf("smooth14 = %v, want %v", got[bank.Smooth14], want)
	}
	if lowest := 17 + 4*2./7; got[bank.SmoothLevel] <= lowest || got[bank.SmoothLevel] > lowest+3 {
		t.Errorf("smooth-level = %v, want above the smoothed profile, %v, by less than the last residual, 3", got[bank.SmoothLevel], lowest)
	}
}

func TestOfAnalogsThatAreEquallyNearTheNewestCount(t *testing.T) {
	// All days are .1 from the last one, but for a difference like that of rounding.
	const high = .3 - 1e-10
	days := []float64{high, high, high, high, high, high, .1, .1, .1, .1, .1, .2}
	y := make([]float64, len(days)*day)
	for i := range y {
		y[i] = days[i/day]
	}
	if got := first(y, len(y))[bank.AnalogMedian]; got != .1 {
		t.Errorf("analog-median = %v, want .1, as on most of the five days after the newest", got)
	}
}

func TestAnalogsAreTheDaysThatBeganLikeThisOne(t *testing.T) {
	// A day of 2 always follows a day of 1, in no rhythm of a week; other days are
	// 3. Each has a little noise of its own.
	kinds := []float64{3, 1, 2, 3, 3, 1, 2, 1, 2, 3, 3, 3, 1, 2, 3, 1}
	rng := rand.New(rand.NewPCG(1, 1))
	y := make([]float64, len(kinds)*day)
	for i := range y {
		y[i] = kinds[i/day] + .01*rng.Float64()
	}
	got := first(y, len(y))
	for _, c := range []bank.Candidate{bank.Analog, bank.AnalogDrift} {
		if math.Abs(got[c]-2) > .05 {
			t.Errorf("%s = %v after a day of 1, want 2", c, got[c])
		}
	}
	// Of the five nearest, four are days of 1: the median is what followed them.
	if c := bank.AnalogMedian; math.Abs(got[c]-2) > .05 {
		t.Errorf("%s = %v after a day of 1, want 2", c, got[c])
	}
	early := first(y[:3*day], 3*day)
	for _, c := range []bank.Candidate{bank.Analog, bank.AnalogDrift, bank.AnalogMedian} {
		if !math.IsNaN(early[c]) {
			t.Errorf("%s = %v on the fourth day, want none: there is too little to choose from", c, early[c])
		}
	}
}

// withJob returns days of usage with the rhythm of a day and a job that adds 4 for
// three steps, after every number of steps given.
func withJob(days, every int, noise float64) []float64 {
	y := daily(days, noise)
	for i := range y {
		if i%every < 3 {
			y[i] += 4
		}
	}
	return y
}

func TestAnotherRhythmThanTheDaysIsForecast(t *testing.T) {
	const days = 10
	gappy := withJob(days, 20, .05)
	for i := range gappy {
		if i%7 == 3 {
			gappy[i] = math.NaN()
		}
	}
	flat := make([]float64, days*day)
	flatJob := make([]float64, days*day)
	for i := range flat {
		flat[i] = 3
		flatJob[i] = 3
		if i%28 == 0 {
			flatJob[i] = 9
		}
	}
	noise := rand.New(rand.NewPCG(3, 4))
	random := make([]float64, days*day)
	for i := range random {
		random[i] = noise.Float64()
	}
	once := daily(days, .05)
	for _, i := range []int{7*day + 5, 8*day + 40} {
		once[i] += 20
	}
	for name, tt := range map[string]struct {
		y     []float64
		every int // of the job, 0 for none
		size  float64
		lasts int
	}{
		"a job every five hours":                {withJob(days, 20, .05), 20, 4, 3},
		"a job every seven hours":               {withJob(days, 28, .05), 28, 4, 3},
		"a job every five hours, and gaps":      {gappy, 20, 4, 3},
		"a job and nothing else":                {flatJob, 28, 6, 1},
		"the rhythm of a day alone":             {daily(days, .05), 0, 0, 0},
		"no rhythm":                             {random, 0, 0, 0},
		"nothing at all":                        {flat, 0, 0, 0},
		"two bursts, and no third as far again": {once, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			// An origin that is no multiple of anything.
			at := len(tt.y) - 31
			h := bank.NewHistory(tt.y[:at], day, at-8*day)
			o := h.Origin(at)
			out := make([]float64, bank.Count*day)
			h.Forecast(&o, 0, day, out)
			got := out[int(bank.Rhythm)*day:][:day]
			if tt.every == 0 {
				for step, v := range got {
					if v == v {
						t.Fatalf("step %d is %v, want no forecast", step, v)
					}
				}
				return
			}
			for step, v := range got {
				want := daily(1, 0)[(at+step)%day]
				if tt.lasts == 1 {
					want = 3
				}
				if (at+step)%tt.every < tt.lasts {
					want += tt.size
				}
				if !(math.Abs(v-want) < .5) {
					t.Errorf("step %d is %.2f, want %.2f", step, v, want)
				}
			}
		})
	}
}

func TestTheBankTakesUpAnotherRhythm(t *testing.T) {
	// No day or week before has it at the same hours.
	y := withJob(12, 26, .05)
	at := len(y) - day
	weights, f := forecast(y[:at], at, day)
	mae := 0.0
	for i, v := range f {
		mae += math.Abs(v-y[at+i]) / float64(len(f))
	}
	// Without it the job is missed, or seen where there is none: about 1.
	if !(mae < .15) {
		t.Errorf("mean absolute error %.3f, want less than 0.15", mae)
	}
	for _, w := range weights {
		if !(w.Weight[bank.Rhythm] > .9) {
			t.Errorf("the rhythm counts for %.2f in steps %d to %d, want nearly all", w.Weight[bank.Rhythm], w.Band.First, w.Band.Last)
		}
	}
}

func TestARhythmThatEndedHasNoWeight(t *testing.T) {
	y := withJob(13, 26, .05)
	quiet := daily(13, .05)
	copy(y[7*day+60:], quiet[7*day+60:])
	weights, f := forecast(y, len(y), day)
	for _, w := range weights {
		if w.Weight[bank.Rhythm] != 0 {
			t.Errorf("the rhythm counts for %v in steps %d to %d", w.Weight[bank.Rhythm], w.Band.First, w.Band.Last)
		}
	}
	if slices.ContainsFunc(f, math.IsNaN) {
		t.Errorf("the bank has no forecast of some steps: %v", f)
	}
}

func TestVolatilityIsThatOfTheTimeOfDay(t *testing.T) {
	// Noise by day, none by night.
	rng := rand.New(rand.NewPCG(1, 1))
	y := make([]float64, 15*day)
	for i := range y {
		y[i] = 5
		if i%day >= day/2 {
			y[i] += rng.NormFloat64()
		}
	}
	out := make([]float64, day)
	mean := bank.NewHistory(y, day, len(y)-day).Volatility(len(y), out)
	if !(mean > .2 && mean < .6) {
		t.Errorf("mean %v, want about .4", mean)
	}
	for k, v := range out {
		quiet, restless := k < day/2-2, k >= day/2+2
		if quiet && v > .1 || restless && v < 1.2 || !(v > 0) {
			t.Errorf("volatility of step %d is %v", k, v)
		}
	}
	flat := bank.NewHistory(make([]float64, 5*day), day, day)
	flat.Volatility(5*day, out)
	for k, v := range out {
		if v != 1 {
			t.Fatalf("volatility of a flat series is %v at step %d, want 1", v, k)
		}
	}
}

func TestNothingAtOrAfterTheOriginIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		days := rapid.IntRange(2, 17).Draw(t, "days")
		every := rapid.IntRange(5, 90).Draw(t, "rhythm")
		y := make([]float64, days*day)
		for i := range y {
			y[i] = rng.Float64()
			if i%every == 0 {
				y[i] += 5
			}
			if rng.IntN(10) == 0 {
				y[i] = math.NaN()
			}
		}
		at := rapid.IntRange(day+8, len(y)).Draw(t, "origin")
		past := append([]float64(nil), y[:at]...)
		for i := at; i < len(y); i++ {
			y[i] = 1e6
		}
		w1, f1 := forecast(past, at, day)
		w2, f2 := forecast(y, at, day)
		v1, v2 := make([]float64, day), make([]float64, day)
		bank.NewHistory(past, day, at-day).Volatility(at, v1)
		bank.NewHistory(y, day, at-day).Volatility(at, v2)
		for b := range w1 {
			if w1[b].Weight != w2[b].Weight {
				t.Fatalf("weights of band %d depend on the future", b)
			}
		}
		for i := range f1 {
			if f1[i] != f2[i] && !(math.IsNaN(f1[i]) && math.IsNaN(f2[i])) {
				t.Fatalf("step %d is %v with the future unknown and %v with it known", i, f1[i], f2[i])
			}
			if v1[i] != v2[i] {
				t.Fatalf("volatility of step %d is %v with the future unknown and %v with it known", i, v1[i], v2[i])
			}
		}
	})
}

func TestWeightsFollowTheSeries(t *testing.T) {
	flat := make([]float64, 8*day)
	for i := range flat {
		flat[i] = 5
	}
	shifted := daily(8, 0)
	for i := 5 * day; i < len(shifted); i++ {
		shifted[i] += 3
	}
	gappy := daily(8, .01)
	for i := range gappy {
		if i%3 == 0 {
			gappy[i] = math.NaN()
		}
	}
	for name, tc := range map[string]struct {
		y      []float64
		within float64 // mean absolute error over the next day
		future func(step int) float64
	}{
		"a flat series goes on flat": {flat, 1e-12, func(int) float64 { return 5 }},
		"a daily series repeats": {daily(8, 0), 1e-9, func(i int) float64 {
			return 2 + math.Sin(2*math.Pi*float64(i)/day)
		}},
		"after a shift of the level the new level holds": {shifted, .1, func(i int) float64 {
			return 5 + math.Sin(2*math.Pi*float64(i)/day)
		}},
		"a third of the times of day never measured is bridged": {gappy, .05, func(i int) float64 {
			return 2 + math.Sin(2*math.Pi*float64(i)/day)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			weights, f := forecast(tc.y, len(tc.y), day)
			mae := 0.0
			for i, v := range f {
				mae += math.Abs(v-tc.future(i)) / float64(len(f))
			}
			if !(mae <= tc.within) {
				t.Errorf("mean absolute error %v, want at most %v", mae, tc.within)
			}
			for _, w := range weights {
				sum := 0.0
				for _, v := range w.Weight {
					sum += v
				}
				if math.Abs(sum-1) > 1e-9 {
					t.Errorf("weights of steps %d to %d add up to %v, want 1", w.Band.First, w.Band.Last, sum)
				}
			}
		})
	}
}

func TestTheBankBeatsYesterdayOnNoise(t *testing.T) {
	y := daily(10, .3)
	weights, _ := forecast(y, len(y), day)
	for _, w := range weights {
		if !(w.MAE < .85*w.BaselineMAE) || !(w.Loss < .9*w.BaselineLoss) {
			t.Errorf("steps %d to %d: mean absolute error %.3f and loss %.3f, yesterday's %.3f and %.3f", w.Band.First, w.Band.Last, w.MAE, w.Loss, w.BaselineMAE, w.BaselineLoss)
		}
	}
}

func TestTooLittleHistoryGivesNoForecastAndNoNumber(t *testing.T) {
	for name, y := range map[string][]float64{
		"nothing measured": {},
		"one value":        {1},
		"only gaps":        {math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()},
	} {
		t.Run(name, func(t *testing.T) {
			weights, f := forecast(y, len(y), 4)
			if len(weights[0].Residuals) != 0 {
				t.Errorf("residuals %v from nothing", weights[0].Residuals)
			}
			for _, v := range f {
				if !math.IsNaN(v) {
					t.Errorf("forecast %v from nothing", v)
				}
			}
		})
	}
}

func series(y []float64) *schemas.Series {
	return &schemas.Series{
		Component: schemas.ComponentID{Service: "shop", Component: "web"}, Resource: schemas.CPU,
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: 15 * time.Minute, Mean: y,
	}
}

func TestSeasonalNaive(t *testing.T) {
	levels := schemas.DefaultLevels()
	t.Run("repeats yesterday and spreads as the days differ", func(t *testing.T) {
		y := make([]float64, 4*day)
		for i := range y {
			y[i] = 10 + float64(i%day) + float64(i/day%2) // every other day is one higher
		}
		f, ok := bank.SeasonalNaive(series(y), day, len(y), day, levels)
		if !ok {
			t.Fatal("no forecast")
		}
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		if got, want := f.At(7, .9)-f.At(7, .1), 2.0; math.Abs(got-want) > 1e-9 {
			t.Errorf("spread %v, want %v", got, want)
		}
	})
	t.Run("bridges a gap by the day before", func(t *testing.T) {
		y := daily(3, 0)
		y[2*day+5] = math.NaN()
		f, ok := bank.SeasonalNaive(series(y), day, len(y), day, levels)
		if !ok || math.Abs(f.At(5, .5)-y[day+5]) > 1e-9 {
			t.Errorf("step 5 = %v, want %v", f.At(5, .5), y[day+5])
		}
	})
	t.Run("has no answer within the first day", func(t *testing.T) {
		if _, ok := bank.SeasonalNaive(series(daily(1, 0)[:90]), day, 90, day, levels); ok {
			t.Error("a forecast from less than a day")
		}
	})
}

// BenchmarkForecast is what one series costs in an inference run: profiles,
// backtests of all candidates, weights and the forecast of a day.
func BenchmarkForecast(b *testing.B) {
	for _, days := range []int{5, 28} {
		b.Run(time.Duration(days*24*int(time.Hour)).String(), func(b *testing.B) {
			y := daily(days, .2)
			b.ReportAllocs()
			for b.Loop() {
				forecast(y, len(y), day)
			}
		})
	}
}

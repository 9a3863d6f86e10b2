package inference_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

const day = 24 * time.Hour

// jitter is a small number that looks random and depends on the time only.
func jitter(t time.Time) float64 {
	return rand.New(rand.NewPCG(uint64(t.Unix()), 1)).Float64() - .5
}

// lively is the usage of office hours with noise.
func lively(t time.Time) (float64, bool) {
	v, ok := office(t)
	return v + .1*jitter(t), ok
}

// without leaves out what falls into an interval before now.
func without(f func(time.Time) (float64, bool), from, to time.Duration) func(time.Time) (float64, bool) {
	return func(t time.Time) (float64, bool) {
		v, ok := f(t)
		return v, ok && (t.Before(now.Add(-from)) || !t.Before(now.Add(-to)))
	}
}

// change returns usage that is something else within an interval before now.
func change(f, g func(time.Time) (float64, bool), from, to time.Duration) func(time.Time) (float64, bool) {
	return func(t time.Time) (float64, bool) {
		if !t.Before(now.Add(-from)) && t.Before(now.Add(-to)) {
			return g(t)
		}
		return f(t)
	}
}

// shifted is lively usage three cores higher.
func shifted(t time.Time) (float64, bool) {
	v, ok := lively(t)
	return v + 3, ok
}

func constant(v float64) func(time.Time) (float64, bool) {
	return func(time.Time) (float64, bool) { return v, true }
}

// TestTheLadderOfHistory takes one component from samples to its forecast and its
// decision, on every rung and in every shape that history may have.
func TestTheLadderOfHistory(t *testing.T) {
	quarter := func(t time.Time) int { return int(t.Unix() / 900) }
	at := func(hour int) int { // the step of the forecast that begins at this hour, today
		return (hour - now.Hour()) * 4
	}
	for _, tt := range []struct {
		name  string
		usage func(time.Time) (float64, bool)
		// The decision: its reason, the rung, and pieces of its message.
		reason schemas.Reason
		rung   schemas.Rung
		says   []string
		// floor bounds the replicas, of half a core each; 0 is any.
		least, most int32
		// by lists the forecasters that may be believed for the next hour; nil is
		// any.
		by []string
		// medians holds what the median must be, within a tenth or .2, by step.
		medians map[int]float64
		// below holds what the median must stay below, by step.
		below map[int]float64
	}{
		{
			name: "a quarter of an hour", usage: since(now.Add(-15*time.Minute), lively), reason: schemas.InsufficientData,
			says: []string{"Insufficient data: cpu has been measured for 15m0s; 24h0m0s are needed"}, least: 1, most: 1,
		},
		{
			name: "a quarter of an hour less than a day", usage: since(now.Add(15*time.Minute-day), lively), reason: schemas.InsufficientData,
			says: []string{"Insufficient data: cpu has been measured for 23h45m0s"}, least: 1, most: 1,
		},
		{
			name: "a day, half of which is missing", usage: without(since(now.Add(-day), lively), 23*time.Hour, 10*time.Hour), reason: schemas.InsufficientData,
			says: []string{"Insufficient data: cpu was measured in 44 of the last day's 96 buckets; 48 are needed"}, least: 1, most: 1,
		},
		{
			name: "a day: yesterday is repeated", usage: since(now.Add(-day), lively), reason: schemas.FloorRaised, rung: schemas.RungDay,
			says: []string{"cpu has been measured for 1 day: Bank takes part from 2 days on"}, least: 15, most: 30, by: []string{schemas.SeasonalNaive},
			medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "two days: the bank takes part", usage: since(now.Add(-2*day), lively), reason: schemas.FloorRaised, rung: schemas.RungBank,
			says: []string{"cpu has been measured for 2 days: Network takes part from 3 days on"}, least: 16, most: 24, by: []string{schemas.SeasonalNaive, schemas.Bank},
			medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "three days: the network takes part", usage: since(now.Add(-3*day), lively), reason: schemas.FloorRaised, rung: schemas.RungNetwork,
			least: 17, most: 20, by: []string{schemas.SeasonalNaive, schemas.Bank, schemas.Network, schemas.Hedge}, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "eight days: last week counts", usage: since(now.Add(-8*day), lively), reason: schemas.FloorRaised, rung: schemas.RungWeek,
			least: 17, most: 20, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "fourteen days: all of it", usage: since(now.Add(-14*day), lively), reason: schemas.FloorRaised, rung: schemas.RungFull,
			least: 17, most: 20, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "nothing from the last hour: what depends on it stays out", usage: without(since(now.Add(-9*day), lively), 75*time.Minute, 0),
			reason: schemas.FloorRaised, rung: schemas.RungWeek, says: []string{"its newest sample is 1h15m0s old: Network does not take part past 1h0m0s"},
			least: 17, most: 20, by: []string{schemas.SeasonalNaive, schemas.Bank}, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "nothing from the last six hours", usage: without(since(now.Add(-9*day), lively), 6*time.Hour, 0),
			reason: schemas.FloorRaised, rung: schemas.RungWeek, says: []string{"its newest sample is 6h0m0s old"}, least: 17, most: 20, medians: map[int]float64{at(9): 6},
		},
		{
			name: "nothing for longer than that: no forecast", usage: without(since(now.Add(-9*day), lively), 6*time.Hour+15*time.Minute, 0),
			reason: schemas.StaleSamples, rung: schemas.RungWeek, says: []string{"6h15m0s old; at most 6h0m0s are allowed"}, least: 1, most: 1,
		},
		{
			name: "two thirds of the buckets missing: yesterday is repeated", reason: schemas.FloorRaised, rung: schemas.RungDay,
			usage: change(func(t time.Time) (float64, bool) { v, ok := lively(t); return v, ok && quarter(t)%3 == 0 }, lively, day, 0),
			says:  []string{"in 42 % of the last week: Bank takes part once 50 % of a week are measured"}, by: []string{schemas.SeasonalNaive},
			least: 16, most: 24, medians: map[int]float64{at(9): 6},
		},
		{
			name: "two fifths of the buckets missing: no network", reason: schemas.FloorRaised, rung: schemas.RungBank,
			usage: func(t time.Time) (float64, bool) { v, ok := lively(t); return v, ok && quarter(t)%5 > 1 },
			says:  []string{"in 60 % of the last week: Network takes part once 75 % of a week are measured"}, by: []string{schemas.SeasonalNaive, schemas.Bank},
			least: 16, most: 22, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "a gap of two days is bridged", usage: without(lively, 4*day, 2*day), reason: schemas.FloorRaised, rung: schemas.RungBank,
			least: 16, most: 24, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "an old gap of ten days keeps nobody out", usage: without(lively, 20*day, 10*day), reason: schemas.FloorRaised, rung: schemas.RungFull,
			least: 17, most: 20, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "a shift of the level a day and a half ago is followed", reason: schemas.FloorRaised,
			usage: change(lively, shifted, 36*time.Hour, 0), least: 24, most: 30, medians: map[int]float64{at(9): 9, at(20): 4},
		},
		{
			name: "a shift of the level three hours ago is followed within the next hours", reason: schemas.FloorRaised,
			usage: change(lively, shifted, 3*time.Hour, 0), least: 24, most: 30, medians: map[int]float64{1: 9},
		},
		{
			name: "a spike an hour ago comes tomorrow no more", reason: schemas.FloorRaised,
			usage: change(lively, constant(60), 75*time.Minute, time.Hour), least: 16, most: 30, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "a spike yesterday at nine comes today no more", reason: schemas.FloorRaised,
			usage: change(lively, constant(60), 23*time.Hour, 22*time.Hour+45*time.Minute), least: 16, most: 30, medians: map[int]float64{at(9) + 1: 6}, below: map[int]float64{at(9): 20},
		},
		{
			name: "a sale of a whole day, the day before yesterday, comes today no more", reason: schemas.FloorRaised,
			usage: change(lively, func(t time.Time) (float64, bool) { v, ok := lively(t); return 3 * v, ok }, 56*time.Hour, 32*time.Hour),
			least: 16, most: 30, medians: map[int]float64{at(9): 6, at(20): 1},
		},
		{
			name: "flat: the same goes on", usage: constant(2), reason: schemas.FloorRaised, rung: schemas.RungFull, least: 6, most: 6,
			medians: map[int]float64{0: 2, 50: 2, 95: 2},
		},
		{
			name: "nothing is used at all", usage: constant(0), reason: schemas.FloorKept, least: 1, most: 1, medians: map[int]float64{0: 0, 95: 0},
		},
		{
			name: "used for one quarter of an hour in four: the floor is never below the operator's",
			usage: func(t time.Time) (float64, bool) {
				if quarter(t)%4 == 0 {
					return .2, true
				}
				return 0, true
			}, reason: schemas.FloorKept, least: 1, most: 1,
		},
		{
			name: "used for an hour each night only", reason: schemas.FloorKept,
			usage: func(t time.Time) (float64, bool) {
				if t.Hour() == 2 {
					return 5, true
				}
				return 0, true
			}, least: 1, most: 1, medians: map[int]float64{at(9): 0, at(26): 5, at(26) + 3: 5, at(28): 0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The other component has all of its samples, so that the table ends now.
			s := newSetup(usage{"web": tt.usage, "other": lively})
			if err := collector.New(s.source, collector.Options{Backfill: 28 * day})(t.Context(), s.env("collect-1", now)); err != nil {
				t.Fatal(err)
			}
			s.trained(t)
			if err := s.infer(t, "infer-1", now); err != nil {
				t.Fatal(err)
			}
			d := s.decision(t, "web")
			if d.Reason != tt.reason || d.MinReplicas < tt.least || tt.most > 0 && d.MinReplicas > tt.most {
				t.Errorf("decision %s with a floor of %d (%s); want %s and %d to %d", d.Reason, d.MinReplicas, d.Message, tt.reason, tt.least, tt.most)
			}
			if n, err := replicas.Recompute(&d); err != nil || n != d.MinReplicas {
				t.Errorf("the record gives %d, %v; want %d", n, err, d.MinReplicas)
			}
			if g := d.Histories[schemas.CPU]; tt.rung != 0 && g.Rung != tt.rung || g.Message == "" {
				t.Errorf("rung %s (%s), want %s", g.Rung, g.Message, tt.rung)
			}
			for _, text := range tt.says {
				if !strings.Contains(d.Message, text) {
					t.Errorf("message is %q, want %q in it", d.Message, text)
				}
			}
			if by := d.Forecasters[schemas.CPU]; tt.by != nil && !slices.Contains(tt.by, by) {
				t.Errorf("%s is believed, want one of %v", by, tt.by)
			}
			f := s.forecast(t, "web")
			if (f != nil) != d.Reason.UsesForecast() {
				t.Fatalf("there is a forecast: %v; with reason %s", f != nil, d.Reason)
			}
			for step, limit := range tt.below {
				if got := f.At(step, .5); !(got < limit) {
					t.Errorf("the median of step %d is %.3f, want it below %g", step, got, limit)
				}
			}
			for step, want := range tt.medians {
				if got := f.At(step, .5); !(math.Abs(got-want) <= max(.2, .1*want)) {
					t.Errorf("the median of step %d is %.3f, want %g", step, got, want)
				}
			}
		})
	}
}

// trained leaves an accepted network that changes nothing: what it is asked for
// is seen in who is believed.
func (s *setup) trained(t *testing.T) {
	t.Helper()
	w := network.New(schemas.DefaultLevels(), 4, func() float64 { return 0 })
	m := &schemas.Model{From: now.Add(-day), To: now, Step: schemas.DefaultStep, Horizon: schemas.DefaultHorizon, Levels: w.Levels, Verdict: "accepted"}
	if _, err := models.Write(t.Context(), s.store, "train-1", "test", models.Trained{Shard: "00000", Model: m, Weights: w}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := models.Accept(t.Context(), s.store, "train-1", "test", []string{"00000"}); err != nil {
		t.Fatal(err)
	}
}

func (s *setup) forecast(t *testing.T, name string) *schemas.Forecast {
	t.Helper()
	for _, f := range s.latest(t).Forecasts {
		if f.Component == component(name) {
			return f
		}
	}
	return nil
}

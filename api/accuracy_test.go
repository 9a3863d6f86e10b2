package api_test

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

const aDay = 24 * time.Hour

// measure stores what components used in each bucket of a stretch.
func measure(t *testing.T, w *apitest.World, from, to time.Time, cpu func(id schemas.ComponentID, at time.Time) float64, ids ...schemas.ComponentID) {
	t.Helper()
	table := samples.New(w.Store, samples.Options{})
	set := columnar.NewSamples(schemas.DefaultStep)
	for at := from; at.Before(to); at = at.Add(schemas.DefaultStep) {
		for _, id := range ids {
			v := cpu(id, at)
			if math.IsNaN(v) {
				continue
			}
			if err := set.Add(&schemas.Sample{Component: id, Start: at, CPU: &schemas.Usage{Mean: v, Max: v, Count: 15}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stage := table.Stage("collect-" + strconv.FormatInt(to.Unix(), 10))
	if err := stage.Add(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	m, err := stage.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Merge(t.Context(), m, to); err != nil {
		t.Fatal(err)
	}
}

// forecast stores forecasts of the CPU usage of components in each bucket that were
// made at an instant.
func forecast(t *testing.T, w *apitest.World, at time.Time, cpu func(id schemas.ComponentID, at time.Time) float64, ids ...schemas.ComponentID) {
	t.Helper()
	set := forecasts.Set{Run: "infer-" + strconv.FormatInt(at.Unix(), 10), Now: at, DataUntil: at}
	for _, id := range ids {
		f := &schemas.Forecast{Component: id, Resource: schemas.CPU, Forecasters: []string{schemas.Network, schemas.Bank, schemas.Bank}, Origin: at.Truncate(schemas.DefaultStep), Step: schemas.DefaultStep, Levels: []float64{.1, .5, .9}}
		for i := range schemas.DefaultHorizon {
			v := cpu(id, f.Time(i))
			f.Values = append(f.Values, v/2, v, 2*v)
		}
		set.Forecasts = append(set.Forecasts, f)
	}
	if _, _, err := forecasts.Write(t.Context(), w.Store, "1.0.0", set, nil); err != nil {
		t.Fatal(err)
	}
}

// settle refreshes until the interface says the same for long.
func settle(t *testing.T, w *apitest.World) wire.Accuracy {
	t.Helper()
	for range 100 {
		w.Refresh(t)
	}
	return read[wire.Accuracy](t, w, "/v1/accuracy")
}

// TestOnePointAnInstant has two trainings on the same data, and one rolled back to an
// older: each end of the data is one point.
func TestOnePointAnInstant(t *testing.T) {
	w := newShop(t) // with train-1, on data until now
	ids := []schemas.ComponentID{web}
	apitest.Models(t, w.Store, ids, apitest.Now, "train-1b")
	apitest.Models(t, w.Store, ids, apitest.Now.Add(aDay), "train-2")
	if got := rollBack(t, w, `{"model":"train-1b"}`, ""); got.status != 200 {
		t.Fatalf("the rollback is answered with %d %s", got.status, got.body)
	}
	got := settle(t, w)
	// Three components of two resources each were judged in the first, one in the others.
	want := []wire.AccuracyPoint{{Time: apitest.Now, Ratio: .5, Series: 2}, {Time: apitest.Now.Add(aDay), Ratio: .5, Series: 2}}
	if diff := cmp.Diff(want, got.Points); got.Basis != "backtest" || diff != "" {
		t.Errorf("basis %s, points (-want +got):\n%s", got.Basis, diff)
	}
}

// TestRealisedAccuracy has usage double from day to day, forecasts that are off by as
// much as is said, and looks at what is said of them.
func TestRealisedAccuracy(t *testing.T) {
	today := apitest.Now.Truncate(aDay)
	doubling := func(_ schemas.ComponentID, at time.Time) float64 {
		return math.Pow(2, math.Round(float64(at.Truncate(aDay).Sub(today)/aDay))+4) // 16 today, 8 yesterday
	}
	w := apitest.New(t, []schemas.ComponentID{web, db})
	apitest.Models(t, w.Store, []schemas.ComponentID{web, db}, today, "train-1")
	measure(t, w, today.Add(-4*aDay), today.Add(time.Hour), doubling, web, db)
	// Off by a quarter of what the day before is off by, and by half of that.
	off := map[schemas.ComponentID]float64{web: .25, db: .5}
	for at := today.Add(-2 * aDay); !at.After(today); at = at.Add(schemas.DefaultStep) {
		forecast(t, w, at.Add(20*time.Second), func(id schemas.ComponentID, at time.Time) float64 {
			return doubling(id, at) - doubling(id, at)/2*off[id]
		}, web, db)
	}
	got := settle(t, w)
	want := wire.Accuracy{
		Basis: "realised",
		Points: []wire.AccuracyPoint{
			{Time: today.Add(-2 * aDay), Ratio: math.Sqrt(.25 * .5), Series: 2},
			{Time: today.Add(-aDay), Ratio: math.Sqrt(.25 * .5), Series: 2},
		},
		Components: []wire.ComponentAccuracy{
			{Component: wire.ComponentID(db), Resource: schemas.CPU, Forecaster: schemas.Network, MAE: 2, Naive: 4},
			{Component: wire.ComponentID(web), Resource: schemas.CPU, Forecaster: schemas.Network, MAE: 1, Naive: 4},
		},
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(a) })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Errorf("accuracy (-want +got):\n%s", diff)
	}

	// A day later there is a point more, and its components are shown.
	measure(t, w, today.Add(time.Hour), today.Add(aDay), doubling, web, db)
	for at := today.Add(schemas.DefaultStep); !at.After(today.Add(aDay)); at = at.Add(schemas.DefaultStep) {
		forecast(t, w, at, func(id schemas.ComponentID, at time.Time) float64 { return doubling(id, at) - 2 }, web)
	}
	got = settle(t, w)
	if n := len(got.Points); n != 3 || !got.Points[2].Time.Equal(today) || len(got.Components) == 0 || got.Components[len(got.Components)-1].Component != wire.ComponentID(web) {
		t.Fatalf("a day later: %+v", got)
	}
	if c := got.Components[len(got.Components)-1]; c.Naive != 8 || math.Abs(c.MAE-2) > 1e-6 {
		t.Errorf("web is %+v, want an error of 2 beside one of 8", c)
	}
}

func TestRealisedAccuracyNeedsBothSides(t *testing.T) {
	today := apitest.Now.Truncate(aDay)
	yesterday := today.Add(-aDay)
	for _, tt := range []struct {
		name     string
		forecast bool
		usage    func(at time.Time) float64 // NaN for what was not measured
		until    time.Time
		basis    string
	}{
		{"a day that is not over", true, func(at time.Time) float64 { return float64(at.Day()) }, today.Add(-time.Hour), "backtest"},
		{"a day without forecasts", false, func(at time.Time) float64 { return float64(at.Day()) }, today, "backtest"},
		{"no day before", true, func(at time.Time) float64 {
			if at.Before(yesterday) {
				return math.NaN()
			}
			return 1
		}, today, "backtest"},
		{"hardly anything measured", true, func(at time.Time) float64 {
			if at.Hour() != 3 && !at.Before(yesterday) {
				return math.NaN()
			}
			return float64(at.Day())
		}, today, "backtest"},
		{"a third measured", true, func(at time.Time) float64 {
			if at.Hour()%3 != 0 && !at.Before(yesterday) {
				return math.NaN()
			}
			return float64(at.Day())
		}, today, "realised"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := apitest.New(t, []schemas.ComponentID{web})
			apitest.Models(t, w.Store, []schemas.ComponentID{web}, today, "train-1")
			// What is measured last is of another component, so that the time is.
			measure(t, w, yesterday.Add(-aDay), tt.until, func(id schemas.ComponentID, at time.Time) float64 {
				if id == pay {
					return 1
				}
				return tt.usage(at)
			}, web, pay)
			if tt.forecast {
				for at := yesterday; at.Before(today); at = at.Add(time.Hour) {
					forecast(t, w, at, func(schemas.ComponentID, time.Time) float64 { return 100 }, web)
				}
			}
			if got := settle(t, w); got.Basis != tt.basis || len(got.Points) != 1 {
				t.Errorf("accuracy is %+v, want one point of basis %s", got, tt.basis)
			}
		})
	}
}

// TestAccuracyWhileTheStoreComesAndGoes breaks the store off in the midst of a day.
func TestAccuracyWhileTheStoreComesAndGoes(t *testing.T) {
	today := apitest.Now.Truncate(aDay)
	w := apitest.New(t, []schemas.ComponentID{web})
	measure(t, w, today.Add(-2*aDay), today, func(_ schemas.ComponentID, at time.Time) float64 { return float64(at.Day()) }, web)
	for at := today.Add(-aDay); at.Before(today); at = at.Add(time.Hour) {
		forecast(t, w, at, func(_ schemas.ComponentID, at time.Time) float64 { return float64(at.Day()) + .5 }, web)
	}
	for range 60 {
		w.Bucket.Down(true)
		if err := w.View.Refresh(t.Context()); schemas.CodeOf(err) != schemas.CodeUnavailable {
			t.Fatalf("a refresh without a store returns %v", err)
		}
		w.Bucket.Down(false)
		w.Refresh(t)
	}
	if got := read[wire.Accuracy](t, w, "/v1/accuracy"); got.Basis != "realised" || len(got.Points) != 1 || math.Abs(got.Points[0].Ratio-.5) > 1e-6 {
		t.Errorf("accuracy is %+v", got)
	}
}

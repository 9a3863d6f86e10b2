package plugins_test

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/schemas"
)

// Each test here is named for a failure that predictive autoscalers have had in
// the field, and holds us to not having it.

// custom is a forecaster of the test's own.
type custom struct {
	forecast func(c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status)
}

func (custom) Name() string { return "Custom" }
func (p custom) Forecast(_ context.Context, _ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	return p.forecast(c, r, steps)
}

// newFramework returns the default profile with the baseline and, where they are
// given, other plugins.
func newFramework(t *testing.T, extra ...framework.Plugin) *runtime.Framework {
	t.Helper()
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		t.Fatal(err)
	}
	profile.Plugins = slices.DeleteFunc(profile.Plugins, func(p string) bool { return p == schemas.Bank || p == schemas.Network || p == schemas.Hedge })
	f, err := runtime.New(plugins.NewRegistry(), profile, runtime.Options{Plugins: append(extra, manifest.New(nil))})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func candidate(name string, values []float64) *framework.Candidate {
	id := schemas.ComponentID{Service: "web", Component: name}
	s := series(schemas.CPU, values...)
	s.Component = id
	p := schemas.DefaultPolicy()
	p.MinReplicas, p.MaxReplicas = 2, 50
	return &framework.Candidate{Component: id, Now: now, Policy: p, Requests: schemas.Requests{schemas.CPU: 1},
		Series: map[schemas.Resource]*schemas.Series{schemas.CPU: s}}
}

// A history that was sorted newest first, in place, and then appended to, fed a
// model backwards.
func TestRegressionOrder(t *testing.T) {
	values := slices.Concat(ramp(10), ramp(30), ramp(50))
	c := candidate("api", slices.Clone(values))
	spy := custom{func(c *framework.Candidate, r schemas.Resource, _ int) (*schemas.Forecast, *framework.Status) {
		s := c.Series[r]
		for i := 1; i < s.Len(); i++ {
			if !s.Time(i).After(s.Time(i - 1)) {
				t.Errorf("bucket %d begins at %s, not after %s", i, s.Time(i), s.Time(i-1))
			}
		}
		if !s.End().Equal(now) {
			t.Errorf("the newest bucket ends at %s, want %s", s.End(), now)
		}
		return nil, framework.NewStatus(framework.Skip, "", "only looking")
	}}
	f := newFramework(t, spy)
	for run := range 3 {
		r := f.Run(t.Context(), "run", []*framework.Candidate{c})[0]
		// Backwards, the forecast would go on from 10 and not from 50.
		if got := r.Forecasts[schemas.CPU].At(0, 0.5); got != 70 {
			t.Errorf("run %d: the forecast goes on with %v, want 70", run, got)
		}
		if diff := cmp.Diff(values, c.Series[schemas.CPU].Mean); diff != "" {
			t.Fatalf("run %d changed the history (-before +after):\n%s", run, diff)
		}
	}
}

// A model without enough history voted for 0 replicas and was counted.
func TestRegressionColdVote(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	f := newFramework(t)
	for range 500 {
		values := slices.Repeat([]float64{rng.Float64() * 100}, rng.IntN(day))
		c := candidate("api", values)
		c.Policy = schemas.Policy{
			Mode: schemas.Auto, MinReplicas: int32(1 + rng.IntN(20)), CPUUtilization: 0.1 + rng.Float64(), MemoryUtilization: 0.5, PeakUtilization: 1,
			Quantile: 0.05 + 0.9*rng.Float64(), LeadTime: time.Duration(rng.IntN(3600)) * time.Second, MaxStep: int32(rng.IntN(5)),
		}
		c.Policy.MaxReplicas = c.Policy.MinReplicas + int32(rng.IntN(30))
		d := f.Run(t.Context(), "run", []*framework.Candidate{c})[0].Decision
		if d.MinReplicas != c.Policy.MinReplicas || d.MaxReplicas != c.Policy.MaxReplicas || d.Reason.UsesForecast() {
			t.Fatalf("with %d buckets the bounds are %d to %d (%s), want the operator's %d to %d",
				len(values), d.MinReplicas, d.MaxReplicas, d.Reason, c.Policy.MinReplicas, c.Policy.MaxReplicas)
		}
	}
}

// A forecast of 0.9 cores was written as a whole number: 0.
func TestRegressionPrecision(t *testing.T) {
	const cores = 0.9
	c, err := sim.New(sim.Config{Start: now}, []sim.Workload{{
		Component: web, Requests: schemas.Requests{schemas.CPU: 0.1}, Utilization: map[schemas.Resource]float64{schemas.CPU: 0.7},
		Demand:      map[schemas.Resource]sim.Trace{schemas.CPU: {Start: now.Add(-48 * time.Hour), Values: slices.Repeat([]float64{cores}, 48*60)}},
		MinReplicas: 1, MaxReplicas: 50,
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := series(schemas.CPU)
	s.Start = now.Add(-48 * time.Hour)
	if err := c.Samples(t.Context(), s.Start, now, s.Step, func(sample *schemas.Sample) error {
		s.Mean = append(s.Mean, sample.CPU.Mean)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	api := candidate("api", s.Mean)
	api.Requests[schemas.CPU] = 0.1
	r := newFramework(t).Run(t.Context(), "run", []*framework.Candidate{api})[0]
	if got := r.Forecasts[schemas.CPU].At(0, 0.5); math.Abs(got-cores) > 1e-12 {
		t.Errorf("forecast = %v cores, want %v", got, cores)
	}
	data, err := json.Marshal(r.Decision)
	if err != nil {
		t.Fatal(err)
	}
	var read schemas.Decision
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Decision, &read); diff != "" {
		t.Errorf("decision after a trip through JSON (-want +got):\n%s", diff)
	}
	// 0.9 cores at 70 % of a tenth of a core.
	if math.Abs(read.Demands[0].Usage-cores) > 1e-12 || read.MinReplicas != 13 {
		t.Errorf("%v cores give %d replicas, want %v and 13", read.Demands[0].Usage, read.MinReplicas, cores)
	}
}

// A set of models that had all failed was asked for its best, and diverged
// models' numbers were used.
func TestRegressionNilOrNaNModel(t *testing.T) {
	fill := func(v float64) func(*framework.Candidate, schemas.Resource, int) (*schemas.Forecast, *framework.Status) {
		return func(c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
			f := schemas.NewForecast(c.Series[r], steps, schemas.DefaultLevels())
			for i := range f.Values {
				f.Values[i] = v
			}
			return f, nil
		}
	}
	for _, tt := range []struct {
		name     string
		forecast func(*framework.Candidate, schemas.Resource, int) (*schemas.Forecast, *framework.Status)
		values   []float64
		want     int32
		reason   schemas.Reason
	}{
		// With two days of 7 cores the baseline has an answer: 10 replicas.
		{"nil beside a sound baseline", func(*framework.Candidate, schemas.Resource, int) (*schemas.Forecast, *framework.Status) {
			return nil, nil
		}, slices.Repeat([]float64{7}, 2*day), 10, schemas.FloorRaised},
		{"NaN beside a sound baseline", fill(math.NaN()), slices.Repeat([]float64{7}, 2*day), 10, schemas.FloorRaised},
		{"infinity beside a sound baseline", fill(math.Inf(1)), slices.Repeat([]float64{7}, 2*day), 10, schemas.FloorRaised},
		{"negative usage beside a sound baseline", fill(-5), slices.Repeat([]float64{7}, 2*day), 10, schemas.FloorRaised},
		{"a panic", func(*framework.Candidate, schemas.Resource, int) (*schemas.Forecast, *framework.Status) {
			var none *schemas.Forecast
			return none, framework.NewStatus(framework.Success, "", none.Component.String())
		}, slices.Repeat([]float64{7}, 2*day), 2, schemas.PluginError},
		{"a hundred times what was ever seen, beside a sound baseline", fill(700), slices.Repeat([]float64{7}, 2*day), 10, schemas.FloorRaised},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sound := candidate("sound", slices.Repeat([]float64{7}, 2*day))
			results := newFramework(t, custom{func(c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
				if c == sound {
					return nil, framework.NewStatus(framework.Skip, "", "not asked")
				}
				return tt.forecast(c, r, steps)
			}}).Run(t.Context(), "run", []*framework.Candidate{candidate("api", tt.values), sound})
			d := results[0].Decision
			if d.MinReplicas != tt.want || d.Reason != tt.reason {
				t.Errorf("floor = %d (%s: %s), want %d (%s)", d.MinReplicas, d.Reason, d.Message, tt.want, tt.reason)
			}
			if d := results[1].Decision; d.MinReplicas != 10 || d.Reason != schemas.FloorRaised {
				t.Errorf("the component beside it: %d (%s), want 10 (FloorRaised)", d.MinReplicas, d.Reason)
			}
		})
	}
	t.Run("no answer but NaN", func(t *testing.T) {
		profile, err := plugins.Profile(plugins.DefaultProfile)
		if err != nil {
			t.Fatal(err)
		}
		profile.Plugins = slices.DeleteFunc(profile.Plugins, func(p string) bool {
			return p == schemas.Bank || p == schemas.Network || p == schemas.Hedge || p == schemas.SeasonalNaive
		})
		for _, tt := range []struct {
			value float64
			want  schemas.Reason
		}{
			{math.NaN(), schemas.InvalidForecast}, {math.Inf(1), schemas.InvalidForecast}, {-1, schemas.InvalidForecast},
			{700, schemas.ForecastOutOfRange}, // a hundred times what was ever seen
		} {
			f, err := runtime.New(plugins.NewRegistry(), profile, runtime.Options{Plugins: []framework.Plugin{custom{fill(tt.value)}, manifest.New(nil)}})
			if err != nil {
				t.Fatal(err)
			}
			d := f.Run(t.Context(), "run", []*framework.Candidate{candidate("api", slices.Repeat([]float64{7}, 2*day))})[0].Decision
			if d.MinReplicas != 2 || d.Reason != tt.want {
				t.Errorf("a forecast of %v gives %d (%s), want 2 (%s)", tt.value, d.MinReplicas, d.Reason, tt.want)
			}
		}
	})
}

// Missing samples were filled with 0, and the workload was scaled down in an
// outage of its metrics.
func TestRegressionMissingData(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	whole := slices.Repeat([]float64{7}, 5*day)
	for _, missing := range []float64{0.1, 0.25, 0.45} {
		values := slices.Clone(whole)
		for i := range values {
			if rng.Float64() < missing {
				values[i] = math.NaN()
			}
		}
		before := slices.Clone(values)
		c := candidate("api", values)
		r := newFramework(t).Run(t.Context(), "run", []*framework.Candidate{c})[0]
		if r.Decision.MinReplicas != 10 {
			t.Errorf("with %.0f %% of 7 cores missing the floor is %d (%s), want 10", 100*missing, r.Decision.MinReplicas, r.Decision.Reason)
		}
		for i := range r.Forecasts[schemas.CPU].Steps() {
			if got := r.Forecasts[schemas.CPU].At(i, 0.1); got != 7 {
				t.Fatalf("with %.0f %% missing step %d is forecast at %v, want 7", 100*missing, i+1, got)
			}
		}
		if diff := cmp.Diff(before, values, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("gaps must stay gaps (-before +after):\n%s", diff)
		}
	}
	t.Run("an outage of the metrics releases the floor and does not lower it to 1", func(t *testing.T) {
		c := candidate("api", slices.Concat(whole, gap(25)))
		c.Previous = &schemas.Decision{Component: c.Component, Time: now.Add(-15 * time.Minute), MinReplicas: 10}
		d := newFramework(t).Run(t.Context(), "run", []*framework.Candidate{c})[0].Decision
		if d.MinReplicas != c.Policy.MinReplicas || d.Reason != schemas.StaleSamples {
			t.Errorf("floor = %d (%s), want the operator's %d (StaleSamples)", d.MinReplicas, d.Reason, c.Policy.MinReplicas)
		}
		if got, err := replicas.Recompute(d); err != nil || got != d.MinReplicas {
			t.Errorf("Recompute = %d, %v", got, err)
		}
	})
}

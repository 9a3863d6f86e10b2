package replicas_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

// The properties are cheap, so that each is tried on many more cases than is
// usual, and always on the same ones unless told otherwise.
func TestMain(m *testing.M) {
	flag.Parse()
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "20000", "rapid.seed": "1"} {
		if !given[name] {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

var (
	web = schemas.ComponentID{Namespace: "shop", Service: "web", Component: "api"}
	now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
)

const gib = 1 << 30

// forecast makes a forecast from the usage of each quarter hour from now on:
// the median is the value itself, and level l is value x (0.5 + l).
func forecast(r schemas.Resource, values ...float64) *schemas.Forecast {
	levels := schemas.DefaultLevels()
	f := &schemas.Forecast{Component: web, Resource: r, Origin: now, Step: 15 * time.Minute, Levels: levels, Forecasters: []string{"Test"}}
	for _, v := range values {
		for _, l := range levels {
			f.Values = append(f.Values, v*(0.5+l))
		}
	}
	return f
}

// flat makes a forecast of the same value at every level.
func flat(r schemas.Resource, values ...float64) *schemas.Forecast {
	f := forecast(r, values...)
	n := len(f.Levels)
	for i := range f.Values {
		f.Values[i] = values[i/n]
	}
	return f
}

// withPeaks adds a forecast of the peaks, the same at every level.
func withPeaks(f *schemas.Forecast, peaks ...float64) *schemas.Forecast {
	f.Peaks = flat(f.Resource, peaks...).Values
	return f
}

func policy(edit ...func(*schemas.Policy)) schemas.Policy {
	p := schemas.DefaultPolicy()
	p.Mode, p.MinReplicas, p.MaxReplicas = schemas.Auto, 2, 10
	for _, e := range edit {
		e(&p)
	}
	return p
}

func decided(floor int32, ago time.Duration) *schemas.Decision {
	return &schemas.Decision{Component: web, Time: now.Add(-ago), MinReplicas: floor, Applied: true}
}

type forecasts = map[schemas.Resource]*schemas.Forecast

func TestPlan(t *testing.T) {
	cpu1 := schemas.Requests{schemas.CPU: 1}
	seven, earlier := int32(7), now.Add(-20*time.Minute)
	for _, tt := range []struct {
		name      string
		policy    schemas.Policy
		requests  schemas.Requests
		forecasts forecasts
		highest   map[schemas.Resource]float64
		previous  *schemas.Decision

		want   int32
		reason schemas.Reason
		clamps []string
	}{
		{name: "usage is divided by what a pod should use of its request",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 4.2, 4.2, 4.2)},
			want: 6, reason: schemas.FloorRaised},
		{name: "a part of a pod is a pod",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 4.21, 4.21)},
			want: 7, reason: schemas.FloorRaised},
		{name: "the quantile of the policy decides",
			policy:   policy(func(p *schemas.Policy) { p.Quantile = 0.9 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: forecast(schemas.CPU, 3, 3)},
			want: 6, reason: schemas.FloorRaised}, // 3 x 1.4 / 0.7
		{name: "the highest bucket within interval and lead time decides",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 1, 5, 7)},
			want: 8, reason: schemas.FloorRaised}, // to 09:17: the second bucket counts, the third does not
		{name: "a longer lead time looks further ahead",
			policy:   policy(func(p *schemas.Policy) { p.LeadTime = 16 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 1, 5, 6.9)},
			want: 10, reason: schemas.FloorRaised},
		{name: "the larger of CPU and memory decides",
			policy: policy(), requests: schemas.Requests{schemas.CPU: 1, schemas.Memory: gib},
			forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2), schemas.Memory: flat(schemas.Memory, 3*gib, 3*gib)},
			want:      5, reason: schemas.FloorRaised},
		{name: "a peak that is forecast decides at the peak utilisation",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: withPeaks(flat(schemas.CPU, 2.1, 2.1), 3, 5.5)},
			want: 6, reason: schemas.FloorRaised},
		{name: "beside a peak the median of the mean decides at the target utilisation",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: withPeaks(forecast(schemas.CPU, 4.2, 4.2), 3, 5.5)},
			want: 6, reason: schemas.FloorRaised},
		{name: "peaks that end within the window leave the quantile of the mean",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: withPeaks(forecast(schemas.CPU, 3, 3), 3)},
			want: 6, reason: schemas.FloorRaised}, // 3 x 1.3 / 0.7
		{name: "a peak of NaN is never used",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: withPeaks(flat(schemas.CPU, 3, 3), math.NaN(), 3)},
			want: 2, reason: schemas.InvalidForecast},
		{name: "a resource without a request takes no part",
			policy: policy(), requests: cpu1,
			forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2), schemas.Memory: flat(schemas.Memory, 300*gib, 300*gib)},
			want:      3, reason: schemas.FloorRaised},
		{name: "a resource with a request of 0 takes no part",
			policy: policy(), requests: schemas.Requests{schemas.CPU: 1, schemas.Memory: 0},
			forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2), schemas.Memory: flat(schemas.Memory, 300*gib, 300*gib)},
			want:      3, reason: schemas.FloorRaised},
		{name: "a resource without a forecast takes no part",
			policy: policy(), requests: schemas.Requests{schemas.CPU: 1, schemas.Memory: gib},
			forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)},
			want:      3, reason: schemas.FloorRaised},

		{name: "the operator's maximum holds",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 50, 50)},
			want: 10, reason: schemas.FloorRaised, clamps: []string{replicas.ClampMaxReplicas}},
		{name: "the operator's minimum holds",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 0.1, 0.1)},
			want: 2, reason: schemas.FloorKept, clamps: []string{replicas.ClampMinReplicas}},
		{name: "a forecast of nothing is the operator's minimum",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 0, 0)},
			want: 2, reason: schemas.FloorKept, clamps: []string{replicas.ClampMinReplicas}},
		{name: "a rise is cut to the largest step from the floor before",
			policy:   policy(func(p *schemas.Policy) { p.MaxStep = 2 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 6, 6)}, previous: decided(4, time.Hour),
			want: 6, reason: schemas.FloorRaised, clamps: []string{replicas.ClampMaxStep}},
		{name: "a first rise is cut to the largest step from the operator's minimum",
			policy:   policy(func(p *schemas.Policy) { p.MaxStep = 2 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 6, 6)},
			want: 4, reason: schemas.FloorRaised, clamps: []string{replicas.ClampMaxStep}},
		{name: "a fall is not a step up",
			policy:   policy(func(p *schemas.Policy) { p.MaxStep = 1 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)}, previous: decided(9, time.Hour),
			want: 3, reason: schemas.FloorLowered},
		{name: "a floor is held before it is lowered",
			policy:   policy(func(p *schemas.Policy) { p.Hold = 30 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)}, previous: decided(9, 29*time.Minute),
			want: 9, reason: schemas.FloorKept, clamps: []string{replicas.ClampHold}},
		{name: "a floor that was held for long enough is lowered",
			policy:   policy(func(p *schemas.Policy) { p.Hold = 30 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)}, previous: decided(9, 30*time.Minute),
			want: 3, reason: schemas.FloorLowered},
		{name: "a held floor still obeys a maximum that was lowered since",
			policy:   policy(func(p *schemas.Policy) { p.Hold, p.MaxReplicas = 30*time.Minute, 5 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)}, previous: decided(9, time.Minute),
			want: 5, reason: schemas.FloorKept, clamps: []string{replicas.ClampHold}},
		{name: "a step still obeys a minimum that was raised since",
			policy:   policy(func(p *schemas.Policy) { p.MaxStep, p.MinReplicas = 1, 8 }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)}, previous: decided(2, time.Minute),
			want: 8, reason: schemas.FloorKept, clamps: []string{replicas.ClampMinReplicas}},
		{name: "a floor that was never applied is no floor",
			policy:   policy(func(p *schemas.Policy) { p.Hold = 30 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)},
			previous: &schemas.Decision{Component: web, Time: now.Add(-time.Minute), MinReplicas: 9, Policy: policy()},
			want:     3, reason: schemas.FloorRaised},
		{name: "where one was not applied, the floor before it still stands",
			policy:   policy(func(p *schemas.Policy) { p.Hold = 30 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)},
			previous: &schemas.Decision{Component: web, Time: now.Add(-time.Minute), MinReplicas: 9, Policy: policy(), PreviousReplicas: &seven, PreviousSince: &earlier},
			want:     7, reason: schemas.FloorKept, clamps: []string{replicas.ClampHold}},
		{name: "what was only decided in the shadow never stood",
			policy:   policy(func(p *schemas.Policy) { p.Hold = 30 * time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)},
			previous: &schemas.Decision{Component: web, Time: now.Add(-time.Minute), MinReplicas: 9, Policy: schemas.DefaultPolicy(), PreviousReplicas: &seven, PreviousSince: &earlier},
			want:     3, reason: schemas.FloorRaised},
		{name: "in the shadow no floor is ever applied and each counts",
			policy:   policy(func(p *schemas.Policy) { p.Mode, p.Hold = schemas.Shadow, 30*time.Minute }),
			requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 2, 2)},
			previous: &schemas.Decision{Component: web, Time: now.Add(-time.Minute), MinReplicas: 9},
			want:     9, reason: schemas.FloorKept, clamps: []string{replicas.ClampHold}},

		{name: "no forecast gives the operator's number back",
			policy: policy(), requests: cpu1, previous: decided(9, time.Minute),
			want: 2, reason: schemas.NoForecast},
		{name: "no request gives the operator's number back",
			policy: policy(), forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 9, 9)},
			want: 2, reason: schemas.NoRequests},
		{name: "a forecast that ends within the window is none",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 9)},
			want: 2, reason: schemas.NoForecast},
		{name: "a forecast of NaN is never used",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 4, math.NaN())},
			want: 2, reason: schemas.InvalidForecast},
		{name: "a forecast of infinity is never used",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, math.Inf(1), 4)},
			want: 2, reason: schemas.InvalidForecast},
		{name: "a negative forecast is never used",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, -1, 4)},
			want: 2, reason: schemas.InvalidForecast},
		{name: "a forecast beyond any machine is never used",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 1e12, 4)},
			want: 2, reason: schemas.InvalidForecast},
		{name: "one broken resource spoils the other",
			policy: policy(), requests: schemas.Requests{schemas.CPU: 1, schemas.Memory: gib},
			forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 4, 4), schemas.Memory: flat(schemas.Memory, math.NaN(), 1)},
			want:      2, reason: schemas.InvalidForecast},
		{name: "three times the highest ever seen is believed",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 3, 3)},
			highest: map[schemas.Resource]float64{schemas.CPU: 1},
			want:    5, reason: schemas.FloorRaised},
		{name: "more than three times the highest ever seen is not believed",
			policy: policy(), requests: cpu1, forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 3.01, 3.01)},
			highest: map[schemas.Resource]float64{schemas.CPU: 1}, previous: decided(9, time.Minute),
			want: 2, reason: schemas.ForecastOutOfRange, clamps: []string{replicas.ClampReleased}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := replicas.Plan(replicas.Input{
				Component: web, Now: now, Interval: 15 * time.Minute,
				Policy: tt.policy, Requests: tt.requests, Forecasts: tt.forecasts, Highest: tt.highest, Previous: tt.previous,
			})
			if d.MinReplicas != tt.want || d.Reason != tt.reason {
				t.Errorf("floor = %d (%s: %s), want %d (%s)", d.MinReplicas, d.Reason, d.Message, tt.want, tt.reason)
			}
			var clamps []string
			for _, c := range d.Clamps {
				clamps = append(clamps, c.Name)
			}
			if diff := cmp.Diff(tt.clamps, clamps); diff != "" {
				t.Errorf("clamps (-want +got):\n%s", diff)
			}
			if d.MaxReplicas != tt.policy.MaxReplicas {
				t.Errorf("ceiling = %d, want the operator's %d", d.MaxReplicas, tt.policy.MaxReplicas)
			}
			if d.Message == "" {
				t.Error("a decision must say why")
			}
			recompute(t, d)
		})
	}
}

// recompute checks that the record alone gives the same floor, also after a
// trip through JSON.
func recompute(t interface {
	Helper()
	Fatalf(string, ...any)
}, d schemas.Decision) {
	t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatalf("a decision must be JSON: %v", err)
	}
	var read schemas.Decision
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatalf("read %s: %v", data, err)
	}
	got, err := replicas.Recompute(&read)
	if err != nil || got != d.MinReplicas {
		t.Fatalf("Recompute = %d, %v; the decision was %d: %s", got, err, d.MinReplicas, data)
	}
}

func TestPlanKeepsTheWholeRecord(t *testing.T) {
	previous := decided(3, 20*time.Minute)
	since, three := now.Add(-2*time.Hour), int32(3)
	previous.PreviousReplicas, previous.PreviousSince = &three, &since
	p := policy(func(p *schemas.Policy) { p.MaxStep = 1 })
	got := replicas.Plan(replicas.Input{
		Component: web, Run: "run-7", Now: now, Interval: 15 * time.Minute, Policy: p,
		Requests:  schemas.Requests{schemas.CPU: 0.5, schemas.Memory: gib},
		Forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 1, 1.7, 9), schemas.Memory: withPeaks(flat(schemas.Memory, gib, gib, gib), gib, 3*gib)},
		Previous:  previous,
	})
	want := schemas.Decision{
		Component: web, Run: "run-7", Time: now, Policy: p,
		From: now, To: now.Add(17 * time.Minute), Expires: now.Add(32 * time.Minute),
		Demands: []schemas.Demand{
			{Resource: schemas.CPU, Statistic: schemas.Mean, Level: 0.8, Usage: 1.7, Bucket: now.Add(15 * time.Minute), Request: 0.5, Utilization: 0.7, UtilizationFrom: "default", Replicas: 5},
			{Resource: schemas.Memory, Statistic: schemas.Mean, Level: 0.5, Usage: gib, Bucket: now, Request: gib, Utilization: 0.7, UtilizationFrom: "default", Replicas: 2},
			{Resource: schemas.Memory, Statistic: schemas.Peak, Level: 0.8, Usage: 3 * gib, Bucket: now.Add(15 * time.Minute), Request: gib, Utilization: 1, UtilizationFrom: "default", Replicas: 3},
		},
		Clamps:           []schemas.Clamp{{Name: "MaxStep", Before: 5, After: 4, Message: "the floor may rise by 1 at once"}},
		PreviousReplicas: &three, PreviousSince: &since,
		MinReplicas: 4, MaxReplicas: 10,
		Reason:  schemas.FloorRaised,
		Message: "cpu is forecast to reach 1.7 cores in the mean of the bucket at 2026-03-02 09:15:00Z (quantile 0.8): 5 replicas at 70 % of a request of 0.5 cores; limited to 4, because the floor may rise by 1 at once",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

// What a pod should use is what its own autoscaler wants, unless the operator's
// policy says otherwise; the record says which of them it was.
func TestADecisionSaysWhereItsTargetComesFrom(t *testing.T) {
	const hpa = "HorizontalPodAutoscaler/web"
	adopting := func(u map[schemas.Resource]float64) func(*schemas.Policy) {
		return func(p *schemas.Policy) { p.Adopt(hpa, u) }
	}
	cpu, memory := flat(schemas.CPU, 3, 3), flat(schemas.Memory, 3*gib, 3*gib)
	for _, tt := range []struct {
		name    string
		policy  func(*schemas.Policy)
		formula schemas.Formula
		cpu     *schemas.Forecast
		floor   int32
		want    []string // of each demand: resource, statistic, target, origin, replicas
		message string
	}{
		{name: "nobody has said anything", policy: func(*schemas.Policy) {}, cpu: cpu, floor: 5,
			want: []string{"cpu mean 0.7 default 5", "memory mean 0.7 default 5"}, message: "5 replicas at 70 % of a request"},
		{name: "the autoscaler's own target counts for its resource alone", policy: adopting(map[schemas.Resource]float64{schemas.CPU: .5}), cpu: cpu, floor: 6,
			want: []string{"cpu mean 0.5 " + hpa + " 6", "memory mean 0.7 default 5"}, message: "6 replicas at 50 % (" + hpa + ") of a request"},
		{name: "or for both", policy: adopting(map[schemas.Resource]float64{schemas.CPU: .6, schemas.Memory: .9}), cpu: cpu, floor: 5,
			want: []string{"cpu mean 0.6 " + hpa + " 5", "memory mean 0.9 " + hpa + " 4"}, message: "5 replicas at 60 % (" + hpa + ") of a request"},
		{name: "a number that was set comes from the policy", policy: func(p *schemas.Policy) { p.CPUUtilization = .8 }, cpu: cpu, floor: 5,
			want: []string{"cpu mean 0.8 policy 4", "memory mean 0.7 default 5"}, message: "5 replicas at 70 % of a request"},
		{name: "also where it is the default's", policy: func(p *schemas.Policy) {
			p.CPUUtilizationFrom, p.MemoryUtilization = schemas.FromPolicy, .9
		}, cpu: cpu, floor: 5,
			want: []string{"cpu mean 0.7 policy 5", "memory mean 0.9 policy 4"}, message: "5 replicas at 70 % (policy) of a request"},
		{name: "the peak has a share of its own", policy: adopting(map[schemas.Resource]float64{schemas.CPU: .5}), cpu: withPeaks(flat(schemas.CPU, 2, 2), 6, 6), floor: 6,
			want: []string{"cpu mean 0.5 " + hpa + " 4", "cpu peak 1 default 6", "memory mean 0.7 default 5"}, message: "6 replicas at 100 % of a request"},
		{name: "which is no less than what the autoscaler wants used all the time", policy: adopting(map[schemas.Resource]float64{schemas.CPU: 1.5}), cpu: withPeaks(flat(schemas.CPU, 6, 6), 9, 9), floor: 6,
			want: []string{"cpu mean 1.5 " + hpa + " 4", "cpu peak 1.5 " + hpa + " 6", "memory mean 0.7 default 5"}, message: "6 replicas at 150 % (" + hpa + ") of a request"},
		{name: "the classic formula knows one share only", policy: adopting(map[schemas.Resource]float64{schemas.CPU: .5}), formula: schemas.FormulaClassic, cpu: cpu, floor: 4,
			want: []string{"cpu mean 0.75 formula 4", "memory mean 0.75 formula 4"}, message: "4 replicas at 75 % of a request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := replicas.Plan(replicas.Input{
				Component: web, Now: now, Interval: 15 * time.Minute, Policy: policy(tt.policy), Formula: tt.formula,
				Requests:  schemas.Requests{schemas.CPU: 1, schemas.Memory: gib},
				Forecasts: forecasts{schemas.CPU: tt.cpu, schemas.Memory: memory},
			})
			var got []string
			for _, x := range d.Demands {
				got = append(got, fmt.Sprintf("%s %s %g %s %d", x.Resource, x.Statistic, x.Utilization, x.UtilizationFrom, x.Replicas))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("demands (-want +got):\n%s", diff)
			}
			if d.MinReplicas != tt.floor || !strings.Contains(d.Message, tt.message) {
				t.Errorf("floor %d: %s; want %d and %q", d.MinReplicas, d.Message, tt.floor, tt.message)
			}
			recompute(t, d)
		})
	}
}

func TestCeilForgivesFloatNoiseAndNothingElse(t *testing.T) {
	tenth, fifth := 0.1, 0.2
	for _, tt := range []struct {
		name          string
		usage, perPod float64
		want          int32
	}{
		{"0.1 + 0.2 over 0.1 are three", tenth + fifth, tenth, 3},
		{"a whole number is itself", 6, 2, 3},
		{"a thousandth too much is one more", 3.001, 1, 4},
		{"a millionth too much is one more", 3.000001, 1, 4},
		{"nothing needs nothing", 0, 1, 0},
		{"the smallest usage needs one", 1e-12, 1, 1},
		{"0.9 cores are not 0", 0.9, 1, 1},
		{"an absurd quotient ends at the largest number of replicas", 1e300, 1e-300, schemas.MaxReplicas},
		{"NaN ends there too, and not at 0", math.NaN(), 1, schemas.MaxReplicas},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := replicas.Ceil(tt.usage, tt.perPod); got != tt.want {
				t.Errorf("Ceil(%v, %v) = %d, want %d", tt.usage, tt.perPod, got, tt.want)
			}
		})
	}
}

func TestKeepAndReleaseStayInTheRecord(t *testing.T) {
	plan := func() schemas.Decision {
		return replicas.Plan(replicas.Input{
			Component: web, Now: now, Interval: 15 * time.Minute, Policy: policy(),
			Requests: schemas.Requests{schemas.CPU: 1}, Forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 50, 50)}, Previous: decided(4, time.Minute),
		})
	}
	t.Run("keep holds on to the floor before", func(t *testing.T) {
		d := plan()
		replicas.Keep(&d, schemas.CoolingDown, "too soon")
		if d.MinReplicas != 4 || d.Reason != schemas.CoolingDown {
			t.Errorf("floor = %d (%s), want 4 (CoolingDown)", d.MinReplicas, d.Reason)
		}
		recompute(t, d)
	})
	t.Run("release gives the operator's number back", func(t *testing.T) {
		d := plan()
		replicas.Limit(&d, "Capacity", 7, "the cluster is full")
		replicas.Release(&d, schemas.TargetNotScalable, "somebody else scales it")
		if d.MinReplicas != 2 || d.Reason != schemas.TargetNotScalable {
			t.Errorf("floor = %d (%s), want 2 (TargetNotScalable)", d.MinReplicas, d.Reason)
		}
		want := []schemas.Clamp{
			{Name: "MaxReplicas", Before: 72, After: 10, Message: "maxReplicas is 10"},
			{Name: "Capacity", Before: 10, After: 7, Message: "the cluster is full"},
			{Name: "Released", Before: 7, After: 2, Message: "somebody else scales it"},
		}
		if diff := cmp.Diff(want, d.Clamps); diff != "" {
			t.Errorf("clamps (-want +got):\n%s", diff)
		}
		recompute(t, d)
	})
}

func TestRecomputeFindsARecordThatContradictsItself(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*schemas.Decision)
	}{
		{"the floor was changed", func(d *schemas.Decision) { d.MinReplicas++ }},
		{"a demand was changed", func(d *schemas.Decision) { d.Demands[0].Replicas++ }},
		{"a usage was changed", func(d *schemas.Decision) { d.Demands[0].Usage *= 2 }},
		{"a clamp was removed", func(d *schemas.Decision) { d.Clamps = nil }},
		{"a clamp was changed", func(d *schemas.Decision) { d.Clamps[0].After = 3 }},
		{"the policy was changed", func(d *schemas.Decision) { d.Policy.MaxReplicas = 20 }},
		{"a clamp was added that begins elsewhere", func(d *schemas.Decision) {
			d.Clamps = append(d.Clamps, schemas.Clamp{Name: "Capacity", Before: 99, After: d.MinReplicas})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := replicas.Plan(replicas.Input{
				Component: web, Now: now, Interval: 15 * time.Minute, Policy: policy(),
				Requests: schemas.Requests{schemas.CPU: 1}, Forecasts: forecasts{schemas.CPU: flat(schemas.CPU, 50, 50)},
			})
			tt.edit(&d)
			if _, err := replicas.Recompute(&d); schemas.CodeOf(err) != schemas.CodeCorrupt {
				t.Errorf("Recompute error = %v, want one with code %s", err, schemas.CodeCorrupt)
			}
		})
	}
}

// drawInput draws anything that a run could ask for, sane or not.
func drawInput(t *rapid.T) replicas.Input {
	lowest := rapid.Int32Range(1, 50).Draw(t, "min")
	in := replicas.Input{
		Component: web, Now: now, Interval: rapid.SampledFrom([]time.Duration{time.Minute, 15 * time.Minute, time.Hour}).Draw(t, "interval"),
		Formula: rapid.SampledFrom([]schemas.Formula{"", schemas.FormulaQuantile, schemas.FormulaQuantile, schemas.FormulaClassic}).Draw(t, "formula"),
		Policy: schemas.Policy{
			Mode:        rapid.SampledFrom([]schemas.Mode{schemas.Off, schemas.Shadow, schemas.Auto}).Draw(t, "mode"),
			MinReplicas: lowest, MaxReplicas: lowest + rapid.Int32Range(0, 200).Draw(t, "span"),
			CPUUtilization:    rapid.Float64Range(0.01, 2).Draw(t, "cpuUtilization"),
			MemoryUtilization: rapid.Float64Range(0.01, 2).Draw(t, "memoryUtilization"),
			PeakUtilization:   rapid.Float64Range(0.01, 2).Draw(t, "peakUtilization"),
			Quantile:          rapid.Float64Range(0.01, 0.99).Draw(t, "quantile"),
			LeadTime:          time.Duration(rapid.Int64Range(0, 3600).Draw(t, "lead")) * time.Second,
			Hold:              time.Duration(rapid.Int64Range(0, 7200).Draw(t, "hold")) * time.Second,
			MaxStep:           rapid.Int32Range(0, 20).Draw(t, "step"),
		},
		Requests:  schemas.Requests{},
		Forecasts: forecasts{},
		Highest:   map[schemas.Resource]float64{},
	}
	quantity := func(limit float64) *rapid.Generator[float64] {
		return rapid.OneOf(
			rapid.Float64Range(0, limit),
			rapid.Float64Range(0, 10),
			rapid.SampledFrom([]float64{0, 0.1, 0.30000000000000004, 1e-300, limit, 10 * limit, -1, math.NaN(), math.Inf(1), math.Inf(-1)}),
		)
	}
	for _, r := range schemas.Resources() {
		name := string(r)
		if rapid.Bool().Draw(t, name+" requested") {
			in.Requests[r] = quantity(100).Draw(t, name+" request")
		}
		if rapid.Bool().Draw(t, name+" known") {
			in.Highest[r] = quantity(1000).Draw(t, name+" highest")
		}
		if rapid.IntRange(0, 3).Draw(t, name+" forecast") > 0 {
			values := rapid.SliceOfN(rapid.Float64Range(0, 500), 1, 12).Draw(t, name+" values")
			if rapid.IntRange(0, 9).Draw(t, name+" broken") == 0 {
				values[0] = quantity(1000).Draw(t, name+" value")
			}
			in.Forecasts[r] = forecast(r, values...)
			if peaks := rapid.IntRange(0, len(values)).Draw(t, name+" peaks"); peaks > 0 {
				in.Forecasts[r] = withPeaks(in.Forecasts[r], values[:peaks]...)
			}
		}
	}
	if rapid.Bool().Draw(t, "has previous") {
		in.Previous = decided(rapid.Int32Range(1, 300).Draw(t, "previous"), time.Duration(rapid.Int64Range(0, 10000).Draw(t, "age"))*time.Second)
		in.Previous.Applied = rapid.Bool().Draw(t, "applied")
	}
	return in
}

func TestPropertyTheRecordGivesTheSameFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := replicas.Plan(drawInput(t))
		if d.Reason.UsesForecast() {
			switch rapid.IntRange(0, 3).Draw(t, "afterwards") {
			case 1:
				replicas.Keep(&d, schemas.CoolingDown, "kept")
			case 2:
				replicas.Release(&d, schemas.TargetNotScalable, "released")
			case 3:
				replicas.Limit(&d, "Capacity", max(1, d.MinReplicas-1), "limited")
			}
		}
		recompute(t, d)
	})
}

func TestPropertyTheFloorStaysWithinTheOperatorsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Formula = schemas.FormulaQuantile
		d := replicas.Plan(in)
		if d.MinReplicas < in.Policy.MinReplicas || d.MinReplicas > in.Policy.MaxReplicas || d.MaxReplicas != in.Policy.MaxReplicas {
			t.Fatalf("floor %d and ceiling %d leave the bounds %d to %d", d.MinReplicas, d.MaxReplicas, in.Policy.MinReplicas, in.Policy.MaxReplicas)
		}
	})
}

// Without a forecast to act on, the decision is what it would be without us.
func TestPropertyColdIsReactive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Forecasts = nil
		d := replicas.Plan(in)
		if d.MinReplicas != in.Policy.MinReplicas || d.MaxReplicas != in.Policy.MaxReplicas || d.Reason.UsesForecast() {
			t.Fatalf("bounds %d to %d (%s), want the operator's %d to %d", d.MinReplicas, d.MaxReplicas, d.Reason, in.Policy.MinReplicas, in.Policy.MaxReplicas)
		}
	})
}

func TestPropertyMoreUsageNeverMeansFewerReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Formula = schemas.FormulaQuantile
		in.Highest = nil                                                         // beyond it a forecast is no longer believed, on purpose
		low := rapid.SliceOfN(rapid.Float64Range(0, 100), 9, 9).Draw(t, "usage") // two hours cover every window
		high := make([]float64, len(low))
		for i := range low {
			high[i] = low[i] * rapid.Float64Range(1, 3).Draw(t, "growth")
		}
		in.Requests = schemas.Requests{schemas.CPU: rapid.Float64Range(0.01, 4).Draw(t, "request")}
		in.Forecasts = forecasts{schemas.CPU: forecast(schemas.CPU, low...)}
		less := replicas.Plan(in)
		in.Forecasts = forecasts{schemas.CPU: forecast(schemas.CPU, high...)}
		more := replicas.Plan(in)
		if !less.Reason.UsesForecast() || !more.Reason.UsesForecast() {
			t.Fatalf("both must be believed, but are %s and %s", less.Reason, more.Reason)
		}
		if more.MinReplicas < less.MinReplicas {
			t.Fatalf("floor falls from %d to %d although usage rises", less.MinReplicas, more.MinReplicas)
		}
	})
}

func TestPropertyTheFloorServesTheDemandUnlessALimitSaysOtherwise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Formula = schemas.FormulaQuantile
		d := replicas.Plan(in)
		if !d.Reason.UsesForecast() || len(d.Clamps) > 0 {
			return
		}
		served := false
		for _, demand := range d.Demands {
			perPod := demand.Request * demand.Utilization
			if float64(d.MinReplicas)*perPod < demand.Usage*(1-1e-8) && d.MinReplicas < schemas.MaxReplicas {
				t.Fatalf("%d pods at %v serve less than %v", d.MinReplicas, perPod, demand.Usage)
			}
			// One pod less would not do for one of the demands.
			served = served || float64(d.MinReplicas-1)*perPod < demand.Usage*(1+1e-8)
		}
		if !served {
			t.Fatalf("%d pods are more than any demand asks for: %+v", d.MinReplicas, d.Demands)
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	values := make([]float64, 96)
	for i := range values {
		values[i] = 4 + math.Sin(float64(i)/15)
	}
	in := replicas.Input{
		Component: web, Now: now, Interval: 15 * time.Minute, Policy: policy(),
		Requests:  schemas.Requests{schemas.CPU: 1, schemas.Memory: gib},
		Forecasts: forecasts{schemas.CPU: forecast(schemas.CPU, values...), schemas.Memory: forecast(schemas.Memory, values...)},
	}
	b.ReportAllocs()
	for b.Loop() {
		replicas.Plan(in)
	}
}

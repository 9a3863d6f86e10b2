package plugins_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

var (
	now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	web = schemas.ComponentID{Namespace: "shop", Service: "web", Component: "api"}
)

const day = 96 // buckets

// series ends now.
func series(r schemas.Resource, values ...float64) *schemas.Series {
	return &schemas.Series{Component: web, Resource: r, Step: schemas.DefaultStep, Mean: values,
		Start: now.Add(-time.Duration(len(values)) * schemas.DefaultStep)}
}

func flat(n int) []float64 { return slices.Repeat([]float64{1}, n) }

func gap(n int) []float64 { return slices.Repeat([]float64{math.NaN()}, n) }

// make a plugin as a profile would.
func plugin[P framework.Plugin](t testing.TB, name, args string) P {
	t.Helper()
	p, err := plugins.NewRegistry()[name]([]byte(args))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != name {
		t.Errorf("the plugin registered as %s is named %s", name, p.Name())
	}
	return p.(P)
}

func TestFilters(t *testing.T) {
	cpu := func(values ...[]float64) func(*framework.Candidate) {
		return func(c *framework.Candidate) { c.Series[schemas.CPU] = series(schemas.CPU, slices.Concat(values...)...) }
	}
	for _, tt := range []struct {
		name   string
		plugin string
		args   string
		edit   func(*framework.Candidate)
		want   schemas.Reason // empty: passes
	}{
		{"a managed component", plugins.ManagedName, "", nil, ""},
		{"a component in the shadow", plugins.ManagedName, "", func(c *framework.Candidate) { c.Policy.Mode = schemas.Shadow }, ""},
		{"a component that is switched off", plugins.ManagedName, "", func(c *framework.Candidate) { c.Policy.Mode = schemas.Off }, schemas.NotManaged},

		{"a workload with a scale subresource", plugins.ScalableTargetName, "", func(c *framework.Candidate) { c.Target = &framework.Target{Scalable: true} }, ""},
		{"a workload without one", plugins.ScalableTargetName, "", func(c *framework.Candidate) { c.Target = &framework.Target{Kind: "DaemonSet"} }, schemas.TargetNotScalable},
		{"no cluster", plugins.ScalableTargetName, "", nil, ""},

		{"a request", plugins.RequestsName, "", nil, ""},
		{"no requests", plugins.RequestsName, "", func(c *framework.Candidate) { c.Requests = nil }, schemas.NoRequests},
		{"a request of 0", plugins.RequestsName, "", func(c *framework.Candidate) { c.Requests[schemas.CPU] = 0 }, schemas.NoRequests},
		{"a request for what is not measured", plugins.RequestsName, "", func(c *framework.Candidate) { c.Requests = schemas.Requests{schemas.Memory: 1} }, schemas.NoRequests},

		{"a day of history", plugins.EnoughHistoryName, "", cpu(flat(day)), ""},
		{"a bucket less than a day", plugins.EnoughHistoryName, "", cpu(flat(day - 1)), schemas.InsufficientData},
		{"one point", plugins.EnoughHistoryName, "", cpu(flat(1)), schemas.InsufficientData},
		{"a week that begins with a gap of six days and more", plugins.EnoughHistoryName, "", cpu(gap(6*day+1), flat(day-1)), schemas.InsufficientData},
		{"half of the last day missing", plugins.EnoughHistoryName, "", cpu(flat(day), gap(day/2), flat(day/2)), ""},
		{"more than half of the last day missing", plugins.EnoughHistoryName, "", cpu(flat(day), gap(day/2+1), flat(day/2-1)), schemas.InsufficientData},
		{"nothing but gaps", plugins.EnoughHistoryName, "", cpu(gap(5 * day)), schemas.InsufficientData},
		{"nothing at all", plugins.EnoughHistoryName, "", func(c *framework.Candidate) { c.Series = nil }, schemas.InsufficientData},
		{"one resource that is young beside one that is not", plugins.EnoughHistoryName, "", func(c *framework.Candidate) {
			c.Series[schemas.CPU] = series(schemas.CPU, 1)
			c.Series[schemas.Memory] = series(schemas.Memory, flat(day)...)
		}, ""},
		{"a shorter minimum", plugins.EnoughHistoryName, `{"minimum": "6h", "measured": 0.1}`, cpu(flat(24)), ""},
		{"a longer minimum", plugins.EnoughHistoryName, `{"minimum": "48h"}`, cpu(flat(day)), schemas.InsufficientData},

		{"a sample that ends now", plugins.FreshSamplesName, "", nil, ""},
		{"a newest sample six hours old", plugins.FreshSamplesName, "", cpu(flat(day), gap(24)), ""},
		{"a newest sample more than six hours old", plugins.FreshSamplesName, "", cpu(flat(day), gap(25)), schemas.StaleSamples},
		{"a run long after the last sample", plugins.FreshSamplesName, "", func(c *framework.Candidate) { c.Now = now.Add(6*time.Hour + time.Minute) }, schemas.StaleSamples},
		{"no samples", plugins.FreshSamplesName, "", func(c *framework.Candidate) { c.Series = nil }, schemas.StaleSamples},
		{"a shorter maximum", plugins.FreshSamplesName, `{"maximum": "1h"}`, cpu(flat(day), gap(5)), schemas.StaleSamples},
	} {
		t.Run(tt.plugin+": "+tt.name, func(t *testing.T) {
			c := &framework.Candidate{Component: web, Now: now, Policy: schemas.DefaultPolicy(), Requests: schemas.Requests{schemas.CPU: 1},
				Series: map[schemas.Resource]*schemas.Series{schemas.CPU: series(schemas.CPU, flat(day)...)}}
			if tt.edit != nil {
				tt.edit(c)
			}
			st := plugin[framework.FilterPlugin](t, tt.plugin, tt.args).Filter(t.Context(), framework.NewCycleState(), c)
			if st.Reason() != tt.want || !st.IsSuccess() && (st.Code() != framework.Rejected || st.Message() == "") {
				t.Errorf("status = %s %q %q, want %q", st.Code(), st.Reason(), st.Message(), tt.want)
			}
		})
	}
}

func TestPermits(t *testing.T) {
	at := func(ago time.Duration) *time.Time { t := now.Add(-ago); return &t }
	type call struct {
		c *framework.Candidate
		d *schemas.Decision
	}
	for _, tt := range []struct {
		name   string
		plugin string
		args   string
		edit   func(call)
		want   schemas.Reason
		floor  int32 // 0: as it was, 8
	}{
		{"a workload of nobody else", plugins.NoConflictName, "", func(c call) { c.c.Target = &framework.Target{Scalable: true} }, "", 0},
		{"a workload that somebody else scales", plugins.NoConflictName, "", func(c call) { c.c.Target = &framework.Target{Scalable: true, Conflict: "KEDA"} }, schemas.TargetNotScalable, 0},
		{"no cluster", plugins.NoConflictName, "", func(call) {}, "", 0},

		{"a rise right after a change", plugins.CooldownName, "", func(c call) { c.d.PreviousSince = at(0) }, "", 0},
		{"a fall too soon", plugins.CooldownName, "", func(c call) { c.d.Reason, c.d.PreviousSince = schemas.FloorLowered, at(9*time.Minute) }, schemas.CoolingDown, 0},
		{"a fall after ten minutes", plugins.CooldownName, "", func(c call) { c.d.Reason, c.d.PreviousSince = schemas.FloorLowered, at(10*time.Minute) }, "", 0},
		{"a rise that must wait too", plugins.CooldownName, `{"raise": "5m"}`, func(c call) { c.d.PreviousSince = at(time.Minute) }, schemas.CoolingDown, 0},
		{"no change", plugins.CooldownName, `{"raise": "5m"}`, func(c call) { c.d.Reason, c.d.PreviousSince = schemas.FloorKept, at(0) }, "", 0},
		{"the first floor", plugins.CooldownName, `{"raise": "5m"}`, func(c call) { c.d.PreviousReplicas = nil }, "", 0},

		{"no limit", plugins.MaxStepName, "", func(call) {}, "", 0},
		{"a rise by pods", plugins.MaxStepName, `{"replicas": 2}`, func(call) {}, "", 6},
		{"a rise by a share, rounded up", plugins.MaxStepName, `{"percent": 30}`, func(call) {}, "", 6},
		{"the larger of the two", plugins.MaxStepName, `{"replicas": 3, "percent": 10}`, func(call) {}, "", 7},
		{"a rise within the limit", plugins.MaxStepName, `{"replicas": 4}`, func(call) {}, "", 0},
		{"a first rise, from the operator's minimum", plugins.MaxStepName, `{"replicas": 3}`, func(c call) { c.d.PreviousReplicas = nil }, "", 5},

		{"a budget that was not touched", plugins.BudgetName, `{"changes": 1}`, func(call) {}, "", 0},
		{"no budget", plugins.BudgetName, "", func(call) {}, "", 0},

		{"room for all", plugins.CapacityName, "", func(c call) { c.c.Target = &framework.Target{CurrentReplicas: 4, CapacityLeft: ptr(int32(4))} }, "", 0},
		{"room for some", plugins.CapacityName, "", func(c call) { c.c.Target = &framework.Target{CurrentReplicas: 4, CapacityLeft: ptr(int32(3))} }, "", 7},
		{"room for none", plugins.CapacityName, "", func(c call) { c.c.Target = &framework.Target{CurrentReplicas: 5, CapacityLeft: ptr(int32(0))} }, "", 5},
		{"room that is not known", plugins.CapacityName, "", func(c call) { c.c.Target = &framework.Target{CurrentReplicas: 4} }, "", 0},
		{"room below the operator's minimum", plugins.CapacityName, "", func(c call) { c.c.Target = &framework.Target{CapacityLeft: ptr(int32(-1))} }, "", 2},
	} {
		t.Run(tt.plugin+": "+tt.name, func(t *testing.T) {
			p := schemas.DefaultPolicy()
			p.Mode, p.MinReplicas = schemas.Auto, 2
			c := &framework.Candidate{Component: web, Now: now, Policy: p}
			d := &schemas.Decision{Component: web, Time: now, Policy: p, PreviousReplicas: ptr(int32(4)), PreviousSince: at(time.Hour),
				Demands: []schemas.Demand{{Resource: schemas.CPU, Usage: 8, Request: 1, Utilization: 1, Replicas: 8}}, MinReplicas: 8, MaxReplicas: 10, Reason: schemas.FloorRaised}
			tt.edit(call{c, d})
			if d.PreviousReplicas == nil {
				d.PreviousSince = nil
			}
			st := plugin[framework.PermitPlugin](t, tt.plugin, tt.args).Permit(t.Context(), framework.NewCycleState(), c, d)
			if st.Reason() != tt.want || !st.IsSuccess() && st.Message() == "" {
				t.Errorf("status = %s %q %q, want %q", st.Code(), st.Reason(), st.Message(), tt.want)
			}
			floor := tt.floor
			if floor == 0 {
				floor = 8
			}
			if d.MinReplicas != floor {
				t.Errorf("floor = %d, want %d", d.MinReplicas, floor)
			}
			if got, err := replicas.Recompute(d); err != nil || got != floor {
				t.Errorf("Recompute = %d, %v; want %d", got, err, floor)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestABudgetIsSpentOnceARun(t *testing.T) {
	p := plugin[*plugins.Budget](t, plugins.BudgetName, `{"changes": 2}`)
	ask := func(mode schemas.Mode, reason schemas.Reason) framework.Code {
		policy := schemas.DefaultPolicy()
		policy.Mode = mode
		return p.Permit(t.Context(), framework.NewCycleState(), &framework.Candidate{Component: web, Policy: policy}, &schemas.Decision{Reason: reason}).Code()
	}
	for range 2 {
		p.StartRun("run")
		for i, step := range []struct {
			mode   schemas.Mode
			reason schemas.Reason
			want   framework.Code
		}{
			{schemas.Auto, schemas.FloorRaised, framework.Success},
			{schemas.Shadow, schemas.FloorRaised, framework.Success}, // writes nothing, costs nothing
			{schemas.Auto, schemas.FloorKept, framework.Success},     // changes nothing, costs nothing
			{schemas.Auto, schemas.FloorLowered, framework.Success},
			{schemas.Auto, schemas.FloorRaised, framework.Wait},
			{schemas.Auto, schemas.FloorKept, framework.Success},
		} {
			if got := ask(step.mode, step.reason); got != step.want {
				t.Errorf("request %d: %s, want %s", i, got, step.want)
			}
		}
	}
}

func TestArgumentsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ plugin, args, want string }{
		{plugins.ManagedName, `{"x": 1}`, `unknown argument "x"; known are: none`},
		{plugins.EnoughHistoryName, `{"minimun": "1h"}`, `unknown argument "minimun"; known are: minimum, measured`},
		{plugins.EnoughHistoryName, `{"minimum": "-1h"}`, "minimum must not be negative, but is -1h0m0s"},
		{plugins.EnoughHistoryName, `{"minimum": 24}`, `a duration must be a string such as "15m", but is 24`},
		{plugins.EnoughHistoryName, `{"measured": 1.5}`, "measured must be from 0 to 1, but is 1.5"},
		{plugins.FreshSamplesName, `{"maximum": "0s"}`, "maximum must be above 0s, but is 0s"},
		{plugins.CooldownName, `{"lower": "-1s"}`, "raise and lower must not be negative, but are 0s and -1s"},
		{plugins.MaxStepName, `{"replicas": -1}`, "replicas and percent must not be negative, but are -1 and 0"},
		{plugins.BudgetName, `{"changes": -1}`, "changes must not be negative, but is -1"},
		{plugins.BudgetName, `{"Changes": 1}`, `unknown argument "Changes"; known are: changes`},
		{plugins.CapacityName, `[]`, "arguments must be a map of names and values, but are []"},
		{plugins.BacktestName, `{"x": 1}`, `unknown argument "x"`},
		{framework.Baseline, `{"x": 1}`, `unknown argument "x"`},
		{plugins.UrgentFirstName, `{"x": 1}`, `unknown argument "x"`},
	} {
		t.Run(tt.plugin+" "+tt.args, func(t *testing.T) {
			_, err := plugins.NewRegistry()[tt.plugin]([]byte(tt.args))
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("error = %v, want one with code %s that says %q", err, schemas.CodeInvalidConfig, tt.want)
			}
		})
	}
}

func TestUrgentFirst(t *testing.T) {
	proposal := func(name string, from, to int32, bucket int) *framework.Proposal {
		return &framework.Proposal{
			Candidate: &framework.Candidate{Component: schemas.ComponentID{Service: "web", Component: name}},
			Decision: &schemas.Decision{Policy: schemas.DefaultPolicy(), PreviousReplicas: &from, MinReplicas: to,
				Demands: []schemas.Demand{{Replicas: to, Bucket: now.Add(time.Duration(bucket) * schemas.DefaultStep)}}},
		}
	}
	want := []*framework.Proposal{
		proposal("soon and large", 2, 8, 0),
		proposal("soon and relatively large", 3, 9, 0),
		proposal("soon and small", 10, 12, 0),
		proposal("later and large", 2, 20, 1),
		proposal("a fall", 9, 3, 0),
		proposal("no change", 4, 4, 0),
	}
	less := plugin[framework.QueueSortPlugin](t, plugins.UrgentFirstName, "").Less
	for i, a := range want {
		for j, b := range want {
			// The last two are equals: neither is a rise.
			if got, should := less(a, b), i < j && i < 4; got != should {
				t.Errorf("%q before %q: %t, want %t", a.Candidate.Component.Component, b.Candidate.Component.Component, got, should)
			}
		}
	}
}

func TestBacktest(t *testing.T) {
	band := schemas.Band{First: 1, Last: 4}
	p := plugin[framework.ScorePlugin](t, plugins.BacktestName, "")
	for _, tt := range []struct {
		name       string
		forecaster string
		errors     framework.BacktestErrors
		want       float64
		code       framework.Code
	}{
		{"the baseline is in the middle", framework.Baseline, nil, 50, framework.Success},
		{"a better forecaster is above it", "Bank", framework.BacktestErrors{band: 0.6}, 62.5, framework.Success},
		{"a worse one is below it", "Bank", framework.BacktestErrors{band: 3}, 25, framework.Success},
		{"a perfect one is at the top", "Bank", framework.BacktestErrors{band: 0}, 100, framework.Success},
		{"one that was never tried is at the bottom", "Bank", nil, 0, framework.Success},
		{"also where only another band was tried", "Bank", framework.BacktestErrors{{First: 5, Last: 16}: 0.1}, 0, framework.Success},
		{"an error of NaN is an error", "Bank", framework.BacktestErrors{band: math.NaN()}, 0, framework.Error},
		{"an infinite one too", "Bank", framework.BacktestErrors{band: math.Inf(1)}, 0, framework.Error},
		{"a negative one too", "Bank", framework.BacktestErrors{band: -1}, 0, framework.Error},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state := framework.NewCycleState()
			if tt.errors != nil {
				framework.WriteBacktestErrors(state, schemas.CPU, tt.forecaster, tt.errors)
			}
			f := &schemas.Forecast{Component: web, Resource: schemas.CPU, Forecasters: []string{tt.forecaster}}
			got, st := p.Score(t.Context(), state, nil, f, band)
			if st.Code() != tt.code || st.IsSuccess() && math.Abs(got-tt.want) > 1e-12 {
				t.Errorf("score = %v (%s), want %v (%s)", got, st.Code(), tt.want, tt.code)
			}
		})
	}
	t.Run("a forecast of nobody is an error", func(t *testing.T) {
		if _, st := p.Score(t.Context(), framework.NewCycleState(), nil, &schemas.Forecast{}, band); st.Code() != framework.Error {
			t.Errorf("status = %s, want Error", st.Code())
		}
	})
}

func TestProfilesThatComeWithTheProgram(t *testing.T) {
	if diff := cmp.Diff([]string{plugins.ClassicProfile, plugins.DefaultProfile}, plugins.ProfileNames()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	for _, name := range plugins.ProfileNames() {
		t.Run(name, func(t *testing.T) {
			profile, err := plugins.Profile(name)
			if err != nil {
				t.Fatal(err)
			}
			if profile.Name != name {
				t.Errorf("the profile names itself %q", profile.Name)
			}
			// All but the two forecasters that learn, and the binder, are here.
			_, err = runtime.New(plugins.NewRegistry(), profile, runtime.Options{})
			if err == nil || !strings.Contains(err.Error(), `unknown plugin "Bank"`) {
				t.Errorf("New error = %v, want one about Bank", err)
			}
			profile.Plugins = slices.DeleteFunc(profile.Plugins, func(p string) bool { return p == schemas.Bank || p == schemas.Network || p == schemas.Hedge })
			if _, err = runtime.New(plugins.NewRegistry(), profile, runtime.Options{ForecastOnly: true}); err != nil {
				t.Error(err)
			}
			_, err = runtime.New(plugins.NewRegistry(), profile, runtime.Options{})
			if err == nil || !strings.Contains(err.Error(), "at least one plugin must bind") {
				t.Errorf("New error = %v, want one about the binder", err)
			}
		})
	}
	t.Run("an unknown one", func(t *testing.T) {
		_, err := plugins.Profile("../secret")
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "profile must be one of classic, default") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestRecorder(t *testing.T) {
	p := &plugins.Recorder{}
	for _, floor := range []int32{3, 5} {
		p.PostBind(t.Context(), nil, nil, &schemas.Decision{MinReplicas: floor})
	}
	if got := p.Decisions(); len(got) != 2 || got[0].MinReplicas != 3 || got[1].MinReplicas != 5 {
		t.Errorf("decisions = %v", got)
	}
	p.StartRun("next")
	if got := p.Decisions(); len(got) != 0 {
		t.Errorf("a new run begins with %d decisions", len(got))
	}
}

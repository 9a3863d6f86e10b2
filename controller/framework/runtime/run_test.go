package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome prints a result as "floor reason", with a star where it was applied,
// and the status where there is one.
func outcome(r *runtime.Result) string {
	if r.Decision == nil {
		return "undecided: " + r.Status.Code().String()
	}
	s := fmt.Sprintf("%d %s", r.Decision.MinReplicas, r.Decision.Reason)
	if r.Decision.Applied {
		s += "*"
	}
	if !r.Status.IsSuccess() {
		s += fmt.Sprintf(" (%s of %s)", r.Status.Code(), r.Status.Plugin())
	}
	return s
}

func TestBindingCycle(t *testing.T) {
	four := int32(4)
	before := func(c *framework.Candidate) {
		c.Previous = &schemas.Decision{Component: c.Component, Time: now.Add(-time.Hour), MinReplicas: four, Applied: true}
	}
	says := func(code framework.Code, reason schemas.Reason) permit {
		return permit{"P", func(*framework.Candidate, *schemas.Decision) *framework.Status {
			return framework.NewStatus(code, reason, "so it is")
		}}
	}
	sets := func(floor int32) permit {
		return permit{"P", func(_ *framework.Candidate, d *schemas.Decision) *framework.Status {
			d.MinReplicas = floor
			return nil
		}}
	}
	// A forecast of five cores at 70 % of one core each asks for 8 replicas.
	for _, tt := range []struct {
		name    string
		plugins []framework.Plugin
		edit    func(*framework.Candidate)
		want    string
		bound   []string
		clamps  []string
	}{
		{name: "a floor is bound", want: "8 FloorRaised*", bound: []string{"api 8"}},
		{name: "a permit that agrees changes nothing", plugins: []framework.Plugin{says(framework.Success, "")}, want: "8 FloorRaised*", bound: []string{"api 8"}},
		{name: "nor does one that has nothing to say", plugins: []framework.Plugin{says(framework.Skip, "")}, want: "8 FloorRaised*", bound: []string{"api 8"}},
		{name: "Wait keeps the floor before", plugins: []framework.Plugin{says(framework.Wait, schemas.CoolingDown)}, edit: before,
			want: "4 CoolingDown* (Wait of P)", bound: []string{"api 4"}, clamps: []string{"Kept"}},
		{name: "Wait without a floor before leaves the operator's", plugins: []framework.Plugin{says(framework.Wait, schemas.CoolingDown)},
			want: "2 CoolingDown* (Wait of P)", bound: []string{"api 2"}, clamps: []string{"Kept"}},
		{name: "Rejected gives the operator's number back", plugins: []framework.Plugin{says(framework.Rejected, schemas.TargetNotScalable)}, edit: before,
			want: "2 TargetNotScalable* (Rejected of P)", bound: []string{"api 2"}, clamps: []string{"Released"}},
		{name: "so does an error", plugins: []framework.Plugin{says(framework.Error, schemas.PluginError)}, edit: before,
			want: "2 PluginError* (Error of P)", bound: []string{"api 2"}, clamps: []string{"Released"}},
		{name: "and a panic", plugins: []framework.Plugin{permit{"P", func(_ *framework.Candidate, d *schemas.Decision) *framework.Status { d.MinReplicas = 9; panic("boom") }}}, edit: before,
			want: "2 PluginError* (Error of P)", bound: []string{"api 2"}, clamps: []string{"P", "Released"}},
		{name: "a permit may cut the floor with a clamp of its own",
			plugins: []framework.Plugin{permit{"P", func(_ *framework.Candidate, d *schemas.Decision) *framework.Status {
				replicas.Limit(d, "Full", 5, "the cluster is full")
				return nil
			}}}, want: "5 FloorRaised*", bound: []string{"api 5"}, clamps: []string{"Full"}},
		{name: "and one that forgets the clamp is given one", plugins: []framework.Plugin{sets(6)}, want: "6 FloorRaised*", bound: []string{"api 6"}, clamps: []string{"P"}},
		{name: "a cut may turn a rise into a fall", plugins: []framework.Plugin{sets(3)}, edit: before, want: "3 FloorLowered*", bound: []string{"api 3"}, clamps: []string{"P"}},
		{name: "a permit must not leave the operator's maximum", plugins: []framework.Plugin{sets(11)}, want: "2 PluginError* (Error of P)", bound: []string{"api 2"}, clamps: []string{"Released"}},
		{name: "nor the operator's minimum", plugins: []framework.Plugin{sets(1)}, want: "2 PluginError* (Error of P)", bound: []string{"api 2"}, clamps: []string{"Released"}},
		{name: "in the shadow nothing is bound", edit: func(c *framework.Candidate) { c.Policy.Mode = schemas.Shadow }, want: "8 FloorRaised"},
		{name: "nor when switched off", edit: func(c *framework.Candidate) { c.Policy.Mode = schemas.Off }, want: "8 FloorRaised"},
		{name: "nor where somebody else scales", edit: func(c *framework.Candidate) {
			c.Target = &framework.Target{Scalable: true, Conflict: "KEDA"}
		}, want: "8 FloorRaised"},
		{name: "nor where nobody can", edit: func(c *framework.Candidate) { c.Target = &framework.Target{} }, want: "8 FloorRaised"},
		{name: "a binder that has nothing to say leaves it to the next",
			plugins: []framework.Plugin{&binder{name: "First", f: func(*framework.Candidate, *schemas.Decision) *framework.Status {
				return framework.NewStatus(framework.Skip, "", "not mine")
			}}, &binder{name: "Second"}}, want: "8 FloorRaised*", bound: []string{"api 8"}},
		{name: "where none has, nothing was applied",
			plugins: []framework.Plugin{&binder{name: "First", f: func(*framework.Candidate, *schemas.Decision) *framework.Status {
				return framework.NewStatus(framework.Skip, "", "not mine")
			}}}, want: "8 FloorRaised", bound: []string{"api 8"}},
		{name: "a binder that breaks ends the search and is reported",
			plugins: []framework.Plugin{&binder{name: "First", f: func(*framework.Candidate, *schemas.Decision) *framework.Status {
				return framework.AsStatus(errors.New("no route to host"))
			}}, &binder{name: "Second"}}, want: "8 FloorRaised (Error of First)"},
		{name: "a binder that panics too",
			plugins: []framework.Plugin{&binder{name: "First", f: func(*framework.Candidate, *schemas.Decision) *framework.Status { panic("boom") }}},
			want:    "8 FloorRaised (Error of First)", bound: []string{"api 8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := candidate("api")
			if tt.edit != nil {
				tt.edit(c)
			}
			told := &listener{}
			last := &binder{name: "Binder"}
			plugins := append([]framework.Plugin{constant("A", 5)}, tt.plugins...)
			for _, p := range plugins {
				if b, ok := p.(*binder); ok {
					last = b
				}
			}
			if last.name == "Binder" {
				plugins = append(plugins, last)
			}
			f := build(t, nil, append(plugins, told)...)
			r := &f.Run(t.Context(), "run-1", []*framework.Candidate{c})[0]
			if got := outcome(r); got != tt.want {
				t.Errorf("outcome = %q, want %q: %s", got, tt.want, r.Decision.Message)
			}
			if diff := cmp.Diff(tt.bound, last.bound); diff != "" {
				t.Errorf("bound by %s (-want +got):\n%s", last.name, diff)
			}
			var clamps []string
			for _, c := range r.Decision.Clamps {
				clamps = append(clamps, c.Name)
			}
			if diff := cmp.Diff(tt.clamps, clamps); diff != "" {
				t.Errorf("clamps (-want +got):\n%s", diff)
			}
			if floor, err := replicas.Recompute(r.Decision); err != nil || floor != r.Decision.MinReplicas {
				t.Errorf("Recompute = %d, %v; want %d", floor, err, r.Decision.MinReplicas)
			}
			if diff := cmp.Diff([]schemas.Decision{*r.Decision}, told.told); diff != "" {
				t.Errorf("PostBind was told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADecisionNamesWhatItWasMadeFrom(t *testing.T) {
	model := forecaster{"Network", func(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
		framework.WriteModel(state, "Network", "c0ffee")
		return constant("Network", 5).f(state, c, r, steps)
	}}
	for _, tt := range []struct {
		name, winner, model string
	}{
		{"the model of the forecaster that was believed", "Network", "c0ffee"},
		{"no model where that has none", "Plain", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := build(t, nil, constant("Plain", 4), model, scores("S", map[string][3]float64{tt.winner: {9, 9, 9}}))
			d := f.Run(t.Context(), "run-1", []*framework.Candidate{candidate("api")})[0].Decision
			if d.Run != "run-1" || d.Model != tt.model || d.Forecasters[schemas.CPU] != tt.winner {
				t.Errorf("run %q, model %q, forecaster %q; want run-1, %q, %q", d.Run, d.Model, d.Forecasters[schemas.CPU], tt.model, tt.winner)
			}
		})
	}
}

// many returns candidates of which some are rejected, some break and the rest
// have a forecast.
func many(n int) ([]*framework.Candidate, []framework.Plugin) {
	var candidates []*framework.Candidate
	for i := range n {
		candidates = append(candidates, candidate(fmt.Sprintf("c%03d", i)))
	}
	number := func(c *framework.Candidate) (n int) {
		_, _ = fmt.Sscanf(c.Component.Component, "c%d", &n)
		return n
	}
	return candidates, []framework.Plugin{
		filter{"Filter", func(c *framework.Candidate) *framework.Status {
			if number(c)%7 == 3 {
				return framework.NewStatus(framework.Rejected, schemas.StaleSamples, "old")
			}
			return nil
		}},
		forecaster{"A", func(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
			if number(c)%11 == 5 {
				panic("a bug")
			}
			return constant("A", float64(number(c)%6)).f(state, c, r, steps)
		}},
		sorter{"Largest", func(a, b *framework.Proposal) bool { return a.Decision.MinReplicas > b.Decision.MinReplicas }},
	}
}

func TestARunIsTheSameForAnyNumberOfWorkersAndAnyOrder(t *testing.T) {
	var wantOrder []string
	want := make(map[schemas.ComponentID]string)
	for _, workers := range []int{1, 2, 7, 64} {
		for _, reverse := range []bool{false, true} {
			candidates, plugins := many(60)
			if reverse {
				slices.Reverse(candidates)
			}
			b := &binder{name: "Binder"}
			f := build(t, func(_ *runtime.Profile, o *runtime.Options) { o.Workers = workers }, append(plugins, b)...)
			results := f.Run(t.Context(), "run", candidates)
			for i := range results {
				if results[i].Candidate != candidates[i] {
					t.Fatal("results must be in the order of the candidates")
				}
				got := outcome(&results[i])
				if first, ok := want[candidates[i].Component]; ok && first != got {
					t.Errorf("%d workers, reversed %t: %s is %q, was %q", workers, reverse, candidates[i].Component, got, first)
				}
				want[candidates[i].Component] = got
			}
			if wantOrder == nil {
				wantOrder = b.bound
			}
			if diff := cmp.Diff(wantOrder, b.bound); diff != "" {
				t.Errorf("%d workers, reversed %t: bound (-want +got):\n%s", workers, reverse, diff)
			}
		}
	}
	// Highest floors first, names among equals; the released ones last, by name.
	if got := strings.Join(wantOrder[:3], ", "); got != "c011 8, c023 8, c029 8" {
		t.Errorf("the queue begins with %s", got)
	}
	if got := strings.Join(wantOrder[len(wantOrder)-3:], ", "); got != "c049 2, c052 2, c059 2" {
		t.Errorf("the queue ends with %s", got)
	}
}

// Those of a large installation are decided part by part, and let go of.
func TestARunInPartsIsTheSame(t *testing.T) {
	candidates, plugins := many(60)
	whole := &binder{name: "Binder"}
	want := build(t, nil, append(plugins, whole)...).Run(t.Context(), "run", candidates)

	candidates, plugins = many(60)
	parts := &binder{name: "Binder"}
	session := build(t, nil, append(plugins, parts)...).Begin("run")
	var got []runtime.Result
	for part := range slices.Chunk(candidates, 7) {
		for _, r := range session.Decide(t.Context(), part) {
			r.Release()
			if r.Candidate.Series != nil || r.Forecasts[schemas.CPU] != nil {
				t.Errorf("%s still has its series or its forecast", r.Candidate.Component)
			}
			got = append(got, r)
		}
	}
	session.Bind(t.Context(), got)
	for i := range want {
		if diff := cmp.Diff(want[i].Decision, got[i].Decision); diff != "" {
			t.Errorf("decision (-whole +in parts):\n%s", diff)
		}
	}
	if diff := cmp.Diff(whole.bound, parts.bound); diff != "" {
		t.Errorf("bound (-whole +in parts):\n%s", diff)
	}
}

func TestOneComponentNeverStopsTheOthers(t *testing.T) {
	candidates, plugins := many(60)
	results := build(t, nil, plugins...).Run(t.Context(), "run", candidates)
	count := make(map[schemas.Reason]int)
	for i := range results {
		count[results[i].Decision.Reason]++
		var p *runtime.PanicError
		broke := results[i].Decision.Reason == schemas.PluginError
		if errors.As(results[i].Status.Err(), &p) != broke {
			t.Errorf("%s: %v", candidates[i].Component, results[i].Status.Err())
		}
		if broke && (p.Plugin != "A" || len(p.Stack) == 0 || results[i].Decision.MinReplicas != 2) {
			t.Errorf("%s broke in %q with a floor of %d, want A and the operator's 2", candidates[i].Component, p.Plugin, results[i].Decision.MinReplicas)
		}
	}
	if count[schemas.PluginError] != 4 || count[schemas.StaleSamples] != 9 || count[schemas.FloorRaised]+count[schemas.FloorKept] != 47 {
		t.Errorf("reasons = %v", count)
	}
}

func TestAQueueSortThatPanicsCostsOnlyTheOrder(t *testing.T) {
	b := &binder{name: "Binder"}
	f := build(t, nil, constant("A", 5), b, sorter{"Sorter", func(*framework.Proposal, *framework.Proposal) bool { panic("boom") }})
	results := f.Run(t.Context(), "run", []*framework.Candidate{candidate("b"), candidate("a")})
	if diff := cmp.Diff([]string{"a 8", "b 8"}, b.bound); diff != "" {
		t.Errorf("bound (-want +got):\n%s", diff)
	}
	if n := len(results[0].Notes); n != 1 || results[0].Notes[0].Plugin != "Sorter" {
		t.Errorf("notes = %v, want one about Sorter", results[0].Notes)
	}
}

func TestAListenerThatPanicsCostsNothing(t *testing.T) {
	l := &listener{f: func(*schemas.Decision) { panic("boom") }}
	r := build(t, nil, constant("A", 5), l).Run(t.Context(), "run", []*framework.Candidate{candidate("api")})[0]
	if got := outcome(&r); got != "8 FloorRaised*" {
		t.Errorf("outcome = %q", got)
	}
	if len(r.Notes) != 1 || r.Notes[0].Plugin != "Listener" {
		t.Errorf("notes = %v, want one about Listener", r.Notes)
	}
}

func TestPluginsAreToldOfEachRun(t *testing.T) {
	l := &listener{}
	f := build(t, nil, constant("A", 5), l)
	f.Run(t.Context(), "one", nil)
	f.Run(t.Context(), "two", nil)
	if diff := cmp.Diff([]string{"one", "two"}, l.runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestAnInterruptedRunLeavesTheRestAlone(t *testing.T) {
	t.Run("during the forecasts", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b, l := &binder{name: "Binder"}, &listener{}
		f := build(t, nil, forecaster{"A", func(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
			cancel()
			return nil, framework.AsStatus(ctx.Err())
		}}, b, l)
		r := f.Run(ctx, "run", []*framework.Candidate{candidate("api")})[0]
		if r.Decision != nil || r.Status.Code() != framework.Error || !errors.Is(r.Status.Err(), context.Canceled) {
			t.Errorf("decision %v, status %v; want none and a cancelled one", r.Decision, r.Status.Err())
		}
		if len(b.bound) != 0 || len(l.told) != 0 {
			t.Errorf("bound %v and told %d, want nothing", b.bound, len(l.told))
		}
	})
	t.Run("during the bindings", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &binder{name: "Binder", f: func(*framework.Candidate, *schemas.Decision) *framework.Status { cancel(); return nil }}
		results := build(t, nil, constant("A", 5), b).Run(ctx, "run", []*framework.Candidate{candidate("a"), candidate("b")})
		if got := []string{outcome(&results[0]), outcome(&results[1])}; !slices.Equal(got, []string{"8 FloorRaised*", "undecided: Error"}) {
			t.Errorf("outcomes = %q", got)
		}
		if !slices.Equal(b.bound, []string{"a 8"}) {
			t.Errorf("bound = %v", b.bound)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d components", n), func(b *testing.B) {
			candidates, plugins := many(n)
			f := build(b, nil, plugins...)
			b.ReportAllocs()
			for b.Loop() {
				f.Run(b.Context(), "run", candidates)
			}
		})
	}
}

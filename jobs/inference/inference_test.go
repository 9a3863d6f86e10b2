package inference_test

import (
	"context"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/learned"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var now = time.Date(2026, 3, 16, 8, 0, 0, 0, time.UTC)

// usage is a source whose components use what a function of time says.
type usage map[string]func(time.Time) (cpu float64, known bool)

func (u usage) Samples(_ context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	request := .5
	for name, value := range u {
		for t := from; t.Before(to); t = t.Add(step) {
			v, known := value(t)
			if !known {
				continue
			}
			s := schemas.Sample{Component: component(name), Start: t, CPU: &schemas.Usage{Mean: v, Max: 1.3 * v, Count: 15}}
			if name != "unrequested" {
				s.CPURequest = &request
			}
			if err := add(&s); err != nil {
				return err
			}
		}
	}
	return nil
}

func component(name string) schemas.ComponentID {
	return schemas.ComponentID{Service: "shop", Component: name}
}

// office is busy from eight to eighteen o'clock.
func office(t time.Time) (float64, bool) {
	if h := t.Hour(); h >= 8 && h < 18 {
		return 6, true
	}
	return 1, true
}

func since(from time.Time, f func(time.Time) (float64, bool)) func(time.Time) (float64, bool) {
	return func(t time.Time) (float64, bool) {
		v, ok := f(t)
		return v, ok && !t.Before(from)
	}
}

// catalog has everything managed, with pods that the tests look at.
type catalog struct{ modes map[string]schemas.Mode }

func (c catalog) Policy(id schemas.ComponentID) schemas.Policy {
	p := schemas.DefaultPolicy()
	p.Mode, p.MaxReplicas = schemas.Auto, 30
	if m, ok := c.modes[id.Component]; ok {
		p.Mode = m
	}
	return p
}

func (catalog) Target(schemas.ComponentID) *framework.Target { return nil }

// binder remembers the floors that were bound.
type binder struct{ floors map[string]int32 }

func (*binder) Name() string { return "TestBinder" }

func (b *binder) Bind(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	b.floors[c.Component.Component] = d.MinReplicas
	return nil
}

// setup is a store with a week of samples and the step over it.
type setup struct {
	store  *artifact.Store
	source usage
	binder *binder
	modes  map[string]schemas.Mode
}

func newSetup(source usage) *setup {
	return &setup{artifact.New(membucket.New(nil), artifact.Options{}), source, &binder{map[string]int32{}}, nil}
}

func (s *setup) env(run string, now time.Time) jobs.Env {
	return jobs.Env{Store: s.store, Log: slog.New(slog.DiscardHandler), Run: run, Now: now, Version: "test"}
}

func (s *setup) collect(t *testing.T, now time.Time) {
	t.Helper()
	err := collector.New(s.source, collector.Options{Backfill: 9 * 24 * time.Hour})(t.Context(), s.env("collect-"+now.Format("20060102t1504"), now))
	if err != nil {
		t.Fatal(err)
	}
}

func (s *setup) infer(t *testing.T, run string, now time.Time) error {
	t.Helper()
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		t.Fatal(err)
	}
	return inference.New(inference.Config{
		Catalog: func(context.Context) (inference.Catalog, error) { return catalog{s.modes}, nil },
		Framework: func(trained []models.Trained) (*runtime.Framework, error) {
			library := learned.NewLibrary()
			for _, tr := range trained {
				library.Add(tr.Model, tr.Weights)
			}
			registry := plugins.NewRegistry()
			if err := registry.Merge(learned.Factories(library, 0)); err != nil {
				return nil, err
			}
			return runtime.New(registry, profile, runtime.Options{Plugins: []framework.Plugin{s.binder}})
		},
	})(t.Context(), s.env(run, now))
}

func (s *setup) latest(t *testing.T) forecasts.Set {
	t.Helper()
	set, ok, err := forecasts.Latest(t.Context(), s.store)
	if err != nil || !ok {
		t.Fatalf("no forecasts: %v", err)
	}
	return set
}

func (s *setup) decision(t *testing.T, name string) schemas.Decision {
	t.Helper()
	for _, d := range s.latest(t).Decisions {
		if d.Component == component(name) {
			return d
		}
	}
	t.Fatalf("no decision about %s", name)
	panic("unreachable")
}

func TestTheFloorIsUpBeforeTheRise(t *testing.T) {
	s := newSetup(usage{"web": office})
	s.collect(t, now)
	if err := s.infer(t, "infer-1", now); err != nil {
		t.Fatal(err)
	}
	// At eight o'clock usage has not risen yet in any sample; six cores at 70 % of
	// half a core are 18 pods.
	d := s.decision(t, "web")
	if d.Reason != schemas.FloorRaised || d.MinReplicas != 18 || !d.Applied {
		t.Errorf("decision %s, floor %d, applied %v (%s); want FloorRaised, 18, true", d.Reason, d.MinReplicas, d.Applied, d.Message)
	}
	if s.binder.floors["web"] != 18 {
		t.Errorf("bound %d, want 18", s.binder.floors["web"])
	}
	if n, err := replicas.Recompute(&d); err != nil || n != d.MinReplicas {
		t.Errorf("the record gives %d, %v; want %d", n, err, d.MinReplicas)
	}
}

func TestEveryComponentIsAccountedFor(t *testing.T) {
	s := newSetup(usage{
		"web":         office,
		"young":       since(now.Add(-6*time.Hour), office),
		"unrequested": office,
		"silent":      func(t time.Time) (float64, bool) { return 1, t.Before(now.Add(-7 * time.Hour)) },
		"shadowed":    office,
		"unmanaged":   office,
		"constant":    func(time.Time) (float64, bool) { return 2, true },
		"idle":        func(time.Time) (float64, bool) { return 0, true },
	})
	s.modes = map[string]schemas.Mode{"shadowed": schemas.Shadow, "unmanaged": schemas.Off}
	s.collect(t, now)
	if err := s.infer(t, "infer-1", now); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		reason  schemas.Reason
		floor   int32
		applied bool
	}{
		"web":         {schemas.FloorRaised, 18, true},
		"young":       {schemas.InsufficientData, 1, true},
		"unrequested": {schemas.NoRequests, 1, true},
		"silent":      {schemas.StaleSamples, 1, true},
		"shadowed":    {schemas.FloorRaised, 18, false},
		"unmanaged":   {schemas.NotManaged, 1, false},
		"constant":    {schemas.FloorRaised, 6, true},
		"idle":        {schemas.FloorKept, 1, true},
	} {
		d := s.decision(t, name)
		if d.Reason != want.reason || d.MinReplicas != want.floor || d.Applied != want.applied {
			t.Errorf("%s: %s, floor %d, applied %v (%s); want %s, %d, %v", name, d.Reason, d.MinReplicas, d.Applied, d.Message, want.reason, want.floor, want.applied)
		}
		if d.Message == "" {
			t.Errorf("%s: no message", name)
		}
	}
	if _, bound := s.binder.floors["shadowed"]; bound {
		t.Error("a shadowed component was bound")
	}
}

func TestARepeatedRunDecidesOnce(t *testing.T) {
	s := newSetup(usage{"web": office})
	s.collect(t, now)
	for range 3 {
		if err := s.infer(t, "infer-1", now); err != nil {
			t.Fatal(err)
		}
	}
	heads := 0
	for _, err := range s.store.Heads(t.Context(), schemas.ForecastsHead) {
		if err != nil {
			t.Fatal(err)
		}
		heads++
	}
	if heads != 1 {
		t.Errorf("%d heads, want 1", heads)
	}
}

func TestALateRunChangesNothing(t *testing.T) {
	s := newSetup(usage{"web": office})
	s.collect(t, now)
	if err := s.infer(t, "infer-new", now); err != nil {
		t.Fatal(err)
	}
	s.binder.floors["web"] = 18
	// A run that was meant for midnight, when nothing was going on, comes late.
	if err := s.infer(t, "infer-old", now.Add(-8*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.binder.floors["web"] != 18 || s.latest(t).Run != "infer-new" {
		t.Errorf("floor %d of run %s, want 18 of infer-new", s.binder.floors["web"], s.latest(t).Run)
	}
}

func TestWithoutSamplesNothingIsDecided(t *testing.T) {
	s := newSetup(nil)
	if err := s.infer(t, "infer-1", now); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := forecasts.Latest(t.Context(), s.store); ok || err != nil {
		t.Errorf("decisions from nothing, %v", err)
	}
}

func TestForecastsAndDecisionsAreReadBack(t *testing.T) {
	s := newSetup(usage{"web": office, "cart": office})
	s.collect(t, now)
	if err := s.infer(t, "infer-1", now); err != nil {
		t.Fatal(err)
	}
	set := s.latest(t)
	if !set.Now.Equal(now) || !set.DataUntil.Equal(now) || len(set.Forecasts) != 2 || len(set.Decisions) != 2 {
		t.Fatalf("set of %s until %s with %d forecasts and %d decisions", set.Now, set.DataUntil, len(set.Forecasts), len(set.Decisions))
	}
	for _, f := range set.Forecasts {
		if err := f.Validate(); err != nil {
			t.Error(err)
		}
		if f.Steps() != schemas.DefaultHorizon || !f.Origin.Equal(now) {
			t.Errorf("%s: %d steps from %s", f.Component, f.Steps(), f.Origin)
		}
		if f.PeakSteps() == 0 {
			t.Errorf("%s: the peaks were not kept", f.Component)
		}
		if math.Abs(f.At(0, .5)-6) > .1 {
			t.Errorf("%s: forecast %v for eight o'clock, want 6", f.Component, f.At(0, .5))
		}
	}
}

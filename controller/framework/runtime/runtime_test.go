package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/schemas"
)

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func id(component string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "shop", Service: "web", Component: component}
}

// candidate has five days of one core, requests of one core and bounds of 2 to
// 10.
func candidate(component string, edit ...func(*framework.Candidate)) *framework.Candidate {
	p := schemas.DefaultPolicy()
	p.Mode, p.MinReplicas = schemas.Auto, 2
	c := &framework.Candidate{
		Component: id(component), Now: now, Policy: p,
		Series:   map[schemas.Resource]*schemas.Series{schemas.CPU: series(component, schemas.CPU, slices.Repeat([]float64{2}, 5*96)...)},
		Requests: schemas.Requests{schemas.CPU: 1},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

// series ends now.
func series(component string, r schemas.Resource, values ...float64) *schemas.Series {
	return &schemas.Series{Component: id(component), Resource: r, Step: schemas.DefaultStep, Mean: values,
		Start: now.Add(-time.Duration(len(values)) * schemas.DefaultStep)}
}

// The doubles below do what their function says; a nil function does nothing.

type sorter struct {
	name string
	less func(a, b *framework.Proposal) bool
}

func (p sorter) Name() string                       { return p.name }
func (p sorter) Less(a, b *framework.Proposal) bool { return p.less != nil && p.less(a, b) }

type filter struct {
	name string
	f    func(*framework.Candidate) *framework.Status
}

func (p filter) Name() string { return p.name }
func (p filter) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	return p.f(c)
}

type forecaster struct {
	name string
	f    func(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status)
}

func (p forecaster) Name() string { return p.name }
func (p forecaster) Forecast(_ context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	return p.f(state, c, r, steps)
}

// constant forecasts one value at every level.
func constant(name string, v float64) forecaster {
	return forecaster{name, func(_ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
		f := schemas.NewForecast(c.Series[r], steps, schemas.DefaultLevels())
		for i := range f.Values {
			f.Values[i] = v
		}
		return f, nil
	}}
}

// answers makes a forecaster out of an edit of a good answer.
func answers(name string, edit func(*schemas.Forecast)) forecaster {
	return forecaster{name, func(state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
		f, _ := constant(name, 5).f(state, c, r, steps)
		edit(f)
		return f, nil
	}}
}

func refuses(name string, code framework.Code, reason schemas.Reason) forecaster {
	return forecaster{name, func(*framework.CycleState, *framework.Candidate, schemas.Resource, int) (*schemas.Forecast, *framework.Status) {
		return nil, framework.NewStatus(code, reason, "not today")
	}}
}

type scorePlugin struct {
	name string
	f    func(f *schemas.Forecast, band schemas.Band) (float64, *framework.Status)
}

func (p scorePlugin) Name() string { return p.name }
func (p scorePlugin) Score(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, f *schemas.Forecast, band schemas.Band) (float64, *framework.Status) {
	return p.f(f, band)
}

type permit struct {
	name string
	f    func(c *framework.Candidate, d *schemas.Decision) *framework.Status
}

func (p permit) Name() string { return p.name }
func (p permit) Permit(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	return p.f(c, d)
}

// binder keeps what was bound, in order.
type binder struct {
	name  string
	f     func(c *framework.Candidate, d *schemas.Decision) *framework.Status
	bound []string
}

func (p *binder) Name() string { return p.name }
func (p *binder) Bind(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	p.bound = append(p.bound, fmt.Sprintf("%s %d", c.Component.Component, d.MinReplicas))
	if p.f != nil {
		return p.f(c, d)
	}
	return nil
}

// listener keeps what it was told.
type listener struct {
	f    func(*schemas.Decision)
	told []schemas.Decision
	runs []string
}

func (*listener) Name() string { return "Listener" }
func (p *listener) PostBind(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, d *schemas.Decision) {
	p.told = append(p.told, *d)
	if p.f != nil {
		p.f(d)
	}
}
func (p *listener) StartRun(run string) { p.runs = append(p.runs, run) }

// build makes a framework from instances. A queue sort and a binder are added
// where there is none.
func build(fail interface {
	Helper()
	Fatal(...any)
}, edit func(*runtime.Profile, *runtime.Options), plugins ...framework.Plugin) *runtime.Framework {
	fail.Helper()
	profile := runtime.Profile{Name: "test"}
	registry := runtime.Registry{}
	options := runtime.Options{}
	sorts, binds := false, false
	for _, p := range plugins {
		switch p.(type) {
		case framework.QueueSortPlugin:
			sorts = true
		case framework.BindPlugin:
			binds = true
		}
	}
	if !sorts {
		plugins = append(plugins, sorter{name: "Sorter"})
	}
	if !binds {
		plugins = append(plugins, &binder{name: "Binder"})
	}
	for _, p := range plugins {
		profile.Plugins = append(profile.Plugins, p.Name())
		registry[p.Name()] = func([]byte) (framework.Plugin, error) { return p, nil }
	}
	if edit != nil {
		edit(&profile, &options)
	}
	f, err := runtime.New(registry, profile, options)
	if err != nil {
		fail.Fatal(err)
	}
	return f
}

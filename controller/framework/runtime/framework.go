// Package runtime runs the plugins of controller/framework. A [Registry] holds
// what a program has linked, a [Profile] says which of it decides, and [New]
// joins the two to a [Framework], whose [Framework.Run] takes all components
// through both cycles. Design.md in controller/framework tells why it is built
// so.
package runtime

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Options is what a program decides and a profile does not.
type Options struct {
	// Plugins are instances that the program brings itself, after those of the
	// profile: the binder for its kind of cluster, and whoever wants to be told.
	Plugins []framework.Plugin
	// ForecastOnly says that only forecast cycles will be run. Then neither a
	// QueueSort nor a Bind plugin is needed.
	ForecastOnly bool
	// Workers is how many components are forecast at the same time: as many as
	// there are processors where it is 0. The results do not depend on it.
	Workers int
}

// Framework is a profile with its plugins made. It may be used for many runs,
// one after the other.
type Framework struct {
	profile Profile
	workers int

	starters    []framework.RunStarter
	queueSorts  []framework.QueueSortPlugin // one, unless only forecasts are wanted
	filters     []framework.FilterPlugin
	views       []framework.ViewPlugin // one at most
	forecasters []framework.ForecastPlugin
	scorers     []scorer
	permits     []framework.PermitPlugin
	binders     []framework.BindPlugin
	postBinders []framework.PostBindPlugin
}

type scorer struct {
	framework.ScorePlugin
	weight float64
}

// New makes the plugins that the profile names and finds their extension
// points. Every error has [schemas.CodeInvalidConfig] and names the profile
// and what breaks a rule: a plugin that is not registered or refuses its
// arguments, one that has no extension point, not exactly one QueueSort, no
// Forecast or no Bind.
func New(registry Registry, profile Profile, options Options) (*Framework, error) {
	if err := profile.complete(); err != nil {
		return nil, err
	}
	f := &Framework{profile: profile, workers: options.Workers}
	invalid := func(format string, args ...any) error {
		return schemas.Errorf(schemas.CodeInvalidConfig, "profile %q: "+format, append([]any{profile.Name}, args...)...)
	}
	var names []string
	add := func(name string, p framework.Plugin) error {
		if slices.Contains(names, name) {
			return invalid("plugin %s must be enabled once", name)
		}
		names = append(names, name)
		if !f.add(p) {
			return invalid("plugin %s has no extension point", name)
		}
		return nil
	}
	for _, name := range profile.Plugins {
		factory, ok := registry[name]
		if !ok {
			return nil, invalid("unknown plugin %q; known are: %s", name, strings.Join(registry.Names(), ", "))
		}
		p, err := factory(profile.Args[name])
		if err != nil {
			return nil, invalid("plugin %s: %w", name, err)
		}
		if p == nil {
			return nil, invalid("plugin %s: its factory made nothing", name)
		}
		if err := add(name, p); err != nil {
			return nil, err
		}
	}
	for i, p := range options.Plugins {
		if p == nil {
			return nil, invalid("plugin %d of the program must not be nil", i+1)
		}
		if err := add(p.Name(), p); err != nil {
			return nil, err
		}
	}

	for _, name := range sortedKeys(profile.Weights) {
		if !slices.ContainsFunc(f.scorers, func(s scorer) bool { return s.Name() == name }) {
			return nil, invalid("a weight is given for plugin %s, which does not score", name)
		}
	}
	if len(f.forecasters) == 0 {
		return nil, invalid("at least one plugin must forecast")
	}
	if n := len(f.views); n > 1 {
		return nil, invalid("at most one plugin may show forecasters a view, but %d do", n)
	}
	if options.ForecastOnly {
		return f, nil
	}
	if n := len(f.queueSorts); n != 1 {
		return nil, invalid("exactly one plugin must sort the queue, but %d do", n)
	}
	if len(f.binders) == 0 {
		return nil, invalid("at least one plugin must bind")
	}
	return f, nil
}

// add files a plugin under its extension points and reports whether it has one.
func (f *Framework) add(p framework.Plugin) bool {
	found := false
	if p, ok := p.(framework.QueueSortPlugin); ok {
		f.queueSorts, found = append(f.queueSorts, p), true
	}
	if p, ok := p.(framework.FilterPlugin); ok {
		f.filters, found = append(f.filters, p), true
	}
	if p, ok := p.(framework.ViewPlugin); ok {
		f.views, found = append(f.views, p), true
	}
	if p, ok := p.(framework.ForecastPlugin); ok {
		f.forecasters, found = append(f.forecasters, p), true
	}
	if p, ok := p.(framework.ScorePlugin); ok {
		weight := 1.0
		if w, ok := f.profile.Weights[p.Name()]; ok {
			weight = w
		}
		f.scorers, found = append(f.scorers, scorer{p, weight}), true
	}
	if p, ok := p.(framework.PermitPlugin); ok {
		f.permits, found = append(f.permits, p), true
	}
	if p, ok := p.(framework.BindPlugin); ok {
		f.binders, found = append(f.binders, p), true
	}
	if p, ok := p.(framework.PostBindPlugin); ok {
		f.postBinders, found = append(f.postBinders, p), true
	}
	if p, ok := p.(framework.RunStarter); ok && found {
		f.starters = append(f.starters, p)
	}
	return found
}

// Profile returns the profile with its defaults filled in.
func (f *Framework) Profile() Profile { return f.profile }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

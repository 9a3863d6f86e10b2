package runtime_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestParseProfile(t *testing.T) {
	got, err := runtime.ParseProfile([]byte(`
name: mine
horizon: 6h
plugins: [Sorter, Naive, Backtest]
weights: {Backtest: 2.5}
args:
  Naive: {days: 3}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := runtime.Profile{
		Name: "mine", Formula: schemas.FormulaQuantile,
		Interval: framework.Duration(15 * time.Minute), Horizon: framework.Duration(6 * time.Hour),
		Plugins: []string{"Sorter", "Naive", "Backtest"},
		Weights: map[string]float64{"Backtest": 2.5},
		Args:    got.Args,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	if args := string(got.Args["Naive"]); args != `{"days":3}` {
		t.Errorf("args of Naive = %s", args)
	}
}

func TestProfilesThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, yaml, want string
	}{
		{"no YAML", "{", "profile"},
		{"a field that profiles do not have", "name: p\nplugin: [A]\nplugins: [A]", `unknown field "plugin"`},
		{"a field given twice", "name: p\nname: q\nplugins: [A]", `"name" already set`},
		{"a value of the wrong kind", "name: p\nplugins: A", "plugins"},
		{"no name", "plugins: [A]", "name must not be empty"},
		{"no plugins", "name: p", `profile "p": plugins must not be empty`},
		{"a plugin named twice", "name: p\nplugins: [A, B, A]", `profile "p": plugin A must be named once`},
		{"an unknown formula", "name: p\nformula: magic\nplugins: [A]", `formula must be "quantile" or "classic", but is "magic"`},
		{"an interval without a unit", "name: p\ninterval: 15\nplugins: [A]", `a duration must be a string such as "15m", but is 15`},
		{"an interval that is none", "name: p\ninterval: soon\nplugins: [A]", `a duration must be a string such as "15m", but is "soon"`},
		{"an interval of seconds", "name: p\ninterval: 5s\nplugins: [A]", "interval must be from 1m to 24h, but is 5s"},
		{"a horizon of minutes", "name: p\nhorizon: 5m\nplugins: [A]", "horizon must be from 1h to 168h, but is 5m0s"},
		{"arguments for a plugin that is not enabled", "name: p\nplugins: [A]\nargs: {B: {}}", `args are given for plugin "B", which is not enabled; enabled are: A`},
		{"a weight for a plugin that is not enabled", "name: p\nplugins: [A]\nweights: {B: 1}", `a weight is given for plugin "B"`},
		{"a weight of nothing", "name: p\nplugins: [A]\nweights: {A: 0}", "weight of plugin A must be above 0, but is 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := runtime.ParseProfile([]byte(tt.yaml))
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseProfile error = %v, want one with code %s that says %q", err, schemas.CodeInvalidConfig, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the message must be one line: %q", err)
			}
		})
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte("name: p\nplugins: [A]\nargs: {A: {x: 1}}"))
	f.Add([]byte("name: p\ninterval: 1h\nhorizon: 24h\nformula: classic\nplugins: [A, B]\nweights: {B: 3}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := runtime.ParseProfile(data)
		if err != nil {
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
				t.Errorf("error without a code: %v", err)
			}
			return
		}
		if p.Name == "" || len(p.Plugins) == 0 || p.Interval <= 0 || p.Horizon <= 0 {
			t.Errorf("accepted profile is incomplete: %+v", p)
		}
	})
}

type bare struct{}

func (bare) Name() string { return "Bare" }

func TestNewRefuses(t *testing.T) {
	type args struct {
		Days int `json:"days"`
	}
	fixed := func(p framework.Plugin) runtime.Factory {
		return func([]byte) (framework.Plugin, error) { return p, nil }
	}
	registry := runtime.Registry{
		"Sorter": fixed(sorter{name: "Sorter"}),
		"Second": fixed(sorter{name: "Second"}),
		"Binder": fixed(&binder{name: "Binder"}),
		"Bare":   fixed(bare{}),
		"Naive": func(data []byte) (framework.Plugin, error) {
			return constant("Naive", 1), framework.DecodeArgs(data, &args{})
		},
		"Broken":  func([]byte) (framework.Plugin, error) { return nil, errors.New("no licence") },
		"Nothing": func([]byte) (framework.Plugin, error) { return nil, nil },
	}
	for _, tt := range []struct {
		name    string
		profile string
		options runtime.Options
		want    string
	}{
		{"an unknown plugin", "plugins: [Sorter, Naive, Bindr]", runtime.Options{},
			`profile "p": unknown plugin "Bindr"; known are: Bare, Binder, Broken, Naive, Nothing, Second, Sorter`},
		{"an unknown argument", "plugins: [Sorter, Naive, Binder]\nargs: {Naive: {day: 3}}", runtime.Options{},
			`profile "p": plugin Naive: unknown argument "day"; known are: days`},
		{"an argument of the wrong kind", "plugins: [Sorter, Naive, Binder]\nargs: {Naive: {days: many}}", runtime.Options{},
			`profile "p": plugin Naive: argument "days" must be of type int, but is a string`},
		{"arguments that are no map", "plugins: [Sorter, Naive, Binder]\nargs: {Naive: 3}", runtime.Options{},
			`profile "p": plugin Naive: arguments must be a map of names and values, but are 3`},
		{"a factory that fails", "plugins: [Broken]", runtime.Options{}, `profile "p": plugin Broken: no licence`},
		{"a factory that makes nothing", "plugins: [Nothing]", runtime.Options{}, `profile "p": plugin Nothing: its factory made nothing`},
		{"a plugin without an extension point", "plugins: [Bare]", runtime.Options{}, `profile "p": plugin Bare has no extension point`},
		{"no forecaster", "plugins: [Sorter, Binder]", runtime.Options{}, "at least one plugin must forecast"},
		{"no queue sort", "plugins: [Naive, Binder]", runtime.Options{}, "exactly one plugin must sort the queue, but 0 do"},
		{"two queue sorts", "plugins: [Sorter, Second, Naive, Binder]", runtime.Options{}, "exactly one plugin must sort the queue, but 2 do"},
		{"no binder", "plugins: [Sorter, Naive]", runtime.Options{}, "at least one plugin must bind"},
		{"a weight for a plugin that does not score", "plugins: [Sorter, Naive, Binder]\nweights: {Naive: 2}", runtime.Options{}, "a weight is given for plugin Naive, which does not score"},
		{"a plugin of the program that the profile has too", "plugins: [Sorter, Naive, Binder]",
			runtime.Options{Plugins: []framework.Plugin{&binder{name: "Binder"}}}, "plugin Binder must be enabled once"},
		{"a nil plugin of the program", "plugins: [Sorter, Naive, Binder]",
			runtime.Options{Plugins: []framework.Plugin{nil}}, "plugin 1 of the program must not be nil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			profile, err := runtime.ParseProfile([]byte("name: p\n" + tt.profile))
			if err != nil {
				t.Fatal(err)
			}
			_, err = runtime.New(registry, profile, tt.options)
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New error = %v, want one with code %s that says %q", err, schemas.CodeInvalidConfig, tt.want)
			}
		})
	}
	t.Run("but forecasts alone need neither a queue nor a binder", func(t *testing.T) {
		profile := runtime.Profile{Name: "p", Plugins: []string{"Naive"}}
		if _, err := runtime.New(registry, profile, runtime.Options{ForecastOnly: true}); err != nil {
			t.Error(err)
		}
	})
}

func TestRegistry(t *testing.T) {
	factory := func([]byte) (framework.Plugin, error) { return bare{}, nil }
	r := runtime.Registry{}
	if err := r.Register("A", factory); err != nil {
		t.Fatal(err)
	}
	if err := r.Register("A", factory); schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "plugin A must be registered once") {
		t.Errorf("a second A: %v", err)
	}
	if err := r.Register("", factory); err == nil {
		t.Error("a plugin without a name must be refused")
	}
	if err := r.Merge(runtime.Registry{"B": factory, "A": factory}); err == nil {
		t.Error("merging a second A must be refused")
	}
	if diff := cmp.Diff([]string{"A"}, r.Names()); diff != "" {
		t.Errorf("after a refused merge the names must be as before (-want +got):\n%s", diff)
	}
	if err := r.Merge(runtime.Registry{"C": factory, "B": factory}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"A", "B", "C"}, r.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

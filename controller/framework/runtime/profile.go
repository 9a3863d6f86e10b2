package runtime

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Profile says which plugins decide, in which order and with which arguments.
type Profile struct {
	Name string `json:"name"`
	// Formula is how a forecast becomes a floor: "quantile" where it is empty,
	// or "classic".
	Formula schemas.Formula `json:"formula,omitempty"`
	// Interval is the time from one run to the next: 15 minutes where it is 0.
	Interval framework.Duration `json:"interval,omitempty"`
	// Horizon is how far ahead to forecast: a day where it is 0.
	Horizon framework.Duration `json:"horizon,omitempty"`
	// Plugins names the enabled plugins. Within each extension point they run in
	// this order.
	Plugins []string `json:"plugins"`
	// Weights multiply the scores of Score plugins; 1 where one is not named.
	Weights map[string]float64 `json:"weights,omitempty"`
	// Args holds the arguments of plugins.
	Args map[string]json.RawMessage `json:"args,omitempty"`
}

// Defaults of a profile.
const (
	DefaultInterval = 15 * time.Minute
	DefaultHorizon  = 24 * time.Hour
)

// ParseProfile reads a profile in YAML. A field that profiles do not have, a
// field given twice and a value of the wrong kind are errors with
// [schemas.CodeInvalidConfig].
func ParseProfile(data []byte) (Profile, error) {
	var p Profile
	if err := yaml.UnmarshalStrict(data, &p); err != nil {
		message := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: "), "\n", " ")
		return Profile{}, schemas.Errorf(schemas.CodeInvalidConfig, "profile %q: %s", p.Name, message)
	}
	if err := p.complete(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

// complete fills in the defaults and reports what breaks a rule that can be
// checked without the plugins.
func (p *Profile) complete() error {
	invalid := func(format string, args ...any) error {
		return schemas.Errorf(schemas.CodeInvalidConfig, "profile %q: "+format, append([]any{p.Name}, args...)...)
	}
	if p.Name == "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "profile: name must not be empty")
	}
	switch p.Formula {
	case "":
		p.Formula = schemas.FormulaQuantile
	case schemas.FormulaQuantile, schemas.FormulaClassic:
	default:
		return invalid("formula must be %q or %q, but is %q", schemas.FormulaQuantile, schemas.FormulaClassic, p.Formula)
	}
	if p.Interval == 0 {
		p.Interval = framework.Duration(DefaultInterval)
	}
	if p.Horizon == 0 {
		p.Horizon = framework.Duration(DefaultHorizon)
	}
	if d := time.Duration(p.Interval); d < time.Minute || d > 24*time.Hour {
		return invalid("interval must be from 1m to 24h, but is %s", d)
	}
	if d := time.Duration(p.Horizon); d < time.Hour || d > 7*24*time.Hour {
		return invalid("horizon must be from 1h to 168h, but is %s", d)
	}
	if len(p.Plugins) == 0 {
		return invalid("plugins must not be empty")
	}
	for i, name := range p.Plugins {
		if slices.Contains(p.Plugins[:i], name) {
			return invalid("plugin %s must be named once", name)
		}
	}
	for _, name := range sortedKeys(p.Args) {
		if !slices.Contains(p.Plugins, name) {
			return invalid("args are given for plugin %q, which is not enabled; enabled are: %s", name, strings.Join(p.Plugins, ", "))
		}
	}
	for _, name := range sortedKeys(p.Weights) {
		if !slices.Contains(p.Plugins, name) {
			return invalid("a weight is given for plugin %q, which is not enabled; enabled are: %s", name, strings.Join(p.Plugins, ", "))
		}
		if w := p.Weights[name]; !(w > 0) || math.IsInf(w, 0) {
			return invalid("weight of plugin %s must be above 0, but is %v", name, w)
		}
	}
	return nil
}

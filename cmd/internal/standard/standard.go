// Package standard puts the plugins that ship together: what a program decides
// with unless it links its own.
package standard

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/learned"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
)

// Framework returns what makes the framework of a run: the plugins of a profile,
// the forecasters with the newest models, or the network that ships where there is
// none yet, and the program's own plugins, such
// as its binder. Season is the number of steps in a season, 0 for a day.
func Framework(profile runtime.Profile, season int, own ...framework.Plugin) func([]models.Trained) (*runtime.Framework, error) {
	return func(trained []models.Trained) (*runtime.Framework, error) {
		return build(profile, season, trained, runtime.Options{Plugins: own})
	}
}

func build(profile runtime.Profile, season int, trained []models.Trained, o runtime.Options) (*runtime.Framework, error) {
	library := learned.NewLibrary()
	for _, t := range trained {
		library.Add(t.Model, t.Weights)
	}
	if len(trained) == 0 {
		sum := sha256.Sum256(pretrained.Encoded())
		library.Add(&schemas.Model{Horizon: schemas.DefaultHorizon, WeightsSum: hex.EncodeToString(sum[:]), Verdict: "shipped with the program"}, pretrained.Weights())
	}
	registry := plugins.NewRegistry()
	if err := registry.Merge(learned.Factories(library, season)); err != nil {
		return nil, err
	}
	return runtime.New(registry, profile, o)
}

// Profile returns the profile that a person named: one that ships, or a YAML
// file. It is an error with [schemas.CodeInvalidConfig] where it is neither, or
// names a plugin that is not linked.
func Profile(name string) (runtime.Profile, error) {
	profile, err := profile(name)
	if err != nil {
		return runtime.Profile{}, err
	}
	known := append(plugins.NewRegistry().Names(), schemas.Bank, schemas.Network, schemas.Hedge)
	for _, p := range profile.Plugins {
		if !slices.Contains(known, p) {
			slices.Sort(known)
			return runtime.Profile{}, schemas.Errorf(schemas.CodeInvalidConfig, "profile %q: unknown plugin %q; known are: %s", profile.Name, p, strings.Join(known, ", "))
		}
	}
	return profile, nil
}

func profile(name string) (runtime.Profile, error) {
	if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" && !strings.ContainsRune(name, filepath.Separator) {
		return plugins.Profile(name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return runtime.Profile{}, schemas.Errorf(schemas.CodeInvalidConfig, "profile: %w", err)
	}
	p, err := runtime.ParseProfile(data)
	if err != nil {
		return runtime.Profile{}, schemas.Errorf(schemas.CodeInvalidConfig, "profile %s: %w", name, err)
	}
	return p, nil
}

// Forecasts returns a framework that forecasts only, with the given models.
func Forecasts(profile runtime.Profile, season int, trained ...models.Trained) (*runtime.Framework, error) {
	return build(profile, season, trained, runtime.Options{ForecastOnly: true})
}

// OnePolicy is the catalog of a program without a cluster: it has one policy for
// all components and knows no workloads.
type OnePolicy schemas.Policy

// Policy returns the policy.
func (p OnePolicy) Policy(schemas.ComponentID) schemas.Policy { return schemas.Policy(p) }

// Target returns nil.
func (OnePolicy) Target(schemas.ComponentID) *framework.Target { return nil }

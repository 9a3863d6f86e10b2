// Package plugins holds the plugins that decide without talking to a cluster,
// and the profiles that enable them. Bank and Network, which the default
// profile also names, come from packages of their own, and so do the binders
// for each kind of cluster: a program adds them to [NewRegistry] and to the
// options of runtime.New.
package plugins

import (
	"embed"
	"path"
	"strings"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/schemas"
)

// NewRegistry returns a registry with all plugins of this package. The caller
// may add to it.
func NewRegistry() runtime.Registry {
	return runtime.Registry{
		UrgentFirstName:    newUrgentFirst,
		ManagedName:        newManaged,
		ScalableTargetName: newScalableTarget,
		RequestsName:       newRequests,
		EnoughHistoryName:  newEnoughHistory,
		FreshSamplesName:   newFreshSamples,
		framework.Baseline: newSeasonalNaive,
		BacktestName:       newBacktest,
		NoConflictName:     newNoConflict,
		CooldownName:       newCooldown,
		MaxStepName:        newMaxStep,
		BudgetName:         newBudget,
		CapacityName:       newCapacity,
	}
}

//go:embed profiles/*.yaml
var profiles embed.FS

// Names of the profiles that come with the program.
const (
	DefaultProfile = "default"
	ClassicProfile = "classic"
)

// Profile returns one of the profiles that come with the program. An unknown
// name is an error with [schemas.CodeInvalidConfig] that lists the known ones.
func Profile(name string) (runtime.Profile, error) {
	data, err := profiles.ReadFile("profiles/" + name + ".yaml")
	if err != nil {
		return runtime.Profile{}, schemas.Errorf(schemas.CodeInvalidConfig, "profile must be one of %s, but is %q", strings.Join(ProfileNames(), ", "), name)
	}
	return runtime.ParseProfile(data)
}

// ProfileNames lists the profiles that come with the program.
func ProfileNames() []string {
	entries, err := profiles.ReadDir("profiles")
	if err != nil {
		return nil // an embedded folder is always there
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), path.Ext(e.Name())))
	}
	return names
}

// noArgs refuses arguments for a plugin that has none.
func noArgs(args []byte) error {
	var none struct{}
	return framework.DecodeArgs(args, &none)
}

// rejected is the plugin's expected "no".
func rejected(reason schemas.Reason, message string) *framework.Status {
	return framework.NewStatus(framework.Rejected, reason, message)
}

// Inference is the step of the pipelines that forecasts and decides.
package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/cmd/internal/clusterflags"
	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/cmd/internal/memory"
	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/cmd/internal/trainvalues"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/almanac"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

const long = `
Forecasts every component's usage from the newest samples with the newest
accepted models, turns the forecasts into floors for the number of replicas, and
keeps forecasts and decisions in the store.

-cluster: the ScalingPolicies of the cluster say what may be done for each
component, and floors are written to its autoscaler: to spec.minReplicas of the
user's HorizontalPodAutoscaler, to minReplicaCount of a ScaledObject of KEDA, or
to a HorizontalPodAutoscaler of our own where there is none. Nothing is written
for a component in mode Off or Shadow, or whose replicas somebody else sets.
Every run, whatever becomes of its forecasts, gives back the floors that have
expired and those that may not be any more. Who wants to know why reads the
decisions; changed floors are Events of the policy as well.

Without -cluster, one policy holds for all components; its fields are those of a
decision's policy, and what it leaves open has the defaults. Without -policy the
mode is Shadow: decide and record, write nothing. In mode Auto, each decision
that comes from a forecast is written to -manifests as a HorizontalPodAutoscaler
that kubectl apply accepts.

How far forecasts look back and ahead: as many days as the variables
TRAIN_HISTORY_DAYS and TRAIN_FUTURE_DAYS say, else 28 and as the profile says.

Examples:
  inference -store "$STORE_URL" -run infer-7 -cluster -namespace self-scaling
  inference -store file:///var/lib/self-scaling -run infer-7 -policy auto.yaml -manifests /tmp/hpas
`

// version is set by the linker.
var version string

func main() {
	memory.Limit()
	os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the step's own flags.
type settings struct {
	cluster                    clusterflags.Flags
	calendars                  standard.CalendarFlags
	profile, policy, manifests string
	days                       int
}

func program() jobs.Program {
	var s settings
	return jobs.Program{
		Name: "inference", Short: "forecast, decide and record", Long: long, Linked: version,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			s.cluster.Register(f)
			f.StringVar(&s.profile, "profile", plugins.DefaultProfile, "profile that decides where a policy names none: `name` of one that ships, or a YAML file")
			f.StringVar(&s.policy, "policy", "", "YAML `file` with the policy of all components, without -cluster")
			f.StringVar(&s.manifests, "manifests", "", "`folder` to write HorizontalPodAutoscalers to, without -cluster")
			s.calendars.Register(f)
			f.IntVar(&s.days, "days", 0, "`days` of history that forecasts look back on (default: $TRAIN_HISTORY_DAYS, else 28)")
		},
		Step: tracing.Step("inference", s.step),
	}
}

func (s *settings) step(ctx context.Context, env jobs.Env) error {
	command.Adopt(env.Log)
	days, err := trainvalues.HistoryDays(s.days, inference.DefaultHistoryDays)
	if err != nil {
		return err
	}
	profile, err := s.profileNamed(s.profile)
	if err != nil {
		return err
	}
	marked, err := s.calendars.Load()
	if err != nil {
		return err
	}
	c := inference.Config{HistoryDays: days}
	if s.cluster.Cluster {
		step, err := s.onCluster(c, profile, marked)
		if err != nil {
			return err
		}
		return step(ctx, env)
	}
	wanted, err := readPolicy(s.policy)
	if err != nil {
		return err
	}
	c.Catalog = func(context.Context) (inference.Catalog, error) { return standard.OnePolicy(wanted), nil }
	c.Framework = standard.Framework(profile, 0, manifest.New(writer(s.manifests)), almanac.New(marked))
	return inference.New(c)(ctx, env)
}

// profileNamed returns a profile with the horizon that operators have set.
func (s *settings) profileNamed(name string) (runtime.Profile, error) {
	p, err := standard.Profile(name)
	if err != nil {
		return p, err
	}
	future, err := trainvalues.FutureDays()
	if future > 0 {
		p.Horizon = framework.Duration(time.Duration(future) * 24 * time.Hour)
	}
	return p, err
}

// readPolicy returns the defaults, with what the file says over them.
func readPolicy(path string) (schemas.Policy, error) {
	if path == "" {
		return schemas.DefaultPolicy(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return schemas.Policy{}, schemas.Errorf(schemas.CodeInvalidConfig, "policy: %w", err)
	}
	data, err = yaml.YAMLToJSONStrict(data)
	if err != nil {
		return schemas.Policy{}, schemas.Errorf(schemas.CodeInvalidConfig, "policy %s: %w", path, err)
	}
	p, err := schemas.ParsePolicy(data)
	if err != nil {
		return p, schemas.Errorf(schemas.CodeInvalidConfig, "policy %s: %w", path, err)
	}
	return p, nil
}

// writer returns what writes one manifest a component into a folder, whole or
// not at all.
func writer(dir string) func(schemas.ComponentID, *autoscalingv2.HorizontalPodAutoscaler) error {
	return func(_ schemas.ComponentID, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
		if dir == "" {
			return nil
		}
		data, err := manifest.Encode(hpa)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return schemas.WithCode(schemas.CodeUnavailable, err)
		}
		name := filepath.Join(dir, hpa.Name+".yaml")
		temp := name + ".partial"
		if err := os.WriteFile(temp, data, 0o644); err != nil {
			return schemas.WithCode(schemas.CodeUnavailable, err)
		}
		return schemas.WithCode(schemas.CodeUnavailable, os.Rename(temp, name))
	}
}

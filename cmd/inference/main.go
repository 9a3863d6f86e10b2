// Inference is the step of the pipelines that forecasts and decides.
package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/controller/plugins"
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

A policy, the same for all components, says what may be done; its fields are
those of a decision's policy, and what it leaves open has the defaults. Without
one the mode is Shadow: decide and record, write nothing. In mode Auto, each
decision that comes from a forecast is written to -manifests as a
HorizontalPodAutoscaler that kubectl apply accepts.

Example:
  inference -store file:///var/lib/self-scaling -run infer-7
  inference -store file:///var/lib/self-scaling -run infer-7 -policy auto.yaml -manifests /tmp/hpas
`

func main() { os.Exit(program().Main(os.Args[1:], os.Stdout, os.Stderr)) }

func program() jobs.Program {
	var profile, policy, manifests string
	c := inference.Config{}
	return jobs.Program{
		Name: "inference", Short: "forecast, decide and record", Long: long,
		Drivers: artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open},
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&profile, "profile", plugins.DefaultProfile, "profile that decides: `name` of one that ships, or a YAML file")
			f.StringVar(&policy, "policy", "", "YAML `file` with the policy of all components")
			f.StringVar(&manifests, "manifests", "", "`folder` to write HorizontalPodAutoscalers to")
			f.IntVar(&c.HistoryDays, "days", inference.DefaultHistoryDays, "`days` of history that forecasts look back on")
		},
		Step: func(ctx context.Context, env jobs.Env) error {
			p, err := standard.Profile(profile)
			if err != nil {
				return err
			}
			wanted, err := readPolicy(policy)
			if err != nil {
				return err
			}
			c.Catalog = func(context.Context) (inference.Catalog, error) { return standard.OnePolicy(wanted), nil }
			c.Framework = standard.Framework(p, 0, manifest.New(writer(manifests)))
			return inference.New(c)(ctx, env)
		},
	}
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

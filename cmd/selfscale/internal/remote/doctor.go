package remote

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/answer"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/doctor"
	"github.com/self-scaling/self-scaling/schemas"
)

// DefaultNamespace is where self-scaling is taken to be installed.
const DefaultNamespace = "default"

// marks are how verdicts are shown to people.
var marks = map[doctor.Verdict]string{doctor.OK: "ok", doctor.Warning: "warn", doctor.Failure: "FAIL", doctor.Unknown: "?"}

func examine(ctx context.Context, o cli.DoctorOptions, c cli.Console) error {
	config, namespace, err := cluster.Config(o.Kubeconfig, o.Context)
	if err != nil {
		return err
	}
	client, err := cluster.NewClient(config)
	if err != nil {
		return err
	}
	scope := cluster.Scope{Namespaces: o.WatchNamespaces}
	if o.Labels != "" {
		if scope.Presets, err = cluster.ParsePresets(o.Labels); err != nil {
			return err
		}
	}
	all, failures := list[doctor.Finding]{Items: []doctor.Finding{}}, 0
	err = doctor.Examine(ctx, client, doctor.Options{
		Namespace: cmp.Or(o.Namespace, namespace, DefaultNamespace), Secret: o.Secret, Scope: scope, Now: time.Now(),
	}, func(f doctor.Finding) {
		if f.Verdict == doctor.Failure {
			failures++
		}
		all.Items = append(all.Items, f)
		if o.Output == cli.TableOutput {
			fmt.Fprintf(c.Out, "%-5s %-24s %s\n", marks[f.Verdict], f.Check, f.Message)
			if f.Remedy != "" {
				fmt.Fprintf(c.Out, "      %-24s -> %s\n", "", f.Remedy)
			}
		}
	})
	if err != nil {
		return err
	}
	if _, err := answer.Write(c.Out, o.Output, all); err != nil {
		return err
	}
	if failures > 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%d of %d checks failed", failures, len(all.Items))
	}
	return nil
}

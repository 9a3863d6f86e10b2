// Package decide is the inference step on a cluster: it joins the step to what
// operators want of a cluster's components and to what writes to it.
package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/cluster/catalog"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
)

// Options say which cluster is decided for, and how.
type Options struct {
	Client *cluster.Client
	Scope  cluster.Scope
	// Inference configures the step; its catalog and its frameworks are made here.
	Inference inference.Config
	// Profile decides where a policy names none, and Named returns others.
	Profile runtime.Profile
	Named   func(name string) (runtime.Profile, error)
	// Own are the program's own plugins besides.
	Own []framework.Plugin
}

// OnCluster returns the step. It decides for a cluster and writes to it. The cluster
// is read once, at the beginning, and what nobody holds any more is given back at the
// end, however the forecasts went.
func OnCluster(o Options) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error { return o.run(ctx, env) }
}

func (o Options) run(ctx context.Context, env jobs.Env) error {
	profiles := plugins.ProfileNames()
	if !slices.Contains(profiles, o.Profile.Name) {
		profiles = append(profiles, o.Profile.Name)
	}
	known, err := catalog.Load(ctx, o.Client, o.Scope, profiles, env.Log)
	if err != nil {
		if schemas.CodeOf(err) == schemas.CodeUnavailable {
			return err
		}
		// What has expired needs no more than its own annotations to be known.
		return errors.Join(err, o.giveBack(ctx, env, nil, func(schemas.ComponentID) string { return "" }))
	}
	writer := bind.NewWriter(o.Client, known.Components())
	events := bind.NewEvents(writer, known.About, env.Run, env.Now)
	own := append([]framework.Plugin{known.Filter(), bind.Floor(writer), bind.ScaledObject(writer), bind.OwnedHPA(writer), events}, o.Own...)
	c := o.Inference
	c.Catalog = func(context.Context) (inference.Catalog, error) { return known, nil }
	c.Framework = standard.Framework(o.Profile, 0, own...)
	c.Profile = func(name string, trained []models.Trained) (*runtime.Framework, error) {
		p := o.Profile
		if name != o.Profile.Name {
			var err error
			if p, err = o.Named(name); err != nil {
				return nil, err
			}
		}
		return standard.Framework(p, 0, own...)(trained)
	}
	var refused []error
	c.Done = func(set forecasts.Set, results []runtime.Result) {
		if o.Inference.Done != nil {
			o.Inference.Done(set, results)
		}
		refused = forbidden(results)
	}
	err = inference.New(c)(ctx, env)
	if ctx.Err() != nil {
		return err
	}
	if err == nil && len(refused) > 0 {
		// The others have their floors, but somebody has to mend this.
		err = schemas.Errorf(schemas.CodeInvalidConfig, "%d of the floors could not be written: %w", len(refused), refused[0])
	}
	err = errors.Join(err, o.giveBack(ctx, env, events, known.GiveBack))
	if sent, passed, failed := events.Send(ctx); failed != nil || passed > 0 {
		env.Log.WarnContext(ctx, "not all changed floors are Events", "sent", sent, "passed", passed, "error", failed)
	}
	return err
}

// forbidden returns why decisions were not carried out that the cluster refused.
func forbidden(results []runtime.Result) []error {
	var out []error
	for i := range results {
		if err := results[i].Status.Err(); cluster.IsForbidden(err) {
			out = append(out, err)
		}
	}
	return out
}

// giveBack takes the floors back that have expired, or that why has a reason
// against.
func (o Options) giveBack(ctx context.Context, env jobs.Env, events *bind.Events, why func(schemas.ComponentID) string) error {
	back, err := bind.Sweep(ctx, o.Client, env.Now, why, o.Scope.Namespaces...)
	for _, b := range back {
		env.Log.InfoContext(ctx, "a floor was given back", "component", b.Component.String(), "autoscaler", b.Autoscaler, "reason", b.Why)
		if events != nil {
			events.GivenBack(b)
		}
	}
	if err != nil {
		return fmt.Errorf("give floors back: %w", err)
	}
	return nil
}

package main

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
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
)

// onCluster decides for a cluster and writes to it. The cluster is read once, at
// the beginning, and what nobody holds any more is given back at the end, however
// the forecasts went.
func (s *settings) onCluster(ctx context.Context, env jobs.Env, c inference.Config, profile runtime.Profile) error {
	if s.policy != "" || s.manifests != "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flags -policy and -manifests must not be given together with -cluster: its ScalingPolicies hold, and its autoscalers are written")
	}
	scope, err := s.cluster.Scope()
	if err != nil {
		return err
	}
	client, err := s.cluster.Connect()
	if err != nil {
		return err
	}
	profiles := plugins.ProfileNames()
	if !slices.Contains(profiles, profile.Name) {
		profiles = append(profiles, profile.Name)
	}
	known, err := catalog.Load(ctx, client, scope, profiles, env.Log)
	if err != nil {
		if schemas.CodeOf(err) == schemas.CodeUnavailable {
			return err
		}
		// What has expired needs no more than its own annotations to be known.
		return errors.Join(err, s.giveBack(ctx, env, client, nil, func(schemas.ComponentID) string { return "" }))
	}
	writer := bind.NewWriter(client, known.Components())
	events := bind.NewEvents(writer, known.About, env.Run, env.Now)
	own := []framework.Plugin{known.Filter(), bind.Floor(writer), bind.ScaledObject(writer), bind.OwnedHPA(writer), events}
	c.Catalog = func(context.Context) (inference.Catalog, error) { return known, nil }
	c.Framework = standard.Framework(profile, 0, own...)
	c.Profile = func(name string, trained []models.Trained) (*runtime.Framework, error) {
		p := profile
		if name != profile.Name {
			var err error
			if p, err = s.profileNamed(name); err != nil {
				return nil, err
			}
		}
		return standard.Framework(p, 0, own...)(trained)
	}
	err = inference.New(c)(ctx, env)
	if ctx.Err() != nil {
		return err
	}
	err = errors.Join(err, s.giveBack(ctx, env, client, events, known.GiveBack))
	if sent, passed, failed := events.Send(ctx); failed != nil || passed > 0 {
		env.Log.WarnContext(ctx, "not all changed floors are Events", "sent", sent, "passed", passed, "error", failed)
	}
	return err
}

// giveBack takes the floors back that have expired, or that why has a reason
// against.
func (s *settings) giveBack(ctx context.Context, env jobs.Env, client *cluster.Client, events *bind.Events, why func(schemas.ComponentID) string) error {
	scope, err := s.cluster.Scope()
	if err != nil {
		return err
	}
	back, err := bind.Sweep(ctx, client, env.Now, why, scope.Namespaces...)
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

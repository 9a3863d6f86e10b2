package main

import (
	"github.com/self-scaling/self-scaling/cmd/internal/decide"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins/almanac"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/schemas"
)

// onCluster returns the step that decides for a cluster.
func (s *settings) onCluster(c inference.Config, profile runtime.Profile, marked *calendar.Calendars) (jobs.Func, error) {
	if s.policy != "" || s.manifests != "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flags -policy and -manifests must not be given together with -cluster: its ScalingPolicies hold, and its autoscalers are written")
	}
	scope, err := s.cluster.Scope()
	if err != nil {
		return nil, err
	}
	client, err := s.cluster.Connect()
	if err != nil {
		return nil, err
	}
	return decide.OnCluster(decide.Options{Client: client, Scope: scope, Inference: c, Profile: profile, Named: s.profileNamed, Own: []framework.Plugin{almanac.New(marked)}}), nil
}

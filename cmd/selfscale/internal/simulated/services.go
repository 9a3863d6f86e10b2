package simulated

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/internal/clusterservices"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Services shows the cluster to the API.
type Services struct{ *Cluster }

var _ api.Services = Services{}

// Components implements [api.Services].
func (s Services) Components(context.Context) ([]wire.Component, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []wire.Component
	for _, id := range s.sim.Components() {
		policy, target := s.policy(id), s.sim.Target(id)
		c := wire.Component{
			ID: wire.NewComponentID(id), Policy: wire.NewPolicy(&policy),
			Target:     &wire.Target{APIVersion: target.APIVersion, Kind: target.Kind, Name: target.Name, Scalable: true},
			Autoscaler: "HorizontalPodAutoscaler/" + target.Name, CurrentReplicas: &target.CurrentReplicas, Requests: map[string]float64{},
		}
		for r, v := range s.sim.Workload(id).Requests {
			c.Requests[string(r)] = v
		}
		out = append(out, c)
	}
	return out, nil
}

// Policies implements [api.Services].
func (s Services) Policies(context.Context) ([]api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []api.ServicePolicy
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		out = append(out, clusterservices.PolicyOf(s.policies[name]))
	}
	return out, nil
}

// Policy implements [api.Services].
func (s Services) Policy(_ context.Context, namespace, service string) (api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.policies[service]
	if p == nil || namespace != "" {
		return api.ServicePolicy{}, schemas.Errorf(schemas.CodeNotFound, "there is no service %s/%s", namespace, service)
	}
	return clusterservices.PolicyOf(p), nil
}

// Replace implements [api.Services].
func (s Services) Replace(_ context.Context, policies []api.ServicePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	replaced := map[string]*v1alpha1.ScalingPolicy{}
	for i := range policies {
		wanted := &policies[i]
		old := s.policies[wanted.Service]
		switch {
		case old == nil || wanted.Namespace != "":
			return schemas.Errorf(schemas.CodeNotFound, "there is no service %s/%s", wanted.Namespace, wanted.Service)
		case old.ResourceVersion != wanted.Version:
			return schemas.Errorf(schemas.CodeConflict, "the policy of %s has changed since it was read", wanted.Service)
		}
		p, err := kept(old, wanted)
		if err != nil {
			return err
		}
		if err := s.check(p); err != nil {
			return err
		}
		replaced[wanted.Service] = p
	}
	after := maps.Clone(s.policies)
	maps.Copy(after, replaced)
	if err := s.keep(after, s.trainValues); err != nil {
		return err
	}
	s.policies = after
	return nil
}

// check returns an error for a policy that cannot be carried out.
func (c *Cluster) check(p *v1alpha1.ScalingPolicy) error {
	for _, id := range c.sim.Components() {
		if id.Service == p.Spec.Service {
			if _, err := p.Policy(id.Component, c.base(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Discover implements [api.Services]. Nothing ever joins the demonstration.
func (Services) Discover(context.Context) error { return nil }

// kept returns a policy as it is kept, with a version of its own.
func kept(old *v1alpha1.ScalingPolicy, wanted *api.ServicePolicy) (*v1alpha1.ScalingPolicy, error) {
	version, err := strconv.Atoi(old.ResourceVersion)
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	p := &v1alpha1.ScalingPolicy{}
	p.Name, p.ResourceVersion = old.Name, strconv.Itoa(version+1)
	p.Spec, err = clusterservices.SpecOf(wanted, old.Spec)
	return p, err
}

// TrainValues keeps the train values in memory.
type TrainValues struct{ *Cluster }

var _ api.TrainValuesStore = TrainValues{}

// TrainValues implements [api.TrainValuesStore].
func (t TrainValues) TrainValues(context.Context) (api.TrainValues, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trainValues, nil
}

// SetTrainValues implements [api.TrainValuesStore].
func (t TrainValues) SetTrainValues(_ context.Context, v api.TrainValues) error {
	if err := v.Validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.keep(t.policies, v); err != nil {
		return err
	}
	t.trainValues = v
	return nil
}

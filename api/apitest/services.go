// Package apitest has what tests of the REST interface need: a server with
// everything behind it in memory, and data to show.
package apitest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// Services implements [api.Services] and [api.TrainValuesStore] in memory.
type Services struct {
	mu         sync.Mutex
	components []wire.Component
	policies   map[[2]string]api.ServicePolicy
	version    int
	values     api.TrainValues
	hidden     []wire.Component // until somebody looks for services

	// Fail, if not nil, is what every call returns.
	fail error
	// before is called before a replacement, to get in its way.
	before func()
}

var (
	_ api.Services         = (*Services)(nil)
	_ api.TrainValuesStore = (*Services)(nil)
)

// NewServices returns services with the given components, all in mode Shadow.
func NewServices(ids ...schemas.ComponentID) *Services {
	s := &Services{policies: map[[2]string]api.ServicePolicy{}, values: api.DefaultTrainValues()}
	for _, id := range ids {
		s.components = append(s.components, newComponent(id))
		s.ensure(id)
	}
	s.sort()
	return s
}

func newComponent(id schemas.ComponentID) wire.Component {
	replicas := int32(2)
	return wire.Component{
		ID:         wire.ComponentID(id),
		Target:     &wire.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: id.Component, Scalable: true},
		Autoscaler: "HorizontalPodAutoscaler/" + id.Component, CurrentReplicas: &replicas,
		Requests: map[string]float64{"cpu": 0.25, "memory": 256 << 20},
	}
}

func (s *Services) ensure(id schemas.ComponentID) {
	key := [2]string{id.Namespace, id.Service}
	if _, ok := s.policies[key]; !ok {
		shadow := schemas.Shadow
		s.version++
		s.policies[key] = api.ServicePolicy{
			ServicePolicy: wire.ServicePolicy{Namespace: id.Namespace, Service: id.Service, Settings: wire.Settings{Mode: &shadow}, Components: map[string]wire.Settings{}},
			Version:       strconv.Itoa(s.version),
		}
	}
}

func (s *Services) sort() {
	slices.SortFunc(s.components, func(a, b wire.Component) int {
		return schemas.ComponentID(a.ID).Compare(schemas.ComponentID(b.ID))
	})
}

// Hide adds components that are found when somebody looks for them.
func (s *Services) Hide(ids ...schemas.ComponentID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.hidden = append(s.hidden, newComponent(id))
	}
}

// Fail makes every call return an error, until it is called with nil.
func (s *Services) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Before has f called before the next replacement.
func (s *Services) Before(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Components implements [api.Services].
func (s *Services) Components(context.Context) ([]wire.Component, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.components)
	for i := range out {
		p, err := s.effective(s.policies[[2]string{out[i].ID.Namespace, out[i].ID.Service}], out[i].ID.Component)
		if err != nil {
			return nil, err
		}
		out[i].Policy = wire.NewPolicy(&p)
	}
	return out, s.fail
}

// effective returns what holds for a component.
func (s *Services) effective(p api.ServicePolicy, component string) (schemas.Policy, error) {
	out := schemas.DefaultPolicy()
	for _, set := range []wire.Settings{p.Settings, p.Components[component]} {
		if set.Mode != nil {
			out.Mode = *set.Mode
		}
		if set.MinReplicas != nil {
			out.MinReplicas = *set.MinReplicas
		}
		if set.MaxReplicas != nil {
			out.MaxReplicas = *set.MaxReplicas
		}
		if set.Quantile != nil {
			out.Quantile = float64(*set.Quantile) / 100
		}
		if set.LeadTime != nil {
			d, err := time.ParseDuration(*set.LeadTime)
			if err != nil {
				return out, schemas.WithCode(schemas.CodeInvalidConfig, err)
			}
			out.LeadTime = d
		}
	}
	return out, out.Validate()
}

// Policies implements [api.Services].
func (s *Services) Policies(context.Context) ([]api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []api.ServicePolicy
	for _, key := range slices.SortedFunc(maps.Keys(s.policies), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		out = append(out, s.policies[key])
	}
	return out, s.fail
}

// Policy implements [api.Services].
func (s *Services) Policy(_ context.Context, namespace, service string) (api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return api.ServicePolicy{}, s.fail
	}
	p, ok := s.policies[[2]string{namespace, service}]
	if !ok {
		return p, schemas.Errorf(schemas.CodeNotFound, "service %q: there is none", service)
	}
	return p, nil
}

// Replace implements [api.Services].
func (s *Services) Replace(_ context.Context, policies []api.ServicePolicy) error {
	s.mu.Lock()
	before := s.before
	s.before = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, p := range policies {
		if s.policies[[2]string{p.Namespace, p.Service}].Version != p.Version {
			return schemas.Errorf(schemas.CodeConflict, "policy of %s has changed", p.Service)
		}
		for _, c := range s.components {
			if c.ID.Namespace == p.Namespace && c.ID.Service == p.Service {
				if _, err := s.effective(p, c.ID.Component); err != nil {
					return err
				}
			}
		}
	}
	for _, p := range policies {
		s.version++
		p.Version = strconv.Itoa(s.version)
		s.policies[[2]string{p.Namespace, p.Service}] = p
	}
	return nil
}

// Discover implements [api.Services].
func (s *Services) Discover(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, c := range s.hidden {
		s.components = append(s.components, c)
		s.ensure(schemas.ComponentID(c.ID))
	}
	s.hidden = nil
	s.sort()
	return nil
}

// TrainValues implements [api.TrainValuesStore].
func (s *Services) TrainValues(context.Context) (api.TrainValues, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values, s.fail
}

// SetTrainValues implements [api.TrainValuesStore].
func (s *Services) SetTrainValues(_ context.Context, v api.TrainValues) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if err := v.Validate(); err != nil {
		return err
	}
	s.values = v
	return nil
}

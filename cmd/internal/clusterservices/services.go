// Package clusterservices shows a Kubernetes cluster to the REST interface: its
// components as the services' labels name them, and its ScalingPolicies and train
// values as what can be set.
package clusterservices

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Options say how [Services] work. The zero value works.
type Options struct {
	Scope cluster.Scope
	// Every is how often the workloads are read anew; 0 means a minute. Policies are
	// read each time.
	Every time.Duration
	Clock clock.PassiveClock // nil means the real one
	Log   *slog.Logger       // nil means none
}

// Services implements [api.Services] and [api.TrainValuesStore].
type Services struct {
	client *cluster.Client
	// namespace is the installation's own, where the train values are.
	namespace string
	options   Options

	reading sync.Mutex // held while workloads are read

	mu         sync.Mutex
	components []*cluster.Component
	read       time.Time // when the workloads were; zero before the first time
	policies   cluster.Policies
	problems   map[cluster.ServiceKey]error
}

var (
	_ api.Services         = (*Services)(nil)
	_ api.TrainValuesStore = (*Services)(nil)
)

// New returns the services of a cluster. It makes no request.
func New(client *cluster.Client, namespace string, o Options) *Services {
	if o.Every == 0 {
		o.Every = time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Services{client: client, namespace: namespace, options: o}
}

// workloads returns the components, read anew where they are older than maxAge.
func (s *Services) workloads(ctx context.Context, maxAge time.Duration) ([]*cluster.Component, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	known, read := s.components, s.read
	s.mu.Unlock()
	if !read.IsZero() && s.options.Clock.Since(read) < maxAge {
		return known, nil
	}
	now := s.options.Clock.Now()
	found, err := s.client.Components(ctx, s.options.Scope)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.components, s.read = found, now
	return found, nil
}

// readPolicies reads all policies. One that cannot be read is logged when that
// begins.
func (s *Services) readPolicies(ctx context.Context) (cluster.Policies, error) {
	policies, unreadable, err := s.client.Policies(ctx, s.options.Scope.Namespaces...)
	if err != nil {
		return nil, err
	}
	problems := map[cluster.ServiceKey]error{}
	for name, err := range unreadable {
		var p *cluster.UnreadablePolicy
		if !errors.As(err, &p) {
			continue
		}
		problems[p.Key] = err
		s.mu.Lock()
		known := s.problems[p.Key] != nil
		s.mu.Unlock()
		if !known {
			s.options.Log.Warn("a policy cannot be read", "policy", name, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies, s.problems = policies, problems
	return policies, nil
}

// Components implements [api.Services].
func (s *Services) Components(ctx context.Context) ([]wire.Component, error) {
	components, err := s.workloads(ctx, s.options.Every)
	if err != nil {
		return nil, err
	}
	policies, err := s.readPolicies(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	problems := s.problems
	s.mu.Unlock()
	out := make([]wire.Component, 0, len(components))
	for _, c := range components {
		key := cluster.ServiceKey{Namespace: c.ID.Namespace, Service: c.ID.Service}
		policy, err := policies.Policy(c)
		if err == nil {
			err = problems[key]
		}
		if err != nil {
			// Nothing is known of what is wanted, so that nothing is done.
			policy = c.BasePolicy()
		}
		out = append(out, component(c, policy, policies[key], err))
	}
	return out, nil
}

func component(c *cluster.Component, policy schemas.Policy, set *v1alpha1.ScalingPolicy, problem error) wire.Component {
	out := wire.Component{ID: wire.ComponentID(c.ID), Policy: wire.NewPolicy(&policy)}
	if set != nil {
		out.Profile = set.Profile(c.ID.Component)
	}
	if problem != nil {
		out.PolicyError = problem.Error()
	}
	if t := c.Target; t != nil && t.Kind != "" {
		out.Target = &wire.Target{APIVersion: t.APIVersion, Kind: t.Kind, Name: t.Name, Scalable: t.Scalable, Conflict: t.Conflict, Message: t.Message}
		replicas := c.Replicas
		if !t.Scalable {
			replicas = t.CurrentReplicas
		}
		out.CurrentReplicas = &replicas
	}
	switch {
	case c.Owner.User != nil:
		out.Autoscaler = c.Owner.User.String()
	case c.Owner.Ours != nil:
		out.Autoscaler, out.Owned = c.Owner.Ours.String(), true
	}
	for r, v := range c.Requests {
		if out.Requests == nil {
			out.Requests = map[string]float64{}
		}
		out.Requests[string(r)] = v
	}
	return out
}

// Policies implements [api.Services]. A service without a policy has one in which
// nothing is set.
func (s *Services) Policies(ctx context.Context) ([]api.ServicePolicy, error) {
	components, err := s.workloads(ctx, s.options.Every)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	policies := s.policies
	s.mu.Unlock()
	if policies == nil {
		if policies, err = s.readPolicies(ctx); err != nil {
			return nil, err
		}
	}
	found := map[cluster.ServiceKey]api.ServicePolicy{}
	for key, p := range policies {
		found[key] = PolicyOf(p)
	}
	for _, c := range components {
		key := cluster.ServiceKey{Namespace: c.ID.Namespace, Service: c.ID.Service}
		if _, ok := found[key]; !ok {
			found[key] = none(key)
		}
	}
	keys := slices.SortedFunc(maps.Keys(found), func(a, b cluster.ServiceKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service))
	})
	out := make([]api.ServicePolicy, 0, len(keys))
	for _, key := range keys {
		out = append(out, found[key])
	}
	return out, nil
}

func none(key cluster.ServiceKey) api.ServicePolicy {
	return api.ServicePolicy{ServicePolicy: wire.ServicePolicy{Namespace: key.Namespace, Service: key.Service, Components: map[string]wire.Settings{}}}
}

// Policy implements [api.Services].
func (s *Services) Policy(ctx context.Context, namespace, service string) (api.ServicePolicy, error) {
	key := cluster.ServiceKey{Namespace: namespace, Service: service}
	policies, err := s.readPolicies(ctx)
	if err != nil {
		return api.ServicePolicy{}, err
	}
	if p := policies[key]; p != nil {
		return PolicyOf(p), nil
	}
	s.mu.Lock()
	problem := s.problems[key]
	s.mu.Unlock()
	if problem != nil {
		return api.ServicePolicy{}, problem
	}
	components, err := s.workloads(ctx, s.options.Every)
	if err != nil {
		return api.ServicePolicy{}, err
	}
	if !slices.ContainsFunc(components, func(c *cluster.Component) bool {
		return c.ID.Namespace == namespace && c.ID.Service == service
	}) {
		return api.ServicePolicy{}, schemas.Errorf(schemas.CodeNotFound, "service %q: there is none in namespace %q", service, namespace)
	}
	return none(key), nil
}

// Replace implements [api.Services]. Several policies are several objects: the API
// server first looks at all of them without changing any, and what was changed when
// one is refused after all is changed back.
func (s *Services) Replace(ctx context.Context, wanted []api.ServicePolicy) error {
	policies, err := s.readPolicies(ctx)
	if err != nil {
		return err
	}
	components, err := s.workloads(ctx, s.options.Every)
	if err != nil {
		return err
	}
	type change struct {
		from *v1alpha1.ScalingPolicy
		spec v1alpha1.ScalingPolicySpec
	}
	var changes []change
	for i := range wanted {
		w := &wanted[i]
		key := cluster.ServiceKey{Namespace: w.Namespace, Service: w.Service}
		from := policies[key]
		if from == nil {
			from = &v1alpha1.ScalingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: cluster.PolicyName(key.Service)}}
		}
		if from.ResourceVersion != w.Version {
			return schemas.Errorf(schemas.CodeConflict, "policy of service %s has changed", w.Service)
		}
		spec, err := SpecOf(w, from.Spec)
		if err != nil {
			return err
		}
		if err := holds(key, spec, components); err != nil {
			return err
		}
		changes = append(changes, change{from, spec})
	}
	for _, dryRun := range []bool{true, false} {
		for i, c := range changes {
			after, err := s.client.SetSpec(ctx, c.from, c.spec, dryRun)
			if err != nil && !dryRun {
				for _, done := range changes[:i] {
					s.undo(ctx, done.from, done.spec)
				}
			}
			if err != nil {
				return err
			}
			if !dryRun {
				// What undo goes on from.
				changes[i].from = &v1alpha1.ScalingPolicy{ObjectMeta: after.ObjectMeta, Spec: c.from.Spec}
				changes[i].from.Spec.Service = after.Spec.Service
			}
		}
	}
	s.mu.Lock()
	s.policies = nil
	s.mu.Unlock()
	return nil
}

// undo gives a policy its spec from before.
func (s *Services) undo(ctx context.Context, changed *v1alpha1.ScalingPolicy, spec v1alpha1.ScalingPolicySpec) {
	before := changed.Spec
	now := *changed
	now.Spec = spec
	// The caller may have gone; the change must not stay half-way all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, err := s.client.SetSpec(ctx, &now, before, false); err != nil {
		s.options.Log.Error("a policy could not be changed back after another one was refused", "namespace", changed.Namespace, "policy", changed.Name, "error", err)
	}
}

// holds reports the first component of a service for which the outcome of a spec
// breaks a rule.
func holds(key cluster.ServiceKey, spec v1alpha1.ScalingPolicySpec, components []*cluster.Component) error {
	one := cluster.Policies{key: {ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: cluster.PolicyName(key.Service)}, Spec: spec}}
	for _, c := range components {
		if c.ID.Namespace != key.Namespace || c.ID.Service != key.Service {
			continue
		}
		if _, err := one.Policy(c); err != nil {
			return err
		}
	}
	return nil
}

// Discover implements [api.Services]: it reads the workloads now, and makes a policy
// in mode Shadow for each service that has none.
func (s *Services) Discover(ctx context.Context) error {
	components, err := s.workloads(ctx, 0)
	if err != nil {
		return err
	}
	policies, err := s.readPolicies(ctx)
	if err != nil {
		return err
	}
	_, err = s.client.EnsurePolicies(ctx, policies, components)
	return err
}

// TrainValues implements [api.TrainValuesStore].
func (s *Services) TrainValues(ctx context.Context) (api.TrainValues, error) {
	v, err := s.client.TrainValues(ctx, s.namespace)
	return api.TrainValues{History: v.HistoryDays, Future: v.FutureDays}, err
}

// SetTrainValues implements [api.TrainValuesStore].
func (s *Services) SetTrainValues(ctx context.Context, v api.TrainValues) error {
	return s.client.SetTrainValues(ctx, s.namespace, cluster.TrainValues{HistoryDays: v.History, FutureDays: v.Future})
}

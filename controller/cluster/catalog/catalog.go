// Package catalog joins what operators want with what their cluster runs, as of
// one instant: for every component its policy, its workload, what its pods
// request, and why nothing may be written for it where that is so.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Catalog is what one run knows of a cluster. It makes no request and does not
// change.
type Catalog struct {
	components []*cluster.Component
	policies   cluster.Policies
	entries    map[schemas.ComponentID]*entry
}

// entry is one component of the cluster.
type entry struct {
	component *cluster.Component
	policy    schemas.Policy
	profile   string
	problem   error // why the policy cannot be carried out
}

// Load reads the components and policies of a scope. Profiles are the sets of
// plugins that a policy may name. Log is told of each policy that cannot be
// carried out; the others hold all the same.
func Load(ctx context.Context, client *cluster.Client, scope cluster.Scope, profiles []string, log *slog.Logger) (*Catalog, error) {
	policies, unreadable, err := client.Policies(ctx, scope.Namespaces...)
	if schemas.CodeOf(err) == schemas.CodeNotFound {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "the cluster must know the resource %s.%s, but does not: install the CustomResourceDefinition, which comes with the chart: %w", v1alpha1.Resource, v1alpha1.GroupVersion.Group, err)
	}
	if err != nil {
		return nil, err
	}
	components, err := client.Components(ctx, scope)
	if err != nil {
		return nil, err
	}
	c := &Catalog{components: components, policies: policies, entries: make(map[schemas.ComponentID]*entry, len(components))}
	problems := map[cluster.ServiceKey]error{}
	for name, err := range unreadable {
		log.WarnContext(ctx, "a policy cannot be read", "policy", name, "error", err)
		var p *cluster.UnreadablePolicy
		if errors.As(err, &p) {
			problems[p.Key] = err
		}
	}
	for _, component := range components {
		e := &entry{component: component}
		e.policy, e.problem = policies.Policy(component)
		key := cluster.ServiceKey{Namespace: component.ID.Namespace, Service: component.ID.Service}
		if p := policies[key]; p != nil {
			e.profile = p.Profile(component.ID.Component)
			if e.problem == nil && e.profile != "" && !slices.Contains(profiles, e.profile) {
				e.problem = schemas.Errorf(schemas.CodeInvalidConfig, "%s %s/%s: component %s: profile must be one of %s, but is %q",
					v1alpha1.Kind, p.Namespace, p.Name, component.ID.Component, strings.Join(profiles, ", "), e.profile)
			}
		} else {
			e.problem = problems[key]
		}
		if e.problem != nil {
			// Nothing is known of what is wanted, so that nothing is written.
			e.policy, e.profile = component.BasePolicy(), ""
			log.WarnContext(ctx, "a policy cannot be carried out", "component", component.ID.String(), "error", e.problem)
		}
		c.entries[component.ID] = e
	}
	return c, nil
}

// Components returns the components of the cluster, in order.
func (c *Catalog) Components() []*cluster.Component { return c.components }

// Policies returns the policies that can be read.
func (c *Catalog) Policies() cluster.Policies { return c.policies }

// Policy returns what is wanted for a component. Where that is not known, or
// the component is not there, it is the default, in mode Shadow.
func (c *Catalog) Policy(id schemas.ComponentID) schemas.Policy {
	if e := c.entries[id]; e != nil {
		return e.policy
	}
	return schemas.DefaultPolicy()
}

// Target returns the workload of a component. It is never nil: a component that
// is not there has one that cannot be scaled.
func (c *Catalog) Target(id schemas.ComponentID) *framework.Target {
	if e := c.entries[id]; e != nil {
		return e.component.Target
	}
	return &framework.Target{Kind: "component", Name: id.String(), Message: absent}
}

const absent = "it is not in the cluster, or not in the namespaces that are watched"

// Requests returns what a pod of a component requests, nil where the component
// is not there.
func (c *Catalog) Requests(id schemas.ComponentID) schemas.Requests {
	if e := c.entries[id]; e != nil {
		return e.component.Requests
	}
	return nil
}

// Profile returns the set of plugins that the policy names for a component, ""
// where it names none.
func (c *Catalog) Profile(id schemas.ComponentID) string {
	if e := c.entries[id]; e != nil {
		return e.profile
	}
	return ""
}

// Problem says why the policy of a component cannot be carried out, nil where
// it can.
func (c *Catalog) Problem(id schemas.ComponentID) error {
	if e := c.entries[id]; e != nil {
		return e.problem
	}
	return nil
}

// GiveBack says why no floor may be in force for a component, "" where one may.
// Where a policy cannot be carried out, its author most likely wants something
// and has misspelt it: the floor stays until it expires.
func (c *Catalog) GiveBack(id schemas.ComponentID) string {
	e := c.entries[id]
	switch {
	case e == nil:
		return absent
	case e.problem != nil:
		return ""
	case e.policy.Mode != schemas.Auto:
		return fmt.Sprintf("the mode is %s", e.policy.Mode)
	case e.component.Owner.Conflict != "":
		return e.component.Owner.Conflict
	case !e.component.Target.Scalable:
		return e.component.Target.Message
	}
	return ""
}

// About returns the object that an Event about a component is attached to: the
// policy of its service or, where there is none, its workload; nil where there
// is neither.
func (c *Catalog) About(id schemas.ComponentID) *corev1.ObjectReference {
	if p := c.policies[cluster.ServiceKey{Namespace: id.Namespace, Service: id.Service}]; p != nil {
		return &corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind, Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		}
	}
	e := c.entries[id]
	if e == nil || e.component.TargetUID == "" {
		return nil
	}
	t := e.component.Target
	return &corev1.ObjectReference{APIVersion: t.APIVersion, Kind: t.Kind, Namespace: id.Namespace, Name: t.Name, UID: types.UID(e.component.TargetUID)}
}

// FilterName is the name of the plugin that [Catalog.Filter] returns.
const FilterName = "ReadablePolicy"

// Filter returns the plugin that keeps components out whose policy cannot be
// carried out, so that their decisions say so.
func (c *Catalog) Filter() framework.FilterPlugin { return filter{c} }

type filter struct{ catalog *Catalog }

func (filter) Name() string { return FilterName }

func (f filter) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	if err := f.catalog.Problem(c.Component); err != nil {
		return framework.NewStatus(framework.Rejected, schemas.InvalidPolicy, err.Error())
	}
	return nil
}

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Component is a component as the cluster shows it.
type Component struct {
	ID schemas.ComponentID
	// Target is never nil. Its Conflict is the Owner's.
	Target *framework.Target
	// TargetUID is the workload's, for owner references; empty where it is not
	// known.
	TargetUID string
	// Replicas is what the workload is set to.
	Replicas int32
	// Requests is what the newest pod requests or, without pods, what its
	// template does. See [PodRequests].
	Requests schemas.Requests
	// LeadTime is measured from Starts pods, 0 where there were none. See
	// [LeadTime].
	LeadTime time.Duration
	Starts   int
	Owner    Owner
}

// Ref returns the reference to the workload.
func (c *Component) Ref() Ref {
	return Ref{c.ID.Namespace, c.Target.APIVersion, c.Target.Kind, c.Target.Name}
}

// BasePolicy returns the policy that holds where the operator has said nothing:
// the default one, with the bounds and the target utilisation of the user's own
// autoscaler and the lead time as it was measured. A lower bound of 0, which
// means that the workload may go to sleep, is 1 there, since a floor begins at
// 1. (An autoscaler of ours has its target from the policy.)
func (c *Component) BasePolicy() schemas.Policy {
	p := schemas.DefaultPolicy()
	if c.LeadTime > 0 {
		p.LeadTime = c.LeadTime
	}
	if c.Owner.User != nil {
		b := c.Owner.User.Bounds()
		p.MinReplicas = max(1, b.Min)
		p.MaxReplicas = max(p.MinReplicas, b.Max)
		p.Adopt(c.Owner.User.String(), c.Owner.User.Utilization(c.Requests))
	}
	return p
}

// Components returns the components of the scope, in order. One that cannot be
// made sense of says so in its Target and leaves the others alone.
func (c *Client) Components(ctx context.Context, scope Scope) ([]*Component, error) {
	scalers, err := c.Autoscalers(ctx, scope.Namespaces...)
	if err != nil {
		return nil, err
	}
	return c.ComponentsUnder(ctx, scope, scalers)
}

// ComponentsUnder is [Client.Components] for who knows the autoscalers already.
func (c *Client) ComponentsUnder(ctx context.Context, scope Scope, scalers *Autoscalers) ([]*Component, error) {
	w := &workloads{client: c, resources: map[string]map[string]kindInfo{}, parents: map[Ref]*parent{}, known: map[Ref]*workload{}, selectors: map[string]*selectors{}}
	if err := w.list(ctx, scope.namespaces()); err != nil {
		return nil, err
	}
	pods := map[schemas.ComponentID][]*Pod{}
	if err := c.Pods(ctx, scope, func() {}, func(p *Pod) { pods[p.Component] = append(pods[p.Component], p) }); err != nil {
		return nil, err
	}
	// A workload that sleeps has no pods; its template still names the component.
	presets := scope.presets()
	asleep := map[schemas.ComponentID][]*workload{}
	for _, l := range w.known {
		if id, ok := match(presets, l.ref.Namespace, l.template); ok {
			asleep[id] = append(asleep[id], l)
			if _, ok := pods[id]; !ok {
				pods[id] = nil
			}
		}
	}
	var out []*Component
	for id, list := range pods {
		component, err := w.component(ctx, id, list, asleep[id])
		if err != nil {
			return nil, err
		}
		component.Owner = scalers.Owner(component.Ref(), component.Requests)
		if component.Owner.Conflict == "" {
			if component.Owner.Conflict, err = w.overlap(ctx, scalers, component, list); err != nil {
				return nil, err
			}
		}
		component.Target.Conflict = component.Owner.Conflict
		out = append(out, component)
	}
	slices.SortFunc(out, func(a, b *Component) int { return a.ID.Compare(b.ID) })
	return out, nil
}

func (w *workloads) component(ctx context.Context, id schemas.ComponentID, pods []*Pod, templates []*workload) (*Component, error) {
	out := &Component{ID: id, Target: &framework.Target{CurrentReplicas: int32(len(pods))}, Requests: schemas.Requests{}}
	tops := map[Ref]string{}
	var newest *Pod
	var leads []time.Duration
	for _, p := range pods {
		ref, message, err := w.above(ctx, id.Namespace, p.Owner)
		if err != nil {
			return nil, err
		}
		if ref == nil {
			ref = &Ref{Namespace: id.Namespace}
		}
		tops[*ref] = message
		if newest == nil || cmp.Or(p.Created.Compare(newest.Created), cmp.Compare(p.Name, newest.Name)) > 0 {
			newest = p
		}
		if p.Lead > 0 {
			leads = append(leads, p.Lead)
		}
	}
	for _, t := range templates {
		// A second workload of the same labels counts, running or not.
		if _, ok := tops[t.ref]; !ok && (len(tops) == 0 || t.replicas > 0) && w.parents[t.ref].ref == nil {
			tops[t.ref] = ""
		}
	}
	out.LeadTime, out.Starts = LeadTime(leads), len(leads)
	if newest != nil {
		out.Requests = newest.Requests
	}
	refs := make([]Ref, 0, len(tops))
	for ref := range tops {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Compare(a.String(), b.String()) })
	if len(refs) == 0 {
		out.Target.Message = "it has no workload"
		return out, nil
	}
	ref := refs[0]
	out.Target.APIVersion, out.Target.Kind, out.Target.Name = ref.APIVersion, ref.Kind, ref.Name
	if len(refs) > 1 {
		out.Target.Message = fmt.Sprintf("its labels are on the pods of %d workloads, such as %s and %s", len(refs), describe(refs[0]), describe(refs[1]))
		return out, nil
	}
	if out.Target.Message = tops[ref]; out.Target.Message != "" {
		return out, nil
	}
	l, err := w.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if l == nil {
		out.Target.Message = fmt.Sprintf("the scale of %s cannot be read", ref)
		return out, nil
	}
	out.Target.Scalable, out.TargetUID, out.Replicas = true, l.uid, l.replicas
	if newest == nil && l.requests != nil {
		out.Requests = l.requests
	}
	return out, nil
}

func describe(r Ref) string {
	if r.Kind == "" {
		return "pods that stand alone"
	}
	return r.String()
}

// overlap says which autoscaler of another workload selects the component's
// pods as well: the autoscaler of Kubernetes refuses to work for either then
// (AmbiguousSelector), so that adding one here would break theirs.
func (w *workloads) overlap(ctx context.Context, s *Autoscalers, c *Component, pods []*Pod) (string, error) {
	in, err := w.selecting(ctx, s, c.ID.Namespace)
	if err != nil {
		return "", err
	}
	own := c.Ref().key()
	var first *selecting
	var selected *Pod
	for _, p := range pods {
		in.each(p.Labels, func(x *selecting) {
			if (first == nil || x.order < first.order) && x.target.key() != own && x.selector.Matches(labels.Set(p.Labels)) {
				first, selected = x, p
			}
		})
	}
	if first == nil {
		return "", nil
	}
	return fmt.Sprintf("%s of %s selects pod %s too", first.autoscaler, first.target, selected.Name), nil
}

// selecting is a HorizontalPodAutoscaler with the selector of its workload.
type selecting struct {
	order      int
	autoscaler *Autoscaler
	target     Ref
	selector   labels.Selector
}

// selectors are those of one namespace, found by a label that each of them asks
// for, because every pod is held against them.
type selectors struct {
	byLabel map[string][]*selecting // by "key=value"
	others  []*selecting
}

// each calls visit for the selectors that may match labels.
func (s *selectors) each(set map[string]string, visit func(*selecting)) {
	for k, v := range set {
		for _, x := range s.byLabel[k+"="+v] {
			visit(x)
		}
	}
	for _, x := range s.others {
		visit(x)
	}
}

func (w *workloads) selecting(ctx context.Context, s *Autoscalers, namespace string) (*selectors, error) {
	if out := w.selectors[namespace]; out != nil {
		return out, nil
	}
	out := &selectors{byLabel: map[string][]*selecting{}}
	for i, a := range s.inNamespace(namespace) {
		if a.Resource != HPAResource {
			continue
		}
		target := a.Target()
		l, err := w.get(ctx, target)
		if err != nil {
			return nil, err
		}
		if l == nil || l.selector == nil {
			continue
		}
		x := &selecting{i, a, target, l.selector}
		if label, ok := asksFor(l.selector); ok {
			out.byLabel[label] = append(out.byLabel[label], x)
		} else {
			out.others = append(out.others, x)
		}
	}
	w.selectors[namespace] = out
	return out, nil
}

// asksFor returns a label, as "key=value", without which a selector matches
// nothing.
func asksFor(s labels.Selector) (string, bool) {
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		if values := r.ValuesUnsorted(); len(values) == 1 && (r.Operator() == selection.In || r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals) {
			return r.Key() + "=" + values[0], true
		}
	}
	return "", false
}

func (s *Autoscalers) inNamespace(ns string) []*Autoscaler {
	if s.byNamespace == nil {
		s.byNamespace = map[string][]*Autoscaler{}
		for _, a := range s.All() {
			s.byNamespace[a.Object.GetNamespace()] = append(s.byNamespace[a.Object.GetNamespace()], a)
		}
	}
	return s.byNamespace[ns]
}

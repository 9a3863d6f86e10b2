// Package oversight shows the controller's loop a Kubernetes cluster: it implements
// [controller.Cluster] over [cluster.Client], the policies of services and the binders'
// upkeep, and tells of changes in Events.
package oversight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/cluster/watch"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Options say what is watched over. The zero value works.
type Options struct {
	Scope cluster.Scope
	// Writes bounds how many policies one call of Publish writes, so that the limit on
	// requests is left to others too; 0 means 250. Changes of what holds come before
	// those of what is merely newer.
	Writes int
	Clock  clock.PassiveClock // the real one where nil
	Log    *slog.Logger       // none where nil
}

// Oversight implements [controller.Cluster]. What there is to do it finds in a copy of the
// cluster's autoscalers and policies, where [Oversight.Run] keeps one; what it then does, it
// does for the state that the API server has.
type Oversight struct {
	client *cluster.Client
	opts   Options
	cache  *watch.Cache

	mu       sync.Mutex
	policies cluster.Policies
	found    map[schemas.ComponentID]*cluster.Component
	ensured  error // why not every service has a policy
	// unreadable are the policies, by namespace and name, that were told of.
	unreadable map[string]bool
}

var _ controller.Cluster = (*Oversight)(nil)

// New returns the oversight of a cluster.
func New(client *cluster.Client, opts Options) *Oversight {
	if opts.Writes == 0 {
		opts.Writes = 250
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Oversight{
		client: client, opts: opts,
		cache: watch.New(client, watch.Options{Namespaces: opts.Scope.Namespaces, Clock: opts.Clock, Log: opts.Log}),
	}
}

// Run keeps the copy until ctx ends; it may be called again then. Without it everything is
// listed at every look.
func (o *Oversight) Run(ctx context.Context) { o.cache.Run(ctx) }

// look returns the policies and autoscalers that there are, and whether that is the copy.
func (o *Oversight) look(ctx context.Context) (p cluster.Policies, unreadable map[string]error, scalers *cluster.Autoscalers, copied bool, err error) {
	p, unreadable, known := o.cache.Policies()
	scalers, ok := o.cache.Autoscalers()
	if known && ok {
		return p, unreadable, scalers, true, nil
	}
	if p, unreadable, err = o.client.Policies(ctx, o.opts.Scope.Namespaces...); err == nil {
		scalers, err = o.client.Autoscalers(ctx, o.opts.Scope.Namespaces...)
	}
	return p, unreadable, scalers, false, err
}

// Discover implements [controller.Cluster]. That a policy cannot be made is reported by
// the Publish that follows: the components are there all the same.
func (o *Oversight) Discover(ctx context.Context) ([]controller.Component, error) {
	// The policies first: one that appears in between is then met by a component that
	// is known, and not taken for one that is missing.
	policies, unreadable, scalers, copied, err := o.look(ctx)
	if err != nil {
		return nil, err
	}
	found, err := o.client.ComponentsUnder(ctx, o.opts.Scope, scalers)
	if err != nil {
		return nil, err
	}
	blocked := func(c *cluster.Component) error {
		return unreadable[c.ID.Namespace+"/"+cluster.PolicyName(c.ID.Service)]
	}
	lacks := func(c *cluster.Component) bool { return policies[serviceOf(c.ID)] == nil && blocked(c) == nil }
	if copied && slices.ContainsFunc(found, lacks) {
		// What the copy does not know may have been made all the same.
		if policies, unreadable, err = o.client.Policies(ctx, o.opts.Scope.Namespaces...); err != nil {
			return nil, err
		}
	}
	o.warn(unreadable)
	without := slices.DeleteFunc(slices.Clone(found), func(c *cluster.Component) bool { return !lacks(c) })
	_, ensured := o.client.EnsurePolicies(ctx, policies, without)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.policies, o.ensured, o.found = policies, ensured, make(map[schemas.ComponentID]*cluster.Component, len(found))
	for _, c := range found {
		o.found[c.ID] = c
	}
	o.mu.Unlock()
	out := make([]controller.Component, 0, len(found))
	for _, c := range found {
		out = append(out, component(c, policies, blocked(c)))
	}
	return out, nil
}

// warn logs of policies that cannot be read, once each.
func (o *Oversight) warn(unreadable map[string]error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := map[string]bool{}
	for name, err := range unreadable {
		if told[name] = true; !o.unreadable[name] {
			o.opts.Log.Warn("policy cannot be read", "policy", name, "error", err)
		}
	}
	o.unreadable = told
}

// component shows a component to the loop. Unreadable is why its policy is not known.
func component(c *cluster.Component, policies cluster.Policies, unreadable error) controller.Component {
	out := controller.Component{ID: c.ID, Replicas: c.Replicas, Conflict: c.Owner.Conflict}
	if c.Target.Name != "" {
		out.Target = c.Target.Kind + "/" + c.Target.Name
	}
	if !c.Target.Scalable {
		out.Problem = c.Target.Message
	}
	for _, a := range slices.Concat(c.Owner.Users, []*cluster.Autoscaler{c.Owner.Ours}) {
		if a == nil {
			continue
		}
		if floor, expires, ok := a.Floor(); ok {
			out.Floor, out.Expires = &floor, expires
		}
	}
	own := policies[serviceOf(c.ID)]
	switch policy, err := policies.Policy(c); {
	case unreadable != nil:
		out.Problem = unreadable.Error()
	case err != nil:
		out.Problem = err.Error()
	case own != nil && own.UID == "":
		// Somebody made it this very moment: what it says is seen next time.
		out.Problem = "its policy was made just now"
	default:
		out.Mode = policy.Mode
	}
	return out
}

func serviceOf(id schemas.ComponentID) cluster.ServiceKey {
	return cluster.ServiceKey{Namespace: id.Namespace, Service: id.Service}
}

// Tend implements [controller.Cluster].
func (o *Oversight) Tend(ctx context.Context, now time.Time, keep func(schemas.ComponentID) bool) (controller.Tended, error) {
	giveBack := func(kept bool) string {
		if kept {
			return ""
		}
		return "the component is gone or not in mode Auto"
	}
	if all, ok := o.cache.Autoscalers(); ok && !bind.Due(all, now, func(id schemas.ComponentID) string { return giveBack(keep(id)) }) {
		return controller.Tended{}, nil
	}
	managed := o.managed(ctx)
	done, err := bind.Tend(ctx, o.client, now, func(id schemas.ComponentID) string {
		return giveBack(keep(id) || managed(id))
	}, o.opts.Scope.Namespaces...)
	t := controller.Tended{Yielded: done.Yielded}
	for _, back := range done.GivenBack {
		list := &t.Released
		if back.Expired {
			list = &t.Expired
		}
		*list = append(*list, back.Component)
	}
	return t, err
}

// managed says of components whether their operators want floors by now. It reads the
// policies when it is first asked, and where they cannot be read it says yes: a floor
// stays until it is known that nobody wants it, or it expires.
func (o *Oversight) managed(ctx context.Context) func(schemas.ComponentID) bool {
	o.mu.Lock()
	found := o.found
	o.mu.Unlock()
	read := sync.OnceValues(func() (cluster.Policies, error) {
		p, _, err := o.client.Policies(ctx, o.opts.Scope.Namespaces...)
		return p, err
	})
	return func(id schemas.ComponentID) bool {
		c := found[id]
		if c == nil {
			return false
		}
		policies, err := read()
		if err != nil {
			return true
		}
		policy, err := policies.Policy(c)
		return err == nil && policy.Mode == schemas.Auto
	}
}

// update is a status that is to be written.
type update struct {
	policy *v1alpha1.ScalingPolicy
	status v1alpha1.ScalingPolicyStatus
	// important says that what holds has changed, and not only what is known of it.
	important bool
}

// Publish implements [controller.Cluster]. Policies of services that have no component
// are told so.
func (o *Oversight) Publish(ctx context.Context, states []controller.State) (int, error) {
	o.mu.Lock()
	policies, ensured := o.policies, o.ensured
	o.mu.Unlock()
	of := map[cluster.ServiceKey][]controller.State{}
	for _, s := range states {
		key := cluster.ServiceKey{Namespace: s.ID.Namespace, Service: s.ID.Service}
		of[key] = append(of[key], s)
	}
	var updates []update
	now := o.opts.Clock.Now()
	for key, p := range policies {
		if p.UID == "" {
			continue
		}
		status := Status(p, of[key], now)
		updates = append(updates, update{p, status, differs(&p.Status, &status)})
	}
	slices.SortFunc(updates, func(a, b update) int {
		return cmp.Or(-compareBool(a.important, b.important), cmp.Compare(a.policy.Namespace, b.policy.Namespace), cmp.Compare(a.policy.Name, b.policy.Name))
	})
	written, errs := 0, []error{ensured}
	for _, u := range updates {
		if written == o.opts.Writes {
			break
		}
		done, err := o.client.UpdateStatus(ctx, u.policy, u.status)
		if done {
			written++
		}
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || len(errs) > maxErrors {
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return written, fmt.Errorf("%d of %d policies written: %w", written, len(updates), err)
	}
	return written, nil
}

// maxErrors is how many policies are tried that cannot be written.
const maxErrors = 5

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// differs reports whether two statuses say different things about what holds.
func differs(a, b *v1alpha1.ScalingPolicyStatus) bool {
	if a.ObservedGeneration != b.ObservedGeneration || a.Mode != b.Mode || a.Summary != b.Summary || a.Replicas != b.Replicas || len(a.Components) != len(b.Components) || len(a.Conditions) != len(b.Conditions) {
		return true
	}
	for i := range a.Conditions {
		if a.Conditions[i].Status != b.Conditions[i].Status || a.Conditions[i].Reason != b.Conditions[i].Reason {
			return true
		}
	}
	for i := range a.Components {
		if x, y := &a.Components[i], &b.Components[i]; x.Name != y.Name || x.Mode != y.Mode || x.Applied != y.Applied || x.Reason != y.Reason {
			return true
		}
	}
	return false
}

// Package watch keeps a copy of what a controller looks at again and again: the
// autoscalers of a cluster and the policies of its services. [Cache.Run] lists
// each resource once and follows its changes from then on, so that a look at the
// copy costs the API server nothing.
//
// A copy lags, mostly by milliseconds. It serves to find out what is to be done;
// who then writes reads once more what is written to, or has the API server
// refuse what was thought out for an older state. And a copy of which no sign of
// life has come for [Lag] is not shown at all: whoever asks lists then, as though
// there were none. Watches are renewed every one to two minutes, which is such a
// sign where nothing changes.
//
// Watches count against the limit of requests of their client: one to begin with,
// and one each time that they are renewed.
package watch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Lag is for how long a copy is shown after the last sign that it is kept.
const Lag = 3 * time.Minute

// Options say what is watched. The zero value works.
type Options struct {
	Namespaces []string           // all where there are none
	Clock      clock.PassiveClock // the real one where nil
	Log        *slog.Logger       // none where nil
}

// Cache is the copy.
type Cache struct {
	log         *slog.Logger
	autoscalers map[schema.GroupVersionResource][]*table[*unstructured.Unstructured]
	policies    []*table[policy]
	all         []interface{ run(context.Context) }
}

// policy is a policy, or why it cannot be understood.
type policy struct {
	policy *v1alpha1.ScalingPolicy
	err    error
}

// New returns a copy that holds nothing until it is run.
func New(client *cluster.Client, opts Options) *Cache {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if len(opts.Namespaces) == 0 {
		opts.Namespaces = []string{""}
	}
	c := &Cache{log: opts.Log, autoscalers: map[schema.GroupVersionResource][]*table[*unstructured.Unstructured]{}}
	for _, namespace := range opts.Namespaces {
		for _, resource := range []schema.GroupVersionResource{cluster.HPAResource, cluster.ScaledObjectResource, cluster.VPAResource} {
			t := newTable(client, resource, namespace, opts, trim)
			t.optional = resource != cluster.HPAResource
			c.autoscalers[resource] = append(c.autoscalers[resource], t)
			c.all = append(c.all, t)
		}
		t := newTable(client, v1alpha1.GroupVersionResource, namespace, opts, decode)
		c.policies = append(c.policies, t)
		c.all = append(c.all, t)
	}
	return c
}

// trim drops what nobody reads, which is a third of an autoscaler.
func trim(o *unstructured.Unstructured) *unstructured.Unstructured {
	unstructured.RemoveNestedField(o.Object, "status")
	return o
}

func decode(o *unstructured.Unstructured) policy {
	p, err := cluster.DecodePolicy(o)
	return policy{p, err}
}

// Run keeps the copy until ctx ends. It may be called again then, and begins
// anew.
func (c *Cache) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range c.all {
		all.Go(func() { t.run(ctx) })
	}
	all.Wait()
}

// Autoscalers returns what scales the workloads, false where the copy is not
// there or may be old. The objects must not be changed, and lack their status.
func (c *Cache) Autoscalers() (*cluster.Autoscalers, bool) {
	out := cluster.NewAutoscalers()
	for resource, tables := range c.autoscalers {
		for _, t := range tables {
			if !t.each(func(_ string, o *unstructured.Unstructured) { out.Add(resource, o) }) {
				return nil, false
			}
		}
	}
	return out, true
}

// Policies returns the policies as [cluster.Client.Policies] does, false where
// the copy is not there or may be old. Their specs must not be changed.
func (c *Cache) Policies() (p cluster.Policies, unreadable map[string]error, ok bool) {
	p, unreadable = cluster.Policies{}, map[string]error{}
	for _, t := range c.policies {
		ok := t.each(func(name string, x policy) {
			if x.err != nil {
				unreadable[name] = x.err
				return
			}
			own := *x.policy // its status is replaced by whoever writes one
			p.Add(&own)
		})
		if !ok {
			return nil, nil, false
		}
	}
	return p, unreadable, true
}

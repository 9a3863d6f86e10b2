// Package simulated is the cluster behind `selfscale serve --demo`: workloads with
// real usage on a simulated cluster whose clock runs fast, and policies that are
// kept in memory. What runs on it is what runs on a real one.
package simulated

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Repeats is how many weeks the usage goes on for after its end, each like the last
// one that was recorded.
const Repeats = 52

// Cluster runs the demonstration's workloads. Its clock stands still but for
// [Cluster.Run].
type Cluster struct {
	sim   *sim.Cluster
	clock *clocktesting.FakeClock

	mu       sync.Mutex
	policies map[string]*v1alpha1.ScalingPolicy // by service
	floors   map[schemas.ComponentID]floor

	trainValues api.TrainValues

	file string // where all of that is kept; "" for nowhere
}

// floor is a number that was bound.
type floor struct {
	replicas int32
	expires  time.Time
}

// New returns the cluster at the beginning of the replay. All of its services are
// in mode Auto. Where a file is named, it is as that file says, if it is there, and
// what changes is kept in it.
func New(file string) (*Cluster, error) {
	workloads, err := fleet.Workloads()
	if err != nil {
		return nil, err
	}
	for i := range workloads {
		repeat(&workloads[i], Repeats)
	}
	simulation, err := sim.New(sim.Config{Start: fleet.ReplayStart}, workloads)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		sim: simulation, clock: clocktesting.NewFakeClock(fleet.ReplayStart),
		policies: map[string]*v1alpha1.ScalingPolicy{}, floors: map[schemas.ComponentID]floor{},
		trainValues: api.DefaultTrainValues(), file: file,
	}
	for _, id := range simulation.Components() {
		if c.policies[id.Service] == nil {
			p := &v1alpha1.ScalingPolicy{Spec: v1alpha1.ScalingPolicySpec{Service: id.Service, Settings: v1alpha1.Settings{Mode: v1alpha1.Mode(schemas.Auto)}}}
			p.Name, p.ResourceVersion = id.Service, "1"
			c.policies[id.Service] = p
		}
	}
	return c, c.restore()
}

// repeat lets a workload's load go on for some weeks.
func repeat(w *sim.Workload, weeks int) {
	const week = 7 * 24 * 60
	for r, trace := range w.Demand {
		last := trace.Values[max(0, len(trace.Values)-week):]
		values := slices.Grow(slices.Clone(trace.Values), weeks*len(last))
		for range weeks {
			values = append(values, last...)
		}
		trace.Values = values
		w.Demand[r] = trace
	}
}

// Clock is the cluster's.
func (c *Cluster) Clock() clock.Clock { return c.clock }

// Source is what its workloads use.
func (c *Cluster) Source() *sim.Cluster { return c.sim }

// Run lets the clock go speed times as fast as a real one, a minute at a time,
// until ctx ends. Where the machine is too slow, the clock is slower.
func (c *Cluster) Run(ctx context.Context, speed float64) error {
	ticker := time.NewTicker(time.Duration(float64(time.Minute) / speed))
	defer ticker.Stop()
	kept := time.NewTicker(keepEvery)
	defer kept.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.keepTime()
		case <-kept.C:
			if err := c.keepTime(); err != nil {
				return err
			}
			continue
		case <-ticker.C:
		}
		if err := c.sim.Step(c.sim.Now().Add(time.Minute)); err != nil {
			return err
		}
		c.clock.SetTime(c.sim.Now())
	}
}

// base is the policy that holds where nobody has said anything.
func (c *Cluster) base(id schemas.ComponentID) schemas.Policy {
	p := fleet.Catalog{Cluster: c.sim}.Policy(id)
	if p.Mode != schemas.Off {
		p.Mode = schemas.Shadow
	}
	return p
}

// Policy implements the inference step's catalog.
func (c *Cluster) Policy(id schemas.ComponentID) schemas.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy(id)
}

func (c *Cluster) policy(id schemas.ComponentID) schemas.Policy {
	base := c.base(id)
	if p := c.policies[id.Service]; p != nil {
		if policy, err := p.Policy(id.Component, base); err == nil { // no other is ever kept
			return policy
		}
	}
	return base
}

// Target implements the inference step's catalog.
func (c *Cluster) Target(id schemas.ComponentID) *framework.Target { return c.sim.Target(id) }

// Binder returns the plugin that writes floors.
func (c *Cluster) Binder() framework.BindPlugin { return &binder{c.sim.Binder(), c} }

type binder struct {
	framework.BindPlugin
	cluster *Cluster
}

// Bind implements [framework.BindPlugin].
func (b *binder) Bind(ctx context.Context, state *framework.CycleState, k *framework.Candidate, d *schemas.Decision) *framework.Status {
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	status := b.BindPlugin.Bind(ctx, state, k, d)
	if !status.IsSuccess() {
		return status
	}
	delete(c.floors, k.Component)
	if w := c.sim.Workload(k.Component); w != nil && d.MinReplicas > w.MinReplicas {
		c.floors[k.Component] = floor{d.MinReplicas, d.Expires}
	}
	return status
}

// Discover implements [controller.Cluster].
func (c *Cluster) Discover(context.Context) ([]controller.Component, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []controller.Component
	for _, id := range c.sim.Components() {
		target := c.sim.Target(id)
		x := controller.Component{ID: id, Mode: c.policy(id).Mode, Target: target.Kind + "/" + target.Name, Replicas: target.CurrentReplicas}
		if f, ok := c.floors[id]; ok {
			x.Floor, x.Expires = &f.replicas, f.expires
		}
		out = append(out, x)
	}
	return out, nil
}

// Publish implements [controller.Cluster]. There is nobody to tell.
func (*Cluster) Publish(context.Context, []controller.State) (int, error) { return 0, nil }

// Tend implements [controller.Cluster].
func (c *Cluster) Tend(_ context.Context, now time.Time, keep func(schemas.ComponentID) bool) (controller.Tended, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out controller.Tended
	for _, id := range c.sim.Components() {
		f, ok := c.floors[id]
		switch {
		case !ok:
			continue
		case !keep(id):
			out.Released = append(out.Released, id)
		case !now.Before(f.expires):
			out.Expired = append(out.Expired, id)
		default:
			continue
		}
		w := c.sim.Workload(id)
		if err := c.sim.SetBounds(id, w.MinReplicas, w.MaxReplicas); err != nil {
			return out, err
		}
		delete(c.floors, id)
	}
	return out, nil
}

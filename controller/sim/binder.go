package sim

import (
	"context"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// BinderName is the name of the [Binder] plugin.
const BinderName = "Simulation"

// Binder writes decisions to the autoscalers of a cluster, as the binders of a
// real cluster do.
type Binder struct{ cluster *Cluster }

var _ framework.BindPlugin = (*Binder)(nil)

// Binder returns the plugin that binds to this cluster.
func (c *Cluster) Binder() *Binder { return &Binder{c} }

// Name returns [BinderName].
func (*Binder) Name() string { return BinderName }

// Bind sets minReplicas and maxReplicas. It skips a component that the cluster
// does not run.
func (b *Binder) Bind(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	err := b.cluster.SetBounds(c.Component, d.MinReplicas, d.MaxReplicas)
	if schemas.CodeOf(err) == schemas.CodeNotFound {
		return framework.NewStatus(framework.Skip, "", err.Error())
	}
	return framework.AsStatus(err)
}

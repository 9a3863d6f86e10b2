// Package bind carries decisions out in a cluster, and takes them back.
//
// A floor is one number, the least replicas of an autoscaler, written by
// server-side apply to the autoscaler that is there: a HorizontalPodAutoscaler
// ([Floor]) or, under KEDA, its ScaledObject ([ScaledObject]). The user's own
// number is recorded beside it and comes back with [Release]: when the decision
// asks for no more than the user does, when the component is switched off, when
// the floor expires ([Expire]) and on uninstall ([ReleaseAll]). Where there is
// no autoscaler, [OwnedHPA] makes one, and Release deletes it.
//
// Where somebody else is in charge ([cluster.Owner]), nothing is written and
// what was written before is taken back.
package bind

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// The names of the binders, as profiles spell them.
const (
	FloorName        = "Floor"
	ScaledObjectName = "ScaledObject"
	OwnedHPAName     = "OwnedHPA"
)

// Writer writes for one run, whose components are as the run found them. It
// changes them no further than to remember what it wrote.
type Writer struct {
	client     *cluster.Client
	components map[schemas.ComponentID]*cluster.Component
	changes    map[schemas.ComponentID]Change
}

// Change is what became of the least number of replicas in an autoscaler. A
// number is nil where there is none: no autoscaler, or one that leaves it open.
type Change struct {
	Component     schemas.ComponentID
	Before, After *int32
}

// Change returns what was changed for a component, false where nothing was.
func (w *Writer) Change(id schemas.ComponentID) (Change, bool) {
	c, ok := w.changes[id]
	return c, ok
}

// noting calls write and remembers what it changed.
func (w *Writer) noting(c *cluster.Component, write func()) {
	before := inCharge(c)
	write()
	if after := inCharge(c); !equal(before, after) {
		w.changes[c.ID] = Change{c.ID, before, after}
	}
}

// inCharge returns the number in the autoscaler through which a component's
// floor takes effect.
func inCharge(c *cluster.Component) *int32 {
	a := c.Owner.User
	if a == nil {
		a = c.Owner.Ours
	}
	return number(a)
}

func number(a *cluster.Autoscaler) *int32 {
	if a == nil {
		return nil
	}
	if n, ok := a.Live(); ok {
		return &n
	}
	return nil
}

func equal(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }

// NewWriter returns a writer for the components of [cluster.Client.Components].
func NewWriter(client *cluster.Client, components []*cluster.Component) *Writer {
	w := &Writer{client, make(map[schemas.ComponentID]*cluster.Component, len(components)), map[schemas.ComponentID]Change{}}
	for _, c := range components {
		w.components[c.ID] = c
	}
	return w
}

type binder struct {
	*Writer
	name string
	bind func(context.Context, *cluster.Component, *framework.Candidate, *schemas.Decision) *framework.Status
}

// Floor returns the binder for users' HorizontalPodAutoscalers.
func Floor(w *Writer) framework.BindPlugin { return &binder{w, FloorName, w.bindFloor} }

// ScaledObject returns the binder for users' ScaledObjects.
func ScaledObject(w *Writer) framework.BindPlugin {
	return &binder{w, ScaledObjectName, w.bindScaledObject}
}

// OwnedHPA returns the binder for workloads that have no autoscaler.
func OwnedHPA(w *Writer) framework.BindPlugin { return &binder{w, OwnedHPAName, w.bindOwned} }

// Name returns the binder's name.
func (b *binder) Name() string { return b.name }

// Bind implements [framework.BindPlugin]. It skips components that another
// binder is for.
func (b *binder) Bind(ctx context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) (st *framework.Status) {
	component := b.components[c.Component]
	if component == nil {
		return framework.NewStatus(framework.Skip, "", c.Component.String()+" is not in the cluster")
	}
	b.noting(component, func() { st = b.write(ctx, component, c, d) })
	return st
}

func (b *binder) write(ctx context.Context, component *cluster.Component, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	if why := stayOut(component); why != "" {
		if err := b.releaseAll(ctx, component); err != nil {
			return framework.AsStatus(err)
		}
		return framework.NewStatus(framework.Rejected, schemas.TargetNotScalable, why)
	}
	return b.bind(ctx, component, c, d)
}

func stayOut(c *cluster.Component) string {
	if c.Owner.Conflict != "" {
		return c.Owner.Conflict
	}
	if !c.Target.Scalable {
		return c.Target.Message
	}
	return ""
}

func (w *Writer) bindFloor(ctx context.Context, c *cluster.Component, k *framework.Candidate, d *schemas.Decision) *framework.Status {
	if c.Owner.User == nil || c.Owner.User.Resource != cluster.HPAResource {
		return framework.NewStatus(framework.Skip, "", "there is no HorizontalPodAutoscaler of the user's")
	}
	return framework.AsStatus(w.floor(ctx, c, k.Now, d))
}

func (w *Writer) bindScaledObject(ctx context.Context, c *cluster.Component, k *framework.Candidate, d *schemas.Decision) *framework.Status {
	if c.Owner.User == nil || c.Owner.User.Resource != cluster.ScaledObjectResource {
		return framework.NewStatus(framework.Skip, "", "there is no ScaledObject")
	}
	return framework.AsStatus(w.floor(ctx, c, k.Now, d))
}

// floor brings the user's autoscaler to a decision.
func (w *Writer) floor(ctx context.Context, c *cluster.Component, now time.Time, d *schemas.Decision) error {
	if c.Owner.Ours != nil { // the user has made one since: two are one too many
		if err := w.releaseOurs(ctx, c, false); err != nil {
			return err
		}
	}
	return retry(ctx, w.client, &c.Owner.User, func(a *cluster.Autoscaler) (*unstructured.Unstructured, error) {
		floor, held := clampToUser(a, d)
		if !held {
			return release(ctx, w.client, a)
		}
		if inForce(a, floor, now, d.Expires) {
			return a.Object, nil
		}
		user := cluster.Unset
		if n, ok := a.UserMin(); ok {
			user = strconv.Itoa(int(n))
		}
		patch := map[string]any{
			"apiVersion": a.Object.GetAPIVersion(),
			"kind":       a.Object.GetKind(),
			"metadata": map[string]any{
				"name": a.Object.GetName(), "namespace": a.Object.GetNamespace(),
				// Whoever writes in between must be seen: it may be the user's new number.
				"resourceVersion": a.Object.GetResourceVersion(),
				"annotations":     annotations(c.ID, floor, user, d.Expires),
			},
			"spec": map[string]any{a.Field(): floor},
		}
		data, err := json.Marshal(patch)
		if err != nil {
			return nil, schemas.WithCode(schemas.CodeInternal, err)
		}
		force := true
		return objects(w.client, a).Patch(ctx, a.Object.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: cluster.FieldManager, Force: &force})
	})
}

// clampToUser returns the floor inside the user's own bounds, and false where it
// is no more than the user's number, so that there is nothing to hold. A
// workload that may go to sleep (a least number of 0) is held awake from 2
// replicas on only, because every decision is at least 1.
func clampToUser(a *cluster.Autoscaler, d *schemas.Decision) (int32, bool) {
	b := a.Bounds()
	floor := min(d.MinReplicas, b.Max)
	return floor, floor > max(1, b.Min)
}

func annotations(id schemas.ComponentID, floor int32, user string, expires time.Time) map[string]string {
	return map[string]string{
		cluster.AnnotationComponent:       id.String(),
		cluster.AnnotationFloor:           strconv.Itoa(int(floor)),
		cluster.AnnotationUserMinReplicas: user,
		cluster.AnnotationExpires:         expires.UTC().Format(time.RFC3339),
	}
}

// inForce reports whether an autoscaler already has the floor, for at least half
// of the time that it should have it. Without that half, every run would write
// to every autoscaler for the sake of the expiry alone.
func inForce(a *cluster.Autoscaler, floor int32, now, expires time.Time) bool {
	live, ok := a.Live()
	recorded := a.Object.GetAnnotations()
	if !ok || live != floor || recorded[cluster.AnnotationFloor] != strconv.Itoa(int(floor)) {
		return false
	}
	until, err := time.Parse(time.RFC3339, recorded[cluster.AnnotationExpires])
	return err == nil && until.Sub(now) >= expires.Sub(now)/2 && !until.After(expires)
}

func objects(client *cluster.Client, a *cluster.Autoscaler) dynamic.ResourceInterface {
	return client.Dynamic.Resource(a.Resource).Namespace(a.Object.GetNamespace())
}

// retry calls write with the autoscaler and, where somebody else was faster,
// once more with what they left. An autoscaler that is gone has nothing to be
// written to.
func retry(ctx context.Context, client *cluster.Client, a **cluster.Autoscaler, write func(*cluster.Autoscaler) (*unstructured.Unstructured, error)) error {
	for attempt := 0; ; attempt++ {
		o, err := write(*a)
		if err == nil {
			*a = &cluster.Autoscaler{Resource: (*a).Resource, Object: o}
			return nil
		}
		if !apierrors.IsConflict(err) || attempt == 2 {
			return cluster.Error("write "+(*a).String()+" in "+(*a).Object.GetNamespace(), err)
		}
		o, err = objects(client, *a).Get(ctx, (*a).Object.GetName(), metav1.GetOptions{})
		if err != nil {
			return cluster.Error("get "+(*a).String()+" in "+(*a).Object.GetNamespace(), err)
		}
		*a = &cluster.Autoscaler{Resource: (*a).Resource, Object: o}
	}
}

package bind

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// marks are the annotations that come and go with a floor.
var marks = []string{
	cluster.AnnotationComponent, cluster.AnnotationFloor, cluster.AnnotationUserMinReplicas, cluster.AnnotationExpires,
}

func held(a *cluster.Autoscaler) bool {
	return slices.ContainsFunc(marks, func(m string) bool { _, ok := a.Object.GetAnnotations()[m]; return ok })
}

// ReleaseAll takes every floor back and deletes every autoscaler of ours, in
// the namespaces or, where none is named, everywhere: what an uninstall leaves
// is what an install found. It goes on after an error, and returns how many
// were released and all errors.
func ReleaseAll(ctx context.Context, client *cluster.Client, namespaces ...string) (int, error) {
	return ReleaseExcept(ctx, client, func(schemas.ComponentID) bool { return false }, namespaces...)
}

// ReleaseExcept is [ReleaseAll] for the components that are not to be kept, such
// as those that were switched off, or are gone.
func ReleaseExcept(ctx context.Context, client *cluster.Client, keep func(schemas.ComponentID) bool, namespaces ...string) (int, error) {
	return each(ctx, client, namespaces, func(a *cluster.Autoscaler) (bool, error) {
		if id, err := schemas.ParseComponentID(a.Object.GetAnnotations()[cluster.AnnotationComponent]); err == nil && keep(id) {
			return false, nil
		}
		if a.Owned() {
			return true, removeOwned(ctx, client, a, true)
		}
		return true, Release(ctx, client, a)
	})
}

// Expire takes back the floors that have expired at now, or whose expiry cannot
// be read. An autoscaler of ours stays, with the operator's own least number:
// without it nobody would scale the workload at all.
func Expire(ctx context.Context, client *cluster.Client, now time.Time, namespaces ...string) (int, error) {
	return each(ctx, client, namespaces, func(a *cluster.Autoscaler) (bool, error) {
		if !expired(a, now) {
			return false, nil
		}
		return true, Release(ctx, client, a)
	})
}

// raised reports whether an autoscaler of ours is above the operator's number.
func raised(a *cluster.Autoscaler) bool {
	live, ok := a.Live()
	user, known := a.UserMin()
	return ok && known && live != user
}

// Yield deletes the autoscalers of ours whose workload has one of its user's
// now. Run at every change of an autoscaler, it keeps two from being in charge
// for longer than the change takes to be seen.
func Yield(ctx context.Context, client *cluster.Client, namespaces ...string) (int, error) {
	all, err := client.Autoscalers(ctx, namespaces...)
	if err != nil {
		return 0, err
	}
	return visit(all, func(a *cluster.Autoscaler) (bool, error) {
		if !oneTooMany(all, a) {
			return false, nil
		}
		return true, removeOwned(ctx, client, a, false)
	})
}

// oneTooMany reports whether an autoscaler is ours and its workload has one of
// its user's.
func oneTooMany(all *cluster.Autoscalers, a *cluster.Autoscaler) bool {
	return a.Owned() && all.Owner(a.Target(), nil).User != nil
}

// GivenBack is a floor that a [Sweep] took away.
type GivenBack struct {
	Change
	// Autoscaler names the object, as in "HorizontalPodAutoscaler/web".
	Autoscaler string
	// Why is a clause, as in "the mode is Off".
	Why string
	// Expired says that nothing but time took it away.
	Expired bool
}

// Sweep gives back the floors that nobody holds any more: those of components
// for which giveBack has a reason, and, with the operator's own autoscalers as
// in [Expire], those that have expired at now. It writes to nothing that bears
// no mark of ours. It goes on after an error, and returns what it gave back and
// all errors.
func Sweep(ctx context.Context, client *cluster.Client, now time.Time, giveBack func(schemas.ComponentID) string, namespaces ...string) ([]GivenBack, error) {
	all, err := client.Autoscalers(ctx, namespaces...)
	if err != nil {
		return nil, err
	}
	var out []GivenBack
	_, err = visit(all, func(a *cluster.Autoscaler) (bool, error) { return sweep(ctx, client, all, a, now, giveBack, &out) })
	return out, err
}

// dueBack returns why a floor is to be given back; Why is empty where it is not.
func dueBack(a *cluster.Autoscaler, now time.Time, giveBack func(schemas.ComponentID) string) GivenBack {
	id, err := schemas.ParseComponentID(a.Object.GetAnnotations()[cluster.AnnotationComponent])
	back := GivenBack{Change: Change{Component: id, Before: number(a)}, Autoscaler: a.String(), Why: "its annotations do not tell whose it is"}
	if err == nil {
		back.Why = giveBack(id)
	}
	if back.Why == "" && expired(a, now) {
		back.Expired, back.Why = true, "it has expired"
	}
	return back
}

// sweep is [Sweep] of one autoscaler.
func sweep(ctx context.Context, client *cluster.Client, all *cluster.Autoscalers, a *cluster.Autoscaler, now time.Time, giveBack func(schemas.ComponentID) string, out *[]GivenBack) (bool, error) {
	back := dueBack(a, now, giveBack)
	switch {
	case back.Why == "":
		return false, nil
	case a.Owned() && !back.Expired:
		// Who else scales the workload knows how many replicas it needs.
		if err := removeOwned(ctx, client, a, len(all.Owner(a.Target(), nil).Users) == 0); err != nil {
			return true, err
		}
		*out = append(*out, back)
		return true, nil
	}
	if err := Release(ctx, client, a); err != nil {
		return true, err
	}
	back.After = number(a)
	*out = append(*out, back)
	return true, nil
}

// Due reports whether [Tend] would change something, as far as a look at the
// autoscalers tells. The look may be older than what Tend acts on.
func Due(all *cluster.Autoscalers, now time.Time, giveBack func(schemas.ComponentID) string) bool {
	due := false
	_, _ = visit(all, func(a *cluster.Autoscaler) (bool, error) { // which cannot fail
		due = due || oneTooMany(all, a) || dueBack(a, now, giveBack).Why != ""
		return false, nil
	})
	return due
}

// Tended says what [Tend] did.
type Tended struct {
	// Yielded are the components whose autoscaler of ours made room for one of the
	// user's.
	Yielded   []schemas.ComponentID
	GivenBack []GivenBack
}

// Tend does in one look at the autoscalers what [Yield] and [Sweep] do in one
// each.
func Tend(ctx context.Context, client *cluster.Client, now time.Time, giveBack func(schemas.ComponentID) string, namespaces ...string) (Tended, error) {
	all, err := client.Autoscalers(ctx, namespaces...)
	if err != nil {
		return Tended{}, err
	}
	var t Tended
	_, err = visit(all, func(a *cluster.Autoscaler) (bool, error) {
		if !oneTooMany(all, a) {
			return sweep(ctx, client, all, a, now, giveBack, &t.GivenBack)
		}
		err := removeOwned(ctx, client, a, false)
		if id, bad := schemas.ParseComponentID(a.Object.GetAnnotations()[cluster.AnnotationComponent]); err == nil && bad == nil {
			t.Yielded = append(t.Yielded, id)
		}
		return true, err
	})
	return t, err
}

// expired reports whether a floor ends: its time has come, or cannot be read.
func expired(a *cluster.Autoscaler, now time.Time) bool {
	until, err := time.Parse(time.RFC3339, a.Object.GetAnnotations()[cluster.AnnotationExpires])
	return (err != nil || !now.Before(until)) && (!a.Owned() || raised(a))
}

func each(ctx context.Context, client *cluster.Client, namespaces []string, change func(*cluster.Autoscaler) (bool, error)) (int, error) {
	all, err := client.Autoscalers(ctx, namespaces...)
	if err != nil {
		return 0, err
	}
	return visit(all, change)
}

// visit calls change for what bears a mark of ours, and counts what was changed.
func visit(all *cluster.Autoscalers, change func(*cluster.Autoscaler) (bool, error)) (int, error) {
	n, errs := 0, []error(nil)
	for _, a := range all.All() {
		if !held(a) && !a.Owned() {
			continue
		}
		done, err := change(a)
		if done && err == nil {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// Release gives one autoscaler its user's number back and takes our marks off
// it. One that bears none is left alone, and one that is gone is released. What
// it became is in a afterwards.
func Release(ctx context.Context, client *cluster.Client, a *cluster.Autoscaler) error {
	live := a
	defer func() { *a = *live }()
	err := retry(ctx, client, &live, func(a *cluster.Autoscaler) (*unstructured.Unstructured, error) { return release(ctx, client, a) })
	if schemas.CodeOf(err) == schemas.CodeNotFound {
		return nil
	}
	return err
}

func release(ctx context.Context, client *cluster.Client, a *cluster.Autoscaler) (*unstructured.Unstructured, error) {
	if !held(a) {
		return a.Object, nil
	}
	gone := map[string]any{}
	for _, m := range marks {
		gone[m] = nil
	}
	var number any // null: what the user left open is open again
	if n, ok := a.UserMin(); ok {
		number = n
	}
	if a.Owned() { // it goes on being ours, with the operator's number
		gone = map[string]any{cluster.AnnotationFloor: a.Object.GetAnnotations()[cluster.AnnotationUserMinReplicas]}
	}
	patch := map[string]any{
		"metadata": map[string]any{"resourceVersion": a.Object.GetResourceVersion(), "annotations": gone},
		"spec":     map[string]any{a.Field(): number},
	}
	o, err := merge(ctx, client, a, patch)
	if err != nil || a.Owned() {
		return o, err
	}
	// As long as we are named as the manager of the field, the user's next
	// server-side apply would be told of a conflict with us.
	var others []any
	for _, entry := range o.GetManagedFields() {
		if entry.Manager != cluster.FieldManager {
			others = append(others, entry)
		}
	}
	if len(others) == len(o.GetManagedFields()) {
		return o, nil
	}
	if len(others) == 0 {
		others = []any{map[string]any{}} // an empty entry is how a list is emptied
	}
	return merge(ctx, client, a, map[string]any{
		"metadata": map[string]any{"resourceVersion": o.GetResourceVersion(), "managedFields": others},
	})
}

func merge(ctx context.Context, client *cluster.Client, a *cluster.Autoscaler, patch map[string]any) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	return objects(client, a).Patch(ctx, a.Object.GetName(), types.MergePatchType, data, metav1.PatchOptions{FieldManager: cluster.FieldManager})
}

// releaseAll takes back all that was written for a component.
func (w *Writer) releaseAll(ctx context.Context, c *cluster.Component) error {
	var errs []error
	if c.Owner.Ours != nil {
		errs = append(errs, w.releaseOurs(ctx, c, true))
	}
	for _, a := range c.Owner.Users {
		errs = append(errs, Release(ctx, w.client, a))
	}
	return errors.Join(errs...)
}

func (w *Writer) releaseOurs(ctx context.Context, c *cluster.Component, restore bool) error {
	if err := removeOwned(ctx, w.client, c.Owner.Ours, restore); err != nil {
		return err
	}
	c.Owner.Ours = nil
	return nil
}

// removeOwned deletes an autoscaler of ours. With restore, the workload gets the
// number of replicas back that it was set to before, since nobody is left who
// would move it.
func removeOwned(ctx context.Context, client *cluster.Client, a *cluster.Autoscaler, restore bool) error {
	uid := a.Object.GetUID()
	err := objects(client, a).Delete(ctx, a.Object.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return cluster.Error("delete "+a.String()+" in "+a.Object.GetNamespace(), err)
	}
	replicas, err := strconv.ParseInt(a.Object.GetAnnotations()[cluster.AnnotationUserReplicas], 10, 32)
	if !restore || err != nil || replicas < 0 {
		return nil
	}
	ref := a.Target()
	scale, err := client.ScaleOf(ctx, ref)
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"replicas": replicas}})
	if err != nil {
		return schemas.WithCode(schemas.CodeInternal, err)
	}
	_, err = scale.Patch(ctx, ref.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: cluster.FieldManager}, "scale")
	if err != nil && !apierrors.IsNotFound(err) {
		return cluster.Error("restore replicas of "+ref.String(), err)
	}
	return nil
}

// Package remains removes what the programs of an installation have made in its
// namespace by themselves, which no chart knows of: runs, the Lease and the pods of its
// tests. An uninstall does so once everything else is deleted, when nobody is left who
// may make them anew.
package remains

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// Lease returns the name of the Lease by which the controllers of an installation
// elect one of them.
func Lease(installation string) string { return installation + "-controller" }

var leases = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

var workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

// A run is a Workflow or a ConfigMap, whichever engine runs it; Jobs and pods go with
// what owns them.
var runs = []schema.GroupVersionResource{workflows, {Version: "v1", Resource: "configmaps"}}

// Values of the label by which the parts of an installation are told apart.
const (
	componentLabel = "app.kubernetes.io/component"
	ofRuns         = "workflows"
	ofTests        = "test"
	ofHooks        = "restore"
)

// pause is the time between two looks.
const pause = time.Second

// Remove deletes what the programs of an installation have made, and returns once it is
// gone, with the pods of all its programs: after that nothing of the installation acts
// any more. It returns how many objects it has deleted. The error has
// schemas.CodeUnavailable and names what is still there where ctx ends before.
//
// What belongs to the user stays: policies, and the train values.
func Remove(ctx context.Context, client *cluster.Client, namespace, installation string) (int, error) {
	r := remover{client: client, namespace: namespace, installation: installation, deleted: map[string]bool{}}
	var last error // of a look that ctx did not cut short
	for {
		there, err := r.look(ctx)
		switch code := schemas.CodeOf(err); {
		case ctx.Err() != nil:
			return len(r.deleted), cmp.Or(last, err, schemas.WithCode(schemas.CodeUnavailable, ctx.Err()))
		case err == nil && len(there) == 0:
			return len(r.deleted), nil
		case err == nil:
			last = schemas.Errorf(schemas.CodeUnavailable, "still there in namespace %s: %s", namespace, strings.Join(there, ", "))
		case code == schemas.CodeUnavailable, code == schemas.CodeConflict:
			last = err
		default:
			return len(r.deleted), err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

type remover struct {
	client                  *cluster.Client
	namespace, installation string
	deleted                 map[string]bool // by kind and name
}

// look deletes what there is, and returns the names of all that it saw: none is there
// for sure once a look has found nothing.
func (r *remover) look(ctx context.Context) (there []string, err error) {
	var errs []error
	see := func(what string, remove bool, gvr schema.GroupVersionResource, name string) {
		if remove {
			err := r.remove(ctx, what, gvr, name)
			if schemas.CodeOf(err) == schemas.CodeNotFound {
				return
			}
			errs = append(errs, err)
		}
		there = append(there, what+" "+name)
	}
	for _, gvr := range runs {
		errs = append(errs, r.list(ctx, gvr, labels.Set{componentLabel: ofRuns}, func(o *metav1.PartialObjectMetadata) {
			see(strings.TrimSuffix(gvr.Resource, "s"), true, gvr, o.Name)
		}))
	}
	see("lease", true, leases, Lease(r.installation))
	errs = append(errs, r.list(ctx, cluster.Pods, nil, func(o *metav1.PartialObjectMetadata) {
		component := o.Labels[componentLabel]
		if component == ofHooks { // this one
			return
		}
		see("pod", component == ofTests, cluster.Pods, o.Name)
		// Argo gives a Workflow the labels of its template after it was made, and one
		// without them has been seen; its pods have them from the beginning.
		for _, owner := range o.OwnerReferences {
			if component == ofRuns && owner.Kind == "Workflow" && owner.APIVersion == workflows.GroupVersion().String() &&
				!slices.Contains(there, "workflow "+owner.Name) {
				see("workflow", true, workflows, owner.Name)
			}
		}
	}))
	return there, errors.Join(errs...)
}

// list calls each with what is the installation's and has some labels.
func (r *remover) list(ctx context.Context, gvr schema.GroupVersionResource, set labels.Set, each func(*metav1.PartialObjectMetadata)) error {
	set = labels.Merge(set, labels.Set{"app.kubernetes.io/part-of": cluster.FieldManager, "app.kubernetes.io/instance": r.installation})
	for o := (metav1.ListOptions{LabelSelector: set.String(), Limit: cluster.PageSize}); ; {
		page, err := r.client.Metadata.Resource(gvr).Namespace(r.namespace).List(ctx, o)
		if apierrors.IsNotFound(err) { // a cluster without Argo Workflows
			return nil
		}
		if err != nil {
			return cluster.Error(fmt.Sprintf("list %s in namespace %s", gvr.Resource, r.namespace), err)
		}
		for i := range page.Items {
			each(&page.Items[i])
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return nil
		}
	}
}

// remove deletes an object, and what it owns after it.
func (r *remover) remove(ctx context.Context, what string, gvr schema.GroupVersionResource, name string) error {
	background := metav1.DeletePropagationBackground
	err := r.client.Metadata.Resource(gvr).Namespace(r.namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err == nil {
		r.deleted[what+" "+name] = true
	}
	return cluster.Error(fmt.Sprintf("delete %s %s in namespace %s", what, name, r.namespace), err)
}

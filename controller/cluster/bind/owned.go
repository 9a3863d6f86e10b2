package bind

import (
	"context"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/schemas"
)

// bindOwned makes or updates an autoscaler of ours. It stays where no forecast
// raises it: the workload is scaled by its usage then, from the operator's own
// least number on.
func (w *Writer) bindOwned(ctx context.Context, c *cluster.Component, k *framework.Candidate, d *schemas.Decision) *framework.Status {
	if c.Owner.User != nil {
		return framework.NewStatus(framework.Skip, "", c.Owner.User.String()+" is there")
	}
	candidate := *k
	candidate.Target, candidate.Requests = c.Target, c.Requests
	hpa, err := manifest.HPA(&candidate, d)
	if schemas.CodeOf(err) == schemas.CodeInvalidData {
		if err := w.releaseAll(ctx, c); err != nil {
			return framework.AsStatus(err)
		}
		return framework.NewStatus(framework.Rejected, schemas.NoRequests, err.Error())
	} else if err != nil {
		return framework.AsStatus(err)
	}
	wanted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(hpa)
	if err != nil {
		return framework.AsStatus(schemas.WithCode(schemas.CodeInternal, err))
	}
	spec, _ := wanted["spec"].(map[string]any)
	base := strconv.Itoa(int(min(d.Policy.MinReplicas, d.MaxReplicas)))
	if c.Owner.Ours == nil {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": hpa.APIVersion, "kind": hpa.Kind, "spec": spec}}
		o.SetName(hpa.Name)
		o.SetNamespace(hpa.Namespace)
		o.SetLabels(hpa.Labels)
		marks := annotations(c.ID, d.MinReplicas, base, d.Expires)
		marks[cluster.AnnotationOwned] = "true"
		marks[cluster.AnnotationUserReplicas] = strconv.Itoa(int(c.Replicas))
		o.SetAnnotations(marks)
		if c.TargetUID != "" {
			o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: c.Target.APIVersion, Kind: c.Target.Kind, Name: c.Target.Name, UID: types.UID(c.TargetUID)}})
		}
		made, err := w.client.Dynamic.Resource(cluster.HPAResource).Namespace(hpa.Namespace).Create(ctx, o, metav1.CreateOptions{FieldManager: cluster.FieldManager})
		if apierrors.IsAlreadyExists(err) {
			return framework.NewStatus(framework.Rejected, schemas.TargetNotScalable, "HorizontalPodAutoscaler/"+hpa.Name+" is there already, for something else")
		}
		if err != nil {
			return framework.AsStatus(cluster.Error("create HorizontalPodAutoscaler/"+hpa.Name, err))
		}
		c.Owner.Ours = &cluster.Autoscaler{Resource: cluster.HPAResource, Object: made}
		return nil
	}
	return framework.AsStatus(retry(ctx, w.client, &c.Owner.Ours, func(a *cluster.Autoscaler) (*unstructured.Unstructured, error) {
		o := a.Object.DeepCopy()
		live, _ := o.Object["spec"].(map[string]any)
		same := live != nil && inForce(a, d.MinReplicas, k.Now, d.Expires) && o.GetAnnotations()[cluster.AnnotationUserMinReplicas] == base
		for field, v := range spec { // what a user has set beside, such as the behaviour, stays
			same = same && reflect.DeepEqual(live[field], v)
		}
		if same {
			return a.Object, nil
		}
		for field, v := range spec {
			if err := unstructured.SetNestedField(o.Object, v, "spec", field); err != nil {
				return nil, schemas.WithCode(schemas.CodeInternal, err)
			}
		}
		marks := o.GetAnnotations()
		for key, v := range annotations(c.ID, d.MinReplicas, base, d.Expires) {
			marks[key] = v
		}
		o.SetAnnotations(marks)
		return objects(w.client, a).Update(ctx, o, metav1.UpdateOptions{FieldManager: cluster.FieldManager})
	}))
}

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/schemas"
)

// The objects that say how many replicas a workload has.
var (
	HPAResource          = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	ScaledObjectResource = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
	VPAResource          = schema.GroupVersionResource{Group: "autoscaling.k8s.io", Version: "v1", Resource: "verticalpodautoscalers"}
)

// Annotations on autoscalers. All of ours go when the floor does.
const (
	// AnnotationFloor is the number that was written, so that a number that
	// somebody else has written since is told apart.
	AnnotationFloor = "self-scaling.github.io/floor"
	// AnnotationUserMinReplicas is the user's own number, or [Unset].
	AnnotationUserMinReplicas = "self-scaling.github.io/user-min-replicas"
	// AnnotationExpires is when the floor ends, in RFC 3339.
	AnnotationExpires = "self-scaling.github.io/expires"
	// AnnotationComponent is the component that the floor was decided for.
	AnnotationComponent = "self-scaling.github.io/component"
	// AnnotationUserReplicas is how many replicas the workload was set to before
	// we made an autoscaler for it.
	AnnotationUserReplicas = "self-scaling.github.io/user-replicas"
	// AnnotationOwned marks an autoscaler that we made, and that goes with the
	// floor.
	AnnotationOwned = "self-scaling.github.io/owned"
	// AnnotationAdopt is for the user to set to "true": a floor may be written
	// although a GitOps tool sets minReplicas, because the tool was told to leave
	// that difference.
	AnnotationAdopt = "self-scaling.github.io/adopt"
)

// Unset stands for the user's own number where the user gave none.
const Unset = "unset"

// Autoscaler is a HorizontalPodAutoscaler or a ScaledObject of KEDA. The object
// is held as the server gave it, so that fields of later versions are not lost.
type Autoscaler struct {
	Resource schema.GroupVersionResource
	Object   *unstructured.Unstructured
}

// String returns "HorizontalPodAutoscaler/name".
func (a *Autoscaler) String() string { return a.Object.GetKind() + "/" + a.Object.GetName() }

// Field returns the path of the field that holds the floor, in the spec.
func (a *Autoscaler) Field() string {
	if a.Resource == ScaledObjectResource {
		return "minReplicaCount"
	}
	return "minReplicas"
}

// Owned reports whether we made it.
func (a *Autoscaler) Owned() bool { return a.Object.GetAnnotations()[AnnotationOwned] == "true" }

// Live returns the number in the field, false where there is none.
func (a *Autoscaler) Live() (int32, bool) { return number(a.Object, "spec", a.Field()) }

// UserMin returns the user's own number, false where the user gave none. It is
// the recorded one as long as the field holds what we wrote and nobody else
// manages it, else the live one: then somebody has set it since, and theirs
// counts. (A client that reads first and sends only what differs, as kubectl
// does, cannot be told from one that did nothing where it asks for the very
// number of the floor.)
func (a *Autoscaler) UserMin() (int32, bool) {
	live, ok := a.Live()
	annotations := a.Object.GetAnnotations()
	if floor, err := strconv.ParseInt(annotations[AnnotationFloor], 10, 32); err != nil || !ok || int32(floor) != live || len(a.otherManagers()) > 0 {
		return live, ok
	}
	recorded := annotations[AnnotationUserMinReplicas]
	if recorded == Unset {
		return 0, false
	}
	n, err := strconv.ParseInt(recorded, 10, 32)
	if err != nil || n < 0 {
		return live, ok // somebody has edited the record
	}
	return int32(n), true
}

// Floor returns the floor that is in force, and its end as it is recorded, zero
// where that cannot be read. It is false where the number is not ours, or is no
// more than the user's.
func (a *Autoscaler) Floor() (floor int32, expires time.Time, ok bool) {
	live, ok := a.Live()
	recorded := a.Object.GetAnnotations()
	if !ok || recorded[AnnotationFloor] != strconv.Itoa(int(live)) {
		return 0, time.Time{}, false
	}
	if user, ok := a.UserMin(); ok && live <= user {
		return 0, time.Time{}, false
	}
	expires, err := time.Parse(time.RFC3339, recorded[AnnotationExpires])
	if err != nil {
		expires = time.Time{}
	}
	return live, expires, true
}

// Bounds are the user's own.
type Bounds struct{ Min, Max int32 }

// Bounds returns the user's own bounds, with what the autoscaler takes where
// none is given.
func (a *Autoscaler) Bounds() Bounds {
	b := Bounds{Min: 1, Max: 1}
	field := "maxReplicas"
	if a.Resource == ScaledObjectResource {
		b, field = Bounds{Min: 0, Max: 100}, "maxReplicaCount"
	}
	if n, ok := a.UserMin(); ok {
		b.Min = n
	}
	if n, ok := number(a.Object, "spec", field); ok {
		b.Max = n
	}
	return b
}

// Target returns the workload that it scales.
func (a *Autoscaler) Target() Ref {
	ref := texts(a.Object.Object, "spec", "scaleTargetRef")
	if a.Resource == ScaledObjectResource {
		return Ref{a.Object.GetNamespace(), cmp.Or(ref["apiVersion"], "apps/v1"), cmp.Or(ref["kind"], "Deployment"), ref["name"]}
	}
	return Ref{a.Object.GetNamespace(), ref["apiVersion"], ref["kind"], ref["name"]}
}

// texts returns what the map at a path has that is text.
func texts(object map[string]any, path ...string) map[string]string {
	m, _, _ := unstructured.NestedMap(object, path...)
	out := map[string]string{}
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

func number(o *unstructured.Unstructured, path ...string) (int32, bool) {
	n, ok, err := unstructured.NestedInt64(o.Object, path...)
	if !ok || err != nil || n < 0 || n > schemas.MaxReplicas {
		return 0, false
	}
	return int32(n), true
}

// metrics returns what it scales by.
func (a *Autoscaler) metrics() []map[string]any {
	list := "metrics"
	if a.Resource == ScaledObjectResource {
		list = "triggers"
	}
	entries, _, _ := unstructured.NestedSlice(a.Object.Object, "spec", list)
	out := make([]map[string]any, 0, len(entries))
	for _, e := range entries {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// scaledBy returns the resources by whose utilisation it scales.
func (a *Autoscaler) scaledBy() map[schemas.Resource]bool {
	out := map[schemas.Resource]bool{}
	for _, m := range a.metrics() {
		name, _ := m["type"].(string) // KEDA's trigger is named as the resource
		for _, w := range []string{"resource", "containerResource"} {
			if r, ok := m[w].(map[string]any); ok {
				name, _ = r["name"].(string)
			}
		}
		if r := schemas.Resource(name); r == schemas.CPU || r == schemas.Memory {
			out[r] = true
		}
	}
	return out
}

// Utilization returns the share of a pod's request that it wants used of each
// resource: 0.7 is 70 %. An amount that it wants used by a pod is that share of
// what a pod requests. A resource by which it does not scale is absent, and so is
// one of which no share is known: it is measured in one container, or the pods
// request nothing. Of two targets for one resource the lower asks for more
// replicas, and counts.
func (a *Autoscaler) Utilization(requests schemas.Requests) map[schemas.Resource]float64 {
	out := map[schemas.Resource]float64{}
	for _, m := range a.metrics() {
		w := resourceWanted(m)
		if a.Resource == ScaledObjectResource {
			w = triggerWanted(m)
		}
		share := 0.
		switch w.kind {
		case autoscalingv2.UtilizationMetricType:
			if percent, err := strconv.ParseInt(w.value, 10, 32); err == nil {
				share = float64(percent) / 100
			}
		case autoscalingv2.AverageValueMetricType:
			if amount, err := resource.ParseQuantity(w.value); err == nil && requests[w.resource] > 0 {
				share = amount.AsApproximateFloat64() / requests[w.resource]
			}
		}
		if w.resource != schemas.CPU && w.resource != schemas.Memory || !(share > 0) {
			continue
		}
		share = min(share, schemas.MaxUtilization)
		if known, ok := out[w.resource]; !ok || share < known {
			out[w.resource] = share
		}
	}
	return out
}

// wanted is what an autoscaler wants the pods to use of a resource on average; the
// value is a percentage of what they request, or a quantity.
type wanted struct {
	resource schemas.Resource
	kind     autoscalingv2.MetricTargetType
	value    string
}

// resourceWanted reads a metric of a HorizontalPodAutoscaler; the zero value is one
// that is not of the whole pod's resources.
func resourceWanted(metric map[string]any) wanted {
	if metric["type"] != "Resource" {
		return wanted{}
	}
	target := texts(metric, "resource", "target")
	w := wanted{schemas.Resource(texts(metric, "resource")["name"]), autoscalingv2.MetricTargetType(target["type"]), target["averageValue"]}
	if w.kind == autoscalingv2.UtilizationMetricType {
		percent, _, _ := unstructured.NestedInt64(metric, "resource", "target", "averageUtilization")
		w.value = strconv.FormatInt(percent, 10)
	}
	return w
}

// triggerWanted is the same for a trigger of KEDA, where the number is a
// text and the kind of target was a member of the metadata before it was one of
// the trigger.
func triggerWanted(trigger map[string]any) wanted {
	own, metadata := texts(trigger), texts(trigger, "metadata")
	if metadata["containerName"] != "" {
		return wanted{}
	}
	return wanted{schemas.Resource(own["type"]), autoscalingv2.MetricTargetType(cmp.Or(own["metricType"], metadata["type"])), metadata["value"]}
}

// Autoscalers is what a cluster holds of them, as of one instant.
type Autoscalers struct {
	byTarget map[Ref][]*Autoscaler
	vpas     map[Ref][]*unstructured.Unstructured
	// byNamespace is made when it is first asked for.
	byNamespace map[string][]*Autoscaler
}

// Autoscalers lists what scales the workloads of the namespaces; of all where
// none is named. A cluster without KEDA or vertical autoscalers has none of
// them.
func (c *Client) Autoscalers(ctx context.Context, namespaces ...string) (*Autoscalers, error) {
	out := NewAutoscalers()
	scope := Scope{Namespaces: namespaces}
	for _, ns := range scope.namespaces() {
		for _, resource := range []schema.GroupVersionResource{HPAResource, ScaledObjectResource, VPAResource} {
			var found []*unstructured.Unstructured
			err := pages(ctx, resource.Resource, func() { found = nil }, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
				list, err := c.Dynamic.Resource(resource).Namespace(ns).List(ctx, opts)
				if err != nil {
					if apierrors.IsNotFound(err) && resource != HPAResource {
						return "", nil
					}
					return "", err
				}
				for i := range list.Items {
					found = append(found, &list.Items[i])
				}
				return list.GetContinue(), nil
			})
			if err != nil {
				return nil, err
			}
			for _, o := range found {
				out.Add(resource, o)
			}
		}
	}
	return out, nil
}

// NewAutoscalers returns a look at a cluster that holds none yet.
func NewAutoscalers() *Autoscalers {
	return &Autoscalers{byTarget: map[Ref][]*Autoscaler{}, vpas: map[Ref][]*unstructured.Unstructured{}}
}

// Add takes in an object of one of the resources: [HPAResource],
// [ScaledObjectResource] or [VPAResource]. It is not changed.
func (s *Autoscalers) Add(resource schema.GroupVersionResource, o *unstructured.Unstructured) {
	if resource == VPAResource {
		ref := texts(o.Object, "spec", "targetRef")
		key := Ref{o.GetNamespace(), ref["apiVersion"], ref["kind"], ref["name"]}.key()
		s.vpas[key] = append(s.vpas[key], o)
		return
	}
	a := &Autoscaler{resource, o}
	key := a.Target().key()
	s.byTarget[key] = append(s.byTarget[key], a)
}

// All returns every autoscaler, in order of namespace, kind and name.
func (s *Autoscalers) All() []*Autoscaler {
	var out []*Autoscaler
	for _, list := range s.byTarget {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b *Autoscaler) int {
		return cmp.Or(cmp.Compare(a.Object.GetNamespace(), b.Object.GetNamespace()), cmp.Compare(a.String(), b.String()))
	})
	return out
}

// Owner is who sets the number of replicas of one workload.
type Owner struct {
	// User is the user's autoscaler, through which a floor takes effect: the
	// ScaledObject where there is one, for the autoscaler under it is KEDA's.
	// Nil where there is none.
	User *Autoscaler
	// Users are all of the user's, where there are more.
	Users []*Autoscaler
	// Ours is an autoscaler that we made, nil where there is none.
	Ours *Autoscaler
	// Conflict says who else is in charge, so that we must not be; empty where
	// nobody is.
	Conflict string
}

// gitOps are the field managers of the tools that write a repository's state
// again and again, in parts of their names.
var gitOps = []string{"argocd", "argo-cd", "kustomize-controller", "helm-controller", "flux", "rancher-fleet", "fleetagent"}

// Owner returns who sets the number of replicas of a workload, whose pods
// request these resources.
func (s *Autoscalers) Owner(target Ref, requests schemas.Requests) Owner {
	var out Owner
	if target.Kind == "Rollout" && target.group() == "argoproj.io" {
		out.Conflict = fmt.Sprintf("%s of Argo Rollouts moves its replicas between versions", target)
	}
	var users, scaledObjects []*Autoscaler
	for _, a := range s.byTarget[target.key()] {
		switch {
		case a.Owned():
			out.Ours = a
		case a.Resource == ScaledObjectResource:
			scaledObjects = append(scaledObjects, a)
		default:
			users = append(users, a)
		}
	}
	if len(scaledObjects) > 0 {
		users = slices.DeleteFunc(users, func(a *Autoscaler) bool { return underKEDA(a.Object) })
	}
	users = append(users, scaledObjects...)
	out.Users = users
	switch {
	case len(users) > 1:
		var names []string
		for _, a := range users {
			names = append(names, a.String())
		}
		slices.Sort(names)
		out.Conflict = cmp.Or(out.Conflict, fmt.Sprintf("%s is scaled by %s", target, strings.Join(names, " and ")))
	case len(users) == 1:
		out.User = users[0]
		out.Conflict = cmp.Or(out.Conflict, foreign(users[0]))
	}
	if conflict := s.vertical(target, out.User, requests); conflict != "" {
		out.Conflict = cmp.Or(out.Conflict, conflict)
	}
	return out
}

// foreign says why a floor on this autoscaler would not last.
func foreign(a *Autoscaler) string {
	annotations := a.Object.GetAnnotations()
	if a.Resource == ScaledObjectResource {
		for _, k := range []string{"autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"} {
			if v, ok := annotations[k]; ok && v != "false" {
				return fmt.Sprintf("%s is paused", a)
			}
		}
	}
	if o := metav1.GetControllerOfNoCopy(a.Object); o != nil {
		return fmt.Sprintf("%s is kept by %s/%s", a, o.Kind, o.Name)
	}
	if annotations[AnnotationAdopt] == "true" {
		return ""
	}
	for _, manager := range a.otherManagers() {
		for _, tool := range gitOps {
			if strings.Contains(strings.ToLower(manager), tool) {
				return fmt.Sprintf("%s: %s is set by %s, which would set it again; leave it out of the repository, or let the tool pass over it and annotate %s=true",
					a, a.Field(), manager, AnnotationAdopt)
			}
		}
	}
	return ""
}

// otherManagers returns who has set the field besides us. A floor, which never
// is the number that was there, takes the field from all of them.
func (a *Autoscaler) otherManagers() []string {
	var out []string
	for _, entry := range a.Object.GetManagedFields() {
		if entry.FieldsV1 != nil && entry.Manager != FieldManager && strings.Contains(string(entry.FieldsV1.Raw), `"f:`+a.Field()+`"`) {
			out = append(out, entry.Manager)
		}
	}
	return out
}

// underKEDA reports whether an autoscaler is the one that KEDA keeps for a
// ScaledObject.
func underKEDA(o *unstructured.Unstructured) bool {
	for _, owner := range o.GetOwnerReferences() {
		if owner.Kind == "ScaledObject" {
			return true
		}
	}
	return o.GetLabels()["scaledobject.keda.sh/name"] != "" || strings.HasPrefix(o.GetName(), "keda-hpa-")
}

// vertical says which vertical autoscaler moves the requests that the number of
// replicas is computed from.
func (s *Autoscalers) vertical(target Ref, user *Autoscaler, requests schemas.Requests) string {
	by := map[schemas.Resource]bool{}
	if user != nil {
		by = user.scaledBy()
	}
	if user == nil {
		for r := range requests {
			by[r] = true
		}
	}
	for _, v := range s.vpas[target.key()] {
		mode, _, _ := unstructured.NestedString(v.Object, "spec", "updatePolicy", "updateMode")
		if mode == "Off" {
			continue
		}
		controlled := controlledBy(v)
		for _, r := range schemas.Resources() {
			if by[r] && controlled[r] {
				return fmt.Sprintf("VerticalPodAutoscaler/%s moves the %s requests of %s", v.GetName(), r, target)
			}
		}
	}
	return ""
}

// controlledBy returns the resources that a vertical autoscaler sets for any
// container. Containers that no policy names have the default one: both.
func controlledBy(v *unstructured.Unstructured) map[schemas.Resource]bool {
	all := map[schemas.Resource]bool{schemas.CPU: true, schemas.Memory: true}
	policies, _, _ := unstructured.NestedSlice(v.Object, "spec", "resourcePolicy", "containerPolicies")
	out, rest := map[schemas.Resource]bool{}, true
	for _, p := range policies {
		m, _ := p.(map[string]any)
		if m["containerName"] == "*" {
			rest = false
		}
		if m["mode"] == "Off" {
			continue
		}
		names, ok := m["controlledResources"].([]any)
		if !ok {
			return all
		}
		for _, n := range names {
			if name, ok := n.(string); ok {
				out[schemas.Resource(name)] = true
			}
		}
	}
	if rest {
		maps.Copy(out, all)
	}
	return out
}

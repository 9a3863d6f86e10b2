package cluster

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"k8s.io/client-go/dynamic"

	"github.com/self-scaling/self-scaling/schemas"
)

// Ref names a workload.
type Ref struct{ Namespace, APIVersion, Kind, Name string }

// String returns "Kind/name".
func (r Ref) String() string { return r.Kind + "/" + r.Name }

func (r Ref) group() string {
	group, _, ok := strings.Cut(r.APIVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// key returns the reference without the version, for all versions of a group
// show the same object.
func (r Ref) key() Ref {
	r.APIVersion = r.group()
	return r
}

// workload is what a template or a scale subresource says.
type workload struct {
	ref      Ref
	uid      string
	selector labels.Selector // nil where it is not known
	template map[string]string
	requests schemas.Requests
	replicas int32
}

// workloads finds the workload above a pod. It remembers what it was told, for
// the length of one listing.
type workloads struct {
	client    *Client
	resources map[string]map[string]kindInfo // by group version and kind
	parents   map[Ref]*parent
	known     map[Ref]*workload
	selectors map[string]*selectors // by namespace
}

type kindInfo struct {
	resource string
	scale    bool
}

type parent struct {
	ref *Ref // the controlling owner, nil at the top
	uid string
}

// list reads what is common page by page: Deployments and StatefulSets whole,
// and of ReplicaSets, of which there are many, only who owns them.
func (w *workloads) list(ctx context.Context, namespaces []string) error {
	for _, ns := range namespaces {
		err := pages(ctx, "deployments", func() {}, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
			var list appsv1.DeploymentList
			if err := w.client.List(ctx, Deployments, ns, opts, &list); err != nil {
				return "", err
			}
			for i := range list.Items {
				d := &list.Items[i]
				w.add("Deployment", &d.ObjectMeta, d.Spec.Selector, &d.Spec.Template, d.Spec.Replicas)
			}
			return list.Continue, nil
		})
		if err != nil {
			return err
		}
		err = pages(ctx, "statefulsets", func() {}, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
			var list appsv1.StatefulSetList
			if err := w.client.List(ctx, StatefulSets, ns, opts, &list); err != nil {
				return "", err
			}
			for i := range list.Items {
				s := &list.Items[i]
				w.add("StatefulSet", &s.ObjectMeta, s.Spec.Selector, &s.Spec.Template, s.Spec.Replicas)
			}
			return list.Continue, nil
		})
		if err != nil {
			return err
		}
		replicaSets := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
		err = pages(ctx, "replicasets", func() {}, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
			list, err := w.client.Metadata.Resource(replicaSets).Namespace(ns).List(ctx, opts)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				m := &list.Items[i].ObjectMeta
				w.parents[Ref{m.Namespace, "apps/v1", "ReplicaSet", m.Name}] = parentOf(m)
			}
			return list.Continue, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *workloads) add(kind string, m *metav1.ObjectMeta, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec, replicas *int32) {
	ref := Ref{m.Namespace, "apps/v1", kind, m.Name}
	out := &workload{ref: ref, uid: string(m.UID), template: template.Labels, requests: PodRequests(&template.Spec), replicas: 1}
	if replicas != nil {
		out.replicas = *replicas
	}
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil && !s.Empty() {
		out.selector = s
	}
	w.known[ref.key()] = out
	w.parents[ref] = parentOf(m)
}

func parentOf(m *metav1.ObjectMeta) *parent {
	out := &parent{uid: string(m.UID)}
	if o := metav1.GetControllerOfNoCopy(m); o != nil {
		out.ref = &Ref{m.Namespace, o.APIVersion, o.Kind, o.Name}
	}
	return out
}

// maxDepth bounds the walk along owner references, which nothing keeps from
// being a circle.
const maxDepth = 8

// above returns the topmost owner of a pod that has a scale subresource. Where
// there is none, the topmost owner is returned with a sentence that says why it
// cannot be scaled.
func (w *workloads) above(ctx context.Context, namespace string, owner *metav1.OwnerReference) (*Ref, string, error) {
	if owner == nil {
		return nil, "its pods are owned by no workload", nil
	}
	var scalable, top *Ref
	ref := &Ref{namespace, owner.APIVersion, owner.Kind, owner.Name}
	for depth := 0; ref != nil && depth < maxDepth; depth++ {
		top = ref
		kind, err := w.kind(ctx, ref.APIVersion, ref.Kind)
		if err != nil {
			return nil, "", err
		}
		if kind.scale {
			scalable = ref
		}
		if kind.resource == "" {
			break
		}
		p, err := w.parent(ctx, *ref, kind.resource)
		if err != nil {
			return nil, "", err
		}
		ref = p.ref
	}
	if scalable != nil {
		return scalable, "", nil
	}
	return top, fmt.Sprintf("%s has no scale subresource", top), nil
}

// parent returns who owns an object.
func (w *workloads) parent(ctx context.Context, ref Ref, resource string) (*parent, error) {
	if p, ok := w.parents[ref]; ok {
		return p, nil
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return &parent{}, nil
	}
	m, err := w.client.Metadata.Resource(gv.WithResource(resource)).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		w.parents[ref] = &parent{} // gone, or none of our business
	case err != nil:
		return nil, Error("get "+ref.String(), err)
	default:
		w.parents[ref] = parentOf(&m.ObjectMeta)
	}
	return w.parents[ref], nil
}

// kind returns how the server serves a kind. One that it does not serve is the
// zero value.
func (w *workloads) kind(ctx context.Context, apiVersion, kind string) (kindInfo, error) {
	kinds, ok := w.resources[apiVersion]
	if !ok {
		kinds = map[string]kindInfo{}
		list, err := w.client.Resources(ctx, apiVersion)
		if err != nil && !apierrors.IsNotFound(err) {
			return kindInfo{}, Error("discover "+apiVersion, err)
		}
		if err == nil {
			scales := map[string]bool{}
			for _, r := range list {
				if name, ok := strings.CutSuffix(r.Name, "/scale"); ok {
					scales[name] = true
				}
			}
			for _, r := range list {
				if !strings.Contains(r.Name, "/") {
					kinds[r.Kind] = kindInfo{resource: r.Name, scale: scales[r.Name]}
				}
			}
		}
		w.resources[apiVersion] = kinds
	}
	return kinds[kind], ctx.Err()
}

// ScaleOf returns the client of the scale subresource of a workload, named by
// its name.
func (c *Client) ScaleOf(ctx context.Context, ref Ref) (dynamic.ResourceInterface, error) {
	w := &workloads{client: c, resources: map[string]map[string]kindInfo{}}
	kind, err := w.kind(ctx, ref.APIVersion, ref.Kind)
	if err != nil {
		return nil, err
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil || !kind.scale {
		return nil, schemas.Errorf(schemas.CodeNotFound, "%s %s has no scale subresource", ref.APIVersion, ref)
	}
	return c.Dynamic.Resource(gv.WithResource(kind.resource)).Namespace(ref.Namespace), nil
}

// get returns what is known of a scalable workload: from the listing, or from
// its scale subresource.
func (w *workloads) get(ctx context.Context, ref Ref) (*workload, error) {
	if out, ok := w.known[ref.key()]; ok {
		return out, nil
	}
	kind, err := w.kind(ctx, ref.APIVersion, ref.Kind)
	gv, bad := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil || bad != nil || !kind.scale {
		return nil, err
	}
	scale, err := w.client.Dynamic.Resource(gv.WithResource(kind.resource)).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{}, "scale")
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, Error("get scale of "+ref.String(), err)
	}
	out := &workload{ref: ref}
	replicas, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	out.replicas = int32(replicas)
	if text, _, _ := unstructured.NestedString(scale.Object, "status", "selector"); text != "" {
		if s, err := labels.Parse(text); err == nil && !s.Empty() {
			out.selector = s
		}
	}
	if p, err := w.parent(ctx, ref, kind.resource); err == nil {
		out.uid = p.uid
	}
	w.known[ref.key()] = out
	return out, nil
}

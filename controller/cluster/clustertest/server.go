// Package clustertest is an API server in memory for tests: it lists page by
// page, creates, patches and deletes whatever resource it is told of, and keeps
// managedFields with the code that a real API server keeps them with, and lets
// changes be watched. It validates nothing.
package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Kind is a resource that the server serves.
type Kind struct {
	APIVersion, Kind, Resource string
	// Scale says that it has a scale subresource, over spec.replicas and
	// spec.selector.matchLabels.
	Scale bool
}

// Kinds are the resources of a cluster with KEDA, vertical autoscalers, Argo
// Rollouts and this project's policies.
func Kinds() []Kind {
	return []Kind{
		{"v1", "Pod", "pods", false},
		{"v1", "ConfigMap", "configmaps", false},
		{"v1", "Event", "events", false},
		{"coordination.k8s.io/v1", "Lease", "leases", false},
		{"apps/v1", "Deployment", "deployments", true},
		{"apps/v1", "StatefulSet", "statefulsets", true},
		{"apps/v1", "ReplicaSet", "replicasets", true},
		{"apps/v1", "DaemonSet", "daemonsets", false},
		{"batch/v1", "Job", "jobs", false},
		{"autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", false},
		{"keda.sh/v1alpha1", "ScaledObject", "scaledobjects", false},
		{"autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "verticalpodautoscalers", false},
		{"argoproj.io/v1alpha1", "Rollout", "rollouts", true},
		{"metrics.k8s.io/v1beta1", "PodMetrics", "pods", false},
		{"self-scaling.github.io/v1alpha1", "ScalingPolicy", "scalingpolicies", false},
	}
}

// Server is the API server.
type Server struct {
	// Fail is asked before every request, where it is set; a status from it is
	// the answer.
	Fail func(method, path string) *apierrors.StatusError

	t       testing.TB
	refusal atomic.Pointer[refusal]
	asked   atomic.Int64
	http    *httptest.Server
	kinds   map[schema.GroupVersionResource]Kind
	mu      sync.Mutex
	objects map[schema.GroupVersionResource]map[string]*unstructured.Unstructured // by namespace/name
	version int
	writes  []string
	dry     bool // the request under way is to change nothing
	changes changes
	lists   map[string]int // how often a resource was listed, or a page of it
}

// New starts a server on the loopback that ends with the test.
func New(t testing.TB, kinds ...Kind) *Server {
	s := &Server{t: t, kinds: map[schema.GroupVersionResource]Kind{}, objects: map[schema.GroupVersionResource]map[string]*unstructured.Unstructured{}, changes: newChanges(), lists: map[string]int{}}
	for _, k := range kinds {
		gv, err := schema.ParseGroupVersion(k.APIVersion)
		if err != nil {
			t.Fatal(err)
		}
		gvr := gv.WithResource(k.Resource)
		s.kinds[gvr], s.objects[gvr] = k, map[string]*unstructured.Unstructured{}
	}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		s.EndWatches()
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Config returns the configuration of a client without a limit of its own.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.http.URL, QPS: -1} }

// Requests returns how many requests there have been.
func (s *Server) Requests() int { return int(s.asked.Load()) }

// Kubeconfig returns a file that leads to the server, as KUBECONFIG names it.
func (s *Server) Kubeconfig() string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q}}]
users: [{name: test, user: {}}]
`, s.http.URL)
}

// Refuse has every request answered with a status from now on: 403, as where a
// right is lacking, or 503 and others, as where the server is away. With 0 it
// works again.
func (s *Server) Refuse(code int) { s.refuseWhere(code, "", "") }

// Deny has requests with a verb for a resource answered as where the right to it
// lacks, and Break as where the server is away, until Mend. The verb and the
// resource are spelled as in a Role.
func (s *Server) Deny(verb, resource string) { s.refuseWhere(http.StatusForbidden, verb, resource) }

// Break has them answered as where the server is away, see [Server.Deny].
func (s *Server) Break(verb, resource string) {
	s.refuseWhere(http.StatusServiceUnavailable, verb, resource)
}

// Mend ends [Server.Refuse], [Server.Deny] and [Server.Break].
func (s *Server) Mend() { s.refuseWhere(0, "", "") }

type refusal struct {
	code           int
	verb, resource string // all where empty
}

func (s *Server) refuseWhere(code int, verb, resource string) {
	s.refusal.Store(&refusal{code, verb, resource})
}

// of returns the answer to a request, nil where it is not refused.
func (f *refusal) of(r *http.Request) *metav1.Status {
	verb, resource := asked(r)
	if f == nil || f.code == 0 || f.verb != "" && (f.verb != verb || f.resource != resource) {
		return nil
	}
	if f.code != http.StatusForbidden {
		return &metav1.Status{Status: metav1.StatusFailure, Code: int32(f.code), Reason: metav1.StatusReasonServiceUnavailable, Message: "the server is starting"}
	}
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: int32(f.code), Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%[2]s is forbidden: User \"system:serviceaccount:self-scaling:test\" cannot %[1]s resource %[2]q", verb, resource),
	}
}

// asked returns the verb and the resource of a request as a Role spells them.
func asked(r *http.Request) (verb, resource string) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	parts = parts[min(len(parts), map[string]int{"api": 2, "apis": 3}[parts[0]]):]
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb = strings.ToLower(r.Method)
	switch {
	case len(parts) == 0:
		return verb, ""
	case verb == "get" && len(parts) == 1 && watches(r):
		verb = "watch"
	case verb == "get" && len(parts) == 1:
		verb = "list"
	case verb == "post":
		verb = "create"
	case verb == "put":
		verb = "update"
	}
	resource = parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verb, resource
}

// Lists returns how many pages of a resource have been asked for.
func (s *Server) Lists(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[resource]
}

// Events returns the Events, in no order.
func (s *Server) Events(t testing.TB) []corev1.Event {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []corev1.Event
	for _, o := range s.objects[corev1.SchemeGroupVersion.WithResource("events")] {
		var e corev1.Event
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// Writes returns the requests that changed something since the last call, as in
// "PATCH horizontalpodautoscalers/web".
func (s *Server) Writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.writes
	s.writes = nil
	return out
}

// Load stores objects from YAML documents, as the field manager would with
// "kubectl apply".
func (s *Server) Load(manager, documents string) {
	s.t.Helper()
	for _, doc := range strings.Split(documents, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var o unstructured.Unstructured
		if err := decode([]byte(doc), &o); err != nil {
			s.t.Fatalf("%v in\n%s", err, doc)
		}
		gvr, kind, ok := s.resource(o.GetAPIVersion(), o.GetKind())
		if !ok {
			s.t.Fatalf("no resource for %s %s", o.GetAPIVersion(), o.GetKind())
		}
		if o.GetNamespace() == "" {
			o.SetNamespace("default")
		}
		s.mu.Lock()
		_, err := s.store(gvr, kind, s.objects[gvr][key(&o)], &o, manager)
		s.mu.Unlock()
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// Get returns a copy of an object, nil where there is none.
func (s *Server) Get(resource, namespace, name string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	for gvr, objects := range s.objects {
		if o := objects[namespace+"/"+name]; gvr.Resource == resource && o != nil {
			return o.DeepCopy()
		}
	}
	return nil
}

// YAML is [Server.Get] without the fields that a server keeps for itself; empty
// where there is no object.
func (s *Server) YAML(resource, namespace, name string) string {
	o := s.Get(resource, namespace, name)
	if o == nil {
		return ""
	}
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// List returns copies of the objects of a resource, in order of namespace and name.
func (s *Server) List(resource string) []*unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*unstructured.Unstructured
	for gvr, objects := range s.objects {
		if gvr.Resource != resource {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			out = append(out, objects[name].DeepCopy())
		}
	}
	return out
}

// Delete removes an object without a trace.
func (s *Server) Delete(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for gvr, objects := range s.objects {
		if gvr.Resource == resource {
			s.remove(gvr, objects[namespace+"/"+name])
		}
	}
}

// decode reads YAML with whole numbers as int64, as a server does.
func decode(document []byte, o *unstructured.Unstructured) error {
	data, err := yaml.YAMLToJSON(document)
	if err != nil {
		return err
	}
	return o.UnmarshalJSON(data)
}

func key(o *unstructured.Unstructured) string { return o.GetNamespace() + "/" + o.GetName() }

func (s *Server) resource(apiVersion, kind string) (schema.GroupVersionResource, Kind, bool) {
	for gvr, k := range s.kinds {
		if k.APIVersion == apiVersion && k.Kind == kind {
			return gvr, k, true
		}
	}
	return schema.GroupVersionResource{}, Kind{}, false
}

// ServeHTTP serves discovery and the resources.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if status := s.refusal.Load().of(r); status != nil {
		answer(w, int(status.Code), status)
		return
	}
	if s.Fail != nil {
		if err := s.Fail(r.Method, r.URL.Path); err != nil {
			answer(w, int(err.ErrStatus.Code), &err.ErrStatus)
			return
		}
	}
	if watches(r) {
		s.watch(w, r)
		return
	}
	out, err := s.serve(r)
	if err != nil {
		status, ok := err.(apierrors.APIStatus)
		if !ok {
			status = apierrors.NewBadRequest(err.Error())
		}
		st := status.Status()
		answer(w, int(st.Code), &st)
		return
	}
	code := http.StatusOK
	if r.Method == http.MethodPost {
		code = http.StatusCreated
	}
	answer(w, code, out)
}

func answer(w http.ResponseWriter, code int, v any) {
	if st, ok := v.(*metav1.Status); ok {
		st.Kind, st.APIVersion = "Status", "v1"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone
}

func (s *Server) serve(r *http.Request) (any, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	gv := schema.GroupVersion{}
	switch {
	case parts[0] == "api" && len(parts) >= 2:
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case parts[0] == "apis" && len(parts) >= 3:
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	case r.URL.Path == "/version":
		return &version.Info{Major: "1", Minor: "34", GitVersion: "v1.34.3"}, nil
	default:
		return nil, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path)
	}
	if len(parts) == 0 {
		return s.discover(gv)
	}
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	gvr := gv.WithResource(parts[0])
	kind, ok := s.kinds[gvr]
	if !ok {
		return nil, apierrors.NewNotFound(gvr.GroupResource(), "")
	}
	body, err := io.ReadAll(r.Body)
	if err == nil && types(r) == runtime.ContentTypeProtobuf {
		body, err = fromProtobuf(body)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(parts) == 1 && r.Method == http.MethodGet {
		s.lists[gvr.Resource]++
		return s.page(gvr, kind, namespace, r)
	}
	s.dry = r.URL.Query().Get("dryRun") == metav1.DryRunAll
	manager := r.URL.Query().Get("fieldManager")
	if r.Method != http.MethodGet && !s.dry {
		name := ""
		if len(parts) > 1 {
			name = "/" + strings.Join(parts[1:], "/")
		}
		s.writes = append(s.writes, r.Method+" "+gvr.Resource+name)
	}
	if r.Method == http.MethodPost {
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		o.SetNamespace(namespace)
		if s.objects[gvr][key(&o)] != nil {
			return nil, apierrors.NewAlreadyExists(gvr.GroupResource(), o.GetName())
		}
		return s.store(gvr, kind, nil, &o, manager)
	}
	live := s.objects[gvr][namespace+"/"+parts[1]]
	if live == nil && (r.Method != http.MethodPatch || types(r) != "application/apply-patch+yaml") {
		return nil, apierrors.NewNotFound(gvr.GroupResource(), parts[1])
	}
	if len(parts) > 2 && parts[2] == "scale" && kind.Scale && r.Method == http.MethodGet {
		return scale(live), nil
	}
	switch r.Method {
	case http.MethodGet:
		return live, nil
	case http.MethodDelete:
		s.remove(gvr, live)
		return &metav1.Status{Status: metav1.StatusSuccess}, nil
	case http.MethodPut:
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		return s.store(gvr, kind, live, &o, manager)
	case http.MethodPatch:
		if types(r) == "application/apply-patch+yaml" {
			return s.apply(gvr, kind, live, namespace, body, manager, r.URL.Query().Get("force") == "true")
		}
		before, err := live.MarshalJSON()
		if err != nil {
			return nil, err
		}
		after, err := jsonpatch.MergePatch(before, body)
		if err != nil {
			return nil, err
		}
		var o unstructured.Unstructured
		if err := o.UnmarshalJSON(after); err != nil {
			return nil, err
		}
		return s.store(gvr, kind, live, &o, manager)
	}
	return nil, apierrors.NewMethodNotSupported(gvr.GroupResource(), r.Method)
}

// fromProtobuf returns an object in JSON.
func fromProtobuf(body []byte) ([]byte, error) {
	o, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(*gvk)
	return json.Marshal(o)
}

func types(r *http.Request) string { return r.Header.Get("Content-Type") }

func (s *Server) discover(gv schema.GroupVersion) (any, error) {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for gvr, k := range s.kinds {
		if gvr.GroupVersion() != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: k.Resource, Kind: k.Kind, Namespaced: true})
		if k.Scale {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: k.Resource + "/scale", Kind: "Scale", Namespaced: true})
		}
	}
	if len(list.APIResources) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: gv.Group}, gv.Version)
	}
	return list, nil
}

func (s *Server) page(gvr schema.GroupVersionResource, kind Kind, namespace string, r *http.Request) (any, error) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, err
	}
	var keys []string
	for k, o := range s.objects[gvr] {
		if (namespace == "" || strings.HasPrefix(k, namespace+"/")) && selector.Matches(labels.Set(o.GetLabels())) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if token := r.URL.Query().Get("continue"); token != "" {
		i, found := slices.BinarySearch(keys, token)
		if found {
			i++
		}
		keys = keys[i:]
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"kind": kind.Kind + "List", "apiVersion": kind.APIVersion}}
	list.SetResourceVersion(strconv.Itoa(s.version))
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit > 0 && limit < len(keys) {
		keys = keys[:limit]
		list.SetContinue(keys[limit-1])
	}
	for _, k := range keys {
		list.Items = append(list.Items, *s.objects[gvr][k])
	}
	return list, nil
}

func scale(o *unstructured.Unstructured) any {
	replicas, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	match, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	return map[string]any{
		"kind": "Scale", "apiVersion": "autoscaling/v1",
		"metadata": map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()},
		"spec":     map[string]any{"replicas": replicas},
		"status":   map[string]any{"replicas": replicas, "selector": metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: match})},
	}
}

// store keeps an object that was created or replaced.
func (s *Server) store(gvr schema.GroupVersionResource, kind Kind, live, o *unstructured.Unstructured, manager string) (any, error) {
	if live != nil {
		if v := o.GetResourceVersion(); v != "" && v != live.GetResourceVersion() {
			return nil, apierrors.NewConflict(gvr.GroupResource(), o.GetName(), fmt.Errorf("resourceVersion is %s", live.GetResourceVersion()))
		}
	}
	s.complete(live, o)
	base := live
	if base == nil {
		base = &unstructured.Unstructured{Object: map[string]any{"apiVersion": kind.APIVersion, "kind": kind.Kind}}
	}
	fields, err := fieldManager(o.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	managed, err := fields.Update(base.DeepCopy(), o, manager)
	if err != nil {
		return nil, err
	}
	return s.keep(gvr, managed.(*unstructured.Unstructured)), nil
}

// apply is a server-side apply.
func (s *Server) apply(gvr schema.GroupVersionResource, kind Kind, live *unstructured.Unstructured, namespace string, body []byte, manager string, force bool) (any, error) {
	var patch unstructured.Unstructured
	if err := decode(body, &patch); err != nil {
		return nil, err
	}
	fields, err := fieldManager(patch.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	base := live
	if base == nil {
		if patch.GetResourceVersion() != "" {
			return nil, apierrors.NewConflict(gvr.GroupResource(), patch.GetName(), fmt.Errorf("there is none"))
		}
		base = &unstructured.Unstructured{Object: map[string]any{"apiVersion": kind.APIVersion, "kind": kind.Kind,
			"metadata": map[string]any{"name": patch.GetName(), "namespace": namespace}}}
	} else if v := patch.GetResourceVersion(); v != "" && v != live.GetResourceVersion() {
		return nil, apierrors.NewConflict(gvr.GroupResource(), patch.GetName(), fmt.Errorf("resourceVersion is %s", live.GetResourceVersion()))
	}
	patch.SetResourceVersion("")
	applied, err := fields.Apply(base.DeepCopy(), &patch, manager, force)
	if err != nil {
		return nil, err
	}
	o := applied.(*unstructured.Unstructured)
	s.complete(live, o)
	return s.keep(gvr, o), nil
}

// complete fills in what a server does.
func (s *Server) complete(live, o *unstructured.Unstructured) {
	if len(o.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
	}
	if live != nil {
		o.SetUID(live.GetUID())
		o.SetCreationTimestamp(live.GetCreationTimestamp())
	} else if o.GetUID() == "" {
		o.SetUID(apitypes.UID(strings.ToLower(o.GetKind() + "-" + o.GetName())))
	}
}

func (s *Server) keep(gvr schema.GroupVersionResource, o *unstructured.Unstructured) *unstructured.Unstructured {
	if o.GetKind() == "HorizontalPodAutoscaler" {
		if _, ok, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicas"); !ok {
			_ = unstructured.SetNestedField(o.Object, int64(1), "spec", "minReplicas") // a fresh map
		}
	}
	if s.dry {
		return o.DeepCopy()
	}
	s.version++
	o.SetResourceVersion(strconv.Itoa(s.version))
	kind := watch.Modified
	if s.objects[gvr][key(o)] == nil {
		kind = watch.Added
	}
	s.objects[gvr][key(o)] = o
	s.changes.add(gvr, s.version, kind, o.DeepCopy())
	return o.DeepCopy()
}

func (s *Server) remove(gvr schema.GroupVersionResource, o *unstructured.Unstructured) {
	if o == nil {
		return
	}
	delete(s.objects[gvr], key(o))
	s.version++
	last := o.DeepCopy()
	last.SetResourceVersion(strconv.Itoa(s.version))
	s.changes.add(gvr, s.version, watch.Deleted, last)
}

func fieldManager(gvk schema.GroupVersionKind) (*managedfields.FieldManager, error) {
	return managedfields.NewDefaultCRDFieldManager(managedfields.NewDeducedTypeConverter(), same{}, same{}, same{}, gvk, gvk.GroupVersion(), "", nil)
}

// same converts, defaults and makes objects where there is one version and
// nothing to default.
type same struct{}

func (same) Convert(in, out, _ any) error { return fmt.Errorf("convert %T to %T", in, out) }
func (same) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}
func (same) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
func (same) Default(runtime.Object) {}
func (same) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(gvk)
	return o, nil
}

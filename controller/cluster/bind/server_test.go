//go:build apiserver

package bind_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// The same promises on the API server that KUBECONFIG names, in a namespace of
// their own:
//
//	KUBECONFIG=... go test -tags apiserver -run TestServer ./controller/cluster/bind
//
// It installs the CustomResourceDefinition of the policies.

const deployed = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}}
    spec: {containers: [{name: a, image: none.invalid/none, resources: {requests: {cpu: 250m, memory: 256Mi}}}]}
`

const scaled = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 8
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
`

type realServer struct {
	*cluster.Client
	t         *testing.T
	namespace string
}

func connect(t *testing.T) *realServer {
	t.Helper()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := cluster.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &realServer{client, t, ""}
	namespaces := client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	ns, err := namespaces.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": "bind-test-"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.namespace = ns.GetName()
	t.Cleanup(func() { _ = namespaces.Delete(context.Background(), s.namespace, metav1.DeleteOptions{}) })
	return s
}

var (
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// apply is a server-side apply by the user, which fails where somebody else
// manages a field.
func (s *realServer) apply(resource schema.GroupVersionResource, namespace, document string) {
	s.t.Helper()
	data, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		s.t.Fatal(err)
	}
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON(data); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Dynamic.Resource(resource).Namespace(namespace).Patch(s.t.Context(), o.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: "kubectl"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *realServer) get(resource schema.GroupVersionResource, name string) *unstructured.Unstructured {
	s.t.Helper()
	o, err := s.Dynamic.Resource(resource).Namespace(s.namespace).Get(s.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

func (s *realServer) spec(resource schema.GroupVersionResource, name string) string {
	s.t.Helper()
	o := s.get(resource, name)
	if o == nil {
		return ""
	}
	data, err := json.Marshal([]any{o.Object["spec"], o.GetAnnotations(), o.GetLabels()})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

func (s *realServer) bind(floor int32) {
	s.t.Helper()
	components, err := s.Components(s.t.Context(), cluster.Scope{Namespaces: []string{s.namespace}})
	if err != nil {
		s.t.Fatal(err)
	}
	f := &fixture{t: s.t, client: s.Client}
	if st := f.write(components, floor, time.Now()); st.Code() != framework.Success {
		s.t.Fatalf("%s: %s", st.Code(), st.Message())
	}
}

func TestServerFloorComesAndGoes(t *testing.T) {
	s := connect(t)
	s.apply(deployments, s.namespace, deployed)
	s.apply(cluster.HPAResource, s.namespace, scaled)
	before := s.spec(cluster.HPAResource, "web")
	for _, floor := range []int32{5, 8, 3} {
		s.bind(floor)
		if n, _, _ := unstructured.NestedInt64(s.get(cluster.HPAResource, "web").Object, "spec", "minReplicas"); n != int64(floor) {
			t.Fatalf("minReplicas %d, want %d", n, floor)
		}
	}
	if _, err := bind.ReleaseAll(t.Context(), s.Client, s.namespace); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, s.spec(cluster.HPAResource, "web")); diff != "" {
		t.Errorf("after release (-want +got):\n%s", diff)
	}
	for _, entry := range s.get(cluster.HPAResource, "web").GetManagedFields() {
		if entry.Manager == cluster.FieldManager {
			t.Errorf("after release, %s still manages %s", entry.Manager, entry.FieldsV1)
		}
	}
	s.apply(cluster.HPAResource, s.namespace, scaled) // without a conflict with us
}

func TestServerOwnedComesAndGoes(t *testing.T) {
	s := connect(t)
	s.apply(deployments, s.namespace, deployed)
	before := s.spec(deployments, "web")
	s.bind(3)
	s.bind(4)
	if o := s.get(cluster.HPAResource, "shop-web"); o == nil || o.GetOwnerReferences()[0].UID != s.get(deployments, "web").GetUID() {
		t.Fatalf("%v, want an autoscaler that the Deployment owns", o)
	}
	// As the autoscaler does.
	scale, err := json.Marshal(map[string]any{"spec": map[string]any{"replicas": 4}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Dynamic.Resource(deployments).Namespace(s.namespace).Patch(t.Context(), "web", types.MergePatchType, scale, metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	if n, err := bind.Expire(t.Context(), s.Client, time.Now().Add(2*time.Hour), s.namespace); n != 1 || err != nil {
		t.Fatalf("expired %d, %v; want 1", n, err)
	}
	if n, _, _ := unstructured.NestedInt64(s.get(cluster.HPAResource, "shop-web").Object, "spec", "minReplicas"); n != 1 {
		t.Errorf("minReplicas %d after the expiry, want 1", n)
	}
	if _, err := bind.ReleaseAll(t.Context(), s.Client, s.namespace); err != nil {
		t.Fatal(err)
	}
	if s.get(cluster.HPAResource, "shop-web") != nil {
		t.Error("the autoscaler should be gone")
	}
	if diff := cmp.Diff(before, s.spec(deployments, "web")); diff != "" {
		t.Errorf("the Deployment (-want +got):\n%s", diff)
	}
}

func TestServerKeepsPoliciesAndTrainValues(t *testing.T) {
	s := connect(t)
	s.apply(definitions, "", string(v1alpha1.CRD))
	s.apply(deployments, s.namespace, deployed)
	components, err := s.Components(t.Context(), cluster.Scope{Namespaces: []string{s.namespace}})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // until the definition is served
		if _, _, err = s.Policies(t.Context(), s.namespace); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if n, err := s.EnsurePolicies(t.Context(), cluster.Policies{}, components); n != 1 || err != nil {
		t.Fatalf("made %d, %v; want 1", n, err)
	}
	policies, _, err := s.Policies(t.Context(), s.namespace)
	if err != nil {
		t.Fatal(err)
	}
	p := policies[cluster.ServiceKey{Namespace: s.namespace, Service: "shop"}]
	if p == nil || p.Spec.Mode != v1alpha1.Mode(schemas.Shadow) {
		t.Fatalf("%+v, want a policy in Shadow", p)
	}
	five := int32(5)
	status := v1alpha1.ScalingPolicyStatus{ObservedGeneration: p.Generation, Mode: schemas.Shadow,
		Components: []v1alpha1.ComponentStatus{{Name: "web", Mode: schemas.Shadow, Floor: &five, Reason: schemas.FloorRaised, Accuracy: map[schemas.Resource]int32{schemas.CPU: 93}}}}
	status.Summarize()
	if _, err := s.UpdateStatus(t.Context(), p, status); err != nil {
		t.Fatal(err)
	}
	if policies, _, err = s.Policies(t.Context(), s.namespace); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(status, policies[cluster.ServiceKey{Namespace: s.namespace, Service: "shop"}].Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	want := cluster.TrainValues{HistoryDays: 7, FutureDays: 2}
	if err := s.SetTrainValues(t.Context(), s.namespace, want); err != nil {
		t.Fatal(err)
	}
	if got, err := s.TrainValues(t.Context(), s.namespace); got != want || err != nil {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

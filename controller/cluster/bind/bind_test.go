package bind_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

var now = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// workload is a Deployment or StatefulSet with one pod. Its requests are YAML.
func workload(kind, requests string) string {
	owner := "apiVersion: apps/v1, kind: StatefulSet, name: web"
	middle := ""
	if kind == "Deployment" {
		owner = "apiVersion: apps/v1, kind: ReplicaSet, name: web-1"
		middle = `
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, uid: rs, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: web, controller: true}]}
spec: {replicas: 2}`
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: web, uid: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}}
    spec: {containers: [{name: a, resources: {requests: %s}}]}%s
---
apiVersion: v1
kind: Pod
metadata:
  name: web-0
  labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}
  ownerReferences: [{%s, uid: x, controller: true}]
spec: {containers: [{name: a, resources: {requests: %s}}]}
status: {phase: Running}
---
`, kind, requests, middle, owner, requests)
}

const both = "{cpu: 250m, memory: 256Mi}"

const userHPA = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, uid: hpa}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 8
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
---
`

const scaledObject = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web, uid: so}
spec:
  scaleTargetRef: {name: web}
  minReplicaCount: 1
  maxReplicaCount: 8
  triggers: [{type: cron, metadata: {start: "0 8 * * *"}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: keda-hpa-web, ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: web, uid: so, controller: true}]}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 8}
---
`

func vpa(policy string) string {
	return `apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}` + policy + `}
---
`
}

// fixture is a cluster with one component, shop/web.
type fixture struct {
	t      testing.TB
	server *clustertest.Server
	client *cluster.Client
}

func start(t testing.TB, documents string) *fixture {
	f := &fixture{t: t, server: clustertest.New(t, clustertest.Kinds()...)}
	f.server.Load("kubectl", documents)
	var err error
	if f.client, err = cluster.NewClient(f.server.Config()); err != nil {
		t.Fatal(err)
	}
	return f
}

// bind makes a run that decides for a floor, and returns how it ended.
func (f *fixture) bind(floor int32, at time.Time) *framework.Status {
	f.t.Helper()
	components, err := f.client.Components(f.t.Context(), cluster.Scope{})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.write(components, floor, at)
}

func (f *fixture) write(components []*cluster.Component, floor int32, at time.Time) *framework.Status {
	f.t.Helper()
	if len(components) != 1 {
		f.t.Fatalf("%d components, want 1", len(components))
	}
	c := components[0]
	policy := c.BasePolicy()
	policy.Mode = schemas.Auto
	d := &schemas.Decision{
		Component: c.ID, Time: at, Policy: policy, MinReplicas: floor, MaxReplicas: policy.MaxReplicas,
		Reason: schemas.FloorRaised, Message: "test", Expires: at.Add(time.Hour),
	}
	candidate := &framework.Candidate{Component: c.ID, Now: at, Policy: policy, Requests: c.Requests, Target: c.Target}
	w := bind.NewWriter(f.client, components)
	for _, b := range []framework.BindPlugin{bind.Floor(w), bind.ScaledObject(w), bind.OwnedHPA(w)} {
		if st := b.Bind(f.t.Context(), nil, candidate, d); st.Code() != framework.Skip {
			return st.WithPlugin(b.Name())
		}
	}
	return framework.NewStatus(framework.Skip, "", "no binder")
}

// everything returns all objects as they were given, without what a server adds.
func (f *fixture) everything() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	for _, r := range []string{"deployments", "statefulsets", "horizontalpodautoscalers", "scaledobjects", "verticalpodautoscalers"} {
		for _, name := range []string{"web", "other", "keda-hpa-web", "shop-web"} {
			o := f.server.Get(r, "default", name)
			if o == nil {
				continue
			}
			o.SetManagedFields(nil)
			o.SetResourceVersion("")
			data, err := json.Marshal(o.Object)
			if err != nil {
				f.t.Fatal(err)
			}
			out[r+"/"+name] = string(data)
		}
	}
	return out
}

func (f *fixture) number(resource, name, field string) int64 {
	f.t.Helper()
	o := f.server.Get(resource, "default", name)
	if o == nil {
		return -1
	}
	n, _, _ := unstructured.NestedInt64(o.Object, "spec", field)
	return n
}

// What is in the cluster, what an install does there, and what an uninstall
// leaves: always what was found.
func TestMatrix(t *testing.T) {
	const other = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: other}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 3}
---
`
	for _, tt := range []struct {
		name, cluster string
		// where the floor of 5 ends up, as in "horizontalpodautoscalers/web minReplicas"
		where   string
		binder  string
		code    framework.Code
		reason  schemas.Reason
		message string
	}{
		{name: "no autoscaler: one of ours", cluster: workload("Deployment", both),
			where: "horizontalpodautoscalers/shop-web minReplicas", binder: bind.OwnedHPAName},
		{name: "a StatefulSet: the same", cluster: workload("StatefulSet", both),
			where: "horizontalpodautoscalers/shop-web minReplicas", binder: bind.OwnedHPAName},
		{name: "CPU request only: one of ours, by CPU", cluster: workload("Deployment", "{cpu: 250m}"),
			where: "horizontalpodautoscalers/shop-web minReplicas", binder: bind.OwnedHPAName},
		{name: "no requests: nothing to scale by", cluster: workload("Deployment", "{}"),
			binder: bind.OwnedHPAName, code: framework.Rejected, reason: schemas.NoRequests, message: "must request cpu or memory"},
		{name: "a user's autoscaler: its least number", cluster: workload("Deployment", both) + userHPA,
			where: "horizontalpodautoscalers/web minReplicas", binder: bind.FloorName},
		{name: "a ScaledObject: its least number, not that of the autoscaler under it", cluster: workload("Deployment", both) + scaledObject,
			where: "scaledobjects/web minReplicaCount", binder: bind.ScaledObjectName},
		{name: "a paused ScaledObject: none", cluster: workload("Deployment", both) + strings.Replace(scaledObject, "name: web, uid: so}", `name: web, uid: so, annotations: {autoscaling.keda.sh/paused-replicas: "0"}}`, 1),
			binder: bind.FloorName, code: framework.Rejected, reason: schemas.TargetNotScalable, message: "ScaledObject/web is paused"},
		{name: "two autoscalers: none", cluster: workload("Deployment", both) + userHPA + other,
			binder: bind.FloorName, code: framework.Rejected, reason: schemas.TargetNotScalable,
			message: "Deployment/web is scaled by HorizontalPodAutoscaler/other and HorizontalPodAutoscaler/web"},
		{name: "a ScaledObject and an autoscaler beside it: none", cluster: workload("Deployment", both) + scaledObject + other,
			binder: bind.FloorName, code: framework.Rejected, reason: schemas.TargetNotScalable,
			message: "Deployment/web is scaled by HorizontalPodAutoscaler/other and ScaledObject/web"},
		{name: "a vertical autoscaler of CPU: none", cluster: workload("Deployment", both) + userHPA + vpa(""),
			binder: bind.FloorName, code: framework.Rejected, reason: schemas.TargetNotScalable, message: "VerticalPodAutoscaler/web moves the cpu requests of Deployment/web"},
		{name: "a vertical autoscaler of another resource: a floor", cluster: workload("Deployment", both) + userHPA + vpa(`, resourcePolicy: {containerPolicies: [{containerName: "*", controlledResources: [memory]}]}`),
			where: "horizontalpodautoscalers/web minReplicas", binder: bind.FloorName},
		{name: "a vertical autoscaler that only recommends: a floor", cluster: workload("Deployment", both) + userHPA + vpa(`, updatePolicy: {updateMode: "Off"}`),
			where: "horizontalpodautoscalers/web minReplicas", binder: bind.FloorName},
		{name: "an autoscaler that something else keeps: none",
			cluster: workload("Deployment", both) + strings.Replace(userHPA, "uid: hpa}", "uid: hpa, ownerReferences: [{apiVersion: x/v1, kind: Platform, name: p, uid: p, controller: true}]}", 1),
			binder:  bind.FloorName, code: framework.Rejected, reason: schemas.TargetNotScalable, message: "HorizontalPodAutoscaler/web is kept by Platform/p"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.cluster)
			before := f.everything()
			st := f.bind(5, now)
			if st.Code() != tt.code || st.Reason() != tt.reason || !strings.Contains(st.Message(), tt.message) {
				t.Fatalf("install: %s %s %q, want %s %s %q", st.Code(), st.Reason(), st.Message(), tt.code, tt.reason, tt.message)
			}
			if tt.code != framework.Success {
				if diff := cmp.Diff(before, f.everything()); diff != "" {
					t.Errorf("nothing should be written (-want +got):\n%s", diff)
				}
			}
			if tt.code == framework.Success {
				object, field, _ := strings.Cut(tt.where, " ")
				resource, name, _ := strings.Cut(object, "/")
				for _, change := range []int32{5, 7, 4} {
					if st := f.bind(change, now); !st.IsSuccess() {
						t.Fatalf("change to %d: %s", change, st.Message())
					}
					if got := f.number(resource, name, field); got != int64(change) {
						t.Fatalf("%s is %d, want %d", tt.where, got, change)
					}
				}
			}
			if tt.binder == bind.OwnedHPAName { // what an autoscaler does to its workload
				f.server.Load("kube-controller-manager", strings.Replace(tt.cluster, "  replicas: 2", "  replicas: 6", 1))
			}
			if _, err := bind.ReleaseAll(t.Context(), f.client); err != nil {
				t.Fatal(err)
			}
			if tt.binder == bind.OwnedHPAName && tt.code != framework.Success {
				f.server.Load("kubectl", tt.cluster) // it was none of ours
			}
			if diff := cmp.Diff(before, f.everything()); diff != "" {
				t.Errorf("uninstall should leave what install found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAGitOpsToolKeepsItsField(t *testing.T) {
	for _, tool := range []string{"argocd-controller", "kustomize-controller", "helm-controller"} {
		t.Run(tool, func(t *testing.T) {
			f := start(t, workload("Deployment", both))
			f.server.Load(tool, userHPA)
			st := f.bind(5, now)
			if st.Code() != framework.Rejected || !strings.Contains(st.Message(), "minReplicas is set by "+tool) {
				t.Fatalf("%s %q, want a rejection that names %s", st.Code(), st.Message(), tool)
			}
		})
		t.Run(tool+" may be told to pass over it", func(t *testing.T) {
			f := start(t, workload("Deployment", both))
			f.server.Load(tool, strings.Replace(userHPA, "uid: hpa}", `uid: hpa, annotations: {self-scaling.github.io/adopt: "true"}}`, 1))
			if st := f.bind(5, now); !st.IsSuccess() || f.number("horizontalpodautoscalers", "web", "minReplicas") != 5 {
				t.Errorf("%s %q, want a floor of 5", st.Code(), st.Message())
			}
		})
		t.Run(tool+" may leave the field out", func(t *testing.T) {
			f := start(t, workload("Deployment", both))
			f.server.Load(tool, strings.Replace(userHPA, "  minReplicas: 2\n", "", 1))
			if st := f.bind(5, now); !st.IsSuccess() || f.number("horizontalpodautoscalers", "web", "minReplicas") != 5 {
				t.Errorf("%s %q, want a floor of 5", st.Code(), st.Message())
			}
		})
	}
}

func TestAFloorIsOneFieldOfOurs(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	if st := f.bind(5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	o := f.server.Get("horizontalpodautoscalers", "default", "web")
	for _, entry := range o.GetManagedFields() {
		if entry.Manager != cluster.FieldManager {
			continue
		}
		var fields map[string]map[string]any
		if err := json.Unmarshal(entry.FieldsV1.Raw, &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields["f:spec"], ".")
		if diff := cmp.Diff(map[string]any{"f:minReplicas": map[string]any{}}, fields["f:spec"]); diff != "" {
			t.Errorf("fields of the spec that are ours (-want +got):\n%s", diff)
		}
		if entry.Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("operation %s, want Apply", entry.Operation)
		}
	}
	want := map[string]string{
		cluster.AnnotationComponent: "default/shop/web", cluster.AnnotationFloor: "5",
		cluster.AnnotationUserMinReplicas: "2", cluster.AnnotationExpires: "2026-03-09T13:00:00Z",
	}
	if diff := cmp.Diff(want, o.GetAnnotations()); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if _, err := bind.ReleaseAll(t.Context(), f.client); err != nil {
		t.Fatal(err)
	}
	for _, entry := range f.server.Get("horizontalpodautoscalers", "default", "web").GetManagedFields() {
		if entry.Manager == cluster.FieldManager {
			t.Errorf("after release, %s still owns %s", entry.Manager, entry.FieldsV1)
		}
	}
}

func TestTheUsersBoundsHold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		decided int32
		want    int64
	}{
		{"above the upper one", 50, 8},
		{"at the upper one", 8, 8},
		{"at the lower one", 2, 2},
		{"below the lower one", 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, workload("Deployment", both)+userHPA)
			if st := f.bind(tt.decided, now); !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			if got := f.number("horizontalpodautoscalers", "web", "minReplicas"); got != tt.want {
				t.Errorf("minReplicas %d, want %d", got, tt.want)
			}
		})
	}
}

func TestANumberThatTheUserChangesMeanwhileIsTheirs(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	if st := f.bind(5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	f.server.Load("kubectl", strings.Replace(userHPA, "minReplicas: 2", "minReplicas: 3", 1))
	if st := f.bind(6, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	if got := f.number("horizontalpodautoscalers", "web", "minReplicas"); got != 6 {
		t.Fatalf("minReplicas %d, want 6", got)
	}
	if _, err := bind.ReleaseAll(t.Context(), f.client); err != nil {
		t.Fatal(err)
	}
	if got := f.number("horizontalpodautoscalers", "web", "minReplicas"); got != 3 {
		t.Errorf("minReplicas %d after release, want the user's new 3", got)
	}
}

func TestANumberThatTheUserChangesDuringTheRunIsSeen(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	components, err := f.client.Components(t.Context(), cluster.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	f.server.Load("kubectl", strings.Replace(userHPA, "minReplicas: 2", "minReplicas: 7", 1))
	if st := f.write(components, 5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	if got := f.number("horizontalpodautoscalers", "web", "minReplicas"); got != 7 {
		t.Errorf("minReplicas %d, want the user's 7: it is above the floor", got)
	}
}

func TestNothingIsWrittenWhereNothingChanged(t *testing.T) {
	for name, documents := range map[string]string{
		"a user's autoscaler": workload("Deployment", both) + userHPA,
		"a ScaledObject":      workload("Deployment", both) + scaledObject,
		"one of ours":         workload("Deployment", both),
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, documents)
			for _, at := range []time.Duration{0, 15, 30} {
				if st := f.bind(5, now.Add(at*time.Minute)); !st.IsSuccess() {
					t.Fatal(st.Message())
				}
				if n := len(f.server.Writes()); at > 0 && n != 0 {
					t.Errorf("%d writes after %d minutes, want none", n, at)
				}
			}
			f.bind(5, now.Add(45*time.Minute))
			if n := len(f.server.Writes()); n != 1 {
				t.Errorf("%d writes when the expiry comes near, want 1", n)
			}
		})
	}
}

func TestAnExpiredFloorGoes(t *testing.T) {
	for _, tt := range []struct{ name, documents, object, field string }{
		{"from a user's autoscaler", workload("Deployment", both) + userHPA, "horizontalpodautoscalers/web", "minReplicas"},
		{"from a ScaledObject", workload("Deployment", both) + scaledObject, "scaledobjects/web", "minReplicaCount"},
		{"from one of ours, which stays", workload("Deployment", both), "horizontalpodautoscalers/shop-web", "minReplicas"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.documents)
			resource, name, _ := strings.Cut(tt.object, "/")
			user := f.number(resource, name, tt.field)
			if user < 0 {
				user = 1 // the operator's own, by default
			}
			if st := f.bind(5, now); !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			for _, step := range []struct {
				after    time.Duration
				released int
				want     int64
			}{{59 * time.Minute, 0, 5}, {time.Hour, 1, user}, {2 * time.Hour, 0, user}} {
				n, err := bind.Expire(t.Context(), f.client, now.Add(step.after))
				if err != nil || n != step.released {
					t.Errorf("after %s: released %d, %v; want %d", step.after, n, err, step.released)
				}
				if got := f.number(resource, name, tt.field); got != step.want {
					t.Errorf("after %s: %s is %d, want %d", step.after, tt.field, got, step.want)
				}
			}
		})
	}
}

func TestOursMakesRoomForTheUsers(t *testing.T) {
	for name, yield := range map[string]func(f *fixture) error{
		"at the next run":   func(f *fixture) error { return f.bind(5, now).Err() },
		"as soon as a look": func(f *fixture) error { _, err := bind.Yield(f.t.Context(), f.client); return err },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, workload("Deployment", both))
			if st := f.bind(5, now); !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			f.server.Load("kubectl", userHPA)
			if err := yield(f); err != nil {
				t.Fatal(err)
			}
			if f.server.Get("horizontalpodautoscalers", "default", "shop-web") != nil || f.server.Get("horizontalpodautoscalers", "default", "web") == nil {
				t.Error("want the user's autoscaler alone")
			}
		})
	}
}

func TestAnAutoscalerOfOursIsWhole(t *testing.T) {
	f := start(t, workload("Deployment", "{cpu: 250m}"))
	if st := f.bind(5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	o := f.server.Get("horizontalpodautoscalers", "default", "shop-web")
	want := map[string]any{
		"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
		"minReplicas":    int64(5), "maxReplicas": int64(10),
		"metrics": []any{map[string]any{"type": "Resource", "resource": map[string]any{
			"name": "cpu", "target": map[string]any{"type": "Utilization", "averageUtilization": int64(70)}}}},
	}
	if diff := cmp.Diff(want, o.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "web"}}, o.GetOwnerReferences()); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	if o.GetLabels()["app.kubernetes.io/managed-by"] != "self-scaling" || o.GetLabels()["service"] != "shop" {
		t.Errorf("labels are %v", o.GetLabels())
	}
}

func TestAnAutoscalerOfTheSameNameIsNotTakenOver(t *testing.T) {
	f := start(t, workload("Deployment", both)+strings.NewReplacer("name: web, uid: hpa", "name: shop-web", "name: web}", "name: elsewhere}").Replace(userHPA))
	st := f.bind(5, now)
	if st.Code() != framework.Rejected || !strings.Contains(st.Message(), "HorizontalPodAutoscaler/shop-web is there already") {
		t.Errorf("%s %q, want a rejection", st.Code(), st.Message())
	}
}

func TestAnAutoscalerOfAnotherWorkloadThatSelectsThePodsIsNotMadeAmbiguous(t *testing.T) {
	f := start(t, workload("Deployment", both)+`apiVersion: apps/v1
kind: Deployment
metadata: {name: wide}
spec: {replicas: 1, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}}}
---
`+strings.ReplaceAll(userHPA, "name: web", "name: wide"))
	st := f.bind(5, now)
	if st.Code() != framework.Rejected || !strings.Contains(st.Message(), "HorizontalPodAutoscaler/wide of Deployment/wide selects pod web-0 too") {
		t.Errorf("%s %q, want a rejection", st.Code(), st.Message())
	}
}

func TestWhatWeMayNoLongerHoldIsGivenBack(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	before := f.everything()
	if st := f.bind(5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	f.server.Load("kubectl", vpa(""))
	if st := f.bind(5, now); st.Code() != framework.Rejected {
		t.Fatalf("%s, want a rejection", st.Code())
	}
	f.server.Delete("verticalpodautoscalers", "default", "web")
	if diff := cmp.Diff(before, f.everything()); diff != "" {
		t.Errorf("the floor should be gone (-want +got):\n%s", diff)
	}
}

func TestReleaseSparesWhatIsKept(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	if st := f.bind(5, now); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	n, err := bind.ReleaseExcept(t.Context(), f.client, func(id schemas.ComponentID) bool { return id.String() == "default/shop/web" })
	if n != 0 || err != nil || f.number("horizontalpodautoscalers", "web", "minReplicas") != 5 {
		t.Errorf("released %d, %v; want the floor to stay", n, err)
	}
}

func TestAServerThatRefusesIsAnErrorThatNamesTheObject(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	f.server.Fail = func(method, path string) *apierrors.StatusError {
		if method == http.MethodPatch {
			return apierrors.NewForbidden(cluster.HPAResource.GroupResource(), "web", fmt.Errorf("no"))
		}
		return nil
	}
	st := f.bind(5, now)
	if schemas.CodeOf(st.Err()) != schemas.CodeInvalidConfig || !strings.Contains(st.Message(), "write HorizontalPodAutoscaler/web in default") {
		t.Errorf("%s %q, want an error that names the autoscaler", st.Code(), st.Message())
	}
}

// Whatever happens to a floor, and whatever the user does to their number
// meanwhile, an uninstall leaves the user's object with the user's last number.
func TestReleaseRestoresEveryHistory(t *testing.T) {
	f := start(t, "")
	rapid.Check(t, func(r *rapid.T) {
		keda := rapid.Bool().Draw(r, "keda")
		object, resource, name, field := userHPA, "horizontalpodautoscalers", "web", "minReplicas"
		given := "minReplicas: 2"
		if keda {
			object, _, _ = strings.Cut(scaledObject, "---\n")
			resource, field, given = "scaledobjects", "minReplicaCount", "minReplicaCount: 1"
		}
		f.server.Delete("horizontalpodautoscalers", "default", "web")
		f.server.Delete("scaledobjects", "default", "web")
		f.server.Load("kubectl", workload("Deployment", both)+object)
		for _, action := range rapid.SliceOfN(rapid.SampledFrom([]string{"bind", "user", "expire", "release"}), 1, 8).Draw(r, "actions") {
			at := now.Add(time.Duration(rapid.IntRange(0, 90).Draw(r, "minutes")) * time.Minute)
			switch action {
			case "bind":
				if st := f.bind(rapid.Int32Range(1, 12).Draw(r, "floor"), at); !st.IsSuccess() {
					r.Fatal(st.Message())
				}
			case "user":
				// The very number of the floor is no change that anybody could see.
				live, number := f.number(resource, name, field), rapid.Int64Range(1, 8).Draw(r, "number")
				if number == live {
					continue
				}
				changed := fmt.Sprintf("%s: %d", field, number)
				object = strings.Replace(object, given, changed, 1)
				given = changed
				annotations, _ := json.Marshal(f.server.Get(resource, "default", name).GetAnnotations()) // as kubectl apply: what we added stays
				f.server.Load("kubectl", strings.Replace(object, "name: web, uid:", "name: web, annotations: "+string(annotations)+", uid:", 1))
			case "expire":
				if _, err := bind.Expire(t.Context(), f.client, at); err != nil {
					r.Fatal(err)
				}
			case "release":
				if _, err := bind.ReleaseAll(t.Context(), f.client); err != nil {
					r.Fatal(err)
				}
			}
		}
		if _, err := bind.ReleaseAll(t.Context(), f.client); err != nil {
			r.Fatal(err)
		}
		got := f.everything()
		f.server.Delete(resource, "default", name)
		f.server.Load("kubectl", object)
		if diff := cmp.Diff(f.everything(), got); diff != "" {
			r.Fatalf("after release (-want +got):\n%s", diff)
		}
	})
}

// all returns a reason for every component, or none.
func all(why string) func(schemas.ComponentID) string {
	return func(schemas.ComponentID) string { return why }
}

func TestSweepGivesBackWhatNobodyHolds(t *testing.T) {
	for _, tt := range []struct {
		name, documents, why string
		after                time.Duration
		want                 string
	}{
		{"nothing, while the floor holds", workload("Deployment", both) + userHPA, "", 59 * time.Minute, ""},
		{"a floor that has expired", workload("Deployment", both) + userHPA, "", time.Hour, "default/shop/web HorizontalPodAutoscaler/web 5 2: it has expired"},
		{"a floor that may not be any more", workload("Deployment", both) + userHPA, "the mode is Off", 0, "default/shop/web HorizontalPodAutoscaler/web 5 2: the mode is Off"},
		{"that of a ScaledObject", workload("Deployment", both) + scaledObject, "the mode is Off", 0, "default/shop/web ScaledObject/web 5 1: the mode is Off"},
		{"one of ours that has expired, which stays", workload("Deployment", both), "", time.Hour, "default/shop/web HorizontalPodAutoscaler/shop-web 5 1: it has expired"},
		{"one of ours, whole", workload("Deployment", both), "the mode is Shadow", 0, "default/shop/web HorizontalPodAutoscaler/shop-web 5 none: the mode is Shadow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.documents)
			before := f.everything()
			if st := f.bind(5, now); !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			back, err := bind.Sweep(t.Context(), f.client, now.Add(tt.after), all(tt.why))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, b := range back {
				after := "none"
				if b.After != nil {
					after = fmt.Sprint(*b.After)
				}
				got += fmt.Sprintf("%s %s %d %s: %s", b.Component, b.Autoscaler, *b.Before, after, b.Why)
			}
			if got != tt.want {
				t.Errorf("gave back %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(before, f.everything()); tt.why != "" && diff != "" {
				t.Errorf("afterwards all should be as before (-want +got):\n%s", diff)
			}
			f.server.Writes()
			if _, err := bind.Sweep(t.Context(), f.client, now.Add(tt.after), all(tt.why)); err != nil || len(f.server.Writes()) != 0 {
				t.Errorf("a second sweep wrote something, %v", err)
			}
		})
	}
}

func TestSweepLeavesWhatBearsNoMarkOfOurs(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	f.server.Writes()
	back, err := bind.Sweep(t.Context(), f.client, now, all("the mode is Off"))
	if writes := f.server.Writes(); err != nil || len(back) != 0 || len(writes) != 0 {
		t.Errorf("gave back %v, %v, and wrote %v; want nothing", back, err, writes)
	}
}

func TestSweepGoesOnAfterAnError(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA+strings.ReplaceAll(userHPA, "name: web", "name: other"))
	marked := `{self-scaling.github.io/component: default/shop/%[1]s, self-scaling.github.io/floor: "2", self-scaling.github.io/user-min-replicas: "1"}`
	for _, name := range []string{"other", "web"} {
		f.server.Load("self-scaling", strings.Replace(strings.ReplaceAll(userHPA, "name: web", "name: "+name), "uid: hpa}", "annotations: "+fmt.Sprintf(marked, name)+"}", 1))
	}
	f.server.Fail = func(method, path string) *apierrors.StatusError {
		if method == http.MethodPatch && strings.HasSuffix(path, "/other") {
			return apierrors.NewInternalError(fmt.Errorf("a webhook does not answer"))
		}
		return nil
	}
	back, err := bind.Sweep(t.Context(), f.client, now, all("the mode is Off"))
	if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(err.Error(), "HorizontalPodAutoscaler/other in default") || len(back) != 1 || back[0].Component.Component != "web" {
		t.Errorf("gave back %v, %v; want web, and an error about other", back, err)
	}
}

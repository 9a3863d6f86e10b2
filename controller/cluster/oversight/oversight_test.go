package oversight_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/oversight"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

var noon = time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)

// workload is a Deployment with a pod, and what an autoscaler of the user's has in its
// metadata besides its name, "-" for no autoscaler.
func workload(service, component, autoscaler string) string {
	labels := fmt.Sprintf("{service: %s, app.kubernetes.io/servicecomponent: %s, app: %s}", service, component, component)
	out := fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, uid: %[1]s}
spec: {replicas: 2, selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: %[2]s}, spec: {containers: [{name: a}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: %[1]s-1, uid: %[1]s-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: %[1]s, uid: %[1]s, controller: true}]}
spec: {replicas: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s-1-a, labels: %[2]s, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: %[1]s-1, uid: %[1]s-1, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
status: {phase: Running}
---
`, component, labels)
	if autoscaler != "-" {
		out += fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s, uid: hpa-%[1]s%[2]s}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}, minReplicas: 5, maxReplicas: 8}
---
`, component, autoscaler)
	}
	return out
}

// floorUntil is the metadata of an autoscaler with a floor of 5 above the user's 2.
func floorUntil(component string, at time.Time) string {
	return fmt.Sprintf(`, annotations: {self-scaling.github.io/floor: "5", self-scaling.github.io/user-min-replicas: "2", self-scaling.github.io/expires: "%s", self-scaling.github.io/component: %s}`,
		at.Format(time.RFC3339), "default/shop/"+component)
}

func policy(service, spec string) string {
	return fmt.Sprintf("apiVersion: self-scaling.github.io/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: %[1]s, uid: policy-%[1]s, generation: 3}\nspec: {service: %[1]s, %[2]s}\n---\n", service, spec)
}

type fixture struct {
	*oversight.Oversight
	t      testing.TB
	server *clustertest.Server
	clock  *clocktesting.FakePassiveClock
}

func start(t testing.TB, documents string, change ...func(*oversight.Options)) *fixture {
	server := clustertest.New(t, clustertest.Kinds()...)
	for _, doc := range strings.Split(documents, "\n---\n") {
		manager := "kubectl"
		if strings.Contains(doc, cluster.AnnotationFloor) {
			manager = cluster.FieldManager
		}
		server.Load(manager, doc)
	}
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, server: server, clock: clocktesting.NewFakePassiveClock(noon)}
	opts := oversight.Options{Clock: f.clock}
	for _, c := range change {
		c(&opts)
	}
	f.Oversight = oversight.New(client, opts)
	return f
}

// keepCopy has the oversight work on a copy of the cluster, which is as new as the server
// until it is held.
func (f *fixture) keepCopy() {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	f.t.Cleanup(func() { cancel(); running.Wait() })
	// With a copy, and nothing to do, tending costs no request.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		before := f.server.Lists("horizontalpodautoscalers")
		if _, err := f.Tend(f.t.Context(), noon, func(schemas.ComponentID) bool { return true }); err != nil {
			f.t.Fatal(err)
		}
		if f.server.Lists("horizontalpodautoscalers") == before {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("there is no copy")
		}
	}
}

func (f *fixture) discover() []controller.Component {
	f.t.Helper()
	found, err := f.Discover(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

func id(component string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: "shop", Component: component}
}

func TestDiscover(t *testing.T) {
	five, hour := int32(5), noon.Add(time.Hour)
	seen := func(mode schemas.Mode, change func(*controller.Component)) controller.Component {
		c := controller.Component{ID: id("web"), Mode: mode, Target: "Deployment/web", Replicas: 2}
		change(&c)
		return c
	}
	none := func(*controller.Component) {}
	for _, tt := range []struct {
		name, documents string
		want            controller.Component
	}{
		{"a new service is in mode Shadow", workload("shop", "web", "-"), seen(schemas.Shadow, none)},
		{"what its operator wants", workload("shop", "web", "") + policy("shop", "mode: Auto"), seen(schemas.Auto, none)},
		{"what they want of the component", workload("shop", "web", "") + policy("shop", `mode: Auto, components: [{name: web, mode: "Off"}]`), seen(schemas.Off, none)},
		{"a floor in force", workload("shop", "web", floorUntil("web", hour)) + policy("shop", "mode: Auto"), seen(schemas.Auto, func(c *controller.Component) { c.Floor, c.Expires = &five, hour })},
		{"a floor that somebody else has changed", strings.Replace(workload("shop", "web", floorUntil("web", hour)), "minReplicas: 5", "minReplicas: 3", 1) + policy("shop", "mode: Auto"), seen(schemas.Auto, none)},
		{"a conflict", workload("shop", "web", "") + strings.ReplaceAll(workload("shop", "web", ""), "name: web, uid: hpa-web", "name: second, uid: second"), seen(schemas.Shadow, func(c *controller.Component) {
			c.Conflict = "Deployment/web is scaled by HorizontalPodAutoscaler/second and HorizontalPodAutoscaler/web"
		})},
		{"a policy that breaks a rule", workload("shop", "web", "") + policy("shop", "mode: Auto, minReplicas: 9, maxReplicas: 3"), seen("", func(c *controller.Component) {
			c.Problem = "ScalingPolicy default/shop: component web: maxReplicas must be from minReplicas (9) to 100000, but is 3"
		})},
		{"a policy that cannot be read", workload("shop", "web", "") + policy("shop", "mode: Auto, maxReplicas: many"), seen("", func(c *controller.Component) {
			c.Problem = "ScalingPolicy default/shop: json: cannot unmarshal string"
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.documents)
			got := f.discover()
			if strings.HasPrefix(got[0].Problem, tt.want.Problem+" ") { // the rest is the library's
				got[0].Problem = tt.want.Problem
			}
			if diff := cmp.Diff([]controller.Component{tt.want}, got); diff != "" {
				t.Errorf("components (-want +got):\n%s", diff)
			}
			made := f.server.Get("scalingpolicies", "default", "shop")
			if made == nil {
				t.Fatal("the service has no policy")
			}
			f.server.Writes()
			f.discover()
			if w := f.server.Writes(); len(w) > 0 {
				t.Errorf("a second look writes %v", w)
			}
		})
	}
}

func TestAPolicyThatCannotBeMadeKeepsNobodyFromBeingSeen(t *testing.T) {
	f := start(t, workload("shop", "web", ""))
	f.server.Fail = func(method, path string) *apierrors.StatusError {
		if method == http.MethodPost {
			return apierrors.NewForbidden(v1alpha1.GroupVersionResource.GroupResource(), "shop", fmt.Errorf("no"))
		}
		return nil
	}
	if found := f.discover(); len(found) != 1 || found[0].Mode != schemas.Shadow {
		t.Errorf("components are %+v", found)
	}
	_, err := f.Publish(t.Context(), nil)
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "create ScalingPolicy default/shop") {
		t.Errorf("error %v, want one that says what is forbidden", err)
	}
}

func TestTend(t *testing.T) {
	owned := strings.Replace(floorUntil("own", noon.Add(time.Hour)), "annotations: {", `annotations: {self-scaling.github.io/owned: "true", `, 1)
	f := start(t, workload("shop", "held", floorUntil("held", noon.Add(time.Hour)))+
		workload("shop", "late", floorUntil("late", noon))+
		workload("shop", "ended", floorUntil("ended", noon.Add(time.Hour)))+
		workload("shop", "own", "")+
		strings.ReplaceAll(workload("shop", "own", owned), "name: own, uid: hpa-own", "name: shop-own, uid: shop-own"))
	keep := func(c schemas.ComponentID) bool { return c.Component != "ended" }
	want := controller.Tended{Expired: []schemas.ComponentID{id("late")}, Released: []schemas.ComponentID{id("ended")}, Yielded: []schemas.ComponentID{id("own")}}
	for _, want := range []controller.Tended{want, {}} {
		got, err := f.Tend(t.Context(), noon, keep)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("tended (-want +got):\n%s", diff)
		}
	}
	for name, want := range map[string]int64{"held": 5, "late": 2, "ended": 2, "own": 5} {
		o := f.server.Get("horizontalpodautoscalers", "default", name)
		if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicas"); n != want {
			t.Errorf("minReplicas of %s is %d, want %d", name, n, want)
		}
	}
	if f.server.Get("horizontalpodautoscalers", "default", "shop-own") != nil {
		t.Error("our autoscaler stays beside the user's")
	}
}

func TestPublishWritesWhatHasChanged(t *testing.T) {
	f := start(t, workload("shop", "web", "")+policy("shop", "mode: Auto")+policy("gone", "mode: Auto"))
	states := []controller.State{{Component: f.discover()[0], Reason: schemas.FloorKept, Message: "because", LastForecast: noon}}
	publish := func(writes int) {
		t.Helper()
		f.discover()
		n, err := f.Publish(t.Context(), states)
		if w := f.server.Writes(); err != nil || n != writes || len(w) != writes {
			t.Errorf("%d statuses written, %v, with %v; want %d", n, err, w, writes)
		}
	}
	f.server.Writes()
	publish(2)
	publish(0)
	f.clock.SetTime(noon.Add(time.Minute))
	publish(0)
	states[0].LastForecast = noon.Add(time.Minute)
	publish(1)
	o := f.server.Get("scalingpolicies", "default", "gone")
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	if first := conditions[0].(map[string]any); first["reason"] != "NoComponents" || first["status"] != "False" {
		t.Errorf("condition of a service that is gone is %v", first)
	}
}

func TestPublishLeavesRoomForOthers(t *testing.T) {
	documents, n := "", 7
	for i := range n {
		documents += workload(fmt.Sprint("s", i), fmt.Sprint("web", i), "") + policy(fmt.Sprint("s", i), "mode: Auto")
	}
	f := start(t, documents, func(o *oversight.Options) { o.Writes = 3 })
	var states []controller.State
	for _, c := range f.discover() {
		states = append(states, controller.State{Component: c, Reason: schemas.FloorKept})
	}
	for _, want := range []int{3, 3, 1, 0} {
		f.discover()
		if got, err := f.Publish(t.Context(), states); got != want || err != nil {
			t.Errorf("%d statuses written, %v; want %d", got, err, want)
		}
	}
	// What holds comes before what is merely newer.
	for i := range states {
		states[i].LastForecast = noon
	}
	states[n-1].Reason, states[n-1].Message = schemas.StaleSamples, "because"
	f.discover()
	f.server.Writes()
	if _, err := f.Publish(t.Context(), states); err != nil {
		t.Fatal(err)
	}
	last := states[n-1].ID.Service
	if w := f.server.Writes(); len(w) != 3 || w[0] != "PATCH scalingpolicies/"+last+"/status" {
		t.Errorf("writes are %v, want that of %s first", w, last)
	}
}

func TestStatus(t *testing.T) {
	five := int32(5)
	instant := func(at time.Time) *metav1.Time { v := metav1.NewTime(at); return &v }
	earlier := noon.Add(-time.Hour)
	good := controller.State{
		Component: controller.Component{ID: id("web"), Mode: schemas.Auto, Target: "Deployment/web", Floor: &five, Expires: noon.Add(time.Hour + time.Millisecond)},
		Asked:     &five, Reason: schemas.FloorRaised, Message: "because", LastForecast: noon, Accuracy: map[schemas.Resource]int32{schemas.CPU: 93},
	}
	with := func(s controller.State, change func(*controller.State)) controller.State { change(&s); return s }
	shadow := with(good, func(s *controller.State) { s.ID, s.Mode, s.Floor, s.Accuracy = id("db"), schemas.Shadow, nil, nil })
	condition := func(typ string, status metav1.ConditionStatus, reason, message string, since time.Time) metav1.Condition {
		return metav1.Condition{Type: typ, Status: status, Reason: reason, Message: message, ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(since)}
	}
	calm := condition("Conflict", metav1.ConditionFalse, "NoConflict", "nobody else owns a number of replicas", noon)
	p := &v1alpha1.ScalingPolicy{Spec: v1alpha1.ScalingPolicySpec{Service: "shop", Settings: v1alpha1.Settings{Mode: v1alpha1.Mode(schemas.Auto)}}}
	p.Generation = 3
	for _, tt := range []struct {
		name   string
		before v1alpha1.ScalingPolicyStatus
		states []controller.State
		want   v1alpha1.ScalingPolicyStatus
	}{
		{"all is carried out", v1alpha1.ScalingPolicyStatus{}, []controller.State{shadow, good}, v1alpha1.ScalingPolicyStatus{
			Conditions:   []metav1.Condition{condition("Ready", metav1.ConditionTrue, "Scaled", "every component in mode Auto is carried out", noon), calm},
			LastForecast: instant(noon), Summary: "1/2", Replicas: "db=5 web=5",
			Components: []v1alpha1.ComponentStatus{
				{Name: "db", Mode: schemas.Shadow, Target: "Deployment/web", Floor: &five, Reason: schemas.FloorRaised, Message: "because", LastForecast: instant(noon)},
				{Name: "web", Mode: schemas.Auto, Target: "Deployment/web", Floor: &five, Applied: true, Expires: instant(noon.Add(time.Hour)), Reason: schemas.FloorRaised, Message: "because",
					LastForecast: instant(noon), Accuracy: map[schemas.Resource]int32{schemas.CPU: 93}},
			},
		}},
		{"nothing is to be carried out", v1alpha1.ScalingPolicyStatus{}, []controller.State{with(shadow, func(s *controller.State) { s.Asked = nil })}, v1alpha1.ScalingPolicyStatus{
			Conditions:   []metav1.Condition{condition("Ready", metav1.ConditionTrue, "NoneManaged", "no component is in mode Auto", noon), calm},
			LastForecast: instant(noon), Summary: "0/1",
			Components: []v1alpha1.ComponentStatus{{Name: "db", Mode: schemas.Shadow, Target: "Deployment/web", Reason: schemas.FloorRaised, Message: "because", LastForecast: instant(noon)}},
		}},
		{"one is not, since an hour, and its last forecast is known from before", v1alpha1.ScalingPolicyStatus{
			Conditions: []metav1.Condition{condition("Ready", metav1.ConditionFalse, "StaleSamples", "web: old", earlier), condition("Conflict", metav1.ConditionTrue, "TargetNotScalable", "web: old", earlier)},
			Components: []v1alpha1.ComponentStatus{{Name: "web", LastForecast: instant(earlier)}},
		}, []controller.State{with(good, func(s *controller.State) {
			s.Asked, s.Floor, s.Reason, s.Message, s.LastForecast, s.Accuracy = nil, nil, schemas.StaleSamples, "too old", time.Time{}, nil
		})}, v1alpha1.ScalingPolicyStatus{
			Conditions:   []metav1.Condition{condition("Ready", metav1.ConditionFalse, "StaleSamples", "web: too old", earlier), calm},
			LastForecast: instant(earlier), Summary: "0/1",
			Components: []v1alpha1.ComponentStatus{{Name: "web", Mode: schemas.Auto, Target: "Deployment/web", Reason: schemas.StaleSamples, Message: "too old", LastForecast: instant(earlier)}},
		}},
		{"somebody else is in charge", v1alpha1.ScalingPolicyStatus{}, []controller.State{with(good, func(s *controller.State) {
			s.Asked, s.Floor, s.Reason, s.Message, s.Conflict = nil, nil, schemas.TargetNotScalable, "two autoscalers", "two autoscalers"
		})}, v1alpha1.ScalingPolicyStatus{
			Conditions: []metav1.Condition{condition("Ready", metav1.ConditionFalse, "TargetNotScalable", "web: two autoscalers", noon),
				condition("Conflict", metav1.ConditionTrue, "TargetNotScalable", "web: two autoscalers", noon)},
			LastForecast: instant(noon), Summary: "0/1",
			Components: []v1alpha1.ComponentStatus{{Name: "web", Mode: schemas.Auto, Target: "Deployment/web", Reason: schemas.TargetNotScalable, Message: "two autoscalers", LastForecast: instant(noon), Accuracy: map[schemas.Resource]int32{schemas.CPU: 93}}},
		}},
		{"its policy cannot be followed", v1alpha1.ScalingPolicyStatus{}, []controller.State{{Component: controller.Component{ID: id("web"), Problem: "maxReplicas must be"}, Reason: schemas.TargetNotScalable, Message: "maxReplicas must be"}}, v1alpha1.ScalingPolicyStatus{
			Conditions: []metav1.Condition{condition("Ready", metav1.ConditionFalse, "InvalidPolicy", "web: maxReplicas must be", noon), calm},
			Summary:    "0/1", Components: []v1alpha1.ComponentStatus{{Name: "web", Reason: schemas.TargetNotScalable, Message: "maxReplicas must be"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.DeepCopy()
			p.Status = tt.before
			tt.want.ObservedGeneration, tt.want.Mode = 3, schemas.Auto
			got := oversight.Status(p, tt.states, noon)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			p.Status = got
			if diff := cmp.Diff(got, oversight.Status(p, tt.states, noon.Add(time.Hour))); diff != "" {
				t.Errorf("status changes by itself (-an hour ago +now):\n%s", diff)
			}
		})
	}
}

func TestEventsAreAboutThePolicyOrThePod(t *testing.T) {
	f := start(t, workload("shop", "web", "")+policy("shop", "mode: Auto"))
	f.discover()
	e, err := oversight.NewEvents(f.Oversight, "self-scaling", "controller-1")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	e.Notify(controller.Notice{Namespace: "default", Service: "shop", Warning: true, Reason: "Conflict", Message: strings.Repeat("ü", 1000)})
	e.Notify(controller.Notice{Reason: "RunFailed", Message: "run a failed"})
	var events []*unstructured.Unstructured
	for deadline := time.Now().Add(30 * time.Second); len(events) < 2; time.Sleep(time.Millisecond) {
		if events = f.server.List("events"); time.Now().After(deadline) {
			t.Fatalf("%d events, want 2", len(events))
		}
	}
	got := map[string]bool{}
	for _, o := range events {
		about, _, _ := unstructured.NestedStringMap(o.Object, "involvedObject")
		message, _, _ := unstructured.NestedString(o.Object, "message")
		if len(message) > 1024 {
			t.Errorf("a message has %d bytes, more than an Event may have", len(message))
		}
		kind, _, _ := unstructured.NestedString(o.Object, "type")
		got[fmt.Sprint(kind, " in ", o.GetNamespace(), " about ", about["kind"], "/", about["name"], " ", about["uid"])] = true
	}
	want := map[string]bool{"Warning in default about ScalingPolicy/shop policy-shop": true, "Normal in self-scaling about Pod/controller-1 ": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

func start(t testing.TB, documents string) (*clustertest.Server, *cluster.Client) {
	t.Helper()
	server := clustertest.New(t, clustertest.Kinds()...)
	server.Load("kubectl", documents)
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// pod is a Running pod with labels, an owner and requests, in YAML.
func pod(name, labels, owner, requests string) string {
	if owner != "" {
		owner = ", ownerReferences: [{" + owner + ", uid: x, controller: true}]"
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: %s%s}\nspec: {containers: [{name: a, resources: {requests: %s}}]}\nstatus: {phase: Running}\n---\n",
		name, labels, owner, requests)
}

func deployment(name, labels string, replicas int) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, uid: %[1]s}\nspec: {replicas: %[2]d, selector: {matchLabels: {app: %[1]s}}, template: {metadata: {labels: %[3]s}, spec: {containers: [{name: a, resources: {requests: {cpu: 500m}}}]}}}\n---\n", name, replicas, labels) +
		fmt.Sprintf("apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: %s-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: %[1]s, uid: %[1]s, controller: true}]}\n---\n", name)
}

const (
	shop     = "{service: shop, app.kubernetes.io/servicecomponent: web}"
	ofWeb    = "apiVersion: apps/v1, kind: ReplicaSet, name: web-1"
	requests = "{cpu: 250m, memory: 256Mi}"
)

func TestPresets(t *testing.T) {
	for _, tt := range []struct {
		name, presets string
		labels        map[string]string
		want          string
	}{
		{"aerOS", "aeros", map[string]string{"service": "shop", "app.kubernetes.io/servicecomponent": "web"}, "ns/shop/web"},
		{"aerOS without a component", "aeros", map[string]string{"service": "shop"}, ""},
		{"aerOS without labels", "aeros", nil, ""},
		{"an empty label is no name", "aeros", map[string]string{"service": "", "app.kubernetes.io/servicecomponent": "web"}, ""},
		{"ASSIST-IoT", "assist-iot", map[string]string{"enabler": "edbe", "app.kubernetes.io/component": "api"}, "ns/edbe/api"},
		{"the orchestrator of aerOS", "aeros-orchestrator",
			map[string]string{"app.kubernetes.io/managed-by": "aeriOS-project.eu", "app.kubernetes.io/part-of": "s1", "app.kubernetes.io/instance": "c1"}, "ns/s1/c1"},
		{"the orchestrator's labels by somebody else", "aeros-orchestrator",
			map[string]string{"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/part-of": "s1", "app.kubernetes.io/instance": "c1"}, ""},
		{"recommended, all three", "recommended",
			map[string]string{"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/name": "nginx", "app.kubernetes.io/component": "web"}, "ns/shop/web"},
		{"recommended, the name alone", "recommended", map[string]string{"app.kubernetes.io/name": "nginx"}, "ns/nginx/nginx"},
		{"recommended, without a component", "recommended", map[string]string{"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/name": "nginx"}, "ns/shop/nginx"},
		{"a pair of one's own", "team.example/app=tier", map[string]string{"team.example/app": "a", "tier": "b"}, "ns/a/b"},
		{"the first that matches", "recommended, aeros",
			map[string]string{"app.kubernetes.io/name": "nginx", "service": "shop", "app.kubernetes.io/servicecomponent": "web"}, "ns/nginx/nginx"},
		{"the next where the first does not", "aeros,recommended", map[string]string{"app.kubernetes.io/name": "nginx"}, "ns/nginx/nginx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			presets, err := cluster.ParsePresets(tt.presets)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i := range presets {
				if id, ok := presets[i].Match("ns", tt.labels); ok {
					got = id.String()
					break
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, bad := range []string{"", "aerOS", "a=", "=b", "a b=c", "x/y/z=b", "Upper/x=b", "aeros,"} {
		if _, err := cluster.ParsePresets(bad); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("%q: error %v, want one of the configuration", bad, err)
		}
	}
}

// One cluster, in which every other pod is odd.
func TestOddPodsLeaveTheOthersAlone(t *testing.T) {
	_, client := start(t,
		deployment("web", shop, 2)+pod("web-a", shop, ofWeb, requests)+pod("web-b", shop, ofWeb, requests)+
			pod("bare", "{service: shop, app.kubernetes.io/servicecomponent: bare}", "", requests)+
			"apiVersion: v1\nkind: Pod\nmetadata: {name: unlabelled}\nspec: {containers: []}\n---\n"+
			pod("half", "{service: shop}", "", requests)+
			pod("daemon", "{service: shop, app.kubernetes.io/servicecomponent: daemon}", "apiVersion: apps/v1, kind: DaemonSet, name: d", requests)+
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\n---\n"+
			pod("job", "{service: shop, app.kubernetes.io/servicecomponent: job}", "apiVersion: nowhere.example/v1, kind: Thing, name: t", requests)+
			pod("orphan", "{service: shop, app.kubernetes.io/servicecomponent: orphan}", "apiVersion: apps/v1, kind: ReplicaSet, name: gone", "{}")+
			pod("db-0", "{enabler: data, app.kubernetes.io/component: db}", "apiVersion: apps/v1, kind: StatefulSet, name: db", "{memory: 1Gi}")+
			"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, uid: db}\nspec: {replicas: 1, template: {spec: {containers: []}}}\n---\n"+
			pod("canary", "{service: shop, app.kubernetes.io/servicecomponent: canary}", "apiVersion: apps/v1, kind: ReplicaSet, name: canary-1", requests)+
			"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: canary-1, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: canary, uid: r, controller: true}]}\n---\n"+
			"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: canary}\nspec: {replicas: 1, selector: {matchLabels: {app: canary}}}\n---\n"+
			deployment("two", "{service: shop, app.kubernetes.io/servicecomponent: twin}", 1)+
			pod("two-a", "{service: shop, app.kubernetes.io/servicecomponent: twin}", "apiVersion: apps/v1, kind: ReplicaSet, name: two-1", requests)+
			pod("two-b", "{service: shop, app.kubernetes.io/servicecomponent: twin}", "apiVersion: apps/v1, kind: StatefulSet, name: db", requests)+
			deployment("asleep", "{service: shop, app.kubernetes.io/servicecomponent: asleep}", 0)+
			strings.Replace(pod("done", "{service: shop, app.kubernetes.io/servicecomponent: done}", "", requests), "Running", "Succeeded", 1))
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range components {
		what := c.Target.Message
		if c.Target.Scalable {
			what = fmt.Sprintf("%d of %s/%s %v", c.Target.CurrentReplicas, c.Target.Kind, c.Target.Name, c.Requests)
		}
		if c.Target.Conflict != "" {
			what += "; " + c.Target.Conflict
		}
		got = append(got, c.ID.String()+": "+what)
	}
	want := []string{
		"default/data/db: 1 of StatefulSet/db map[memory:1.073741824e+09]",
		"default/shop/asleep: 0 of Deployment/asleep map[cpu:0.5]",
		"default/shop/bare: its pods are owned by no workload",
		"default/shop/canary: 1 of Rollout/canary map[cpu:0.25 memory:2.68435456e+08]; Rollout/canary of Argo Rollouts moves its replicas between versions",
		"default/shop/daemon: DaemonSet/d has no scale subresource",
		"default/shop/job: Thing/t has no scale subresource",
		"default/shop/orphan: the scale of ReplicaSet/gone cannot be read",
		"default/shop/twin: its labels are on the pods of 2 workloads, such as Deployment/two and StatefulSet/db",
		"default/shop/web: 2 of Deployment/web map[cpu:0.25 memory:2.68435456e+08]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

func TestAComponentIsWhole(t *testing.T) {
	_, client := start(t, deployment("web", shop, 3)+`apiVersion: v1
kind: Pod
metadata: {name: a, creationTimestamp: "2026-03-09T12:00:00Z", labels: `+shop+`, ownerReferences: [{`+ofWeb+`, uid: x, controller: true}]}
spec:
  initContainers:
  - {name: setup, resources: {requests: {cpu: "4"}}}
  - {name: proxy, restartPolicy: Always, resources: {requests: {cpu: 100m, memory: 64Mi}}}
  containers:
  - {name: a, resources: {requests: {cpu: 250m, memory: 128Mi}}}
  - {name: b, resources: {requests: {cpu: "1"}}}
status:
  phase: Running
  conditions:
  - {type: PodScheduled, status: "True", lastTransitionTime: "2026-03-09T12:00:00Z"}
  - {type: Ready, status: "True", lastTransitionTime: "2026-03-09T12:01:30Z"}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 9}
`)
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil || len(components) != 1 {
		t.Fatalf("%d components, %v; want 1", len(components), err)
	}
	want := &cluster.Component{
		ID:        schemas.ComponentID{Namespace: "default", Service: "shop", Component: "web"},
		Target:    &framework.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Scalable: true, CurrentReplicas: 1},
		TargetUID: "web", Replicas: 3,
		Requests: schemas.Requests{schemas.CPU: 1.35}, // b requests no memory, so that the pod's is not known
		LeadTime: 90 * time.Second, Starts: 1,
	}
	if diff := cmp.Diff(want, components[0], cmpopts.IgnoreFields(cluster.Component{}, "Owner")); diff != "" {
		t.Errorf("component (-want +got):\n%s", diff)
	}
	p := components[0].BasePolicy()
	if p.MinReplicas != 2 || p.MaxReplicas != 9 || p.LeadTime != 90*time.Second || p.Mode != schemas.Shadow {
		t.Errorf("base policy is %+v, want the user's bounds and the measured lead time", p)
	}
}

func TestLeadTimeIsAHighQuantile(t *testing.T) {
	var leads []time.Duration
	for i := range 10 {
		leads = append(leads, time.Duration(10-i)*time.Second)
	}
	for _, tt := range []struct {
		leads []time.Duration
		want  time.Duration
	}{{nil, 0}, {leads[:1], 10 * time.Second}, {leads, 9 * time.Second}} {
		if got := cluster.LeadTime(tt.leads); got != tt.want {
			t.Errorf("of %d: %s, want %s", len(tt.leads), got, tt.want)
		}
	}
}

func TestAPodThatRestartedHasNoLeadTime(t *testing.T) {
	_, client := start(t, deployment("web", shop, 1)+strings.Replace(pod("a", shop, ofWeb, requests), "phase: Running",
		`phase: Running, containerStatuses: [{name: a, restartCount: 1}], conditions: [{type: PodScheduled, status: "True", lastTransitionTime: "2026-03-09T12:00:00Z"}, {type: Ready, status: "True", lastTransitionTime: "2026-03-09T12:40:00Z"}]`, 1))
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil || len(components) != 1 || components[0].LeadTime != 0 {
		t.Errorf("%+v, %v; want no lead time", components, err)
	}
}

func TestOnlyTheNamespacesOfTheScope(t *testing.T) {
	in := func(ns, docs string) string {
		return strings.ReplaceAll(docs, "metadata: {name", "metadata: {namespace: "+ns+", name")
	}
	_, client := start(t, in("a", deployment("web", shop, 1))+in("b", deployment("web", shop, 1))+in("c", deployment("web", shop, 1)))
	components, err := client.Components(t.Context(), cluster.Scope{Namespaces: []string{"a", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range components {
		got = append(got, c.ID.Namespace)
	}
	if diff := cmp.Diff([]string{"a", "c"}, got); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

func TestEveryPageIsRead(t *testing.T) {
	server, client := start(t, deployment("web", shop, 1))
	var pods strings.Builder
	const n = 2*cluster.PageSize + 7
	for i := range n {
		pods.WriteString(pod(fmt.Sprintf("web-%04d", i), shop, ofWeb, requests))
	}
	server.Load("kubectl", pods.String())
	expired := false
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil || len(components) != 1 || components[0].Target.CurrentReplicas != n {
		t.Fatalf("%+v, %v; want %d pods", components, err, n)
	}
	// A listing whose continuation expires is read again, and nothing twice.
	calls := 0
	server.Fail = func(_, path string) *apierrors.StatusError {
		if strings.HasSuffix(path, "/api/v1/pods") {
			if calls++; calls == 2 {
				expired = true
				return apierrors.NewResourceExpired("the continuation is too old")
			}
		}
		return nil
	}
	components, err = client.Components(t.Context(), cluster.Scope{})
	if err != nil || !expired || components[0].Target.CurrentReplicas != n {
		t.Errorf("expired %t, %v; want %d pods, counted once", expired, err, n)
	}
}

func TestAServerThatDoesNotAnswerIsUnavailable(t *testing.T) {
	server, client := start(t, "")
	server.Fail = func(string, string) *apierrors.StatusError {
		return apierrors.NewInternalError(fmt.Errorf("etcd is away"))
	}
	_, err := client.Components(t.Context(), cluster.Scope{})
	if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(err.Error(), "list horizontalpodautoscalers") {
		t.Errorf("error %v, want an unavailable one that names the list", err)
	}
}

func TestAServiceGetsAPolicyInShadow(t *testing.T) {
	server, client := start(t, deployment("web", shop, 1)+deployment("odd", "{service: My_Shop, app.kubernetes.io/servicecomponent: web}", 1))
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		policies, unreadable, err := client.Policies(t.Context())
		if err != nil || len(unreadable) != 0 {
			t.Fatal(err, unreadable)
		}
		if n, err := client.EnsurePolicies(t.Context(), policies, components); n != want || err != nil {
			t.Fatalf("made %d, %v; want %d", n, err, want)
		}
	}
	o := server.Get("scalingpolicies", "default", "shop")
	if o == nil {
		t.Fatal("there is no policy shop")
	}
	if diff := cmp.Diff(map[string]any{"service": "shop", "mode": "Shadow"}, o.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if name := cluster.PolicyName("My_Shop"); server.Get("scalingpolicies", "default", name) == nil || !strings.HasPrefix(name, "my-shop-") {
		t.Errorf("there is no policy %s", name)
	}
}

func TestPoliciesHoldForTheirComponents(t *testing.T) {
	server, client := start(t, deployment("web", shop, 1)+`apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop}
spec:
  service: shop
  mode: Auto
  quantile: 90
  components: [{name: web, mode: Off, leadTime: 90s, maxReplicas: 30}]
---
apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: broken}
spec: {service: [shop]}
`)
	policies, unreadable, err := client.Policies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if unreadable["default/broken"] == nil || len(unreadable) != 1 {
		t.Errorf("unreadable are %v, want broken", unreadable)
	}
	components, err := client.Components(t.Context(), cluster.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := policies.Policy(components[0])
	want := schemas.DefaultPolicy()
	want.Mode, want.Quantile, want.LeadTime, want.MaxReplicas = schemas.Off, .9, 90*time.Second, 30
	if err != nil || got != want {
		t.Errorf("policy %+v, %v; want %+v", got, err, want)
	}
	p := policies[cluster.ServiceKey{Namespace: "default", Service: "shop"}]
	status := p.Status
	status.Mode, status.Summary = schemas.Auto, "0/1"
	server.Writes()
	for range 2 {
		if _, err := client.UpdateStatus(t.Context(), p, status); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"PATCH scalingpolicies/shop/status"}, server.Writes()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	summary, _, _ := unstructured.NestedString(server.Get("scalingpolicies", "default", "shop").Object, "status", "summary")
	if summary != "0/1" {
		t.Errorf("summary %q, want 0/1", summary)
	}
}

// An autoscaler wants a share of the requests used. Floors are computed with that
// share, where the policy leaves it open.
func TestTheTargetIsThatOfTheUsersAutoscaler(t *testing.T) {
	metric := func(name, target string) string {
		return "{type: Resource, resource: {name: " + name + ", target: " + target + "}}"
	}
	percent := func(n string) string { return "{type: Utilization, averageUtilization: " + n + "}" }
	const hpa, keda = "HorizontalPodAutoscaler/web", "ScaledObject/web"
	for _, tt := range []struct {
		name             string
		metrics          string
		triggers         string // of a ScaledObject, which stands above the HorizontalPodAutoscaler
		owned            bool   // the HorizontalPodAutoscaler is one of ours
		settings         string // of the policy
		cpu, memory      float64
		from, memoryFrom string
	}{
		{name: "of the processor", metrics: metric("cpu", percent("50")), cpu: .5, from: hpa, memory: .7},
		{name: "of memory", metrics: metric("memory", percent("85")), cpu: .7, memory: .85, memoryFrom: hpa},
		{name: "of both", metrics: metric("cpu", percent("50")) + ", " + metric("memory", percent("85")), cpu: .5, from: hpa, memory: .85, memoryFrom: hpa},
		{name: "the policy wins", metrics: metric("cpu", percent("50")) + ", " + metric("memory", percent("85")), settings: "cpuUtilization: 70", cpu: .7, from: schemas.FromPolicy, memory: .85, memoryFrom: hpa},
		{name: "the component's settings win", metrics: metric("cpu", percent("50")), settings: "components: [{name: web, memoryUtilization: 90}]", cpu: .5, from: hpa, memory: .9, memoryFrom: schemas.FromPolicy},
		{name: "the lower of two", metrics: metric("cpu", percent("80")) + ", " + metric("cpu", percent("40")), cpu: .4, from: hpa, memory: .7},
		{name: "more than the whole request", metrics: metric("cpu", percent("150")), cpu: 1.5, from: hpa, memory: .7},
		{name: "more than a policy may want", metrics: metric("cpu", percent("5000")), cpu: 10, from: hpa, memory: .7},
		{name: "an amount, of the 500m that a pod requests", metrics: metric("cpu", "{type: AverageValue, averageValue: 300m}"), cpu: .6, from: hpa, memory: .7},
		{name: "an amount where a pod requests nothing", metrics: metric("memory", "{type: AverageValue, averageValue: 300Mi}"), cpu: .7, memory: .7},
		{name: "an amount that is none", metrics: metric("cpu", "{type: AverageValue, averageValue: much}") + ", " + metric("cpu", "{type: AverageValue, averageValue: -1}"), cpu: .7, memory: .7},
		{name: "a value of all pods together", metrics: metric("cpu", "{type: Value, value: 300m}"), cpu: .7, memory: .7},
		{name: "one container is not the pod", metrics: "{type: ContainerResource, containerResource: {name: cpu, container: a, target: " + percent("50") + "}}", cpu: .7, memory: .7},
		{name: "other metrics", metrics: "{type: Pods, pods: {metric: {name: cpu}, target: {type: AverageValue, averageValue: 1}}}", cpu: .7, memory: .7},
		{name: "nonsense", metrics: "{type: Resource}, 7, " + metric("cpu", "{type: Utilization, averageUtilization: -1}"), cpu: .7, memory: .7},
		{name: "ours has it from the policy", metrics: metric("cpu", percent("50")), owned: true, cpu: .7, memory: .7},
		{name: "KEDA's", metrics: metric("cpu", percent("50")), triggers: `{type: cpu, metricType: Utilization, metadata: {value: "40"}}, {type: memory, metricType: AverageValue, metadata: {value: "40"}}`, cpu: .4, from: keda, memory: .7},
		{name: "KEDA's as it was once written", triggers: `{type: memory, metadata: {type: Utilization, value: "40"}}`, cpu: .7, memory: .4, memoryFrom: keda},
		{name: "KEDA's amount", triggers: `{type: cpu, metricType: AverageValue, metadata: {value: 250m}}`, cpu: .5, from: keda, memory: .7},
		{name: "KEDA's of one container", triggers: `{type: cpu, metricType: Utilization, metadata: {containerName: a, value: "40"}}, {type: cron, metadata: {start: 0 8 * * *}}`, cpu: .7, memory: .7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			owned, settings := "", ""
			if tt.owned {
				owned = `, annotations: {self-scaling.github.io/owned: "true"}`
			}
			if tt.settings != "" {
				settings = ", " + tt.settings
			}
			documents := deployment("web", shop, 1) + `apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop}
spec: {service: shop, mode: Auto` + settings + `}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web` + owned + `}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 9, metrics: [` + tt.metrics + `]}
`
			if tt.triggers != "" {
				documents = strings.Replace(documents, "metadata: {name: web}\nspec: {scaleTargetRef", "metadata: {name: keda-hpa-web}\nspec: {scaleTargetRef", 1) + `---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec: {scaleTargetRef: {name: web}, triggers: [` + tt.triggers + `]}
`
			}
			_, client := start(t, documents)
			policies, _, err := client.Policies(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			components, err := client.Components(t.Context(), cluster.Scope{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := policies.Policy(components[0])
			if err != nil {
				t.Fatal(err)
			}
			if p.CPUUtilization != tt.cpu || p.CPUUtilizationFrom != tt.from || p.MemoryUtilization != tt.memory || p.MemoryUtilizationFrom != tt.memoryFrom {
				t.Errorf("cpu %v from %q, memory %v from %q; want %v from %q, %v from %q",
					p.CPUUtilization, p.CPUUtilizationFrom, p.MemoryUtilization, p.MemoryUtilizationFrom, tt.cpu, tt.from, tt.memory, tt.memoryFrom)
			}
			if p.PeakUtilization < p.CPUUtilization {
				t.Errorf("a peak may use %v, less than the %v that should be used all the time", p.PeakUtilization, p.CPUUtilization)
			}
		})
	}
}

func TestTrainValuesAreKept(t *testing.T) {
	server, client := start(t, "")
	if v, err := client.TrainValues(t.Context(), "default"); err != nil || v != cluster.DefaultTrainValues() {
		t.Errorf("%+v, %v; want the default ones", v, err)
	}
	want := cluster.TrainValues{HistoryDays: 14, FutureDays: 2}
	if err := client.SetTrainValues(t.Context(), "default", want); err != nil {
		t.Fatal(err)
	}
	if v, err := client.TrainValues(t.Context(), "default"); err != nil || v != want {
		t.Errorf("%+v, %v; want %+v", v, err, want)
	}
	if keep := server.Get("configmaps", "default", cluster.TrainValuesName).GetAnnotations()["helm.sh/resource-policy"]; keep != "keep" {
		t.Errorf("helm.sh/resource-policy is %q, want keep", keep)
	}
	if err := client.SetTrainValues(t.Context(), "default", cluster.TrainValues{HistoryDays: 0, FutureDays: 1}); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want one of the configuration", err)
	}
	server.Load("kubectl", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+cluster.TrainValuesName+"}\ndata: {History_data: many}")
	if _, err := client.TrainValues(t.Context(), "default"); err == nil || !strings.Contains(err.Error(), `"many"`) {
		t.Errorf("error %v, want one that names the value", err)
	}
}

// Who selects a pod as well is found whatever their selectors look like, and of
// more than one the first by name is told.
func TestASelectorThatReachesFurtherIsFound(t *testing.T) {
	const hpa = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[1]s}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}, minReplicas: 1, maxReplicas: 3}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec: {replicas: 0, selector: %[2]s, template: {metadata: {labels: {app: %[1]s}}, spec: {containers: []}}}
---
`
	for _, tt := range []struct{ name, selector, want string }{
		{"by the same label", "{matchLabels: {service: shop}}", "wide"},
		{"by a label and more", "{matchLabels: {service: shop, tier: front}}", ""},
		{"by one of several values", "{matchExpressions: [{key: service, operator: In, values: [bank, shop]}]}", "wide"},
		{"by what a pod must not have", "{matchExpressions: [{key: tier, operator: DoesNotExist}]}", "wide"},
		{"of other pods", "{matchLabels: {service: bank}}", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, client := start(t, deployment("web", shop, 1)+pod("web-a", shop, ofWeb, requests)+fmt.Sprintf(hpa, "wide", tt.selector)+fmt.Sprintf(hpa, "wider", tt.selector))
			components, err := client.Components(t.Context(), cluster.Scope{})
			if err != nil || len(components) != 1 {
				t.Fatalf("%d components, %v; want web", len(components), err)
			}
			want := ""
			if tt.want != "" {
				want = "HorizontalPodAutoscaler/" + tt.want + " of Deployment/" + tt.want + " selects pod web-a too"
			}
			if got := components[0].Target.Conflict; got != want {
				t.Errorf("conflict %q, want %q", got, want)
			}
		})
	}
}

func TestPodsOfJobsAreNoComponents(t *testing.T) {
	_, client := start(t, strings.Join([]string{
		deployment("web", shop, 1), pod("web-1-a", shop, ofWeb, requests),
		pod("job-a", "{service: shop, app.kubernetes.io/servicecomponent: job}", "apiVersion: batch/v1, kind: Job, name: job", requests),
		pod("flow-a", "{service: shop, app.kubernetes.io/servicecomponent: flow}", "apiVersion: argoproj.io/v1alpha1, kind: Workflow, name: flow", requests),
		strings.Replace(pod("once", "{service: shop, app.kubernetes.io/servicecomponent: once}", "", requests), "spec: {", "spec: {restartPolicy: Never, ", 1),
		pod("alone", "{service: shop, app.kubernetes.io/servicecomponent: alone}", "", requests),
	}, ""))
	var got []string
	err := client.Pods(t.Context(), cluster.Scope{}, func() {}, func(p *cluster.Pod) { got = append(got, p.Name) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alone", "web-1-a"}, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

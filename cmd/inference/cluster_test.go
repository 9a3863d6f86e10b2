package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/cmd/internal/trainvalues"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

// Monday, eight o'clock: everybody comes to work, and no sample has it yet.
var monday = time.Date(2026, 3, 16, 8, 0, 0, 0, time.UTC)

// office needs six cores from eight to eighteen o'clock, at all other times one.
func office(t time.Time) float64 {
	if h := t.Hour(); h >= 8 && h < 18 {
		return 6
	}
	return 1
}

// installation is a store with samples, and a cluster.
type installation struct {
	t      testing.TB
	server *clustertest.Server
	url    string
}

// install makes a cluster with a workload of each name, and a store with nine
// days of office hours of each of them until Monday.
func install(t testing.TB, names ...string) *installation {
	in := &installation{t: t, server: clustertest.New(t, clustertest.Kinds()...), url: "file://" + t.TempDir()}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(in.server.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	for _, name := range names {
		in.server.Load("kubectl", workload(name))
	}
	in.measure(monday, names...)
	return in
}

// workload is a Deployment with one pod, of the component shop/name.
func workload(name string) string {
	return strings.ReplaceAll(`apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, uid: uid-NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME, service: shop, app.kubernetes.io/servicecomponent: NAME}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 500m}}}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: NAME-1, uid: rs, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: NAME, uid: uid-NAME, controller: true}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: NAME-1-a
  labels: {app: NAME, service: shop, app.kubernetes.io/servicecomponent: NAME}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: NAME-1, uid: rs, controller: true}]
spec: {containers: [{name: a, resources: {requests: {cpu: 500m}}}]}
status:
  phase: Running
  conditions:
  - {type: PodScheduled, status: "True", lastTransitionTime: "2026-03-09T12:00:00Z"}
  - {type: Ready, status: "True", lastTransitionTime: "2026-03-09T12:00:30Z"}
`, "NAME", name)
}

func userHPA(name, target string) string {
	return fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %s}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, minReplicas: 2, maxReplicas: 30}
`, name, target)
}

// policy is that of the service shop. Components is YAML.
func policy(mode, components string) string {
	return fmt.Sprintf(`apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop, uid: policy}
spec: {service: shop, mode: %q, maxReplicas: 30, components: [%s]}
`, mode, components)
}

type source struct{ names []string }

func (s source) Samples(_ context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	for _, name := range s.names {
		for at := from; at.Before(to); at = at.Add(step) {
			v, request := office(at), .25 // the pods request more by now
			err := add(&schemas.Sample{
				Component: component(name), Start: at, CPU: &schemas.Usage{Mean: v, Max: 1.2 * v, Count: 15}, CPURequest: &request,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func component(name string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: "shop", Component: name}
}

func (in *installation) store() *artifact.Store {
	in.t.Helper()
	store, err := artifact.Open(in.t.Context(), in.url, artifact.Drivers{"file": filebucket.Open}, artifact.Options{})
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { _ = store.Close() })
	return store
}

func (in *installation) measure(until time.Time, names ...string) {
	in.t.Helper()
	env := jobs.Env{Store: in.store(), Log: slog.New(slog.DiscardHandler), Run: "collect-" + until.Format("20060102t1504"), Now: until, Version: "test"}
	if err := collector.New(source{names}, collector.Options{Backfill: 9 * 24 * time.Hour})(in.t.Context(), env); err != nil {
		in.t.Fatal(err)
	}
}

// infer runs the program and returns its exit code and what it said on standard
// error.
func (in *installation) infer(at time.Time, flags ...string) (int, string) {
	in.t.Helper()
	var stderr programlog.Buffer // libraries may go on logging to it
	args := append([]string{"-store", in.url, "-run", "infer-" + at.Format("20060102t150405"), "-now", at.Format(time.RFC3339), "-cluster", "-namespace", "self-scaling"}, flags...)
	code := program().Run(in.t.Context(), args, io.Discard, &stderr)
	return code, stderr.String()
}

func (in *installation) mustInfer(at time.Time, flags ...string) string {
	in.t.Helper()
	code, log := in.infer(at, flags...)
	if code != 0 {
		in.t.Fatalf("exit code %d: %s", code, log)
	}
	return log
}

func (in *installation) decisions() map[string]*schemas.Decision {
	in.t.Helper()
	set, ok, err := forecasts.Latest(in.t.Context(), in.store())
	if err != nil || !ok {
		in.t.Fatalf("no decisions: %v", err)
	}
	out := map[string]*schemas.Decision{}
	for i := range set.Decisions {
		out[set.Decisions[i].Component.Component] = &set.Decisions[i]
	}
	return out
}

func (in *installation) number(resource, name, field string) int64 {
	in.t.Helper()
	o := in.server.Get(resource, "default", name)
	if o == nil {
		return -1
	}
	spec, _ := o.Object["spec"].(map[string]any)
	n, ok := spec[field].(int64)
	if !ok {
		return -1
	}
	return n
}

// writes returns what was written but for Events, sorted.
func (in *installation) writes() (writes []string, events int) {
	for _, w := range in.server.Writes() {
		if strings.HasPrefix(w, "POST events") {
			events++
		} else {
			writes = append(writes, w)
		}
	}
	slices.Sort(writes)
	return writes, events
}

// One cluster in which every component is another case.
func TestEveryComponentIsDoneAsItsPolicySays(t *testing.T) {
	in := install(t, "web", "keda", "alone", "classic", "shadowed", "quiet", "taken", "broken", "misspelt", "bounded", "gone")
	for _, name := range []string{"web", "shadowed", "quiet", "taken", "broken", "misspelt", "bounded"} {
		in.server.Load("kubectl", userHPA(name, name))
	}
	in.server.Load("kubectl", userHPA("other", "taken"))
	in.server.Load("kubectl", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: keda}\nspec: {scaleTargetRef: {name: keda}, minReplicaCount: 0, maxReplicaCount: 40, triggers: []}\n")
	for resource, name := range map[string]string{"deployments": "gone", "replicasets": "gone-1", "pods": "gone-1-a"} {
		in.server.Delete(resource, "default", name)
	}
	in.server.Load("kubectl", policy("Auto", `{name: shadowed, mode: Shadow}, {name: quiet, mode: false}, {name: classic, profile: classic},
  {name: broken, minReplicas: 31}, {name: misspelt, profile: fast}, {name: bounded, minReplicas: 1, maxReplicas: 100}`))
	in.server.Writes()
	log := in.mustInfer(monday)

	type outcome struct {
		Reason  schemas.Reason
		Floor   int32
		Mode    schemas.Mode
		Applied bool
		Message string // a part of it
	}
	// Six cores at 70 % of half a core are 18 pods; the peak of 7.2 cores is 15.
	want := map[string]outcome{
		"web":      {schemas.FloorRaised, 18, schemas.Auto, true, "6 cores"},
		"keda":     {schemas.FloorRaised, 18, schemas.Auto, true, "6 cores"},
		"alone":    {schemas.FloorRaised, 18, schemas.Auto, true, "6 cores"},
		"classic":  {schemas.FloorRaised, 10, schemas.Auto, true, "the classic formula ends at 10"},
		"bounded":  {schemas.FloorRaised, 18, schemas.Auto, true, "6 cores"},
		"shadowed": {schemas.FloorRaised, 18, schemas.Shadow, false, "6 cores"},
		"quiet":    {schemas.NotManaged, 2, schemas.Off, false, "the mode is Off"},
		"taken":    {schemas.TargetNotScalable, 1, schemas.Auto, false, "Deployment/taken is scaled by HorizontalPodAutoscaler/other and HorizontalPodAutoscaler/taken"},
		"broken":   {schemas.InvalidPolicy, 2, schemas.Shadow, false, "maxReplicas must be from minReplicas (31) to 100000, but is 30"},
		"misspelt": {schemas.InvalidPolicy, 2, schemas.Shadow, false, `profile must be one of classic, default, but is "fast"`},
		"gone":     {schemas.TargetNotScalable, 1, schemas.Shadow, false, "it is not in the cluster"},
	}
	got := map[string]outcome{}
	for name, d := range in.decisions() {
		got[name] = outcome{d.Reason, d.MinReplicas, d.Policy.Mode, d.Applied, d.Message}
		if strings.Contains(d.Message, want[name].Message) {
			got[name] = outcome{d.Reason, d.MinReplicas, d.Policy.Mode, d.Applied, want[name].Message}
		}
		if n, err := replicas.Recompute(d); err != nil || n != d.MinReplicas {
			t.Errorf("%s: the record gives %d, %v; want %d", name, n, err, d.MinReplicas)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decisions (-want +got):\n%s\n%s", diff, log)
	}
	writes, events := in.writes()
	wantWrites := []string{"PATCH horizontalpodautoscalers/bounded", "PATCH horizontalpodautoscalers/web", "PATCH scaledobjects/keda", "POST horizontalpodautoscalers", "POST horizontalpodautoscalers"}
	if diff := cmp.Diff(wantWrites, writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if events != 5 {
		t.Errorf("%d Events, want one for each of the five floors", events)
	}
	for object, want := range map[string]int64{
		"horizontalpodautoscalers/web minReplicas": 18, "scaledobjects/keda minReplicaCount": 18,
		"horizontalpodautoscalers/shop-alone minReplicas": 18, "horizontalpodautoscalers/shop-classic minReplicas": 10,
		"horizontalpodautoscalers/bounded minReplicas": 18, "horizontalpodautoscalers/shadowed minReplicas": 2,
	} {
		path, field, _ := strings.Cut(object, " ")
		resource, name, _ := strings.Cut(path, "/")
		if n := in.number(resource, name, field); n != want {
			t.Errorf("%s is %d, want %d", object, n, want)
		}
	}
	if d := in.decisions(); d["classic"].Profile != "classic" || d["classic"].Formula != schemas.FormulaClassic || d["web"].Profile != "default" {
		t.Errorf("profiles %q and %q, want classic and default", d["classic"].Profile, d["web"].Profile)
	}
	// What the user's autoscaler allows is what the record says, whatever the
	// policy would allow; and what a start of a pod takes was measured.
	if p := in.decisions()["bounded"].Policy; p.MinReplicas != 2 || p.MaxReplicas != 30 || p.LeadTime != 30*time.Second {
		t.Errorf("policy %+v, want the bounds 2 and 30 of the user's autoscaler, and 30s", p)
	}
	if !strings.Contains(log, "a policy cannot be carried out") || !strings.Contains(log, "default/shop/broken") {
		t.Errorf("log %s, want the policy that is broken", log)
	}
}

// The floor is what the autoscaler itself would ask for with what is forecast, and
// the record says whose share of a request that took.
func TestTheUsersAutoscalerSaysHowMuchAPodMayUse(t *testing.T) {
	in := install(t, "web", "careful", "keda", "alone")
	metrics := "maxReplicas: 30, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}"
	for _, name := range []string{"web", "careful"} {
		in.server.Load("kubectl", strings.Replace(userHPA(name, name), "maxReplicas: 30}", metrics, 1))
	}
	in.server.Load("kubectl", `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: keda}
spec: {scaleTargetRef: {name: keda}, maxReplicaCount: 30, triggers: [{type: cpu, metricType: Utilization, metadata: {value: "60"}}]}
`)
	in.server.Load("kubectl", policy("Auto", "{name: careful, cpuUtilization: 80}"))
	in.mustInfer(monday)
	// Six cores of pods of half a core. The peak of 7.2 cores is 15 pods.
	want := map[string]string{
		"web":     "24 at 0.5 from HorizontalPodAutoscaler/web",
		"careful": "15 at 0.8 from policy",
		"keda":    "20 at 0.6 from ScaledObject/keda",
		"alone":   "18 at 0.7 from default",
	}
	got := map[string]string{}
	for name, d := range in.decisions() {
		got[name] = fmt.Sprintf("%d at %g from %s", d.MinReplicas, d.Demands[0].Utilization, d.Demands[0].UtilizationFrom)
		if n, err := replicas.Recompute(d); err != nil || n != d.MinReplicas {
			t.Errorf("%s: the record gives %d, %v; want %d", name, n, err, d.MinReplicas)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("floors (-want +got):\n%s", diff)
	}
	if n := in.number("horizontalpodautoscalers", "web", "minReplicas"); n != 24 {
		t.Errorf("minReplicas is %d, want 24", n)
	}
	// The user wants more of a pod: the next run computes with that.
	in.server.Load("kubectl", strings.Replace(userHPA("web", "web"), "maxReplicas: 30}", strings.Replace(metrics, "50", "100", 1), 1))
	in.mustInfer(monday.Add(15 * time.Minute))
	if d := in.decisions()["web"]; d.Demands[0].Utilization != 1 || d.MinReplicas >= 20 {
		t.Errorf("floor %d at %g, want one for the new target of 1", d.MinReplicas, d.Demands[0].Utilization)
	}
}

func TestNothingIsWrittenInShadow(t *testing.T) {
	in := install(t, "web", "alone")
	in.server.Load("kubectl", userHPA("web", "web"))
	for i, documents := range []string{"", policy("Shadow", ""), policy("Off", "")} {
		if documents != "" {
			in.server.Load("kubectl", documents)
		}
		in.server.Writes()
		in.mustInfer(monday.Add(time.Duration(i) * 15 * time.Minute))
		if writes := in.server.Writes(); len(writes) != 0 {
			t.Errorf("with %q: wrote %v, want nothing", documents, writes)
		}
	}
}

func TestAFloorComesAndGoes(t *testing.T) {
	stop := map[string]struct {
		change func(in *installation)
		after  time.Duration
		reason schemas.Reason
		why    string // in the Event
	}{
		"the samples go stale":     {func(*installation) {}, 7 * time.Hour, schemas.StaleSamples, "the newest sample is"},
		"it is switched off":       {func(in *installation) { in.server.Load("kubectl", policy("Off", "")) }, 15 * time.Minute, schemas.NotManaged, "the mode is Off"},
		"it goes back into shadow": {func(in *installation) { in.server.Load("kubectl", policy("Shadow", "")) }, 15 * time.Minute, schemas.FloorKept, "the mode is Shadow"},
		"its policy is deleted":    {func(in *installation) { in.server.Delete("scalingpolicies", "default", "shop") }, 15 * time.Minute, schemas.FloorKept, "the mode is Shadow"},
		"its requests go": {func(in *installation) {
			in.server.Load("kubectl", strings.ReplaceAll(workload("web"), "cpu: 500m", ""))
		}, 15 * time.Minute, schemas.NoRequests, "request none"},
		"somebody else takes over": {func(in *installation) { in.server.Load("kubectl", userHPA("other", "web")) }, 15 * time.Minute, schemas.TargetNotScalable, "HorizontalPodAutoscaler/other and HorizontalPodAutoscaler/web"},
		"its workload is another one": {func(in *installation) {
			in.server.Load("kubectl", strings.ReplaceAll(workload("web"), "servicecomponent: web", "servicecomponent: page"))
		}, 15 * time.Minute, schemas.TargetNotScalable, "it is not in the cluster"},
	}
	for name, tt := range stop {
		t.Run(name, func(t *testing.T) {
			in := install(t, "web")
			in.server.Load("kubectl", userHPA("web", "web")+"---\n"+policy("Auto", ""))
			before := in.server.YAML("horizontalpodautoscalers", "default", "web")
			in.mustInfer(monday)
			if n := in.number("horizontalpodautoscalers", "web", "minReplicas"); n != 18 {
				t.Fatalf("minReplicas %d, want 18", n)
			}
			in.server.Writes()
			in.mustInfer(monday.Add(time.Minute))
			if writes := in.server.Writes(); len(writes) != 0 {
				t.Fatalf("a run in which nothing changed wrote %v", writes)
			}
			tt.change(in)
			in.server.Writes()
			at := monday.Add(tt.after)
			in.mustInfer(at)
			if diff := cmp.Diff(before, in.server.YAML("horizontalpodautoscalers", "default", "web")); diff != "" {
				t.Errorf("the autoscaler, which should be as the user made it (-want +got):\n%s", diff)
			}
			if d := in.decisions()["web"]; d.Reason != tt.reason {
				t.Errorf("decision %s (%s), want %s", d.Reason, d.Message, tt.reason)
			}
			if name == "its policy is deleted" || name == "its workload is another one" {
				return // the object that Events are attached to is another one, or none
			}
			events := in.events(t, "ScalingPolicy/shop")
			if len(events) != 2 || !strings.Contains(events[0].Message, "web: replicas at least 2 -> 18: cpu is forecast to reach") ||
				!strings.Contains(events[1].Message, "web: replicas at least 18 -> 2: ") || !strings.Contains(events[1].Message, tt.why) {
				t.Errorf("Events %v, want one that says it was raised, and one that says why it was given back", events)
			}
		})
	}
}

// events returns the Events about an object, in the order of their times.
func (in *installation) events(t *testing.T, about string) []corev1.Event {
	t.Helper()
	list := in.server.Events(t)
	list = slices.DeleteFunc(list, func(e corev1.Event) bool { return e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name != about })
	slices.SortFunc(list, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	return list
}

func TestAnExpiredFloorGoesWhateverBecomesOfTheRun(t *testing.T) {
	held := strings.Replace(userHPA("web", "web"), "metadata: {name: web}", `metadata: {name: web, annotations: {self-scaling.github.io/component: default/shop/web, self-scaling.github.io/floor: "9", self-scaling.github.io/user-min-replicas: "2", self-scaling.github.io/expires: "2026-03-16T07:00:00Z"}}`, 1)
	held = strings.Replace(held, "minReplicas: 2", "minReplicas: 9", 1)
	for name, prepare := range map[string]func(*installation){
		"before the first sample": func(*installation) {},
		"without the right to see pods": func(in *installation) {
			in.server.Deny("list", "pods")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := install(t)
			in.server.Load("kubectl", workload("web")+"---\n"+policy("Auto", ""))
			in.server.Load("self-scaling", held)
			prepare(in)
			_, log := in.infer(monday)
			if n := in.number("horizontalpodautoscalers", "web", "minReplicas"); n != 2 {
				t.Errorf("minReplicas %d, want the user's 2; %s", n, log)
			}
		})
	}
}

func TestWhatCannotBeWrittenIsTold(t *testing.T) {
	in := install(t, "web", "api")
	in.server.Load("kubectl", userHPA("web", "web")+"---\n"+userHPA("api", "api")+"---\n"+policy("Auto", ""))

	// Nobody answers: the run is made again, and is not on record.
	in.server.Break("patch", "horizontalpodautoscalers")
	code, log := in.infer(monday)
	if code != workflows.ExitTemporary || !strings.Contains(log, "inference: no floor could be written: write HorizontalPodAutoscaler/") {
		t.Fatalf("exit code %d, want 75: %s", code, log)
	}
	if _, ok, err := forecasts.Latest(t.Context(), in.store()); ok || err != nil {
		t.Errorf("the run is on record, %v", err)
	}
	in.server.Mend()

	// A right lacks: that is for somebody to mend, and the decisions are kept.
	in.server.Deny("patch", "horizontalpodautoscalers")
	code, log = in.infer(monday)
	if code != workflows.ExitConfig || !strings.Contains(log, `cannot patch resource "horizontalpodautoscalers"`) {
		t.Fatalf("exit code %d, want 78 and the right: %s", code, log)
	}
	if d := in.decisions()["web"]; d.Applied || d.Reason != schemas.FloorRaised || !strings.Contains(d.Message, "not applied: write HorizontalPodAutoscaler/web in default") {
		t.Errorf("decision %s, applied %v: %s; want one that was not applied, and why", d.Reason, d.Applied, d.Message)
	}
	in.server.Mend()

	// Where only some are refused, the others have their floors, and it is told all
	// the same.
	in.server.Fail = func(method, path string) *apierrors.StatusError {
		if method == http.MethodPatch && strings.HasSuffix(path, "/api") {
			return apierrors.NewForbidden(schema.GroupResource{Group: "autoscaling", Resource: "horizontalpodautoscalers"}, "api", errors.New("a rule is against it"))
		}
		return nil
	}
	code, log = in.infer(monday.Add(10 * time.Minute))
	if n := in.number("horizontalpodautoscalers", "web", "minReplicas"); code != workflows.ExitConfig || n != 18 || !strings.Contains(log, "1 of the floors could not be written: write HorizontalPodAutoscaler/api in default") {
		t.Fatalf("exit code %d and minReplicas of web %d, want 78 and 18: %s", code, n, log)
	}
	in.server.Fail = nil

	// Once it works again, so does the next run.
	in.mustInfer(monday.Add(15 * time.Minute))
	if n := in.number("horizontalpodautoscalers", "api", "minReplicas"); n != 18 {
		t.Errorf("minReplicas of api %d, want 18", n)
	}
}

func TestTrainValuesDecideHowFarIsLooked(t *testing.T) {
	in := install(t, "web")
	t.Setenv(trainvalues.FutureVariable, "2")
	t.Setenv(trainvalues.HistoryVariable, "3")
	in.mustInfer(monday)
	set, _, err := forecasts.Latest(t.Context(), in.store())
	if err != nil || len(set.Forecasts) != 1 || set.Forecasts[0].Steps() != 2*96 {
		t.Fatalf("%d forecasts, %v; want one of 192 steps", len(set.Forecasts), err)
	}
	for _, tt := range []struct{ variable, value string }{
		{trainvalues.HistoryVariable, "0"}, {trainvalues.HistoryVariable, "366"}, {trainvalues.FutureVariable, "8"}, {trainvalues.FutureVariable, "a week"},
	} {
		t.Run(tt.variable+"="+tt.value, func(t *testing.T) {
			t.Setenv(tt.variable, tt.value)
			if code, log := in.infer(monday.Add(15 * time.Minute)); code != workflows.ExitConfig || !strings.Contains(log, tt.variable+" must be a whole number of days") {
				t.Errorf("exit code %d: %s; want 78 and the variable", code, log)
			}
		})
	}
}

// BenchmarkRun is one run of the program over a thousand components, each with an
// autoscaler of its user's, as it is in a cluster: with the limit of requests
// that a client has. The API server is one in memory, so that what a real one
// takes to answer comes on top, for each of the requests/op.
func BenchmarkRun(b *testing.B) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("web-%04d", i))
	}
	in := install(b, names...)
	for _, name := range names {
		in.server.Load("kubectl", userHPA(name, name))
	}
	at := monday
	run := func(b *testing.B, most int, want schemas.Reason) {
		in.server.Load("kubectl", strings.Replace(policy("Auto", ""), "maxReplicas: 30", fmt.Sprintf("maxReplicas: %d", most), 1))
		at = at.Add(time.Second)
		in.mustInfer(at, "-log-level=warn")
		b.StopTimer()
		defer b.StartTimer()
		for name, d := range in.decisions() {
			if d.Reason != want || !d.Applied {
				b.Fatalf("%s: %s, applied %v: %s; want %s", name, d.Reason, d.Applied, d.Message, want)
			}
		}
	}
	run(b, 10, schemas.FloorRaised)
	b.Run("nothing changed", func(b *testing.B) {
		before := in.server.Requests()
		in.server.Writes()
		for b.Loop() {
			run(b, 10, schemas.FloorKept)
		}
		if writes := in.server.Writes(); len(writes) != 0 {
			b.Fatalf("%d writes, such as %s", len(writes), writes[0])
		}
		b.ReportMetric(float64(in.server.Requests()-before)/float64(b.N), "requests/op")
	})
	b.Run("every floor changed", func(b *testing.B) {
		before := in.server.Requests()
		most := 10
		for b.Loop() {
			most++
			run(b, most, schemas.FloorRaised)
		}
		b.ReportMetric(float64(in.server.Requests()-before)/float64(b.N), "requests/op")
	})
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A situation is a workload beside what else scales it, how the user changes that
// later, and what must come of each.
type situation struct {
	workload
	objects        string // of the user's, beside the workload's manifest
	change         func(*situation)
	removed        string // what the change deletes, as kubectl names it
	before, after  outcome
	replicasByHPAs bool // spec.replicas is written by an autoscaler of the user's in the end
}

// An outcome is what an inference run must leave behind.
type outcome struct {
	object string // autoscaler that holds the floor, "owned": one of ours; "": none
	least  string // its least number, "": any above 1
	only   string // resources in the metrics of ours
	reason string // in the status, "": any
}

// What is around a workload decides whether it gets a floor, and where; what the user
// changes is followed; and uninstalling gives everything back.
func TestMatrix(t *testing.T) {
	t.Parallel()
	r := newRelease(t, newCluster(t))
	r.kubectl(t, "", "apply", "--server-side", "--force-conflicts",
		"--filename="+moduleFile(t, "github.com/kedacore/keda/v2@v2.17.2", "config/crd/bases/keda.sh_scaledobjects.yaml"),
		"--filename="+moduleFile(t, "k8s.io/autoscaler/vertical-pod-autoscaler@v1.4.1", "deploy/vpa-v1-crd-gen.yaml"))
	const stayOut = "TargetNotScalable"
	all := []situation{
		{workload: workload{name: "plain", cpu: "10m", memory: "16Mi"},
			before: outcome{object: "owned", only: "cpu memory"},
			change: func(s *situation) { s.hpas = 1 }, after: outcome{object: "hpa/plain-0"}, replicasByHPAs: true},
		{workload: workload{name: "scaled", cpu: "10m", hpas: 1},
			before: outcome{object: "hpa/scaled-0"},
			change: func(s *situation) { s.policy = "maxReplicas: 2" }, after: outcome{object: "hpa/scaled-0", least: "2"}, replicasByHPAs: true},
		{workload: workload{name: "events", cpu: "10m"},
			objects: scaledObject("events", 1, 8), before: outcome{object: "scaledobject/events"},
			change: func(s *situation) { s.objects = scaledObject("events", 1, 2) }, after: outcome{object: "scaledobject/events", least: "2"}},
		{workload: workload{name: "tall", cpu: "10m"},
			objects: verticalAutoscaler("tall"), before: outcome{reason: stayOut},
			change: func(s *situation) { s.objects = "" }, removed: "vpa/tall", after: outcome{object: "owned"}},
		{workload: workload{name: "torn", cpu: "10m", hpas: 2},
			before: outcome{reason: stayOut},
			change: func(s *situation) { s.hpas = 1 }, removed: "hpa/torn-1", after: outcome{object: "hpa/torn-0"}, replicasByHPAs: true},
		{workload: workload{name: "stateful", kind: "StatefulSet", cpu: "10m"},
			before: outcome{object: "owned"},
			change: func(s *situation) { s.policy = `mode: "Off"` }, after: outcome{}},
		{workload: workload{name: "cpuonly", cpu: "10m"},
			before: outcome{object: "owned", only: "cpu"},
			change: func(s *situation) { s.memory = "16Mi" }, after: outcome{object: "owned", only: "cpu memory"}},
		{workload: workload{name: "unmeasured"},
			before: outcome{reason: "NoRequests"},
			change: func(s *situation) { s.cpu = "10m" }, after: outcome{object: "owned", only: "cpu"}},
	}
	changed := slices.Clone(all)
	var past []series
	for i := range changed {
		all[i].load = "-base=0 -peak=0"
		changed[i].load = all[i].load
		changed[i].change(&changed[i])
		past = append(past, series{"shop", all[i].name, daily(.015, .02)})
	}
	apply := func(all []situation) {
		t.Helper()
		var workloads []workload
		for _, s := range all {
			workloads = append(workloads, s.workload)
			if s.objects != "" {
				r.kubectl(t, s.objects, "apply", "--namespace="+r.namespace, "--filename=-")
			}
		}
		r.deploy(t, workloads...)
	}
	// What the user will have wanted in the end, before anybody else has seen it.
	apply(changed)
	want := r.userSpecs(t, all)
	r.kubectl(t, "", "delete", "hpa/plain-0", "--namespace="+r.namespace)
	apply(all)

	r.install(t, "controller.replicas=1", "api.enabled=false", "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true")
	end := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "seed", 10, end, past...)
	infer := func() {
		t.Helper()
		r.rolledOut(t, all)
		r.ended(t, r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-infer", "--output=name"), "Succeeded")
	}
	infer()
	for _, s := range all {
		t.Run("install/"+s.name, func(t *testing.T) { r.check(t, s.name, s.before) })
	}
	for _, s := range changed {
		if s.removed != "" {
			r.kubectl(t, "", "delete", s.removed, "--namespace="+r.namespace)
		}
	}
	apply(changed)
	infer()
	for _, s := range changed {
		t.Run("change/"+s.name, func(t *testing.T) { r.check(t, s.name, s.after) })
	}
	r.helm(t, "uninstall", r.name, "--wait", "--timeout=5m")
	eventually(t, "every spec is the user's", 3*time.Minute, func() error {
		if got := r.userSpecs(t, all); got != want {
			return fmt.Errorf("want\n%s\ngot\n%s", want, got)
		}
		return nil
	})
	if marks := r.get(t, "deployments,statefulsets,hpa,scaledobjects,vpa", "{.items[*].metadata.annotations}"); strings.Contains(marks, "self-scaling.github.io/") {
		t.Errorf("annotations of ours are left: %s", marks)
	}
}

// check holds what an inference run has left to what must be.
func (r *release) check(t *testing.T, name string, want outcome) {
	t.Helper()
	type scaler struct {
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
		Kind string
		Spec struct {
			ScaleTargetRef               struct{ Name string }
			MinReplicas, MinReplicaCount int
			Metrics                      []struct{ Resource struct{ Name string } }
		}
	}
	var list struct{ Items []scaler }
	if err := json.Unmarshal([]byte(r.kubectl(t, "", "get", "hpa,scaledobjects", "--namespace="+r.namespace, "--output=json")), &list); err != nil {
		t.Fatal(err)
	}
	var holders []string
	for _, s := range list.Items {
		if s.Spec.ScaleTargetRef.Name != name {
			continue
		}
		object := map[string]string{"HorizontalPodAutoscaler": "hpa/", "ScaledObject": "scaledobject/"}[s.Kind] + s.Metadata.Name
		least := s.Spec.MinReplicas + s.Spec.MinReplicaCount
		if s.Metadata.Annotations["self-scaling.github.io/owned"] == "true" {
			object = "owned"
			var only []string
			for _, m := range s.Spec.Metrics {
				only = append(only, m.Resource.Name)
			}
			slices.Sort(only)
			if got := strings.Join(only, " "); want.only != "" && got != want.only {
				t.Errorf("metrics are %q, want %q", got, want.only)
			}
		}
		if object == "owned" || s.Metadata.Annotations["self-scaling.github.io/floor"] != "" {
			holders = append(holders, object)
			if want.least != "" && fmt.Sprint(least) != want.least || least < 2 {
				t.Errorf("the least number of %s is %d, want %q", object, least, want.least)
			}
		}
	}
	if got := strings.Join(holders, " "); got != want.object {
		t.Errorf("the floor is held by %q, want %q; status: %+v", got, want.object, r.status(t, name))
	}
	if want.reason != "" {
		eventually(t, "the status says why", time.Minute, func() error {
			if got := r.status(t, name); got.Reason != want.reason {
				return fmt.Errorf("status is %+v, want reason %s", got, want.reason)
			}
			return nil
		})
	}
}

// rolledOut waits until all workloads run as they are written.
func (r *release) rolledOut(t *testing.T, all []situation) {
	t.Helper()
	for _, s := range all {
		kind := "deployment/"
		if s.kind != "" {
			kind = strings.ToLower(s.kind) + "/"
		}
		r.kubectl(t, "", "rollout", "status", kind+s.name, "--namespace="+r.namespace, "--timeout=3m")
	}
}

// userSpecs returns the specs of everything that the user has applied. The number of
// replicas of a workload that an autoscaler of the user's scales is not the user's.
func (r *release) userSpecs(t *testing.T, all []situation) string {
	t.Helper()
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     map[string]any
		}
	}
	if err := json.Unmarshal([]byte(r.kubectl(t, "", "get", "deployments,statefulsets,hpa,scaledobjects,vpa", "--namespace="+r.namespace, "--output=json")), &list); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, o := range list.Items {
		if i := slices.IndexFunc(all, func(s situation) bool { return s.name == o.Metadata.Name }); i < 0 && o.Kind == "Deployment" {
			continue // the controller's
		} else if i >= 0 && all[i].replicasByHPAs {
			delete(o.Spec, "replicas")
		}
		spec, err := json.Marshal(o.Spec)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s/%s %s", o.Kind, o.Metadata.Name, spec))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func scaledObject(name string, least, most int) string {
	return fmt.Sprintf(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {name: %[1]s}
  minReplicaCount: %[2]d
  maxReplicaCount: %[3]d
  triggers: [{type: cpu, metricType: Utilization, metadata: {value: "60"}}]
`, name, least, most)
}

func verticalAutoscaler(name string) string {
	return fmt.Sprintf(`apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: %[1]s}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  updatePolicy: {updateMode: Auto}
  resourcePolicy: {containerPolicies: [{containerName: "*", controlledResources: [cpu]}]}
`, name)
}

// moduleFile returns the path of a file of a Go module, as others publish the
// definitions of their kinds.
func moduleFile(t *testing.T, module, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v: %s", module, err, out)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil || answer.Dir == "" {
		t.Fatal(errors.Join(err, errors.New("module "+module+" has no folder")))
	}
	return filepath.Join(answer.Dir, path)
}

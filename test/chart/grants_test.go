package chart_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/test/programlog"
)

// The programs, run with the arguments that the chart gives them before an API server
// that lets them do what the chart's Roles say.

// workload is a Deployment with its pod.
const workload = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: prod, uid: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: prod, labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: x, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
status: {phase: Running}
---
`

// autoscaler is somebody's.
const autoscaler = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: prod}
spec: {minReplicas: 1, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}
`

// expired is one with a floor whose time has come.
const expired = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
  namespace: prod
  annotations:
    self-scaling.github.io/component: prod/shop/web
    self-scaling.github.io/floor: "4"
    self-scaling.github.io/user-min-replicas: "1"
    self-scaling.github.io/expires: "2020-01-01T00:00:00Z"
spec: {minReplicas: 4, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}
`

// guarded is an API server that refuses what an account may not do.
type guarded struct {
	*clustertest.Server
	mu     sync.Mutex
	denied map[string]bool
}

// newGuarded makes one for an account of what is installed.
func newGuarded(t *testing.T, objects []*unstructured.Unstructured, account string) *guarded {
	t.Helper()
	var roles []*rbacv1.Role
	for _, o := range objects {
		if o.GetKind() != "RoleBinding" {
			continue
		}
		b := decode[rbacv1.RoleBinding](t, o)
		if b.Subjects[0].Name != account {
			continue
		}
		for _, r := range objects {
			if r.GetKind() == "Role" && r.GetName() == b.RoleRef.Name && r.GetNamespace() == b.Namespace {
				roles = append(roles, decode[rbacv1.Role](t, r))
			}
		}
	}
	if len(roles) == 0 {
		t.Fatalf("the account %s has no Role", account)
	}
	kinds := append(clustertest.Kinds(),
		clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"},
		clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "CronWorkflow", Resource: "cronworkflows"})
	g := &guarded{Server: clustertest.New(t, kinds...), denied: map[string]bool{}}
	g.Fail = func(method, path string) *apierrors.StatusError {
		a, ok := attributesOf(method, path)
		if !ok || slices.ContainsFunc(roles, a.allowedBy) {
			return nil
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.denied[fmt.Sprintf("%s %s/%s in %q", a.verb, a.group, a.resource, a.namespace)] = true
		return apierrors.NewForbidden(schema.GroupResource{Group: a.group, Resource: a.resource}, a.name, nil)
	}
	return g
}

// attributes are what somebody wants to do.
type attributes struct{ verb, group, resource, namespace, name string }

// attributesOf reads a request; false for discovery, which everybody may do. A watch
// counts as a list.
func attributesOf(method, path string) (attributes, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	a := attributes{verb: map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[method]}
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		a.group, parts = parts[1], parts[3:]
	default:
		return a, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		a.namespace, parts = parts[1], parts[2:]
	}
	a.resource = parts[0]
	if len(parts) > 1 {
		a.name = parts[1]
	}
	if len(parts) > 2 {
		a.resource += "/" + parts[2]
	}
	if method == http.MethodGet {
		a.verb = map[bool]string{true: "get", false: "list"}[a.name != ""]
	}
	return a, true
}

func (a attributes) allowedBy(r *rbacv1.Role) bool {
	return r.Namespace == a.namespace && slices.ContainsFunc(r.Rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.APIGroups, a.group) && slices.Contains(rule.Resources, a.resource) && slices.Contains(rule.Verbs, a.verb) &&
			(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.name))
	})
}

// mustBeAllowed fails the test for whatever was refused.
func (g *guarded) mustBeAllowed(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for what := range g.denied {
		t.Errorf("the account had to %s, and may not", what)
	}
}

// runs runs a program, which lies at a path, as the chart has it in a pod, but for where it
// listens, and ends it with the test. What it says is returned, and what ends it.
func (g *guarded) runs(t *testing.T, path string, objects []*unstructured.Unstructured, pod corev1.PodSpec, more ...string) (*programlog.Buffer, func()) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "installation.yaml")
	for _, o := range objects {
		if text, ok, _ := unstructured.NestedString(o.Object, "data", "installation.yaml"); ok {
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(g.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	c := pod.Containers[0]
	args := slices.Concat(c.Args, []string{"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"}, more)
	for i := range args {
		args[i] = strings.NewReplacer("$(STORE_URL)", "file://"+store, "/etc/self-scaling/config/installation.yaml", config, "/var/lib/self-scaling", store).Replace(args[i])
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "TMPDIR="+dir)
	said := &programlog.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		defer cancel()
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s %s ends with %v: %s", c.Command[0], strings.Join(args, " "), err, said)
		}
	})
	t.Cleanup(end)
	return said, end
}

// program builds a program of ours, and returns its path until the test ends.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "./cmd/"+name)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// comes waits until something holds. The bound only ends a wait for what never does.
func comes(t *testing.T, what string, said *programlog.Buffer, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never is that %s: %s", what, said)
		}
	}
}

func podOf(t *testing.T, objects []*unstructured.Unstructured, program string) corev1.PodSpec {
	t.Helper()
	if program == "standalone" {
		return decode[appsv1.StatefulSet](t, find(t, objects, "StatefulSet", "self-scaling-standalone")).Spec.Template.Spec
	}
	return decode[appsv1.Deployment](t, find(t, objects, "Deployment", "self-scaling-"+program)).Spec.Template.Spec
}

func TestTheControllerMayDoWhatItDoes(t *testing.T) {
	path := program(t, "controller")
	for _, engine := range []string{"argo", "jobs"} {
		t.Run(engine, func(t *testing.T) {
			objects := mustRender(t, `{watchNamespaces: [prod], engine: `+engine+`}`)
			g := newGuarded(t, objects, "self-scaling-controller")
			g.Load("kubectl", workload+expired)
			said, end := g.runs(t, path, objects, podOf(t, objects, "controller"))
			comes(t, "the service has a policy with a status", said, func() bool {
				all := g.List("scalingpolicies")
				return len(all) == 1 && all[0].Object["status"] != nil
			})
			comes(t, "the floor that has expired is given back", said, func() bool {
				return g.Get("horizontalpodautoscalers", "prod", "web").GetAnnotations()["self-scaling.github.io/floor"] == ""
			})
			comes(t, "people are told so", said, func() bool { return len(g.List("events")) > 0 })
			end()
			g.mustBeAllowed(t)
		})
	}
}

var listening = regexp.MustCompile(`"address":"([^"]+)","metrics"|is at http://([^/]+)/`)

func TestWhoServesTheInterfaceMayDoWhatItDoes(t *testing.T) {
	paths := map[string]string{"api": program(t, "api"), "standalone": program(t, "selfscale")}
	for _, tt := range []struct{ values, program string }{
		{`{watchNamespaces: [prod]}`, "api"}, {`{watchNamespaces: [prod], engine: jobs}`, "api"}, {`{watchNamespaces: [prod], mode: standalone}`, "standalone"},
	} {
		t.Run(tt.values, func(t *testing.T) {
			objects := mustRender(t, tt.values)
			g := newGuarded(t, objects, "self-scaling-"+tt.program)
			g.Load("kubectl", workload+autoscaler)
			said, end := g.runs(t, paths[tt.program], objects, podOf(t, objects, tt.program), "--auth=none")
			var address string
			comes(t, "it listens", said, func() bool {
				m := listening.FindStringSubmatch(said.String())
				if m != nil {
					address = m[1] + m[2]
				}
				return m != nil
			})
			call := func(method, path, body string) (int, string) {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				var text json.RawMessage
				if err := json.NewDecoder(response.Body).Decode(&text); err != nil {
					t.Fatalf("%s %s: %v", method, path, err)
				}
				return response.StatusCode, string(text)
			}
			comes(t, "the components are known", said, func() bool {
				_, body := call("GET", "/v1/services", "")
				return strings.Contains(body, `"shop"`)
			})
			for _, c := range []struct {
				method, path, body string
				status             int
			}{
				{"GET", "/v1/addServices", "", 200},
				{"POST", "/v1/services", `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"web","managed":true}]}]}`, 200},
				{"POST", "/v1/services", `{"services":[{"name":"shop","managed":false}]}`, 200},
				{"POST", "/v1/train-values", `{"Future_data":"2","History_data":"7"}`, 200},
				{"GET", "/v1/train-values", "", 200},
				{"POST", "/v1/runs", `{"pipeline":"infer"}`, 202},
				{"GET", "/v1/runs", "", 200},
			} {
				if status, body := call(c.method, c.path, c.body); status != c.status {
					t.Errorf("%s %s is answered with %d %.300s, want %d", c.method, c.path, status, body, c.status)
				}
			}
			var page struct{ Items []struct{ ID string } }
			_, body := call("GET", "/v1/runs", "")
			if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Items) == 0 {
				t.Fatalf("runs are %s (%v)", body, err)
			}
			if status, body := call("DELETE", "/v1/runs/"+page.Items[0].ID, ""); status != 202 {
				t.Errorf("the run is stopped with %d %.300s, want 202", status, body)
			}
			end()
			g.mustBeAllowed(t)
		})
	}
}

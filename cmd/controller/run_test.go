package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows"
)

// workload is a Deployment with a pod, and an autoscaler of the user's with a floor of 5
// above their 2 until some instant.
const workload = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, uid: web}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {service: shop, app.kubernetes.io/servicecomponent: web, app: web}}, spec: {containers: [{name: a}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, uid: web-1, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: web, controller: true}]}
spec: {replicas: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1-a, labels: {service: shop, app.kubernetes.io/servicecomponent: web, app: web}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: web-1, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
status: {phase: Running}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, uid: hpa, annotations: {self-scaling.github.io/floor: "5", self-scaling.github.io/user-min-replicas: "2", self-scaling.github.io/expires: "UNTIL", self-scaling.github.io/component: default/shop/web}}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 5, maxReplicas: 8}
`

// site is a cluster with an installation.
type site struct {
	*testing.T
	server *clustertest.Server
	dir    string
	until  time.Time // the end of the floor
}

func newSite(t *testing.T, until time.Time) *site {
	kinds := append(clustertest.Kinds(),
		clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"},
		clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "CronWorkflow", Resource: "cronworkflows"})
	s := &site{T: t, server: clustertest.New(t, kinds...), dir: t.TempDir(), until: until}
	s.server.Load(cluster.FieldManager, strings.Replace(workload, "UNTIL", until.UTC().Format(time.RFC3339), 1))
	s.write("kubeconfig", fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: test, contexts: [{name: test, context: {cluster: test, user: test}}],
clusters: [{name: test, cluster: {server: %q}}], users: [{name: test, user: {token: test}}]}`, s.server.Config().Host))
	s.write("installation.yaml", `name: scaling
engine: argo
schedules:
  collect: {enabled: true, cron: ["* * * * *"], startingDeadlineSeconds: 3600}
  train: {enabled: true, cron: ["* * * * *"], suspend: true}
prometheus: http://127.0.0.1:1
backfill: 24h
`)
	t.Setenv("KUBECONFIG", filepath.Join(s.dir, "kubeconfig"))
	return s
}

func (s *site) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *site) minReplicas() int64 {
	n, _, _ := unstructured.NestedInt64(s.server.Get("horizontalpodautoscalers", "default", "web").Object, "spec", "minReplicas")
	return n
}

// replica is a controller that runs.
type replica struct {
	*site
	probes, metrics string // addresses
	cancel          context.CancelFunc
	done            chan error
	log             *programlog.Buffer
}

// start starts a controller.
func (s *site) start(identity, store string) *replica {
	s.Helper()
	r := &replica{site: s, probes: free(s.T), metrics: free(s.T), done: make(chan error, 1), log: &programlog.Buffer{}}
	s.Setenv("POD_NAME", identity)
	x := settings{config: filepath.Join(s.dir, "installation.yaml"), store: store, listen: r.probes, metricsListen: r.metrics}
	x.scope.Namespace = "scaling"
	p, err := x.newProgram(&tracing.Runs{}, slog.New(slog.NewTextHandler(r.log, nil)))
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	s.Cleanup(cancel)
	go func() {
		defer p.close()
		r.done <- p.run(ctx)
	}()
	return r
}

// free returns an address of the loopback that nobody listens on.
func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get returns the answer to a request, "" while nobody answers.
func get(address, path string) (status int, body string) {
	answer, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	data, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(data)
}

func (r *replica) await(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-r.done:
			r.Fatalf("the controller ended, with %v, before %s:\n%s", err, what, r.log)
		default:
		}
		if time.Now().After(deadline) {
			r.Fatalf("waited in vain for %s:\n%s", what, r.log)
		}
	}
}

func (r *replica) end() {
	r.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			r.Errorf("the controller ended with %v", err)
		}
	case <-time.After(time.Minute):
		r.Fatalf("the controller does not end:\n%s", r.log)
	}
}

func TestAControllerKeepsAnInstallationGoing(t *testing.T) {
	s := newSite(t, time.Now().Add(time.Hour))
	a := s.start("a", "file://"+filepath.Join(s.dir, "store"))
	a.await("it to be ready", func() bool { status, _ := get(a.probes, "/readyz"); return status == http.StatusOK })
	if status, body := get(a.probes, "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d %s", status, body)
	}
	a.await("a policy", func() bool { return s.server.Get("scalingpolicies", "default", "shop") != nil })
	// Mode Shadow: the floor, wherever it came from, may not be held.
	a.await("the floor to be given back", func() bool { return s.minReplicas() == 2 })
	a.await("the first run", func() bool {
		for _, o := range s.server.List("workflows") {
			template, _, _ := unstructured.NestedString(o.Object, "spec", "workflowTemplateRef", "name")
			if template == "scaling-full" && strings.HasPrefix(o.GetName(), "run-full-first-") {
				return true
			}
		}
		return false
	})
	a.await("the policy's status", func() bool {
		o := s.server.Get("scalingpolicies", "default", "shop")
		summary, _, _ := unstructured.NestedString(o.Object, "status", "summary")
		return summary == "0/1"
	})
	a.await("metrics", func() bool {
		_, body := get(a.metrics, "/metrics")
		return strings.Contains(body, "selfscaling_controller_leader 1\n") && strings.Contains(body, `selfscaling_components{mode="Shadow"} 1`+"\n")
	})
	for _, path := range []string{"/debug/pprof/", "/usage", "/"} {
		if status, _ := get(a.metrics, path); status != http.StatusNotFound {
			t.Errorf("%s is answered with %d", path, status)
		}
	}

	b := s.start("b", "file://"+filepath.Join(s.dir, "store"))
	b.await("it to be ready", func() bool { status, _ := get(b.probes, "/readyz"); return status == http.StatusOK })
	if _, body := get(b.metrics, "/metrics"); !strings.Contains(body, "selfscaling_controller_leader 0\n") || strings.Contains(body, "selfscaling_components{") {
		t.Error("the replica that does not lead tells of components")
	}
	a.end()
	b.await("it to lead", func() bool {
		_, body := get(b.metrics, "/metrics")
		return strings.Contains(body, "selfscaling_controller_leader 1\n")
	})
	b.end()
	if o := s.server.Get("leases", "scaling", "scaling-controller"); o != nil {
		if holder, _, _ := unstructured.NestedString(o.Object, "spec", "holderIdentity"); holder != "" {
			t.Errorf("the lease is still %s's", holder)
		}
	}
	first := 0
	for _, o := range s.server.List("workflows") {
		if strings.HasPrefix(o.GetName(), "run-full-first-") {
			first++
		}
	}
	if first > 2 { // midnight may have passed
		t.Errorf("there are %d first runs", first)
	}
}

func TestFloorsExpireWithoutArgoAndWithoutAStore(t *testing.T) {
	s := newSite(t, time.Now().Add(-time.Minute))
	s.server.Fail = func(_, path string) *apierrors.StatusError {
		if strings.Contains(path, "argoproj.io") && !strings.HasSuffix(path, "rollouts") {
			return apierrors.NewInternalError(io.ErrUnexpectedEOF)
		}
		return nil
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	a := s.start("a", "s3://bucket?endpoint=127.0.0.1:1&insecure=true")
	a.await("the floor to be given back", func() bool { return s.minReplicas() == 2 })
	if status, body := get(a.probes, "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	a.end()
}

func TestRestoreTriesAgain(t *testing.T) {
	s := newSite(t, time.Now().Add(time.Hour))
	fails := 3
	s.server.Fail = func(method, _ string) *apierrors.StatusError {
		if method == http.MethodPatch && fails > 0 {
			fails--
			return apierrors.NewServiceUnavailable("it is starting")
		}
		return nil
	}
	code, stdout, stderr := call(t, "restore", "-namespace=scaling", "-labels=aeros,recommended", "-log-format=json")
	if want := "controller: 1 floors were given back\n"; code != 0 || stdout != want {
		t.Fatalf("exit code %d with %q and %q, want 0 with %q", code, stdout, stderr, want)
	}
	if n := s.minReplicas(); n != 2 || fails != 0 {
		t.Errorf("minReplicas is %d, want the user's 2; %d failures are left", n, fails)
	}
}

func TestRestoreThatMayNotSaysSoAtOnce(t *testing.T) {
	s := newSite(t, time.Now().Add(time.Hour))
	s.server.Fail = func(method, _ string) *apierrors.StatusError {
		if method == http.MethodPatch {
			return apierrors.NewForbidden(cluster.HPAResource.GroupResource(), "web", fmt.Errorf("no"))
		}
		return nil
	}
	code, _, stderr := call(t, "restore", "-namespace=scaling", "-timeout=1h")
	if code != workflows.ExitConfig || !strings.Contains(stderr, "0 floors were given back, but not all: write HorizontalPodAutoscaler/web in default") {
		t.Errorf("exit code %d with %q, want %d and one that names the autoscaler", code, stderr, workflows.ExitConfig)
	}
}

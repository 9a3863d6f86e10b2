package remains_test

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

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/remains"
	"github.com/self-scaling/self-scaling/schemas"
)

var withArgo = append(clustertest.Kinds(), clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"})

// object is one of the installation main, in namespace scaling, or of another.
func object(apiVersion, kind, name, namespace, instance, component string) string {
	return fmt.Sprintf(`apiVersion: %s
kind: %s
metadata:
  name: %s
  namespace: %s
  labels: {app.kubernetes.io/part-of: self-scaling, app.kubernetes.io/instance: %s, app.kubernetes.io/component: %s}
---
`, apiVersion, kind, name, namespace, instance, component)
}

func connect(t *testing.T, server *clustertest.Server) *cluster.Client {
	t.Helper()
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// all lists what a server has, as resource/namespace/name.
func all(server *clustertest.Server) []string {
	var out []string
	for _, resource := range []string{"workflows", "configmaps", "leases", "pods", "scalingpolicies"} {
		for _, o := range server.List(resource) {
			out = append(out, resource+"/"+o.GetNamespace()+"/"+o.GetName())
		}
	}
	return out
}

const (
	workflow = "argoproj.io/v1alpha1"
	lease    = "coordination.k8s.io/v1"
	policy   = "self-scaling.github.io/v1alpha1"
)

func TestWhatAnInstallationMadeIsRemovedAndNothingElse(t *testing.T) {
	t.Parallel()
	server := clustertest.New(t, withArgo...)
	server.Load("self-scaling", object(workflow, "Workflow", "run-infer", "scaling", "main", "workflows")+
		object("v1", "ConfigMap", "run-train", "scaling", "main", "workflows")+
		object(lease, "Lease", "main-controller", "scaling", "none", "none")+
		object("v1", "Pod", "main-test-store", "scaling", "main", "test")+
		// The hook's own pod, another installation's, another namespace's, the user's.
		object("v1", "Pod", "main-remove", "scaling", "main", "restore")+
		object(workflow, "Workflow", "run-other", "scaling", "other", "workflows")+
		object(lease, "Lease", "other-controller", "scaling", "none", "none")+
		object("v1", "Pod", "other-controller-1", "scaling", "other", "controller")+
		object(workflow, "Workflow", "run-infer", "elsewhere", "main", "workflows")+
		object("v1", "ConfigMap", cluster.TrainValuesName, "scaling", "none", "none")+
		object(policy, "ScalingPolicy", "shop", "scaling", "main", "none"))
	n, err := remains.Remove(t.Context(), connect(t, server), "scaling", "main")
	if n != 4 || err != nil {
		t.Errorf("%d objects removed, error %v; want 4 and none", n, err)
	}
	want := []string{
		"workflows/elsewhere/run-infer", "workflows/scaling/run-other", "configmaps/scaling/self-scaling-train-values",
		"leases/scaling/other-controller", "pods/scaling/main-remove", "pods/scaling/other-controller-1", "scalingpolicies/scaling/shop",
	}
	if diff := cmp.Diff(want, all(server)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if n, err := remains.Remove(t.Context(), connect(t, server), "scaling", "main"); n != 0 || err != nil {
		t.Errorf("again, %d objects removed, error %v; want 0 and none", n, err)
	}
}

// A run that a controller started while it was told to end is removed as well, and
// nothing is said to be gone before the pods are.
func TestItIsNotDoneBeforeAllHaveEnded(t *testing.T) {
	t.Parallel()
	server := clustertest.New(t, withArgo...)
	server.Load("self-scaling", object("v1", "Pod", "main-controller-1", "scaling", "main", "controller"))
	var once sync.Once
	looks := 0
	server.Fail = func(method, path string) *apierrors.StatusError {
		if method != http.MethodGet || !strings.HasSuffix(path, "/pods") {
			return nil
		}
		once.Do(func() { server.Load("argo", object(workflow, "Workflow", "run-late", "scaling", "main", "workflows")) })
		if looks++; looks == 2 { // it has ended
			server.Delete("pods", "scaling", "main-controller-1")
		}
		return nil
	}
	n, err := remains.Remove(t.Context(), connect(t, server), "scaling", "main")
	if n != 1 || err != nil || len(all(server)) != 0 {
		t.Errorf("%d objects removed, error %v, left %v; want the late run, no error and nothing", n, err, all(server))
	}
}

// The labels of a Workflow are Argo's to set, and can be missing.
func TestARunWithoutLabelsIsKnownByItsPods(t *testing.T) {
	t.Parallel()
	server := clustertest.New(t, withArgo...)
	owned := func(pod, instance, owner string) string {
		return strings.TrimSuffix(object("v1", "Pod", pod, "scaling", instance, "workflows"), "---\n") +
			fmt.Sprintf("  ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Workflow, name: %s, uid: 1-2-3}]\n---\n", owner)
	}
	server.Load("self-scaling", object(workflow, "Workflow", "run-bare", "scaling", "none", "none")+
		object(workflow, "Workflow", "run-other", "scaling", "none", "none")+
		owned("run-bare-1", "main", "run-bare")+owned("run-bare-2", "main", "run-bare")+
		owned("run-other-1", "other", "run-other"))
	server.Fail = func(method, path string) *apierrors.StatusError {
		if method == http.MethodDelete && strings.HasSuffix(path, "/run-bare") { // what a cluster's garbage collector does
			server.Delete("pods", "scaling", "run-bare-1")
			server.Delete("pods", "scaling", "run-bare-2")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := remains.Remove(ctx, connect(t, server), "scaling", "main")
	if n != 1 || err != nil {
		t.Errorf("%d objects removed, error %v; want the run and none", n, err)
	}
	if diff := cmp.Diff([]string{"workflows/scaling/run-other", "pods/scaling/run-other-1"}, all(server)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func TestACauseOfFailureIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		harm func(*clustertest.Server)
		code schemas.Code
		want string
	}{
		{"a pod that does not end", func(s *clustertest.Server) {}, schemas.CodeUnavailable, "still there in namespace scaling: pod main-controller-1"},
		{"a right that lacks", func(s *clustertest.Server) { s.Deny("list", "workflows") }, schemas.CodeInvalidConfig, "list workflows in namespace scaling"},
		{"a server that breaks", func(s *clustertest.Server) { s.Break("delete", "leases") }, schemas.CodeUnavailable, "delete lease main-controller in namespace scaling"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := clustertest.New(t, withArgo...)
			server.Load("self-scaling", object("v1", "Pod", "main-controller-1", "scaling", "main", "controller"))
			tt.harm(server)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			looks := 0
			server.Fail = func(method, path string) *apierrors.StatusError {
				if strings.HasSuffix(path, "/workflows") {
					if looks++; looks == 2 { // its time is up
						cancel()
					}
				}
				return nil
			}
			_, err := remains.Remove(ctx, connect(t, server), "scaling", "main")
			if schemas.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("error %v (%s), want %s with %q", err, schemas.CodeOf(err), tt.code, tt.want)
			}
		})
	}
}

func TestAClusterNeedNotHaveArgo(t *testing.T) {
	t.Parallel()
	server := clustertest.New(t, clustertest.Kinds()...)
	server.Load("self-scaling", object("v1", "ConfigMap", "run-train", "scaling", "main", "workflows"))
	if n, err := remains.Remove(t.Context(), connect(t, server), "scaling", "main"); n != 1 || err != nil {
		t.Errorf("%d objects removed, error %v; want 1 and none", n, err)
	}
}

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What everything else stands on: the cluster itself.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	t.Run("every node is Ready", func(t *testing.T) {
		out := c.kubectl(t, "", "get", "nodes", "--output", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`)
		nodes := strings.Fields(out)
		if len(nodes) == 0 {
			t.Fatal("the cluster has no node")
		}
		for _, node := range nodes {
			if !strings.HasSuffix(node, "=True") {
				t.Errorf("node %s", node)
			}
		}
	})
	t.Run("kubectl top tells what nodes and pods use", func(t *testing.T) {
		row := regexp.MustCompile(`(?m)^\S+( +\S+)? +[0-9]+m .*[0-9]+Mi`)
		for _, args := range [][]string{{"top", "nodes"}, {"top", "pods", "--all-namespaces"}} {
			eventually(t, strings.Join(args, " "), 2*time.Minute, func() error {
				out, err := c.try(t.Context(), "", args...)
				if err == nil && !row.MatchString(out) {
					err = errors.New("no line has cores and bytes: " + out)
				}
				return err
			})
		}
	})
	t.Run("the S3 store is live", func(t *testing.T) {
		c.kubectl(t, "", "get", "--raw", "/api/v1/namespaces/argo/services/minio:9000/proxy/minio/health/live")
	})
	t.Run("the Argo server answers what its page asks", func(t *testing.T) {
		out := c.kubectl(t, "", "get", "--raw", "/api/v1/namespaces/argo/services/argo-server:2746/proxy/api/v1/version")
		if !strings.Contains(out, `"version"`) {
			t.Errorf("answer has no version: %s", out)
		}
	})
}

// A workflow made of a template by reference fans out over what its first step
// wrote, and passes an artifact through the store.
func TestWorkflow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	manifest, err := os.ReadFile("testdata/fan-out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, strings.ReplaceAll(string(manifest), "BUSYBOX", image("busybox")), "apply", "--namespace=argo", "--filename=-")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.try(context.Background(), "", "get", "workflows,pods", "--namespace=argo", "--output=wide"))
		}
	})
	name := c.kubectl(t, `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: fan-out-}
spec: {workflowTemplateRef: {name: e2e-fan-out}}
`, "create", "--namespace=argo", "--filename=-", "--output=jsonpath={.metadata.name}")
	t.Cleanup(func() { c.try(context.Background(), "", "delete", "workflow", name, "--namespace=argo") })
	c.phase(t, "argo", "workflow/"+name, "Succeeded", 5*time.Minute)
	out := c.kubectl(t, "", "get", "workflow", name, "--namespace=argo", "--output",
		`jsonpath={range .status.nodes.*}{.type}/{.templateName}={.phase}{"\n"}{end}`)
	if got := strings.Count(out, "Pod/train=Succeeded"); got != 3 {
		t.Errorf("%d shards were trained, want 3:\n%s", got, out)
	}
	if got := strings.Count(out, "Pod/commit=Succeeded"); got != 1 {
		t.Errorf("%d commits, want 1:\n%s", got, out)
	}
}

// Each of the project's images starts where pods must be restricted, as the user that
// it names itself, and finds its program.
func TestImages(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	namespace := c.namespace(t, "restricted")
	for name, says := range map[string]string{
		"collector": "-store", "dataset": "-store", "inference": "-store", "controller": "-store", "api": "-store", "trainer": "-store", "selfscale": "serve",
	} {
		t.Run(name, func(t *testing.T) {
			c.kubectl(t, strings.NewReplacer("NAME", name, "IMAGE", image(name)).Replace(`apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: IMAGE
    command: [NAME, --help]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`), "apply", "--namespace="+namespace, "--filename=-")
			c.phase(t, namespace, "pod/"+name, "Succeeded", 2*time.Minute)
			out := c.kubectl(t, "", "logs", name, "--namespace="+namespace)
			if !strings.Contains(out, name) || !strings.Contains(out, says) {
				t.Errorf("help does not tell of %s:\n%s", says, out)
			}
		})
	}
}

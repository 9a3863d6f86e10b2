//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Where the images lie, and which of them are meant. Those of the test cluster came
// from no registry.
func imageRegistry() string { return cmp.Or(os.Getenv("IMAGE_REGISTRY"), "localhost") }
func imageTag() string      { return cmp.Or(os.Getenv("IMAGE_TAG"), "test") }

// image returns the name of an image of the project or of the test cluster.
func image(name string) string { return imageRegistry() + "/" + name + ":" + imageTag() }

// A cluster is a Kubernetes that tests run on.
type cluster struct {
	kubeconfig string
	own        bool              // it is the one of make cluster
	programs   map[string]string // paths of kubectl, helm and argo
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{kubeconfig: os.Getenv("KUBECONFIG"), programs: map[string]string{}}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	harness := filepath.Join(cache, "self-scaling", "cluster", "pki", "admin.kubeconfig")
	if c.kubeconfig == "" {
		c.kubeconfig = harness
		if _, err := os.Stat(c.kubeconfig); err != nil {
			t.Fatalf("no KUBECONFIG is set and no cluster runs (make cluster): %v", err)
		}
	}
	c.own = c.kubeconfig == harness
	argo := cmp.Or(os.Getenv("ARGO"), "v*")
	for name, version := range map[string]string{"kubectl": "v*", "helm": "v*", "argo": argo} {
		c.programs[name] = name
		if built, _ := filepath.Glob(filepath.Join(cache, "self-scaling", "bin", name+"-"+version, name)); len(built) > 0 {
			c.programs[name] = built[len(built)-1]
		}
	}
	return c
}

// run runs a program against the cluster and returns what it writes.
func (c cluster) run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.programs[program], args...)
	cmd.Stdin = strings.NewReader(stdin)
	return c.output(cmd, "ARGO_SERVER=")
}

// output runs a command against the cluster, with more variables in its environment,
// and returns what it writes.
func (c cluster) output(cmd *exec.Cmd, variables ...string) (string, error) {
	cmd.Env = slices.Concat(os.Environ(), []string{"KUBECONFIG=" + c.kubeconfig}, variables)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// try runs kubectl.
func (c cluster) try(ctx context.Context, stdin string, args ...string) (string, error) {
	return c.run(ctx, stdin, "kubectl", args...)
}

// must runs a program that must succeed.
func (c cluster) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := c.run(t.Context(), "", program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c cluster) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := c.try(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// afterwards runs kubectl when the test, and with it its context, has ended.
func (c cluster) afterwards(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.try(ctx, "", args...); err != nil {
		t.Error(err)
	}
}

// namespace makes a namespace that is deleted when the test ends. Its pods must
// keep to the Pod Security Standard of that level.
func (c cluster) namespace(t *testing.T, level string) string {
	t.Helper()
	name := strings.TrimSpace(c.kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {generateName: e2e-, labels: {pod-security.kubernetes.io/enforce: "+level+"}}\n",
		"create", "--filename=-", "--output=jsonpath={.metadata.name}"))
	t.Cleanup(func() {
		if t.Failed() {
			c.dump(t, name)
		}
		c.afterwards(t, "delete", "namespace", name, "--wait=false", "--ignore-not-found")
	})
	return name
}

// dump logs what a reader of a failed test has to know of a namespace.
func (c cluster) dump(t *testing.T, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods", "--output=wide"},
		{"get", "workflows,cronworkflows,scalingpolicies,hpa,deployments,jobs", "--ignore-not-found"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		out, err := c.try(ctx, "", append(args, "--namespace="+namespace)...)
		t.Logf("kubectl %s (error %v):\n%s", strings.Join(args, " "), err, out)
	}
	list, _ := c.try(ctx, "", "get", "pods", "--namespace="+namespace, "--sort-by=.metadata.creationTimestamp", "--output=name")
	pods := strings.Fields(list)
	for _, pod := range pods[max(0, len(pods)-20):] {
		out, err := c.try(ctx, "", "logs", pod, "--namespace="+namespace, "--all-containers", "--tail=15", "--prefix")
		t.Logf("logs of %s (error %v):\n%s", pod, err, out)
	}
}

// errFinal is wrapped by a failure that waiting does not mend.
var errFinal = errors.New("final")

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, limit time.Duration, holds func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := holds()
		if err == nil {
			return
		}
		if errors.Is(err, errFinal) {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// phase waits until an object has the phase wanted; one of the others ends the wait.
func (c cluster) phase(t *testing.T, namespace, object, want string, limit time.Duration) {
	t.Helper()
	eventually(t, object+" is "+want, limit, func() error {
		out, err := c.try(t.Context(), "", "get", object, "--namespace="+namespace, "--output=jsonpath={.status.phase} {.status.message}")
		if err != nil {
			return err
		}
		got, message, _ := strings.Cut(out, " ")
		switch got {
		case want:
			return nil
		case "Failed", "Error", "Succeeded":
			return fmt.Errorf("%w: phase is %s: %s", errFinal, got, message)
		}
		return fmt.Errorf("phase is %q: %s", got, message)
	})
}

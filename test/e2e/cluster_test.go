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
	"strings"
	"testing"
	"time"
)

// image returns the name of an image of the project or of the test cluster.
func image(name string) string {
	return cmp.Or(os.Getenv("IMAGES"), "localhost/") + name + ":" + cmp.Or(os.Getenv("IMAGE_TAG"), "test")
}

// A cluster is a Kubernetes that tests run on.
type cluster struct {
	kubectlPath, kubeconfig string
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{kubectlPath: "kubectl", kubeconfig: os.Getenv("KUBECONFIG")}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if c.kubeconfig == "" {
		c.kubeconfig = filepath.Join(cache, "self-scaling", "cluster", "pki", "admin.kubeconfig")
		if _, err := os.Stat(c.kubeconfig); err != nil {
			t.Fatalf("no KUBECONFIG is set and no cluster runs (make cluster): %v", err)
		}
	}
	if built, _ := filepath.Glob(filepath.Join(cache, "self-scaling", "bin", "kubectl-v*", "kubectl")); len(built) > 0 {
		c.kubectlPath = built[len(built)-1]
	}
	return c
}

// try runs kubectl and returns what it writes.
func (c cluster) try(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectlPath, append([]string{"--kubeconfig=" + c.kubeconfig}, args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (c cluster) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := c.try(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// namespace makes a namespace that is deleted when the test ends. Its pods must
// keep to the Pod Security Standard of that level.
func (c cluster) namespace(t *testing.T, level string) string {
	t.Helper()
	name := strings.TrimSpace(c.kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {generateName: e2e-, labels: {pod-security.kubernetes.io/enforce: "+level+"}}\n",
		"create", "--filename=-", "--output=jsonpath={.metadata.name}"))
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "pods", "--output=wide"}, {"get", "events", "--sort-by=.lastTimestamp"}} {
				out, err := c.try(context.Background(), "", append(args, "--namespace="+name)...)
				t.Logf("kubectl %s (error %v):\n%s", strings.Join(args, " "), err, out)
			}
		}
		if _, err := c.try(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	return name
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

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

const (
	chart = "../../charts/self-scaling"
	// Of the store's Service, as pods name it; a prefix per release goes before.
	storeQuery    = "?endpoint=minio.argo:9000&insecure=true"
	storeSecret   = "self-scaling-s3"
	storeUser     = "self-scaling"
	storePassword = "self-scaling-test"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", storeUser)
	os.Setenv("AWS_SECRET_ACCESS_KEY", storePassword)
	code := m.Run()
	os.RemoveAll(built.dir) // "" is nothing
	os.Exit(code)
}

// A release is the chart, installed into a namespace of its own.
type release struct {
	cluster
	namespace string
	name      string // of the release, and what its objects' names begin with
}

// newRelease makes the namespace with the Secret that the chart wants, and the
// CustomResourceDefinition, which the releases of all tests share.
func newRelease(t *testing.T, c cluster) *release {
	t.Helper()
	r := &release{cluster: c, namespace: c.namespace(t, "restricted"), name: "self-scaling"}
	r.credentials(t, "s3://self-scaling/"+r.namespace+storeQuery, storePassword)
	c.must(t, "kubectl", "apply", "--server-side", "--force-conflicts", "--filename="+chart+"/files/scalingpolicies.yaml")
	return r
}

// credentials writes the Secret anew.
func (r *release) credentials(t *testing.T, url, secretKey string) {
	t.Helper()
	r.kubectl(t, fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %s, namespace: %s}
stringData: {STORE_URL: %q, AWS_ACCESS_KEY_ID: %q, AWS_SECRET_ACCESS_KEY: %q}
`, storeSecret, r.namespace, url, storeUser, secretKey), "apply", "--filename=-")
}

// values are those of every release of the tests: where the images are, that nothing
// outside of the release's namespace is touched, and that several releases fit on one
// small node.
func (r *release) values(sets []string) []string {
	all := []string{
		"image.registry=" + imageRegistry(), "image.tag=" + imageTag(),
		"watchNamespaces={" + r.namespace + "}", "crds.enabled=false",
		"trainer.resources.requests.cpu=100m", "controller.resources.requests.cpu=10m", "api.resources.requests.cpu=10m",
	}
	var args []string
	for _, s := range slices.Concat(all, sets) {
		args = append(args, "--set", s)
	}
	return args
}

// install installs the chart, waits until it is ready and uninstalls it when the
// test ends. Each of sets is a value as helm --set takes it.
func (r *release) install(t *testing.T, sets ...string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			r.dump(t, r.namespace)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if _, err := r.run(ctx, "", "helm", "uninstall", r.name, "--namespace="+r.namespace, "--ignore-not-found", "--wait", "--timeout=2m"); err != nil {
			t.Error(err)
		}
	})
	r.helm(t, "install", slices.Concat([]string{r.name, chart, "--wait", "--timeout=5m"}, r.values(sets))...)
}

// upgrade changes the values: those not given are the chart's.
func (r *release) upgrade(t *testing.T, sets ...string) {
	t.Helper()
	r.helm(t, "upgrade", slices.Concat([]string{r.name, chart, "--wait", "--timeout=5m"}, r.values(sets))...)
}

func (r *release) helm(t *testing.T, command string, args ...string) string {
	t.Helper()
	return r.must(t, "helm", append([]string{command, "--namespace=" + r.namespace}, args...)...)
}

func (r *release) get(t *testing.T, object, jsonpath string) string {
	t.Helper()
	return r.kubectl(t, "", "get", object, "--namespace="+r.namespace, "--output=jsonpath="+jsonpath)
}

// store opens what the release keeps, for reading. It holds until the test ends.
func (r *release) store(t *testing.T) *artifact.Store {
	t.Helper()
	address := r.forward(t, "argo", "service/minio", 9000)
	s, err := artifact.Open(t.Context(), "s3://self-scaling/"+r.namespace+"?endpoint="+address+"&insecure=true",
		artifact.Drivers{"s3": s3bucket.Open}, artifact.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forward makes a port of a pod or service reachable, and returns its address here.
func (c cluster) forward(t *testing.T, namespace, object string, port int) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), c.programs["kubectl"], "--kubeconfig="+c.kubeconfig, "port-forward",
		"--namespace="+namespace, "--address=127.0.0.1", object, fmt.Sprintf(":%d", port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`127\.0\.0\.1:(\d+) ->`).FindStringSubmatch(lines.Text()); m != nil {
			go func() { // so that it never waits for a reader
				for lines.Scan() {
				}
			}()
			return net.JoinHostPort("127.0.0.1", m[1])
		}
	}
	t.Fatalf("port-forward to %s in %s ended: %v", object, namespace, cmd.Wait())
	return ""
}

// commits counts the heads that each run has made in one line of them.
func commits(t *testing.T, s *artifact.Store, p schemas.Pipeline) map[string]int {
	t.Helper()
	n := map[string]int{}
	for head, err := range s.Heads(t.Context(), p) {
		if err != nil {
			t.Fatal(err)
		}
		n[head.Run]++
	}
	return n
}

// A series is what one component used in the past.
type series struct {
	service, component string
	cores              func(at time.Time) float64
}

// seed lays history of a number of days up to end into the store, as an operator
// does who has it in a file.
func (r *release) seed(t *testing.T, run string, days int, end time.Time, all ...series) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "usage.csv")
	var b strings.Builder
	b.WriteString("time,service,component,cpu,memory,namespace\n")
	for at := end.AddDate(0, 0, -days); at.Before(end); at = at.Add(15 * time.Minute) {
		for _, s := range all {
			fmt.Fprintf(&b, "%s,%s,%s,%.4f,%d,%s\n", at.Format(time.RFC3339), s.service, s.component, s.cores(at), 64<<20, r.namespace)
		}
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	r.kubectl(t, "", "create", "configmap", run, "--namespace="+r.namespace, "--from-file="+file)
	r.kubectl(t, strings.NewReplacer("NAME", run, "IMAGE", image("collector"), "NOW", end.Format(time.RFC3339), "SECRET", storeSecret).Replace(`apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: collector
    image: IMAGE
    command: [/bin/collector, -store, $(STORE_URL), -run, NAME, -history, /history/usage.csv, -now, "NOW"]
    envFrom: [{secretRef: {name: SECRET}}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: history, mountPath: /history}, {name: tmp, mountPath: /tmp}]
  volumes: [{name: history, configMap: {name: NAME}}, {name: tmp, emptyDir: {}}]
`), "apply", "--namespace="+r.namespace, "--filename=-")
	r.phase(t, r.namespace, "pod/"+run, "Succeeded", 3*time.Minute)
}

// daily is a demand that is high for the working day.
func daily(low, high float64) func(time.Time) float64 {
	return func(at time.Time) float64 {
		hour := float64(at.Hour()) + float64(at.Minute())/60
		return low + (high-low)*math.Exp(-math.Pow((hour-13)/4, 2))
	}
}

//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	kubernetes "github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
	"github.com/self-scaling/self-scaling/schemas"
)

// How many components there are: $COMPONENTS of them, where that is set.
var scaleComponents = func() int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("COMPONENTS"), "1000"))
	if err != nil {
		panic(err)
	}
	return n
}()

const (
	scalePods  = 10 // of each
	scaleNodes = 20
	// readOnce makes this program take one reading of the cluster, so that what
	// it takes of time and memory is measured alone.
	readOnce = "E2E_READ_ONCE"
)

// A thousand components with ten pods each, which kwok plays, on the real API server,
// scheduler, HPA controller and metrics-server.
func TestScale(t *testing.T) {
	c := newCluster(t)
	if !c.own || os.Getenv("KWOK") == "" {
		t.Skip("simulates nodes on the machine of the cluster: make e2e-scale")
	}
	r := newRelease(t, c)
	r.simulateNodes(t)
	r.kubectl(t, scaleManifest(), "create", "--namespace="+r.namespace, "--filename=-")
	eventually(t, "all pods run", 40*time.Minute, func() error {
		out, err := r.try(t.Context(), "", "get", "deployments", "--namespace="+r.namespace, "--output=jsonpath={.items[*].status.readyReplicas}")
		ready := 0
		for n := range strings.FieldsSeq(out) {
			v, _ := strconv.Atoi(n)
			ready += v
		}
		if err == nil && ready < scaleComponents*scalePods {
			err = fmt.Errorf("%d of %d pods are Ready", ready, scaleComponents*scalePods)
		}
		return err
	})
	eventually(t, "metrics-server knows all pods", 10*time.Minute, func() error {
		out, err := r.try(t.Context(), "", "get", "--raw=/apis/metrics.k8s.io/v1beta1/namespaces/"+r.namespace+"/pods")
		if n := strings.Count(out, `"timestamp"`); err == nil && n < scaleComponents*scalePods {
			err = fmt.Errorf("of %d pods", n)
		}
		return err
	})
	t.Run("one reading of all pods", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReadOnce$", "-test.v")
		cmd.Env = append(os.Environ(), readOnce+"="+r.namespace, "KUBECONFIG="+c.kubeconfig)
		out, err := cmd.CombinedOutput()
		m := regexp.MustCompile(`components (\d+) seconds ([0-9.]+) MiB ([0-9.]+)`).FindStringSubmatch(string(out))
		if err != nil || m == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("FIGURE one reading of %d pods: %s components, %s s, at most %s MiB resident", scaleComponents*scalePods, m[1], m[2], m[3])
		seconds, _ := strconv.ParseFloat(m[2], 64)
		mib, _ := strconv.ParseFloat(m[3], 64)
		if m[1] != strconv.Itoa(scaleComponents) || seconds > 5 || mib > 128 {
			t.Errorf("want %d components in at most 5 s and 128 MiB", scaleComponents)
		}
	})
	r.seedFromHere(t)
	r.kubectl(t, "apiVersion: self-scaling.github.io/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: fleet}\nspec: {service: fleet, mode: Auto}\n",
		"apply", "--namespace="+r.namespace, "--filename=-")
	r.install(t, "controller.replicas=1", "api.enabled=false", "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true")
	for i, limit := range []time.Duration{3 * time.Minute, time.Minute} {
		t.Run([]string{"first cycle", "nothing has changed"}[i], func(t *testing.T) {
			began := time.Now()
			r.ended(t, r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-collect", "--output=name"), "Succeeded")
			collected := time.Since(began)
			r.ended(t, r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-infer", "--output=name"), "Succeeded")
			took := time.Since(began)
			t.Logf("FIGURE a cycle over %d components: %.0f s, of them %.0f s to collect", scaleComponents, took.Seconds(), collected.Seconds())
			if took > limit {
				t.Errorf("it took %s, want at most %s", took.Round(time.Second), limit)
			}
			floors := strings.Fields(r.get(t, "hpa", `{range .items[*]}{.metadata.annotations.self-scaling\.github\.io/floor} {end}`))
			if len(floors) != scaleComponents {
				t.Errorf("%d components have a floor, want %d", len(floors), scaleComponents)
			}
		})
	}
}

// TestReadOnce is run by TestScale, as a process of its own.
func TestReadOnce(t *testing.T) {
	namespace := os.Getenv(readOnce)
	if namespace == "" {
		t.Skip("is a part of TestScale")
	}
	config, err := kubernetes.LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	sampler := usage.New(client, usage.Options{Scope: kubernetes.Scope{Namespaces: []string{namespace}, Presets: kubernetes.Presets()}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	began := time.Now()
	if _, err := sampler.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	components := 0
	bucket := began.Truncate(schemas.DefaultStep)
	if err := sampler.Samples(t.Context(), bucket, bucket.Add(2*schemas.DefaultStep), schemas.DefaultStep, func(*schemas.Sample) error {
		components++
		return nil
	}); err != nil {
		t.Logf("samples: %v", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatal("the kernel does not tell how much memory was resident")
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	fmt.Printf("components %d seconds %.2f MiB %.1f\n", components, took.Seconds(), kib/1024)
}

// scaleManifest is a Deployment and the user's autoscaler for each component.
func scaleManifest() string {
	var b strings.Builder
	for i := range scaleComponents {
		fmt.Fprintf(&b, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: c%[1]d}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app.kubernetes.io/servicecomponent: c%[1]d}}
  template:
    metadata:
      labels: {service: fleet, app.kubernetes.io/servicecomponent: c%[1]d}
      annotations: {kwok.x-k8s.io/usage-cpu: 70m, kwok.x-k8s.io/usage-memory: 16Mi}
    spec:
      automountServiceAccountToken: false
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: load
        image: simulated
        resources: {requests: {cpu: 100m}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: c%[1]d}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: c%[1]d}
  minReplicas: %[2]d
  maxReplicas: 20
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
`, i, scalePods)
	}
	return b.String()
}

// simulateNodes starts kwok and gives it nodes, until the test ends.
func (r *release) simulateNodes(t *testing.T) {
	t.Helper()
	const port = 10247
	dir := t.TempDir()
	kwok := moduleFile(t, "sigs.k8s.io/kwok@v0.8.0", "kustomize")
	config := filepath.Join(dir, "kwok.yaml")
	var all strings.Builder
	for _, name := range []string{"stage/node/fast/node-initialize.yaml", "stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
		"stage/pod/fast/pod-ready.yaml", "stage/pod/fast/pod-delete.yaml", "metrics/resource/metrics-resource.yaml", "metrics/usage/usage-from-annotation.yaml"} {
		text, err := os.ReadFile(filepath.Join(kwok, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s\n", text)
	}
	if err := os.WriteFile(config, []byte(all.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	// Where metrics-server asks for the nodes' usage, as it asks a kubelet.
	pki := filepath.Join(filepath.Dir(r.kubeconfig), "kubelet")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Getenv("KWOK"), "--kubeconfig="+r.kubeconfig, "--config="+config,
		"--manage-nodes-with-label-selector=type=kwok", "--cidr=10.250.0.0/16", "--node-ip="+hostIP, "--node-port="+strconv.Itoa(port),
		"--server-address="+hostIP+":"+strconv.Itoa(port), "--tls-cert-file="+pki+".crt", "--tls-private-key-file="+pki+".key", "--node-lease-duration-seconds=40")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its pods end while there is who plays their kubelets.
		r.try(context.Background(), "", "delete", "namespace", r.namespace, "--timeout=5m")
		r.try(context.Background(), "", "delete", "nodes", "--selector=type=kwok")
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("kwok said:\n%s", said[max(0, len(said)-4000):])
		}
	})
	var nodes strings.Builder
	for i := range scaleNodes {
		fmt.Fprintf(&nodes, `---
apiVersion: v1
kind: Node
metadata:
  name: kwok-%[1]d
  labels: {type: kwok, kubernetes.io/hostname: kwok-%[1]d}
  annotations: {kwok.x-k8s.io/node: fake, metrics.k8s.io/resource-metrics-path: /metrics/nodes/kwok-%[1]d/metrics/resource}
spec: {taints: [{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}]}
status:
  allocatable: {cpu: "1000", memory: 1000Gi, pods: "2000"}
  capacity: {cpu: "1000", memory: 1000Gi, pods: "2000"}
`, i)
	}
	r.kubectl(t, nodes.String(), "create", "--filename=-")
	eventually(t, "the simulated nodes are Ready", 2*time.Minute, func() error {
		out, err := r.try(t.Context(), "", "get", "nodes", "--selector=type=kwok", `--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		if n := strings.Count(out, "True"); err == nil && n < scaleNodes {
			err = fmt.Errorf("%d of %d", n, scaleNodes)
		}
		return err
	})
}

// seedFromHere lays ten days of every component into the store: more than a ConfigMap
// holds.
func (r *release) seedFromHere(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "usage.csv")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := time.Now().UTC().Truncate(15 * time.Minute)
	fmt.Fprintln(f, "time,service,component,cpu,memory,namespace")
	for at := end.AddDate(0, 0, -10); at.Before(end); at = at.Add(15 * time.Minute) {
		for i := range scaleComponents {
			// A little more than ten pods can carry at the user's utilization.
			fmt.Fprintf(f, "%s,fleet,c%d,%.3f,%d,%s\n", at.Format(time.RFC3339), i, .8+.01*daily(0, 1)(at), 160<<20, r.namespace)
		}
	}
	address := r.forward(t, "argo", "service/minio", 9000)
	cmd := exec.CommandContext(t.Context(), "go", "run", "../../cmd/collector", "-run=seed", "-history="+file, "-now="+end.Format(time.RFC3339),
		"-store=s3://self-scaling/"+r.namespace+"?endpoint="+address+"&insecure=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(errors.Join(err, errors.New(string(out))))
	}
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// One pod without Argo and S3, on a volume, within the memory that the chart gives it:
// it learns the past of a hundred components from Prometheus, trains, moves floors,
// starts again where it was, and gives everything back.
func TestStandalone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if !c.own {
		t.Skip("needs a Prometheus that the cluster's pods reach: make cluster")
	}
	const components = 100
	r := newRelease(t, c)
	web := workload{name: "web", cpu: fmt.Sprint(requestCores), hpas: 1, load: "-base=.01 -peak=.01"}
	past := []series{{"shop", web.name, daily(.04, .06)}}
	var others strings.Builder
	for i := range components - 1 {
		w := workload{name: fmt.Sprintf("idle%02d", i), cpu: fmt.Sprint(requestCores), load: "-base=0 -peak=0"}
		past = append(past, series{"shop", w.name, daily(.04, .06)})
		// They are there and run nothing: what is measured is ours.
		fmt.Fprintf(&others, "---\n%s", strings.Replace(w.manifest(), "replicas: 1", "replicas: 0", 1))
	}
	url := r.prometheus(t, 10, past...)
	r.kubectl(t, others.String(), "apply", "--namespace="+r.namespace, "--filename=-")
	r.deploy(t, web)
	spec := usersOwn(r.specs(t))
	claim := r.volume(t)
	installed := time.Now()
	r.install(t, "mode=standalone", "prometheus.url="+url, "backfill=240h", "standalone.persistence.existingClaim="+claim)
	pod := "pod/" + r.name + "-standalone-0"
	raised := func() error {
		if got := r.get(t, "hpa/web-0", "{.spec.minReplicas}"); got == "1" {
			return fmt.Errorf("minReplicas is %s; %+v", got, r.status(t, "web"))
		}
		return nil
	}
	eventually(t, "a floor is applied", 10*time.Minute, raised)
	t.Logf("FIGURE standalone: first floor %.0f s after helm install", time.Since(installed).Seconds())
	address, token := r.forward(t, r.namespace, "service/"+r.name+"-standalone", 80), r.operator(t)
	eventually(t, "a training of all components has ended well", 10*time.Minute, func() error {
		out, err := r.selfscale(t, address, token, "runs", "--output=json")
		if err != nil {
			return err
		}
		var page struct {
			Items []struct{ Pipeline, Phase string }
		}
		if err := json.Unmarshal([]byte(out), &page); err != nil {
			return fmt.Errorf("%w: %v in %s", errFinal, err, out)
		}
		for _, run := range page.Items {
			// The first of all measures, trains and decides in one.
			if (run.Pipeline == "train" || run.Pipeline == "full") && strings.EqualFold(run.Phase, "Succeeded") {
				return nil
			}
		}
		return errors.New("runs are " + out)
	})
	t.Run("it has kept within its memory", func(t *testing.T) {
		if got := r.get(t, pod, "{.status.containerStatuses[0].restartCount}"); got != "0" {
			t.Errorf("the container was started again %s times: %s", got, r.get(t, pod, "{.status.containerStatuses[0].lastState}"))
		}
		peak := r.memoryPeak(t, pod)
		const most = 128 << 20 // what the chart gives it
		t.Logf("FIGURE standalone: %d components, training included: at most %.0f MiB resident, the program's own pages included, of %s", components, float64(peak)/(1<<20), r.get(t, pod, "{.spec.containers[0].resources.limits.memory}"))
		if peak > most {
			t.Errorf("%d bytes were resident, at most %d may be", peak, most)
		}
	})
	t.Run("started again, it goes on", func(t *testing.T) {
		r.kubectl(t, "", "delete", pod, "--namespace="+r.namespace)
		r.kubectl(t, "", "rollout", "status", "statefulset/"+r.name+"-standalone", "--namespace="+r.namespace, "--timeout=3m")
		if err := raised(); err != nil {
			t.Error(err)
		}
	})
	r.helm(t, "uninstall", r.name, "--wait", "--timeout=5m")
	eventually(t, "every spec is the user's", 2*time.Minute, func() error {
		if diff := cmp.Diff(spec, usersOwn(r.specs(t))); diff != "" {
			return fmt.Errorf("(-want +got)\n%s", diff)
		}
		return nil
	})
}

var replicas = regexp.MustCompile(`"replicas":\d+,`)

// usersOwn returns the lines of specs without what an autoscaler sets.
func usersOwn(specs string) string { return replicas.ReplaceAllString(specs, "") }

// volume makes a claim that is bound to a folder of this machine.
func (r *release) volume(t *testing.T) (claim string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask
		t.Fatal(err)
	}
	name := r.namespace + "-data"
	r.kubectl(t, strings.NewReplacer("CLAIM", name, "DIR", dir, "NAMESPACE", r.namespace).Replace(`apiVersion: v1
kind: PersistentVolume
metadata: {name: CLAIM}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: NAMESPACE, name: CLAIM}
  hostPath: {path: DIR, type: Directory}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: CLAIM, namespace: NAMESPACE}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: CLAIM
  resources: {requests: {storage: 1Gi}}
`), "apply", "--filename=-")
	t.Cleanup(func() {
		r.afterwards(t, "delete", "persistentvolume/"+name, "--wait=false")
	})
	return name
}

// memoryPeak returns the most memory that a pod's program has had resident, in bytes.
func (r *release) memoryPeak(t *testing.T, pod string) int {
	t.Helper()
	uid := strings.ReplaceAll(r.get(t, pod, "{.metadata.uid}"), "-", "")
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	peak := 0
	for _, path := range groups {
		group, err := os.ReadFile(path)
		if err != nil || !strings.Contains(strings.NewReplacer("-", "", "_", "").Replace(string(group)), uid) {
			continue // of a process that has ended, or of another pod
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				var kib int
				fmt.Sscan(rest, &kib)
				peak = max(peak, kib<<10) // beside it is what holds the pod's network
			}
		}
	}
	if peak == 0 {
		t.Fatalf("no process of %s was found", pod)
	}
	return peak
}

// operator makes an account that has the chart's role for people who change things, and
// returns a token of it.
func (r *release) operator(t *testing.T) string {
	t.Helper()
	r.kubectl(t, strings.NewReplacer("NAMESPACE", r.namespace, "NAME", r.name).Replace(`apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAMESPACE-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAMESPACE-NAME-edit}
subjects: [{kind: ServiceAccount, name: operator, namespace: NAMESPACE}]
`), "apply", "--filename=-")
	t.Cleanup(func() { r.afterwards(t, "delete", "clusterrolebinding/"+r.namespace+"-operator") })
	return strings.TrimSpace(r.kubectl(t, "", "create", "token", "operator", "--namespace="+r.namespace, "--duration=1h"))
}

// selfscale runs the command line of ours against the REST interface at an address.
func (r *release) selfscale(t *testing.T, address, token string, args ...string) (string, error) {
	t.Helper()
	return r.output(exec.CommandContext(t.Context(), selfscaleBinary(t), args...), "SELFSCALE_SERVER=http://"+address, "SELFSCALE_TOKEN="+token)
}

// built holds the command line, once [selfscaleBinary] has built it, until all tests
// have ended.
var built struct {
	sync.Once
	dir string
	err error
}

// selfscaleBinary builds the command line once and returns its path.
func selfscaleBinary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "e2e-selfscale-"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-trimpath", "-o", built.dir, "../../cmd/selfscale").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "selfscale")
}

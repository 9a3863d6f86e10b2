//go:build load

package rest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

var (
	components = flag.Int("load.components", 10_000, "how many components are loaded")
	rate       = flag.Float64("load.rate", 500, "requests a second of the steady load")
	long       = flag.Duration("load.for", 5*time.Minute, "how long the steady load lasts")
	outage     = flag.Duration("load.outage", 10*time.Minute, "for how long the store does not answer")
	peak       = flag.Duration("load.peak", 20*time.Second, "how long the peak lasts")
)

// store is an S3 server in this process that can be made unreachable.
type store struct {
	inner http.Handler
	down  atomic.Bool
	asked atomic.Int64
}

// ServeHTTP implements [http.Handler]. While the store is down connections are broken
// off.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.down.Load() {
		panic(http.ErrAbortHandler)
	}
	s.inner.ServeHTTP(w, r)
}

// program is cmd/api in a process of its own, over a cluster and a store in this one.
type program struct {
	address string
	pid     int
	store   *store
	url     string // of the store
	ids     []schemas.ComponentID
	log     *programlog.Buffer
}

func names(n int) []schemas.ComponentID {
	ids := make([]schemas.ComponentID, n)
	for i := range ids {
		ids[i] = schemas.ComponentID{Namespace: fmt.Sprintf("team-%02d", i%20), Service: fmt.Sprintf("service-%04d", i/5), Component: fmt.Sprintf("component-%05d", i)}
	}
	return ids
}

const workload = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[3]s, namespace: %[1]s, uid: %[3]s}
spec:
  replicas: 2
  selector: {matchLabels: {app: %[3]s}}
  template:
    metadata: {labels: {app: %[3]s, service: %[2]s, app.kubernetes.io/servicecomponent: %[3]s}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 250m, memory: 256Mi}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: %[3]s-0, namespace: %[1]s, labels: {app: %[3]s, service: %[2]s, app.kubernetes.io/servicecomponent: %[3]s}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: %[3]s, uid: x, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m, memory: 256Mi}}}]}
status: {phase: Running}
---
`

var address = regexp.MustCompile(`"address":"([^"]+)"`)

// start builds the program and runs it until the test ends.
func start(t *testing.T, n int, args ...string) *program {
	t.Helper()
	p := &program{ids: names(n), log: &programlog.Buffer{}}
	binary := filepath.Join(t.TempDir(), "api")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/api")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	backend := s3mem.New()
	must(t, backend.CreateBucket("store"))
	p.store = &store{inner: gofakes3.New(backend).Server()}
	server := httptest.NewServer(p.store)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	storeURL := "s3://store/load?insecure=true&endpoint=" + strings.TrimPrefix(server.URL, "http://")
	s, err := artifact.Open(t.Context(), storeURL, artifact.Drivers{"s3": s3bucket.Open}, artifact.Options{})
	must(t, err)
	now := time.Now().UTC().Truncate(schemas.DefaultStep)
	apitest.Samples(t, s, p.ids[:min(n, 500)], now, 1)
	apitest.Models(t, s, p.ids, now, "train-1")
	for i := range 3 {
		apitest.Forecasts(t, s, p.ids, now.Add(time.Duration(i-2)*schemas.DefaultStep))
	}
	must(t, s.Close())
	p.url = storeURL

	cluster := clustertest.New(t, append(clustertest.Kinds(), clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"})...)
	for _, id := range p.ids {
		cluster.Load("kubectl", fmt.Sprintf(workload, id.Namespace, id.Service, id.Component))
	}
	dir := t.TempDir()
	kubeconfig, config := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "installation.yaml")
	must(t, os.WriteFile(kubeconfig, []byte(cluster.Kubeconfig()), 0o600))
	must(t, os.WriteFile(config, []byte("name: self-scaling\nengine: argo\nschedules: {}\ntraining: {}\n"), 0o600))

	// Metrics are at an address that nobody asks.
	run := exec.Command(binary, append([]string{
		"-store", storeURL, "-config", config, "-namespace", "self-scaling", "-auth", "none", "-listen", "127.0.0.1:0", "-metrics-listen", "127.0.0.1:0",
		"-log-format", "json", "-cache", t.TempDir(), "-rate-reads", "-1",
	}, args...)...)
	run.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	run.Stderr = p.log
	must(t, run.Start())
	p.pid = run.Process.Pid
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		if err := run.Wait(); err != nil {
			t.Errorf("the program ended with %v\n%.3000s", err, p.log)
		}
	})
	deadline := time.Now().Add(3 * time.Minute)
	for p.address == "" || !p.ready() {
		if m := address.FindStringSubmatch(p.log.String()); m != nil {
			p.address = m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("the program is not ready\n%.3000s", p.log)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *program) status() (s wire.Status, err error) {
	r, err := http.Get("http://" + p.address + "/v1/status")
	if err != nil {
		return s, err
	}
	defer r.Body.Close()
	return s, json.NewDecoder(r.Body).Decode(&s)
}

// ready reports whether everything has been read.
func (p *program) ready() bool {
	s, err := p.status()
	n := 0
	for _, k := range s.Components {
		n += k
	}
	return err == nil && n == len(p.ids) && s.Freshness.Forecast != nil && s.Freshness.Model != nil && s.Freshness.Samples != nil
}

// memory returns how much memory the program has now, and had at most, in bytes.
func (p *program) memory(t *testing.T) (now, most int64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	must(t, err)
	field := func(name string) int64 {
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, name+":"); ok {
				kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				must(t, err)
				return kB << 10
			}
		}
		t.Fatalf("no %s in /proc", name)
		return 0
	}
	return field("VmRSS"), field("VmHWM")
}

// processor returns how much processor time the program has had.
func (p *program) processor(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	ticks := int64(0)
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		must(t, err)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// mix is what a page and a few programs ask for, each time for another component.
func (p *program) mix(i int) []byte {
	id := p.ids[(i*7919)%len(p.ids)]
	path := id.Namespace + "/" + id.Service + "/" + id.Component
	switch i % 10 {
	case 0, 1, 2:
		return request("/v1/forecasts/" + path)
	case 3:
		return request("/v1/forecasts/" + path + "?resource=memory")
	case 4, 5:
		return request("/v1/components/" + path)
	case 6:
		return request("/v1/decisions?limit=5&namespace=" + id.Namespace + "&service=" + id.Service + "&component=" + id.Component)
	case 7:
		return request("/v1/components?limit=20&namespace=" + id.Namespace)
	case 8:
		return request("/v1/forecasts/" + id.Service + "/" + id.Component)
	}
	return request("/v1/status")
}

const mebibyte = 1 << 20

// watch samples the program's memory until ctx ends, and returns the most that it saw.
func (p *program) watch(ctx context.Context, t *testing.T) func() int64 {
	most := make(chan int64, 1)
	go func() {
		var high int64
		for {
			now, _ := p.memory(t)
			high = max(high, now)
			select {
			case <-ctx.Done():
				most <- high
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() int64 { return <-most }
}

// infer stores new forecasts and decisions.
func (p *program) infer(ctx context.Context, now time.Time) error {
	s, err := artifact.Open(ctx, p.url, artifact.Drivers{"s3": s3bucket.Open}, artifact.Options{})
	if err != nil {
		return err
	}
	if _, _, err := forecasts.Write(ctx, s, "1.0.0", apitest.Set(p.ids, now.UTC().Truncate(time.Second)), nil); err != nil {
		return err
	}
	return s.Close()
}

func TestSteadyLoad(t *testing.T) {
	began := time.Now()
	p := start(t, *components)
	_, loading := p.memory(t)
	drive(p.address, 4, 0, 2*time.Second, p.mix) // connections and pools are there from the start
	before := p.processor(t)
	ctx, cancel := context.WithCancel(t.Context())
	most := p.watch(ctx, t)
	// In between, a run of inference leaves something new to show.
	wrote := make(chan error, 1)
	time.AfterFunc(*long/2, func() { wrote <- p.infer(ctx, time.Now()) })
	r := drive(p.address, 32, *rate, *long, p.mix)
	must(t, <-wrote)
	s, err := p.status()
	must(t, err)
	if s.Freshness.Forecast.Before(began) {
		t.Errorf("forecasts are of %s: the new ones have not been seen", s.Freshness.Forecast)
	}
	cancel()
	high := most()
	t.Logf("steady: %v", r)
	t.Logf("processor %.0f us a request; memory at most %d MiB while it loaded, %d MiB under load", float64((p.processor(t)-before).Microseconds())/float64(len(r.took)), loading/mebibyte, high/mebibyte)
	if r.errors > 0 || r.stale > 0 {
		t.Errorf("there are %d errors and %d stale answers", r.errors, r.stale)
	}
	if p99 := r.quantile(.99); p99 > 10*time.Millisecond {
		t.Errorf("p99 is %s, want 10 ms at most", p99)
	}
	if max(high, loading) > 128*mebibyte {
		t.Errorf("memory is %d MiB at most, want 128", max(high, loading)/mebibyte)
	}
}

func TestPeak(t *testing.T) {
	p := start(t, *components)
	id := p.ids[len(p.ids)/2]
	one := request("/v1/forecasts/" + id.Namespace + "/" + id.Service + "/" + id.Component)
	if os.Getenv("WRK") != "" {
		out, err := exec.Command("wrk", "-t1", "-c32", "-d"+peak.String(), "--latency", "http://"+p.address+"/v1/forecasts/"+id.Namespace+"/"+id.Service+"/"+id.Component).CombinedOutput()
		t.Logf("%v\n%s", err, out)
	}
	drive(p.address, 4, 0, 2*time.Second, func(int) []byte { return one })
	before := p.processor(t)
	r := drive(p.address, 32, 0, *peak, func(int) []byte { return one })
	each := float64((p.processor(t) - before).Nanoseconds()) / 1000 / float64(len(r.took))
	high, _ := p.memory(t)
	t.Logf("peak: %v", r)
	t.Logf("processor %.1f us a request, which is %.0f/s on two cores; memory %d MiB", each, 2e6/each, high/mebibyte)
	if r.errors > 0 {
		t.Errorf("there are %d errors", r.errors)
	}
	// Who asks has the same two cores, so that what the program itself takes counts.
	if 2e6/each < 20_000 {
		t.Errorf("two cores answer %.0f requests a second, want 20000", 2e6/each)
	}
}

func TestStoreThatIsUnreachable(t *testing.T) {
	p := start(t, *components)
	p.store.down.Store(true)
	before := p.store.asked.Load()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		s, err := p.status()
		must(t, err)
		if s.Store.Since != nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("nobody notices that the store does not answer")
		}
	}
	r := drive(p.address, 8, 50, *outage, p.mix)
	t.Logf("without a store: %v; it was asked %d times", r, p.store.asked.Load()-before)
	// The status has no mark of its own: it says so in its words.
	if want := len(r.took) * 9 / 10; r.errors > 0 || r.stale < want-10 {
		t.Errorf("there are %d errors, and %d answers of %d are marked as stale", r.errors, r.stale, len(r.took))
	}
	p.store.down.Store(false)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		s, err := p.status()
		must(t, err)
		if s.Store.OK {
			t.Logf("it is fresh %s after the store is back", time.Since(began).Round(time.Millisecond))
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("nobody notices that the store is back")
		}
	}
	if r := drive(p.address, 4, 50, 2*time.Second, p.mix); r.errors > 0 || r.stale > 0 {
		t.Errorf("afterwards: %v", r)
	}
}

package usage_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
	"github.com/self-scaling/self-scaling/schemas"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

const step = schemas.DefaultStep

func pod(name, component string, ready bool) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {service: shop, app.kubernetes.io/servicecomponent: %s}}
spec: {containers: [{name: a, resources: {requests: {cpu: 500m}}}]}
status: {phase: Running, conditions: [{type: Ready, status: %q}]}
---
`, name, component, map[bool]string{true: "True", false: "False"}[ready])
}

func metrics(name string, at time.Time, cpu, memory string) string {
	return fmt.Sprintf(`apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: {name: %s}
timestamp: %s
window: 15s
containers: [{name: a, usage: {cpu: %q, memory: %q}}, {name: b, usage: {cpu: 0, memory: 1Mi}}]
---
`, name, at.Format(time.RFC3339), cpu, memory)
}

type fixture struct {
	*usage.Sampler
	server *clustertest.Server
	clock  *clocktesting.FakeClock
}

func start(t testing.TB) *fixture {
	f := &fixture{server: clustertest.New(t, clustertest.Kinds()...), clock: clocktesting.NewFakeClock(noon)}
	client, err := cluster.NewClient(f.server.Config())
	if err != nil {
		t.Fatal(err)
	}
	f.Sampler = usage.New(client, usage.Options{Clock: f.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return f
}

func (f *fixture) samples(t *testing.T, from, to time.Time) []schemas.Sample {
	t.Helper()
	var out []schemas.Sample
	err := f.Samples(t.Context(), from, to, step, func(s *schemas.Sample) error {
		if err := s.Validate(step); err != nil {
			t.Error(err)
		}
		out = append(out, *s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func TestReadingsBecomeBuckets(t *testing.T) {
	f := start(t)
	web := schemas.ComponentID{Namespace: "default", Service: "shop", Component: "web"}
	f.server.Load("k", pod("a", "web", true)+pod("b", "web", true))
	for i, cpu := range []string{"1", "250m", "123456789n"} {
		f.clock.SetTime(noon.Add(time.Duration(i) * time.Minute))
		f.server.Load("k", metrics("a", f.clock.Now(), cpu, "100Mi")+metrics("b", f.clock.Now(), "1", "100Mi"))
		if missing, err := f.Read(t.Context()); err != nil || len(missing) != 0 {
			t.Fatal(missing, err)
		}
	}
	want := []schemas.Sample{{
		Component: web, Start: noon,
		CPU:      &schemas.Usage{Mean: (2 + 1.25 + 1.123456789) / 3, Max: 2, Count: 3},
		Memory:   &schemas.Usage{Mean: 202 << 20, Max: 202 << 20, Count: 3},
		Replicas: ptr(int32(2)), CPURequest: ptr(.5),
	}}
	if diff := cmp.Diff(want, f.samples(t, noon, noon.Add(step)), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, f.samples(t, noon, noon.Add(step)), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("asked again (-want +got):\n%s", diff)
	}
}

func TestAComponentWithAMissingPodHasNoReading(t *testing.T) {
	for _, tt := range []struct {
		name, b string
		ready   bool
		missing int
		want    *schemas.Usage
	}{
		{"whose metrics are not there", "", true, 1, nil},
		{"whose metrics are old", metrics("b", noon.Add(-6*time.Minute), "1", "1Mi"), true, 1, nil},
		{"whose metrics lack a resource", strings.Replace(metrics("b", noon, "1", "1Mi"), `cpu: "1", `, "", 1), true, 1, nil},
		{"whose metrics are negative", metrics("b", noon, "-1", "1Mi"), true, 1, nil},
		{"which is not Ready yet", "", false, 0, &schemas.Usage{Mean: 1, Max: 1, Count: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t)
			f.server.Load("k", pod("a", "web", true)+pod("b", "web", tt.ready)+pod("c", "api", true)+
				metrics("a", noon, "1", "1Mi")+tt.b+metrics("c", noon, "2", "1Mi")+metrics("stranger", noon, "9", "9Gi"))
			missing, err := f.Read(t.Context())
			if err != nil || len(missing) != tt.missing {
				t.Fatalf("missing %v, %v; want %d", missing, err, tt.missing)
			}
			got := f.samples(t, noon, noon.Add(step))
			if len(got) != 2 || got[0].CPU == nil || got[0].CPU.Mean != 2 {
				t.Fatalf("%+v, want api untouched", got)
			}
			if diff := cmp.Diff(tt.want, got[1].CPU); diff != "" {
				t.Errorf("CPU of web (-want +got):\n%s", diff)
			}
			if got[1].Replicas == nil || *got[1].Replicas != 2 {
				t.Errorf("replicas %v, want 2", got[1].Replicas)
			}
		})
	}
}

func TestAnOutageIsAGap(t *testing.T) {
	f := start(t)
	f.server.Load("k", pod("a", "web", true))
	down := false
	f.server.Fail = func(_, path string) *apierrors.StatusError {
		if down && strings.Contains(path, "metrics.k8s.io") {
			return apierrors.NewServiceUnavailable("metrics-server is away")
		}
		return nil
	}
	for i := range 3 * 15 {
		f.clock.SetTime(noon.Add(time.Duration(i) * time.Minute))
		f.server.Load("k", metrics("a", f.clock.Now(), "1", "1Mi"))
		down = i >= 10 && i < 35
		_, err := f.Read(t.Context())
		if down != (err != nil) {
			t.Fatalf("minute %d: %v", i, err)
		}
	}
	var got []string
	for _, s := range f.samples(t, noon, noon.Add(3*step)) {
		got = append(got, fmt.Sprintf("%s %d", s.Start.Format("15:04"), s.CPU.Count))
	}
	if diff := cmp.Diff([]string{"12:00 10", "12:30 10"}, got); diff != "" {
		t.Errorf("buckets and counts (-want +got):\n%s", diff)
	}
	err := f.Samples(t.Context(), noon.Add(step), noon.Add(2*step), step, func(*schemas.Sample) error { return nil })
	if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(err.Error(), "metrics-server is away") {
		t.Errorf("error %v, want an unavailable one that says why", err)
	}
	// What lies further back cannot be mended by asking again.
	f.clock.SetTime(noon.Add(3 * step))
	if got := f.samples(t, noon.Add(step), noon.Add(2*step)); len(got) != 0 {
		t.Errorf("%+v, want nothing of an outage that is over", got)
	}
	if got := f.samples(t, noon.Add(-step), noon); len(got) != 0 {
		t.Errorf("%+v, want nothing of a time in which it did not run", got)
	}
}

func TestRunReadsEveryFullMinuteUntilItsContextEnds(t *testing.T) {
	f := start(t)
	f.server.Load("k", pod("a", "web", true)+metrics("a", noon, "1", "1Mi"))
	reads := make(chan struct{}, 16)
	f.server.Fail = func(_, path string) *apierrors.StatusError {
		if strings.Contains(path, "metrics.k8s.io") {
			reads <- struct{}{}
		}
		return nil
	}
	f.clock.SetTime(noon.Add(20 * time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	for _, at := range []time.Duration{time.Minute, 2 * time.Minute} {
		for !f.clock.HasWaiters() {
			runtime.Gosched()
		}
		f.clock.SetTime(noon.Add(at))
		<-reads
	}
	cancel()
	<-done
	if got := f.samples(t, noon, noon.Add(step)); len(got) != 1 || got[0].CPU.Count < 1 {
		t.Errorf("%+v, want readings of web", got)
	}
}

func TestAnotherStepIsRefused(t *testing.T) {
	err := start(t).Samples(t.Context(), noon, noon.Add(time.Hour), time.Hour, nil)
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want one of the configuration", err)
	}
}

// server answers the two lists of a cluster with 10,000 pods of 1,000
// components, in pages of the size that is asked for.
func server(b *testing.B, pods int, now time.Time) *rest.Config {
	render := func(kind, apiVersion string, item func(i int) string) http.HandlerFunc {
		items := make([]string, pods)
		for i := range items {
			items[i] = item(i)
		}
		return func(w http.ResponseWriter, r *http.Request) {
			from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
			to, token := pods, ""
			if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && from+limit < pods {
				to, token = from+limit, strconv.Itoa(from+limit)
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"kind":%q,"apiVersion":%q,"metadata":{"continue":%q},"items":[`, kind, apiVersion, token)
			for i := from; i < to; i++ {
				if i > from {
					io.WriteString(w, ",")
				}
				io.WriteString(w, items[i])
			}
			io.WriteString(w, "]}")
		}
	}
	name := func(i int) string { return fmt.Sprintf("web-%05d-5f7d8c9b6d-%05d", i/10, i) }
	env := strings.Repeat(`{"name":"SETTING_OF_SOME_LENGTH","value":"a value as long as they usually are"},`, 20)
	mux := http.NewServeMux()
	mux.Handle("/api/v1/pods", render("PodList", "v1", func(i int) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"default","labels":{"service":"s%d","app.kubernetes.io/servicecomponent":"c%d","pod-template-hash":"5f7d8c9b6d"}},
"spec":{"containers":[{"name":"a","image":"registry.example/shop/web:1.0","env":[%s{"name":"x"}],"resources":{"requests":{"cpu":"250m","memory":"256Mi"}}},{"name":"proxy","resources":{"requests":{"cpu":"50m","memory":"64Mi"}}}]},
"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-03-09T11:00:00Z"},{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-03-09T10:59:00Z"}]}}`,
			name(i), i/100, i/10, env)
	}))
	mux.Handle("/apis/metrics.k8s.io/v1beta1/pods", render("PodMetricsList", "metrics.k8s.io/v1beta1", func(i int) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"default","labels":{"service":"s%d"}},"timestamp":%q,"window":"15s","containers":[{"name":"a","usage":{"cpu":"123456789n","memory":"123456Ki"}},{"name":"proxy","usage":{"cpu":"1234567n","memory":"12345Ki"}}]}`,
			name(i), i/100, now.Format(time.RFC3339))
	}))
	s := httptest.NewServer(mux)
	b.Cleanup(s.Close)
	return &rest.Config{Host: s.URL, QPS: -1}
}

// BenchmarkRead is one reading of 10,000 pods over HTTP, in JSON, which is what
// the slowest server speaks. "heap-MiB" is the most that was in use, the test's
// own server and its 40 MB of answers not counted.
func BenchmarkRead(b *testing.B) {
	client, err := cluster.NewClient(server(b, 10_000, noon))
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, peak := m.HeapAlloc, uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		s := usage.New(client, usage.Options{Clock: clocktesting.NewFakeClock(noon)})
		missing, err := s.Read(b.Context())
		if err != nil || len(missing) != 0 {
			b.Fatal(missing, err)
		}
		n := 0
		err = s.Samples(b.Context(), noon, noon.Add(step), step, func(x *schemas.Sample) error { n++; return x.Validate(step) })
		if err != nil || n != 1000 {
			b.Fatalf("%d samples, %v; want 1000", n, err)
		}
	}
	close(stop)
	<-stopped
	b.ReportMetric(float64(peak-min(peak, before))/(1<<20), "heap-MiB")
}

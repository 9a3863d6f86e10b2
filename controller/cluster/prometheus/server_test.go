//go:build prometheus

package prometheus_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/prometheus"
	"github.com/self-scaling/self-scaling/schemas"
)

// The source against a real server over back-dated blocks. It needs prometheus
// and promtool in the PATH, as make test-prometheus puts them there.
func TestServerAnswersForWeeks(t *testing.T) {
	const days = 14
	end := time.Now().UTC().Truncate(24 * time.Hour)
	begin := end.Add(-days * 24 * time.Hour)
	s := serve(t, begin, func(w *bufio.Writer) { history(w, begin, end) })
	got := map[string]map[time.Time]schemas.Sample{}
	started := time.Now()
	err := s.Samples(t.Context(), begin, end, step, func(x *schemas.Sample) error {
		if err := x.Validate(step); err != nil {
			t.Error(err)
		}
		id := x.Component.String()
		if got[id] == nil {
			got[id] = map[time.Time]schemas.Sample{}
		}
		got[id][x.Start] = *x
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d days of %d components in %s", days, len(got), time.Since(started).Round(time.Millisecond))
	if len(got) != 2 {
		t.Fatalf("%d components, want ns/shop/web and ns/nginx/nginx", len(got))
	}
	valid := 0
	for at := begin.Add(step); at.Before(end); at = at.Add(step) {
		x, known := got["ns/shop/web"][at]
		from, to := gap(begin)
		switch {
		case !at.Before(from.Add(step)) && !at.Add(step).After(to): // a reading looks back by minutes, not by a bucket
			if known && (x.CPU != nil || x.Memory != nil) {
				t.Errorf("%s lies in a gap, but has %+v", at, x)
			}
			continue
		case !at.Before(from.Add(-step)) && at.Before(to.Add(step)):
			continue // partly
		}
		want := 2 * cores(at.Add(step/2)) // two pods
		if x.CPU == nil || math.Abs(x.CPU.Mean-want) > .02*want || x.CPU.Count != 15 {
			t.Fatalf("%s: CPU %+v, want about %.3f over 15 readings", at, x.CPU, want)
		}
		if x.Memory == nil || x.Memory.Mean != 2*200e6 || x.Memory.Max != 2*200e6 {
			t.Fatalf("%s: memory %+v, want 400 MB", at, x.Memory)
		}
		if x.Replicas == nil || *x.Replicas != 2 || x.CPURequest == nil || *x.CPURequest != .35 || x.MemoryRequest != nil {
			t.Fatalf("%s: replicas %v, requests %v and %v; want 2, 0.35 and none", at, x.Replicas, x.CPURequest, x.MemoryRequest)
		}
		valid++
	}
	if valid < days*96-20 {
		t.Errorf("%d buckets were compared, want nearly all of %d", valid, days*96)
	}
	// The pod of nginx is Ready from the second day on, but its usage is known
	// from the third.
	for at, x := range got["ns/nginx/nginx"] {
		if at.Before(begin.Add(48*time.Hour)) && x.CPU != nil {
			t.Fatalf("%s: %+v, want none before it was measured", at, x.CPU)
		}
	}
}

// cores is what one pod of web uses.
func cores(at time.Time) float64 {
	return 1 + .8*math.Sin(2*math.Pi*float64(at.Unix()%86400)/86400)
}

// gap is when nothing was scraped.
func gap(begin time.Time) (from, to time.Time) {
	return begin.Add(100 * time.Hour), begin.Add(103 * time.Hour)
}

// history writes what a server that scrapes every 30 seconds would hold.
func history(w *bufio.Writer, begin, end time.Time) {
	from, to := gap(begin)
	series := func(name, labels string, since time.Time, value func(time.Time) float64) {
		for at := since; !at.After(end); at = at.Add(30 * time.Second) {
			if at.Before(from) || at.After(to) {
				fmt.Fprintf(w, "%s{namespace=\"ns\",%s} %v %d\n", name, labels, value(at), at.Unix())
			}
		}
	}
	one := func(time.Time) float64 { return 1 }
	type pod struct {
		name   string
		labels string
		since  time.Time // when its usage is first known
	}
	shop := `label_service="shop",label_app_kubernetes_io_servicecomponent="web"`
	pods := []pod{{"web-0", shop, begin}, {"web-1", shop, begin}, {"nginx-0", `label_app_kubernetes_io_name="nginx",service="kube-state-metrics"`, begin.Add(48 * time.Hour)}}
	family := func(name, kind string, write func(name string, p pod)) {
		fmt.Fprintf(w, "# TYPE %s %s\n", name, kind)
		for _, p := range pods {
			write(name, p)
		}
	}
	total := 0.0
	counter := func(at time.Time) float64 {
		if at.Equal(begin) {
			total = 0
		}
		total += 30 * cores(at)
		return math.Round(total*1e3) / 1e3
	}
	family("container_cpu_usage_seconds_total", "unknown", func(n string, p pod) {
		total = 0
		series(n, fmt.Sprintf(`pod=%q,container="a"`, p.name), p.since, counter)
		total = 0
		series(n, fmt.Sprintf(`pod=%q,container=""`, p.name), p.since, counter) // the pod's own cgroup
	})
	family("container_memory_working_set_bytes", "gauge", func(n string, p pod) {
		series(n, fmt.Sprintf(`pod=%q,container="a"`, p.name), p.since, func(time.Time) float64 { return 150e6 })
		series(n, fmt.Sprintf(`pod=%q,container="proxy"`, p.name), p.since, func(time.Time) float64 { return 50e6 })
	})
	ready := begin.Add(24 * time.Hour)
	family("kube_pod_labels", "gauge", func(n string, p pod) {
		since := begin
		if p.since.After(begin) {
			since = ready
		}
		series(n, fmt.Sprintf(`pod=%q,%s`, p.name, p.labels), since, one)
	})
	family("kube_pod_status_ready", "gauge", func(n string, p pod) {
		if p.since.After(begin) {
			series(n, fmt.Sprintf(`pod=%q,condition="true"`, p.name), ready, one)
			return
		}
		series(n, fmt.Sprintf(`pod=%q,condition="true"`, p.name), begin, one)
	})
	family("kube_pod_status_phase", "gauge", func(n string, p pod) {
		series(n, fmt.Sprintf(`pod=%q,phase="Running"`, p.name), p.since, one)
		series(n, fmt.Sprintf(`pod=%q,phase="Failed"`, p.name), p.since, func(time.Time) float64 { return 0 })
	})
	family("kube_pod_container_info", "gauge", func(n string, p pod) {
		series(n, fmt.Sprintf(`pod=%q,container="a"`, p.name), p.since, one)
		series(n, fmt.Sprintf(`pod=%q,container="proxy"`, p.name), p.since, one)
	})
	family("kube_pod_container_resource_requests", "gauge", func(n string, p pod) {
		series(n, fmt.Sprintf(`pod=%q,container="a",resource="cpu"`, p.name), p.since, func(time.Time) float64 { return .25 })
		series(n, fmt.Sprintf(`pod=%q,container="proxy",resource="cpu"`, p.name), p.since, func(time.Time) float64 { return .1 })
		series(n, fmt.Sprintf(`pod=%q,container="a",resource="memory"`, p.name), p.since, func(time.Time) float64 { return 256e6 })
	})
	fmt.Fprintln(w, "# EOF")
}

// serve starts a server over blocks made of what write writes, and ends it with
// the test.
func serve(t *testing.T, begin time.Time, write func(*bufio.Writer)) *prometheus.Source {
	t.Helper()
	for _, tool := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s must be in the PATH: %v", tool, err)
		}
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "history.om")
	f, err := os.Create(text)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	blocks := filepath.Join(dir, "data")
	if out, err := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=168h", "-q", text, blocks).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+blocks,
		"--storage.tsdb.retention.time=1y", "--web.listen-address="+address, "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { cancel(); <-exited })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get("http://" + address + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("prometheus is not ready after a minute")
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("prometheus ended: %v", err)
		default:
		}
	}
	s, err := prometheus.New("http://"+address, prometheus.Options{Scope: cluster.Scope{Presets: []cluster.Preset{cluster.AerOS, cluster.Recommended}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

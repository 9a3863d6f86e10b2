//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostIP is this machine, as the pods of the test cluster reach it.
const hostIP = "10.199.0.2"

// prometheus starts a Prometheus server that knows what the components of the
// service shop used until now, as kubelets and kube-state-metrics report it, and
// returns its URL. It ends with the test.
func (r *release) prometheus(t *testing.T, days int, all ...series) string {
	t.Helper()
	dir := t.TempDir()
	text := filepath.Join(dir, "history.om")
	end := time.Now().Truncate(time.Minute)
	if err := writeOpenMetrics(text, r.namespace, end.AddDate(0, 0, -days), end, all); err != nil {
		t.Fatal(err)
	}
	blocks, config := filepath.Join(dir, "blocks"), filepath.Join(dir, "prometheus.yml")
	if out, err := exec.CommandContext(t.Context(), debian("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=168h", "-q", text, blocks).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", hostIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(context.WithoutCancel(t.Context()), debian("prometheus"), "--config.file="+config, "--storage.tsdb.path="+blocks,
		"--storage.tsdb.retention.time=1y", "--web.listen-address="+address)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
		log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("Prometheus said:\n%s", said)
		}
	})
	eventually(t, "Prometheus is ready", time.Minute, func() error {
		answer, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("answer is %s", answer.Status)
		}
		return nil
	})
	return "http://" + address
}

// debian returns the path of a program of Debian's package prometheus, which the
// test cluster keeps beside its own.
func debian(program string) string {
	cache, err := os.UserCacheDir()
	if err == nil {
		path := filepath.Join(cache, "self-scaling", "bin", "prometheus-debian", "usr", "bin", program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return program
}

// writeOpenMetrics writes one pod for each component, scraped once a minute.
func writeOpenMetrics(path, namespace string, from, to time.Time, all []series) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	family := func(name, kind, labels string, value func(s series) func(time.Time) float64) {
		fmt.Fprintf(w, "# TYPE %s %s\n", name, kind)
		for _, s := range all {
			at := value(s)
			for x := from; !x.After(to); x = x.Add(time.Minute) {
				fmt.Fprintf(w, "%s{namespace=%q,pod=\"%s-0\"%s} %g %d\n", name, namespace, s.component,
					strings.NewReplacer("SERVICE", s.service, "COMPONENT", s.component).Replace(labels), at(x), x.Unix())
			}
		}
	}
	constant := func(v float64) func(series) func(time.Time) float64 {
		return func(series) func(time.Time) float64 { return func(time.Time) float64 { return v } }
	}
	family("container_cpu_usage_seconds_total", "unknown", `,container="load"`, func(s series) func(time.Time) float64 {
		total := 0.0
		return func(at time.Time) float64 {
			total += 60 * s.cores(at)
			return total
		}
	})
	family("container_memory_working_set_bytes", "gauge", `,container="load"`, constant(8<<20))
	family("kube_pod_labels", "gauge", `,label_service="SERVICE",label_app_kubernetes_io_servicecomponent="COMPONENT"`, constant(1))
	family("kube_pod_status_ready", "gauge", `,condition="true"`, constant(1))
	family("kube_pod_status_phase", "gauge", `,phase="Running"`, constant(1))
	family("kube_pod_container_info", "gauge", `,container="load"`, constant(1))
	family("kube_pod_container_resource_requests", "gauge", `,container="load",resource="cpu"`, constant(requestCores))
	fmt.Fprintln(w, "# EOF")
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/self-scaling/self-scaling/cmd/internal/scripttest"
	"github.com/self-scaling/self-scaling/test/programlog"
)

// The test binary is the program: scripts run it as collector.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"collector": main})
}

func TestScripts(t *testing.T) { scripttest.RunWithCluster(t) }

// A Prometheus server for which everything is 2 all the time. What is asked of a
// real one: controller/cluster/prometheus.
func TestPrometheusFillsTheTable(t *testing.T) {
	scoped := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.FormValue("query"), `namespace=~"shop|bank"`) && strings.Contains(r.FormValue("query"), "label_tier") {
			scoped++
		}
		number := func(name string) int64 {
			f, err := strconv.ParseFloat(r.FormValue(name), 64)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return int64(f)
		}
		var values []string
		for at := number("start"); at <= number("end"); at += max(1, number("step")) {
			values = append(values, fmt.Sprintf(`[%d,"2"]`, at))
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"namespace":"shop","self_service":"shop","self_component":"web"},"values":[%s]}]}}`, strings.Join(values, ","))
	}))
	defer server.Close()
	store := "file://" + t.TempDir()
	for _, tt := range []struct {
		run, now, backfill string
		rows               string
	}{
		{"first", "2026-03-09T12:07:00Z", "48h", "rows=192 added=192"},
		{"next", "2026-03-09T12:15:00Z", "0", "rows=193 added=1"},
		{"after an hour", "2026-03-09T13:15:00Z", "0", "rows=197 added=4"},
	} {
		t.Run(tt.run, func(t *testing.T) {
			var stderr programlog.Buffer // libraries may go on logging to it
			args := []string{"-store", store, "-run", strings.ReplaceAll(tt.run, " ", "-"), "-prometheus", server.URL, "-backfill", tt.backfill, "-now", tt.now,
				"-cluster", "-watch-namespaces", "shop,bank", "-labels", "app=tier"} // -cluster is said of every program, and does not matter here
			if code := program().Run(t.Context(), args, io.Discard, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr.String())
			}
			if !strings.Contains(stderr.String(), tt.rows) {
				t.Errorf("log %s, want %s in it", stderr.String(), tt.rows)
			}
		})
	}
	if scoped == 0 {
		t.Error("the namespaces and labels never were in a query")
	}
}

package prometheus_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/prometheus"
	"github.com/self-scaling/self-scaling/schemas"
)

var midnight = time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)

const step = schemas.DefaultStep

// answer serves range queries from a function of the query and its last instant.
func answer(t *testing.T, f func(query string, start, end time.Time) (int, string)) *prometheus.Source {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		at := func(field string) time.Time {
			v, err := strconv.ParseFloat(r.Form.Get(field), 64)
			if err != nil {
				t.Errorf("%s: %v", field, err)
			}
			return time.Unix(int64(v), 0).UTC()
		}
		code, body := f(r.Form.Get("query"), at("start"), at("end"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	s, err := prometheus.New(server.URL, prometheus.Options{Scope: cluster.Scope{Presets: []cluster.Preset{cluster.AerOS}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func matrix(values ...string) string {
	return `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"namespace":"ns","self_service":"shop","self_component":"web"},"values":[` + strings.Join(values, ",") + `]},
{"metric":{"namespace":"ns"},"values":[[0,"1"]]}]}}`
}

func collect(t *testing.T, s *prometheus.Source, from, to time.Time) ([]schemas.Sample, error) {
	var out []schemas.Sample
	err := s.Samples(t.Context(), from, to, step, func(x *schemas.Sample) error {
		if err := x.Validate(step); err != nil {
			t.Error(err)
		}
		out = append(out, *x)
		return nil
	})
	return out, err
}

func TestTheQueriesAreAsDocumented(t *testing.T) {
	s, err := prometheus.New("http://prometheus.example", prometheus.Options{Scope: cluster.Scope{Namespaces: []string{"a", "b.c"}, Presets: []cluster.Preset{cluster.AerOS, cluster.Recommended}}})
	if err != nil {
		t.Fatal(err)
	}
	queries := s.Queries(step)
	if len(queries) != prometheus.QueriesPerChunk {
		t.Errorf("%d queries, want %d", len(queries), prometheus.QueriesPerChunk)
	}
	for _, want := range []string{
		`sum by (namespace, self_service, self_component)`,
		`rate(container_cpu_usage_seconds_total{container!="",container!="POD",namespace=~"a|b\\.c"}[3m])`,
		`kube_pod_labels{label_service!="",label_app_kubernetes_io_servicecomponent!="",namespace=~"a|b\\.c"}[3m]`,
		`or on (namespace, pod) max by`,
		`or on (namespace, pod) ((max by (namespace, pod) (last_over_time(kube_pod_status_ready{condition="true",namespace=~"a|b\\.c"}[3m])) == 1) * -Inf)`,
	} {
		if !strings.Contains(queries[0].Text, want) {
			t.Errorf("the query lacks %s:\n%s", want, queries[0].Text)
		}
	}
}

func TestReadingsBecomeBucketsNamedByTheirStart(t *testing.T) {
	s := answer(t, func(query string, start, end time.Time) (int, string) {
		at := func(minute int, v string) string {
			return fmt.Sprintf("[%d,%q]", midnight.Add(time.Duration(minute)*time.Minute).Unix(), v)
		}
		usage := strings.HasPrefix(query, "sum by")
		first := midnight.Add(step)
		if usage {
			first = midnight.Add(time.Minute)
		}
		switch {
		case !start.Equal(first) || !end.Equal(midnight.Add(4*step)):
			t.Errorf("asked from %s to %s", start, end)
		case usage && strings.Contains(query, "cpu"):
			return 200, matrix(at(0, "9"), at(1, "1"), at(14, "2"), at(15, "1.5"), at(16, "NaN"), at(30, "-Inf"), at(46, ".25"), at(60, ".75"), at(61, "9"))
		case strings.HasPrefix(query, "count by"):
			return 200, matrix(at(15, "3"), at(45, "4"))
		case strings.Contains(query, `resource="memory"`):
			return 200, matrix(at(15, "1000"))
		}
		return 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`
	})
	got, err := collect(t, s, midnight, midnight.Add(4*step))
	if err != nil {
		t.Fatal(err)
	}
	id := schemas.ComponentID{Namespace: "ns", Service: "shop", Component: "web"}
	three, four, request := int32(3), int32(4), 1000.
	want := []schemas.Sample{
		{Component: id, Start: midnight, CPU: &schemas.Usage{Mean: 1.5, Max: 2, Count: 3}, Replicas: &three, MemoryRequest: &request},
		// In the second bucket no reading is a number: it is as if there were none.
		{Component: id, Start: midnight.Add(2 * step), Replicas: &four},
		{Component: id, Start: midnight.Add(3 * step), CPU: &schemas.Usage{Mean: .5, Max: .75, Count: 2}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestABackfillIsAskedForInChunks(t *testing.T) {
	const n = prometheus.QueriesPerChunk
	components := func(n int) string {
		var series []string
		for i := range n {
			series = append(series, fmt.Sprintf(`{"metric":{"namespace":"ns","self_service":"shop","self_component":"c%d"},"values":[]}`, i))
		}
		return `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(series, ",") + `]}}`
	}
	for _, tt := range []struct {
		name       string
		components int
		want       map[time.Duration]int // ends of chunks after midnight
	}{
		{"of nobody", 0, map[time.Duration]int{time.Hour: n, 25 * time.Hour: n, 49 * time.Hour: n, 60 * time.Hour: n}},
		{"of a few", 100, map[time.Duration]int{time.Hour: n, 25 * time.Hour: n, 49 * time.Hour: n, 60 * time.Hour: n}},
		// 400 readings of each, which are six hours and a half.
		{"of many, in answers of a bounded size", 1000, map[time.Duration]int{time.Hour: n, 7*time.Hour + 30*time.Minute: n, 14 * time.Hour: n, 20*time.Hour + 30*time.Minute: n,
			27 * time.Hour: n, 33*time.Hour + 30*time.Minute: n, 40 * time.Hour: n, 46*time.Hour + 30*time.Minute: n, 53 * time.Hour: n, 59*time.Hour + 30*time.Minute: n, 60 * time.Hour: n}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := map[time.Duration]int{}
			body := components(tt.components)
			s := answer(t, func(_ string, _, end time.Time) (int, string) {
				asked[end.Sub(midnight)]++
				return 200, body
			})
			if _, err := collect(t, s, midnight, midnight.Add(60*time.Hour)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("queries by the end of their chunk (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAChunkThatIsTooLargeIsHalved(t *testing.T) {
	buckets := map[time.Time]int{}
	refused := 0
	s := answer(t, func(query string, start, end time.Time) (int, string) {
		if end.Sub(start) > 3*time.Hour {
			refused++
			return 422, `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}`
		}
		if !strings.HasPrefix(query, "count by") {
			return 200, matrix()
		}
		var values []string
		for at := start; !at.After(end); at = at.Add(step) {
			buckets[at]++
			values = append(values, fmt.Sprintf(`[%d,"1"]`, at.Unix()))
		}
		return 200, matrix(values...)
	})
	got, err := collect(t, s, midnight, midnight.Add(24*time.Hour))
	if err != nil || len(got) != 96 || len(buckets) != 96 {
		t.Errorf("%d samples of %d buckets, %v; want 96", len(got), len(buckets), err)
	}
	for i, x := range got {
		if !x.Start.Equal(midnight.Add(time.Duration(i) * step)) {
			t.Fatalf("sample %d starts at %s", i, x.Start)
		}
	}
	if refused != 3 { // 23 h, 11.5 h, 5.75 h
		t.Errorf("the server refused %d times, want 3: what it has refused is not asked for again", refused)
	}
}

func TestErrorsSayWhoMustAct(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		status     int
		want       schemas.Code
	}{
		{"a server that is starting", "unavailable", 503, schemas.CodeUnavailable},
		{"a query that it cannot read", "bad_data", 400, schemas.CodeInvalidConfig},
		{"a bucket that is too large even alone", "execution", 422, schemas.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := json.Marshal(map[string]string{"status": "error", "errorType": tt.kind, "error": "no"})
			if err != nil {
				t.Fatal(err)
			}
			s := answer(t, func(string, time.Time, time.Time) (int, string) { return tt.status, string(body) })
			if _, err := collect(t, s, midnight, midnight.Add(2*step)); schemas.CodeOf(err) != tt.want {
				t.Errorf("error %v with code %s, want %s", err, schemas.CodeOf(err), tt.want)
			}
		})
	}
	if _, err := prometheus.New("prometheus:9090", prometheus.Options{}); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want one of the configuration", err)
	}
}

func TestAServerThatDoesNotAnswerIsGivenUpOn(t *testing.T) {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	defer server.Close()
	defer close(end)
	s, err := prometheus.New(server.URL, prometheus.Options{Timeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(t, s, midnight, midnight.Add(step)); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("error %v, want an unavailable one", err)
	}
}

package tracing_test

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/schemas"
)

// receiver takes traces as a collector does.
type receiver struct {
	mu    sync.Mutex
	spans []span
	asked int
}

type span struct {
	name, trace, id, parent, service string
	failed                           bool
	attributes                       map[string]string
}

func attributes(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.Key] = a.Value.GetStringValue()
	}
	return out
}

// ServeHTTP implements [http.Handler].
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(q.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	data, err := io.ReadAll(body)
	var got collector.ExportTraceServiceRequest
	if err != nil || q.URL.Path != "/v1/traces" || proto.Unmarshal(data, &got) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	for _, rs := range got.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, span{s.Name, hex(s.TraceId), hex(s.SpanId), hex(s.ParentSpanId), attributes(rs.Resource.Attributes)["service.name"], s.Status.GetCode() == traces.Status_STATUS_CODE_ERROR, attributes(s.Attributes)})
			}
		}
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, x := range b {
		out.WriteByte(digits[x>>4])
		out.WriteByte(digits[x&15])
	}
	return out.String()
}

// traced runs a server whose requests are traced, and returns what was logged.
func traced(t *testing.T, use func(address string)) string {
	t.Helper()
	var log strings.Builder
	tracer, err := tracing.Start(t.Context(), "api", "1.0.0", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w := apitest.New(t, []schemas.ComponentID{apitest.Shop("web")})
	server := httptest.NewServer(tracer.Handler(w.Server))
	use(server.URL)
	server.Close()
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	return log.String()
}

func get(t *testing.T, url string, header ...string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

func TestRequestsAreTraced(t *testing.T) {
	const caller = "0af7651916cd43dd8448eb211c80319c"
	r := &receiver{}
	server := httptest.NewServer(r)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	traced(t, func(address string) {
		get(t, address+"/v1/components/shop/web?secret=1", "traceparent", "00-"+caller+"-b7ad6b7169203331-01", "X-Request-Id", "mine")
		get(t, address+"/v1/runs/nothing")
		get(t, address+"/livez")
	})
	if len(r.spans) != 2 {
		t.Fatalf("there are %d spans, want 2: %+v", len(r.spans), r.spans)
	}
	first, second := r.spans[0], r.spans[1]
	if first.name != "GET /v1/components/{service}/{component}" || first.trace != caller || first.parent != "b7ad6b7169203331" || first.service != "api" ||
		first.attributes["http.route"] != "/v1/components/{service}/{component}" || first.attributes["selfscaling.request"] != "mine" {
		t.Errorf("the first span is %+v", first)
	}
	if second.name != "GET /v1/runs/{id}" || second.trace == caller || second.parent != "" || second.attributes["selfscaling.run"] != "nothing" {
		t.Errorf("the second span is %+v", second)
	}
}

func TestNothingIsSentUnlessAskedFor(t *testing.T) {
	r := &receiver{}
	server := httptest.NewServer(r)
	defer server.Close()
	for name, env := range map[string]map[string]string{
		"nothing is set":   {},
		"it is turned off": {"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_SDK_DISABLED": "true"},
		"without traces":   {"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			if log := traced(t, func(address string) { get(t, address+"/v1/status") }); log != "" || r.asked > 0 {
				t.Errorf("it was sent %d times, and logged %s", r.asked, log)
			}
			h := http.NewServeMux()
			if (&tracing.Tracer{}).Handler(h) != http.Handler(h) {
				t.Error("a handler is wrapped for nothing")
			}
		})
	}
}

func TestCollectorThatIsNotThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", server.URL+"/v1/traces")
	server.Close()
	var log strings.Builder
	tracer, err := tracing.Start(t.Context(), "api", "1.0.0", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(tracer.Handler(http.NotFoundHandler()))
	get(t, h.URL)
	h.Close()
	if err := tracer.Close(); err == nil && !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("nobody says that the spans are lost: %s", log.String())
	}
}

func TestOtherProtocols(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	_, err := tracing.Start(t.Context(), "api", "1.0.0", slog.New(slog.DiscardHandler))
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), `OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, but is "grpc"`) {
		t.Errorf("error is %v", err)
	}
}

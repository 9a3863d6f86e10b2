package usage_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/usage"
	"github.com/self-scaling/self-scaling/schemas"
)

func get(t *testing.T, handler http.Handler, method, query string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, usage.Path+"?"+query, nil))
	return w.Code, w.Body.String()
}

func TestHandlerServesASampleALine(t *testing.T) {
	f := start(t)
	f.server.Load("k", pod("a", "web", true)+pod("b", "api", true)+metrics("a", noon, "1", "1Mi")+metrics("b", noon, "250m", "1Mi"))
	for i := range 16 {
		f.clock.SetTime(noon.Add(time.Duration(i) * time.Minute))
		f.server.Load("k", metrics("a", f.clock.Now(), "1", "1Mi")+metrics("b", f.clock.Now(), "250m", "1Mi"))
		if _, err := f.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	code, body := get(t, usage.Handler(f.Sampler), http.MethodGet, "from=2026-03-09T11:00:00Z&to=2026-03-09T13:30:00%2B01:00&step=15m")
	want := `{"component":{"namespace":"default","service":"shop","component":"api"},"start":"2026-03-09T12:00:00Z","cpu":{"mean":0.25,"max":0.25,"count":15},"memory":{"mean":2097152,"max":2097152,"count":15},"replicas":1,"cpuRequest":0.5}
{"component":{"namespace":"default","service":"shop","component":"web"},"start":"2026-03-09T12:00:00Z","cpu":{"mean":1,"max":1,"count":15},"memory":{"mean":2097152,"max":2097152,"count":15},"replicas":1,"cpuRequest":0.5}
{"component":{"namespace":"default","service":"shop","component":"api"},"start":"2026-03-09T12:15:00Z","cpu":{"mean":0.25,"max":0.25,"count":1},"memory":{"mean":2097152,"max":2097152,"count":1},"replicas":1,"cpuRequest":0.5}
{"component":{"namespace":"default","service":"shop","component":"web"},"start":"2026-03-09T12:15:00Z","cpu":{"mean":1,"max":1,"count":1},"memory":{"mean":2097152,"max":2097152,"count":1},"replicas":1,"cpuRequest":0.5}
`
	if diff := cmp.Diff(want, body); code != http.StatusOK || diff != "" {
		t.Errorf("status %d, body (-want +got):\n%s", code, diff)
	}
}

func TestHandlerRefuses(t *testing.T) {
	handler := usage.Handler(start(t).Sampler)
	const good = "from=2026-03-09T12:00:00Z&to=2026-03-09T12:15:00Z&step=15m"
	for _, tt := range []struct {
		method, query string
		code          int
		want          string
	}{
		{http.MethodGet, good, http.StatusOK, ""},
		{http.MethodPost, good, http.StatusMethodNotAllowed, "method must be GET, but is POST"},
		{http.MethodGet, "", http.StatusBadRequest, `step must be a duration such as 15m, but is ""`},
		{http.MethodGet, good + "&of=web", http.StatusBadRequest, `query must have from, to and step, but has "of"`},
		{http.MethodGet, good + "&step=15m", http.StatusBadRequest, "step must be given once, but is given 2 times"},
		{http.MethodGet, strings.Replace(good, "15m", "-15m", 1), http.StatusBadRequest, "step must be 1 to 60 whole minutes that divide a day, but is -15m0s"},
		{http.MethodGet, strings.Replace(good, "15m", "5m", 1), http.StatusBadRequest, "step must be 15m0s, the sampler's, but is 5m0s"},
		{http.MethodGet, strings.Replace(good, "12:00", "12:01", 1), http.StatusBadRequest, `from must be a multiple of 15m0s, but is "2026-03-09T12:01:00Z"`},
		{http.MethodGet, strings.Replace(good, "to=", "to=x", 1), http.StatusBadRequest, `to must be a time as 2006-01-02T15:04:05Z, but is "x2026-03-09T12:15:00Z"`},
		{http.MethodGet, strings.Replace(good, "12:00", "12:15", 1), http.StatusBadRequest, `to must be after from, but is "2026-03-09T12:15:00Z"`},
		{http.MethodGet, strings.Replace(good, "from=2026", "from=0001", 1), http.StatusBadRequest, "from and to must be at most 4096 buckets apart, but are"},
		{http.MethodGet, good + "&%zz", http.StatusBadRequest, "query: invalid URL escape"},
	} {
		code, body := get(t, handler, tt.method, tt.query)
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %q: %d %s, want %d %s", tt.method, tt.query, code, body, tt.code, tt.want)
		}
	}
}

func FuzzHandler(f *testing.F) {
	f.Add("from=2026-03-09T12:00:00Z&to=2026-03-09T12:15:00Z&step=15m")
	f.Add("from=&to=9999-12-31T23:59:59Z&step=1h")
	handler := usage.Handler(start(f).Sampler)
	f.Fuzz(func(t *testing.T, query string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: usage.Path, RawQuery: query}, Header: http.Header{}})
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%q: status %d", query, w.Code)
		}
	})
}

// controllers is a cluster whose pods of the controller serve what handlers do.
type controllers struct {
	server *clustertest.Server
	remote *usage.Remote
	log    *strings.Builder
}

func remote(t *testing.T, handlers ...http.Handler) *controllers {
	c := &controllers{server: clustertest.New(t, clustertest.Kinds()...), log: &strings.Builder{}}
	for i, h := range handlers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		c.add(fmt.Sprintf("controller-%d", i), s.Listener.Addr().String(), "True")
	}
	client, err := cluster.NewClient(c.server.Config())
	if err != nil {
		t.Fatal(err)
	}
	c.remote, err = usage.NewRemote(client, usage.RemoteOptions{
		Namespace: "self-scaling", Selector: "app=controller", Timeout: 5 * time.Second, Log: slog.New(slog.NewTextHandler(c.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *controllers) add(name, address, ready string) {
	ip, port, _ := net.SplitHostPort(address)
	c.server.Load("k", fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: self-scaling, labels: {app: controller}}
spec: {containers: [{name: a, ports: [{name: http, containerPort: 1}, {name: metrics, containerPort: %s}]}]}
status: {phase: Running, podIP: %s, conditions: [{type: Ready, status: %q}]}
`, name, port, ip, ready))
}

func (c *controllers) ask(t *testing.T) ([]string, error) {
	t.Helper()
	var got []string
	err := c.remote.Samples(t.Context(), noon, noon.Add(2*step), step, func(s *schemas.Sample) error {
		got = append(got, fmt.Sprintf("%s %s %d", s.Start.Format("15:04"), s.Component, s.Readings()))
		return nil
	})
	return got, err
}

func lines(samples ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Join(samples, "\n")) })
}

func line(component string, at time.Time, count int) string {
	return fmt.Sprintf(`{"component":{"service":"shop","component":%q},"start":%q,"cpu":{"mean":1,"max":1,"count":%d}}`, component, at.Format(time.RFC3339), count)
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRemoteBelievesWhoReadMostOften(t *testing.T) {
	c := remote(t,
		lines(line("web", noon, 3), line("api", noon, 14), line("web", noon.Add(step), 15)),
		lines(line("web", noon, 12), line("db", noon, 1)),
		lines(`{"component":{"service":"shop","component":"idle"},"start":"2026-03-09T12:15:00Z","replicas":1}`))
	got, err := c.ask(t)
	want := []string{"12:00 shop/api 14", "12:00 shop/db 1", "12:00 shop/web 12", "12:15 shop/idle 0", "12:15 shop/web 15"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, samples (-want +got):\n%s", err, diff)
	}
}

func TestRemoteDoesNotMindADeadReplica(t *testing.T) {
	dead := map[string]http.Handler{
		"that answers with an error": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "metrics-server\nis away", http.StatusServiceUnavailable)
		}),
		"that redirects": http.RedirectHandler("http://example.invalid/", http.StatusFound),
		"that breaks off": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, line("web", noon, 15)+"\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}),
		"that answers nonsense":                         lines(line("web", noon, 15), "<html>"),
		"that answers what cannot be":                   lines(line("web", noon, 0)),
		"that answers what was not asked for":           lines(line("web", noon.Add(-step), 15)),
		"that answers what lies between":                lines(line("web", noon.Add(time.Minute), 15)),
		"that answers with a number that is not finite": lines(strings.Replace(line("web", noon, 15), `"mean":1`, `"mean":1e999`, 1)),
	}
	for name, handler := range dead {
		t.Run(name, func(t *testing.T) {
			c := remote(t, handler, lines(line("web", noon, 7)))
			got, err := c.ask(t)
			if diff := cmp.Diff([]string{"12:00 shop/web 7"}, got); err != nil || diff != "" {
				t.Errorf("error %v, samples (-want +got):\n%s", err, diff)
			}
			if !strings.Contains(c.log.String(), "pod=controller-0") {
				t.Errorf("log %q, want the pod that failed", c.log)
			}
		})
	}
	t.Run("at whose address nobody listens", func(t *testing.T) {
		c := remote(t, lines(line("web", noon, 7)))
		c.add("controller-1", closed(t), "True")
		if got, err := c.ask(t); err != nil || len(got) != 1 {
			t.Errorf("%v, %v; want one sample", got, err)
		}
	})
	t.Run("that is not Ready", func(t *testing.T) {
		c := remote(t, lines(line("web", noon, 7)))
		c.add("controller-1", closed(t), "False")
		if got, err := c.ask(t); err != nil || len(got) != 1 || c.log.Len() > 0 {
			t.Errorf("%v, %v, log %q; want one sample and not a word", got, err, c.log)
		}
	})
}

func TestRemoteSaysWhereToLook(t *testing.T) {
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "metrics-server is away", http.StatusServiceUnavailable)
	})
	for _, tt := range []struct {
		name string
		c    *controllers
		fail *apierrors.StatusError
		code schemas.Code
		want []string
	}{
		{"no pod is Ready", remote(t), nil, schemas.CodeUnavailable, []string{"no pod of the controller is Ready in namespace self-scaling", "kubectl -n self-scaling get pods -l 'app=controller'"}},
		{"none answers", remote(t, down), nil, schemas.CodeUnavailable, []string{"controller-0: 127.0.0.1:", "503 Service Unavailable: metrics-server is away", "kubectl -n self-scaling logs -l 'app=controller'", "NetworkPolicy"}},
		{"the API server is away", remote(t), apierrors.NewServiceUnavailable("starting"), schemas.CodeUnavailable, []string{"find the controller's pods in namespace self-scaling", "starting"}},
		{"a right is lacking", remote(t), apierrors.NewForbidden(schemaPods, "", fmt.Errorf("no RBAC policy matched")), schemas.CodeInvalidConfig, []string{"pods is forbidden"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.server.Fail = func(string, string) *apierrors.StatusError { return tt.fail }
			_, err := tt.c.ask(t)
			if schemas.CodeOf(err) != tt.code {
				t.Fatalf("error %v with code %s, want %s", err, schemas.CodeOf(err), tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
	client, err := cluster.NewClient(clustertest.New(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []usage.RemoteOptions{{Selector: "app=controller"}, {Namespace: "a"}, {Namespace: "a", Selector: "a b"}} {
		if _, err := usage.NewRemote(client, bad); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("%+v: error %v, want one of the configuration", bad, err)
		}
	}
}

func TestRemoteGivesUpOnWhoDoesNotAnswerInTime(t *testing.T) {
	release := make(chan struct{})
	c := remote(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := c.remote.Samples(ctx, noon, noon.Add(step), step, func(*schemas.Sample) error { return nil })
	if err == nil || ctx.Err() == nil {
		t.Errorf("error %v, want that of the context", err)
	}
}

// What a sampler has read arrives whole on the other side.
func TestRemoteReadsWhatHandlerServes(t *testing.T) {
	f := start(t)
	f.server.Load("k", pod("a", "web", true)+pod("b", "api", true)+metrics("a", noon, "123456789n", "1Mi")+metrics("b", noon, "250m", "1Mi"))
	if _, err := f.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []schemas.Sample
	err := remote(t, usage.Handler(f.Sampler)).remote.Samples(t.Context(), noon, noon.Add(step), step, func(s *schemas.Sample) error {
		got = append(got, *s)
		return nil
	})
	if diff := cmp.Diff(f.samples(t, noon, noon.Add(step)), got); err != nil || diff != "" {
		t.Errorf("error %v, samples (-want +got):\n%s", err, diff)
	}
}

var schemaPods = schema.GroupResource{Resource: "pods"}

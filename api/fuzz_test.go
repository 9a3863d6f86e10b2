package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/schemas"
)

// newFuzzed is a world that takes as many requests as come.
func newFuzzed(f *testing.F) *apitest.World {
	f.Helper()
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(f, ids, func(c *api.Config) { c.Limits = api.Limits{Reads: -1, Writes: -1} })
	w.Fill(f, ids, 1, 3)
	return w
}

// send sends a request without a network. It fails the test where the answer is that
// the server has a bug, or is no answer at all.
func send(t *testing.T, w *apitest.World, c call) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), c.method, "http://localhost/", strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.ParseRequestURI(c.path); err != nil || !strings.HasPrefix(c.path, "/") {
		t.Skip() // net/http refuses it
	}
	for name, value := range c.header {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			t.Skip() // likewise
		}
		r.Header.Set(name, value)
	}
	got := newRecorder()
	w.Server.ServeHTTP(got, r)
	if got.status == 0 {
		got.status = http.StatusOK // what net/http sends where a handler says nothing
	}
	a := answer{got.status, got.header, got.body.String()}
	// Runs may pile up faster than they end, which is said.
	if a.status >= 500 && a.status != http.StatusServiceUnavailable {
		t.Errorf("%s %s %v %q is answered with %d %.500s", c.method, c.path, c.header, c.body, a.status, a.body)
	}
	if strings.Contains(got.header.Get("Content-Type"), "json") && a.body != "" && !json.Valid(got.body.Bytes()) {
		t.Errorf("%s %s %q: the answer is no JSON: %.500s", c.method, c.path, c.body, a.body)
	}
	return a
}

func FuzzBodies(f *testing.F) {
	routes := []string{
		"POST /v1/services", "POST /v1/enablers", "POST /v1/train-values", "POST /inference/shop/web",
		"POST /v1/runs", "PATCH /v1/policies/prod/shop", "PATCH /v1/policies/prod/shop/web", "POST /v1/runs/one/retry", "POST /v1/deleteData", "POST /v1/models/rollback",
	}
	for i := range routes {
		for _, body := range []string{
			``, `{}`, `[]`, `null`, `"x"`, `1e999`, `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"web","managed":true}]}]}`,
			`{"enablers":[{"name":"shop","managed":false,"components":null}]}`, `{"Future_data":"1","History_data":5}`, `{"Future_data":1e400,"History_data":-0}`,
			`{"components":["web"],"enabler":"shop"}`, `{"pipeline":"infer","parameters":{"now":"2026-03-09T12:00:00Z"}}`, `{"pipeline":"train","parameters":null}`,
			`{"model":"train-1","reason":"too low","hold":true}`, `{"model":"2","dryRun":true}`, `{"model":""}`,
			`{"mode":"Auto","minReplicas":2,"leadTime":"90s","quantile":null}`, `{"maxReplicas":9007199254740993,"hold":"-1h"}`, `{"mode":{"mode":[]}}`, "\xff", `{"a":"\ud800"}`,
			strings.Repeat("[", 2000), strings.Repeat(`{"services":`, 500),
		} {
			f.Add(uint(i), "application/json", body)
		}
		f.Add(uint(i), "text/plain", `{}`)
		f.Add(uint(i), "application/merge-patch+json; charset=utf-8", `{"mode":null}`)
		f.Add(uint(i), ";;", `{}`)
	}
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, route uint, contentType, body string) {
		method, path, _ := strings.Cut(routes[route%uint(len(routes))], " ")
		send(t, w, call{method, path, map[string]string{"Content-Type": contentType}, body})
	})
}

func FuzzQueries(f *testing.F) {
	paths := []string{
		"/v1/components", "/v1/components/shop/web", "/v1/forecasts/prod/shop/web", "/v1/forecasts/shop/web", "/v1/history/prod/shop/web", "/v1/history/shop/web",
		"/v1/decisions", "/v1/models", "/v1/models/line", "/v1/accuracy", "/v1/runs", "/v1/services", "/v1/status", "/v1/pipelines", "/openapi.json",
	}
	for i := range paths {
		for _, query := range []string{
			"", "limit=1", "limit=0", "limit=-1", "limit=99999999999999999999", "limit=1&limit=2", "cursor=x", "cursor=e30", "namespace=-", "namespace=prod&service=shop&component=web",
			"mode=Auto", "resource=memory", "resource=%00", "reason=FloorRaised", "number=1", "number=18446744073709551615", "number=-1", "phase=Failed&pipeline=train",
			"from=2026-03-09T00:00:00Z&to=2026-03-09T12:00:00Z", "from=0001-01-01T00:00:00Z", "to=9999-12-31T23:59:59Z", "from=2026-03-09T12:00:00%2B23:59&to=x", "%zz", ";", "a;b=c", "=", "&&&",
			"from=2026-03-09T11:59:59.999999999Z&to=2026-03-09T12:00:00Z", "to=2026-04-09T00:00:00Z&from=2026-03-09T00:00:00Z",
		} {
			f.Add(uint(i), query)
		}
	}
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, path uint, query string) {
		send(t, w, call{method: "GET", path: paths[path%uint(len(paths))] + "?" + query})
	})
}

// FuzzCursors sends cursors of which the server believes that it made them: the
// places in them are anything.
func FuzzCursors(f *testing.F) {
	w := newFuzzed(f)
	paths := []string{"/v1/components?limit=1", "/v1/decisions?limit=1", "/v1/accuracy?limit=1", "/v1/decisions?limit=1&service=shop&component=web", "/v1/runs?limit=1"}
	var questions []json.RawMessage
	for _, path := range paths {
		if strings.HasPrefix(path, "/v1/runs") {
			for range 2 {
				if got := do(f, w, call{"POST", "/v1/runs", ofJSON, `{"pipeline":"infer"}`}); got.status != http.StatusAccepted {
					f.Fatalf("a run is answered with %d %s", got.status, got.body)
				}
			}
		}
		first := do(f, w, call{method: "GET", path: path})
		var page struct{ Next string }
		if err := json.Unmarshal([]byte(first.body), &page); err != nil || page.Next == "" {
			f.Fatalf("%s gives no cursor (%v): %.300s", path, err, first.body)
		}
		data, err := base64.RawURLEncoding.DecodeString(page.Next)
		if err != nil {
			f.Fatal(err)
		}
		var parts struct{ Q, At json.RawMessage }
		if err := json.Unmarshal(data, &parts); err != nil {
			f.Fatal(err)
		}
		questions = append(questions, parts.Q)
		f.Add(uint(len(questions)-1), string(parts.At))
	}
	for i := range paths {
		for _, at := range []string{
			`null`, `0`, `-1`, `9223372036854775807`, `-9223372036854775808`, `1e300`, `"x"`, `{}`, `[]`, `true`,
			`{"namespace":"prod"}`, `{"t":"0001-01-01T00:00:00Z","id":""}`, `{"Number":18446744073709551615,"Index":9223372036854775807}`,
			`{"head":1,"index":-1}`, `{"h":18446744073709551615,"i":-9223372036854775808}`, `{"n":0,"i":5000000000}`,
		} {
			f.Add(uint(i), at)
		}
	}
	f.Fuzz(func(t *testing.T, path uint, at string) {
		i := path % uint(len(paths))
		if !json.Valid([]byte(at)) {
			return
		}
		cursor := base64.RawURLEncoding.EncodeToString([]byte(`{"q":` + string(questions[i]) + `,"at":` + at + `}`))
		send(t, w, call{method: "GET", path: paths[i] + "&cursor=" + cursor})
	})
}

func FuzzPathsAndHeaders(f *testing.F) {
	for _, path := range []string{
		"/", "/v1", "/v1/", "//v1//runs", "/v1/runs/one", "/v1/runs/one/events", "/v1/runs/%2e%2e", "/v1/runs/a%2Fb/retry", "/v1/components/shop/web", "/v1/components/-/shop/web",
		"/v1/components/prod//web", "/v1/policies/prod/shop", "/v1/policies/-/-/-", "/v1/forecasts/" + strings.Repeat("a", 300) + "/web", "/v1/history/%00/%ff", "/v1/history/%F0%9F%92%A9/x",
		"/inference/shop/web", "/v1/../v1/runs", "/livez", "/readyz?verbose", "/v1/models?number=1",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "GETT"} {
			f.Add(method, path, `"x", W/"y"`, "respond-async; wait=10, a", "k1")
		}
		f.Add("GET", path, "*", ";,;", strings.Repeat("k", 300))
		f.Add("GET", path, `"`, "respond-async", "\xff")
	}
	w := newFuzzed(f)
	f.Fuzz(func(t *testing.T, method, path, tag, prefer, key string) {
		if _, err := http.NewRequest(method, "http://localhost/", nil); err != nil {
			return
		}
		send(t, w, call{method, path, map[string]string{
			"Content-Type": "application/json", "If-None-Match": tag, "If-Match": tag, "Prefer": prefer, "Idempotency-Key": key, "X-Request-Id": key, "Last-Event-ID": key,
		}, `{"pipeline":"infer"}`})
	})
}

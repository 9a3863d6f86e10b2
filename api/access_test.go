package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/access/accesstest"
	"github.com/self-scaling/self-scaling/api/access/kubernetes"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// journal is a log that is read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// audit returns the audit lines.
func (j *journal) audit(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(j.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m["msg"] == "audit" {
			lines = append(lines, m)
		}
	}
	return lines
}

// tokens are what callers show. Each contains "token", so that none can be in a log
// unseen.
const (
	unknownToken = "token-unknown"
	expiredToken = "token-expired"
	foreignToken = "token-foreign"
	nobodyToken  = "token-nobody"
	readerToken  = "token-reader"
	callerToken  = "token-caller"
)

// newGuarded is a shop whose callers are known by an API server, and its log down to
// the last line. It has one run, named one, which has failed.
func newGuarded(t *testing.T, change ...func(*api.Config)) (*apitest.World, *accesstest.Server, *journal) {
	t.Helper()
	cluster := accesstest.New(t)
	for token, name := range map[string]string{expiredToken: "caller", foreignToken: "caller", nobodyToken: "nobody", readerToken: "reader", callerToken: "caller"} {
		k := accesstest.Token{User: access.User{Name: name}, Audiences: []string{access.Audience}}
		switch token {
		case expiredToken:
			k.Expires = apitest.Now.Add(-time.Minute)
		case foreignToken:
			k.Audiences = []string{"vault"}
		case callerToken: // as kubectl makes it, for the API server
			k.Audiences = nil
		}
		cluster.Know(token, k)
	}
	client, err := dynamic.NewForConfig(&rest.Config{Host: cluster.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	guarded := func(c *api.Config) {
		c.Access = access.NewCache(kubernetes.New(client, ""), access.Options{Clock: c.Clock})
		c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w := newShop(t, append([]func(*api.Config){guarded}, change...)...)
	w.Step(workflows.InferenceJob, fails(schemas.CodeInternal))
	if _, err := w.Submitter.Submit(t.Context(), workflows.Request{Pipeline: "infer", RunID: "one"}); err != nil {
		t.Fatal(err)
	}
	ended(t, w, "one")
	w.Step(workflows.InferenceJob, nil)
	return w, cluster, log
}

// guarded are all routes, a request for each, the right that it needs and what it is
// answered with for who has it.
var guarded = []struct {
	route  string
	right  string // a verb and a resource; "" for what everybody may
	call   call
	status int
	// namespace is where the right is needed; "" where it is needed everywhere.
	namespace string
}{
	{route: "GET /version", call: call{path: "/version"}, status: 200},
	{route: "GET /v1/version", call: call{path: "/v1/version"}, status: 200},
	{route: "GET /v1/health", call: call{path: "/v1/health"}, status: 200},
	{route: "GET /v1/api-export", call: call{path: "/v1/api-export"}, status: 200},
	{route: "GET /openapi.json", call: call{path: "/openapi.json"}, status: 200},
	{route: "GET /livez", call: call{path: "/livez"}, status: 200},
	{route: "GET /readyz", call: call{path: "/readyz"}, status: 200},

	{route: "GET /v1/services", right: "get services", call: call{path: "/v1/services"}, status: 200},
	{route: "POST /v1/services", right: "update services", call: call{path: "/v1/services", header: ofJSON, body: `{"services":[{"name":"shop","managed":true}]}`}, status: 200},
	{route: "GET /v1/enablers", right: "get services", call: call{path: "/v1/enablers"}, status: 200},
	{route: "POST /v1/enablers", right: "update services", call: call{path: "/v1/enablers", header: ofJSON, body: `{"enablers":[{"name":"shop","managed":true}]}`}, status: 200},
	{route: "GET /enablers", right: "get services", call: call{path: "/enablers"}, status: 200},
	{route: "GET /v1/addServices", right: "update services", call: call{path: "/v1/addServices"}, status: 200},
	{route: "GET /v1/addEnablers", right: "update services", call: call{path: "/v1/addEnablers"}, status: 200},
	{route: "GET /v1/train-values", right: "get trainvalues", call: call{path: "/v1/train-values"}, status: 200},
	{route: "GET /train-values", right: "get trainvalues", call: call{path: "/train-values"}, status: 200},
	{route: "POST /v1/train-values", right: "update trainvalues", call: call{path: "/v1/train-values", header: ofJSON, body: `{"Future_data":1,"History_data":5}`}, status: 200},
	{route: "POST /train-values", right: "update trainvalues", call: call{path: "/train-values", header: ofJSON, body: `{"Future_data":1,"History_data":5}`}, status: 200},
	{route: "GET /v1/train", right: "create runs", call: call{path: "/v1/train"}, status: 200},
	{route: "POST /v1/train", right: "create runs", call: call{path: "/v1/train"}, status: 200},
	{route: "GET /train", right: "create runs", call: call{path: "/train"}, status: 200},
	{route: "GET /v1/inference", right: "create runs", call: call{path: "/v1/inference"}, status: 200},
	{route: "POST /v1/inference", right: "create runs", call: call{path: "/v1/inference"}, status: 200},
	{route: "GET /inference/{enabler}/{component}", right: "create runs", call: call{path: "/inference/shop/web"}, status: 200},
	{route: "GET /v1/inference/{enabler}/{component}", right: "create runs", call: call{path: "/v1/inference/shop/web"}, status: 200},
	{route: "POST /inference/{enabler}/{component}", right: "update services", call: call{path: "/inference/shop/web", header: ofJSON, body: `{"enabler":"shop","components":["web"]}`}, status: 200},
	{route: "POST /v1/deleteData", right: "delete data", call: call{path: "/v1/deleteData"}, status: 200},

	{route: "GET /v1/status", right: "get status", call: call{path: "/v1/status"}, status: 200},
	{route: "GET /v1/components", right: "get components", call: call{path: "/v1/components"}, status: 200},
	{route: "GET /v1/components/{service}/{component}", right: "get components", call: call{path: "/v1/components/shop/web"}, status: 200},
	{route: "GET /v1/components/{namespace}/{service}/{component}", right: "get components", call: call{path: "/v1/components/prod/shop/web"}, status: 200, namespace: "prod"},
	{route: "GET /v1/forecasts/{service}/{component}", right: "get forecasts", call: call{path: "/v1/forecasts/shop/web"}, status: 200},
	{route: "GET /v1/forecasts/{namespace}/{service}/{component}", right: "get forecasts", call: call{path: "/v1/forecasts/prod/shop/web"}, status: 200, namespace: "prod"},
	{route: "GET /v1/history/{service}/{component}", right: "get history", call: call{path: "/v1/history/shop/web"}, status: 200},
	{route: "GET /v1/history/{namespace}/{service}/{component}", right: "get history", call: call{path: "/v1/history/prod/shop/web"}, status: 200, namespace: "prod"},
	{route: "GET /v1/policies/{namespace}/{service}", right: "get policies", call: call{path: "/v1/policies/prod/shop"}, status: 200, namespace: "prod"},
	{route: "GET /v1/policies/{namespace}/{service}/{component}", right: "get policies", call: call{path: "/v1/policies/prod/shop/web"}, status: 200, namespace: "prod"},
	{route: "PATCH /v1/policies/{namespace}/{service}", right: "update policies", call: call{path: "/v1/policies/prod/shop", header: ofJSON, body: `{"mode":"Auto"}`}, status: 200, namespace: "prod"},
	{route: "PATCH /v1/policies/{namespace}/{service}/{component}", right: "update policies", call: call{path: "/v1/policies/prod/shop/web", header: ofJSON, body: `{"mode":"Auto"}`}, status: 200, namespace: "prod"},
	{route: "GET /v1/decisions", right: "get decisions", call: call{path: "/v1/decisions"}, status: 200},
	{route: "GET /v1/models", right: "get models", call: call{path: "/v1/models"}, status: 200},
	{route: "GET /v1/models/line", right: "get models", call: call{path: "/v1/models/line"}, status: 200},
	{route: "POST /v1/models/rollback", right: "update models", call: call{path: "/v1/models/rollback", header: ofJSON, body: `{"model":"train-1"}`}, status: 200},
	{route: "GET /v1/accuracy", right: "get models", call: call{path: "/v1/accuracy"}, status: 200},
	{route: "GET /v1/pipelines", right: "get runs", call: call{path: "/v1/pipelines"}, status: 200},
	{route: "GET /v1/runs", right: "get runs", call: call{path: "/v1/runs"}, status: 200},
	{route: "POST /v1/runs", right: "create runs", call: call{path: "/v1/runs", header: ofJSON, body: `{"pipeline":"infer"}`}, status: 202},
	{route: "GET /v1/runs/{id}", right: "get runs", call: call{path: "/v1/runs/one"}, status: 200},
	{route: "GET /v1/runs/{id}/events", right: "get runs", call: call{path: "/v1/runs/one/events"}, status: 200},
	{route: "DELETE /v1/runs/{id}", right: "delete runs", call: call{path: "/v1/runs/one"}, status: 202},
	{route: "POST /v1/runs/{id}/retry", right: "create runs", call: call{path: "/v1/runs/one/retry"}, status: 202},
}

func TestAllRoutesAreGuarded(t *testing.T) {
	want := map[string]string{}
	for _, r := range guarded {
		want[r.route] = r.right
	}
	if diff := cmp.Diff(want, newShop(t).Server.Routes()); diff != "" {
		t.Errorf("routes and the rights that they need (-in this test +in the server):\n%s", diff)
	}
}

// with returns a call with a token, "" for none.
func (c call) with(token string) call {
	header := map[string]string{}
	for name, value := range c.header {
		header[name] = value
	}
	if token != "" {
		header["Authorization"] = "Bearer " + token
	}
	c.header = header
	return c
}

// TestEveryRouteForEveryCaller sends each request as each kind of caller.
func TestEveryRouteForEveryCaller(t *testing.T) {
	for _, r := range guarded {
		t.Run(r.route, func(t *testing.T) {
			w, cluster, log := newGuarded(t)
			r.call.method, _, _ = strings.Cut(r.route, " ")
			verb, resource, needed := strings.Cut(r.right, " ")
			mutates := needed && verb != access.Get
			rights := []accesstest.Right{{User: "reader", Verb: access.Get}, {User: "caller", Verb: verb, Resource: resource, Namespace: r.namespace}}
			tries := 0
			try := func(who, token string, status int) answer {
				t.Helper()
				tries++
				before := len(log.audit(t))
				got := do(t, w, r.call.with(token))
				if !needed {
					status = r.status
				}
				if got.status != status {
					t.Errorf("%s: answered with %d %.200s, want %d", who, got.status, got.body, status)
				}
				if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (status == 401) {
					t.Errorf("%s: status %d has the challenge %q", who, status, challenge)
				}
				if status == 503 && got.header.Get("Retry-After") == "" {
					t.Errorf("%s: nothing says when to come back", who)
				}
				if status >= 400 && got.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: content type is %q", who, got.header.Get("Content-Type"))
				}
				// A change, tried or made, is a line in the log that says who and what.
				lines := log.audit(t)[before:]
				if len(lines) != map[bool]int{true: 1}[mutates] {
					t.Fatalf("%s: there are %d audit lines for it", who, len(lines))
				}
				if mutates && (lines[0]["status"] != float64(got.status) || lines[0]["path"] != r.call.path || lines[0]["method"] != r.call.method || lines[0]["request"] != got.header.Get("X-Request-Id")) {
					t.Errorf("%s: audit line is %v", who, lines[0])
				}
				return got
			}
			// While the API server does not answer nobody is let in, and nothing is
			// remembered of it.
			cluster.Grant(rights...)
			cluster.Refuse(http.StatusServiceUnavailable)
			try("nobody can say who it is", callerToken, 503)
			cluster.Refuse(0)

			try("no token", "", 401)
			try("a token that nobody knows", unknownToken, 401)
			try("an expired token", expiredToken, 401)
			try("a token for another audience", foreignToken, 401)
			try("a user without the right", nobodyToken, 403)
			if mutates {
				try("a user who may read", readerToken, 403)
			} else {
				try("a user who may read", readerToken, r.status)
			}

			// Who it is has become known; now nobody can say what they may do.
			cluster.Grant()
			try("a user before the right was given", callerToken, 403)
			w.Clock.SetTime(apitest.Now.Add(11 * time.Second)) // a refusal is believed no longer
			cluster.Refuse(http.StatusServiceUnavailable)
			try("nobody can say what they may", callerToken, 503)
			cluster.Refuse(0)

			elsewhere := map[string]string{"": "prod", "prod": "staging"}[r.namespace]
			cluster.Grant(accesstest.Right{User: "caller", Verb: verb, Resource: resource, Namespace: elsewhere})
			try("a user with the right in one namespace, and not in this or all", callerToken, 403)
			w.Clock.SetTime(apitest.Now.Add(22 * time.Second))
			cluster.Grant(rights...)
			got := try("a user with this right alone", callerToken, r.status)
			if mutates {
				lines := log.audit(t)
				if last := lines[len(lines)-1]; last["user"] != "caller" {
					t.Errorf("audit line is %v, want the user", last)
				}
				if got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("the answer to a change may be kept: %q", got.header.Get("Cache-Control"))
				}
			}
			if s := log.String(); strings.Contains(s, "token-") || strings.Count(s, `"request":`) < tries {
				t.Errorf("the log holds a token, or lacks a request:\n%s", s)
			}
		})
	}
}

func TestTokensInOtherForms(t *testing.T) {
	w, cluster, _ := newGuarded(t)
	cluster.Grant(accesstest.Right{User: "caller"})
	for header, status := range map[string]int{
		"Bearer " + callerToken: 200, "bearer " + callerToken: 200, "BEARER  " + callerToken: 200,
		"Basic " + callerToken: 401, callerToken: 401, "Bearer": 401, "Bearer ": 401, "": 401, "Bearer " + callerToken + " more": 401,
	} {
		if got := do(t, w, call{method: "GET", path: "/v1/runs", header: map[string]string{"Authorization": header}}); got.status != status {
			t.Errorf("%q is answered with %d, want %d", header, got.status, status)
		}
	}
	if got := do(t, w, call{method: "GET", path: "/v1/runs?access_token=" + callerToken}); got.status == 200 {
		t.Error("a token in a query, where it would be logged, is taken")
	}
}

func TestRightsThatAreTakenAwayEnd(t *testing.T) {
	w, cluster, _ := newGuarded(t)
	cluster.Grant(accesstest.Right{User: "caller"})
	read := call{method: "GET", path: "/v1/runs"}.with(callerToken)
	for range 3 {
		if got := do(t, w, read); got.status != 200 {
			t.Fatalf("answered with %d", got.status)
		}
	}
	if tokens, rights := cluster.Asked("TokenReview"), cluster.Asked("SubjectAccessReview"); tokens != 1 || rights != 1 {
		t.Errorf("the API server was asked for %d tokens and %d rights, want one each", tokens, rights)
	}
	cluster.Grant()
	w.Clock.SetTime(apitest.Now.Add(31 * time.Second))
	if got := do(t, w, read); got.status != 403 {
		t.Errorf("without the right: %d", got.status)
	}
	cluster.Forget(callerToken)
	w.Clock.SetTime(apitest.Now.Add(62 * time.Second))
	if got := do(t, w, read); got.status != 401 {
		t.Errorf("without the token: %d", got.status)
	}
}

func TestStatusSaysWhatTheCallerMay(t *testing.T) {
	w, cluster, _ := newGuarded(t)
	cluster.Grant(accesstest.Right{Verb: access.Get}, accesstest.Right{User: "caller"})
	for token, want := range map[string]wire.Status{readerToken: {User: "reader"}, callerToken: {User: "caller", Write: true}} {
		got := decode[wire.Status](t, do(t, w, call{method: "GET", path: "/v1/status"}.with(token)), 200)
		if got.User != want.User || got.Write != want.Write {
			t.Errorf("%s: user %q, write %v", want.User, got.User, got.Write)
		}
	}
}

// TestBrowsersAloneChangeNothing sends the GETs that change something as a browser
// does that nobody has told to.
func TestBrowsersAloneChangeNothing(t *testing.T) {
	for _, r := range guarded {
		verb, _, needed := strings.Cut(r.right, " ")
		if !strings.HasPrefix(r.route, "GET ") || !needed || verb == access.Get {
			continue
		}
		t.Run(r.route, func(t *testing.T) {
			w, cluster, _ := newGuarded(t)
			cluster.Grant(accesstest.Right{User: "caller"})
			w.Services.Hide(apitest.Shop("cache"))
			for _, h := range [][2]string{
				{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Sec-Purpose", "Prefetch;anonymous-client-ip"}, {"Purpose", "prefetch"},
				{"X-Purpose", "preview"}, {"X-Moz", "prefetch"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			} {
				c := call{method: "GET", path: r.call.path}.with(callerToken)
				c.header[h[0]] = h[1]
				if got := do(t, w, c); got.status != 403 || got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %s is answered with %d %.200s, cache %q", h[0], h[1], got.status, got.body, got.header.Get("Cache-Control"))
				}
			}
			if got := do(t, w, call{method: "HEAD", path: r.call.path}.with(callerToken)); got.status != 405 {
				t.Errorf("HEAD is answered with %d", got.status)
			}
			runs, err := w.Submitter.List(t.Context(), workflows.ListOptions{})
			if err != nil || len(runs) != 1 {
				t.Errorf("there are %d runs (%v), want the one from before", len(runs), err)
			}
			if all, err := w.Services.Components(t.Context()); err != nil || len(all) != 3 {
				t.Errorf("there are %d components (%v): somebody has looked for new ones", len(all), err)
			}
			// The page's own request, and an address that somebody has typed.
			for _, site := range []string{"same-origin", "none"} {
				c := call{method: "GET", path: r.call.path}.with(callerToken)
				c.header["Sec-Fetch-Site"] = site
				if got := do(t, w, c); got.status != r.status {
					t.Errorf("%s is answered with %d %.200s", site, got.status, got.body)
				}
			}
		})
	}
}

func TestOtherWebSitesChangeNothing(t *testing.T) {
	w := newShop(t)
	for _, h := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}} {
		header := map[string]string{"Content-Type": "application/json"}
		for name, value := range h {
			header[name] = value
		}
		if got := do(t, w, call{"POST", "/v1/services", header, `{"services":[{"name":"shop","managed":true}]}`}); got.status != 403 {
			t.Errorf("%v is answered with %d", h, got.status)
		}
	}
	for name, mode := range modes(t, w) {
		if mode != schemas.Shadow {
			t.Errorf("%s has mode %s", name, mode)
		}
	}
}

func TestServerHasItsOwnName(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Hosts = []string{"localhost", "127.0.0.1", "::1"} })
	for host, status := range map[string]int{"127.0.0.1:8080": 200, "localhost": 200, "localhost:80": 200, "[::1]:8080": 200, "evil.example": 421, "127.0.0.1.evil.example:8080": 421} {
		r, err := http.NewRequest("GET", w.HTTP.URL+"/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("by the name %s it answers with %d, want %d", host, response.StatusCode, status)
		}
	}
}

func TestRatesAreOfEachCaller(t *testing.T) {
	w, cluster, _ := newGuarded(t, func(c *api.Config) { c.Limits.Reads, c.Limits.Writes = 1, 1 })
	cluster.Grant(accesstest.Right{})
	read, change := call{method: "GET", path: "/v1/runs"}, call{"POST", "/v1/train-values", ofJSON, `{"Future_data":1,"History_data":5}`}
	until := func(c call, token string) (n int, last answer) {
		for n = range 100 {
			if last = do(t, w, c.with(token)); last.status == 429 {
				return n, last
			}
		}
		return 100, last
	}
	n, last := until(change, callerToken)
	if n < 2 || n > 20 || last.header.Get("Retry-After") != "1" {
		t.Errorf("%d changes went through, and then: %d, retry after %q", n, last.status, last.header.Get("Retry-After"))
	}
	if got := do(t, w, read.with(callerToken)); got.status != 200 {
		t.Errorf("a read after too many changes: %d", got.status)
	}
	if got := do(t, w, change.with(readerToken)); got.status != 200 {
		t.Errorf("a change by somebody else: %d", got.status)
	}
	if n, _ := until(read, callerToken); n > 20 {
		t.Errorf("%d reads went through", n)
	}
	// Who is not known has no share of anybody's.
	for range 50 {
		if got := do(t, w, read.with(unknownToken)); got.status != 401 {
			t.Fatalf("an unknown token: %d", got.status)
		}
	}
	if got := do(t, w, read.with(nobodyToken)); got.status != 200 {
		t.Errorf("a read by a third: %d", got.status)
	}
}

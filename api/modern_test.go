package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// read decodes the answer to a GET, which must be a success.
func read[T any](t testing.TB, w *apitest.World, path string) T {
	t.Helper()
	return decode[T](t, do(t, w, call{method: "GET", path: path}), http.StatusOK)
}

func decode[T any](t testing.TB, a answer, status int) (v T) {
	t.Helper()
	if a.status != status {
		t.Fatalf("answered with %d %.300s, want %d", a.status, a.body, status)
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %.300s", err, a.body)
	}
	return v
}

func TestForecastIsThatOfTheStore(t *testing.T) {
	w := newShop(t)
	for _, of := range []struct {
		query    string
		resource schemas.Resource
		unit     string
	}{{"", schemas.CPU, "cores"}, {"?resource=cpu", schemas.CPU, "cores"}, {"?resource=memory", schemas.Memory, "bytes"}} {
		got := read[wire.Forecast](t, w, "/v1/forecasts/prod/shop/web"+of.query)
		set := apitest.Set([]schemas.ComponentID{web, db, pay}, apitest.Now)
		for _, f := range set.Forecasts {
			if f.Component != web || f.Resource != of.resource {
				continue
			}
			want := wire.Forecast{
				Component: wire.ComponentID(web), Resource: of.resource, Unit: of.unit, Run: set.Run, Time: apitest.Now, Origin: apitest.Now,
				Step: "15m0s", StepSeconds: 900, Levels: f.Levels, Forecasters: f.Forecasters,
			}
			for i := range f.Steps() {
				want.Values = append(want.Values, f.Row(i))
			}
			for i := range f.PeakSteps() {
				want.Peaks = append(want.Peaks, f.PeakRow(i))
			}
			// What is stored is rounded to whole small units.
			near := cmp.Comparer(func(a, b float64) bool { return max(a-b, b-a) <= max(1e-6, 1024*a/(1+a)) })
			if diff := cmp.Diff(want, got, near); diff != "" {
				t.Errorf("forecast %s (-want +got):\n%.1000s", of.query, diff)
			}
		}
	}
}

func TestHistoryIsThatOfTheStore(t *testing.T) {
	w := newShop(t)
	day := read[wire.History](t, w, "/v1/history/prod/shop/web")
	if len(day.Buckets) != 95 && len(day.Buckets) != 96 || day.StepSeconds != 900 {
		t.Errorf("a day has %d buckets of %d s", len(day.Buckets), day.StepSeconds)
	}
	from, to := apitest.Now.Add(-2*time.Hour), apitest.Now.Add(-time.Hour)
	hour := read[wire.History](t, w, "/v1/history/prod/shop/web?"+url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}.Encode())
	if len(hour.Buckets) != 4 || !hour.Buckets[0].Start.Equal(from) || !hour.From.Equal(from) || !hour.To.Equal(to) {
		t.Fatalf("an hour is %+v", hour)
	}
	b := hour.Buckets[0]
	if b.CPU == nil || b.Memory == nil || b.CPU.Count != 15 || b.CPU.Max <= b.CPU.Mean || *b.Replicas != 2 || *b.CPURequest != 0.25 || b.MemoryRequest != nil {
		t.Errorf("a bucket is %+v", b)
	}
	// Asking again costs the store nothing.
	before := w.Bucket.Gets()
	read[wire.History](t, w, "/v1/history/prod/shop/web")
	if got := w.Bucket.Gets(); got != before {
		t.Errorf("the same history again asked the store %d times", got-before)
	}
	if got := read[wire.History](t, w, "/v1/history/prod/shop/unknown"); len(got.Buckets) != 0 {
		t.Errorf("a component that was never measured has %d buckets", len(got.Buckets))
	}
	for _, query := range []string{"from=2026-03-09T12:00:00Z&to=2026-03-09T11:00:00Z", "from=2026-01-01T00:00:00Z&to=2026-03-09T00:00:00Z", "from=yesterday", "from=0001-01-01T00:00:00Z&to=0001-01-02T00:00:00Z"} {
		if got := do(t, w, call{method: "GET", path: "/v1/history/prod/shop/web?" + query}); got.status != 422 {
			t.Errorf("%s is answered with %d %s", query, got.status, got.body)
		}
	}
}

func TestComponentsComeInPages(t *testing.T) {
	var ids []schemas.ComponentID
	for i := range 25 {
		ids = append(ids, schemas.ComponentID{Namespace: fmt.Sprint("ns", i%2), Service: fmt.Sprint("s", i/10), Component: fmt.Sprintf("c%02d", i)})
	}
	w := apitest.New(t, ids)
	w.Fill(t, ids, 1, 1)
	for _, tt := range []struct {
		query string
		pages []int
	}{
		{"", []int{25}}, {"limit=10", []int{10, 10, 5}}, {"limit=25", []int{25}}, {"limit=5&namespace=ns1", []int{5, 5, 2}},
		{"service=s2", []int{5}}, {"mode=Auto", []int{0}}, {"mode=Shadow&limit=24", []int{24, 1}},
	} {
		t.Run(tt.query, func(t *testing.T) {
			var pages []int
			last := schemas.ComponentID{}
			for cursor := ""; ; {
				list := read[wire.ComponentList](t, w, "/v1/components?"+tt.query+"&cursor="+cursor)
				pages = append(pages, len(list.Items))
				for _, c := range list.Items {
					if id := schemas.ComponentID(c.ID); last.Compare(id) >= 0 {
						t.Errorf("%v comes after %v", id, last)
					} else {
						last = id
					}
					if c.Decision == nil || c.Decision.Policy != nil || c.ForecastAt == nil || !c.ForecastAt.Equal(apitest.Now) || c.PolicyVersion == "" {
						t.Errorf("%v has decision %+v, forecast at %v, policy version %q", c.ID, c.Decision, c.ForecastAt, c.PolicyVersion)
					}
				}
				if cursor = list.Next; cursor == "" {
					break
				}
			}
			if diff := cmp.Diff(tt.pages, pages); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
	one := read[wire.Component](t, w, "/v1/components/ns1/s0/c01")
	if one.Decision == nil || len(one.Decision.Demands) != 1 || one.Decision.Policy == nil || one.Target.Kind != "Deployment" {
		t.Errorf("one component is %+v", one)
	}
}

func TestNamesThatSeveralNamespacesHave(t *testing.T) {
	staging := schemas.ComponentID{Namespace: "staging", Service: "shop", Component: "web"}
	nowhere := schemas.ComponentID{Service: "local", Component: "web"}
	ids := []schemas.ComponentID{web, staging, pay, nowhere}
	w := apitest.New(t, ids)
	w.Fill(t, ids, 1, 1)
	for path, status := range map[string]int{
		"shop/web": 409, "prod/shop/web": 200, "staging/shop/web": 200, "pay/api": 200, "prod/pay/api": 200, "staging/pay/api": 404,
		"local/web": 200, "-/local/web": 200, "prod/local/web": 404, "shop/unknown": 404,
	} {
		for _, folder := range []string{"components", "forecasts"} {
			if got := do(t, w, call{method: "GET", path: "/v1/" + folder + "/" + path}); got.status != status {
				t.Errorf("%s of %s is answered with %d, want %d", folder, path, got.status, status)
			}
		}
	}
	if got := do(t, w, call{method: "GET", path: "/v1/components/shop/web"}); !strings.Contains(got.body, "prod, staging") {
		t.Errorf("the problem does not name the namespaces: %s", got.body)
	}
}

func TestDecisionsComeNewestFirst(t *testing.T) {
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids)
	w.Fill(t, ids, 1, 10)
	all := func(query string, limit int) (out []string) {
		for cursor := ""; ; {
			list := read[wire.DecisionList](t, w, fmt.Sprintf("/v1/decisions?%s&limit=%d&cursor=%s", query, limit, cursor))
			if len(list.Items) > limit {
				t.Errorf("%s: a page has %d entries, want at most %d", query, len(list.Items), limit)
			}
			for _, d := range list.Items {
				out = append(out, d.Time.Format("15:04")+" "+d.Component.Component)
			}
			if cursor = list.Next; cursor == "" {
				return out
			}
		}
	}
	everything := all("", 500)
	if len(everything) != 30 || everything[0] != "12:00 api" || everything[29] != "09:45 web" {
		t.Errorf("all decisions are %v", everything)
	}
	for _, limit := range []int{1, 2, 7} {
		if diff := cmp.Diff(everything, all("", limit)); diff != "" {
			t.Errorf("by %d at a time (-want +got):\n%s", limit, diff)
		}
	}
	for query, want := range map[string][]string{
		"service=shop&component=web&from=2026-03-09T11:30:00Z": {"12:00 web", "11:45 web", "11:30 web"},
		"namespace=prod&service=shop&to=2026-03-09T10:00:00Z":  {"09:45 db", "09:45 web"},
		"to=2026-03-09T11:00:00Z&from=2026-03-09T10:45:00Z":    {"10:45 api", "10:45 db", "10:45 web"},
		"namespace=other":                                      nil,
		"reason=NotManaged":                                    nil,
		"to=2020-01-01T00:00:00Z":                              nil,
		"from=2030-01-01T00:00:00Z":                            nil,
		"service=shop&component=db&reason=FloorRaised&limit=2": nil,
	} {
		got := all(query, 2)
		if strings.Contains(query, "FloorRaised") {
			if len(got) < 2 {
				t.Errorf("%s: %v, want every third", query, got)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	whole := read[wire.DecisionList](t, w, "/v1/decisions?limit=1").Items[0]
	want := wire.NewDecision(&apitest.Set(ids, apitest.Now).Decisions[2])
	if diff := cmp.Diff(want, whole); diff != "" {
		t.Errorf("a decision (-want +got):\n%s", diff)
	}
}

func TestCursorsBelongToTheirQuestion(t *testing.T) {
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids)
	w.Fill(t, ids, 1, 3)
	cursor := read[wire.ComponentList](t, w, "/v1/components?limit=1").Next
	for _, path := range []string{
		"/v1/components?service=shop&cursor=" + cursor, "/v1/decisions?cursor=" + cursor, "/v1/models/line?cursor=" + cursor, "/v1/runs?cursor=" + cursor, "/v1/accuracy?cursor=" + cursor,
		"/v1/components?cursor=nonsense", "/v1/components?cursor=e30", "/v1/components?cursor=%00%ff",
	} {
		if got := do(t, w, call{method: "GET", path: path}); got.status != 400 || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s is answered with %d %s", path, got.status, got.body)
		}
	}
}

func TestModelsAndAccuracy(t *testing.T) {
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids)
	if got := read[wire.ModelList](t, w, "/v1/models"); got.Number != 0 || len(got.Items) != 0 {
		t.Errorf("before the first training: %+v", got)
	}
	if got := read[wire.Accuracy](t, w, "/v1/accuracy"); len(got.Points) != 0 || len(got.Components) != 0 {
		t.Errorf("before the first training: %+v", got)
	}
	apitest.Models(t, w.Store, ids[:1], apitest.Now.Add(-24*time.Hour), "train-0")
	w.Refresh(t)
	apitest.Models(t, w.Store, ids, apitest.Now, "train-1")
	w.Refresh(t)
	w.Refresh(t)
	got := read[wire.ModelList](t, w, "/v1/models")
	if got.Number != 2 || got.Accepted != "train-1" || len(got.Items) != 1 || got.Items[0].Series != 6 || got.Items[0].Verdict == "" || len(got.Items[0].SHA256) != 64 {
		t.Errorf("models are %+v", got)
	}
	if got := read[wire.ModelList](t, w, "/v1/models?number=1"); got.Number != 1 || got.Accepted != "train-0" {
		t.Errorf("the training before is %+v", got)
	}
	if got := do(t, w, call{method: "GET", path: "/v1/models?number=7"}); got.status != 404 {
		t.Errorf("a training that there is not: %d", got.status)
	}
	accuracy := read[wire.Accuracy](t, w, "/v1/accuracy?limit=4")
	if len(accuracy.Points) != 2 || accuracy.Points[1].Ratio != 0.5 || accuracy.Points[1].Series != 6 || len(accuracy.Components) != 4 || accuracy.Next == "" {
		t.Errorf("accuracy is %+v", accuracy)
	}
	if c := accuracy.Components[0]; c.Component != wire.ComponentID(pay) || c.Forecaster != schemas.Bank || c.MAE != 1 || c.Naive != 2 {
		t.Errorf("the first series is %+v", c)
	}
	if rest := read[wire.Accuracy](t, w, "/v1/accuracy?limit=4&cursor="+accuracy.Next); len(rest.Components) != 2 || rest.Next != "" {
		t.Errorf("the rest is %+v", rest)
	}
}

func TestStatus(t *testing.T) {
	w := newShop(t)
	got := read[wire.Status](t, w, "/v1/status")
	now := apitest.Now
	want := wire.Status{
		Component: "self-scaling", Version: "1.0.0", Now: now, Speed: 1, Write: true,
		Freshness: wire.Freshness{Samples: &now, Forecast: &now, Model: &now}, Store: wire.Store{OK: true}, Components: map[string]int{"Shadow": 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids)
	w.Fill(t, ids, 1, 3)
	paths := []string{"/v1/components", "/v1/components/shop/web", "/v1/forecasts/shop/web", "/v1/history/shop/web", "/v1/decisions", "/v1/models", "/v1/models/line", "/v1/accuracy", "/v1/services"}
	before := map[string]answer{}
	for _, path := range paths {
		before[path] = do(t, w, call{method: "GET", path: path})
	}
	w.Bucket.Down(true)
	if err := w.View.Refresh(t.Context()); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Fatalf("a refresh returned %v", err)
	}
	for _, path := range paths {
		got := do(t, w, call{method: "GET", path: path})
		if got.status != 200 || got.header.Get("Self-Scaling-Stale-Since") == "" {
			t.Errorf("%s is answered with %d, stale since %q", path, got.status, got.header.Get("Self-Scaling-Stale-Since"))
		}
		if path != "/v1/services" && !strings.Contains(got.body, `"staleSince":"`) {
			t.Errorf("%s: the body does not say that it is stale", path)
		}
		if tag := got.header.Get("ETag"); tag != "" && tag == before[path].header.Get("ETag") && path != "/v1/services" {
			t.Errorf("%s has the ETag %s as before, with another body", path, tag)
		}
	}
	status := read[wire.Status](t, w, "/v1/status")
	if status.Store.OK || status.Store.Since == nil || status.Store.Message == "" {
		t.Errorf("status is %+v", status.Store)
	}
	if got := do(t, w, call{method: "GET", path: "/readyz"}); got.status != 200 {
		t.Errorf("readyz is %d: a server that can answer must go on", got.status)
	}
	w.Bucket.Down(false)
	if err := w.View.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if got := do(t, w, call{method: "GET", path: path}); got.status != 200 || got.header.Get("Self-Scaling-Stale-Since") != "" || got.body != before[path].body {
			t.Errorf("%s afterwards: %d, stale since %q", path, got.status, got.header.Get("Self-Scaling-Stale-Since"))
		}
	}
}

func TestPolicyChanges(t *testing.T) {
	w := newShop(t)
	const path = "/v1/policies/prod/shop/web"
	patch := func(path, body, ifMatch string) answer {
		header := map[string]string{"Content-Type": "application/merge-patch+json"}
		if ifMatch != "" {
			header["If-Match"] = ifMatch
		}
		return do(t, w, call{"PATCH", path, header, body})
	}
	first := do(t, w, call{method: "GET", path: path})
	tag := first.header.Get("ETag")
	policy := decode[wire.ComponentPolicy](t, first, 200)
	if tag == "" || policy.Policy.Mode != schemas.Shadow || policy.Settings.Mode != nil || *policy.Service.Mode != schemas.Shadow {
		t.Fatalf("policy is %+v with ETag %q", policy, tag)
	}
	if c := read[wire.Component](t, w, "/v1/components/prod/shop/web"); c.PolicyVersion != tag {
		t.Errorf("the component has policy version %q, the policy ETag %q", c.PolicyVersion, tag)
	}
	changed := patch(path, `{"mode":"Auto","minReplicas":2,"leadTime":"90s"}`, tag)
	policy = decode[wire.ComponentPolicy](t, changed, 200)
	if policy.Policy.Mode != schemas.Auto || policy.Policy.MinReplicas != 2 || policy.Policy.LeadTime != "1m30s" || changed.header.Get("ETag") == tag {
		t.Errorf("after the change: %+v, ETag %s", policy, changed.header.Get("ETag"))
	}
	if got := patch(path, `{"mode":"Off"}`, tag); got.status != 412 {
		t.Errorf("a change of what is no longer there: %d %s", got.status, got.body)
	}
	// A change of another component does not stand in the way.
	if got := patch("/v1/policies/prod/shop/db", `{"mode":"Auto"}`, ""); got.status != 200 {
		t.Errorf("another component: %d %s", got.status, got.body)
	}
	policy = decode[wire.ComponentPolicy](t, patch(path, `{"minReplicas":null}`, changed.header.Get("ETag")), 200)
	if policy.Settings.MinReplicas != nil || policy.Policy.MinReplicas != 1 || *policy.Settings.Mode != schemas.Auto {
		t.Errorf("after unsetting: %+v", policy)
	}
	service := decode[wire.ServicePolicy](t, patch("/v1/policies/prod/shop", `{"quantile":90}`, ""), 200)
	if *service.Settings.Quantile != 90 || *service.Components["web"].Mode != schemas.Auto {
		t.Errorf("service policy is %+v", service)
	}
	if c := read[wire.Component](t, w, "/v1/components/prod/shop/web"); c.Policy.Quantile != 0.9 || c.Policy.Mode != schemas.Auto {
		t.Errorf("the component's policy is %+v", c.Policy)
	}
	for body, want := range map[string]string{
		`{"mode":"On"}`: "body.mode", `{"mod":"Auto"}`: "body.mod", `{"minReplicas":0}`: "body.minReplicas", `{"minReplicas":"2"}`: "body.minReplicas",
		`{"minReplicas":1.5}`: "body.minReplicas", `{"leadTime":"soon"}`: "body.leadTime", `{"quantile":100}`: "body.quantile",
		`{"minReplicas":99999999999}`: "body.minReplicas", `{"minReplicas":20}`: "maxReplicas must be from minReplicas",
	} {
		if got := patch(path, body, ""); got.status != 422 || !strings.Contains(got.body, want) {
			t.Errorf("%s is answered with %d %s, want %q", body, got.status, got.body, want)
		}
	}
	for body, status := range map[string]int{`[]`: 400, `null`: 400, `{`: 400, ``: 400, `{}`: 200} {
		if got := patch(path, body, ""); got.status != status {
			t.Errorf("%q is answered with %d %s, want %d", body, got.status, got.body, status)
		}
	}
	if got := do(t, w, call{"PATCH", path, map[string]string{"Content-Type": "text/plain"}, `{}`}); got.status != 415 {
		t.Errorf("another content type: %d", got.status)
	}
	for _, path := range []string{"/v1/policies/prod/zoo", "/v1/policies/prod/shop/zoo", "/v1/policies/zoo/shop/web"} {
		if got := do(t, w, call{method: "GET", path: path}); got.status != 404 {
			t.Errorf("%s: %d", path, got.status)
		}
		if got := patch(path, `{"mode":"Off"}`, ""); got.status != 404 {
			t.Errorf("a change of %s: %d", path, got.status)
		}
	}
}

func TestUnknownQueryParametersAreReported(t *testing.T) {
	w := newShop(t)
	for _, path := range []string{"/v1/components?limits=5", "/v1/forecasts/shop/web?resources=cpu", "/v1/decisions?since=1", "/v1/components?limit=0", "/v1/components?limit=501", "/v1/components?mode=auto", "/v1/forecasts/shop/web?resource=disk"} {
		if got := do(t, w, call{method: "GET", path: path}); got.status != 422 || !strings.Contains(got.body, `"errors":[`) {
			t.Errorf("%s is answered with %d %s", path, got.status, got.body)
		}
	}
}

func TestLimitsOfRequests(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Limits.Body = 1000 })
	large := `{"pipeline":"infer","parameters":{"now":"` + strings.Repeat("x", 2000) + `"}}`
	for _, c := range []call{
		{"POST", "/v1/runs", ofJSON, large}, {"POST", "/v1/services", ofJSON, large}, {"POST", "/v1/train-values", ofJSON, large},
		{"PATCH", "/v1/policies/prod/shop/web", ofJSON, large},
	} {
		if got := do(t, w, c); got.status != 413 {
			t.Errorf("%s %s with a large body: %d %.200s", c.method, c.path, got.status, got.body)
		}
	}
}

func TestProblemsNameTheRequest(t *testing.T) {
	w := newShop(t)
	got := do(t, w, call{method: "GET", path: "/v1/runs/nothing", header: map[string]string{"X-Request-Id": "mine-1"}})
	p := decode[wire.Problem](t, got, 404)
	if p.Instance != "mine-1" || got.header.Get("X-Request-Id") != "mine-1" || p.Code != "not_found" || p.Type != "tag:self-scaling.github.io,2026:not_found" || p.Title != "Not Found" {
		t.Errorf("problem is %+v, request-id %q", p, got.header.Get("X-Request-Id"))
	}
	if got := do(t, w, call{method: "GET", path: "/v1/runs", header: map[string]string{"X-Request-Id": "no\tgood"}}); got.header.Get("X-Request-Id") == "no\tgood" || got.header.Get("X-Request-Id") == "" {
		t.Errorf("request-id is %q", got.header.Get("X-Request-Id"))
	}
}

func TestPageIsBesideTheInterface(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.URL.Path) })
	w := newShop(t, func(c *api.Config) { c.Page = page })
	for path, want := range map[string]string{"/": "page /", "/assets/app.js": "page /assets/app.js"} {
		response, err := http.Get(w.HTTP.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 100)
		n, _ := response.Body.Read(body)
		response.Body.Close()
		if got := string(body[:n]); got != want {
			t.Errorf("%s is answered with %q, want %q", path, got, want)
		}
	}
	if got := do(t, w, call{method: "GET", path: "/v1/unknown"}); got.status != 404 || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("what the interface does not have is answered with %d %s", got.status, got.body)
	}
}

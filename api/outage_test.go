package api_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// stale returns the metric that says for how long the store has not answered.
func stale(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "selfscaling_api_stale_seconds" {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	t.Fatal("there is no such metric")
	return 0
}

// TestStoreThatIsDownForTenMinutes goes through an outage look by look: reads go on,
// each says since when it is stale, and all is well at the first look after it.
func TestStoreThatIsDownForTenMinutes(t *testing.T) {
	const every, long = 5 * time.Second, 10 * time.Minute
	registry := prometheus.NewRegistry()
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids, func(c *api.Config) { c.Metrics = registry })
	w.Fill(t, ids, 1, 3)
	paths := []string{
		"/v1/components", "/v1/components/shop/web", "/v1/forecasts/shop/web", "/v1/forecasts/prod/shop/db?resource=memory", "/v1/decisions?limit=2", "/v1/models", "/v1/accuracy", "/v1/services",
		// The file that it is in was read before.
		"/v1/history/shop/web?from=2026-03-09T00:00:00Z&to=2026-03-09T12:00:00Z",
	}
	// The newest decision is there; those of earlier runs, which nobody has asked for
	// before, come once the store is back.
	const unread = "/v1/decisions?limit=3&service=shop&component=web"
	before := map[string]string{}
	for _, path := range paths {
		before[path] = do(t, w, call{method: "GET", path: path}).body
	}
	w.Bucket.Down(true)
	down := apitest.Now.Add(every)
	for since := every; since <= long; since += every {
		w.Clock.SetTime(apitest.Now.Add(since))
		if err := w.View.Refresh(t.Context()); schemas.CodeOf(err) != schemas.CodeUnavailable {
			t.Fatalf("after %s a look at the store returns %v", since, err)
		}
		if since%time.Minute != 0 {
			continue
		}
		asked := w.Bucket.Gets()
		for _, path := range append(paths, unread) {
			got := do(t, w, call{method: "GET", path: path})
			if got.status != 200 || got.header.Get("Self-Scaling-Stale-Since") != down.Format(time.RFC3339) {
				t.Errorf("after %s %s is answered with %d, stale since %q", since, path, got.status, got.header.Get("Self-Scaling-Stale-Since"))
			}
		}
		// What only earlier runs have is not there, and nobody waits for it.
		if got := do(t, w, call{method: "GET", path: "/v1/decisions?reason=NoSuchReason"}); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("after %s decisions of earlier runs are answered with %d %s", since, got.status, got.body)
		}
		if n := w.Bucket.Gets() - asked; n > 0 {
			t.Errorf("after %s callers had the store asked %d times, which takes long each time", since, n)
		}
		if got := do(t, w, call{method: "GET", path: "/readyz"}); got.status != 200 {
			t.Errorf("after %s readyz is %d", since, got.status)
		}
		if got := read[wire.Status](t, w, "/v1/status").Store; got.OK || got.Since == nil || !got.Since.Equal(down) {
			t.Errorf("after %s the status is %+v", since, got)
		}
	}
	if got := stale(t, registry); got != (long - every).Seconds() {
		t.Errorf("the metric says %v s, want %v", got, (long - every).Seconds())
	}
	w.Bucket.Down(false)
	w.Refresh(t)
	for _, path := range paths {
		if got := do(t, w, call{method: "GET", path: path}); got.status != 200 || got.header.Get("Self-Scaling-Stale-Since") != "" || got.body != before[path] {
			t.Errorf("afterwards %s is answered with %d, stale since %q", path, got.status, got.header.Get("Self-Scaling-Stale-Since"))
		}
	}
	if got := stale(t, registry); got != 0 {
		t.Errorf("afterwards the metric says %v s", got)
	}
}

//go:build page

package page

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// views are the page's views with what says that one is there.
var views = []struct{ name, hash, ready string }{
	{"components", "#/", `document.querySelectorAll('.list.components a').length >= 7 && document.querySelector('.spark canvas')`},
	{"component", "#/components/shop/checkout/api", `document.querySelectorAll('.plot canvas').length === 2 && document.querySelector('.explanation .clamp, .explanation .unlimited')`},
	{"decisions", "#/decisions", `document.querySelectorAll('.list.decisions a').length > 50`},
	{"runs", "#/runs", `document.querySelector('.list.runs a')`},
	{"run", "#/runs/infer-1", `document.querySelector('.list.steps') && document.body.innerText.includes('Succeeded')`},
	{"accuracy", "#/accuracy", `document.querySelector('.plot canvas') && document.querySelector('.list.accuracy a')`},
	{"not-found", "#/nowhere", `document.querySelector('.empty')`},
}

// Every view, in both colours and both widths: nothing in the console, nothing
// serious for axe-core, and nothing wider than the window.
func TestViews(t *testing.T) {
	w := newWorld(t, setup{})
	if _, err := w.submitter.Submit(t.Context(), workflows.Request{Pipeline: "infer", RunID: "infer-1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.submitter.Wait(t.Context(), "infer-1"); err != nil {
		t.Fatal(err)
	}
	for _, v := range views {
		for _, l := range []struct {
			name string
			look look
		}{
			{"light", desk},
			{"dark", look{width: 1280, height: 900, dark: true}},
			{"narrow", look{width: 360, height: 740}},
			{"narrow-dark", look{width: 360, height: 740, dark: true}},
		} {
			t.Run(v.name+" "+l.name, func(t *testing.T) {
				p := newTab(t, l.look)
				p.open(w.url + v.hash)
				p.until("the view is drawn", v.ready)
				p.settled()
				p.accessible()
				p.fits()
				p.silent()
				p.shoot(v.name + "-" + l.name)
			})
		}
	}
}

// realised answers with forecasts that were held against what happened, for ten days.
func realised(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/v1/accuracy" {
		return false
	}
	a := wire.Accuracy{Basis: "realised", Components: []wire.ComponentAccuracy{
		{Component: wire.ComponentID{Namespace: "shop", Service: "checkout", Component: "api"}, Resource: schemas.CPU, Forecaster: schemas.Bank, MAE: .1, Naive: .2},
	}}
	for day := range 10 {
		a.Points = append(a.Points, wire.AccuracyPoint{Time: dawn.Truncate(24*time.Hour).AddDate(0, 0, day-10), Ratio: .5 + .1*float64(9-day), Series: 1})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a)
	return true
}

// What is shown where something is missing or wrong.
func TestStates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup setup
		gate  func(http.ResponseWriter, *http.Request) bool
		hash  string
		says  []string
	}{
		{"no components", setup{empty: true}, nil, "#/", []string{"No components yet", "It starts in Shadow"}},
		{"no decisions", setup{empty: true}, nil, "#/decisions", []string{"No decisions"}},
		{"no runs", setup{empty: true}, nil, "#/runs", []string{"No runs yet"}},
		{"nothing to compare", setup{empty: true}, nil, "#/accuracy", []string{"Nothing to compare yet", "No model yet"}},
		{"no such component", setup{}, nil, "#/components/shop/checkout/nobody", []string{"Not found"}},
		{"no such run", setup{}, nil, "#/runs/nothing", []string{"Not found"}},
		{"a component without requests", setup{}, nil, "#/components/shop/mail/sender", []string{"No requests", "Set requests to get a floor."}},
		{"a component that is off", setup{}, nil, "#/components/payments/ledger/reader", []string{"The mode is Off"}},
		{"the server fails", setup{}, fails("/v1/components", 500, "samples head 12: manifest must have 3 files, but has 2"), "#/",
			[]string{"The components could not be read", "manifest must have 3 files, but has 2", "Try again"}},
		{"no forecast", setup{}, fails("/v1/forecasts", 404, "there is none"), "#/components/shop/checkout/api", []string{"There is no forecast of CPU yet."}},
		{"accuracy as it came", setup{}, realised, "#/accuracy", []string{"held against what then really happened", "50 % closer", "of 1 series", "series, Thu 21 Oct"}},
		{"no right", setup{}, fails("/v1/models", 403, "reader must have the right to get models"), "#/accuracy", []string{"You may not see this", "reader must have the right to get models"}},
		{"a proxy's own error", setup{}, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/v1/runs") {
				return false
			}
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html><body>bad gateway</body></html>"))
			return true
		}, "#/runs", []string{"The runs could not be read", "502 Bad Gateway"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.setup)
			w.gate.set(tt.gate)
			p := newTab(t, desk)
			p.open(w.url + tt.hash)
			for _, text := range tt.says {
				p.sees(text)
			}
			p.settled()
			p.accessible()
			p.quiet()
			p.shoot("state-" + strings.ReplaceAll(tt.name, " ", "-"))
		})
	}
}

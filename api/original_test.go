package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
)

var ofJSON = map[string]string{"Content-Type": "application/json"}

// text is a bare JSON string, as the original sends it.
func text(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(data) + "\n"
}

// newShop is a world in which a training has something to learn from.
func newShop(t *testing.T, change ...func(*api.Config)) *apitest.World {
	t.Helper()
	ids := []schemas.ComponentID{web, db, pay}
	w := apitest.New(t, ids, change...)
	w.Fill(t, ids, 2, 3)
	return w
}

// TestOriginalTable goes through the documentation's table of endpoints, row by row.
func TestOriginalTable(t *testing.T) {
	const (
		self   = `{"services":[{"name":"pay","managed":false,"namespace":"prod","serviceComponents":[{"name":"api","managed":false}],"components":[{"name":"api","managed":false}]},{"name":"shop","managed":false,"namespace":"prod","serviceComponents":[{"name":"db","managed":false},{"name":"web","managed":false}],"components":[{"name":"db","managed":false},{"name":"web","managed":false}]}]}` + "\n"
		shopOn = `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"web","managed":true}]}]}`
	)
	post := func(path, body string) call { return call{"POST", path, ofJSON, body} }
	get := func(path string) call { return call{method: "GET", path: path} }
	for _, tt := range []struct {
		name   string
		call   call
		status int
		body   string
	}{
		{"return services and serviceComponents", get("/v1/services"), 200, self},
		{"update managed services", post("/v1/services", shopOn), 200, text("services managed updates sucessfully")},
		{"as its programs spelled components", post("/v1/services", strings.Replace(shopOn, "serviceComponents", "components", 1)), 200, text("services managed updates sucessfully")},
		{"with a charset", call{"POST", "/v1/services", map[string]string{"Content-Type": "application/json; charset=utf-8"}, shopOn}, 200, text("services managed updates sucessfully")},
		{"another content type", call{"POST", "/v1/services", map[string]string{"Content-Type": "text/plain"}, shopOn}, 406, text("Content-Type not supported!")},
		{"no content type", call{"POST", "/v1/services", nil, shopOn}, 406, text("Content-Type not supported!")},
		{"what is not JSON", post("/v1/services", `{"services":`), 400, text("Invalid JSON")},
		{"no services", post("/v1/services", `{}`), 400, text("Invalid JSON")},
		{"an empty list of services", post("/v1/services", `{"services":[]}`), 400, text("Invalid JSON")},
		{"a list", post("/v1/services", `[]`), 400, text("Invalid JSON")},
		{"null", post("/v1/services", `null`), 400, text("Invalid JSON")},
		{"two values", post("/v1/services", shopOn+shopOn), 400, text("Invalid JSON")},
		{"a service without a name", post("/v1/services", `{"services":[{"managed":true}]}`), 400, text("Invalid JSON")},
		{"a service whose managed is a string", post("/v1/services", `{"services":[{"name":"shop","managed":"yes"}]}`), 400, text("Managed services/serviceComponents must be true")},
		{"a service without managed", post("/v1/services", `{"services":[{"name":"shop"}]}`), 400, text("Managed services/serviceComponents must be true")},
		{"a component whose managed is a number", post("/v1/services", `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"web","managed":1}]}]}`), 400, text("Managed services/serviceComponents must be true")},
		{"names that are not known are reported", post("/v1/services", `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"cache","managed":true}]},{"name":"zoo","managed":true,"components":[]}]}`), 400, text("Unknown names: shop/cache, zoo")},

		{"return train values", get("/v1/train-values"), 200, `{"Future_data":"1","History_data":"28"}` + "\n"},
		{"update train values", post("/v1/train-values", `{"Future_data":"2","History_data":"7"}`), 200, text("Train values changed")},
		{"update train values with numbers", post("/v1/train-values", `{"Future_data":2,"History_data":7}`), 200, text("Train values changed")},
		{"train values of another content type", call{"POST", "/v1/train-values", map[string]string{"Content-Type": "application/xml"}, `{}`}, 406, text("Content-Type not supported!")},
		{"train values that are not JSON", post("/v1/train-values", `{`), 400, text("Error in json body")},
		{"one train value only", post("/v1/train-values", `{"Future_data":"2"}`), 400, text("Error in json body")},
		{"a list of train values", post("/v1/train-values", `["1","5"]`), 400, text("Error in json body")},
		{"a train value of 0", post("/v1/train-values", `{"Future_data":"0","History_data":"5"}`), 400, text("Values must be positive numbers")},
		{"a train value below 0", post("/v1/train-values", `{"Future_data":"1","History_data":"-5"}`), 400, text("Values must be positive numbers")},
		{"a train value of part of a day", post("/v1/train-values", `{"Future_data":1.5,"History_data":"5"}`), 400, text("Values must be positive numbers")},
		{"an empty train value", post("/v1/train-values", `{"Future_data":"","History_data":"5"}`), 400, text("Values must be positive numbers")},
		{"a train value in words", post("/v1/train-values", `{"Future_data":"one","History_data":"5"}`), 400, text("Values must be positive numbers")},
		{"more days than there may be", post("/v1/train-values", `{"Future_data":"1","History_data":"1000"}`), 400, text("Not possible: History_data must be from 1 to 365 and Future_data from 1 to 7 days, but they are 1000 and 1")},

		{"execute the train", get("/v1/train"), 200, text("Train module executed successfully")},
		{"execute the inference", get("/v1/inference"), 200, text("Infence complete sucessfully")},
		{"return version", get("/version"), 200, `{"component":"self-scaling","service":"self-scaling","version":"1.0.0"}` + "\n"},
		{"return version at the older path", get("/v1/version"), 200, `{"component":"self-scaling","service":"self-scaling","version":"1.0.0"}` + "\n"},
		{"return health status", get("/v1/health"), 200, `{"status":"healthy"}` + "\n"},

		{"look for services", get("/v1/addServices"), 200, text("Services added or updated sucesfully")},
		{"delete old data", post("/v1/deleteData", ""), 200, "0\n"},
		{"services by their older name", get("/v1/enablers"), 200, `{"enablers":[{"name":"pay","managed":false,"namespace":"prod","components":[{"name":"api","managed":false}]},{"name":"shop","managed":false,"namespace":"prod","components":[{"name":"db","managed":false},{"name":"web","managed":false}]}]}` + "\n"},
		{"update services by their older name", post("/v1/enablers", strings.Replace(strings.Replace(shopOn, "serviceComponents", "components", 1), "services", "enablers", 1)), 200, text("services managed updates sucessfully")},
		{"services by their oldest name", get("/enablers"), 200, `[{"enabler":"pay","components":["api"]},{"enabler":"shop","components":["db","web"]}]` + "\n"},
		{"train at the oldest path", get("/train"), 200, text("Train module executed successfully")},
		{"train values at the oldest path", get("/train-values"), 200, `{"Future_data":"1","History_data":"28"}` + "\n"},
		{"inference of one component", get("/inference/shop/web"), 200, text("Infence complete sucessfully")},
		{"inference of a component that is not known", get("/inference/shop/cache"), 404, text("Unknown names: shop/cache")},
		{"components to infer", post("/inference/shop/web", `{"components":["web"],"enabler":"shop"}`), 200, text("Enablers and components add to infer")},
		{"components to infer without a body", post("/inference/shop/web", `{}`), 400, text("Error in json body")},

		{"what has no such method", call{method: "GET", path: "/v1/deleteData"}, 405, ""},
		{"what is not there", get("/v1/nothing"), 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := do(t, newShop(t), tt.call)
			if got.status != tt.status {
				t.Errorf("status is %d, want %d", got.status, tt.status)
			}
			if tt.body != "" && got.body != tt.body {
				t.Errorf("body is\n%s\nwant\n%s", got.body, tt.body)
			}
			if tt.body != "" && got.header.Get("Content-Type") != "application/json" {
				t.Errorf("content type is %q", got.header.Get("Content-Type"))
			}
		})
	}
}

func TestExportIsOpenAPI3(t *testing.T) {
	got := do(t, newShop(t), call{method: "GET", path: "/v1/api-export"})
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Info    map[string]any            `json:"info"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || doc.OpenAPI != "3.0.3" || doc.Info["version"] != "1.0.0" {
		t.Errorf("export begins with %.100s (%v), want OpenAPI 3.0.3 of version 1.0.0", got.body, err)
	}
	for _, path := range []string{"/v1/services", "/v1/train-values", "/v1/train", "/v1/inference", "/version", "/v1/health", "/v1/api-export"} {
		if doc.Paths[path] == nil {
			t.Errorf("export does not describe %s", path)
		}
	}
}

// modes are the modes that hold for the components of a world.
func modes(t *testing.T, w *apitest.World) map[string]schemas.Mode {
	t.Helper()
	out := map[string]schemas.Mode{}
	all, err := w.Services.Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		out[c.ID.Service+"/"+c.ID.Component] = c.Policy.Mode
	}
	return out
}

func TestManagedChangesModes(t *testing.T) {
	const none = "" // of the service's components nothing is said
	body := func(managed bool, components string) string {
		if components != none {
			components = `,"serviceComponents":` + components
		}
		return `{"services":[{"name":"shop","managed":` + map[bool]string{true: "true", false: "false"}[managed] + components + `}]}`
	}
	bothOn := body(true, none)
	for _, tt := range []struct {
		name   string
		bodies []string
		want   map[string]schemas.Mode // of shop's db and web
	}{
		{"true without components is for all of them", []string{bothOn}, map[string]schemas.Mode{"db": "Auto", "web": "Auto"}},
		{"true for one component leaves the other", []string{body(true, `[{"name":"web","managed":true}]`)}, map[string]schemas.Mode{"db": "Shadow", "web": "Auto"}},
		{"true with an empty list turns none on", []string{body(true, `[]`)}, map[string]schemas.Mode{"db": "Shadow", "web": "Shadow"}},
		{"false stops what was on", []string{bothOn, body(true, `[{"name":"web","managed":false}]`)}, map[string]schemas.Mode{"db": "Auto", "web": "Off"}},
		{"false leaves what was in Shadow", []string{body(true, `[{"name":"web","managed":true},{"name":"db","managed":false}]`)}, map[string]schemas.Mode{"db": "Shadow", "web": "Auto"}},
		{"false for the service stops all of it", []string{bothOn, body(false, `[{"name":"web","managed":true}]`)}, map[string]schemas.Mode{"db": "Off", "web": "Off"}},
		{"false for a service that is not on changes nothing", []string{body(false, `[{"name":"web","managed":true}]`)}, map[string]schemas.Mode{"db": "Shadow", "web": "Shadow"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newShop(t)
			for _, b := range tt.bodies {
				if got := do(t, w, call{"POST", "/v1/services", ofJSON, b}); got.status != 200 {
					t.Fatalf("%s is answered with %d %s", b, got.status, got.body)
				}
			}
			got := modes(t, w)
			want := map[string]schemas.Mode{"pay/api": "Shadow"}
			for name, mode := range tt.want {
				want["shop/"+name] = mode
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("modes (-want +got):\n%s", diff)
			}
			// What a client is sent and sends back changes nothing.
			services := do(t, w, call{method: "GET", path: "/v1/services"})
			if back := do(t, w, call{"POST", "/v1/services", ofJSON, services.body}); back.status != 200 {
				t.Fatalf("its own answer is answered with %d %s", back.status, back.body)
			}
			if diff := cmp.Diff(want, modes(t, w)); diff != "" {
				t.Errorf("modes after sending back what was sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBodyIsAppliedWholeOrNotAtAll(t *testing.T) {
	for name, second := range map[string]string{
		"a name that is not known":  `{"name":"zoo","managed":true,"components":[]}`,
		"a managed that is a word":  `{"name":"pay","managed":"on","components":[]}`,
		"a component without name":  `{"name":"pay","managed":true,"components":[{"managed":true}]}`,
		"components that are a map": `{"name":"pay","managed":true,"components":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newShop(t)
			got := do(t, w, call{"POST", "/v1/services", ofJSON, `{"services":[{"name":"shop","managed":true},` + second + `]}`})
			if got.status != 400 {
				t.Errorf("status is %d, want 400", got.status)
			}
			if diff := cmp.Diff(map[string]schemas.Mode{"pay/api": "Shadow", "shop/db": "Shadow", "shop/web": "Shadow"}, modes(t, w)); diff != "" {
				t.Errorf("modes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChangeIsMadeAnewWhenSomebodyWasFaster(t *testing.T) {
	w := newShop(t)
	w.Services.Before(func() {
		p, err := w.Services.Policy(t.Context(), "prod", "shop")
		if err != nil {
			t.Error(err)
		}
		four := int32(4)
		p.Settings.MinReplicas = &four
		if err := w.Services.Replace(t.Context(), []api.ServicePolicy{p}); err != nil {
			t.Error(err)
		}
	})
	if got := do(t, w, call{"POST", "/v1/services", ofJSON, `{"services":[{"name":"shop","managed":true}]}`}); got.status != 200 {
		t.Fatalf("answered with %d %s", got.status, got.body)
	}
	all, err := w.Services.Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.ID.Service == "shop" && (c.Policy.Mode != schemas.Auto || c.Policy.MinReplicas != 4) {
			t.Errorf("%v has mode %s and minReplicas %d, want both changes", c.ID, c.Policy.Mode, c.Policy.MinReplicas)
		}
	}
}

func TestSameServiceInTwoNamespaces(t *testing.T) {
	staging := schemas.ComponentID{Namespace: "staging", Service: "shop", Component: "web"}
	standard := schemas.ComponentID{Namespace: "default", Service: "shop", Component: "web"}
	on := func(w *apitest.World) (out []string) {
		all, err := w.Services.Components(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Policy.Mode == schemas.Auto {
				out = append(out, c.ID.Namespace)
			}
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		ids    []schemas.ComponentID
		body   string
		status int
		want   []string
	}{
		{"the namespace is asked for", []schemas.ComponentID{web, staging}, `{"name":"shop","managed":true}`, 400, nil},
		{"the one that is named", []schemas.ComponentID{web, staging}, `{"name":"shop","namespace":"staging","managed":true}`, 200, []string{"staging"}},
		{"the one that the original knew", []schemas.ComponentID{web, standard}, `{"name":"shop","managed":true}`, 200, []string{"default"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := apitest.New(t, tt.ids)
			if got := do(t, w, call{"POST", "/v1/services", ofJSON, `{"services":[` + tt.body + `]}`}); got.status != tt.status {
				t.Errorf("answered with %d %s, want %d", got.status, got.body, tt.status)
			}
			if diff := cmp.Diff(tt.want, on(w)); diff != "" {
				t.Errorf("on in namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

func fails(code schemas.Code) local.Func {
	return func(context.Context, local.Args) error { return schemas.Errorf(code, "broken on purpose") }
}

func TestRunsThatFailSayIt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		path   string
		job    string
		code   schemas.Code
		status int
		body   string
	}{
		{"a training that breaks", "/v1/train", workflows.TrainerJob, schemas.CodeInternal, 500, "Error in execution Train Module"},
		{"a training whose store does not answer", "/v1/train", workflows.TrainerJob, schemas.CodeUnavailable, 503, "Error in execution Train Module"},
		{"a training without enough data", "/v1/train", workflows.DatasetJob, schemas.CodeNotFound, 400, "Insufficient data"},
		{"an inference that breaks", "/v1/inference", workflows.InferenceJob, schemas.CodeInternal, 500, "Error in execution Inference Module"},
		{"an inference whose store does not answer", "/v1/inference", workflows.InferenceJob, schemas.CodeUnavailable, 503, "Error in execution Inference Module"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newShop(t)
			w.Step(tt.job, fails(tt.code))
			if got := do(t, w, call{method: "GET", path: tt.path}); got.status != tt.status || got.body != text(tt.body) {
				t.Errorf("answered with %d %s, want %d %q", got.status, got.body, tt.status, tt.body)
			}
		})
	}
}

func TestTrainWithNothingToTrain(t *testing.T) {
	w := apitest.New(t, nil)
	if got := do(t, w, call{method: "GET", path: "/v1/train"}); got.status != 400 || got.body != text("Not components to train") {
		t.Errorf("without components: %d %s", got.status, got.body)
	}
	// A component that nothing is known of yet.
	w = apitest.New(t, []schemas.ComponentID{web})
	if got := do(t, w, call{method: "GET", path: "/v1/train"}); got.status != 400 || got.body != text("Insufficient data") {
		t.Errorf("without data: %d %s", got.status, got.body)
	}
}

func TestTrainWaitsUnlessToldNotTo(t *testing.T) {
	w := newShop(t)
	release := make(chan struct{})
	w.Step(workflows.TrainerJob, func(ctx context.Context, _ local.Args) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	async := do(t, w, call{method: "GET", path: "/v1/train", header: map[string]string{"Prefer": "respond-async, wait=10"}})
	location := async.header.Get("Location")
	if async.status != 202 || !strings.HasPrefix(location, "/v1/runs/train-") || async.header.Get("Preference-Applied") != "respond-async" {
		t.Fatalf("answered with %d, location %q, applied %q", async.status, location, async.header.Get("Preference-Applied"))
	}
	waits := make(chan answer)
	go func() { waits <- do(t, w, call{method: "GET", path: "/v1/train"}) }()
	select {
	case a := <-waits:
		t.Fatalf("answered with %d %s before the end of the run", a.status, a.body)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if a := <-waits; a.status != 200 || a.header.Get("Content-Location") != location {
		t.Errorf("answered with %d for the run %q, want 200 for %q", a.status, a.header.Get("Content-Location"), location)
	}
	runs, err := w.Submitter.List(t.Context(), workflows.ListOptions{Pipeline: "train"})
	if err != nil || len(runs) != 1 {
		t.Errorf("there are %d runs, want the one that both asked for (%v)", len(runs), err)
	}
}

func TestWaitingHasAnEnd(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Limits.Wait = 30 * time.Millisecond })
	w.Step(workflows.InferenceJob, func(ctx context.Context, _ local.Args) error {
		<-ctx.Done()
		return ctx.Err()
	})
	got := do(t, w, call{method: "GET", path: "/v1/inference"})
	if got.status != 503 || !strings.Contains(got.body, "Still running, see /v1/runs/infer-") {
		t.Errorf("answered with %d %s", got.status, got.body)
	}
}

func TestAddServicesFindsThem(t *testing.T) {
	w := newShop(t)
	w.Services.Hide(apitest.Shop("cache"))
	if got := do(t, w, call{method: "GET", path: "/v1/services"}); strings.Contains(got.body, "cache") {
		t.Fatal("it is there already")
	}
	do(t, w, call{method: "GET", path: "/v1/addServices"})
	if got := do(t, w, call{method: "GET", path: "/v1/services"}); !strings.Contains(got.body, `{"name":"cache","managed":false}`) {
		t.Errorf("services are %s, want cache among them", got.body)
	}
}

func TestDeleteDataDeletes(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Sweep = func(context.Context) (int, error) { return 7, nil } })
	if got := do(t, w, call{method: "POST", path: "/v1/deleteData"}); got.status != 200 || got.body != "7\n" {
		t.Errorf("answered with %d %s, want what was deleted", got.status, got.body)
	}
	w = newShop(t, func(c *api.Config) {
		c.Sweep = func(context.Context) (int, error) { return 0, schemas.Errorf(schemas.CodeUnavailable, "no") }
	})
	if got := do(t, w, call{method: "POST", path: "/v1/deleteData"}); got.status != 503 {
		t.Errorf("a store that does not answer is answered with %d %s", got.status, got.body)
	}
}

func TestOutagesOfTheCluster(t *testing.T) {
	w := newShop(t)
	w.Services.Fail(schemas.Errorf(schemas.CodeUnavailable, "the API server does not answer"))
	if got := do(t, w, call{"POST", "/v1/services", ofJSON, `{"services":[{"name":"shop","managed":true}]}`}); got.status != 503 || got.body != text("Not available at the moment") {
		t.Errorf("a change is answered with %d %s", got.status, got.body)
	}
	if err := w.Server.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := do(t, w, call{method: "GET", path: "/v1/services"}); got.status != 200 || got.header.Get("Self-Scaling-Stale-Since") == "" {
		t.Errorf("a read is answered with %d, stale since %q", got.status, got.header.Get("Self-Scaling-Stale-Since"))
	}
	if got := do(t, w, call{method: "GET", path: "/v1/health"}); got.status != 503 || got.body != `{"status":"unhealthy"}`+"\n" {
		t.Errorf("health is %d %s", got.status, got.body)
	}
	w.Services.Fail(nil)
	w.Refresh(t)
	if got := do(t, w, call{method: "GET", path: "/v1/health"}); got.status != 200 {
		t.Errorf("health afterwards is %d", got.status)
	}
}

func TestConditionalReads(t *testing.T) {
	w := newShop(t)
	for _, path := range []string{"/v1/services", "/v1/train-values", "/v1/components/prod/shop/web", "/v1/forecasts/prod/shop/web", "/v1/history/prod/shop/web", "/v1/models"} {
		first := do(t, w, call{method: "GET", path: path})
		tag := first.header.Get("ETag")
		if first.status != http.StatusOK || tag == "" {
			t.Errorf("%s: %d, ETag %q", path, first.status, tag)
		}
		if again := do(t, w, call{method: "GET", path: path, header: map[string]string{"If-None-Match": tag}}); again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s with its ETag: %d %s", path, again.status, again.body)
		}
	}
}

// TestOriginalClient runs a script of curl lines, as somebody may have written it for
// the original, against a real listener.
func TestOriginalClient(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	self := schemas.ComponentID{Namespace: "prod", Service: "self-scaling", Component: "api"}
	for name, ids := range map[string][]schemas.ComponentID{"works": {self}, "empty": nil, "young": {self}, "broken": {self}} {
		t.Run(name, func(t *testing.T) {
			w := apitest.New(t, ids)
			if name == "works" {
				w.Fill(t, ids, 2, 3)
			}
			if name == "broken" {
				w.Step(workflows.InferenceJob, fails(schemas.CodeInternal))
			}
			address, _ := served(t, w)
			out, err := exec.CommandContext(t.Context(), "sh", "testdata/original.sh", "http://"+address, name).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("the script ends with %v:\n%s", err, out)
			}
		})
	}
}

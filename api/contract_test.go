package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/schemas"
)

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// call is one request.
type call struct {
	method, path string
	header       map[string]string
	body         string
}

// specs are the descriptions, loaded and with a router, by version.
var specs = sync.OnceValues(func() (map[string]routers.Router, error) {
	out := map[string]routers.Router{}
	t := &testing.T{}
	w := apitest.New(quiet{t}, nil)
	defer w.HTTP.Close()
	for version, path := range map[string]string{"3.1": "/openapi.json", "3.0": "/v1/api-export"} {
		response, err := http.Get(w.HTTP.URL + path)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return nil, err
		}
		doc, err := openapi3.NewLoader().LoadFromData(data)
		if err != nil {
			return nil, err
		}
		if err := doc.Validate(context.Background()); err != nil {
			return nil, err
		}
		if out[version], err = gorillamux.NewRouter(doc); err != nil {
			return nil, err
		}
	}
	return out, nil
})

func init() {
	// Bodies that are no JSON are compared as they are.
	for _, media := range []string{"text/event-stream", "application/openapi+json"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
	openapi3filter.RegisterBodyDecoder("application/merge-patch+json", openapi3filter.JSONBodyDecoder)
}

// do sends a request and holds the answer to both descriptions.
func do(t testing.TB, w *apitest.World, c call) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), c.method, w.HTTP.URL+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{response.StatusCode, response.Header, string(data)}
	described(t, r, a)
	return a
}

// described fails the test where an answer is not one of those that the
// descriptions allow.
func described(t testing.TB, r *http.Request, a answer) {
	t.Helper()
	all, err := specs()
	if err != nil {
		t.Fatalf("the description is not valid: %v", err)
	}
	for version, router := range all {
		// The description has paths from the root on.
		plain := r.Clone(r.Context())
		plain.URL.Scheme, plain.URL.Host, plain.Host = "", "", ""
		route, parameters, err := router.FindRoute(plain)
		if err != nil {
			if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed || strings.HasPrefix(r.URL.Path, "/openapi") || strings.HasSuffix(r.URL.Path, "z") {
				continue
			}
			t.Errorf("%s %s is answered with %d, but not described in OpenAPI %s: %v", r.Method, r.URL.Path, a.status, version, err)
			continue
		}
		in := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: plain, PathParams: parameters, Route: route},
			Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader([]byte(a.body))),
			Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
		}
		if err := openapi3filter.ValidateResponse(t.Context(), in); err != nil {
			t.Errorf("%s %s: the answer is not as described in OpenAPI %s: %.600s\n%.300s", r.Method, r.URL.Path, version, err.Error(), a.body)
		}
	}
}

// quiet is a test that is none, for what is made once.
type quiet struct{ *testing.T }

func (quiet) Helper()                  {}
func (quiet) Cleanup(func())           {}
func (quiet) Context() context.Context { return context.Background() }
func (quiet) TempDir() string          { return "" }
func (quiet) Fatal(args ...any)        { panic(args) }

var (
	web = apitest.Shop("web")
	db  = apitest.Shop("db")
	pay = schemas.ComponentID{Namespace: "prod", Service: "pay", Component: "api"}
)

func TestDescriptionsAreValid(t *testing.T) {
	if _, err := specs(); err != nil {
		t.Fatal(err)
	}
}

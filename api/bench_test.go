package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/schemas"
)

// nowhere is a writer that keeps nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkReads measures what one read costs the server, without a network, beside so
// many components. The program as a whole, over one, is measured in test/rest.
func BenchmarkReads(b *testing.B) {
	for _, components := range []int{100, 10_000} {
		ids := make([]schemas.ComponentID, components)
		for i := range ids {
			ids[i] = schemas.ComponentID{Namespace: fmt.Sprintf("team-%02d", i%20), Service: fmt.Sprintf("service-%04d", i/5), Component: fmt.Sprintf("component-%05d", i)}
		}
		w := apitest.New(b, ids, func(c *api.Config) { c.Limits.Reads = -1 })
		apitest.Forecasts(b, w.Store, ids, apitest.Now)
		w.Refresh(b)
		id := ids[components/2]
		name := id.Namespace + "/" + id.Service + "/" + id.Component
		for _, read := range []struct{ name, path string }{
			{"forecast", "/v1/forecasts/" + name},
			{"forecast by its short name", "/v1/forecasts/" + id.Service + "/" + id.Component},
			{"component", "/v1/components/" + name},
			{"page of components", "/v1/components?limit=100"},
			{"status", "/v1/status"},
		} {
			b.Run(fmt.Sprintf("%s/of %d", read.name, components), func(b *testing.B) {
				r, err := http.NewRequest("GET", read.path, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					w.Server.ServeHTTP(nowhere{http.Header{}}, r)
				}
			})
		}
	}
}

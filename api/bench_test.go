package api_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/footprint"
)

// nowhere is a writer that keeps nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// many returns the names of so many components.
func many(components int) []schemas.ComponentID {
	ids := make([]schemas.ComponentID, components)
	for i := range ids {
		ids[i] = schemas.ComponentID{Namespace: fmt.Sprintf("team-%02d", i%20), Service: fmt.Sprintf("service-%04d", i/5), Component: fmt.Sprintf("component-%05d", i)}
	}
	return ids
}

// BenchmarkReads measures what one read costs the server, without a network, beside so
// many components. The program as a whole, over one, is measured in test/rest.
func BenchmarkReads(b *testing.B) {
	for _, components := range []int{100, 10_000} {
		ids := many(components)
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

// BenchmarkRealisedAccuracy measures what it costs, beside 10,000 components, to hold a
// day's forecasts against what came: in the refreshes that read a set of forecasts each,
// of which a day takes 24, and in the one that reads the samples. What is held meanwhile
// is all that the view holds.
func BenchmarkRealisedAccuracy(b *testing.B) {
	ids := many(10_000)
	w := apitest.New(b, nil)
	apitest.Samples(b, w.Store, ids, apitest.Now.Add(-24*time.Hour), 2)
	others := slices.Clone(ids) // so that no two days are alike
	slices.Reverse(others)
	apitest.Samples(b, w.Store, others, apitest.Now, 1)
	yesterday := apitest.Now.Truncate(24 * time.Hour).Add(-24 * time.Hour)
	const sets = 6
	for i := range sets {
		apitest.Forecasts(b, w.Store, ids, yesterday.Add(time.Duration(i)*4*time.Hour))
	}
	apitest.Forecasts(b, w.Store, ids, apitest.Now)
	var reading, judging time.Duration
	var allocated, held, days int64
	b.ReportAllocs()
	for b.Loop() {
		v, err := view.New(w.Store, view.Options{Dir: b.TempDir(), Share: 1})
		if err != nil {
			b.Fatal(err)
		}
		refresh := func() (took time.Duration, bytes int64) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begun := footprint.Used(b)
			if err := v.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
			took = footprint.Used(b).Processor - begun.Processor
			runtime.ReadMemStats(&after)
			return took, int64(after.TotalAlloc - before.TotalAlloc)
		}
		alone := footprint.Live()
		refresh() // reads the newest forecasts and the first set of the day
		for i := 1; ; i++ {
			took, bytes := refresh()
			if basis, _, components := v.Accuracy(); basis == view.Realised {
				if len(components) != 2*len(ids) {
					b.Fatalf("%d series were judged, want %d", len(components), 2*len(ids))
				}
				judging += took
				break
			}
			reading, allocated = reading+took, allocated+bytes
			if i == sets-1 {
				held += footprint.Live() - alone
			}
			if i > 10*sets {
				b.Fatal("the day is never over")
			}
		}
		days++
		v.Close()
	}
	per := func(d time.Duration, n int64) float64 { return d.Seconds() * 1000 / float64(n) }
	b.ReportMetric(per(reading, days*(sets-1)), "cpu-ms/set")
	b.ReportMetric(per(judging, days), "cpu-ms/judgement")
	b.ReportMetric(float64(allocated)/float64(days*(sets-1))/(1<<20), "MiB/set")
	b.ReportMetric(float64(held)/float64(days)/(1<<20), "held-MiB")
}

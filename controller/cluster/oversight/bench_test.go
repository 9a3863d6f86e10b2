package oversight_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/oversight"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/footprint"
)

// BenchmarkMinute is what the controller's loop asks of a cluster in a minute in which
// nothing changes, and what that costs its own process, for 1,000 components that are a
// service each, have a floor and two pods. What the server costs is left out: its answers
// to the same question are kept.
func BenchmarkMinute(b *testing.B) {
	const components = 1000
	server := clustertest.New(b, clustertest.Kinds()...)
	for i := range components {
		name := fmt.Sprint("web", i)
		for _, doc := range strings.Split(workload(name, name, floorUntil(name, noon.Add(time.Hour)))+policy(name, "mode: Auto"), "\n---\n") {
			server.Load("kubectl", doc)
			if strings.Contains(doc, "kind: Pod") {
				server.Load("kubectl", strings.Replace(doc, "-1-a,", "-1-b,", 1))
			}
		}
	}
	answers := &remembered{known: map[string][]byte{}}
	config := server.Config()
	config.Transport = answers
	for _, copied := range []bool{false, true} {
		name := "listed"
		if copied {
			name = "copied"
		}
		b.Run(name, func(b *testing.B) {
			client, err := cluster.NewClient(config)
			if err != nil {
				b.Fatal(err)
			}
			o := oversight.New(client, oversight.Options{})
			minute := func() {
				keep := func(schemas.ComponentID) bool { return true }
				if tended, err := o.Tend(b.Context(), noon, keep); err != nil || len(tended.Expired)+len(tended.Released)+len(tended.Yielded) > 0 {
					b.Fatalf("tended %+v, %v", tended, err)
				}
				found, err := o.Discover(b.Context())
				if err != nil || len(found) != components {
					b.Fatalf("%d components, %v", len(found), err)
				}
				states := make([]controller.State, len(found))
				for i := range found {
					states[i] = controller.State{Component: found[i], Reason: schemas.FloorKept}
				}
				if _, err := o.Publish(b.Context(), states); err != nil {
					b.Fatal(err)
				}
			}
			for range 5 { // until every status says what is so
				minute()
				answers.forget()
			}
			before := footprint.Live()
			if copied {
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				running.Go(func() { o.Run(ctx) })
				defer running.Wait()
				defer cancel()
				for asked := int64(-1); answers.asked.Load() != asked; time.Sleep(time.Second) { // until all is listed
					asked = answers.asked.Load()
				}
			}
			after := footprint.Live()
			minute()
			asked := answers.asked.Load()
			b.ReportAllocs()
			for b.Loop() {
				minute()
			}
			b.ReportMetric(float64(answers.asked.Load()-asked)/float64(b.N), "requests/op")
			b.ReportMetric(float64(after-before)/(1<<20), "copy-MiB")
		})
	}
}

// remembered keeps a server's answers to what only reads, and counts what is asked.
type remembered struct {
	asked atomic.Int64
	mu    sync.Mutex
	known map[string][]byte
}

func (r *remembered) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.known)
}

func (r *remembered) RoundTrip(q *http.Request) (*http.Response, error) {
	r.asked.Add(1)
	if q.Method != http.MethodGet || q.URL.Query().Has("watch") {
		return http.DefaultTransport.RoundTrip(q)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	body, ok := r.known[q.URL.String()]
	if !ok {
		answer, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if body, err = io.ReadAll(answer.Body); err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s is answered with %s", q.URL, answer.Status)
		}
		r.known[q.URL.String()] = body
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: q,
	}, nil
}

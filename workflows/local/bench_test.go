package local_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// What the walk itself costs: a fan-out over shards that do nothing.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n, " shards"), func(b *testing.B) {
			shards := make([]string, n)
			for i := range shards {
				shards[i] = fmt.Sprint(i)
			}
			s, err := local.New(local.Config{
				Jobs: map[string]local.Func{
					"split": func(_ context.Context, a local.Args) error { a.SetShards(shards); return nil },
					"work":  func(context.Context, local.Args) error { return nil },
				},
				Pipelines: []workflows.Pipeline{{Name: "p", Steps: []workflows.Step{{Name: "split"}, {Name: "work", FanOut: "split"}}}},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprint("r", i)
				if _, err := s.Submit(b.Context(), workflows.Request{Pipeline: "p", RunID: id}); err != nil {
					b.Fatal(err)
				}
				if r, err := s.Wait(b.Context(), id); err != nil || r.Phase != workflows.Succeeded {
					b.Fatal(r.Phase, err)
				}
			}
		})
	}
}

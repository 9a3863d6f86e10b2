package metered_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/metered"
)

func open(t testing.TB, registry *prometheus.Registry, inner artifact.Bucket) artifact.Bucket {
	t.Helper()
	drivers := metered.Drivers(artifact.Drivers{"mem": func(context.Context, *url.URL) (artifact.Bucket, error) { return inner, nil }}, registry)
	b, err := drivers["mem"](t.Context(), &url.URL{Scheme: "mem"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBucketKeepsItsPromises holds what is measured to all that a bucket must do.
func TestBucketKeepsItsPromises(t *testing.T) {
	artifacttest.TestBucket(t, func(t testing.TB) artifact.Bucket {
		return open(t, prometheus.NewRegistry(), membucket.New(nil))
	})
}

// broken is a bucket that does not answer.
type broken struct{ artifact.Bucket }

func (broken) Get(context.Context, string) ([]byte, error) {
	return nil, schemas.Errorf(schemas.CodeUnavailable, "no answer")
}

func TestWhatIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := open(t, registry, membucket.New(nil))
	ctx := t.Context()
	for range 2 {
		if err := b.Create(ctx, "a", []byte("x")); err != nil && !errors.Is(err, artifact.ErrExists) {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"a", "b"} {
		if _, err := b.Get(ctx, key); err != nil && !errors.Is(err, artifact.ErrNotFound) {
			t.Fatal(err)
		}
	}
	got := counts(t, registry)
	want := map[string]float64{"create ok": 2, "get ok": 2, "conflicts": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	registry = prometheus.NewRegistry()
	if _, err := open(t, registry, broken{membucket.New(nil)}).Get(ctx, "a"); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("error is %v", err)
	}
	if diff := cmp.Diff(map[string]float64{"get error": 1, "conflicts": 0}, counts(t, registry)); diff != "" {
		t.Errorf("counts of a store that does not answer (-want +got):\n%s", diff)
	}
}

// counts returns how many answers there were by operation and result.
func counts(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if h := m.Histogram; h != nil {
				out[m.Label[0].GetValue()+" "+m.Label[1].GetValue()] = float64(h.GetSampleCount())
			} else {
				out["conflicts"] = m.Counter.GetValue()
			}
		}
	}
	return out
}

// Package metered measures how a store answers.
package metered

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Drivers returns drivers whose stores are measured, all of them by one metric. An
// answer that a key is not there, or that it is, is no failure.
func Drivers(drivers artifact.Drivers, registry prometheus.Registerer) artifact.Drivers {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selfscaling_objectstore_operation_duration_seconds", Help: "How long the store took to answer.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"op", "result"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "selfscaling_objectstore_conflicts_total", Help: "Objects that somebody else had created first.",
		}),
	}
	registry.MustRegister(m.duration, m.conflicts)
	out := artifact.Drivers{}
	for scheme, open := range drivers {
		out[scheme] = func(ctx context.Context, u *url.URL) (artifact.Bucket, error) {
			b, err := open(ctx, u)
			if err != nil {
				return nil, err
			}
			return &bucket{b, m}, nil
		}
	}
	return out
}

type metrics struct {
	duration  *prometheus.HistogramVec
	conflicts prometheus.Counter
}

// bucket is one whose answers are measured.
type bucket struct {
	artifact.Bucket
	metrics *metrics
}

func (m *metrics) done(op string, began time.Time, err error) {
	result := "ok"
	switch {
	case errors.Is(err, artifact.ErrExists):
		m.conflicts.Inc()
	case errors.Is(err, context.Canceled):
		result = "canceled"
	case err != nil && !errors.Is(err, artifact.ErrNotFound):
		result = "error"
	}
	m.duration.WithLabelValues(op, result).Observe(time.Since(began).Seconds())
}

// Get implements [artifact.Bucket].
func (b *bucket) Get(ctx context.Context, key string) (data []byte, err error) {
	defer func(began time.Time) { b.metrics.done("get", began, err) }(time.Now())
	return b.Bucket.Get(ctx, key)
}

// Create implements [artifact.Bucket].
func (b *bucket) Create(ctx context.Context, key string, data []byte) (err error) {
	defer func(began time.Time) { b.metrics.done("create", began, err) }(time.Now())
	return b.Bucket.Create(ctx, key, data)
}

// Put implements [artifact.Bucket].
func (b *bucket) Put(ctx context.Context, key string, data []byte) (err error) {
	defer func(began time.Time) { b.metrics.done("put", began, err) }(time.Now())
	return b.Bucket.Put(ctx, key, data)
}

// List implements [artifact.Bucket].
func (b *bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) (err error) {
	defer func(began time.Time) { b.metrics.done("list", began, err) }(time.Now())
	return b.Bucket.List(ctx, prefix, yield)
}

// Delete implements [artifact.Bucket].
func (b *bucket) Delete(ctx context.Context, key string) (err error) {
	defer func(began time.Time) { b.metrics.done("delete", began, err) }(time.Now())
	return b.Bucket.Delete(ctx, key)
}

package sim

import (
	"context"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/schemas"
)

var _ collector.Source = (*Cluster)(nil)

// Samples makes the cluster a source for the collector: one reading a minute
// of each workload's total usage. The time before the cluster's start is
// answered from the recorded load, as if the cluster had run before; only the
// number of replicas is not known then. A bucket that has not ended yet is left
// out.
func (c *Cluster) Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	if err := schemas.ValidateStep(step); err != nil {
		return err
	}
	if !from.Equal(from.Truncate(step)) || !to.Equal(to.Truncate(step)) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "from and to must be multiples of %s, but are %s and %s", step, from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workloads {
		first, last := w.extent()
		t := from.UTC()
		if t.Before(first) {
			t = first.Truncate(step)
		}
		for ; t.Before(to) && t.Before(last) && !t.Add(step).After(c.now); t = t.Add(step) {
			if err := ctx.Err(); err != nil {
				return schemas.WithCode(schemas.CodeUnavailable, err)
			}
			s := w.sample(t, step)
			if s.CPU == nil && s.Memory == nil && s.Replicas == nil {
				continue
			}
			if err := add(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// extent returns the time in which anything can be known of a workload.
func (w *workload) extent() (first, last time.Time) {
	first, last = w.config.Start, w.now
	for _, trace := range w.Demand {
		if trace.Start.Before(first) {
			first = trace.Start.UTC()
		}
		if end := trace.Start.Add(time.Duration(len(trace.Values)) * time.Minute); end.After(last) {
			last = end
		}
	}
	return first, last
}

// sample sums up the bucket that starts at t.
func (w *workload) sample(t time.Time, step time.Duration) *schemas.Sample {
	s := &schemas.Sample{Component: w.Component, Start: t}
	s.CPU = w.usage(schemas.CPU, t, step)
	s.Memory = w.usage(schemas.Memory, t, step)
	if end := t.Add(step); end.After(w.config.Start) {
		// The last change before the end of the bucket.
		i := sort.Search(len(w.changes), func(i int) bool { return !w.changes[i].time.Before(end) })
		n := w.changes[max(0, i-1)].replicas
		s.Replicas = &n
	}
	if v, ok := w.Requests[schemas.CPU]; ok {
		s.CPURequest = &v
	}
	if v, ok := w.Requests[schemas.Memory]; ok {
		s.MemoryRequest = &v
	}
	return s
}

// usage sums up the minutes of a bucket whose load is known. A minute without a
// Ready pod uses nothing.
func (w *workload) usage(r schemas.Resource, t time.Time, step time.Duration) *schemas.Usage {
	var u schemas.Usage
	sum := 0.0
	for m := t; m.Before(t.Add(step)); m = m.Add(time.Minute) {
		v := w.demand(r, m)
		if math.IsNaN(v) {
			continue
		}
		if _, out := slices.BinarySearchFunc(w.outages, m, time.Time.Compare); out {
			v = 0
		}
		sum += v
		u.Max = max(u.Max, v)
		u.Count++
	}
	if u.Count == 0 {
		return nil
	}
	u.Mean = sum / float64(u.Count)
	return &u
}

// Package usage measures a cluster through its metrics API (metrics.k8s.io):
// once a minute it adds up what the pods of every component use, and keeps mean,
// maximum and count a bucket. The API has no past, so that only what a [Sampler]
// has seen itself can be asked of it. A program that runs for long samples and
// serves its readings ([Handler]); one that runs for a moment asks it ([Remote]).
//
// The load on the API server is one paged list of pods and one of their metrics
// a minute. Servers of the metrics API answer their list in one piece, whatever
// the limit; that of the pods comes in pages of [cluster.PageSize].
package usage

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/schemas"
)

// Options say how a sampler measures. The zero value works.
type Options struct {
	Scope cluster.Scope
	// Step is the length of a bucket; [schemas.DefaultStep] where 0.
	Step time.Duration
	// Interval is the time between two readings; a minute where 0.
	Interval time.Duration
	// Keep is how long buckets can be asked for; 6 hours where 0.
	Keep time.Duration
	// Stale is the age at which a pod's metrics no longer count as a reading; 5
	// minutes where 0.
	Stale time.Duration
	Clock clock.Clock  // the real one where nil
	Log   *slog.Logger // the default one where nil
}

// Sampler is a [collector.Source] that measures while Run runs.
type Sampler struct {
	client *cluster.Client
	opts   Options

	mu      sync.Mutex
	buckets map[time.Time]*bucket
}

var _ collector.Source = (*Sampler)(nil)

// bucket is what was read between its start and the next one's.
type bucket struct {
	components map[schemas.ComponentID]*total
	readings   int   // that succeeded
	err        error // of the last one that did not
}

// total adds readings of one component up.
type total struct {
	usage    map[schemas.Resource]*sum
	replicas int32
	requests schemas.Requests
}

type sum struct {
	total, max float64
	count      int32
}

// New returns a sampler that has measured nothing yet.
func New(client *cluster.Client, opts Options) *Sampler {
	if opts.Step == 0 {
		opts.Step = schemas.DefaultStep
	}
	if opts.Interval == 0 {
		opts.Interval = time.Minute
	}
	if opts.Keep == 0 {
		opts.Keep = 6 * time.Hour
	}
	if opts.Stale == 0 {
		opts.Stale = 5 * time.Minute
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Sampler{client: client, opts: opts, buckets: map[time.Time]*bucket{}}
}

// Run measures at every full interval until ctx ends. A reading that fails is
// logged and missing; the next one is tried all the same.
func (s *Sampler) Run(ctx context.Context) {
	for {
		now := s.opts.Clock.Now()
		next := now.Truncate(s.opts.Interval).Add(s.opts.Interval)
		timer := s.opts.Clock.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		// A server that hangs must not cost the next reading too.
		one, cancel := context.WithTimeout(ctx, s.opts.Interval)
		missing, err := s.Read(one)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Log.Warn("usage was not read", "error", err)
		case len(missing) > 0:
			s.opts.Log.Info("pods without metrics; their components have no reading", "components", len(missing), "first", missing[0])
		}
	}
}

// Read takes one reading now. It returns the components that have none, in
// order, because the metrics of one of their Ready pods are missing or stale: a
// total that lacks a pod would look like a drop in usage. A pod that is not
// Ready yet counts as soon as it has metrics.
func (s *Sampler) Read(ctx context.Context) (missing []schemas.ComponentID, err error) {
	now := s.opts.Clock.Now().UTC()
	found, missing, err := s.read(ctx, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	start := now.Truncate(s.opts.Step)
	maps.DeleteFunc(s.buckets, func(t time.Time, _ *bucket) bool { return t.Before(start.Add(-s.opts.Keep)) })
	b := s.buckets[start]
	if b == nil {
		b = &bucket{components: map[schemas.ComponentID]*total{}}
		s.buckets[start] = b
	}
	if err != nil {
		b.err = err
		return nil, err
	}
	b.readings++
	for id, r := range found {
		t := b.components[id]
		if t == nil {
			t = &total{usage: map[schemas.Resource]*sum{}}
			b.components[id] = t
		}
		t.replicas, t.requests = r.replicas, r.requests
		for resource, v := range r.usage {
			u := t.usage[resource]
			if u == nil {
				u = &sum{}
				t.usage[resource] = u
			}
			u.total += v
			u.max = max(u.max, v)
			u.count++
		}
	}
	return missing, nil
}

// reading is one component at one instant.
type reading struct {
	replicas int32
	requests schemas.Requests
	newest   time.Time
	usage    map[schemas.Resource]float64 // nil where a pod's is missing
}

type podKey struct{ namespace, name string }

func (s *Sampler) read(ctx context.Context, now time.Time) (map[schemas.ComponentID]*reading, []schemas.ComponentID, error) {
	found := map[schemas.ComponentID]*reading{}
	type pod struct {
		of    *reading
		ready bool
	}
	pods := map[podKey]pod{}
	err := s.client.Pods(ctx, s.opts.Scope, func() {}, func(p *cluster.Pod) {
		r := found[p.Component]
		if r == nil {
			r = &reading{usage: map[schemas.Resource]float64{}}
			found[p.Component] = r
		}
		r.replicas++
		if r.requests == nil || p.Created.After(r.newest) {
			r.requests, r.newest = p.Requests, p.Created
		}
		pods[podKey{p.Component.Namespace, p.Name}] = pod{r, p.Ready}
	})
	if err != nil {
		return nil, nil, err
	}
	if err := s.metrics(ctx, func(m *metricsv1beta1.PodMetrics) {
		key := podKey{m.Namespace, m.Name}
		p, ok := pods[key]
		if !ok || now.Sub(m.Timestamp.Time) > s.opts.Stale || len(m.Containers) == 0 {
			return
		}
		cpu, ok := containers(m, schemas.CPU)
		memory, both := containers(m, schemas.Memory)
		if !ok || !both {
			return
		}
		p.of.usage[schemas.CPU] += cpu
		p.of.usage[schemas.Memory] += memory
		delete(pods, key) // a page may be served twice around a change
	}); err != nil {
		return nil, nil, err
	}
	for _, p := range pods {
		if p.ready {
			p.of.usage = nil
		}
	}
	var missing []schemas.ComponentID
	for id, r := range found {
		if r.usage == nil {
			missing = append(missing, id)
		}
	}
	slices.SortFunc(missing, schemas.ComponentID.Compare)
	return found, missing, nil
}

// containers adds up what a pod's containers use. It is false where one of them
// says nothing, or nothing believable.
func containers(m *metricsv1beta1.PodMetrics, r schemas.Resource) (float64, bool) {
	var v float64
	for i := range m.Containers {
		q, ok := m.Containers[i].Usage[corev1.ResourceName(r)]
		if !ok {
			return 0, false
		}
		v += cluster.Quantity(&q, r)
	}
	return v, schemas.CheckQuantity(string(r), v, r.Limit()) == nil
}

// metrics lists the metrics of all pods in scope, page by page where the server
// has pages.
func (s *Sampler) metrics(ctx context.Context, visit func(*metricsv1beta1.PodMetrics)) error {
	namespaces := s.opts.Scope.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, ns := range namespaces {
		opts := metav1.ListOptions{Limit: cluster.PageSize}
		for {
			var list metricsv1beta1.PodMetricsList
			if err := s.client.List(ctx, cluster.PodMetrics, ns, opts, &list); err != nil {
				return cluster.Error("list metrics of pods", err)
			}
			for i := range list.Items {
				visit(&list.Items[i])
			}
			if opts.Continue = list.Continue; opts.Continue == "" {
				break
			}
		}
	}
	return nil
}

// Samples implements [collector.Source] for the buckets of the sampler's own
// step that it still keeps. What it has not read is missing for good, so that
// asking again would not help, and an older time of which nothing is known has
// no samples. But where every reading failed up to the newest whole bucket,
// something is wrong now: that is an error with [schemas.CodeUnavailable].
func (s *Sampler) Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	if step != s.opts.Step {
		return schemas.Errorf(schemas.CodeInvalidConfig, "step must be %s, the sampler's, but is %s", s.opts.Step, step)
	}
	if err := s.failing(from, to); err != nil {
		return err
	}
	for start := from.UTC(); start.Before(to); start = start.Add(step) {
		if err := ctx.Err(); err != nil {
			return err
		}
		samples := s.bucket(start)
		for i := range samples {
			if err := add(&samples[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// failing reports that readings were tried up to now, and none succeeded.
func (s *Sampler) failing(from, to time.Time) error {
	if to.Before(s.opts.Clock.Now().Truncate(s.opts.Step)) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for start, b := range s.buckets {
		switch {
		case start.Before(from) || !start.Before(to):
		case b.readings > 0:
			return nil
		case b.err != nil:
			err = b.err
		}
	}
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "usage from %s to %s was never read: %w", from.Format(time.RFC3339), to.Format(time.RFC3339), err)
	}
	return nil
}

// bucket returns what is known of the bucket that starts at start, by component.
func (s *Sampler) bucket(start time.Time) []schemas.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[start]
	if b == nil {
		return nil
	}
	out := make([]schemas.Sample, 0, len(b.components))
	for _, id := range slices.SortedFunc(maps.Keys(b.components), schemas.ComponentID.Compare) {
		t := b.components[id]
		x := schemas.Sample{Component: id, Start: start}
		x.CPU, x.Memory = t.usage[schemas.CPU].usage(), t.usage[schemas.Memory].usage()
		if v, ok := t.requests[schemas.CPU]; ok {
			x.CPURequest = &v
		}
		if v, ok := t.requests[schemas.Memory]; ok {
			x.MemoryRequest = &v
		}
		replicas := t.replicas // the bucket may still be growing
		x.Replicas = &replicas
		out = append(out, x)
	}
	return out
}

func (s *sum) usage() *schemas.Usage {
	if s == nil {
		return nil
	}
	return &schemas.Usage{Mean: s.total / float64(s.count), Max: s.max, Count: s.count}
}

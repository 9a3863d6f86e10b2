// Package prometheus measures a cluster's past and present through a Prometheus
// server that scrapes the kubelets (cAdvisor) and kube-state-metrics: weeks of
// history on the first day.
//
// # What it asks
//
// A pod's component comes from the labels that kube-state-metrics exports, which
// it does for the labels it is told of only:
//
//	--metric-labels-allowlist=pods=[service,app.kubernetes.io/servicecomponent]
//
// With P for these, every reading of CPU is, at one minute,
//
//	sum by (namespace, self_service, self_component) (
//	    max by (namespace, pod, container) (rate(container_cpu_usage_seconds_total{container!="",container!="POD"}[W]))
//	  * on (namespace, pod) group_left (self_service, self_component) P)
//
// and of memory the same over container_memory_working_set_bytes, which is what
// the metrics API reports. A reading in which a Ready pod is missing
// (kube_pod_status_ready, which then counts as -Inf) is left out: a total that lacks
// a pod would look like a drop in usage. A bucket's mean, maximum and count are made
// here of its readings: a server that makes them evaluates the whole expression once
// for each, and that is what a backfill costs. Replicas are the pods that
// are Pending or Running (kube_pod_status_phase) at the end of the bucket, and
// requests (kube_pod_container_resource_requests) those of the pod that requests
// the most, where all of its containers (kube_pod_container_info) request the
// resource.
//
// Every selector looks back [Options.Window] and no further, so that a gap in
// the scrapes stays a gap. [Source.Queries] returns the whole texts.
//
// # What it costs
//
// One query at a time, [QueriesPerChunk] for every chunk of history. The first chunk
// is [FirstChunk]; those that follow are as long as makes [MaxReadings] of the
// components that the one before has found, and at most [Chunk]: 145 queries for four
// weeks of up to 277 components. Where the server refuses a chunk as too large, the
// chunk is halved, down to a single bucket.
package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	neturl "net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/schemas"
)

// How much is asked at once.
const (
	FirstChunk      = time.Hour
	Chunk           = 24 * time.Hour
	MaxReadings     = 400_000 // in one answer, which is about 20 MB
	QueriesPerChunk = 5
)

// Options say what is asked. The zero value works.
type Options struct {
	Scope cluster.Scope
	// Window is how far back a reading looks; 3 minutes where 0. It must hold at
	// least two scrapes, and should hold three.
	Window time.Duration
	// Interval is the time between two readings; a minute where 0.
	Interval time.Duration
	// Timeout is how long the server may take to answer one query; 3 minutes where
	// 0, which is more than it takes by its own default.
	Timeout time.Duration
	// Transport carries the requests; the default one where nil. It is the place
	// for credentials.
	Transport http.RoundTripper
	Log       *slog.Logger // the default one where nil
}

// Source is a [collector.Source] over a Prometheus server, or whatever answers
// its API.
type Source struct {
	api  v1.API
	url  string // as messages name it
	opts Options
}

var _ collector.Source = (*Source)(nil)

// New returns a source for the server at a URL. It makes no request.
func New(url string, opts Options) (*Source, error) {
	if opts.Window == 0 {
		opts.Window = 3 * time.Minute
	}
	if opts.Interval == 0 {
		opts.Interval = time.Minute
	}
	if opts.Timeout == 0 {
		opts.Timeout = 3 * time.Minute
	}
	if opts.Window < time.Second || opts.Interval < time.Second {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "window and interval must be at least 1s, but are %s and %s", opts.Window, opts.Interval)
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if len(opts.Scope.Presets) == 0 {
		opts.Scope.Presets = cluster.Presets()
	}
	client, err := api.NewClient(api.Config{Address: url, RoundTripper: cmp.Or[http.RoundTripper](opts.Transport, api.DefaultRoundTripper)})
	if err != nil || !strings.Contains(url, "://") {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "Prometheus must be an http or https URL, but is %q", redacted(url))
	}
	return &Source{v1.NewAPI(client), redacted(url), opts}, nil
}

// redacted returns a URL without the password that may be in it, for messages.
func redacted(text string) string {
	u, err := neturl.Parse(text)
	if err != nil {
		return "Prometheus"
	}
	return u.Redacted()
}

// Query is one question, whose answer is a number for each component and instant.
type Query struct {
	Text  string
	Every time.Duration // between two instants; the last one is the end of a bucket
	set   func(*bucket, float64)
}

// bucket is what is known of one component in one bucket.
type bucket struct {
	cpu, memory measured
	replicas    *int32
}

type measured struct {
	sum, max float64
	count    int32
	request  float64 // 0: none
}

func (b *bucket) of(r schemas.Resource) *measured {
	if r == schemas.Memory {
		return &b.memory
	}
	return &b.cpu
}

const by = "namespace, self_service, self_component"

// Queries returns what is asked about buckets of a length.
func (s *Source) Queries(step time.Duration) []Query {
	window := promDuration(s.opts.Window)
	member := s.member(window)
	in := s.namespaces()
	perPod := map[schemas.Resource]string{
		schemas.CPU:    fmt.Sprintf(`sum by (namespace, pod) (max by (namespace, pod, container) (rate(container_cpu_usage_seconds_total{container!="",container!="POD"%s}[%s])))`, in, window),
		schemas.Memory: fmt.Sprintf(`sum by (namespace, pod) (max by (namespace, pod, container) (last_over_time(container_memory_working_set_bytes{container!="",container!="POD"%s}[%s])))`, in, window),
	}
	// Not NaN, which servers other than Prometheus take for nothing at all.
	missing := fmt.Sprintf(`((max by (namespace, pod) (last_over_time(kube_pod_status_ready{condition="true"%s}[%s])) == 1) * -Inf)`, in, window)
	join := func(v string) string {
		return fmt.Sprintf("%s * on (namespace, pod) group_left (self_service, self_component) %s", v, member)
	}
	var out []Query
	for _, r := range schemas.Resources() {
		out = append(out,
			Query{fmt.Sprintf(`sum by (%s) (%s)`, by, join(fmt.Sprintf("(%s or on (namespace, pod) %s)", perPod[r], missing))), s.opts.Interval, func(b *bucket, v float64) {
				m := b.of(r)
				m.sum, m.max, m.count = m.sum+v, max(m.max, v), m.count+1
			}},
			Query{fmt.Sprintf(`max by (%s) (%s)`, by, join(fmt.Sprintf(
				`(sum by (namespace, pod) (max by (namespace, pod, container) (last_over_time(kube_pod_container_resource_requests{resource="%[1]s"%[2]s}[%[3]s])))`+
					` and on (namespace, pod) (count by (namespace, pod) (count by (namespace, pod, container) (last_over_time(kube_pod_container_resource_requests{resource="%[1]s"%[2]s}[%[3]s])))`+
					` >= on (namespace, pod) count by (namespace, pod) (count by (namespace, pod, container) (last_over_time(kube_pod_container_info{container!=""%[2]s}[%[3]s])))))`,
				r, in, window))), step, func(b *bucket, v float64) { b.of(r).request = v }},
		)
	}
	return append(out, Query{
		fmt.Sprintf(`count by (%s) (%s)`, by, join(fmt.Sprintf(`(max by (namespace, pod) (last_over_time(kube_pod_status_phase{phase=~"Pending|Running"%s}[%s])) == 1)`, in, window))), step,
		func(b *bucket, v float64) {
			if v <= schemas.MaxReplicas {
				n := int32(v)
				b.replicas = &n
			}
		},
	})
}

// member returns the vector of pods with their components, by the first preset
// that knows one.
func (s *Source) member(window string) string {
	var vectors []string
	for _, p := range s.opts.Scope.Presets {
		matchers := []string{}
		for _, k := range sortedKeys(p.Require) {
			matchers = append(matchers, fmt.Sprintf("%s=%q", labelName(k), p.Require[k]))
		}
		for _, keys := range [][]string{p.Service, p.Component} {
			if len(keys) == 1 {
				matchers = append(matchers, labelName(keys[0])+`!=""`)
			}
		}
		selector := strings.Join(matchers, ",") + s.namespaces()
		v := fmt.Sprintf("last_over_time(kube_pod_labels{%s}[%s])", strings.TrimPrefix(selector, ","), window)
		for _, to := range []struct {
			name string
			keys []string
		}{{"self_service", p.Service}, {"self_component", p.Component}} {
			for _, k := range slices.Backward(to.keys) { // the last replacement wins
				v = fmt.Sprintf(`label_replace(%s, %q, "$1", %q, "(.+)")`, v, to.name, labelName(k))
			}
		}
		vectors = append(vectors, fmt.Sprintf(`max by (namespace, pod, self_service, self_component) (%s)`, v))
	}
	out := vectors[0]
	for _, v := range vectors[1:] {
		out += " or on (namespace, pod) " + v
	}
	return "(" + out + ")"
}

// namespaces returns a matcher with a comma before it, empty for all.
func (s *Source) namespaces() string {
	if len(s.opts.Scope.Namespaces) == 0 {
		return ""
	}
	var names []string
	for _, ns := range s.opts.Scope.Namespaces {
		names = append(names, regexp.QuoteMeta(ns))
	}
	return fmt.Sprintf(",namespace=~%q", strings.Join(names, "|"))
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

var (
	notInName = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	humps     = regexp.MustCompile(`([a-z0-9])([A-Z])`)
)

// labelName returns the name under which kube-state-metrics exports a label:
// other characters become underscores and humps become snakes.
func labelName(key string) string {
	return "label_" + strings.ToLower(humps.ReplaceAllString(notInName.ReplaceAllString(key, "_"), "${1}_$2"))
}

func promDuration(d time.Duration) string { return model.Duration(d).String() }

// Samples implements [collector.Source].
func (s *Source) Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	if err := schemas.ValidateStep(step); err != nil {
		return err
	}
	if step < 2*s.opts.Interval {
		return schemas.Errorf(schemas.CodeInvalidConfig, "step must be at least two readings (%s), but is %s", 2*s.opts.Interval, step)
	}
	queries := s.Queries(step)
	length, most := max(FirstChunk.Truncate(step), step), Chunk
	for start := from; start.Before(to); {
		end := start.Add(length)
		if end.After(to) {
			end = to
		}
		found, err := s.measure(ctx, queries, start, end, step)
		if tooLarge(err) && end.Sub(start) > step {
			most = max((end.Sub(start) / 2).Truncate(step), step)
			length = most
			continue
		}
		if err != nil {
			return err
		}
		if err := found.samples(start, end, step, add); err != nil {
			return err
		}
		start, length = end, most
		if len(found) > 0 {
			length = max(min(most, s.opts.Interval*time.Duration(MaxReadings/len(found))).Truncate(step), step)
		}
	}
	return nil
}

// found is what is known of each component in the buckets of a chunk, nil for a
// bucket of which nothing is.
type found map[schemas.ComponentID][]*bucket

func (f found) samples(from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	ids := slices.SortedFunc(maps.Keys(f), schemas.ComponentID.Compare)
	for start, i := from, 0; start.Before(to); start, i = start.Add(step), i+1 {
		for _, id := range ids {
			if b := f[id][i]; b != nil {
				x := b.sample(id, start.UTC())
				if err := add(&x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// measure asks everything about the buckets between two instants.
func (s *Source) measure(ctx context.Context, queries []Query, from, to time.Time, step time.Duration) (found, error) {
	f := found{}
	for _, q := range queries {
		if err := s.ask(ctx, q, from, to, step, f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// tooLarge reports whether a smaller question may be answered.
func tooLarge(err error) bool {
	var e *v1.Error
	return errors.As(err, &e) && (e.Type == v1.ErrExec || e.Type == v1.ErrTimeout)
}

func (s *Source) ask(ctx context.Context, q Query, from, to time.Time, step time.Duration, f found) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	value, warnings, err := s.api.QueryRange(ctx, q.Text, v1.Range{Start: from.Add(q.Every), End: to, Step: q.Every})
	if err != nil {
		code := schemas.CodeUnavailable
		var e *v1.Error
		if errors.As(err, &e) && (e.Type == v1.ErrBadData || e.Type == v1.ErrClient) {
			code = schemas.CodeInvalidConfig
		}
		return schemas.Errorf(code, "query %s: %w", s.url, err)
	}
	if len(warnings) > 0 {
		s.opts.Log.Warn("Prometheus answered with warnings", "url", s.url, "first", warnings[0])
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return schemas.Errorf(schemas.CodeInvalidData, "query %s: answer must be a matrix, but is a %s", s.url, value.Type())
	}
	for _, series := range matrix {
		id := schemas.ComponentID{
			Namespace: string(series.Metric["namespace"]), Service: string(series.Metric["self_service"]), Component: string(series.Metric["self_component"]),
		}
		if id.Validate() != nil {
			continue // a pod whose labels name no component
		}
		if f[id] == nil {
			f[id] = make([]*bucket, (to.Sub(from)+step-1)/step)
		}
		for _, p := range series.Values {
			// A bucket's last instant is its end, and its first one is after its start.
			at, v := p.Timestamp.Time().Sub(from), float64(p.Value)
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 || at <= 0 || at > to.Sub(from) {
				continue
			}
			b := &f[id][(at-1)/step]
			if *b == nil {
				*b = &bucket{}
			}
			q.set(*b, v)
		}
	}
	return nil
}

func (b *bucket) sample(id schemas.ComponentID, start time.Time) schemas.Sample {
	x := schemas.Sample{Component: id, Start: start, Replicas: b.replicas, CPU: b.cpu.usage(schemas.CPU), Memory: b.memory.usage(schemas.Memory)}
	if v := b.cpu.request; v > 0 && v <= schemas.CPU.Limit() {
		x.CPURequest = &v
	}
	if v := b.memory.request; v > 0 && v <= schemas.Memory.Limit() {
		x.MemoryRequest = &v
	}
	return x
}

// usage returns nil where nothing was read, or what cannot be.
func (m measured) usage(r schemas.Resource) *schemas.Usage {
	if m.count == 0 || m.max > r.Limit() {
		return nil
	}
	return &schemas.Usage{Mean: min(m.sum/float64(m.count), m.max), Max: m.max, Count: m.count}
}

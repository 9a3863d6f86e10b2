//go:build page

package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/web"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// world is an installation that the page is tested on: the real interface over a
// store that the real steps have filled, and a simulated cluster.
type world struct {
	t         testing.TB
	url       string // where the page is
	services  *services
	submitter *local.Submitter
	bucket    *breakable
	server    *api.Server
	view      *view.View
	gate      *gate
}

// setup says what is different from the usual world: one of a real installation's
// pace, where everybody may do everything.
type setup struct {
	empty  bool // nothing was ever collected and nothing is run
	speed  float64
	access access.Reviewer
	base   string // where the page is seen
}

var seeded = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "page-test-")
	if err != nil {
		return "", err
	}
	store, err := artifact.Open(context.Background(), "file://"+dir, artifact.Drivers{"file": filebucket.Open}, artifact.Options{})
	if err != nil {
		return dir, err
	}
	return dir, seed(context.Background(), store)
})

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)

	dir := t.TempDir()
	var fleet []sim.Workload
	if !s.empty {
		from, err := seeded()
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(from))
		}
		if err == nil {
			fleet, err = workloads()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	real, err := filebucket.Open(ctx, &url.URL{Scheme: "file", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, bucket: &breakable{Bucket: real}, gate: &gate{}}
	store := artifact.New(w.bucket, artifact.Options{})

	start := noon.Add(4 * time.Minute)
	cluster, err := sim.New(sim.Config{Start: start.Truncate(time.Minute)}, fleet)
	if err != nil {
		t.Fatal(err)
	}
	if s.speed == 0 {
		s.speed = 1
	}
	now := &since{from: start, began: time.Now(), speed: s.speed}
	w.services = newServices(cluster)
	if w.submitter, err = pipelines(store, cluster, now, w.services.mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.submitter.Close() })

	if w.view, err = view.New(store, view.Options{Dir: t.TempDir(), Share: 1, Every: 100 * time.Millisecond, Clock: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.view.Close() })
	w.server, err = api.New(api.Config{
		View: w.view, Services: w.services, TrainValues: trainValues{}, Submitter: w.submitter, Pipelines: workflows.Pipelines(),
		Workflow: func(r *workflows.Run) *wire.Workflow {
			return &wire.Workflow{Namespace: "self-scaling", Name: r.ID, UIURL: "https://argo.example/workflows/self-scaling/" + r.ID}
		},
		Access: s.access, Page: web.Handler(""), Version: "v0.1.0", Speed: s.speed, Clock: now, Refresh: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.server.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); w.server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	w.gate.next = http.StripPrefix(s.base, w.server)
	listener := httptest.NewServer(w.gate)
	t.Cleanup(listener.Close)
	t.Cleanup(listener.CloseClientConnections)
	w.url = listener.URL + s.base + "/"
	return w
}

// since is a clock that began at an instant and runs at a speed; its timers are
// real.
type since struct {
	clock.RealClock
	from, began time.Time
	speed       float64
}

func (c *since) Now() time.Time {
	return c.from.Add(time.Duration(c.speed * float64(time.Since(c.began))))
}
func (c *since) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

var _ clock.Clock = (*since)(nil)

// services are the components of a simulated cluster and what their operators set.
type services struct {
	cluster *sim.Cluster

	mu       sync.Mutex
	version  int
	policies map[[2]string]api.ServicePolicy
}

func newServices(cluster *sim.Cluster) *services {
	s := &services{cluster: cluster, policies: map[[2]string]api.ServicePolicy{}}
	for _, c := range shop {
		key := [2]string{c.id.Namespace, c.id.Service}
		p, ok := s.policies[key]
		if !ok {
			p = api.ServicePolicy{ServicePolicy: wire.ServicePolicy{Namespace: c.id.Namespace, Service: c.id.Service, Components: map[string]wire.Settings{}}, Version: "0"}
		}
		p.Components[c.id.Component] = wire.Settings{Mode: &c.mode}
		s.policies[key] = p
	}
	return s
}

// mode is the mode that holds for a component: its own, else that of its service.
func (s *services) mode(id schemas.ComponentID) schemas.Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.policies[[2]string{id.Namespace, id.Service}]
	if m := p.Components[id.Component].Mode; m != nil {
		return *m
	}
	if m := p.Settings.Mode; m != nil {
		return *m
	}
	return schemas.Shadow
}

func (s *services) Components(context.Context) ([]wire.Component, error) {
	o := operators{s.cluster, s.mode}
	var out []wire.Component
	for _, id := range s.cluster.Components() {
		policy := o.Policy(id)
		target := s.cluster.Target(id)
		w := s.cluster.Workload(id)
		c := wire.Component{
			ID: wire.ComponentID(id), Policy: wire.NewPolicy(&policy),
			Target:          &wire.Target{APIVersion: target.APIVersion, Kind: target.Kind, Name: target.Name, Scalable: target.Scalable},
			Autoscaler:      "HorizontalPodAutoscaler/" + target.Name,
			CurrentReplicas: &target.CurrentReplicas,
			Requests:        map[string]float64{},
		}
		for r, q := range w.Requests {
			c.Requests[string(r)] = q
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b wire.Component) int { return schemas.ComponentID(a.ID).Compare(schemas.ComponentID(b.ID)) })
	return out, nil
}

func (s *services) Policies(context.Context) ([]api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []api.ServicePolicy
	for _, p := range s.policies {
		out = append(out, s.copy(p))
	}
	return out, nil
}

func (s *services) copy(p api.ServicePolicy) api.ServicePolicy {
	p.Components = maps.Clone(p.Components)
	return p
}

func (s *services) Policy(_ context.Context, namespace, service string) (api.ServicePolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.policies[[2]string{namespace, service}]
	if !ok {
		return p, schemas.Errorf(schemas.CodeNotFound, "service %q: there is none", service)
	}
	return s.copy(p), nil
}

func (s *services) Replace(_ context.Context, policies []api.ServicePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range policies {
		if s.policies[[2]string{p.Namespace, p.Service}].Version != p.Version {
			return schemas.Errorf(schemas.CodeConflict, "service %q has changed", p.Service)
		}
	}
	for _, p := range policies {
		s.version++
		p.Version = fmt.Sprint(s.version)
		s.policies[[2]string{p.Namespace, p.Service}] = s.copy(p)
	}
	return nil
}

func (s *services) Discover(context.Context) error { return nil }

type trainValues struct{}

func (trainValues) TrainValues(context.Context) (api.TrainValues, error) {
	return api.TrainValues{History: 28, Future: 1}, nil
}

func (trainValues) SetTrainValues(context.Context, api.TrainValues) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, "train values cannot be set here")
}

// breakable is a store that can be made not to answer.
type breakable struct {
	artifact.Bucket
	broken atomic.Bool
}

func (b *breakable) answer() error {
	if b.broken.Load() {
		return schemas.Errorf(schemas.CodeUnavailable, "store: dial tcp 10.0.0.7:9000: connection refused")
	}
	return nil
}

func (b *breakable) Get(ctx context.Context, key string) ([]byte, error) {
	if err := b.answer(); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key)
}

func (b *breakable) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := b.answer(); err != nil {
		return err
	}
	return b.Bucket.List(ctx, prefix, yield)
}

// gate stands before the server and can answer in its place.
type gate struct {
	next   http.Handler
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) bool // whether it has answered
}

func (g *gate) set(answer func(http.ResponseWriter, *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	answer := g.answer
	g.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	g.next.ServeHTTP(w, r)
}

// fails answers requests whose path has a part with a problem.
func fails(part string, status int, detail string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"title": %q, "status": %d, "detail": %q}`, http.StatusText(status), status, detail)
		return true
	}
}

// gone breaks off every connection, as a server does that is not there.
func gone(w http.ResponseWriter, _ *http.Request) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	return true
}

// users know two tokens: of one who may do everything, and of one who may look.
type users struct{}

func (users) Review(_ context.Context, token string) (access.User, error) {
	switch token {
	case "operator-token":
		return access.User{Name: "operator"}, nil
	case "reader-token":
		return access.User{Name: "reader"}, nil
	}
	return access.User{}, access.ErrUnauthenticated
}

func (users) Allows(_ context.Context, u access.User, a access.Action) (bool, error) {
	return u.Name == "operator" || a.Verb == access.Get, nil
}

// ask asks the interface itself.
func (w *world) ask(method, path, body string, header http.Header) (int, string) {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

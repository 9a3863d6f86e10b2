// Package sim is a cluster in memory, with a clock that moves only when told
// to. Its workloads run pods that take time to become Ready, their load follows
// a recorded series, their usage is seen late as from metrics-server, and a
// HorizontalPodAutoscaler that computes as Kubernetes does (package hpa) sets
// the number of replicas. With a binder that raises minReplicas it shows what a
// forecast would have changed.
//
// The load of a workload is its total demand, one value a minute, whatever the
// number of pods; it is spread evenly over the pods that are Ready. Nothing is
// throttled and nothing is lost: a minute in which the demand is more than the
// Ready pods have requested counts as under-provisioned and the next minute
// begins afresh.
//
// Where the simulation is simpler than a cluster: pods always fit and always
// become Ready after the same time, a pod that is removed is gone at once, and
// the youngest pods are removed first (Kubernetes chooses at random among pods
// of a similar age).
package sim

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/sim/hpa"
	"github.com/self-scaling/self-scaling/schemas"
)

// Config describes a cluster. The zero value of every field but Start has a
// meaning.
type Config struct {
	// Start is where the clock stands at first, a whole minute, UTC.
	Start time.Time
	// HPA configures the autoscalers; the zero value means
	// [hpa.DefaultConfig]. The sync period must divide a minute.
	HPA hpa.Config
	// MetricsDelay is how old the usage is that an autoscaler sees: a minute
	// where it is 0.
	MetricsDelay time.Duration
	// MetricsWindow is the time over which that usage was measured: 15 s where
	// it is 0.
	MetricsWindow time.Duration
	// Workers is how many workloads are simulated at the same time: as many as
	// there are processors where it is 0. The result does not depend on it.
	Workers int
}

// Trace is a recorded load, one value a minute, oldest first.
type Trace struct {
	Start time.Time // of the first minute, UTC
	// Values are in cores or bytes. NaN means that the minute's load is not
	// known; so is every minute before Start and after the end.
	Values []float64
}

// at returns the load of the minute that holds t.
func (tr *Trace) at(t time.Time) float64 {
	d := t.Sub(tr.Start)
	if d < 0 || int(d/time.Minute) >= len(tr.Values) {
		return math.NaN()
	}
	return tr.Values[d/time.Minute]
}

// Workload describes one component as the cluster runs it.
type Workload struct {
	Component schemas.ComponentID
	// Demand is the total load of each resource.
	Demand map[schemas.Resource]Trace
	// Requests is what one pod requests. A resource without a request is not
	// looked at by the autoscaler.
	Requests schemas.Requests
	// Utilization is the target of the autoscaler for each resource, as a share
	// of the request: 0.7 is 70 %. A resource that is absent has no target.
	Utilization map[schemas.Resource]float64
	// MinReplicas and MaxReplicas are the operator's own bounds.
	MinReplicas, MaxReplicas int32
	// Replicas is how many pods there are at first, all of them Ready; 0 means
	// as many as the load of the first minute asks for.
	Replicas int32
	// StartUp is the time from a pod's creation to Ready.
	StartUp time.Duration
	// Behavior limits the autoscaler; nil leaves the built-in limits.
	Behavior *hpa.Behavior
	// Kind and Name identify the workload; empty means a Deployment named
	// "service-component".
	Kind, Name string
}

// Validate reports the first field that breaks a rule.
func (w *Workload) Validate() error {
	if err := w.Component.Validate(); err != nil {
		return err
	}
	invalid := func(format string, args ...any) error {
		return schemas.Errorf(schemas.CodeInvalidConfig, "workload %s: "+format, append([]any{w.Component}, args...)...)
	}
	if w.MinReplicas < 1 || w.MaxReplicas < w.MinReplicas || w.MaxReplicas > schemas.MaxReplicas {
		return invalid("minReplicas and maxReplicas must be from 1 to %d and in order, but are %d and %d", schemas.MaxReplicas, w.MinReplicas, w.MaxReplicas)
	}
	if w.Replicas < 0 || w.Replicas > schemas.MaxReplicas {
		return invalid("replicas must be from 0 to %d, but is %d", schemas.MaxReplicas, w.Replicas)
	}
	if w.StartUp < 0 || w.StartUp > 24*time.Hour {
		return invalid("start-up must be from 0s to 24h, but is %s", w.StartUp)
	}
	for r, q := range w.Requests {
		if !(q > 0) || q > r.Limit() {
			return invalid("%s request must be above 0 and at most %g, but is %v", r, r.Limit(), q)
		}
	}
	for r, u := range w.Utilization {
		if !(u >= 0.01) || u > 10 {
			return invalid("%s utilization must be from 0.01 to 10, but is %v", r, u)
		}
	}
	for r, tr := range w.Demand {
		if !tr.Start.Equal(tr.Start.Truncate(time.Minute)) {
			return invalid("%s demand must start at a whole minute, but starts at %s", r, tr.Start.Format(time.RFC3339Nano))
		}
		for i, v := range tr.Values {
			if math.IsInf(v, 0) || v < 0 || v > r.Limit() {
				return invalid("%s demand must be from 0 to %g, but minute %d has %v", r, r.Limit(), i, v)
			}
		}
	}
	return nil
}

// Minute is what happened to one component in one minute.
type Minute struct {
	Component schemas.ComponentID
	Start     time.Time
	// CPU and Memory are the demand, NaN where it is not known.
	CPU, Memory float64
	// Ready is the number of Ready pods at the beginning of the minute.
	Ready int32
	// Replicas is the mean number of pods over the minute, Ready or not.
	Replicas float64
	// MinReplicas is the floor at the end of the minute: the operator's own, or
	// a binder's.
	MinReplicas int32
	// UnderProvisioned says that the demand was more than the Ready pods have
	// requested.
	UnderProvisioned bool
	// Deficit is how many replicas were missing, a fraction included.
	Deficit float64
	// Unservable says that not even the operator's maxReplicas could have
	// served the demand. Such a minute is never UnderProvisioned.
	Unservable bool
}

// Totals adds up the minutes of one component.
type Totals struct {
	Minutes                 int
	UnderProvisionedMinutes int
	UnservableMinutes       int
	// DeficitReplicaMinutes adds up the missing replicas of the
	// under-provisioned minutes.
	DeficitReplicaMinutes float64
	// ReplicaMinutes adds up the pods, Ready or not.
	ReplicaMinutes float64
}

// ReplicaHours returns ReplicaMinutes in hours.
func (t Totals) ReplicaHours() float64 { return t.ReplicaMinutes / 60 }

// Add adds the totals of another component.
func (t *Totals) Add(o Totals) {
	t.Minutes += o.Minutes
	t.UnderProvisionedMinutes += o.UnderProvisionedMinutes
	t.UnservableMinutes += o.UnservableMinutes
	t.DeficitReplicaMinutes += o.DeficitReplicaMinutes
	t.ReplicaMinutes += o.ReplicaMinutes
}

// Cluster is a simulated cluster. Its methods may be called from several
// goroutines, but not from an observer.
type Cluster struct {
	mu        sync.Mutex
	config    Config
	now       time.Time
	workloads []*workload // in the order of Component
	index     map[schemas.ComponentID]*workload
	observers []func(*Minute)
}

// New returns a cluster with its workloads running and the clock at
// config.Start.
func New(config Config, workloads []Workload) (*Cluster, error) {
	if config.HPA == (hpa.Config{}) {
		config.HPA = hpa.DefaultConfig()
	}
	if config.MetricsDelay == 0 {
		config.MetricsDelay = time.Minute
	}
	if config.MetricsWindow == 0 {
		config.MetricsWindow = 15 * time.Second
	}
	if config.Workers <= 0 {
		config.Workers = runtime.GOMAXPROCS(0)
	}
	config.Start = config.Start.UTC()
	if p := config.HPA.SyncPeriod; p <= 0 || time.Minute%p != 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "sync period must divide a minute, but is %s", p)
	}
	if config.MetricsDelay < 0 || config.MetricsWindow < 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "metrics delay and window must not be negative, but are %s and %s", config.MetricsDelay, config.MetricsWindow)
	}
	if config.Start.IsZero() || !config.Start.Equal(config.Start.Truncate(time.Minute)) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "start of the cluster must be a whole minute, but is %s", config.Start.Format(time.RFC3339Nano))
	}
	c := &Cluster{config: config, now: config.Start, index: make(map[schemas.ComponentID]*workload)}
	for i := range workloads {
		w := &workloads[i]
		if err := w.Validate(); err != nil {
			return nil, err
		}
		if c.index[w.Component] != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "workload %s must be given once", w.Component)
		}
		running := newWorkload(&c.config, *w)
		c.index[w.Component] = running
		c.workloads = append(c.workloads, running)
	}
	slices.SortFunc(c.workloads, func(a, b *workload) int { return a.Component.Compare(b.Component) })
	return c, nil
}

// Now returns where the clock stands. With [Cluster.Since] it makes the
// cluster a clock.PassiveClock.
func (c *Cluster) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Since returns the time from t to where the clock stands.
func (c *Cluster) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Observe has f called for every minute that Step completes: for each component
// in their order, one component's minutes in theirs. The Minute is f's only
// during the call.
func (c *Cluster) Observe(f func(*Minute)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observers = append(c.observers, f)
}

// stretch is how much is simulated before the observers are told, so that what
// waits for them stays small.
const stretch = 6 * time.Hour

// Step moves the clock to a whole minute that is not in the past.
func (c *Cluster) Step(to time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to.Before(c.now) || !to.Equal(to.Truncate(time.Minute)) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "the clock must move to a whole minute after %s, but was told to move to %s", c.now.Format(time.RFC3339), to.Format(time.RFC3339Nano))
	}
	for c.now.Before(to) {
		next := c.now.Add(stretch)
		if next.After(to) {
			next = to.UTC()
		}
		var group errgroup.Group
		group.SetLimit(c.config.Workers)
		for _, w := range c.workloads {
			group.Go(func() error {
				w.run(next, len(c.observers) > 0)
				return nil
			})
		}
		_ = group.Wait() // a simulation has no way to fail
		c.now = next
		for _, w := range c.workloads {
			for i := range w.minutes {
				for _, f := range c.observers {
					f(&w.minutes[i])
				}
			}
			w.minutes = w.minutes[:0]
		}
	}
	return nil
}

// Components lists the components in their order.
func (c *Cluster) Components() []schemas.ComponentID {
	ids := make([]schemas.ComponentID, len(c.workloads))
	for i, w := range c.workloads {
		ids[i] = w.Component
	}
	return ids
}

// Workload returns the description of a component, nil where there is none of
// that name. It must not be changed.
func (c *Cluster) Workload(id schemas.ComponentID) *Workload {
	if w := c.index[id]; w != nil {
		return &w.Workload
	}
	return nil
}

// Target returns the workload behind a component as an autoscaler finds it, nil
// where there is none.
func (c *Cluster) Target(id schemas.ComponentID) *framework.Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.index[id]
	if w == nil {
		return nil
	}
	t := &framework.Target{APIVersion: "apps/v1", Kind: w.Kind, Name: w.Name, Scalable: true, CurrentReplicas: int32(len(w.pods))}
	if t.Kind == "" {
		t.Kind = "Deployment"
	}
	if t.Name == "" {
		t.Name = id.Service + "-" + id.Component
	}
	return t
}

// Bounds returns the bounds that a component's autoscaler has now.
func (c *Cluster) Bounds(id schemas.ComponentID) (minReplicas, maxReplicas int32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.index[id]
	if w == nil {
		return 0, 0, schemas.Errorf(schemas.CodeNotFound, "no workload %s in the cluster", id)
	}
	return w.spec.MinReplicas, w.spec.MaxReplicas, nil
}

// SetBounds writes the bounds of a component's autoscaler, as a change of the
// object's spec would. They take effect at the next sync.
func (c *Cluster) SetBounds(id schemas.ComponentID, minReplicas, maxReplicas int32) error {
	if minReplicas < 1 || maxReplicas < minReplicas || maxReplicas > schemas.MaxReplicas {
		return schemas.Errorf(schemas.CodeInvalidConfig, "workload %s: minReplicas and maxReplicas must be from 1 to %d and in order, but are %d and %d", id, schemas.MaxReplicas, minReplicas, maxReplicas)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.index[id]
	if w == nil {
		return schemas.Errorf(schemas.CodeNotFound, "no workload %s in the cluster", id)
	}
	w.spec.MinReplicas, w.spec.MaxReplicas = minReplicas, maxReplicas
	return nil
}

// Totals returns what has happened to a component since the start.
func (c *Cluster) Totals(id schemas.ComponentID) (Totals, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.index[id]
	if w == nil {
		return Totals{}, schemas.Errorf(schemas.CodeNotFound, "no workload %s in the cluster", id)
	}
	return w.totals, nil
}

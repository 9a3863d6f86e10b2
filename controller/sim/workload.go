package sim

import (
	"math"
	"time"

	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/controller/sim/hpa"
	"github.com/self-scaling/self-scaling/schemas"
)

// workload is a Workload that runs.
type workload struct {
	Workload
	config *Config
	spec   hpa.Spec
	state  hpa.State
	now    time.Time
	// targets names the resource of each target of spec.
	targets []schemas.Resource
	// pods and the readings are kept side by side, oldest pod first. All pods
	// start equally fast, so that the youngest are also the last to be Ready.
	pods     []hpa.Pod
	readyAt  []time.Time
	readings [][]hpa.Reading
	// spread remembers how many pods were Ready at the last syncs, newest last:
	// over these the usage was spread that is seen now.
	spread []int32

	minutes []Minute // not yet told to the observers
	totals  Totals
	// changes and outages are what samples are made of later.
	changes []change
	outages []time.Time // minutes that began without a Ready pod
}

// change is a number of replicas and since when there are so many.
type change struct {
	time     time.Time
	replicas int32
}

func newWorkload(config *Config, w Workload) *workload {
	r := &workload{
		Workload: w,
		config:   config,
		now:      config.Start,
		spec:     hpa.Spec{MinReplicas: w.MinReplicas, MaxReplicas: w.MaxReplicas, Behavior: w.Behavior},
	}
	for _, resource := range schemas.Resources() {
		u, hasTarget := w.Utilization[resource]
		if _, requested := w.Requests[resource]; !hasTarget || !requested {
			continue
		}
		r.targets = append(r.targets, resource)
		r.spec.Targets = append(r.spec.Targets, hpa.Target{
			CPU:         resource == schemas.CPU,
			Utilization: int32(math.Round(100 * u)),
		})
		r.readings = append(r.readings, nil)
	}
	n := w.Replicas
	if n == 0 {
		n = w.MinReplicas
		for _, resource := range r.targets {
			trace := w.Demand[resource]
			if v := trace.at(config.Start); !math.IsNaN(v) {
				n = max(n, replicas.Ceil(v, w.Requests[resource]*w.Utilization[resource]))
			}
		}
		n = min(n, w.MaxReplicas)
	}
	// The first pods are old enough for their age to play no part.
	born := config.Start.Add(-24 * time.Hour)
	for range n {
		r.pods = append(r.pods, hpa.Pod{Ready: hpa.Ready, Started: born, Transition: born})
		r.readyAt = append(r.readyAt, born)
	}
	r.spread = make([]int32, int((config.MetricsDelay+config.HPA.SyncPeriod-1)/config.HPA.SyncPeriod)+1)
	for i := range r.spread {
		r.spread[i] = n
	}
	r.changes = append(r.changes, change{config.Start, n})
	return r
}

// run simulates up to an instant, minute by minute.
func (w *workload) run(to time.Time, observed bool) {
	period := w.config.HPA.SyncPeriod
	for w.now.Before(to) {
		minute := Minute{Component: w.Component, Start: w.now, CPU: w.demand(schemas.CPU, w.now), Memory: w.demand(schemas.Memory, w.now)}
		end := w.now.Add(time.Minute)
		podTime := time.Duration(0)
		for ; w.now.Before(end); w.now = w.now.Add(period) {
			ready := w.settle()
			if w.now.Equal(minute.Start) {
				minute.Ready = ready
				w.judge(&minute)
			}
			w.sync()
			podTime += time.Duration(len(w.pods)) * period
		}
		minute.Replicas = podTime.Minutes()
		minute.MinReplicas = w.spec.MinReplicas
		w.count(&minute)
		if observed {
			w.minutes = append(w.minutes, minute)
		}
	}
}

func (w *workload) demand(r schemas.Resource, t time.Time) float64 {
	trace, ok := w.Demand[r]
	if !ok {
		return math.NaN()
	}
	return trace.at(t)
}

// settle lets pods become Ready whose time has come, and returns how many are.
func (w *workload) settle() int32 {
	// From the youngest: once one is Ready, all older ones are.
	i := len(w.pods)
	for ; i > 0 && w.pods[i-1].Ready != hpa.Ready; i-- {
		if !w.readyAt[i-1].After(w.now) {
			w.pods[i-1].Ready = hpa.Ready
			w.pods[i-1].Transition = w.readyAt[i-1]
		}
	}
	ready := int32(0)
	for i = len(w.pods); i > 0 && w.pods[i-1].Ready != hpa.Ready; i-- {
	}
	ready = int32(i)
	copy(w.spread, w.spread[1:])
	w.spread[len(w.spread)-1] = ready
	return ready
}

// judge compares the demand of a minute with what can serve it. What is not
// known is not judged.
func (w *workload) judge(m *Minute) {
	if m.Ready == 0 {
		w.outages = append(w.outages, m.Start)
	}
	for _, r := range schemas.Resources() {
		request, ok := w.Requests[r]
		if !ok {
			continue
		}
		usage := m.CPU
		if r == schemas.Memory {
			usage = m.Memory
		}
		need := usage / request
		if math.IsNaN(need) {
			continue
		}
		if need > float64(w.MaxReplicas) {
			m.Unservable = true
		}
		m.Deficit = max(m.Deficit, need-float64(m.Ready))
	}
	if m.Unservable {
		m.Deficit = 0
	}
	m.UnderProvisioned = m.Deficit > 0
}

func (w *workload) count(m *Minute) {
	t := &w.totals
	t.Minutes++
	t.ReplicaMinutes += m.Replicas
	t.DeficitReplicaMinutes += m.Deficit
	if m.UnderProvisioned {
		t.UnderProvisionedMinutes++
	}
	if m.Unservable {
		t.UnservableMinutes++
	}
}

// sync lets the autoscaler look once and carries out what it decides.
func (w *workload) sync() {
	seen := w.now.Add(-w.config.MetricsDelay)
	for i, r := range w.targets {
		w.readings[i] = w.read(w.readings[i][:0], r, seen)
	}
	// An error means that metrics are missing; the number returned is what the
	// autoscaler goes on with.
	n, _ := w.state.Sync(&w.config.HPA, w.now, &w.spec, int32(len(w.pods)), w.pods, w.readings)
	w.scale(n)
}

// read returns what metrics-server tells of every pod's usage at the instant
// seen.
func (w *workload) read(readings []hpa.Reading, r schemas.Resource, seen time.Time) []hpa.Reading {
	request := thousandths(w.Requests[r])
	demand := w.demand(r, seen)
	share := int64(0)
	if n := w.spread[0]; n > 0 && demand > 0 {
		share = thousandths(demand / float64(n))
	}
	for i := range w.pods {
		reading := hpa.Reading{Request: request}
		if !math.IsNaN(demand) && !w.pods[i].Started.After(seen) {
			reading.Known = true
			reading.Timestamp = seen
			reading.Window = w.config.MetricsWindow
			if !w.readyAt[i].After(seen) {
				reading.Value = share
			}
		}
		readings = append(readings, reading)
	}
	return readings
}

// thousandths rounds a quantity up to whole thousandths, as Kubernetes does.
func thousandths(v float64) int64 { return int64(math.Ceil(v*1000 - 1e-9)) }

// scale adds pods or removes the youngest.
func (w *workload) scale(n int32) {
	before := int32(len(w.pods))
	if n == before {
		return
	}
	if n < before {
		w.pods, w.readyAt = w.pods[:n], w.readyAt[:n]
	}
	for i := before; i < n; i++ {
		ready := w.now.Add(w.StartUp)
		pod := hpa.Pod{Ready: hpa.NotReady, Started: w.now, Transition: w.now}
		if w.StartUp == 0 {
			pod.Ready = hpa.Ready
		}
		w.pods = append(w.pods, pod)
		w.readyAt = append(w.readyAt, ready)
	}
	w.changes = append(w.changes, change{w.now, n})
}

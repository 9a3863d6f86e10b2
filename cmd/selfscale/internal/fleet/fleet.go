// Package fleet is what the demonstrations run: sixteen workloads whose load is
// real usage, on a simulated cluster.
package fleet

import (
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/schemas"
)

// How the demonstration's workloads are set up: the same for all, and what a
// careful operator would choose for a reactive autoscaler.
const (
	service     = "crane"
	minReplicas = 2
	maxReplicas = 50
	utilization = 0.7 // target of the HPA
	startUp     = 2 * time.Minute
	// A pod serves a seventh of the median demand, so that a usual minute needs ten
	// pods at the target, but at least so much that the maximum serves all but the
	// highest thousandth of the minutes at the target.
	usualPods     = 7
	servedMinutes = 0.999
	// request is what a pod requests. The unit of the published series is not
	// stated and they differ by seven orders of magnitude; each is scaled so that
	// its pods have this size.
	request = 0.25 // cores
)

// ReplayDays is how much is replayed.
const ReplayDays = 8

// ReplayEnd is where the series are made to end, so that all of them are
// replayed together. They were recorded at different times; each is moved by
// whole days, so that its hours stay what they were.
var ReplayEnd = time.Date(2021, 10, 24, 0, 0, 0, 0, time.UTC)

// ReplayStart is where the replay begins. What lies before is history.
var ReplayStart = ReplayEnd.Add(-ReplayDays * 24 * time.Hour)

// Workloads returns the workloads, whose load ends with [ReplayEnd].
func Workloads() ([]sim.Workload, error) {
	all, err := traces.Load()
	if err != nil {
		return nil, err
	}
	workloads := make([]sim.Workload, 0, len(all))
	for _, t := range all {
		days := ReplayEnd.Sub(t.End().Truncate(24 * time.Hour))
		start := t.Start.Add(days.Truncate(24 * time.Hour))
		values := t.Values[:min(len(t.Values), int(ReplayEnd.Sub(start)/time.Minute))]
		sorted := slices.Sorted(slices.Values(values))
		quantile := func(q float64) float64 { return sorted[int(q*float64(len(sorted)-1))] }
		scale := request / max(quantile(.5)/usualPods, quantile(servedMinutes)/(maxReplicas*utilization))
		for i := range values {
			values[i] *= scale
		}
		workloads = append(workloads, sim.Workload{
			Component:   schemas.ComponentID{Service: service, Component: t.Name},
			Demand:      map[schemas.Resource]sim.Trace{schemas.CPU: {Start: start, Values: values}},
			Requests:    schemas.Requests{schemas.CPU: request},
			Utilization: map[schemas.Resource]float64{schemas.CPU: utilization},
			MinReplicas: minReplicas,
			MaxReplicas: maxReplicas,
			StartUp:     startUp,
		})
	}
	return workloads, nil
}

// Catalog is what the operator of the simulated cluster wants and runs.
type Catalog struct{ Cluster *sim.Cluster }

// Policy returns the default policy with the bounds and the target of the
// workload's own autoscaler.
func (c Catalog) Policy(id schemas.ComponentID) schemas.Policy {
	p := schemas.DefaultPolicy()
	w := c.Cluster.Workload(id)
	if w == nil {
		p.Mode = schemas.Off
		return p
	}
	p.Mode = schemas.Auto
	p.MinReplicas, p.MaxReplicas = w.MinReplicas, w.MaxReplicas
	p.Adopt("HorizontalPodAutoscaler/"+c.Target(id).Name, w.Utilization)
	p.LeadTime = w.StartUp
	return p
}

// Target returns the workload as an autoscaler finds it.
func (c Catalog) Target(id schemas.ComponentID) *framework.Target { return c.Cluster.Target(id) }

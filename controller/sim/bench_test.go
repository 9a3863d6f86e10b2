package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/schemas"
)

// recorded returns the sixteen recorded series as workloads: seven pods at the
// median, 2 to 200 replicas, 70 % of the request, two minutes to Ready.
func recorded(tb testing.TB) []sim.Workload {
	tb.Helper()
	all, err := traces.Load()
	if err != nil {
		tb.Fatal(err)
	}
	var workloads []sim.Workload
	for _, tr := range all {
		sorted := slices.Clone(tr.Values)
		slices.Sort(sorted)
		workloads = append(workloads, sim.Workload{
			Component:   schemas.ComponentID{Service: "recorded", Component: tr.Name},
			Demand:      map[schemas.Resource]sim.Trace{schemas.CPU: {Start: start, Values: tr.Values}},
			Requests:    schemas.Requests{schemas.CPU: sorted[len(sorted)/2] / 7},
			Utilization: map[schemas.Resource]float64{schemas.CPU: 0.7},
			MinReplicas: 2, MaxReplicas: 200,
			StartUp: 2 * time.Minute,
		})
	}
	return workloads
}

var start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// BenchmarkWeek simulates sixteen recorded series for eight days at a sync
// every 15 s, twice, as the demonstration does.
func BenchmarkWeek(b *testing.B) {
	workloads := recorded(b)
	b.ReportAllocs()
	for b.Loop() {
		var total sim.Totals
		for range 2 {
			c, err := sim.New(sim.Config{Start: start}, workloads)
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Step(start.Add(8 * 24 * time.Hour)); err != nil {
				b.Fatal(err)
			}
			for _, id := range c.Components() {
				t, err := c.Totals(id)
				if err != nil {
					b.Fatal(err)
				}
				total.Add(t)
			}
		}
		b.ReportMetric(float64(total.UnderProvisionedMinutes)/2, "under-min")
		b.ReportMetric(total.ReplicaHours()/2, "replica-h")
	}
}

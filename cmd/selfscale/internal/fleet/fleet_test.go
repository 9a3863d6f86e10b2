package fleet_test

import (
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestWorkloads(t *testing.T) {
	workloads, err := fleet.Workloads()
	if err != nil {
		t.Fatal(err)
	}
	if len(workloads) != 16 {
		t.Errorf("there are %d workloads, want 16", len(workloads))
	}
	seen := map[schemas.ComponentID]bool{}
	for i := range workloads {
		w := &workloads[i]
		if seen[w.Component] {
			t.Errorf("%s is there twice", w.Component)
		}
		seen[w.Component] = true
		trace := w.Demand[schemas.CPU]
		if end := trace.Start.Add(time.Duration(len(trace.Values)) * time.Minute); !end.Equal(fleet.ReplayEnd) || trace.Start.After(fleet.ReplayStart) {
			t.Errorf("%s goes from %s to %s, want all of the replay", w.Component, trace.Start, end)
		}
		// All but the highest thousandth of the minutes can be served.
		over := 0
		for _, v := range trace.Values {
			if v > float64(w.MaxReplicas)*w.Requests[schemas.CPU]*w.Utilization[schemas.CPU] {
				over++
			}
		}
		if over > len(trace.Values)/1000+1 {
			t.Errorf("%s: maxReplicas cannot serve %d of %d minutes", w.Component, over, len(trace.Values))
		}
	}
	cluster, err := sim.New(sim.Config{Start: fleet.ReplayStart}, workloads)
	if err != nil {
		t.Fatal(err)
	}
	catalog := fleet.Catalog{Cluster: cluster}
	p := catalog.Policy(workloads[0].Component)
	if err := p.Validate(); err != nil || p.Mode != schemas.Auto || p.MinReplicas != workloads[0].MinReplicas {
		t.Errorf("policy %+v (%v), want Auto with the bounds of its autoscaler", p, err)
	}
	if want := "HorizontalPodAutoscaler/" + cluster.Target(workloads[0].Component).Name; p.CPUUtilization != workloads[0].Utilization[schemas.CPU] || p.CPUUtilizationFrom != want {
		t.Errorf("CPU utilisation %v from %q, want that of %s", p.CPUUtilization, p.CPUUtilizationFrom, want)
	}
	if p := catalog.Policy(schemas.ComponentID{Service: "crane", Component: "other"}); p.Mode != schemas.Off {
		t.Errorf("the mode of what is not there is %s, want Off", p.Mode)
	}
}

package controller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

func TestMetrics(t *testing.T) {
	m := controller.NewMetrics(2)
	w := newWorld(t, func(c *controller.Config) { c.Metrics = m })
	w.cluster.components = []controller.Component{
		{ID: web("cache"), Mode: schemas.Off, Replicas: 1},
		{ID: web("web"), Mode: schemas.Auto, Replicas: 2, Floor: floor(5), Expires: noon.Add(time.Hour)},
		{ID: web("worker"), Mode: schemas.Shadow, Replicas: 3, Conflict: "two autoscalers"},
	}
	w.collect(1, "web")
	w.turn("store")
	w.decide(schemas.FloorRaised, 5, "cache", "web", "worker")
	w.turn("runs", "store")
	w.clock.Step(10 * time.Minute)
	w.runs.finish("collect", workflows.Succeeded)
	w.runs.finish("infer", workflows.Failed)
	w.turn("components", "runs", "guard")
	w.decide(schemas.PluginError, 1, "web")
	w.turn("store")

	if problems, err := testutil.CollectAndLint(m); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	want := `
# HELP selfscaling_components Components that were found, by mode; unknown where their policy cannot be followed.
# TYPE selfscaling_components gauge
selfscaling_components{mode="Auto"} 1
selfscaling_components{mode="Off"} 1
selfscaling_components{mode="Shadow"} 1
selfscaling_components{mode="unknown"} 0
# HELP selfscaling_components_in_conflict Components that are left alone because somebody else owns their number of replicas.
# TYPE selfscaling_components_in_conflict gauge
selfscaling_components_in_conflict 1
# HELP selfscaling_components_without_series Components beyond the limit of those that have series of their own.
# TYPE selfscaling_components_without_series gauge
selfscaling_components_without_series 1
# HELP selfscaling_decisions_total Decisions about components, by what became of them (Applied, Shadow, None, Error) and reason.
# TYPE selfscaling_decisions_total counter
selfscaling_decisions_total{action="Error",reason="PluginError"} 1
selfscaling_decisions_total{action="Shadow",reason="FloorRaised"} 3
# HELP selfscaling_floor_replicas The floor that the newest decision asks for, in mode Shadow too.
# TYPE selfscaling_floor_replicas gauge
selfscaling_floor_replicas{component="web",namespace="default",service="shop"} 5
# HELP selfscaling_floors Floors in force.
# TYPE selfscaling_floors gauge
selfscaling_floors 1
# HELP selfscaling_forecast_age_seconds How old the newest forecast is that was used.
# TYPE selfscaling_forecast_age_seconds gauge
selfscaling_forecast_age_seconds{component="web",namespace="default",service="shop"} 600
# HELP selfscaling_hpa_desired_replicas The number of replicas that the workload is set to.
# TYPE selfscaling_hpa_desired_replicas gauge
selfscaling_hpa_desired_replicas{component="cache",namespace="default",service="shop"} 1
selfscaling_hpa_desired_replicas{component="web",namespace="default",service="shop"} 2
# HELP selfscaling_last_success_timestamp_seconds When the newest run that succeeded ended.
# TYPE selfscaling_last_success_timestamp_seconds gauge
selfscaling_last_success_timestamp_seconds{pipeline="collect"} 1.7736630e+09
# HELP selfscaling_runs_active Runs that are pending or running.
# TYPE selfscaling_runs_active gauge
selfscaling_runs_active{phase="Pending",pipeline="collect"} 0
selfscaling_runs_active{phase="Pending",pipeline="infer"} 0
selfscaling_runs_active{phase="Running",pipeline="collect"} 0
selfscaling_runs_active{phase="Running",pipeline="infer"} 0
# HELP selfscaling_runs_submitted_total Runs that the controller asked for, by pipeline and trigger: schedule, first, history or drift.
# TYPE selfscaling_runs_submitted_total counter
selfscaling_runs_submitted_total{pipeline="collect",trigger="schedule"} 1
selfscaling_runs_submitted_total{pipeline="infer",trigger="schedule"} 1
# HELP selfscaling_runs_total Runs that have ended, by pipeline, phase and trigger: schedule, first, demand (a training that no schedule asks for), or request.
# TYPE selfscaling_runs_total counter
selfscaling_runs_total{phase="Failed",pipeline="infer",trigger="schedule"} 1
selfscaling_runs_total{phase="Succeeded",pipeline="collect",trigger="schedule"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}

	// What is so at present is not known any more once the controller has ended.
	m.Clear()
	left := `
# HELP selfscaling_runs_total Runs that have ended, by pipeline, phase and trigger: schedule, first, demand (a training that no schedule asks for), or request.
# TYPE selfscaling_runs_total counter
selfscaling_runs_total{phase="Failed",pipeline="infer",trigger="schedule"} 1
selfscaling_runs_total{phase="Succeeded",pipeline="collect",trigger="schedule"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(left), "selfscaling_runs_total", "selfscaling_floors", "selfscaling_components", "selfscaling_runs_active", "selfscaling_floor_replicas"); err != nil {
		t.Error(err)
	}
}

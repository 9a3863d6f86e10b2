package controller

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Metrics is what a controller counts. It is a [prometheus.Collector]: register it, or
// leave it alone.
type Metrics struct {
	all    []prometheus.Collector
	gauges []*prometheus.GaugeVec

	turns        *prometheus.CounterVec
	turnDuration *prometheus.HistogramVec
	lastTurn     *prometheus.GaugeVec

	componentCount *prometheus.GaugeVec
	conflicts      *prometheus.GaugeVec
	floors         *prometheus.GaugeVec
	omitted        *prometheus.GaugeVec
	floorReleases  *prometheus.CounterVec
	statusWrites   prometheus.Counter
	decisions      *prometheus.CounterVec
	samplesUntil   *prometheus.GaugeVec
	drifting       *prometheus.GaugeVec

	sweptObjects prometheus.Counter
	sweptBytes   prometheus.Counter
	lastSweep    *prometheus.GaugeVec

	runsEnded     *prometheus.CounterVec
	runsSubmitted *prometheus.CounterVec
	runDuration   *prometheus.HistogramVec
	runsActive    *prometheus.GaugeVec
	lastSuccess   *prometheus.GaugeVec

	limit                                          int
	floorReplicas, replicas, forecastAge, accuracy *prometheus.Desc
	// single is what is known of single components, replaced as a whole.
	single atomic.Pointer[[]prometheus.Metric]
}

// defaultLimit bounds the components that have series of their own.
const defaultLimit = 2000

// NewMetrics returns metrics in which at most the given number of components has series
// of its own; 0 means 2000. The others count in the sums, and how many they are is a
// metric too.
func NewMetrics(limit int) *Metrics {
	if limit == 0 {
		limit = defaultLimit
	}
	m := &Metrics{limit: limit}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "selfscaling", Name: name, Help: help}, labels)
		m.all = append(m.all, v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "selfscaling", Name: name, Help: help}, labels)
		m.all, m.gauges = append(m.all, v), append(m.gauges, v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "selfscaling", Name: name, Help: help, Buckets: buckets}, labels)
		m.all = append(m.all, v)
		return v
	}
	m.turns = counter("controller_turns_total", "Turns that a task of the controller has taken, by result: ok or error.", "task", "result")
	m.turnDuration = histogram("controller_turn_duration_seconds", "How long a turn of a task takes.", prometheus.ExponentialBuckets(.005, 4, 8), "task")
	m.lastTurn = gauge("controller_last_turn_timestamp_seconds", "When a task last ended a turn without an error.", "task")

	m.componentCount = gauge("components", "Components that were found, by mode; unknown where their policy cannot be followed.", "mode")
	m.conflicts = gauge("components_in_conflict", "Components that are left alone because somebody else owns their number of replicas.")
	m.floors = gauge("floors", "Floors in force.")
	m.omitted = gauge("components_without_series", "Components beyond the limit of those that have series of their own.")
	m.floorReleases = counter("floors_released_total", "Floors that the controller took back, by cause: expired, unmanaged, or yielded to an autoscaler of the user's.", "cause")
	m.statusWrites = counter("policy_status_writes_total", "Policies whose status was written.").WithLabelValues()
	m.decisions = counter("decisions_total", "Decisions about components, by what became of them (Applied, Shadow, None, Error) and reason.", "action", "reason")
	m.samplesUntil = gauge("samples_until_timestamp_seconds", "End of the newest bucket that was measured.")
	m.drifting = gauge("components_drifting", "Components whose forecasts are worse than the same time of the day before.")

	m.sweptObjects = counter("store_swept_objects_total", "Objects that were deleted from the store because it no longer keeps them.").WithLabelValues()
	m.sweptBytes = counter("store_swept_bytes_total", "Size of the objects that were deleted from the store.").WithLabelValues()
	m.lastSweep = gauge("store_last_sweep_timestamp_seconds", "When the store was last swept without an error.")

	m.runsEnded = counter("runs_total", "Runs that have ended, by pipeline, phase and trigger: schedule, first, demand (a training that no schedule asks for), or request.", "pipeline", "trigger", "phase")
	m.runsSubmitted = counter("runs_submitted_total", "Runs that the controller asked for, by pipeline and trigger: schedule, first, history or drift.", "pipeline", "trigger")
	m.runDuration = histogram("run_duration_seconds", "From the start of a run to its end.", prometheus.ExponentialBuckets(2, 2.5, 10), "pipeline")
	m.runsActive = gauge("runs_active", "Runs that are pending or running.", "pipeline", "phase")
	m.lastSuccess = gauge("last_success_timestamp_seconds", "When the newest run that succeeded ended.", "pipeline")

	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("selfscaling_"+name, help, append([]string{"namespace", "service", "component"}, labels...), nil)
	}
	m.floorReplicas = desc("floor_replicas", "The floor that the newest decision asks for, in mode Shadow too.")
	m.replicas = desc("hpa_desired_replicas", "The number of replicas that the workload is set to.")
	m.forecastAge = desc("forecast_age_seconds", "How old the newest forecast is that was used.")
	m.accuracy = desc("forecast_accuracy_ratio", "1 - error of the median forecast / usage over the last day, at least 0.", "resource")
	return m
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.floorReplicas, m.replicas, m.forecastAge, m.accuracy} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(ch)
	}
	if single := m.single.Load(); single != nil {
		for _, metric := range *single {
			ch <- metric
		}
	}
}

// Clear drops what is so at present, which a controller that no longer runs does not
// know. What has been counted stays.
func (m *Metrics) Clear() {
	for _, g := range m.gauges {
		g.Reset()
	}
	m.single.Store(nil)
}

func (m *Metrics) turn(task string, took time.Duration, end time.Time, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	} else {
		m.lastTurn.WithLabelValues(task).Set(seconds(end))
	}
	m.turns.WithLabelValues(task, result).Inc()
	m.turnDuration.WithLabelValues(task).Observe(took.Seconds())
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// observe takes over what is known of all components.
func (m *Metrics) observe(states []State, now time.Time) {
	modes := map[string]int{"Off": 0, "Shadow": 0, "Auto": 0, "unknown": 0}
	conflicts, floors := 0, 0
	var single []prometheus.Metric
	for i := range states {
		s := &states[i]
		mode := string(s.Mode)
		if mode == "" {
			mode = "unknown"
		}
		modes[mode]++
		if s.Conflict != "" {
			conflicts++
		}
		if s.Floor != nil {
			floors++
		}
		if i >= m.limit {
			continue
		}
		add := func(d *prometheus.Desc, v float64, labels ...string) {
			labels = append([]string{s.ID.Namespace, s.ID.Service, s.ID.Component}, labels...)
			single = append(single, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
		}
		add(m.replicas, float64(s.Replicas))
		if s.Asked != nil {
			add(m.floorReplicas, float64(*s.Asked))
		}
		if !s.LastForecast.IsZero() && s.Mode != schemas.Off {
			add(m.forecastAge, now.Sub(s.LastForecast).Seconds())
		}
		for r, percent := range s.Accuracy {
			add(m.accuracy, float64(percent)/100, string(r))
		}
	}
	m.single.Store(&single)
	for mode, n := range modes {
		m.componentCount.WithLabelValues(mode).Set(float64(n))
	}
	m.conflicts.WithLabelValues().Set(float64(conflicts))
	m.floors.WithLabelValues().Set(float64(floors))
	m.omitted.WithLabelValues().Set(float64(max(0, len(states)-m.limit)))
}

func (m *Metrics) published(written int) { m.statusWrites.Add(float64(written)) }

func (m *Metrics) released(cause string, n int) {
	m.floorReleases.WithLabelValues(cause).Add(float64(n))
}

func (m *Metrics) read(f *facts, _ time.Time) {
	if !f.until.IsZero() {
		m.samplesUntil.WithLabelValues().Set(seconds(f.until))
	}
	m.drifting.WithLabelValues().Set(float64(f.drift.Drifting))
}

func (m *Metrics) sweptAway(r *artifact.SweepReport, end time.Time, err error) {
	m.sweptObjects.Add(float64(len(r.Deleted)))
	m.sweptBytes.Add(float64(r.DeletedBytes))
	if err == nil {
		m.lastSweep.WithLabelValues().Set(seconds(end))
	}
}

func (m *Metrics) decided(decisions []schemas.Decision) {
	for i := range decisions {
		d := &decisions[i]
		action := "None"
		switch {
		case d.Reason == schemas.PluginError:
			action = "Error"
		case d.Applied:
			action = "Applied"
		case d.Policy.Mode == schemas.Shadow && d.Reason.UsesForecast():
			action = "Shadow"
		}
		m.decisions.WithLabelValues(action, string(d.Reason)).Inc()
	}
}

// runs takes over which runs there are. The newest success of a pipeline stays when its
// run goes.
func (m *Metrics) runs(all []workflows.Run) {
	succeeded := map[string]time.Time{}
	active := map[string]map[workflows.Phase]int{}
	for i := range all {
		r := &all[i]
		if active[r.Pipeline] == nil {
			active[r.Pipeline] = map[workflows.Phase]int{workflows.Pending: 0, workflows.Running: 0}
		}
		switch {
		case !r.Phase.Done():
			active[r.Pipeline][r.Phase]++
		case r.Phase == workflows.Succeeded && r.Finished != nil && r.Finished.After(succeeded[r.Pipeline]):
			succeeded[r.Pipeline] = *r.Finished
		}
	}
	for pipeline, phases := range active {
		for phase, n := range phases {
			m.runsActive.WithLabelValues(pipeline, string(phase)).Set(float64(n))
		}
	}
	for pipeline, at := range succeeded {
		m.lastSuccess.WithLabelValues(pipeline).Set(seconds(at))
	}
}

func (m *Metrics) ended(r *workflows.Run) {
	m.runsEnded.WithLabelValues(r.Pipeline, triggerOf(r), string(r.Phase)).Inc()
	if r.Started != nil {
		m.runDuration.WithLabelValues(r.Pipeline).Observe(r.Finished.Sub(*r.Started).Seconds())
	}
}

func (m *Metrics) submitted(pipeline, trigger string) {
	m.runsSubmitted.WithLabelValues(pipeline, trigger).Inc()
}

package demo

import (
	"math"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/summary"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/schemas"
)

// buckets is the length of the replay in buckets.
const buckets = int(fleet.ReplayDays * 24 * time.Hour / interval)

// record is what is remembered of one replay.
type record struct {
	components map[schemas.ComponentID]*history
	// newest holds the last run's forecasts, results its outcome.
	newest  []*schemas.Forecast
	results []runtime.Result
	of      time.Time // the instant of that run
}

// history is what happened to one component.
type history struct {
	workload *sim.Workload
	// Per bucket of the replay: the mean number of pods, and the floor at its end.
	replicas [buckets]float64
	floor    [buckets]float64
	totals   sim.Totals
	// Per bucket, the quantiles that were forecast for it just before it began.
	ahead []chart.Interval

	last *schemas.Decision

	errForecast, errYest float64 // summed absolute errors of the median, and of yesterday
}

func newRecord(workloads []sim.Workload) *record {
	r := &record{components: make(map[schemas.ComponentID]*history, len(workloads))}
	for i := range workloads {
		r.components[workloads[i].Component] = &history{workload: &workloads[i]}
	}
	return r
}

// observe notes one minute of the simulation.
func (r *record) observe(m *sim.Minute) {
	h, b := r.components[m.Component], int(m.Start.Sub(fleet.ReplayStart)/interval)
	h.replicas[b] += m.Replicas / float64(interval/time.Minute)
	h.floor[b] = float64(m.MinReplicas)
}

// total takes the sums over from the cluster.
func (r *record) total(cluster *sim.Cluster) error {
	for id, h := range r.components {
		t, err := cluster.Totals(id)
		if err != nil {
			return err
		}
		h.totals = t
	}
	return nil
}

func (h *history) outcome() summary.Outcome {
	return summary.Outcome{UnderProvisionedMinutes: float64(h.totals.UnderProvisionedMinutes), ReplicaHours: h.totals.ReplicaHours()}
}

// Levels that the plots show.
const lowLevel, midLevel, highLevel = .1, .5, .9

// decided notes what a run of inference said about one component, and decided. The
// forecasts are held against what the replay will bring, which nobody else has seen
// yet.
func (r *record) decided(result *runtime.Result) {
	if now := result.Candidate.Now; !now.Equal(r.of) {
		r.newest, r.results, r.of = nil, nil, now
	}
	r.results = append(r.results, *result)
	h := r.components[result.Candidate.Component]
	h.last = result.Decision
	for _, resource := range schemas.Resources() {
		f := result.Forecasts[resource]
		if f == nil {
			continue
		}
		r.newest = append(r.newest, f)
		h.ahead = append(h.ahead, chart.Interval{Time: f.Time(0), Low: f.At(0, lowLevel), Mid: f.At(0, midLevel), High: f.At(0, highLevel)})
		for step := range f.Steps() {
			actual, yesterday := h.usage(f.Time(step)), h.usage(f.Time(step).Add(-24*time.Hour))
			if math.IsNaN(actual) || math.IsNaN(yesterday) {
				continue
			}
			h.errForecast += math.Abs(f.At(step, .5) - actual)
			h.errYest += math.Abs(yesterday - actual)
		}
	}
}

// usage returns the mean demand of the bucket that starts at t, NaN where a
// minute of it is not known.
func (h *history) usage(t time.Time) float64 {
	trace := h.workload.Demand[schemas.CPU]
	from := int(t.Sub(trace.Start) / time.Minute)
	to := from + int(interval/time.Minute)
	if t.Before(trace.Start) || to > len(trace.Values) {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range trace.Values[from:to] {
		sum += v
	}
	return sum / float64(to-from)
}

// relMAE returns the mean absolute error of all forecasts, over their whole
// horizon, over that of repeating yesterday; NaN where there was none.
func (h *history) relMAE() float64 { return h.errForecast / h.errYest }

// draw returns the plot of one component over the replay and the day after.
func draw(w *sim.Workload, reactive, ours *history, newest *schemas.Forecast) *chart.Chart {
	c := &chart.Chart{
		Title:        w.Component.String(),
		Subtitle:     "real usage, replayed with the HPA alone and with self-scaling's floor under it",
		Resource:     schemas.CPU,
		ForecastStep: interval,
		BandLabel:    "10th to 90th percentile",
		MidLabel:     "median",
		Now:          fleet.ReplayEnd,
		Forecast:     ours.ahead,
	}
	if newest != nil {
		for i := range newest.Steps() {
			if t := newest.Time(i); !t.Before(fleet.ReplayEnd) {
				c.Forecast = append(c.Forecast, chart.Interval{Time: t, Low: newest.At(i, lowLevel), Mid: newest.At(i, midLevel), High: newest.At(i, highLevel)})
			}
		}
	}
	for b := range buckets {
		t := fleet.ReplayStart.Add(time.Duration(b) * interval)
		c.Usage = append(c.Usage, chart.Point{Time: t, Value: ours.usage(t)})
		c.Floor = append(c.Floor, chart.Point{Time: t, Value: ours.floor[b]})
		c.Reactive = append(c.Reactive, chart.Point{Time: t, Value: reactive.replicas[b]})
		c.Selfscale = append(c.Selfscale, chart.Point{Time: t, Value: ours.replicas[b]})
	}
	return c
}

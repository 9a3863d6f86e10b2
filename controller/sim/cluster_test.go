package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/controller/sim"
	"github.com/self-scaling/self-scaling/controller/sim/hpa"
	"github.com/self-scaling/self-scaling/schemas"
)

var _ clock.PassiveClock = (*sim.Cluster)(nil)

var web = schemas.ComponentID{Namespace: "shop", Service: "web", Component: "api"}

const gib = 1 << 30

// trace makes a load from runs of equal minutes: 30, 2.5 is 30 minutes of 2.5.
func trace(runs ...float64) sim.Trace {
	tr := sim.Trace{Start: start}
	for i := 0; i < len(runs); i += 2 {
		tr.Values = append(tr.Values, slices.Repeat([]float64{runs[i+1]}, int(runs[i]))...)
	}
	return tr
}

// workload has pods of one core each that should be half used.
func workload(cpu sim.Trace, edit ...func(*sim.Workload)) sim.Workload {
	w := sim.Workload{
		Component:   web,
		Demand:      map[schemas.Resource]sim.Trace{schemas.CPU: cpu},
		Requests:    schemas.Requests{schemas.CPU: 1},
		Utilization: map[schemas.Resource]float64{schemas.CPU: 0.5},
		MinReplicas: 2, MaxReplicas: 20,
		StartUp: 2 * time.Minute,
	}
	for _, e := range edit {
		e(&w)
	}
	return w
}

func newCluster(t testing.TB, workloads ...sim.Workload) *sim.Cluster {
	t.Helper()
	c, err := sim.New(sim.Config{Start: start}, workloads)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// minutes steps a cluster and returns what its observers saw.
func minutes(t testing.TB, c *sim.Cluster, n int) []sim.Minute {
	t.Helper()
	var seen []sim.Minute
	c.Observe(func(m *sim.Minute) { seen = append(seen, *m) })
	step(t, c, time.Duration(n)*time.Minute)
	return seen
}

func step(t testing.TB, c *sim.Cluster, d time.Duration) {
	t.Helper()
	if err := c.Step(c.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}

// story prints minutes as "demand/ready/replicas", with an exclamation mark
// where the workload is under-provisioned and a question mark where nothing
// could serve it.
func story(ms []sim.Minute) string {
	var lines []string
	for _, m := range ms {
		mark := ""
		if m.UnderProvisioned {
			mark = "!"
		}
		if m.Unservable {
			mark = "?"
		}
		lines = append(lines, fmt.Sprintf("%g/%d/%g%s", m.CPU, m.Ready, m.Replicas, mark))
	}
	return strings.Join(lines, " ")
}

func TestReplicasFollowTheLoad(t *testing.T) {
	for _, tt := range []struct {
		name     string
		workload sim.Workload
		minutes  int
		want     string
	}{
		{"a steady load stays as it is", workload(trace(60, 2)), 3, "2/4/4 2/4/4 2/4/4"},
		// The rise at minute 2 is seen at minute 3, where 4 pods become 8 and, a sync
		// later, 10; two minutes after that they
		// are Ready.
		{"a rise is seen a minute late and served when the pods are Ready", workload(trace(2, 2, 60, 5)), 7,
			"2/4/4 2/4/4 5/4/4! 5/4/9.5! 5/4/10! 5/8/10 5/10/10"},
		{"without start-up only the metrics are late", workload(trace(2, 2, 60, 5), func(w *sim.Workload) { w.StartUp = 0 }), 5,
			"2/4/4 2/4/4 5/4/4! 5/4/9.5! 5/10/10"},
		{"a demand beyond the maximum counts for nobody", workload(trace(2, 2, 1, 30, 60, 2)), 4,
			"2/4/4 2/4/4 30/4/4? 2/4/16"},
		{"a minute whose load is not known changes nothing", workload(trace(2, 2, 2, math.NaN(), 60, 2)), 6,
			"2/4/4 2/4/4 NaN/4/4 NaN/4/4 2/4/4 2/4/4"},
		{"the initial replicas can be given", workload(trace(60, 2), func(w *sim.Workload) { w.Replicas = 6 }), 2, "2/6/6 2/6/6"},
		{"the initial replicas stay in bounds", workload(trace(60, 300)), 2, "300/20/20? 300/20/20?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := story(minutes(t, newCluster(t, tt.workload), tt.minutes)); got != tt.want {
				t.Errorf("minutes as demand/ready/replicas:\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAFallWaitsForTheStabilisationWindow(t *testing.T) {
	got := minutes(t, newCluster(t, workload(trace(10, 5, 60, 2))), 20)
	for i, m := range got {
		// The fall at minute 10 is seen at minute 11 and held for five minutes
		// after the last higher recommendation.
		if want := 10.0; i < 15 && m.Replicas != want {
			t.Errorf("minute %d: %g replicas, want %g", i, m.Replicas, want)
		}
		if want := int32(4); i >= 17 && m.Ready != want {
			t.Errorf("minute %d: %d Ready, want %d", i, m.Ready, want)
		}
	}
}

func TestMemoryScalesToo(t *testing.T) {
	w := workload(trace(60, 1), func(w *sim.Workload) {
		w.Demand[schemas.Memory] = trace(2, gib, 60, 3*gib)
		w.Requests[schemas.Memory] = gib
		w.Utilization[schemas.Memory] = 0.5
	})
	got := minutes(t, newCluster(t, w), 8)
	if n := got[7].Ready; n != 6 {
		t.Errorf("%d pods are Ready for 3 GiB at half of 1 GiB each, want 6", n)
	}
	if !got[3].UnderProvisioned || got[3].Deficit != 1 {
		t.Errorf("with %d pods of 1 GiB for 3 GiB the deficit is %g, want 1", got[3].Ready, got[3].Deficit)
	}
}

func TestAFloorIsThereBeforeTheRise(t *testing.T) {
	c := newCluster(t, workload(trace(10, 2, 60, 5)))
	step(t, c, 7*time.Minute)
	binder := c.Binder()
	d := &schemas.Decision{MinReplicas: 10, MaxReplicas: 20}
	if st := binder.Bind(t.Context(), nil, &framework.Candidate{Component: web}, d); !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	// Four pods become ten within one sync, past every limit, and are Ready when
	// the load comes.
	if got, want := story(minutes(t, c, 5)), "2/4/10 2/4/10 2/10/10 5/10/10 5/10/10"; got != want {
		t.Errorf("minutes as demand/ready/replicas:\n got %s\nwant %s", got, want)
	}
	if low, high, err := c.Bounds(web); low != 10 || high != 20 || err != nil {
		t.Errorf("Bounds = %d, %d, %v; want 10, 20", low, high, err)
	}
	other := &framework.Candidate{Component: schemas.ComponentID{Service: "web", Component: "db"}}
	if st := binder.Bind(t.Context(), nil, other, d); st.Code() != framework.Skip {
		t.Errorf("binding an unknown component = %s, want Skip", st.Code())
	}
	d.MaxReplicas = 9
	if st := binder.Bind(t.Context(), nil, &framework.Candidate{Component: web}, d); st.Code() != framework.Error {
		t.Errorf("binding a floor above the ceiling = %s, want Error", st.Code())
	}
}

func TestTotalsAddUpTheMinutes(t *testing.T) {
	c := newCluster(t, workload(trace(2, 2, 4, 5, 1, 30, 60, 2)))
	var want sim.Totals
	for _, m := range minutes(t, c, 30) {
		want.Minutes++
		want.ReplicaMinutes += m.Replicas
		want.DeficitReplicaMinutes += m.Deficit
		if m.UnderProvisioned {
			want.UnderProvisionedMinutes++
		}
		if m.Unservable {
			want.UnservableMinutes++
		}
	}
	got, err := c.Totals(web)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	if got.UnderProvisionedMinutes != 3 || got.UnservableMinutes != 1 {
		t.Errorf("%d minutes are under-provisioned and %d unservable, want 3 and 1", got.UnderProvisionedMinutes, got.UnservableMinutes)
	}
}

func TestTheResultDependsNeitherOnWorkersNorOnSteps(t *testing.T) {
	workloads := recorded(t)[:6]
	run := func(workers int, steps ...time.Duration) []sim.Minute {
		c, err := sim.New(sim.Config{Start: start, Workers: workers}, workloads)
		if err != nil {
			t.Fatal(err)
		}
		var seen []sim.Minute
		c.Observe(func(m *sim.Minute) { seen = append(seen, *m) })
		for _, d := range steps {
			step(t, c, d)
		}
		slices.SortStableFunc(seen, func(a, b sim.Minute) int { return a.Component.Compare(b.Component) })
		return seen
	}
	want := run(1, 13*time.Hour)
	for _, got := range [][]sim.Minute{run(8, 13*time.Hour), run(3, time.Minute, 7*time.Hour, 5*time.Hour+59*time.Minute)} {
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("minutes (-want +got):\n%s", diff)
		}
	}
}

// A floor that knows the future shows what the simulation can show at all.
func TestAFloorThatKnowsTheFutureServesAlmostEveryMinute(t *testing.T) {
	workloads := recorded(t)[9:12]
	run := func(floor bool) sim.Totals {
		c := newCluster(t, workloads...)
		for range 3 * 96 {
			for i := range workloads {
				w := &workloads[i]
				if !floor {
					continue
				}
				at := int(c.Now().Sub(start) / time.Minute)
				peak := slices.Max(w.Demand[schemas.CPU].Values[at : at+18])
				n := min(max(replicas.Ceil(peak, w.Requests[schemas.CPU]), w.MinReplicas), w.MaxReplicas)
				if err := c.SetBounds(w.Component, n, w.MaxReplicas); err != nil {
					t.Fatal(err)
				}
			}
			step(t, c, 15*time.Minute)
		}
		var total sim.Totals
		for _, id := range c.Components() {
			one, err := c.Totals(id)
			if err != nil {
				t.Fatal(err)
			}
			total.Add(one)
		}
		return total
	}
	reactive, floored := run(false), run(true)
	t.Logf("under-provisioned minutes: reactive %d, floored %d; replica-hours: %.0f and %.0f",
		reactive.UnderProvisionedMinutes, floored.UnderProvisionedMinutes, reactive.ReplicaHours(), floored.ReplicaHours())
	if reactive.UnderProvisionedMinutes < 50 || floored.UnderProvisionedMinutes > reactive.UnderProvisionedMinutes/10 {
		t.Errorf("under-provisioned minutes: reactive %d, with a perfect floor %d", reactive.UnderProvisionedMinutes, floored.UnderProvisionedMinutes)
	}
}

// samples collects what a cluster tells of a stretch of time, in minutes from
// the start.
func samples(t *testing.T, c *sim.Cluster, from, to int, step time.Duration) []schemas.Sample {
	t.Helper()
	var out []schemas.Sample
	at := func(m int) time.Time { return start.Add(time.Duration(m) * time.Minute) }
	err := c.Samples(t.Context(), at(from), at(to), step, func(s *schemas.Sample) error {
		if err := s.Validate(step); err != nil {
			t.Error(err)
		}
		out = append(out, *s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func TestSamples(t *testing.T) {
	// 90 minutes of past, and then 20 whose load is known.
	cpu := trace(30, 0.9, 30, math.NaN(), 15, 0.9, 15, 4, 20, 4)
	cpu.Start = start.Add(-90 * time.Minute)
	c := newCluster(t, workload(cpu, func(w *sim.Workload) { w.Replicas = 2; w.Requests[schemas.Memory] = gib }))
	step(t, c, 40*time.Minute)
	one := func(m int, cpu *schemas.Usage, replicas *int32) schemas.Sample {
		return schemas.Sample{Component: web, Start: start.Add(time.Duration(m) * time.Minute), CPU: cpu, Replicas: replicas, CPURequest: ptr(1.0), MemoryRequest: ptr(float64(gib))}
	}
	want := []schemas.Sample{
		one(-90, &schemas.Usage{Mean: 0.9, Max: 0.9, Count: 15}, nil),
		one(-75, &schemas.Usage{Mean: 0.9, Max: 0.9, Count: 15}, nil),
		// The half hour without readings is not there at all.
		one(-30, &schemas.Usage{Mean: 0.9, Max: 0.9, Count: 15}, nil),
		one(-15, &schemas.Usage{Mean: 4, Max: 4, Count: 15}, nil),
		one(0, &schemas.Usage{Mean: 4, Max: 4, Count: 15}, ptr(int32(8))),
		// A bucket that is known in part counts what is known; that to minute 45
		// has not ended.
		one(15, &schemas.Usage{Mean: 4, Max: 4, Count: 5}, ptr(int32(8))),
	}
	approx := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })
	if diff := cmp.Diff(want, samples(t, c, -120, 60, 15*time.Minute), approx); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestSamplesOfAnotherSource(t *testing.T) {
	c := newCluster(t, workload(trace(60, 1)))
	step(t, c, time.Hour)
	t.Run("an error of the caller ends the call", func(t *testing.T) {
		full := errors.New("disk full")
		err := c.Samples(t.Context(), start, start.Add(time.Hour), 15*time.Minute, func(*schemas.Sample) error { return full })
		if !errors.Is(err, full) {
			t.Errorf("Samples error = %v, want %v", err, full)
		}
	})
	t.Run("an interrupted call says that it may be repeated", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := c.Samples(ctx, start, start.Add(time.Hour), 15*time.Minute, func(*schemas.Sample) error { return nil })
		if schemas.CodeOf(err) != schemas.CodeUnavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("Samples error = %v, want a cancelled one with code %s", err, schemas.CodeUnavailable)
		}
	})
	t.Run("times off the grid are refused", func(t *testing.T) {
		err := c.Samples(t.Context(), start.Add(time.Minute), start.Add(time.Hour), 15*time.Minute, func(*schemas.Sample) error { return nil })
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("Samples error = %v, want one with code %s", err, schemas.CodeInvalidConfig)
		}
	})
}

func TestTarget(t *testing.T) {
	c := newCluster(t, workload(trace(60, 2)))
	want := &framework.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web-api", Scalable: true, CurrentReplicas: 4}
	if diff := cmp.Diff(want, c.Target(web)); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	if other := c.Target(schemas.ComponentID{Service: "web", Component: "db"}); other != nil {
		t.Errorf("target of an unknown component = %v, want none", other)
	}
}

func TestConfigurationThatIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name      string
		config    sim.Config
		workloads []sim.Workload
		want      string
	}{
		{"a start within a minute", sim.Config{Start: start.Add(time.Second)}, nil, "whole minute"},
		{"no start", sim.Config{}, nil, "whole minute"},
		{"a sync period that does not divide a minute", sim.Config{Start: start, HPA: hpa.Config{SyncPeriod: 7 * time.Second}}, nil, "sync period must divide a minute, but is 7s"},
		{"a negative delay", sim.Config{Start: start, MetricsDelay: -1}, nil, "must not be negative"},
		{"a component given twice", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1)), workload(trace(1, 1))}, "shop/web/api must be given once"},
		{"bounds out of order", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.MaxReplicas = 1 })}, "but are 2 and 1"},
		{"a negative start-up", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.StartUp = -1 })}, "start-up"},
		{"a request of nothing", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.Requests[schemas.CPU] = 0 })}, "cpu request must be above 0"},
		{"a request of NaN", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.Requests[schemas.CPU] = math.NaN() })}, "cpu request must be above 0"},
		{"a utilisation of 0", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.Utilization[schemas.CPU] = 0 })}, "cpu utilization"},
		{"a negative load", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1, 1, -1))}, "minute 1 has -1"},
		{"a load without end", sim.Config{Start: start}, []sim.Workload{workload(trace(1, math.Inf(1)))}, "minute 0 has +Inf"},
		{"too many replicas", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.Replicas = -1 })}, "replicas must be from 0"},
		{"a component without a name", sim.Config{Start: start}, []sim.Workload{workload(trace(1, 1), func(w *sim.Workload) { w.Component.Service = "" })}, "service must not be empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sim.New(tt.config, tt.workloads)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New error = %v, want one that says %q", err, tt.want)
			}
		})
	}
	t.Run("a clock that goes back", func(t *testing.T) {
		c := newCluster(t, workload(trace(1, 1)))
		if err := c.Step(start.Add(-time.Minute)); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("Step error = %v, want one with code %s", err, schemas.CodeInvalidConfig)
		}
	})
	t.Run("what is not there", func(t *testing.T) {
		c := newCluster(t)
		if _, err := c.Totals(web); schemas.CodeOf(err) != schemas.CodeNotFound {
			t.Errorf("Totals error = %v, want one with code %s", err, schemas.CodeNotFound)
		}
		if err := c.SetBounds(web, 1, 2); schemas.CodeOf(err) != schemas.CodeNotFound {
			t.Errorf("SetBounds error = %v, want one with code %s", err, schemas.CodeNotFound)
		}
	})
}

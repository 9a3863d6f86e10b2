package hpa_test

import (
	"errors"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/sim/hpa"
)

// The properties are tried on many cases, and always on the same ones unless
// told otherwise.
func TestMain(m *testing.M) {
	flag.Parse()
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "5000", "rapid.seed": "1"} {
		if !given[name] {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// pods returns n pods that have been Ready for a day.
func pods(n int) []hpa.Pod {
	day := now.Add(-24 * time.Hour)
	return slices.Repeat([]hpa.Pod{{Ready: hpa.Ready, Started: day, Transition: day}}, n)
}

// starting returns a pod that started a minute ago and is not Ready.
func starting() hpa.Pod {
	return hpa.Pod{Ready: hpa.NotReady, Started: now.Add(-time.Minute), Transition: now.Add(-time.Minute)}
}

// used returns readings of pods that request 1000 and use the given numbers; a
// negative one is a missing metric.
func used(values ...int64) []hpa.Reading {
	out := make([]hpa.Reading, len(values))
	for i, v := range values {
		out[i] = hpa.Reading{Request: 1000}
		if v >= 0 {
			out[i] = hpa.Reading{Request: 1000, Known: true, Value: v, Timestamp: now.Add(-time.Minute), Window: 15 * time.Second}
		}
	}
	return out
}

func TestDesired(t *testing.T) {
	cpu, memory := hpa.Target{CPU: true, Utilization: 50}, hpa.Target{Utilization: 50}
	for _, tt := range []struct {
		name     string
		target   hpa.Target
		current  int32
		pods     []hpa.Pod
		readings []hpa.Reading
		want     int32
		err      error
	}{
		{"twice the target doubles", cpu, 3, pods(3), used(1000, 1000, 1000), 6, nil},
		{"half the target halves", cpu, 4, pods(4), used(250, 250, 250, 250), 2, nil},
		{"a tenth above is tolerated", cpu, 3, pods(3), used(550, 550, 550), 3, nil},
		{"more than a tenth above is not", cpu, 3, pods(3), used(560, 560, 560), 4, nil},
		{"a tenth below is tolerated", cpu, 3, pods(3), used(450, 450, 450), 3, nil},
		{"a utilisation is cut to a whole percentage", cpu, 3, pods(3), used(559, 559, 559), 3, nil},
		{"a missing metric counts as nothing on the way up", cpu, 2, pods(2), used(1000, -1), 2, nil},
		{"and as the whole request on the way down", cpu, 3, pods(3), used(100, 100, -1), 3, nil},
		{"or as the target where that is higher", hpa.Target{CPU: true, Utilization: 150}, 4, pods(4), used(100, 100, 100, -1), 2, nil},
		{"a missing metric is nothing at exactly the target", cpu, 3, pods(3), used(500, 500, -1), 3, nil},
		{"a starting pod counts as nothing on the way up", cpu, 3, append(pods(2), starting()), used(1000, 1000, 0), 4, nil},
		{"and not at all on the way down", cpu, 3, append(pods(2), starting()), used(200, 200, 900), 1, nil},
		{"for memory a starting pod is a pod", memory, 3, append(pods(2), starting()), used(1000, 1000, 1000), 6, nil},
		{"a pending pod counts as one that is not Ready, for memory too", memory, 3, append(pods(2), hpa.Pod{Phase: hpa.Pending}), used(1000, 1000, -1), 4, nil},
		{"a pod that is gone counts for nothing", cpu, 3, append(pods(2), hpa.Pod{Phase: hpa.Gone}), used(1000, 1000, 1000), 4, nil},
		{"a pod that was Ready for less than a window is not counted yet", cpu, 2,
			append(pods(1), hpa.Pod{Ready: hpa.Ready, Started: now.Add(-2 * time.Minute), Transition: now.Add(-70 * time.Second)}), used(1000, 1000), 2, nil},
		{"a pod that was Ready for a window counts", cpu, 2,
			append(pods(1), hpa.Pod{Ready: hpa.Ready, Started: now.Add(-2 * time.Minute), Transition: now.Add(-75 * time.Second)}), used(1000, 1000), 4, nil},
		{"a pod that fell out of Ready long after its start counts", cpu, 2,
			append(pods(1), hpa.Pod{Ready: hpa.NotReady, Started: now.Add(-time.Hour), Transition: now.Add(-time.Minute)}), used(1000, 1000), 4, nil},
		{"a pod that never was Ready does not, however old", cpu, 2,
			append(pods(1), hpa.Pod{Ready: hpa.NotReady, Started: now.Add(-time.Hour), Transition: now.Add(-time.Hour)}), used(1000, 1000), 2, nil},
		{"a correction that would turn round is dropped", cpu, 4, pods(4), used(600, -1, -1, -1), 4, nil},
		{"no pods have no answer", cpu, 3, nil, nil, 0, hpa.ErrNoPods},
		{"no metrics have no answer", cpu, 2, pods(2), used(-1, -1), 0, hpa.ErrNoMetrics},
		{"a pod without a request has no answer", cpu, 2, pods(2), []hpa.Reading{used(500)[0], {Request: -1}}, 0, hpa.ErrNoRequest},
		{"requests of 0 have no answer", cpu, 1, pods(1), []hpa.Reading{{Request: 0, Known: true, Value: 500}}, 0, hpa.ErrZeroTotal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := hpa.DefaultConfig()
			got, _, err := hpa.Desired(&cfg, now, tt.target, tt.current, tt.pods, tt.readings)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Desired = %d, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// replay drives an autoscaler at a sync every 15 s with the usage of the whole
// workload, in requests of one pod, and returns the replicas after each.
func replay(spec hpa.Spec, replicas int32, usage ...int64) []int32 {
	cfg := hpa.DefaultConfig()
	var state hpa.State
	var out []int32
	for i, u := range usage {
		readings := make([]hpa.Reading, replicas)
		for j := range readings {
			readings[j] = hpa.Reading{Request: 1000, Known: u >= 0, Value: 1000 * u / int64(max(1, replicas)), Timestamp: now, Window: 15 * time.Second}
		}
		at := now.Add(time.Duration(i) * cfg.SyncPeriod)
		replicas, _ = state.Sync(&cfg, at, &spec, replicas, pods(int(replicas)), [][]hpa.Reading{readings})
		out = append(out, replicas)
	}
	return out
}

func TestSync(t *testing.T) {
	cpu := []hpa.Target{{CPU: true, Utilization: 100}}
	behavior := func(edit func(*hpa.Behavior)) *hpa.Behavior {
		b := hpa.DefaultBehavior(hpa.DefaultConfig())
		edit(b)
		return b
	}
	for _, tt := range []struct {
		name  string
		spec  hpa.Spec
		start int32
		usage []int64
		want  []int32
	}{
		{"a rise is at most twofold a sync, but four pods in any case",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu}, 1, []int64{40, 40, 40, 40, 40}, []int32{4, 8, 16, 32, 40}},
		{"the maximum holds",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 6, Targets: cpu}, 4, []int64{40, 40}, []int32{6, 6}},
		{"a raised minimum holds at once, past all limits",
			hpa.Spec{MinReplicas: 30, MaxReplicas: 100, Targets: cpu}, 1, []int64{1, 1}, []int32{30, 30}},
		{"too many replicas are cut at once",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 5, Targets: cpu}, 30, []int64{30}, []int32{5}},
		{"a fall waits for five minutes",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu}, 8,
			append([]int64{8}, slices.Repeat([]int64{2}, 22)...),
			append(slices.Repeat([]int32{8}, 21), 2, 2)},
		{"a workload at 0 is switched off",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu}, 0, []int64{9}, []int32{0}},
		{"without metrics nothing changes",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu}, 7, []int64{-1, -1}, []int32{7, 7}},
		{"a behavior's policy limits a rise within its period",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(b *hpa.Behavior) {
				b.ScaleUp.Policies = []hpa.Policy{{Value: 2, Period: 30 * time.Second}}
			})}, 2, []int64{9, 9, 9, 9, 9}, []int32{4, 4, 6, 6, 8}},
		{"of two policies the larger change holds",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(*hpa.Behavior) {})},
			3, []int64{40, 40, 40}, []int32{7, 14, 28}},
		{"unless the smaller is asked for",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(b *hpa.Behavior) { b.ScaleUp.Select = hpa.MinChange })},
			3, []int64{40, 40, 40}, []int32{6, 10, 14}},
		{"a direction can be forbidden",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(b *hpa.Behavior) {
				b.ScaleDown.Select, b.ScaleDown.Stabilization = hpa.Disabled, 0
			})}, 8, []int64{8, 1, 1}, []int32{8, 8, 8}},
		{"a fall is limited by its policy",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(b *hpa.Behavior) {
				b.ScaleDown = hpa.Rules{Policies: []hpa.Policy{{Percent: true, Value: 25, Period: 15 * time.Second}}}
			})}, 8, []int64{1, 1, 1}, []int32{6, 4, 3}},
		{"a rise can be made to wait",
			hpa.Spec{MinReplicas: 1, MaxReplicas: 100, Targets: cpu, Behavior: behavior(func(b *hpa.Behavior) { b.ScaleUp.Stabilization = 30 * time.Second })},
			2, []int64{2, 9, 9, 9}, []int32{2, 2, 6, 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := replay(tt.spec, tt.start, tt.usage...); !slices.Equal(got, tt.want) {
				t.Errorf("replicas = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheMetricThatAsksForMostDecides(t *testing.T) {
	cfg := hpa.DefaultConfig()
	spec := hpa.Spec{MinReplicas: 1, MaxReplicas: 10, Targets: []hpa.Target{{CPU: true, Utilization: 50}, {Utilization: 50}}}
	for _, tt := range []struct {
		name        string
		cpu, memory []hpa.Reading
		want        int32
		err         error
	}{
		{"the larger of two", used(750, 750), used(1000, 1000), 4, nil},
		{"one is missing and the other asks for more", used(-1, -1), used(1000, 1000), 4, hpa.ErrNoMetrics},
		{"one is missing and the other asks for less", used(-1, -1), used(100, 100), 2, hpa.ErrNoMetrics},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var state hpa.State
			got, err := state.Sync(&cfg, now, &spec, 2, pods(2), [][]hpa.Reading{tt.cpu, tt.memory})
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Sync = %d, %v; want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// A floor can only add: whatever the pods and the metrics are, the autoscaler
// sets at least as many replicas under a raised minimum as it would have. The
// one exception is a single sync: below a new minimum the autoscaler goes there
// first and looks at the metrics 15 s later.
func TestPropertyAFloorNeverCostsReplicas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := hpa.DefaultConfig()
		current := rapid.Int32Range(1, 30).Draw(t, "current")
		lowest := rapid.Int32Range(1, 10).Draw(t, "min")
		highest := lowest + rapid.Int32Range(0, 30).Draw(t, "span")
		floor := rapid.Int32Range(lowest, highest).Draw(t, "floor")
		ps := make([]hpa.Pod, current)
		rs := make([]hpa.Reading, current)
		for i := range ps {
			age := time.Duration(rapid.IntRange(0, 900).Draw(t, "age")) * time.Second
			ps[i] = hpa.Pod{
				Phase: hpa.Phase(rapid.IntRange(0, 2).Draw(t, "phase")),
				Ready: hpa.Condition(rapid.IntRange(0, 2).Draw(t, "ready")), Started: now.Add(-age), Transition: now.Add(-age / 2),
			}
			rs[i] = hpa.Reading{Request: 1000, Known: rapid.Bool().Draw(t, "known"), Value: rapid.Int64Range(0, 3000).Draw(t, "value"), Timestamp: now}
		}
		var behavior *hpa.Behavior
		if rapid.Bool().Draw(t, "behavior") {
			behavior = hpa.DefaultBehavior(cfg)
		}
		sync := func(minimum int32) int32 {
			var state hpa.State
			spec := hpa.Spec{MinReplicas: minimum, MaxReplicas: highest, Targets: []hpa.Target{{CPU: true, Utilization: 70}}, Behavior: behavior}
			n, _ := state.Sync(&cfg, now, &spec, current, ps, [][]hpa.Reading{rs})
			return n
		}
		reactive, predictive := sync(lowest), sync(floor)
		least := reactive
		if current < floor {
			least = floor
		}
		if predictive < least || predictive > highest {
			t.Fatalf("with a floor of %d there are %d replicas, without %d (of %d, bounds %d to %d)", floor, predictive, reactive, current, lowest, highest)
		}
	})
}

func BenchmarkSync(b *testing.B) {
	cfg := hpa.DefaultConfig()
	spec := hpa.Spec{MinReplicas: 1, MaxReplicas: 200, Targets: []hpa.Target{{CPU: true, Utilization: 70}}}
	ps, rs := pods(20), used(slices.Repeat([]int64{700}, 20)...)
	var state hpa.State
	readings := [][]hpa.Reading{rs}
	b.ReportAllocs()
	at := now
	for b.Loop() {
		at = at.Add(cfg.SyncPeriod)
		if _, err := state.Sync(&cfg, at, &spec, 20, ps, readings); err != nil {
			b.Fatal(err)
		}
	}
}

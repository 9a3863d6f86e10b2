package controller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// swept is a world whose store is swept at half past two.
func swept(t *testing.T) *world {
	s, err := schedule.Parse([]string{"30 2 * * *"}, "")
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(c *controller.Config) {
		c.Metrics = controller.NewMetrics(0)
		c.Retention = &controller.Retention{SweepOptions: artifact.DefaultSweepOptions(), Schedule: s}
	})
}

// sweeps returns how many sweeps have ended well.
func (w *world) sweeps() int { return strings.Count(w.logs.String(), "store swept") }

func TestTheStoreIsSweptOnceANight(t *testing.T) {
	w := swept(t)
	w.collect(1, "web")
	// A day later, nothing refers to what the first commit wrote but its run.
	w.clock.Step(24 * time.Hour)
	w.collect(1, "web")
	w.clock.SetTime(noon.Truncate(24 * time.Hour).Add(30 * 24 * time.Hour))
	w.collect(1, "web")
	w.turn("sweep") // at midnight
	if n := w.sweeps(); n != 0 {
		t.Fatalf("%d sweeps before the hour", n)
	}
	midnight := w.clock.Now()
	w.clock.SetTime(midnight.Add(2*time.Hour + 30*time.Minute))
	next, err := w.Turn(t.Context(), "sweep", w.clock.Now())
	w.must(err)
	if want := midnight.Add(26*time.Hour + 30*time.Minute); !next.Equal(want) || w.sweeps() != 1 {
		t.Errorf("%d sweeps, the next at %s, want one and the next at %s", w.sweeps(), next, want)
	}
	w.clock.Step(time.Hour)
	w.turn("sweep")
	if n := w.sweeps(); n != 1 {
		t.Errorf("%d sweeps in a night", n)
	}
	want := `
# HELP selfscaling_store_last_sweep_timestamp_seconds When the store was last swept without an error.
# TYPE selfscaling_store_last_sweep_timestamp_seconds gauge
selfscaling_store_last_sweep_timestamp_seconds 1.7762202e+09
`
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.config.Metrics)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "selfscaling_store_last_sweep_timestamp_seconds"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	w.must(err)
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "selfscaling_store_swept_") && f.GetMetric()[0].GetCounter().GetValue() == 0 {
			t.Errorf("%s is 0: nothing was deleted", f.GetName())
		}
	}
}

func TestASweepThatFailsIsTriedAgain(t *testing.T) {
	w := swept(t)
	w.turn("sweep") // at noon
	w.clock.Step(14*time.Hour + 30*time.Minute)
	w.storeDown = true
	if next, err := w.Turn(t.Context(), "sweep", w.clock.Now()); schemas.CodeOf(err) != schemas.CodeUnavailable || !next.IsZero() {
		t.Errorf("error %v, the next turn at %s", err, next)
	}
	w.storeDown = false
	w.clock.Step(time.Hour)
	w.turn("sweep")
	if n := w.sweeps(); n != 1 {
		t.Errorf("%d sweeps, want one", n)
	}
}

func TestANewLeaderMakesUpForASweepOfThisHourOnly(t *testing.T) {
	for after, want := range map[time.Duration]int{30 * time.Minute: 1, 9 * time.Hour: 0} {
		w := swept(t)
		w.clock.Step(14*time.Hour + 30*time.Minute + after)
		w.restart()
		w.turn("sweep")
		if n := w.sweeps(); n != want {
			t.Errorf("%s after its hour: %d sweeps, want %d", after, n, want)
		}
	}
}

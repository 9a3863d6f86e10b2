package runtime_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestForecastCycle(t *testing.T) {
	pass := filter{"Pass", func(*framework.Candidate) *framework.Status { return nil }}
	reject := filter{"Reject", func(*framework.Candidate) *framework.Status {
		return framework.NewStatus(framework.Rejected, schemas.InsufficientData, "too young")
	}}
	for _, tt := range []struct {
		name    string
		plugins []framework.Plugin
		edit    func(*framework.Candidate)

		value  float64 // of the first step's median; 0 means no forecast
		code   framework.Code
		reason schemas.Reason
		plugin string
		notes  []string
	}{
		{name: "a forecast passes", plugins: []framework.Plugin{pass, constant("A", 5)}, value: 5},
		{name: "a filter keeps a component out, with its reason", plugins: []framework.Plugin{pass, reject, constant("A", 5)},
			code: framework.Rejected, reason: schemas.InsufficientData, plugin: "Reject"},
		{name: "the first filter that rejects is the last one asked",
			plugins: []framework.Plugin{reject, filter{"Panics", func(*framework.Candidate) *framework.Status { panic("must not be asked") }}, constant("A", 5)},
			code:    framework.Rejected, reason: schemas.InsufficientData, plugin: "Reject"},
		{name: "a filter that has nothing to say passes",
			plugins: []framework.Plugin{filter{"Skips", func(*framework.Candidate) *framework.Status {
				return framework.NewStatus(framework.Skip, "", "")
			}}, constant("A", 5)}, value: 5},
		{name: "a filter must not wait",
			plugins: []framework.Plugin{filter{"Waits", func(*framework.Candidate) *framework.Status {
				return framework.NewStatus(framework.Wait, schemas.CoolingDown, "")
			}}, constant("A", 5)},
			code: framework.Error, reason: schemas.PluginError, plugin: "Waits"},
		{name: "a filter that panics is an error of its own",
			plugins: []framework.Plugin{filter{"Panics", func(*framework.Candidate) *framework.Status { panic("boom") }}, constant("A", 5)},
			code:    framework.Error, reason: schemas.PluginError, plugin: "Panics"},
		{name: "a forecaster without an answer leaves it to the others",
			plugins: []framework.Plugin{refuses("Young", framework.Rejected, schemas.InsufficientData), constant("A", 5)},
			value:   5, notes: []string{"Young cpu InsufficientData"}},
		{name: "no answer at all",
			plugins: []framework.Plugin{refuses("Young", framework.Rejected, schemas.InsufficientData), refuses("Bare", framework.Skip, "")},
			code:    framework.Rejected, reason: schemas.NoForecast, notes: []string{"Young cpu InsufficientData", "Bare cpu "}},
		{name: "a forecaster that breaks stops the component",
			plugins: []framework.Plugin{constant("A", 5), refuses("Broken", framework.Error, schemas.PluginError)},
			code:    framework.Error, reason: schemas.PluginError, plugin: "Broken"},
		{name: "a forecaster that panics stops the component",
			plugins: []framework.Plugin{constant("A", 5), answers("Panics", func(f *schemas.Forecast) { f.Values = nil; f.Row(3) })},
			code:    framework.Error, reason: schemas.PluginError, plugin: "Panics"},
		{name: "an answer of NaN is dropped with a reason",
			plugins: []framework.Plugin{answers("Diverged", func(f *schemas.Forecast) { f.Values[7] = math.NaN() }), constant("A", 5)},
			value:   5, notes: []string{"Diverged cpu InvalidForecast"}},
		{name: "an answer of infinity is dropped",
			plugins: []framework.Plugin{answers("Diverged", func(f *schemas.Forecast) { f.Values[7] = math.Inf(1) }), constant("A", 5)},
			value:   5, notes: []string{"Diverged cpu InvalidForecast"}},
		{name: "a negative answer is dropped",
			plugins: []framework.Plugin{answers("Diverged", func(f *schemas.Forecast) { f.Values[0] = -1 }), constant("A", 5)},
			value:   5, notes: []string{"Diverged cpu InvalidForecast"}},
		{name: "crossing quantiles are dropped",
			plugins: []framework.Plugin{answers("Crossed", func(f *schemas.Forecast) { f.Values[0] = 9 }), constant("A", 5)},
			value:   5, notes: []string{"Crossed cpu InvalidForecast"}},
		{name: "an answer that is too short is dropped",
			plugins: []framework.Plugin{answers("Short", func(f *schemas.Forecast) { f.Values = f.Values[:11] }), constant("A", 5)},
			value:   5, notes: []string{"Short cpu InvalidForecast"}},
		{name: "an answer for another time is dropped",
			plugins: []framework.Plugin{answers("Late", func(f *schemas.Forecast) { f.Origin = f.Origin.Add(f.Step) }), constant("A", 5)},
			value:   5, notes: []string{"Late cpu InvalidForecast"}},
		{name: "an answer for another component is dropped",
			plugins: []framework.Plugin{answers("Lost", func(f *schemas.Forecast) { f.Component = id("other") }), constant("A", 5)},
			value:   5, notes: []string{"Lost cpu InvalidForecast"}},
		{name: "only broken answers are no forecast",
			plugins: []framework.Plugin{answers("Diverged", func(f *schemas.Forecast) { f.Values[7] = math.NaN() })},
			code:    framework.Rejected, reason: schemas.InvalidForecast, notes: []string{"Diverged cpu InvalidForecast"}},
		{name: "a component that was never measured",
			plugins: []framework.Plugin{constant("A", 5)}, edit: func(c *framework.Candidate) { c.Series = nil },
			code: framework.Rejected, reason: schemas.NoForecast},
		{name: "a policy that breaks a rule",
			plugins: []framework.Plugin{constant("A", 5)}, edit: func(c *framework.Candidate) { c.Policy.MaxReplicas = 1 },
			code: framework.Error, reason: schemas.PluginError},
		{name: "a series of somebody else",
			plugins: []framework.Plugin{constant("A", 5)}, edit: func(c *framework.Candidate) { c.Series[schemas.CPU].Component = id("other") },
			code: framework.Error, reason: schemas.PluginError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := candidate("api")
			if tt.edit != nil {
				tt.edit(c)
			}
			forecasts, notes, st := build(t, nil, tt.plugins...).RunForecastCycle(t.Context(), framework.NewCycleState(), c)
			if st.Code() != tt.code || st.Reason() != tt.reason || st.Plugin() != tt.plugin {
				t.Errorf("status = %s %q of %q (%s), want %s %q of %q", st.Code(), st.Reason(), st.Plugin(), st.Message(), tt.code, tt.reason, tt.plugin)
			}
			value := 0.0
			if f := forecasts[schemas.CPU]; f != nil {
				value = f.At(0, 0.5)
			}
			if value != tt.value {
				t.Errorf("median = %v, want %v", value, tt.value)
			}
			var said []string
			for _, n := range notes {
				said = append(said, strings.Join([]string{n.Plugin, string(n.Resource), string(n.Status.Reason())}, " "))
			}
			if diff := cmp.Diff(tt.notes, said); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

// scores gives each forecaster points a band; the rest get none.
func scores(name string, points map[string][3]float64) scorePlugin {
	return scorePlugin{name, func(f *schemas.Forecast, band schemas.Band) (float64, *framework.Status) {
		p, ok := points[f.Forecasters[0]]
		if !ok {
			return 0, framework.NewStatus(framework.Skip, "", "unknown")
		}
		return p[slices.Index([]int{1, 5, 17}, band.First)], nil
	}}
}

func TestTheBestForecasterOfEachBandIsBelieved(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights map[string]float64
		plugins []framework.Plugin
		want    [3]string
	}{
		{"the highest score wins, band by band", nil,
			[]framework.Plugin{scores("S", map[string][3]float64{"A": {90, 10, 50}, "B": {20, 80, 60}})},
			[3]string{"A", "B", "B"}},
		{"of equals the first in the profile wins", nil,
			[]framework.Plugin{scores("S", map[string][3]float64{"A": {50, 50, 50}, "B": {50, 50, 50}})},
			[3]string{"A", "A", "A"}},
		{"without a scorer the first wins", nil, nil, [3]string{"A", "A", "A"}},
		{"no score counts as the lowest", nil,
			[]framework.Plugin{scores("S", map[string][3]float64{"B": {1, 0, 1}})},
			[3]string{"B", "A", "B"}},
		{"the scores of several add up", nil,
			[]framework.Plugin{scores("S", map[string][3]float64{"A": {60, 60, 60}, "B": {50, 50, 50}}), scores("T", map[string][3]float64{"A": {0, 0, 0}, "B": {20, 5, 20}})},
			[3]string{"B", "A", "B"}},
		{"with their weights", map[string]float64{"T": 3},
			[]framework.Plugin{scores("S", map[string][3]float64{"A": {60, 60, 60}, "B": {50, 50, 50}}), scores("T", map[string][3]float64{"A": {0, 0, 0}, "B": {20, 5, 20}})},
			[3]string{"B", "B", "B"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plugins := append([]framework.Plugin{constant("A", 1), constant("B", 2)}, tt.plugins...)
			f := build(t, func(p *runtime.Profile, _ *runtime.Options) { p.Weights = tt.weights }, plugins...)
			forecasts, _, st := f.RunForecastCycle(t.Context(), framework.NewCycleState(), candidate("api"))
			if !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			got := forecasts[schemas.CPU]
			if diff := cmp.Diff(tt.want[:], got.Forecasters); diff != "" {
				t.Errorf("forecasters (-want +got):\n%s", diff)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
			for b, band := range schemas.Bands(got.Steps()) {
				for i := band.First - 1; i < band.Last; i++ {
					if want := map[string]float64{"A": 1, "B": 2}[tt.want[b]]; got.At(i, 0.5) != want {
						t.Fatalf("step %d is %v, want %v of %s", i+1, got.At(i, 0.5), want, tt.want[b])
					}
				}
			}
		})
	}
	t.Run("a score that is none stops the component", func(t *testing.T) {
		for _, bad := range []float64{math.NaN(), -1, 101} {
			f := build(t, nil, constant("A", 1), constant("B", 2), scores("S", map[string][3]float64{"A": {bad}}))
			if _, _, st := f.RunForecastCycle(t.Context(), framework.NewCycleState(), candidate("api")); st.Code() != framework.Error || st.Plugin() != "S" {
				t.Errorf("a score of %v gives %s of %q, want Error of S", bad, st.Code(), st.Plugin())
			}
		}
	})
}

func TestPeaksGoAsFarAsEveryWinnerHasThem(t *testing.T) {
	peaks := func(name string, v float64, steps int) forecaster {
		return answers(name, func(f *schemas.Forecast) {
			for i := range f.Values {
				f.Values[i] = v
			}
			f.Peaks = slices.Repeat([]float64{v}, steps*len(f.Levels))
		})
	}
	for _, tt := range []struct {
		name   string
		a, b   int // steps of peaks
		points map[string][3]float64
		want   string // one letter a step with a peak
	}{
		{"one winner's are taken as they are", 16, 16, map[string][3]float64{"A": {9, 9, 9}, "B": {0, 0, 0}}, "AAAAAAAAAAAAAAAA"},
		{"each band has its winner's", 16, 16, map[string][3]float64{"A": {9, 0, 9}, "B": {0, 9, 0}}, "AAAABBBBBBBBBBBB"},
		{"they end where a winner's end", 16, 6, map[string][3]float64{"A": {9, 0, 9}, "B": {0, 9, 0}}, "AAAABB"},
		{"they are none where the first winner has none", 0, 16, map[string][3]float64{"A": {9, 0, 9}, "B": {0, 9, 0}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := build(t, nil, peaks("A", 1, tt.a), peaks("B", 2, tt.b), scores("S", tt.points))
			forecasts, _, st := f.RunForecastCycle(t.Context(), framework.NewCycleState(), candidate("api"))
			if !st.IsSuccess() {
				t.Fatal(st.Message())
			}
			var got strings.Builder
			for i := range forecasts[schemas.CPU].PeakSteps() {
				got.WriteByte("?AB"[int(forecasts[schemas.CPU].PeakAt(i, 0.5))])
			}
			if got.String() != tt.want {
				t.Errorf("peaks = %q, want %q", got.String(), tt.want)
			}
		})
	}
}

func TestForecastsComeInTheLevelsOfAll(t *testing.T) {
	point := answers("Point", func(f *schemas.Forecast) {
		f.Levels, f.Values = []float64{0.5}, slices.Repeat([]float64{3}, f.Steps())
	})
	forecasts, _, st := build(t, nil, point).RunForecastCycle(t.Context(), framework.NewCycleState(), candidate("api"))
	if !st.IsSuccess() {
		t.Fatal(st.Message())
	}
	f := forecasts[schemas.CPU]
	if diff := cmp.Diff(schemas.DefaultLevels(), f.Levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	if f.Steps() != 96 || f.At(95, 0.975) != 3 {
		t.Errorf("%d steps, the last at %v; want 96 at 3", f.Steps(), f.At(95, 0.975))
	}
}

package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/schemas"
)

// viewer shows forecasters the last two days only, asks for two steps more, and
// doubles what they forecast.
type viewer struct {
	name    string
	view    func(s *schemas.Series, steps int) (*schemas.Series, int, *framework.Status)
	restore func(f *schemas.Forecast, steps int) (*schemas.Forecast, *framework.Status)
}

func (p viewer) Name() string { return p.name }

func (p viewer) View(_ context.Context, _ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Series, int, *framework.Status) {
	if p.view != nil {
		return p.view(c.Series[r], steps)
	}
	s := c.Series[r].Slice(c.Series[r].Len()-192, c.Series[r].Len())
	return &s, steps + 2, nil
}

func (p viewer) Restore(_ context.Context, _ *framework.CycleState, c *framework.Candidate, f *schemas.Forecast, steps int) (*schemas.Forecast, *framework.Status) {
	if p.restore != nil {
		return p.restore(f, steps)
	}
	f.Values = f.Values[:steps*len(f.Levels)]
	for i := range f.Values {
		f.Values[i] *= 2
	}
	return f, nil
}

func TestAViewStandsBetweenASeriesAndItsForecasters(t *testing.T) {
	looks := forecaster{"Looks", func(_ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
		if s := c.Series[r]; s.Len() != 192 || c.MeasuredSeries(r).Len() != 480 {
			t.Errorf("the forecaster sees %d steps of %d, want 192 of 480", s.Len(), c.MeasuredSeries(r).Len())
		}
		f := schemas.NewForecast(c.Series[r], steps, schemas.DefaultLevels())
		for i := range f.Values {
			f.Values[i] = 3
		}
		return f, nil
	}}
	registry := runtime.Registry{"Looks": func([]byte) (framework.Plugin, error) { return looks, nil }}
	profile := runtime.Profile{Name: "test", Plugins: []string{"Looks"}}
	for _, tt := range []struct {
		name   string
		view   viewer
		value  float64
		reason schemas.Reason
		says   string
	}{
		{"a forecast through a view", viewer{name: "View"}, 6, "", ""},
		{"a view that breaks", viewer{name: "View", view: func(*schemas.Series, int) (*schemas.Series, int, *framework.Status) { panic("boom") }}, 0, schemas.PluginError, "boom"},
		{"a view of nothing", viewer{name: "View", view: func(*schemas.Series, int) (*schemas.Series, int, *framework.Status) { return nil, 96, nil }}, 0, schemas.PluginError, "the view of shop/web/web cpu must be"},
		{"a view of too few steps", viewer{name: "View", view: func(s *schemas.Series, n int) (*schemas.Series, int, *framework.Status) { return s, n - 1, nil }}, 0, schemas.PluginError, "for at least 96 steps"},
		{"what comes back is too long", viewer{name: "View", restore: func(f *schemas.Forecast, _ int) (*schemas.Forecast, *framework.Status) { return f, nil }}, 0, schemas.PluginError, "must have 96 steps"},
		{"nothing comes back", viewer{name: "View", restore: func(*schemas.Forecast, int) (*schemas.Forecast, *framework.Status) { return nil, nil }}, 0, schemas.PluginError, "must not be nil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fw, err := runtime.New(registry, profile, runtime.Options{Plugins: []framework.Plugin{tt.view}, ForecastOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			made, _, st := fw.RunForecastCycle(t.Context(), framework.NewCycleState(), candidate("web"))
			if st.Reason() != tt.reason || !strings.Contains(st.Message(), tt.says) {
				t.Errorf("status is %q, %q; want %q, %q", st.Reason(), st.Message(), tt.reason, tt.says)
			}
			if f := made[schemas.CPU]; tt.value > 0 && (f == nil || f.At(0, .5) != tt.value || f.Steps() != 96) {
				t.Errorf("forecast is %+v, want 96 steps of %g", f, tt.value)
			}
		})
	}
	_, err := runtime.New(registry, profile, runtime.Options{Plugins: []framework.Plugin{viewer{name: "A"}, viewer{name: "B"}}, ForecastOnly: true})
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "at most one plugin may show forecasters a view, but 2 do") {
		t.Errorf("error of two views is %v", err)
	}
}

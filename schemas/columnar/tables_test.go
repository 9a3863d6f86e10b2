package columnar_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

func TestADatasetComesBack(t *testing.T) {
	// Long enough that components lie across row groups.
	const n = columnar.GroupRows/2 - 1000
	in := histories(n)
	w, err := columnar.NewDatasetWriter(day, schemas.DefaultStep, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if err := w.Add(&in[i]); err != nil {
			t.Fatal(err)
		}
	}
	data, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	got, err := columnar.DecodeDataset("file", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("dataset (-written +read):\n%.2000s", diff)
	}
}

func TestADatasetHoldsItsGridAndItsOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func([]schemas.History)
		want   string
	}{
		{"all series have the window's length", func(h []schemas.History) { h[1].Series[schemas.CPU].Mean = h[1].Series[schemas.CPU].Mean[1:] }, "must have 10 buckets"},
		{"all series begin with the window", func(h []schemas.History) { h[0].Series[schemas.CPU].Start = day.Add(-time.Hour) }, "must have 10 buckets"},
		{"components ascend", func(h []schemas.History) { h[0], h[1] = h[1], h[0] }, "rows must ascend"},
		{"a component comes once", func(h []schemas.History) { h[1] = h[0] }, "rows must ascend"},
		{"names keep the rule", func(h []schemas.History) { h[2].Component.Service = "a b" }, "service must be letters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := histories(10)
			tt.change(in)
			w, err := columnar.NewDatasetWriter(day, schemas.DefaultStep, 10)
			if err != nil {
				t.Fatal(err)
			}
			for i := range in {
				if err = w.Add(&in[i]); err != nil {
					break
				}
			}
			if err == nil {
				_, err = w.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestForecastsComeBack(t *testing.T) {
	in := someForecasts()
	data, err := columnar.EncodeForecasts(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := columnar.DecodeForecasts("file", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("forecasts (-written +read):\n%s", diff)
	}
	slices.Reverse(in)
	reversed, err := columnar.EncodeForecasts(in)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(data, reversed) {
		t.Error("the order of forecasts must not change the bytes, but does")
	}
}

func TestForecastsThatMustNotBeStored(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func([]*schemas.Forecast) []*schemas.Forecast
		want   string
	}{
		{"none", func([]*schemas.Forecast) []*schemas.Forecast { return nil }, "at least one"},
		{"NaN", func(f []*schemas.Forecast) []*schemas.Forecast { f[0].Values[3] = math.NaN(); return f }, "has NaN"},
		{"crossing quantiles", func(f []*schemas.Forecast) []*schemas.Forecast { f[0].Values[0] = 9; return f }, "must not cross"},
		{"two of one resource", func(f []*schemas.Forecast) []*schemas.Forecast { return append(f, f[0]) }, "but has two"},
		{"mixed levels", func(f []*schemas.Forecast) []*schemas.Forecast {
			f[1].Levels = f[1].Levels[:10]
			f[1].Values = f[1].Values[:200]
			return f
		}, "levels"},
		{"a forecaster too few", func(f []*schemas.Forecast) []*schemas.Forecast { f[0].Forecasters = f[0].Forecasters[:2]; return f }, "each of its 3 bands"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := columnar.EncodeForecasts(tt.change(someForecasts()))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if code := schemas.CodeOf(err); code != schemas.CodeInvalidData {
				t.Errorf("code %q, want invalid_data", code)
			}
		})
	}
}

func TestDecisionsComeBack(t *testing.T) {
	in := someDecisions()
	data, err := columnar.EncodeDecisions([]schemas.Decision{in[1], in[0]})
	if err != nil {
		t.Fatal(err)
	}
	got, err := columnar.DecodeDecisions("file", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("decisions (-written +read):\n%s", diff)
	}
}

func TestLevelsNameTheirColumns(t *testing.T) {
	s := columnar.ForecastsSchema([]float64{.07, .5, .57, .975, .999})
	var names []string
	for _, c := range s.Columns[5:10] {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"cpu_p7", "cpu_p50", "cpu_p57", "cpu_p97_5", "cpu_p99_9"}, names); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
}

// Files are kept for good: a schema that changes without a new version makes
// them unreadable.
func TestFingerprintsDoNotChange(t *testing.T) {
	got := map[string]string{}
	for _, s := range []*columnar.Schema{columnar.SamplesSchema, columnar.DatasetSchema, columnar.DecisionsSchema, columnar.ForecastsSchema(schemas.DefaultLevels())} {
		got[s.String()] = s.Fingerprint()[:16]
	}
	want := map[string]string{
		"dataset/1":   "a20dae49eea23e97",
		"decisions/1": "e4fafbf1775df739",
		"forecasts/1": "b19ae90c4b990a65",
		"samples/1":   "21a990303a03258a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fingerprints (-want +got):\n%s", diff)
	}
}

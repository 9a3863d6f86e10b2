package forecasts_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// set is what a run makes for n components, in the order of their names.
func set(n int) forecasts.Set {
	s := forecasts.Set{Run: "infer-1", Now: noon.Add(time.Minute), DataUntil: noon}
	for i := range n {
		id := schemas.ComponentID{Service: "shop", Component: fmt.Sprintf("c%05d", i)}
		for _, r := range schemas.Resources() {
			s.Forecasts = append(s.Forecasts, &schemas.Forecast{
				Component: id, Resource: r, Origin: noon, Step: 15 * time.Minute, Levels: []float64{.5, .9},
				Values: []float64{1024, 2048},
			})
		}
		s.Decisions = append(s.Decisions, schemas.Decision{
			Component: id, Time: noon, Run: s.Run, Policy: schemas.DefaultPolicy(), MinReplicas: 2, MaxReplicas: 10,
			Reason: schemas.FloorRaised, Expires: noon.Add(time.Hour),
		})
	}
	return s
}

func TestSetsComeBackInOrderHoweverLarge(t *testing.T) {
	for _, tt := range []struct {
		components, files int
	}{{0, 0}, {1, 2}, {512, 2}, {513, 3}, {1100, 4}} {
		t.Run(fmt.Sprint(tt.components), func(t *testing.T) {
			store := artifact.New(membucket.New(nil), artifact.Options{})
			want := set(tt.components)
			shuffled := want
			shuffled.Forecasts = slices.Clone(want.Forecasts)
			slices.Reverse(shuffled.Forecasts)
			head, _, err := forecasts.Write(t.Context(), store, "v1", shuffled, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(head.Manifest.Files); got != tt.files {
				t.Errorf("the set has %d files, want %d", got, tt.files)
			}
			// Within a component resources come in the order of the columns.
			got, ok, err := forecasts.Latest(t.Context(), store)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("set (-want +got):\n%.2000s", diff)
			}

			scanned := want
			scanned.Forecasts, scanned.Decisions = nil, nil
			if err := forecasts.Scan(t.Context(), store, head, func(f *schemas.Forecast) error {
				scanned.Forecasts = append(scanned.Forecasts, f)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			rows := 0
			if err := forecasts.ScanDecisions(t.Context(), store, head, func(r columnar.DecisionRow) error {
				if d := want.Decisions[rows]; r.Component != d.Component || r.MinReplicas != d.MinReplicas || r.Reason != d.Reason || !r.Time.Equal(d.Time) {
					t.Errorf("row %d is %+v, want that of %v", rows, r, d.Component)
				}
				rows++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(scanned.Forecasts) != len(want.Forecasts) || rows != len(want.Decisions) {
				t.Errorf("scanned %d forecasts and %d decisions, want %d and %d", len(scanned.Forecasts), rows, len(want.Forecasts), len(want.Decisions))
			}

			file, ok, err := forecasts.File(t.Context(), store)
			if err != nil || ok != (tt.components > 0) {
				t.Fatal(ok, err)
			}
			if !ok {
				return
			}
			one, err := columnar.DecodeForecasts("file", file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Forecasts, one); diff != "" {
				t.Errorf("file (-want +got):\n%.2000s", diff)
			}
		})
	}
}

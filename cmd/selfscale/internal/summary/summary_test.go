package summary_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/summary"
	"github.com/self-scaling/self-scaling/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

func example() *summary.Summary {
	floor := int32(7)
	return &summary.Summary{Components: []summary.Component{
		{
			ID: schemas.ComponentID{Service: "shop", Component: "cart"}, History: 9 * 24 * time.Hour, RelMAE: 0.8125, Floor: &floor,
			Reactive: summary.Outcome{UnderProvisionedMinutes: 120, ReplicaHours: 1000.25}, Selfscale: summary.Outcome{UnderProvisionedMinutes: 12, ReplicaHours: 1100.5},
		},
		{
			ID: schemas.ComponentID{Service: "batch", Component: "report"}, History: 30 * time.Hour, RelMAE: math.NaN(), Note: "InsufficientData",
			Reactive: summary.Outcome{UnderProvisionedMinutes: 4, ReplicaHours: 50}, Selfscale: summary.Outcome{UnderProvisionedMinutes: 5, ReplicaHours: 50},
		},
	}}
}

func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		file  string
		s     *summary.Summary
		write func(s *summary.Summary, w *strings.Builder) error
	}{
		{"summary.json", example(), func(s *summary.Summary, w *strings.Builder) error { return s.WriteJSON(w) }},
		{"summary.txt", example(), func(s *summary.Summary, w *strings.Builder) error { return s.WriteText(w) }},
		{"empty.json", &summary.Summary{}, func(s *summary.Summary, w *strings.Builder) error { return s.WriteJSON(w) }},
		{"empty.txt", &summary.Summary{}, func(s *summary.Summary, w *strings.Builder) error { return s.WriteText(w) }},
	} {
		t.Run(tt.file, func(t *testing.T) {
			tt.s.Sort()
			var got strings.Builder
			if err := tt.write(tt.s, &got); err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", tt.file), []byte(got.String()), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s\n%s", tt.file, diff, got.String())
			}
		})
	}
}

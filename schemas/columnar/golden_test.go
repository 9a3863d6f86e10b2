package columnar_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// goldenSamples returns the rows of testdata/samples.parquet: what compat_test.go
// in the module compat expects.
func goldenSamples(t *testing.T) []byte {
	return encode(t,
		&schemas.Sample{
			Component: schemas.ComponentID{Namespace: "shop", Service: "web", Component: "api"}, Start: day,
			CPU: &schemas.Usage{Mean: 0.9, Max: 1.5, Count: 15}, Memory: &schemas.Usage{Mean: 1 << 30, Max: 2 << 30, Count: 14},
			Replicas: ptr[int32](3), CPURequest: ptr(0.25),
		},
		&schemas.Sample{
			Component: schemas.ComponentID{Service: "web", Component: "db"}, Start: day.Add(15 * time.Minute),
			CPU: &schemas.Usage{Mean: 0, Max: 0.0001, Count: 1},
		},
	)
}

// goldenGroups is large enough for two row groups, with columns that are null
// throughout the first or the second.
func goldenGroups(t *testing.T) []byte {
	s := columnar.NewSamples(time.Minute)
	for i := range columnar.GroupRows + 1000 {
		id := schemas.ComponentID{Service: "web", Component: fmt.Sprintf("c%02d", i/1000)}
		x := schemas.Sample{Component: id, Start: day.Add(time.Duration(i%1000) * time.Minute)}
		if i < columnar.GroupRows {
			x.CPU = &schemas.Usage{Mean: float64(i) / 1e4, Max: float64(i) / 5e3, Count: 1}
		} else {
			x.Memory = &schemas.Usage{Mean: float64(i) * 1024, Max: float64(i) * 2048, Count: 2}
		}
		if err := s.Add(&x); err != nil {
			t.Fatal(err)
		}
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func goldenForecasts(t *testing.T) []byte {
	data, err := columnar.EncodeForecasts([]*schemas.Forecast{{
		Component: schemas.ComponentID{Service: "web", Component: "api"}, Resource: schemas.CPU,
		Origin: day, Step: schemas.DefaultStep, Levels: []float64{.5, .975}, Values: []float64{1, 2, 1.5, 2.5}, Forecasters: []string{"Bank"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Files are kept for good. If this fails after a change of the format, the
// schema needs a new version; after a new version of a library, look at the
// difference and run the test with -update.
func TestFilesAreWrittenAsTheyWere(t *testing.T) {
	for name, make := range map[string]func(*testing.T) []byte{
		"samples": goldenSamples, "groups": goldenGroups, "forecasts": goldenForecasts,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".parquet")
			got := make(t)
			if *update {
				write(t, path, got)
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s must be written as its %d bytes in the tree, but is %d others", path, len(want), len(got))
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The record of a decision may gain members; what was written without them must
// still be read.
func TestOldDecisionsAreRead(t *testing.T) {
	const path = "testdata/decisions.parquet"
	if *update {
		data, err := columnar.EncodeDecisions(someDecisions())
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, data)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := columnar.DecodeDecisions(path, data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someDecisions(), got); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

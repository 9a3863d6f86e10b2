package longformat_test

import (
	"bytes"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/longformat"
	"github.com/self-scaling/self-scaling/schemas"
)

func read(t *testing.T, content string, step time.Duration) ([]longformat.Series, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.csv")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return longformat.Read(t.Context(), path, step)
}

func TestSeriesComeOnTheGrid(t *testing.T) {
	nan := math.NaN()
	for name, tt := range map[string]struct {
		content string
		step    time.Duration
		want    map[string][]float64
	}{
		"two series of unequal length, mixed": {
			"series,time,value\nb,2026-01-01T00:00:00Z,1\na,2026-01-01T01:00:00Z,5\nb,2026-01-01T01:00:00Z,2\nb,2026-01-01T02:00:00Z,3\n", time.Hour,
			map[string][]float64{"a": {5}, "b": {1, 2, 3}},
		},
		"values within a step are averaged": {
			"time,value,series\n2026-01-01 00:00:00,1,x\n2026-01-01 00:05:00,3,x\n2026-01-01 00:15:00,7,x\n", 15 * time.Minute,
			map[string][]float64{"x": {2, 7}},
		},
		"gaps and empty values are missing, not zero": {
			"series,time,value,note\nx,0,1,\nx,3600,,\nx,7200,NaN,\nx,14400,4,\n", time.Hour,
			map[string][]float64{"x": {1, nan, nan, nan, 4}},
		},
		"negative values and any name": {
			"series,time,value\nH1 (train),2026-01-01,-2.5\n", time.Hour,
			map[string][]float64{"H1 (train)": {-2.5}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			series, err := read(t, tt.content, tt.step)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]float64{}
			for _, s := range series {
				got[s.Name] = s.Mean
				if err := s.Component.Validate(); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesThatBreakARule(t *testing.T) {
	for name, tt := range map[string]struct{ content, want string }{
		"empty":                 {"", "must have a header and rows, but is empty"},
		"a header alone":        {"series,time,value\n", "must have at least one value, but has none"},
		"a missing column":      {"series,when,value\nx,0,1\n", "time is missing"},
		"an unreadable time":    {"series,time,value\nx,yesterday,1\n", `row 1: time must be a time such as 2026-01-31T06:00:00Z or seconds since 1970, but is "yesterday"`},
		"an unreadable value":   {"series,time,value\nx,0,1\nx,3600,much\n", `row 2: value must be a number, but is "much"`},
		"infinite":              {"series,time,value\nx,0,+Inf\n", "row 1: value must be a number of at most"},
		"time going back":       {"series,time,value\nx,7200,1\nx,3600,1\n", "row 2: time must not go back"},
		"a series without name": {"series,time,value\n,0,1\n", "row 1: series must not be empty"},
		"fields missing":        {"series,time,value\nx,0\n", "wrong number of fields"},
		"years apart":           {"series,time,value\nx,0,1\nx,7000000000,1\n", ""},
		"a year far off":        {"series,time,value\nx,5026-01-01T00:00:00Z,1\n", "row 1: time must be of the years 1970 to 2199, but is 5026-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, tt.content, time.Minute)
			if tt.want == "" {
				tt.want = "must be within"
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "data.csv: ") || schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("error %v (%s), want one of data.csv that says %q", err, schemas.CodeOf(err), tt.want)
			}
		})
	}
	if _, err := longformat.Read(t.Context(), filepath.Join(t.TempDir(), "absent.csv"), time.Hour); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want one of the configuration", err)
	}
}

func TestGzipIsReadAndATornOneRefused(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte("series,time,value\nx,0,1\nx,3600,2\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	series, err := read(t, b.String(), time.Hour)
	if err != nil || len(series) != 1 || series[0].Len() != 2 {
		t.Errorf("%d series, %v", len(series), err)
	}
	if _, err := read(t, b.String()[:b.Len()-6], time.Hour); schemas.CodeOf(err) != schemas.CodeInvalidData {
		t.Errorf("error %v of a torn file, want invalid data", err)
	}
}

package history_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/schemas"
)

// parquetFiles returns the files that testdata/generate.py wrote with other
// programs, by name.
func parquetFiles(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(path)] = data
	}
	if len(out) < 7 {
		t.Fatalf("there are %d Parquet files, want at least 7", len(out))
	}
	return out
}

func TestFilesOfOtherProgramsReadAsTheSameCSV(t *testing.T) {
	csv, err := os.ReadFile("testdata/usage.csv")
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, string(csv)).Histories()
	for name, data := range parquetFiles(t) {
		t.Run(name, func(t *testing.T) {
			got, err := history.Parse(t.Context(), name, data, history.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Histories(), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("histories (-CSV +Parquet):\n%s", diff)
			}
		})
	}
}

func TestADamagedParquetFileNeverPanicsOrHangs(t *testing.T) {
	for name, data := range parquetFiles(t) {
		t.Run(name, func(t *testing.T) {
			damaged := make([]byte, len(data))
			check := func(what string, at int, data []byte) (refused bool) {
				_, err := history.Parse(t.Context(), "f.parquet", data, history.Options{})
				if err != nil && (schemas.CodeOf(err) != schemas.CodeInvalidData || !strings.HasPrefix(err.Error(), "f.parquet: ")) {
					t.Fatalf("%s %d: %v (%s), want invalid_data naming the file", what, at, err, schemas.CodeOf(err))
				}
				return err != nil
			}
			for i := 0; i < len(data); i += 19 {
				copy(damaged, data)
				damaged[i] ^= 1 << (i % 8)
				check("flipped byte", i, damaged)
			}
			for n := 4; n < len(data); n += 61 {
				if !check("cut to", n, data[:n]) {
					t.Fatalf("cut to %d of %d bytes: was accepted", n, len(data))
				}
			}
		})
	}
}

func TestParquetFilesThatBreakARule(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"nan", "f.csv: row 2, column cpu: must be a finite number or null, but is NaN"},
		{"infinite", "f.csv: row 4, column memory: must be a finite number, but is +Inf"},
		{"negative", "f.csv: row 2, column replicas: must not be negative, but is -1"},
		{"text_number", "f.csv: column cpu must be a number, but is text"},
		{"null_time", "f.csv: row 1, column time: must be there, but is null"},
		{"seconds", "f.csv: row 1, column time: must be a whole minute, but is 2024-03-09T00:00:07Z"},
		{"null_name", "f.csv: row 2: component must not be empty"},
		{"nested", `f.csv: column "cpu.list.element" must be flat, but is nested`},
		{"duckdb_v2", "f.csv: column cpu: parquet: unsupported data encoding BYTE_STREAM_SPLIT"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			data, err := os.ReadFile("testdata/refused/" + tt.file + ".parquet")
			if err != nil {
				t.Fatal(err)
			}
			refuse(t, data, tt.want)
		})
	}
}

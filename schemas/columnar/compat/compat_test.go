// Package compat holds the Parquet files of package columnar against another
// implementation: a later major version of the Arrow library. It reads the files
// in ../testdata, which a test there writes again byte for byte, and is a module
// of its own because one binary cannot link both versions:
//
//	go -C schemas/columnar/compat test ./...
package compat

import (
	"fmt"
	"os"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
)

// read returns a file of ../testdata as an Arrow table.
func read(t *testing.T, name string) arrow.Table {
	t.Helper()
	f, err := os.Open("../testdata/" + name + ".parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tbl, err := pqarrow.ReadTable(t.Context(), f, parquet.NewReaderProperties(memory.DefaultAllocator), pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tbl.Release)
	return tbl
}

// records calls yield for each batch of rows.
func records(t *testing.T, tbl arrow.Table, yield func(arrow.RecordBatch)) {
	t.Helper()
	r := array.NewTableReader(tbl, 0)
	defer r.Release()
	for r.Next() {
		yield(r.RecordBatch())
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

// text returns the columns with their types, and the rows.
func text(t *testing.T, name string) (columns []string, rows [][]string) {
	t.Helper()
	tbl := read(t, name)
	for _, f := range tbl.Schema().Fields() {
		columns = append(columns, fmt.Sprintf("%s %s", f.Name, f.Type))
	}
	records(t, tbl, func(batch arrow.RecordBatch) {
		for i := range int(batch.NumRows()) {
			var row []string
			for c := range int(batch.NumCols()) {
				row = append(row, batch.Column(c).ValueStr(i))
			}
			rows = append(rows, row)
		}
	})
	return columns, rows
}

const null = array.NullValueStr

func TestSamplesReadTheSame(t *testing.T) {
	columns, rows := text(t, "samples")
	wantColumns := []string{
		"namespace utf8", "service utf8", "component utf8", "time timestamp[ms, tz=UTC]",
		"cpu_mean decimal(18, 4)", "cpu_max decimal(18, 4)", "cpu_readings int64",
		"memory_mean_kib int64", "memory_max_kib int64", "memory_readings int64",
		"replicas int64", "cpu_request decimal(18, 4)", "memory_request_kib int64",
	}
	if diff := cmp.Diff(wantColumns, columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	wantRows := [][]string{
		{null, "web", "db", "2024-03-09T00:15:00Z", "0", "0.0001", "1", null, null, null, null, null, null},
		{"shop", "web", "api", "2024-03-09T00:00:00Z", "0.9", "1.5", "15", "1048576", "2097152", "14", "3", "0.25", null},
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestRowGroupsReadTheSame(t *testing.T) {
	const group, total = 1 << 16, 1<<16 + 1000
	row := 0
	records(t, read(t, "groups"), func(batch arrow.RecordBatch) {
		cpu, cpuMax := batch.Column(4).(*array.Decimal128), batch.Column(5).(*array.Decimal128)
		mem, memMax := batch.Column(7).(*array.Int64), batch.Column(8).(*array.Int64)
		for i := range int(batch.NumRows()) {
			if cpu.IsValid(i) != (row < group) || mem.IsValid(i) != (row >= group) {
				t.Fatalf("row %d: cpu known %t, memory known %t", row, cpu.IsValid(i), mem.IsValid(i))
			}
			if row < group && (cpu.Value(i).LowBits() != uint64(row) || cpuMax.Value(i).LowBits() != uint64(2*row)) {
				t.Fatalf("row %d: cpu is %s and %s", row, cpu.ValueStr(i), cpuMax.ValueStr(i))
			}
			if row >= group && (mem.Value(i) != int64(row) || memMax.Value(i) != int64(2*row)) {
				t.Fatalf("row %d: memory is %s and %s", row, mem.ValueStr(i), memMax.ValueStr(i))
			}
			row++
		}
	})
	if row != total {
		t.Errorf("there are %d rows, want %d", row, total)
	}
}

func TestForecastsReadTheSame(t *testing.T) {
	columns, rows := text(t, "forecasts")
	if diff := cmp.Diff([]string{
		"namespace utf8", "service utf8", "component utf8", "time timestamp[ms, tz=UTC]",
		"cpu_forecaster utf8", "cpu_p50 decimal(18, 4)", "cpu_p97_5 decimal(18, 4)", "cpu_peak_p50 decimal(18, 4)", "cpu_peak_p97_5 decimal(18, 4)",
		"memory_forecaster utf8", "memory_p50_kib int64", "memory_p97_5_kib int64", "memory_peak_p50_kib int64", "memory_peak_p97_5_kib int64",
	}, columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{
		{null, "web", "api", "2024-03-09T00:00:00Z", "Bank", "1", "2", null, null, null, null, null, null, null},
		{null, "web", "api", "2024-03-09T00:15:00Z", "Bank", "1.5", "2.5", null, null, null, null, null, null, null},
	}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestDecisionsReadTheSame(t *testing.T) {
	_, rows := text(t, "decisions")
	var got [][]string
	for _, row := range rows {
		got = append(got, row[:12])
	}
	if diff := cmp.Diff([][]string{
		{null, "web", "api", "2024-03-09T00:07:00Z", "r-1", "Shadow", "2", "5", "5", "FloorRaised", "2024-03-09T01:07:00Z", "true"},
		{null, "web", "db", "2024-03-09T00:07:00Z", null, "Shadow", null, "1", "10", "InsufficientData", "2024-03-09T00:07:00Z", "false"},
	}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// The usage that the scripts run on: six days in half hours.
var (
	usageFrom = time.Date(2024, 3, 4, 0, 0, 0, 0, time.UTC)
	usageTo   = usageFrom.Add(6 * 24 * time.Hour)
)

const usageStep = 30 * time.Minute

// usageRow is a row of a history. NaN is not known.
type usageRow struct {
	time                      time.Time
	component                 string
	cpu, memory               float64
	cpuRequest, memoryRequest float64
}

// usage returns the rows of twelve components, in the order of time: three as
// one hopes for, and one of each kind that is thin.
func usage() []usageRow {
	random := rand.New(rand.NewPCG(3, 3))
	unknown := math.NaN()
	var rows []usageRow
	for at := usageFrom; at.Before(usageTo); at = at.Add(usageStep) {
		hour := at.Sub(usageFrom).Hours()
		left := usageTo.Sub(at)
		daily := 2 + 1.5*math.Sin(2*math.Pi*(hour-9)/24) + .1*random.Float64()
		add := func(component string, cpu, memory, cpuRequest, memoryRequest float64) {
			rows = append(rows, usageRow{at, component, cpu, memory, cpuRequest, memoryRequest})
		}
		add("daily", daily, 1e9+1e8*daily, .5, 1<<30)
		add("busy", 4*daily, 2e9, 1, 1<<30)
		add("memory-bound", .2, 4e9+1e9*daily, .5, 1<<30)
		add("constant", 1.75, 5e8, .5, 1<<30)
		add("zero", 0, 0, .5, 1<<30)
		add("no-requests", daily, 1e9, unknown, unknown)
		add("cpu-only", daily, unknown, .5, unknown)
		if int(hour*2)%2 == 0 {
			add("half-missing", daily, 1e9, .5, 1<<30)
		}
		if left > 24*time.Hour {
			add("gone", daily, 1e9, .5, 1<<30)
		}
		if left <= 6*time.Hour {
			add("new", daily, 1e9, .5, 1<<30)
		}
		if left == usageStep {
			add("one-point", 1, 1e9, .5, 1<<30)
		}
		add("never-measured", unknown, unknown, .5, 1<<30)
	}
	return rows
}

// usageFile returns the rows as the file that the name's ending says.
func usageFile(name string, rows []usageRow) ([]byte, error) {
	switch filepath.Ext(name) {
	case ".csv":
		return usageCSV(rows), nil
	case ".parquet":
		return usageParquet(rows)
	}
	return nil, fmt.Errorf("%s must end in .csv or .parquet", name)
}

func usageCSV(rows []usageRow) []byte {
	var b bytes.Buffer
	b.WriteString("time,service,component,cpu,memory,cpu_request,memory_request\n")
	number := func(v float64) string {
		if v != v {
			return ""
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "%s,shop,%s,%s,%s,%s,%s\n", r.time.Format(time.RFC3339), r.component, number(r.cpu), number(r.memory), number(r.cpuRequest), number(r.memoryRequest))
	}
	return b.Bytes()
}

func usageParquet(rows []usageRow) ([]byte, error) {
	number := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64, Nullable: true}
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_ms},
		{Name: "service", Type: arrow.BinaryTypes.String},
		{Name: "component", Type: arrow.BinaryTypes.String},
		number("cpu"), number("memory"), number("cpu_request"), number("memory_request"),
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(r.time.UnixMilli()))
		b.Field(1).(*array.StringBuilder).Append("shop")
		b.Field(2).(*array.StringBuilder).Append(r.component)
		for i, v := range []float64{r.cpu, r.memory, r.cpuRequest, r.memoryRequest} {
			column := b.Field(3 + i).(*array.Float64Builder)
			if v != v {
				column.AppendNull()
			} else {
				column.Append(v)
			}
		}
	}
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	if err := w.Write(record); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

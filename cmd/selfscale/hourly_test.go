package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeHours writes hourly series, whose lengths need not be equal. Most are on a trend,
// with a rhythm of the day, and with a lower one on two days of the week; of those with
// gaps a tenth of the hours is empty, and another tenth is not there at all.
func writeHours(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: hours file kind-length ...")
	}
	random := rand.New(rand.NewPCG(6, 6))
	var out strings.Builder
	out.WriteString("series,time,value\n")
	for k, series := range args[1:] {
		kind, length, _ := strings.Cut(series, "-")
		n, err := strconv.Atoi(length)
		ts.Check(err)
		if !slices.Contains([]string{"daily", "gaps", "constant"}, kind) {
			ts.Fatalf("series must be daily, gaps or constant, but is %s", kind)
		}
		level := math.Pow(10, float64(k+1))
		for i := range n {
			v := 1 + .2*float64(i)/float64(n) + .3*math.Sin(2*math.Pi*float64(i)/24) + .02*random.NormFloat64()
			if i/24%7 >= 5 {
				v *= .7
			}
			value := strconv.FormatFloat(level*v, 'f', 4, 64)
			switch missing := random.Float64(); {
			case kind == "constant":
				value = "7"
			case kind == "gaps" && missing < .1:
				value = ""
			case kind == "gaps" && missing < .2:
				continue
			}
			fmt.Fprintf(&out, "H%d,%s,%s\n", k+1, usageFrom.Add(time.Duration(i)*time.Hour).Format(time.RFC3339), value)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out.String()), 0o644))
}

// The rows and columns of a backtest, in its three forms.
var (
	rowNames    = []string{"naive", "naive2", "seasonal-naive", "seasonal-naive-week", "holt-winters", "day-median", "original-recipe", "bank", "network", "final"}
	columnNames = []string{"model", "MASE", "sMAPE", "OWA", "relMAE", "worse %", "worst", "sQL", "WQL", "P80", "P90", "P95", "train ms", "predict ms"}
	keyNames    = []string{"mase", "smape", "owa", "relMAE", "worsePercent", "worst", "sqlRel", "wql", "80", "90", "95"} // of the columns after the first
)

// figures reads one backtest in its three forms. Each must have all rows, columns and
// bands, and the same figures but for the time that they took. A figure is a finite
// number, or said to be none: null, or a dash.
func figures(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: figures json csv table series windows")
	}
	var report struct {
		Models  []map[string]any `json:"models"`
		Series  int              `json:"series"`
		Windows int              `json:"windows"`
		Peak    int64            `json:"peakBytes"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if got := fmt.Sprint(report.Series, report.Windows); got != args[3]+" "+args[4] || report.Peak <= 0 {
		ts.Fatalf("the report is of %s series and windows and %d bytes, want %s %s and some", got, report.Peak, args[3], args[4])
	}
	lines, err := csv.NewReader(strings.NewReader(ts.ReadFile(args[1]))).ReadAll()
	ts.Check(err)
	if want := append([]string{"steps"}, columnNames...); !slices.Equal(lines[0], want) {
		ts.Fatalf("the columns are %q, want %q", lines[0], want)
	}
	printed := strings.Split(ts.ReadFile(args[2]), "\n")
	if got, want := strings.Fields(printed[0]), strings.Fields(strings.Join(columnNames, " ")); !slices.Equal(got, want) {
		ts.Fatalf("the table's columns are %q, want %q", got, want)
	}
	bands := []string{"all", "1-4", "5-16", "17-48"}
	if want := 1 + len(bands)*len(rowNames); len(lines) != want || len(report.Models) != len(rowNames) {
		ts.Fatalf("there are %d lines and %d models, want %d and %d", len(lines), len(report.Models), want, len(rowNames))
	}
	for b, band := range bands {
		for k, name := range rowNames {
			line := lines[1+b*len(rowNames)+k]
			if !slices.Equal(line[:2], []string{band, name}) || report.Models[k]["name"] != name {
				ts.Fatalf("line %q and model %v, want %s of steps %s", line, report.Models[k]["name"], name, band)
			}
			of := report.Models[k]
			if band != "all" {
				of = of["bands"].(map[string]any)[band].(map[string]any)
			} else if got := strings.Fields(printed[1+k]); !slices.Equal(got[:12], line[1:13]) {
				ts.Fatalf("the table has %q, and the CSV file %q", got[:12], line[1:13])
			}
			for c, key := range keyNames {
				in := of
				if c >= len(keyNames)-3 {
					in = of["coverage"].(map[string]any)
				}
				value, ok := in[key]
				if !ok {
					ts.Fatalf("%s of steps %s has no %s", name, band, key)
				}
				agree(ts, name+" of steps "+band+": "+key, value, line[2+c])
			}
			for _, cell := range line[13:] { // milliseconds
				if cell != "-" {
					v, err := strconv.ParseFloat(cell, 64)
					ts.Check(err)
					if !(v >= 0) {
						ts.Fatalf("%s took %s ms", name, cell)
					}
				}
			}
		}
	}
}

// agree compares a figure in JSON with the same one as people read it, rounded.
func agree(ts *testscript.TestScript, what string, value any, cell string) {
	if value == nil || cell == "-" {
		if value != nil || cell != "-" {
			ts.Fatalf("%s is %v and %s, want both to be none", what, value, cell)
		}
		return
	}
	_, fraction, _ := strings.Cut(cell, ".")
	if spelled := strconv.FormatFloat(value.(float64), 'f', len(fraction), 64); spelled != cell {
		ts.Fatalf("%s is %v and %s, want the same", what, value, cell)
	}
}

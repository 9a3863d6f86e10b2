package traces_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/schemas"
)

// The checksums are those of the published files, so that this holds the packed
// series to them bit for bit.
func TestOriginalsAreThePublishedFiles(t *testing.T) {
	sums, err := os.ReadFile("SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(sums))
	originals, err := traces.Originals()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range originals {
		hash := sha256.New()
		if err := originals[i].WriteCSV(hash); err != nil {
			t.Fatal(err)
		}
		got = append(got, hex.EncodeToString(hash.Sum(nil)), originals[i].Name+".csv")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("checksums of the series as CSV (-published +packed):\n%s", diff)
	}
}

func TestLoadGivesEveryMinuteOfEverySeries(t *testing.T) {
	loaded, err := traces.Load()
	if err != nil {
		t.Fatal(err)
	}
	type shape struct {
		Start   string
		Minutes int
	}
	got := map[string]shape{}
	for i := range loaded {
		tr := &loaded[i]
		got[tr.Name] = shape{tr.Start.Format(time.RFC3339), tr.Len()}
		if !tr.Start.Equal(tr.Start.Truncate(traces.Step)) {
			t.Errorf("%s starts at %s, within a minute", tr.Name, tr.Start)
		}
		for m, v := range tr.Values {
			if math.IsNaN(v) || v <= 0 {
				t.Fatalf("%s: minute %d is %v, want a positive number", tr.Name, m, v)
			}
		}
	}
	from := func(day int) shape {
		return shape{time.Date(2021, 10, day, 0, 0, 0, 0, time.UTC).Format(time.RFC3339), 16 * 24 * 60}
	}
	want := map[string]shape{
		"input0": {"2021-08-11T00:00:00Z", 8 * 24 * 60},
		"input1": from(6), "input2": from(6), "input3": from(6),
		"input4": {"2021-10-07T00:00:00Z", 15 * 24 * 60},
		"input5": from(7), "input6": from(7), "input7": from(7),
		"input8": from(5), "input9": from(8), "input10": from(8), "input11": from(8),
		"input12": from(8), "input13": from(8), "input14": from(8),
		// Published from 18:00:15, so that the first whole minute is the next one.
		"input15": {"2022-06-15T18:01:00Z", 22407},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestInput15IsTheMeanOfItsFourValuesAMinute(t *testing.T) {
	originals, err := traces.Originals()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := traces.Load()
	if err != nil {
		t.Fatal(err)
	}
	o, tr := originals[15], loaded[15]
	for m := range tr.Values {
		sum := 0.0
		for i := range o.Micros {
			// Only the few values around the minute can lie in it.
			i += 4 * m
			if i >= len(o.Micros) || i > 4*m+8 {
				break
			}
			at := o.Start.Add(time.Duration(i) * o.Step)
			if at.Truncate(time.Minute).Equal(tr.Start.Add(time.Duration(m) * time.Minute)) {
				sum += float64(o.Micros[i]) / 1e6 / 4
			}
		}
		if math.Abs(sum-tr.Values[m]) > 1e-6 {
			t.Fatalf("minute %d is %v, want %v", m, tr.Values[m], sum)
		}
	}
}

func TestAtAnswersOnlyWithinTheSeries(t *testing.T) {
	start := time.Date(2021, 10, 6, 0, 0, 0, 0, time.UTC)
	tr := traces.Trace{Start: start, Values: []float64{1, 2}}
	for _, tt := range []struct {
		name   string
		at     time.Time
		want   float64
		wantOK bool
	}{
		{"the instant before the first minute is unknown", start.Add(-1), 0, false},
		{"the first instant belongs to the first minute", start, 1, true},
		{"the last instant of a minute still belongs to it", start.Add(time.Minute - 1), 1, true},
		{"the next minute begins on its first instant", start.Add(time.Minute), 2, true},
		{"the end is unknown", tr.End(), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := tr.At(tt.at); got != tt.want || ok != tt.wantOK {
				t.Errorf("At(%s) = %v, %v, want %v, %v", tt.at, got, ok, tt.want, tt.wantOK)
			}
		})
	}
}

func TestParseCSVRefusesWhatItCouldNotWriteAgain(t *testing.T) {
	for _, tt := range []struct {
		name, csv, want string
	}{
		{"another header", "time,value\n0,1.000000\n60,1.000000\n", `line 1: header must be ts,value, but is "time,value"`},
		{"nothing at all", "", `line 1: header must be ts,value, but is ""`},
		{"a single value", "ts,value\n0,1.000000\n", "must have at least 2 values, but has 1"},
		{"a gap", "ts,value\n0,1.000000\n60,1.000000\n180,1.000000\n", `line 4: ts must be on the grid of the first two, but is "180"`},
		{"a time that is no number", "ts,value\nnow,1.000000\n60,1.000000\n", `line 2: ts must be whole seconds, but is "now"`},
		{"five decimals", "ts,value\n0,1.00000\n60,1.000000\n", `line 2: value must be a number with six decimals, but is "1.00000"`},
		{"a value that is no number", "ts,value\n0,NaN.000000\n60,1.000000\n", `line 2: value must be a number with six decimals, but is "NaN.000000"`},
		{"a sign that would be lost", "ts,value\n0,+1.000000\n60,1.000000\n", "cannot be written again byte for byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := traces.ParseCSV("input", []byte(tt.csv))
			if err == nil || !strings.Contains(err.Error(), tt.want) || schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("ParseCSV = %v (%s), want %q (%s)", err, schemas.CodeOf(err), tt.want, schemas.CodeInvalidData)
			}
		})
	}
}

func TestDecodeRefusesEveryTruncation(t *testing.T) {
	var packed bytes.Buffer
	err := traces.Encode(&packed, []traces.Original{
		{Name: "a", Start: time.Unix(60, 0).UTC(), Step: time.Minute, Micros: []int64{10, 30, 20}, FinalNewline: true},
		{Name: "b", Start: time.Unix(0, 0).UTC(), Step: time.Second, Micros: []int64{-7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range packed.Len() {
		if _, err := traces.Decode(bytes.NewReader(packed.Bytes()[:n])); schemas.CodeOf(err) != schemas.CodeCorrupt {
			t.Errorf("Decode of the first %d of %d bytes = %v, want %s", n, packed.Len(), err, schemas.CodeCorrupt)
		}
	}
	if _, err := traces.Decode(bytes.NewReader(append(packed.Bytes(), 0))); schemas.CodeOf(err) != schemas.CodeCorrupt {
		t.Errorf("Decode with a byte too many = %v, want %s", err, schemas.CodeCorrupt)
	}
}

func TestEncodeLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) traces.Original {
			return traces.Original{
				Name:         rapid.StringMatching(`[a-z0-9]{0,20}`).Draw(t, "name"),
				Start:        time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "start"), 0).UTC(),
				Step:         time.Duration(rapid.IntRange(1, 3600).Draw(t, "step")) * time.Second,
				Micros:       rapid.SliceOf(rapid.Int64Range(-1e15, 1e15)).Draw(t, "micros"),
				FinalNewline: rapid.Bool().Draw(t, "newline"),
			}
		}), 1, 4).Draw(t, "series")
		var packed bytes.Buffer
		if err := traces.Encode(&packed, want); err != nil {
			t.Fatal(err)
		}
		got, err := traces.Decode(&packed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Decode(Encode(series)) (-want +got):\n%s", diff)
		}
	})
}

func FuzzDecode(f *testing.F) {
	var packed bytes.Buffer
	if err := traces.Encode(&packed, []traces.Original{{Name: "a", Step: time.Minute, Micros: []int64{10, 30, 20}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := traces.Decode(bytes.NewReader(data)); err != nil && schemas.CodeOf(err) != schemas.CodeCorrupt {
			t.Errorf("Decode = %v with code %s, want %s", err, schemas.CodeOf(err), schemas.CodeCorrupt)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	values := 0
	for b.Loop() {
		loaded, err := traces.Load()
		if err != nil {
			b.Fatal(err)
		}
		values = 0
		for i := range loaded {
			values += loaded[i].Len()
		}
	}
	b.ReportMetric(float64(values), "values/op")
}

package columnar_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// files returns one small file of each codec, with what reads it.
func files(t testing.TB) map[string]struct {
	data   []byte
	decode func([]byte) error
} {
	t.Helper()
	type file = struct {
		data   []byte
		decode func([]byte) error
	}
	out := map[string]file{}
	var samples []*schemas.Sample
	for i := range 40 {
		x := sample("api", i, &schemas.Usage{Mean: float64(i) / 7, Max: float64(i), Count: 15}, nil)
		if i%3 == 0 {
			x.Memory = &schemas.Usage{Mean: 1e9 + float64(i*i)*4096, Max: 2e9, Count: 14}
			x.Replicas, x.CPURequest = ptr(int32(i)), ptr(0.25)
		}
		samples = append(samples, x, sample("db", i, &schemas.Usage{Mean: 1, Max: 1, Count: 1}, nil))
	}
	out["samples"] = file{encode(t, samples...), func(b []byte) error { _, err := columnar.DecodeSamples("file", b); return err }}

	w, err := columnar.NewDatasetWriter(day, schemas.DefaultStep, 30)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range histories(30) {
		if err := w.Add(&h); err != nil {
			t.Fatal(err)
		}
	}
	dataset, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out["dataset"] = file{dataset, func(b []byte) error { _, err := columnar.DecodeDataset("file", b); return err }}

	forecasts, err := columnar.EncodeForecasts(someForecasts())
	if err != nil {
		t.Fatal(err)
	}
	out["forecasts"] = file{forecasts, func(b []byte) error { _, err := columnar.DecodeForecasts("file", b); return err }}

	decisions, err := columnar.EncodeDecisions(someDecisions())
	if err != nil {
		t.Fatal(err)
	}
	out["decisions"] = file{decisions, func(b []byte) error { _, err := columnar.DecodeDecisions("file", b); return err }}
	return out
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for name, f := range files(t) {
		t.Run(name, func(t *testing.T) {
			data := make([]byte, len(f.data))
			for i := range f.data {
				for bit := range 8 {
					copy(data, f.data)
					data[i] ^= 1 << bit
					if code := schemas.CodeOf(f.decode(data)); code != schemas.CodeCorrupt {
						t.Fatalf("byte %d of %d, bit %d flipped: code %q, want corrupt", i, len(data), bit, code)
					}
				}
			}
		})
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	for name, f := range files(t) {
		t.Run(name, func(t *testing.T) {
			for n := range f.data {
				err := f.decode(f.data[:n])
				if schemas.CodeOf(err) != schemas.CodeCorrupt || !strings.HasPrefix(err.Error(), "file: ") {
					t.Fatalf("cut to %d of %d bytes: %v, want a corrupt file", n, len(f.data), err)
				}
			}
		})
	}
}

// A file whose checksum fits and whose bytes do not, as only a faulty or hostile
// writer makes it, may be refused or not; it must not panic, hang or eat memory.
func TestAForgedFileDoesNoHarm(t *testing.T) {
	for name, f := range files(t) {
		t.Run(name, func(t *testing.T) {
			data := make([]byte, len(f.data))
			forged, refused := 0, 0
			// Each bit position in turn; all bytes and bits take minutes, because
			// some flips make the library reserve gigabytes.
			for i := 0; i < len(f.data); i += 23 {
				copy(data, f.data)
				data[i] ^= 1 << (i % 8)
				columnar.Reseal(data)
				forged++
				if err := f.decode(data); err != nil {
					refused++
					if code := schemas.CodeOf(err); code != schemas.CodeCorrupt && code != schemas.CodeInvalidData {
						t.Fatalf("byte %d: %v (%s), want corrupt or invalid_data", i, err, code)
					}
				}
			}
			// Some flips are harmless: in statistics, which nobody reads, or where
			// one valid name becomes another.
			if refused == 0 {
				t.Errorf("none of %d forged files was refused", forged)
			}
		})
	}
}

func TestAFileOfAnotherTableIsRefused(t *testing.T) {
	all := files(t)
	for name, f := range all {
		for other, g := range all {
			if err := f.decode(g.data); (err == nil) != (name == other) || err != nil && schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("%s read as %s: %v", other, name, err)
			}
		}
	}
}

func TestWhatBreaksARuleIsNotWritten(t *testing.T) {
	schema := &columnar.Schema{Name: "t", Version: 1, Key: 1, Columns: []columnar.Column{
		{Name: "time", Kind: columnar.Instant},
		{Name: "cpu", Kind: columnar.Cores, Optional: true},
		{Name: "error", Kind: columnar.Real},
	}}
	for _, tt := range []struct {
		name  string
		times []int64
		cpu   []int64
		real  []float64
		want  string
	}{
		{"times ascend", []int64{5, 4}, []int64{1, 1}, []float64{1, 1}, "row 1: rows must ascend by time"},
		{"times do not repeat", []int64{5, 5}, []int64{1, 1}, []float64{1, 1}, "row 1: rows must ascend by time"},
		{"times are not before 1970", []int64{-1, 5}, []int64{1, 1}, []float64{1, 1}, "column time, row 0: must be from 0"},
		{"cores are not negative", []int64{4, 5}, []int64{1, -2}, []float64{1, 1}, "column cpu, row 1: must be from 0 to 10000000000, but is -2"},
		{"cores are not absurd", []int64{4, 5}, []int64{1, 1e11}, []float64{1, 1}, "column cpu, row 1: must be from 0 to 10000000000, but is 100000000000"},
		{"reals are finite", []int64{4, 5}, []int64{1, 1}, []float64{1, math.Inf(1)}, "column error, row 1: must be a finite number, but is +Inf"},
		{"a real that must be known is no NaN", []int64{4, 5}, []int64{1, 1}, []float64{math.NaN(), 1}, "column error, row 0: must be a finite number, but is NaN"},
		{"columns are equally long", []int64{4, 5}, []int64{1}, []float64{1, 1}, "column cpu must have 2 rows, but has 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := columnar.NewWriter(schema)
			if err != nil {
				t.Fatal(err)
			}
			err = w.Append(columnar.Frame{{Ints: tt.times}, {Ints: tt.cpu}, {Reals: tt.real}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, closing := w.Close(nil); !errors.Is(closing, err) {
				t.Errorf("closing a lost file: %v, want %v", closing, err)
			}
		})
	}
	t.Run("times ascend from one group to the next", func(t *testing.T) {
		w, err := columnar.NewWriter(schema)
		if err != nil {
			t.Fatal(err)
		}
		one := func(ms int64) columnar.Frame {
			return columnar.Frame{{Ints: []int64{ms}}, {Ints: []int64{1}}, {Reals: []float64{1}}}
		}
		if err := w.Append(one(7)); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(one(7)); err == nil {
			t.Error("a second row at the same time was accepted")
		}
	})
}

func FuzzDecode(f *testing.F) {
	all := files(f)
	for _, file := range all {
		f.Add(file.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range all {
			if err := file.decode(data); err != nil && !strings.HasPrefix(err.Error(), "file: ") {
				t.Errorf("error %q must name the file", err)
			}
		}
	})
}

// histories returns components over n buckets: one fully known, one with gaps
// and one of which only CPU means are known.
func histories(n int) []schemas.History {
	var out []schemas.History
	for i, name := range []string{"full", "gaps", "thin"} {
		id := schemas.ComponentID{Namespace: "shop", Service: "web", Component: name}
		h := schemas.History{Component: id, Series: map[schemas.Resource]*schemas.Series{}, Requests: schemas.Requests{}}
		for _, r := range schemas.Resources() {
			if name == "thin" && r == schemas.Memory {
				continue
			}
			s := &schemas.Series{Component: id, Resource: r, Start: day, Step: schemas.DefaultStep}
			for k := range n {
				v := columnar.Quantity(r, int64(1000*(i+1)+k*k))
				if name == "gaps" && k%4 == 1 {
					v = math.NaN()
				}
				s.Mean = append(s.Mean, v)
				if name != "thin" {
					s.Max = append(s.Max, 2*v)
				}
			}
			h.Series[r] = s
			if name == "full" {
				h.Requests[r] = columnar.Quantity(r, 2500)
			}
		}
		if name != "gaps" {
			h.Replicas = ptr(int32(i + 1))
		}
		out = append(out, h)
	}
	return out
}

func someForecasts() []*schemas.Forecast {
	var out []*schemas.Forecast
	for _, name := range []string{"api", "db"} {
		for _, r := range schemas.Resources() {
			if name == "db" && r == schemas.CPU {
				continue
			}
			s := &schemas.Series{Component: schemas.ComponentID{Service: "web", Component: name}, Resource: r, Start: day, Step: schemas.DefaultStep, Mean: make([]float64, 5)}
			f := schemas.NewForecast(s, 20, schemas.DefaultLevels())
			for i := range f.Values {
				f.Values[i] = columnar.Quantity(r, int64(1000+10*i))
			}
			if r == schemas.CPU {
				f.Forecasters = []string{"Bank", "Bank", "Network"}
			}
			out = append(out, f)
		}
	}
	return out
}

func someDecisions() []schemas.Decision {
	now := day.Add(7 * time.Minute)
	policy := schemas.Policy{Mode: schemas.Shadow, MinReplicas: 1, MaxReplicas: 10, CPUUtilization: .7, Quantile: .8, LeadTime: 2 * time.Minute}
	return []schemas.Decision{
		{
			Component: schemas.ComponentID{Service: "web", Component: "api"}, Time: now, Run: "r-1", Policy: policy,
			From: now, To: now.Add(17 * time.Minute),
			Demands:          []schemas.Demand{{Resource: schemas.CPU, Usage: 0.9, Bucket: day, Request: 0.25, Utilization: 0.7, Replicas: 6}},
			Clamps:           []schemas.Clamp{{Name: "max", Before: 6, After: 5, Message: "at most 5"}},
			PreviousReplicas: ptr[int32](2), PreviousSince: ptr(day),
			MinReplicas: 5, MaxReplicas: 5, Reason: schemas.FloorRaised, Message: "raised", Expires: now.Add(time.Hour), Applied: true,
		},
		{
			Component: schemas.ComponentID{Service: "web", Component: "db"}, Time: now, Policy: policy,
			MinReplicas: 1, MaxReplicas: 10, Reason: schemas.InsufficientData, Message: "too short", Expires: now,
		},
	}
}

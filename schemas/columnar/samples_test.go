package columnar_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

var day = time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)

// ptr returns a pointer to a value.
func ptr[T any](v T) *T { return &v }

// sample makes a sample of bucket i.
func sample(component string, i int, cpu, memory *schemas.Usage) *schemas.Sample {
	return &schemas.Sample{
		Component: schemas.ComponentID{Namespace: "shop", Service: "web", Component: component},
		Start:     day.Add(time.Duration(i) * schemas.DefaultStep),
		CPU:       cpu, Memory: memory,
	}
}

func encode(t testing.TB, samples ...*schemas.Sample) []byte {
	t.Helper()
	s := columnar.NewSamples(schemas.DefaultStep)
	for _, x := range samples {
		if err := s.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSamplesComeBackAsTheyWere(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   schemas.Sample
		want schemas.Sample // of the same component and start; zero means like in
	}{
		{name: "0.9 cores stay 0.9 cores",
			in: schemas.Sample{CPU: &schemas.Usage{Mean: 0.9, Max: 1.1, Count: 15}}},
		{name: "a tenth of a millicore is the smallest step",
			in:   schemas.Sample{CPU: &schemas.Usage{Mean: 0.00014, Max: 0.00016, Count: 1}},
			want: schemas.Sample{CPU: &schemas.Usage{Mean: 0.0001, Max: 0.0002, Count: 1}}},
		{name: "memory is kept to the KiB",
			in:   schemas.Sample{Memory: &schemas.Usage{Mean: 1<<30 + 511, Max: 1<<30 + 513, Count: 2}},
			want: schemas.Sample{Memory: &schemas.Usage{Mean: 1 << 30, Max: 1<<30 + 1024, Count: 2}}},
		{name: "zero is zero and not unknown",
			in: schemas.Sample{CPU: &schemas.Usage{Count: 1}, Replicas: ptr[int32](0), CPURequest: ptr(0.0), MemoryRequest: ptr(0.0)}},
		{name: "replicas alone are worth a row",
			in: schemas.Sample{Replicas: ptr[int32](3)}},
		{name: "the limits fit",
			in: schemas.Sample{
				CPU:      &schemas.Usage{Mean: schemas.MaxCPU, Max: schemas.MaxCPU, Count: math.MaxInt32},
				Memory:   &schemas.Usage{Mean: schemas.MaxMemory, Max: schemas.MaxMemory, Count: 1},
				Replicas: ptr[int32](schemas.MaxReplicas), CPURequest: ptr(float64(schemas.MaxCPU)), MemoryRequest: ptr(float64(schemas.MaxMemory)),
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if cmp.Equal(tt.want, schemas.Sample{}) {
				tt.want = tt.in
			}
			tt.in.Component = schemas.ComponentID{Service: "web", Component: "api"}
			tt.in.Start = day
			tt.want.Component, tt.want.Start = tt.in.Component, tt.in.Start
			got, err := columnar.DecodeSamples("file", encode(t, &tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if n := got.Len(); n != 1 {
				t.Fatalf("decoded %d rows, want 1", n)
			}
			if diff := cmp.Diff(tt.want, got.Rows[tt.in.Component][0].Sample(tt.in.Component)); diff != "" {
				t.Errorf("sample (-want +got):\n%s", diff)
			}
		})
	}
}

// samplesOf draws a set of samples that may hold duplicates in any order.
func samplesOf(t *rapid.T) *columnar.Samples {
	s := columnar.NewSamples(schemas.DefaultStep)
	usage := func(r schemas.Resource) *schemas.Usage {
		if rapid.Bool().Draw(t, "unknown") {
			return nil
		}
		units := rapid.Int64Range(0, 1<<40)
		if r == schemas.CPU {
			units = rapid.Int64Range(0, 1e9)
		}
		return &schemas.Usage{
			Mean:  columnar.Quantity(r, units.Draw(t, "mean")),
			Max:   columnar.Quantity(r, units.Draw(t, "max")),
			Count: rapid.Int32Range(1, 3).Draw(t, "count"),
		}
	}
	for range rapid.IntRange(0, 60).Draw(t, "rows") {
		x := sample(rapid.SampledFrom([]string{"a", "b", "c-1"}).Draw(t, "component"), rapid.IntRange(0, 20).Draw(t, "bucket"), usage(schemas.CPU), usage(schemas.Memory))
		if rapid.Bool().Draw(t, "no namespace") {
			x.Component.Namespace = ""
		}
		if rapid.Bool().Draw(t, "replicas known") {
			x.Replicas = ptr(rapid.Int32Range(0, 9).Draw(t, "replicas"))
		}
		if rapid.Bool().Draw(t, "request known") {
			x.CPURequest = ptr(columnar.Quantity(schemas.CPU, rapid.Int64Range(0, 1e6).Draw(t, "request")))
		}
		if err := s.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestAnySetOfSamplesComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := samplesOf(t)
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := columnar.DecodeSamples("file", data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatalf("samples (-encoded +decoded):\n%s", diff)
		}
		again, err := got.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, again) {
			t.Fatal("encoding what was decoded must give the same bytes, but does not")
		}
	})
}

func TestTheOrderOfArrivalNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := samplesOf(t)
		shuffled := columnar.NewSamples(s.Step)
		for _, id := range s.Components() {
			shuffled.Rows[id] = rapid.Permutation(slices.Clone(s.Rows[id])).Draw(t, "order")
			// Arriving twice changes nothing either.
			shuffled.Rows[id] = append(shuffled.Rows[id], s.Rows[id]...)
		}
		s.Normalize()
		shuffled.Normalize()
		if diff := cmp.Diff(s, shuffled); diff != "" {
			t.Fatalf("samples (-one order +another):\n%s", diff)
		}
	})
}

func TestJoinKeepsWhatIsBetterKnown(t *testing.T) {
	u := func(mean, most float64, n int32) *schemas.Usage {
		return &schemas.Usage{Mean: mean, Max: most, Count: n}
	}
	for _, tt := range []struct {
		name     string
		a, b     schemas.Sample
		want     schemas.Sample
		conflict bool
	}{
		{"equal samples do not conflict", schemas.Sample{CPU: u(1, 2, 3)}, schemas.Sample{CPU: u(1, 2, 3)}, schemas.Sample{CPU: u(1, 2, 3)}, false},
		{"what only one knows is kept", schemas.Sample{CPU: u(1, 2, 3)}, schemas.Sample{Memory: u(1024, 1024, 1), Replicas: ptr[int32](2)},
			schemas.Sample{CPU: u(1, 2, 3), Memory: u(1024, 1024, 1), Replicas: ptr[int32](2)}, false},
		{"more readings win over a higher value", schemas.Sample{CPU: u(1, 2, 3)}, schemas.Sample{CPU: u(8, 9, 2)}, schemas.Sample{CPU: u(1, 2, 3)}, true},
		{"of as many readings the higher maximum wins", schemas.Sample{CPU: u(1, 2, 3)}, schemas.Sample{CPU: u(.5, 4, 3)}, schemas.Sample{CPU: u(.5, 4, 3)}, true},
		{"each resource is judged on its own", schemas.Sample{CPU: u(1, 2, 3), Memory: u(1024, 1024, 1)}, schemas.Sample{CPU: u(1, 2, 4), Memory: u(0, 0, 1)},
			schemas.Sample{CPU: u(1, 2, 4), Memory: u(1024, 1024, 1)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := schemas.ComponentID{Service: "web", Component: "api"}
			for _, order := range [][2]schemas.Sample{{tt.a, tt.b}, {tt.b, tt.a}} {
				s := columnar.NewSamples(schemas.DefaultStep)
				for _, x := range order {
					x.Component, x.Start = id, day
					if err := s.Add(&x); err != nil {
						t.Fatal(err)
					}
				}
				_, conflicts := s.Normalize()
				got := s.Rows[id][0].Sample(id)
				got.Component, got.Start = schemas.ComponentID{}, time.Time{}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("joined (-want +got):\n%s", diff)
				}
				if (conflicts > 0) != tt.conflict {
					t.Errorf("conflicts %d, want some: %t", conflicts, tt.conflict)
				}
			}
		})
	}
}

func TestReadersOfAFewComponentsSkipTheRest(t *testing.T) {
	s := columnar.NewSamples(time.Minute)
	const components, buckets = 30, 5000 // several row groups
	for c := range components {
		for i := range buckets {
			x := &schemas.Sample{
				Component: schemas.ComponentID{Service: "s", Component: fmt.Sprintf("c%02d", c)},
				Start:     day.Add(time.Duration(i) * time.Minute),
				CPU:       &schemas.Usage{Mean: float64(c), Max: float64(i), Count: 1},
			}
			if err := s.Add(x); err != nil {
				t.Fatal(err)
			}
		}
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := columnar.OpenSamples("file", data)
	if err != nil {
		t.Fatal(err)
	}
	id := func(c int) schemas.ComponentID {
		return schemas.ComponentID{Service: "s", Component: fmt.Sprintf("c%02d", c)}
	}
	for _, tt := range []struct{ first, last int }{{0, 29}, {7, 7}, {12, 14}, {29, 29}} {
		got := map[schemas.ComponentID]int{}
		err := r.Scan(id(tt.first), id(tt.last), func(id schemas.ComponentID, rows []columnar.Row) error {
			got[id] += len(rows)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[schemas.ComponentID]int{}
		for c := tt.first; c <= tt.last; c++ {
			want[id(c)] = buckets
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("components %d to %d (-want +got):\n%s", tt.first, tt.last, diff)
		}
	}
}

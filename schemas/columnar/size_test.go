package columnar_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// realSamples returns the real series as samples of CPU in buckets of the given
// length, and how many values (means and maxima) they hold.
func realSamples(t testing.TB, step time.Duration) (s *columnar.Samples, values int) {
	t.Helper()
	all, err := traces.Load()
	if err != nil {
		t.Fatal(err)
	}
	s = columnar.NewSamples(step)
	n := int(step / traces.Step)
	for _, trace := range all {
		id := schemas.ComponentID{Service: "crane", Component: trace.Name}
		// The buckets that the trace covers whole.
		first := int(trace.Start.Add(step-1).Truncate(step).Sub(trace.Start) / traces.Step)
		for i := first; i+n <= len(trace.Values); i += n {
			u := schemas.Usage{Count: int32(n)}
			for _, v := range trace.Values[i : i+n] {
				u.Mean += v / float64(n)
				u.Max = max(u.Max, v)
			}
			x := schemas.Sample{Component: id, Start: trace.Start.Add(time.Duration(i) * traces.Step), CPU: &u}
			if err := s.Add(&x); err != nil {
				t.Fatal(err)
			}
			values += 2
		}
	}
	return s, values
}

func TestRealSamplesTakeAtMost2500BytesAThousandValues(t *testing.T) {
	for _, step := range []time.Duration{15 * time.Minute, time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			s, values := realSamples(t, step)
			data, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got := float64(len(data)) / float64(values); got > 2.5 {
				t.Errorf("%d values take %d bytes, %.2f each, want at most 2.5", values, len(data), got)
			}
		})
	}
}

// benchmarkedSteps are the lengths of buckets that the benchmarks measure.
var benchmarkedSteps = []time.Duration{15 * time.Minute, time.Minute}

func BenchmarkEncodeSamples(b *testing.B) {
	for _, step := range benchmarkedSteps {
		b.Run(step.String(), func(b *testing.B) {
			s, values := realSamples(b, step)
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				data, err := s.Encode()
				if err != nil {
					b.Fatal(err)
				}
				size = len(data)
			}
			rate(b, values)
			b.ReportMetric(float64(size)/float64(values), "B/value")
		})
	}
}

func BenchmarkDecodeSamples(b *testing.B) {
	for _, step := range benchmarkedSteps {
		b.Run(step.String(), func(b *testing.B) {
			s, values := realSamples(b, step)
			data, err := s.Encode()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r, err := columnar.OpenSamples("file", data)
				if err != nil {
					b.Fatal(err)
				}
				var all schemas.ComponentID
				if err := r.Scan(all, all, func(schemas.ComponentID, []columnar.Row) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, values)
		})
	}
}

func BenchmarkEncodeForecasts(b *testing.B) {
	var in []*schemas.Forecast
	for c := range 500 {
		for _, f := range someForecasts() {
			f.Component.Component += fmt.Sprint(c)
			in = append(in, f)
		}
	}
	values := len(in) * len(in[0].Values)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		data, err := columnar.EncodeForecasts(in)
		if err != nil {
			b.Fatal(err)
		}
		size = len(data)
	}
	rate(b, values)
	b.ReportMetric(float64(size)/float64(values), "B/value")
}

// rate reports values per second.
func rate(b *testing.B, values int) {
	b.ReportMetric(float64(values)*float64(b.N)/b.Elapsed().Seconds(), "values/s")
}

package orderstat_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
)

func TestMedian(t *testing.T) {
	for name, tc := range map[string]struct {
		values []float64
		want   float64
	}{
		"one value":              {[]float64{3}, 3},
		"odd count":              {[]float64{5, 1, 3}, 3},
		"even count is averaged": {[]float64{4, 1, 3, 2}, 2.5},
		"ties":                   {[]float64{2, 2, 2, 9}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := orderstat.Median(tc.values); got != tc.want {
				t.Errorf("Median = %v, want %v", got, tc.want)
			}
		})
	}
	if got := orderstat.Median(nil); !math.IsNaN(got) {
		t.Errorf("Median of nothing = %v, want NaN", got)
	}
}

// middle returns the median of what is sorted, which may be nothing.
func middle(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func TestMedianAgreesWithSorting(t *testing.T) {
	value := rapid.OneOf(
		rapid.Float64Range(-5, 5),
		rapid.Map(rapid.IntRange(-2, 2), func(i int) float64 { return float64(i) }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.SmallestNonzeroFloat64, -math.MaxFloat64 / 2}),
	)
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value, 1, 40).Draw(t, "values")
		want := middle(slices.Sorted(slices.Values(values)))
		if got := orderstat.Median(values); got != want {
			t.Fatalf("Median = %v, want %v", got, want)
		}
	})
}

func TestMediansOfRows(t *testing.T) {
	value := rapid.OneOf(rapid.Float64Range(0, 5), rapid.Map(rapid.IntRange(0, 2), func(i int) float64 { return float64(i) }),
		rapid.Float64Range(-.1, 9), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64}))
	for count, medians := range map[int]func(rows [][]float64, out []float64){
		3: func(r [][]float64, out []float64) { orderstat.MediansOf3(r[0], r[1], r[2], out) },
		5: func(r [][]float64, out []float64) { orderstat.MediansOf5(r[0], r[1], r[2], r[3], r[4], out) },
	} {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "values")
				rows := make([][]float64, count)
				for i := range rows {
					rows[i] = rapid.SliceOfN(value, n, n+2).Draw(t, "row")
				}
				got := make([]float64, n)
				medians(rows, got)
				for i, v := range got {
					var of []float64
					for _, r := range rows {
						of = append(of, r[i])
					}
					slices.Sort(of) // NaN first
					if known := !slices.ContainsFunc(of, math.Signbit) && of[0] >= 0 && of[count-1] <= math.MaxFloat64; known != (v == v) || known && v != of[count/2] {
						t.Fatalf("median of %v = %v", of, v)
					}
				}
			})
		})
	}
}

func TestOrderHasTheMediansOfWindows(t *testing.T) {
	value := rapid.OneOf(rapid.Float64Range(-5, 5), rapid.Map(rapid.IntRange(-2, 2), func(i int) float64 { return float64(i) }), rapid.Just(math.NaN()))
	var o orderstat.Order // used again and again
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value, 0, 64).Draw(t, "values")
		width := rapid.IntRange(1, 20).Draw(t, "width")
		first := rapid.IntRange(0, len(values)).Draw(t, "first")
		got := make([]float64, len(values)-first+1)
		o.Reset(values)
		o.Medians(width, first, got)
		for k, v := range got {
			var known []float64
			for _, v := range values[max(0, first+k-width) : first+k] {
				if v == v {
					known = append(known, v)
				}
			}
			slices.Sort(known)
			if want := middle(known); v != want && !(math.IsNaN(v) && math.IsNaN(want)) {
				t.Fatalf("median of %v = %v, want %v", known, v, want)
			}
		}
	})
}

func TestSelectAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 200).Draw(t, "values")
		k := rapid.IntRange(0, len(values)-1).Draw(t, "rank")
		sorted := slices.Sorted(slices.Values(values))
		if got := orderstat.Select(values, k); got != sorted[k] {
			t.Fatalf("Select(%d) = %v, want %v", k, got, sorted[k])
		}
		for i, v := range values {
			if i < k && v > values[k] || i > k && v < values[k] {
				t.Fatalf("value %v at %d is on the wrong side of rank %d (%v)", v, i, k, values[k])
			}
		}
	})
}

func TestSortAgreesWithTheStandardLibrary(t *testing.T) {
	// Few different values, so that many are equal; many, so that few are.
	values := rapid.OneOf(
		rapid.SliceOfN(rapid.Float64Range(-5, 5), 0, 300),
		rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 3), func(i int) float64 { return float64(i) }), 0, 300),
	)
	rapid.Check(t, func(t *rapid.T) {
		got := values.Draw(t, "values")
		want := slices.Sorted(slices.Values(got))
		orderstat.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("sorted as %v, want %v", got, want)
		}
	})
	for name, next := range map[string]func(i int) float64{
		"ascending":  func(i int) float64 { return float64(i) },
		"descending": func(i int) float64 { return -float64(i) },
		"all equal":  func(int) float64 { return 1 },
		"a saw":      func(i int) float64 { return float64(i % 7) },
		"a pipe":     func(i int) float64 { return math.Abs(float64(i) - 2000) },
	} {
		got := make([]float64, 4000)
		for i := range got {
			got[i] = next(i)
		}
		want := slices.Sorted(slices.Values(got))
		if orderstat.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: not in order", name)
		}
	}
}

// BenchmarkSort is the residuals of a backtest of the far band.
func BenchmarkSort(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	all := make([][]float64, 256) // more than a processor can learn by heart
	for i := range all {
		all[i] = make([]float64, 560)
		for j := range all[i] {
			all[i][j] = rng.NormFloat64()
		}
	}
	values := make([]float64, 560)
	for name, sort := range map[string]func([]float64){"orderstat": orderstat.Sort, "slices": slices.Sort[[]float64]} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				copy(values, all[i%len(all)])
				sort(values)
			}
		})
	}
}

func TestQuantileInterpolatesBetweenRanks(t *testing.T) {
	sorted := []float64{0, 10, 20, 30, 40}
	for p, want := range map[float64]float64{0: 0, .25: 10, .5: 20, .625: 25, .9: 36, 1: 40} {
		if got := orderstat.Quantile(sorted, p); math.Abs(got-want) > 1e-12 {
			t.Errorf("Quantile(%v) = %v, want %v", p, got, want)
		}
	}
	if got := orderstat.Quantile(nil, .5); !math.IsNaN(got) {
		t.Errorf("Quantile of nothing = %v, want NaN", got)
	}
}

// Package orderstat computes medians and quantiles, the former in linear time.
package orderstat

import (
	"math"
	"math/bits"
	"slices"
)

// Median returns the median of values, which it reorders, and NaN for none. The
// values must not contain NaN. It takes linear time on average, and up to sixteen
// values, which most medians of a backtest are taken of, the same time whatever
// their order.
func Median(values []float64) float64 {
	n := len(values)
	switch {
	case n == 0:
		return math.NaN()
	case n <= 8:
		return medianOf8(values)
	case n <= 16:
		return medianOf16(values)
	}
	upper := Select(values, n/2)
	if n%2 == 1 {
		return upper
	}
	lower := values[0]
	for _, v := range values[1 : n/2] {
		lower = max(lower, v)
	}
	return (lower + upper) / 2
}

// Select reorders values so that the value of rank k (0 is the smallest)
// stands at index k, with none larger before it, and returns it (Hoare's
// quickselect). The values must not contain NaN.
func Select(values []float64, k int) float64 {
	rank := k
	for depth := 2 * bits.Len(uint(len(values))); len(values) > few; depth-- {
		if depth == 0 {
			slices.Sort(values)
			return values[rank]
		}
		least, n := split(values)
		switch {
		case least && rank < n:
			return values[rank]
		case rank < n:
			values = values[:n]
		default:
			values, rank = values[n:], rank-n
		}
	}
	insert(values)
	return values[rank]
}

// Sort puts values in order. They must not contain NaN. For the few hundred
// residuals of a backtest it takes a fraction of the time of [slices.Sort], which
// waits for branches that no processor can foretell.
func Sort(values []float64) {
	if len(values) <= 2*few || len(values) > mostDealt {
		sort(values, 2*bits.Len(uint(len(values))))
		return
	}
	deal(values)
}

// Bounds of what is dealt into buckets, of which there are more than values, so that
// few share one.
const (
	mostDealt   = 1024
	mostBuckets = 2 * mostDealt
)

// deal puts values in order: into buckets, each an equal part of their range, and then
// each bucket.
func deal(values []float64) {
	least, most := values[0], values[0]
	for _, v := range values {
		if v < least {
			least = v
		}
		if v > most {
			most = v
		}
	}
	buckets := 2 * len(values)
	scale := float64(buckets-1) / (most - least)
	if !(scale > 0) || math.IsInf(scale, 1) {
		sort(values, 2*bits.Len(uint(len(values)))) // all but equal, or as far apart as can be
		return
	}
	var bucket [mostDealt]uint16
	var ends [mostBuckets]uint16
	var dealt [mostDealt]float64
	for i, v := range values {
		b := uint16((v-least)*scale) % mostBuckets // which it is below already
		bucket[i] = b
		ends[b]++
	}
	sum := uint16(0)
	for b, n := range ends[:buckets] {
		ends[b] = sum
		sum += n
	}
	for i, v := range values {
		b := bucket[i]
		dealt[ends[b]%mostDealt] = v
		ends[b]++
	}
	copy(values, dealt[:])
	begin := 0
	for _, end := range ends[:buckets] {
		if n := int(end) - begin; n > few {
			sort(values[begin:end], 2*bits.Len(uint(n)))
		}
		begin = int(end)
	}
	// What is left lies near its place.
	insert(values)
}

func sort(values []float64, depth int) {
	for ; len(values) > few; depth-- {
		if depth == 0 {
			slices.Sort(values)
			return
		}
		least, n := split(values)
		if !least {
			sort(values[:n], depth-1)
		}
		values = values[n:]
	}
	insert(values)
}

// few values are put in order by insertion.
const few = 12

func insert(values []float64) {
	for i := 1; i < len(values); i++ {
		v, k := values[i], i
		for k > 0 && values[k-1] > v {
			values[k] = values[k-1]
			k--
		}
		values[k] = v
	}
}

// split reorders values so that none of the first n is above any of the others,
// with n at least 1. Where least is true the first n are equal.
func split(values []float64) (least bool, n int) {
	a, b, c := values[len(values)/4], values[len(values)/2], values[len(values)*3/4]
	pivot := max(min(a, b), min(max(a, b), c))
	// What decides is how far n goes, and not which way a branch does.
	for i, v := range values {
		values[i] = values[n]
		values[n] = v
		below := 0
		if v < pivot {
			below = 1
		}
		n += below
	}
	if n > 0 {
		return false, n
	}
	for i, v := range values {
		values[i] = values[n]
		values[n] = v
		below := 0
		if v <= pivot {
			below = 1
		}
		n += below
	}
	return true, n
}

// Quantile returns the quantile of level p of sorted values by linear
// interpolation between the two nearest ranks (type 7 of Hyndman and Fan,
// "Sample Quantiles in Statistical Packages", 1996), and NaN for none.
func Quantile(sorted []float64, p float64) float64 {
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	pos := p * float64(n-1)
	i := int(pos)
	if i >= n-1 {
		return sorted[n-1]
	}
	return sorted[i] + (pos-float64(i))*(sorted[i+1]-sorted[i])
}

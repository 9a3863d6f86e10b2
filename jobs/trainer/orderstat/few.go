package orderstat

import (
	"math"
	"math/bits"
)

// Of a few values, a processor loses most of the time at branches that it cannot
// foretell. What is in this file has none: the values are compared as integers,
// whose minimum and maximum are moves.

// unknown is the key of a value that is missing: above that of all others.
const unknown = math.MaxInt64

// key returns an integer that is in the order of the values.
func key(v float64) int64 {
	b := int64(math.Float64bits(v))
	return b ^ int64(uint64(b>>63)>>1)
}

func value(key int64) float64 {
	return math.Float64frombits(uint64(key) ^ uint64(key>>63)>>1)
}

// medianOf8 returns the median of one to eight values.
func medianOf8(values []float64) float64 {
	var k [8]int64
	low := pad(k[:], values)
	_, _, _, d, e, _, _, _ := sort8(k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7])
	if low {
		return value(d)
	}
	return (value(d) + value(e)) / 2
}

// MedianOf5 returns the median of five values, NaN where one of them is.
func MedianOf5(a, b, c, d, e float64) float64 {
	k, l, m, n, o := key(a), key(b), key(c), key(d), key(e)
	p, q := max(min(k, l), min(m, n)), min(max(k, l), max(m, n))
	middle := max(min(o, p), min(max(o, p), q))
	if nothing := a + b + c + d + e; nothing != nothing {
		return medianOf5(a, b, c, d, e)
	}
	return value(middle)
}

// medianOf5 is [MedianOf5] where one of the values, or their sum, is not finite.
func medianOf5(a, b, c, d, e float64) float64 {
	p, q := max(min(a, b), min(c, d)), min(max(a, b), max(c, d))
	return max(min(e, p), min(max(e, p), q))
}

// medianOf16 returns the median of one to sixteen values.
func medianOf16(values []float64) float64 {
	var k [16]int64
	low := pad(k[:], values)
	a, b, c, d, e, f, g, h := sort8(k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7])
	i, j, l, m, n, o, p, q := sort8(k[8], k[9], k[10], k[11], k[12], k[13], k[14], k[15])
	// The lower half of both is the lesser of the lowest of one and the highest of
	// the other, and so on (Batcher, "Sorting Networks and Their Applications", 1968).
	lower := max(max(max(min(a, q), min(b, p)), max(min(c, o), min(d, n))),
		max(max(min(e, m), min(f, l)), max(min(g, j), min(h, i))))
	if low {
		return value(lower)
	}
	upper := min(min(min(max(a, q), max(b, p)), min(max(c, o), max(d, n))),
		min(min(max(e, m), max(f, l)), min(max(g, j), max(h, i))))
	return (value(lower) + value(upper)) / 2
}

// pad fills keys, of which there are an even number, with those of the values and,
// beside them, as many that are below all values as above. It reports whether there
// is one more above, so that the lower of the two in the middle is the median.
func pad(keys []int64, values []float64) (low bool) {
	n := min(len(keys), len(values))
	for i, v := range values[:n] {
		keys[i] = key(v)
	}
	for i := n; i < len(keys); i++ {
		keys[i] = math.MinInt64
		if (i-n)%2 == 0 {
			keys[i] = unknown
		}
	}
	return n%2 == 1
}

// sort8 puts eight keys in order, with the fewest comparisons there can be (Knuth,
// "The Art of Computer Programming", volume 3, section 5.3.4).
func sort8(a, b, c, d, e, f, g, h int64) (_, _, _, _, _, _, _, _ int64) {
	a, c = min(a, c), max(a, c)
	b, d = min(b, d), max(b, d)
	e, g = min(e, g), max(e, g)
	f, h = min(f, h), max(f, h)
	a, e = min(a, e), max(a, e)
	b, f = min(b, f), max(b, f)
	c, g = min(c, g), max(c, g)
	d, h = min(d, h), max(d, h)
	a, b = min(a, b), max(a, b)
	c, d = min(c, d), max(c, d)
	e, f = min(e, f), max(e, f)
	g, h = min(g, h), max(g, h)
	c, e = min(c, e), max(c, e)
	d, f = min(d, f), max(d, f)
	b, e = min(b, e), max(b, e)
	d, g = min(d, g), max(d, g)
	b, c = min(b, c), max(b, c)
	d, e = min(d, e), max(d, e)
	f, g = min(f, g), max(f, g)
	return a, b, c, d, e, f, g, h
}

// Order knows the order of up to 64 values, so that the medians of many sets of them
// take a few steps each. A value may be missing: NaN.
type Order struct {
	keys   [maxOrder]int64
	sorted [maxOrder]float64
	bits   [maxOrder]uint64
}

// maxOrder is how many values an [Order] holds at most: the bits of a set.
const maxOrder = 64

// Reset puts other values, at most 64, in order. Those that differ by less than
// 1e-13 of their size count as equal.
func (o *Order) Reset(values []float64) {
	const index = maxOrder - 1 // the bits of a key that tell which value it is of
	blocks := (len(values) + 7) / 8
	keys := o.keys[:8*blocks]
	for i := range keys {
		keys[i] = unknown
		if i < len(values) {
			keys[i] = key(values[i])&^index | int64(i)
		}
	}
	for b := range blocks {
		k := (*[8]int64)(keys[8*b:])
		k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7] = sort8(k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7])
		for ; b > 0; b-- {
			merge8((*[8]int64)(keys[8*b-8:]), (*[8]int64)(keys[8*b:]))
		}
	}
	for rank, k := range keys[:len(values)] {
		i := k & index
		o.sorted[rank] = values[i]
		o.bits[i] = 1 << rank
		if values[i] != values[i] {
			o.bits[i] = 0
		}
	}
}

// merge8 puts two rows of eight keys, each in order, in one order (Batcher's bitonic
// merge).
func merge8(a, b *[8]int64) {
	a0, a1, a2, a3, a4, a5, a6, a7 := a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
	b0, b1, b2, b3, b4, b5, b6, b7 := b[7], b[6], b[5], b[4], b[3], b[2], b[1], b[0]
	a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7] = bitonic8(min(a0, b0), min(a1, b1), min(a2, b2), min(a3, b3), min(a4, b4), min(a5, b5), min(a6, b6), min(a7, b7))
	b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = bitonic8(max(a0, b0), max(a1, b1), max(a2, b2), max(a3, b3), max(a4, b4), max(a5, b5), max(a6, b6), max(a7, b7))
}

// bitonic8 puts eight keys in order that rise and then fall, or the other way round.
func bitonic8(a, b, c, d, e, f, g, h int64) (_, _, _, _, _, _, _, _ int64) {
	a, e = min(a, e), max(a, e)
	b, f = min(b, f), max(b, f)
	c, g = min(c, g), max(c, g)
	d, h = min(d, h), max(d, h)
	a, c = min(a, c), max(a, c)
	b, d = min(b, d), max(b, d)
	e, g = min(e, g), max(e, g)
	f, h = min(f, h), max(f, h)
	a, b = min(a, b), max(a, b)
	c, d = min(c, d), max(c, d)
	e, f = min(e, f), max(e, f)
	g, h = min(g, h), max(g, h)
	return a, b, c, d, e, f, g, h
}

// Of returns the set of one value, the i-th of those given to [Order.Reset]; the
// empty one where it is missing. Sets are joined with |.
func (o *Order) Of(i int) uint64 { return o.bits[i] }

// Median returns the median of a set of values, NaN for none.
func (o *Order) Median(set uint64) float64 {
	n := bits.OnesCount64(set)
	if n == 0 {
		return math.NaN()
	}
	for range (n - 1) / 2 {
		set &= set - 1
	}
	lower := o.sorted[bits.TrailingZeros64(set)]
	if n%2 == 1 {
		return lower
	}
	return (lower + o.sorted[bits.TrailingZeros64(set&(set-1))]) / 2
}

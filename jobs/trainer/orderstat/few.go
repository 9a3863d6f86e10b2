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

// infinity is the first number, in the order of the bits of those not below 0, that is
// not finite.
const infinity = 0x7ff << 52

// MediansOf3 fills out with the medians of three rows that are as long or longer, NaN
// where one of the values is below 0 or not finite: the bits of others are in their
// order as they are.
func MediansOf3(a, b, c, out []float64) {
	n := len(out)
	a, b, c = a[:n], b[:n], c[:n]
	for i := range out {
		j, k, l := int64(math.Float64bits(a[i])), int64(math.Float64bits(b[i])), int64(math.Float64bits(c[i]))
		low, high := min(j, k), max(j, k)
		v := math.Float64frombits(uint64(max(low, min(high, l))))
		if j|k|l < 0 || max(high, l) >= infinity {
			v = math.NaN()
		}
		out[i] = v
	}
}

// MediansOf5 is [MediansOf3] of five rows.
func MediansOf5(a, b, c, d, e, out []float64) {
	n := len(out)
	a, b, c, d, e = a[:n], b[:n], c[:n], d[:n], e[:n]
	for i := range out {
		j, k, l := int64(math.Float64bits(a[i])), int64(math.Float64bits(b[i])), int64(math.Float64bits(c[i]))
		m, n := int64(math.Float64bits(d[i])), int64(math.Float64bits(e[i]))
		low, high := max(min(j, k), min(l, m)), max(j, k)
		o := max(l, m)
		top := max(high, o, n)
		high = min(high, o)
		v := math.Float64frombits(uint64(max(min(n, low), min(max(n, low), high))))
		if j|k|l|m|n < 0 || top >= infinity {
			v = math.NaN()
		}
		out[i] = v
	}
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
	rest := keys[len(values):]
	keys = keys[:len(values)]
	for i, v := range values {
		keys[i] = key(v)
	}
	for i := range rest {
		rest[i] = math.MinInt64
		if i%2 == 0 {
			rest[i] = unknown
		}
	}
	return len(rest)%2 == 1
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

// Order knows the order of up to 64 values, so that the medians of many windows over
// them take a few steps each. A value may be missing: NaN.
type Order struct {
	size   int
	keys   [maxOrder]int64
	sorted [maxOrder]float64
	bits   [maxOrder]uint64 // of each value: 1 << its rank, 0 where it is missing
}

// maxOrder is how many values an [Order] holds at most: the bits of a set.
const maxOrder = 64

// Reset puts other values, at most 64, in order. Those that differ by less than
// 1e-13 of their size count as equal.
func (o *Order) Reset(values []float64) {
	const index = maxOrder - 1 // the bits of a key that tell which value it is of
	o.size = len(values)
	blocks := (len(values) + 7) / 8
	keys := o.keys[:8*blocks]
	for i, v := range values {
		keys[i] = key(v)&^index | int64(i)
	}
	for i := len(values); i < len(keys); i++ {
		keys[i] = unknown
	}
	for b := range blocks {
		k := (*[8]int64)(keys[8*b:])
		k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7] = sort8(k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7])
		for ; b > 0; b-- {
			merge8((*[8]int64)(keys[8*b-8:]), (*[8]int64)(keys[8*b:]))
		}
	}
	bit := uint64(1)
	for rank, k := range keys[:len(values)] {
		i := int(k & index)
		v := values[i]
		o.sorted[rank], o.bits[i] = v, bit
		if v != v {
			o.bits[i] = 0
		}
		bit <<= 1
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

// Medians fills out with the medians of the values in windows of a width, which is at
// least 1: the first ends before the value of index first, each of the others one
// value later. Windows are cut short where the values begin and end. Those that have
// no value that is known have NaN.
func (o *Order) Medians(width, first int, out []float64) {
	set := uint64(0)
	for i := max(0, first-width); i < first; i++ {
		set |= o.bits[i&(maxOrder-1)]
	}
	for k := range out {
		out[k] = o.median(set)
		i := first + k
		if i < o.size {
			set |= o.bits[i&(maxOrder-1)]
		}
		if i >= width {
			set &^= o.bits[(i-width)&(maxOrder-1)]
		}
	}
}

// median returns the median of a set of values, NaN for none.
func (o *Order) median(set uint64) float64 {
	n := bits.OnesCount64(set)
	if n == 0 {
		return math.NaN()
	}
	below := (n - 1) / 2
	for ; below >= 3; below -= 3 {
		set &= set - 1
		set &= set - 1
		set &= set - 1
	}
	for ; below > 0; below-- {
		set &= set - 1
	}
	lower := o.sorted[bits.TrailingZeros64(set)&(maxOrder-1)]
	if n%2 == 1 {
		return lower
	}
	return (lower + o.sorted[bits.TrailingZeros64(set&(set-1))&(maxOrder-1)]) / 2
}

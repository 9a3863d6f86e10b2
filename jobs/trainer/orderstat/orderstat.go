// Package orderstat computes medians and quantiles in linear time.
package orderstat

import "math"

// Median returns the median of values, which it reorders, and NaN for none. The
// values must not contain NaN. It takes linear time on average.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
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
// quickselect with the middle as the pivot).
func Select(values []float64, k int) float64 {
	lo, hi := 0, len(values)-1
	for lo < hi {
		pivot := values[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for values[i] < pivot {
				i++
			}
			for values[j] > pivot {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return values[k]
		}
	}
	return values[k]
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

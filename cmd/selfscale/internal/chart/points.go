package chart

import (
	"math"
	"time"

	"gonum.org/v1/plot/plotter"
)

// maxPoints is how many points of a line are drawn at most: two a pixel column.
const maxPoints = 2400

// decimate returns at most about limit points that look the same: of each
// stretch of points the first, the lowest, the highest and the last, so that no
// peak and no level is lost. Gaps stay gaps.
func decimate(points []Point, limit int) []Point {
	if len(points) <= limit {
		return points
	}
	out := make([]Point, 0, limit+4)
	stretches := limit / 4
	for i := range stretches {
		stretch := points[i*len(points)/stretches : (i+1)*len(points)/stretches]
		low, high, hole := -1, -1, -1
		for j, p := range stretch {
			switch {
			case math.IsNaN(p.Value):
				hole = j
			case low < 0 || p.Value < stretch[low].Value:
				low = j
			}
			if !math.IsNaN(p.Value) && (high < 0 || p.Value > stretch[high].Value) {
				high = j
			}
		}
		for j, p := range stretch {
			if j == 0 || j == low || j == high || j == hole || j == len(stretch)-1 {
				out = append(out, p)
			}
		}
	}
	return out
}

// parts splits a line at its gaps and leaves them out. A point between two gaps
// is drawn as a very short line would be: not at all.
func parts(points []Point) [][]Point {
	var split [][]Point
	from := 0
	for i := 0; i <= len(points); i++ {
		if i < len(points) && !math.IsNaN(points[i].Value) && !math.IsInf(points[i].Value, 0) {
			continue
		}
		if i-from > 1 {
			split = append(split, points[from:i])
		}
		from = i + 1
	}
	return split
}

// steps returns the corners of a line whose values hold until the next point,
// the last one until end.
func steps(points []Point, end time.Time) []Point {
	out := make([]Point, 0, 64)
	for i, p := range points {
		// Without the points at which nothing changes.
		if i > 0 && p.Value == points[i-1].Value && i < len(points)-1 {
			continue
		}
		if n := len(out); n > 0 && !math.IsNaN(p.Value) {
			out = append(out, Point{p.Time, out[n-1].Value})
		}
		out = append(out, p)
	}
	if n := len(out); n > 0 && out[n-1].Time.Before(end) {
		out = append(out, Point{end, out[n-1].Value})
	}
	return out
}

func scaled(points []Point, unit float64) plotter.XYs {
	xys := make(plotter.XYs, len(points))
	for i, p := range points {
		xys[i] = plotter.XY{X: seconds(p.Time), Y: p.Value / unit}
	}
	return xys
}

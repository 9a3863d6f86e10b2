package chart

import (
	"math"
	"strconv"
	"time"

	"gonum.org/v1/plot"
)

const day = 24 * time.Hour

// timeTicks marks round instants in UTC: days where the axis is long, hours
// where it is short.
type timeTicks struct{ unlabelled bool }

// Ticks implements [plot.Ticker]. Axis values are seconds since 1970.
func (t timeTicks) Ticks(from, to float64) []plot.Tick {
	span := time.Duration((to - from) * float64(time.Second))
	major, minor := 28*day, 7*day
	for _, c := range []struct{ major, minor time.Duration }{
		{5 * time.Minute, time.Minute}, {15 * time.Minute, 5 * time.Minute}, {time.Hour, 15 * time.Minute}, {3 * time.Hour, time.Hour},
		{6 * time.Hour, time.Hour}, {12 * time.Hour, 3 * time.Hour}, {day, 6 * time.Hour}, {2 * day, 12 * time.Hour}, {4 * day, day}, {7 * day, day}, {14 * day, 7 * day},
	} {
		if span <= 11*c.major {
			major, minor = c.major, c.minor
			break
		}
	}
	var ticks []plot.Tick
	// Weeks begin on a Monday, as did the fifth day of 1970.
	origin := time.Date(1970, 1, 5, 0, 0, 0, 0, time.UTC)
	start := time.Unix(int64(from), 0).UTC()
	for at := origin.Add(start.Sub(origin).Truncate(minor)); float64(at.Unix()) <= to; at = at.Add(minor) {
		if float64(at.Unix()) < from {
			continue
		}
		tick := plot.Tick{Value: float64(at.Unix())}
		if at.Sub(origin)%major == 0 {
			if tick.Label = " "; !t.unlabelled { // without any label a tick is a short one
				tick.Label = timeLabel(at, major)
			}
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

func timeLabel(t time.Time, major time.Duration) string {
	if major < day && (t.Hour() != 0 || t.Minute() != 0) {
		return t.Format("15:04")
	}
	return t.Format("Mon 2 Jan")
}

// roundTicks marks four to eight round numbers from 0.
func roundTicks(from, to float64) []plot.Tick {
	step := roundStep((to - from) / 5)
	var ticks []plot.Tick
	for i := math.Ceil(from / step); i*step <= to; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'f', decimals(step), 64)})
	}
	return ticks
}

// wholeTicks marks whole numbers only.
func wholeTicks(from, to float64) []plot.Tick {
	step := max(1, math.Round(roundStep((to-from)/5)))
	var ticks []plot.Tick
	for v := math.Ceil(from/step) * step; v <= to; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', 0, 64)})
	}
	return ticks
}

// roundStep returns the smallest of 1, 2 and 5 times a power of ten that is not
// below v.
func roundStep(v float64) float64 {
	if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// decimals returns how many decimals a multiple of step needs.
func decimals(step float64) int {
	return max(0, int(-math.Floor(math.Log10(step)+1e-9)))
}

// byteUnit returns the unit in which a number of bytes reads best.
func byteUnit(bytes float64) (string, float64) {
	unit, names := 1.0, []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	for bytes >= 1024*unit && len(names) > 1 {
		unit, names = unit*1024, names[1:]
	}
	return names[0], unit
}

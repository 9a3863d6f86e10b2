package calendar

import (
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/jobs/trainer/orderstat"
	"github.com/self-scaling/self-scaling/schemas"
)

// Lens shows a series to forecasters as their arithmetic wants it: by the clock
// on the wall, so that a day has as many steps as any other, and without what the
// calendar marks. It turns their forecast back.
//
// By the wall, the hour that is skipped in spring is missing, and the hour that
// comes twice in autumn is there once, as a mean of both.
type Lens struct {
	view   View
	series *schemas.Series // as measured
	wall   *schemas.Series // by the wall
	learn  *schemas.Series // by the wall, without what is marked
	seen   *schemas.Series // the same, long stretches bridged
	marked []Occurrence
}

// horizon is how far ahead of the end of a series occurrences are looked for: the
// longest forecast.
const horizon = 45 * 24 * time.Hour

// Look returns the lens for a series, nil where the series is to be seen as it
// is.
func (v View) Look(s *schemas.Series) *Lens {
	if v.plain() || s.Len() == 0 {
		return nil
	}
	l := &Lens{view: v, series: s, marked: v.Between(s.Start, s.End().Add(horizon))}
	l.wall = l.byWall()
	l.learn = l.unmarked()
	l.seen = l.bridged()
	return l
}

// Seen returns the series as forecasters see it. Its times are those on the wall,
// as if they were UTC.
func (l *Lens) Seen() *schemas.Series { return l.seen }

// Learned returns what may be learned from: [Lens.Seen] without anything in the
// place of what is marked.
func (l *Lens) Learned() *schemas.Series { return l.learn }

// index returns the place of an instant on the wall's grid.
func (l *Lens) index(t time.Time) int { return l.wall.Index(wallClock(t, l.view.Zone())) }

// byWall returns the series by the wall. It ends with the instant at which the
// measured one ends; what the wall puts behind that, within the hour that comes
// twice, is left out.
func (l *Lens) byWall() *schemas.Series {
	s, zone := l.series, l.view.Zone()
	start := wallClock(s.Start, zone)
	out := &schemas.Series{Component: s.Component, Resource: s.Resource, Start: start, Step: s.Step}
	if !l.changes() {
		out.Mean, out.Max = s.Mean, s.Max
		return out
	}
	// In whole steps, also where the offset is none of them.
	n := max(0, int(math.Round(float64(wallClock(s.End(), zone).Sub(start))/float64(s.Step))))
	counts := make([]int, n)
	out.Mean = missing(n)
	if s.Max != nil {
		out.Max = missing(n)
	}
	for i, v := range s.Mean {
		k := int(math.Round(float64(wallClock(s.Time(i), zone).Sub(start)) / float64(s.Step)))
		if k < 0 || k >= n || v != v {
			continue
		}
		counts[k]++
		if counts[k] == 1 {
			out.Mean[k] = v
		} else {
			out.Mean[k] += (v - out.Mean[k]) / float64(counts[k])
		}
		if s.Max != nil && !(out.Max[k] >= s.Max[i]) {
			out.Max[k] = s.Max[i]
		}
	}
	return out
}

// changes reports whether the clock is changed within the series.
func (l *Lens) changes() bool {
	zone := l.view.Zone()
	day := schemas.StepsPerDay(l.series.Step)
	_, before := l.series.Start.In(zone).Zone()
	for i := day; ; i += day {
		_, offset := l.series.Time(min(i, l.series.Len())).In(zone).Zone()
		if offset != before {
			return true
		}
		if i >= l.series.Len() {
			return false
		}
	}
}

// unmarked returns the series by the wall with every bucket missing that an
// occurrence touches.
func (l *Lens) unmarked() *schemas.Series {
	out := *l.wall
	copied := false
	for _, o := range l.marked {
		for t := o.Start.Truncate(l.series.Step); t.Before(o.End) && t.Before(l.series.End()); t = t.Add(l.series.Step) {
			k := l.index(t)
			if k < 0 || k >= out.Len() {
				continue
			}
			if !copied {
				out.Mean, out.Max, copied = slices.Clone(out.Mean), slices.Clone(out.Max), true
			}
			out.Mean[k] = math.NaN()
			if out.Max != nil {
				out.Max[k] = math.NaN()
			}
		}
	}
	return &out
}

// longStretch is from when on something stands in for what is marked. Forecasters
// bridge a day or two; a week of holidays would leave them without any day to
// start from.
const longStretch = 36 * time.Hour

// bridged returns the unmarked series with what was used a week before in the
// place of long stretches.
func (l *Lens) bridged() *schemas.Series {
	out := *l.learn
	copied := false
	week := 7 * schemas.StepsPerDay(out.Step)
	for _, o := range l.marked {
		if o.End.Sub(o.Start) <= longStretch {
			continue
		}
		for t := o.Start.Truncate(out.Step); t.Before(o.End) && t.Before(l.series.End()); t = t.Add(out.Step) {
			k := l.index(t)
			if k < week || k >= out.Len() {
				continue
			}
			if !copied {
				out.Mean, out.Max, copied = slices.Clone(out.Mean), slices.Clone(out.Max), true
			}
			out.Mean[k] = out.Mean[k-week]
			if out.Max != nil {
				out.Max[k] = out.Max[k-week]
			}
		}
	}
	return &out
}

func missing(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// Steps returns how many steps forecasters must be asked for, so that the wall's
// clock gets as far as steps of time: a few more where an hour is skipped.
func (l *Lens) Steps(steps int) int {
	most := steps
	for k := range steps {
		most = max(most, l.ahead(k)+1)
	}
	return most
}

// ahead returns how many steps ahead of the end by the wall the k-th step is; not
// below 0, where the clock is put back right after the end.
func (l *Lens) ahead(k int) int {
	zone := l.view.Zone()
	d := wallClock(l.series.Time(l.series.Len()+k), zone).Sub(l.seen.End())
	return max(0, int(math.Round(float64(d)/float64(l.series.Step))))
}

// Forecast turns what forecasters made of [Lens.Seen] into the forecast of the
// series: by time again, and with what is marked as it was on its earlier
// occurrences. A step of an occurrence of which nothing is known is left as it
// is. The notes name what was put in, once each.
func (l *Lens) Forecast(f *schemas.Forecast, steps int) (out *schemas.Forecast, notes []string) {
	made := *f
	made.Origin = l.series.End()
	if bands := len(schemas.Bands(steps)); len(made.Forecasters) > bands {
		made.Forecasters = made.Forecasters[:bands]
	}
	n := len(f.Levels)
	made.Values = make([]float64, 0, steps*n)
	made.Peaks = nil
	peaks := 0
	for k := range steps {
		i := min(l.ahead(k), f.Steps()-1)
		made.Values = append(made.Values, f.Values[i*n:(i+1)*n]...)
		if peaks == k && i < f.PeakSteps() {
			made.Peaks = append(made.Peaks, f.Peaks[i*n:(i+1)*n]...)
			peaks++
		}
	}
	for k := range steps {
		t := made.Time(k)
		for _, o := range l.at(t) {
			mean, ok := l.earlier(o, t, l.wall.Mean)
			if !ok {
				continue
			}
			l.put(made.Row(k), made.Levels, mean+l.residual(o, k, l.wall.Mean))
			if k < peaks {
				if peak, ok := l.earlier(o, t, l.wall.Max); ok {
					l.put(made.Peaks[k*n:(k+1)*n], made.Levels, peak+l.residual(o, k, l.wall.Max))
				}
			}
			if note := o.Summary; !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
			break
		}
	}
	return &made, notes
}

// at returns the occurrences at an instant, the shortest first: what is said of an
// hour says more than what is said of its day.
func (l *Lens) at(t time.Time) []Occurrence {
	var out []Occurrence
	end := t.Add(l.series.Step)
	for _, o := range l.marked {
		if o.Start.Before(end) && t.Before(o.End) {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b Occurrence) int { return int(a.End.Sub(a.Start) - b.End.Sub(b.Start)) })
	return out
}

// mostOccurrences is how many earlier occurrences are looked at, the newest
// first.
const mostOccurrences = 5

// earlier returns what was used as long after the beginning of the earlier
// occurrences, by the wall: the median of the newest of them. A holiday without
// any is like the newest Sundays, or Saturdays, at that time of day.
func (l *Lens) earlier(o Occurrence, t time.Time, values []float64) (float64, bool) {
	if values == nil {
		return 0, false
	}
	zone := l.view.Zone()
	into := wallClock(t, zone).Sub(wallClock(o.Start, zone))
	var known []float64
	for _, e := range slices.Backward(l.marked) {
		if e.Key != o.Key || !e.Start.Before(o.Start) || into >= wallClock(e.End, zone).Sub(wallClock(e.Start, zone)) {
			continue
		}
		k := l.wall.Index(wallClock(e.Start, zone).Add(into))
		if k < 0 || k >= l.wall.Len() || values[k] != values[k] {
			continue
		}
		if known = append(known, values[k]); len(known) == mostOccurrences {
			break
		}
	}
	if len(known) == 0 && o.Holiday {
		known = l.weekend(wallClock(t, zone), values)
	}
	if len(known) == 0 {
		return 0, false
	}
	return orderstat.Median(known), true
}

// weekend returns what was used at a time of day on the newest unmarked Sundays,
// or on Saturdays where there is none.
func (l *Lens) weekend(wall time.Time, values []float64) []float64 {
	for _, day := range []time.Weekday{time.Sunday, time.Saturday} {
		var known []float64
		for back := 1; len(known) < mostOccurrences; back++ {
			at := wall.AddDate(0, 0, -back)
			k := l.wall.Index(at)
			if k < 0 {
				break
			}
			if at.Weekday() != day || k >= l.wall.Len() {
				continue
			}
			if l.learn.Mean[k] == l.learn.Mean[k] && values[k] == values[k] {
				known = append(known, values[k])
			}
		}
		if len(known) > 0 {
			return known
		}
	}
	return nil
}

// residual returns by how much an occurrence that is under way lies above its
// earlier ones, from its newest hour, for the k-th step ahead: it decays as the
// bank's residuals do.
func (l *Lens) residual(o Occurrence, k int, values []float64) float64 {
	end := l.series.End()
	if !o.Start.Before(end) {
		return 0
	}
	var known []float64
	for back := 1; back <= 4; back++ {
		t := end.Add(-time.Duration(back) * l.series.Step)
		if t.Before(o.Start) {
			break
		}
		i := l.index(t)
		if i < 0 || i >= l.wall.Len() || values[i] != values[i] {
			continue
		}
		if was, ok := l.earlier(o, t, values); ok {
			known = append(known, values[i]-was)
		}
	}
	if len(known) == 0 {
		return 0
	}
	return orderstat.Median(known) * math.Exp(-float64(k)/8)
}

// put moves the quantiles of one step so that their median is what an occurrence
// was. Their spread grows with it where it is above the regular median.
func (l *Lens) put(row, levels []float64, median float64) {
	regular := atMedian(row, levels)
	grow := 1.0
	if regular > 0 && median > regular {
		grow = median / regular
	}
	limit := l.series.Resource.Limit()
	for i, v := range row {
		row[i] = min(max(0, median+grow*(v-regular)), limit)
	}
}

// atMedian returns the value of the level next to one half.
func atMedian(row, levels []float64) float64 {
	best := 0
	for i, level := range levels {
		if math.Abs(level-.5) < math.Abs(levels[best]-.5) {
			best = i
		}
	}
	return row[best]
}

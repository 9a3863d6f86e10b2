package view

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

const (
	day = 24 * time.Hour
	// keptDays is for how many days realised accuracy is shown.
	keptDays = 30
	// ahead is how many steps of a forecast count. One forecast is read for as many
	// steps: all that were made in between say little more.
	ahead = 4
	// glances bounds how many heads are looked at in one refresh until one is found
	// that is worth reading.
	glances = 32
)

// realised holds forecasts as they were served against what then happened, for whole
// days (UTC), and seasonal naive beside them. It is filled in the background, one set
// of forecasts a refresh: the newest day first and then those before, as far back as
// the store has them.
type realised struct {
	mu         sync.Mutex
	points     map[int64]*wire.AccuracyPoint // by the start of the day; nil where nothing can be judged
	newest     time.Time                     // the day of components
	components []wire.ComponentAccuracy

	// Only whoever refreshes has the rest.
	work  *workday
	below uint64 // head where the walk back through the older days goes on
	ended bool   // there are no older heads
}

// list returns the points, ascending, and the components of the newest of them.
func (r *realised) list() ([]wire.AccuracyPoint, []wire.ComponentAccuracy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []wire.AccuracyPoint
	for _, p := range r.points {
		if p != nil {
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b wire.AccuracyPoint) int { return a.Time.Compare(b.Time) })
	return out, r.components
}

// next returns the newest day that is over and has not been judged, and the head that
// the walk back from its end begins at.
func (r *realised) next(measured time.Time, head uint64) (start time.Time, from uint64, ok bool) {
	last := measured.Truncate(day).Add(-day)
	for i := range keptDays {
		start := last.Add(-time.Duration(i) * day)
		if _, done := r.points[start.UnixMilli()]; done {
			continue
		}
		if i == 0 {
			return start, head, true
		}
		return start, r.below, !r.ended
	}
	return start, 0, false
}

// fill does a little of what is to be done.
func (r *realised) fill(ctx context.Context, v *View, c *content) {
	if c.samples == nil || c.forecasts == nil {
		return
	}
	if r.work == nil {
		start, from, ok := r.next(c.samples.Manifest.To.UTC(), c.forecasts.number)
		if !ok {
			return
		}
		var err error
		if r.work, err = newWorkday(v, *c.samples, start, from); err != nil {
			v.opts.Log.Warn("accuracy cannot be looked at", "day", start.Format(time.DateOnly), "error", err)
			return
		}
	}
	w := r.work
	done, err := w.walk(ctx, v)
	if err == nil && !done {
		return
	}
	var all []wire.ComponentAccuracy
	if err == nil {
		all, err = w.judge(ctx, v)
	}
	if err != nil && (ctx.Err() != nil || schemas.CodeOf(err) == schemas.CodeUnavailable) {
		return // once more, later
	}
	if err != nil {
		v.opts.Log.Warn("accuracy cannot be told", "day", w.start.Format(time.DateOnly), "error", err)
	}
	w.file.Close() // it has no name: nothing is left
	r.work = nil
	// Forecasts of the last hour of the day before reach into this one.
	r.below, r.ended = w.head+ahead, r.ended || w.head == 0
	r.set(w.start, all)
}

func (r *realised) set(start time.Time, all []wire.ComponentAccuracy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.points == nil {
		r.points = map[int64]*wire.AccuracyPoint{}
	}
	r.points[start.UnixMilli()] = nil
	if p, ok := point(start, all); ok {
		r.points[start.UnixMilli()] = &p
		if start.After(r.newest) {
			r.newest, r.components = start, all
		}
	}
	for at := range r.points {
		if at <= start.Add(-keptDays*day).UnixMilli() {
			delete(r.points, at)
		}
	}
}

// workday is one day that is looked at. What was forecast for it and what happened on
// the day before lie in a file, because of all components together they are more than
// should be held in memory.
type workday struct {
	start    time.Time
	snapshot *samples.Snapshot
	step     time.Duration
	head     uint64    // the next one to look at, 0 when there is none
	last     time.Time // when the forecasts were made that were read last
	file     *os.File  // without a name; a row for each of series
	index    map[forecastKey]int
	series   []judged
	row      []byte // of the file
}

// judged sums up one series.
type judged struct {
	key        forecastKey
	forecaster string
	off, naive float64 // sums of absolute errors
	n          int
}

func newWorkday(v *View, head artifact.Head, start time.Time, from uint64) (*workday, error) {
	snapshot, err := samples.New(v.store, samples.Options{}).At(head)
	if err != nil {
		return nil, err
	}
	step := snapshot.Step()
	if step <= 0 || day%step != 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "samples: step must divide a day, but is %s", step)
	}
	file, err := unnamed(v.opts.Dir)
	if err != nil {
		return nil, err
	}
	return &workday{start: start, snapshot: snapshot, step: step, head: from, file: file, index: map[forecastKey]int{}, row: make([]byte, 8*int(day/step))}, nil
}

// buckets returns how many buckets the day has.
func (w *workday) buckets() int { return int(day / w.step) }

// bucket returns the place of an instant in a day that begins at start, and whether it
// lies in it.
func (w *workday) bucket(start, at time.Time) (int, bool) {
	i := int(at.Sub(start) / w.step)
	return i, !at.Before(start) && i < w.buckets()
}

// walk goes back through the heads until it has read the forecasts of one. It reports
// whether those of the whole day have been read.
func (w *workday) walk(ctx context.Context, v *View) (bool, error) {
	for range glances {
		if w.head == 0 {
			return true, nil
		}
		head, err := v.store.ReadHead(ctx, schemas.ForecastsHead, w.head)
		switch code := schemas.CodeOf(err); {
		case code == schemas.CodeNotFound: // swept, and so are those before
			w.head = 0
			return true, nil
		case code == schemas.CodeCorrupt || code == schemas.CodeInvalidData:
			w.head--
			continue
		case err != nil:
			return false, err
		}
		d, err := forecasts.Describe(head)
		made := d.Now.UTC().Truncate(w.step)
		switch {
		case err != nil || !made.Before(w.start.Add(day)) || !w.last.IsZero() && made.After(w.last.Add(-ahead*w.step)):
			w.head--
			continue
		case !made.Add(ahead * w.step).After(w.start):
			return true, nil
		}
		err = forecasts.Scan(ctx, v.store, head, func(f *schemas.Forecast) error { return w.enter(v, f) })
		if code := schemas.CodeOf(err); err != nil && code != schemas.CodeNotFound && code != schemas.CodeCorrupt && code != schemas.CodeInvalidData {
			return false, err
		}
		w.last = made
		w.head--
		return false, nil
	}
	return false, nil
}

// enter notes what one forecast says of the day. Forecasts come from the newest to the
// oldest: what was said later stays.
func (w *workday) enter(v *View, f *schemas.Forecast) error {
	if f.Step != w.step {
		return nil
	}
	var at []int
	for i := range min(ahead, f.Steps()) {
		if _, ok := w.bucket(w.start, f.Time(i)); ok {
			at = append(at, i)
		}
	}
	if at == nil {
		return nil
	}
	k := forecastKey{v.names.number(f.Component), f.Resource}
	n, known := w.index[k]
	if !known {
		n = len(w.series)
		w.index[k] = n
		s := judged{key: k}
		if len(f.Forecasters) > 0 {
			s.forecaster = string(v.names.reason(schemas.Reason(f.Forecasters[0]))) // each name once
		}
		w.series = append(w.series, s)
		for i := range 2 * w.buckets() {
			w.put(i, math.NaN())
		}
	} else if err := w.load(n); err != nil {
		return err
	}
	for _, i := range at {
		if b, _ := w.bucket(w.start, f.Time(i)); math.IsNaN(w.at(b)) {
			w.put(b, f.At(i, .5))
		}
	}
	return w.store(n)
}

// at and put are the values of a row: what was forecast for each bucket of the day,
// and then what was measured in each of the day before. NaN is what is not known.
func (w *workday) at(i int) float64 {
	return float64(math.Float32frombits(binary.NativeEndian.Uint32(w.row[4*i:])))
}

func (w *workday) put(i int, value float64) {
	binary.NativeEndian.PutUint32(w.row[4*i:], math.Float32bits(float32(value)))
}

func (w *workday) load(n int) error {
	_, err := w.file.ReadAt(w.row, int64(n)*int64(len(w.row)))
	return schemas.WithCode(schemas.CodeInternal, err)
}

func (w *workday) store(n int) error {
	_, err := w.file.WriteAt(w.row, int64(n)*int64(len(w.row)))
	return schemas.WithCode(schemas.CodeInternal, err)
}

// judge holds the forecasts of the day against what happened, and returns the series
// of which enough is known, in order.
func (w *workday) judge(ctx context.Context, v *View) ([]wire.ComponentAccuracy, error) {
	if len(w.series) == 0 {
		return nil, nil
	}
	for i := range w.series {
		w.series[i].off, w.series[i].naive, w.series[i].n = 0, 0, 0 // of a try before
	}
	before := w.start.Add(-day)
	err := w.scan(ctx, v, before, func(n, b int, value float64) { w.put(w.buckets()+b, value) }, true)
	if err == nil {
		err = w.scan(ctx, v, w.start, func(n, b int, came float64) {
			if said, same := w.at(b), w.at(w.buckets()+b); !math.IsNaN(said) && !math.IsNaN(same) {
				s := &w.series[n]
				// As exact as what they are compared with.
				came = float64(float32(came))
				s.off, s.naive, s.n = s.off+math.Abs(came-said), s.naive+math.Abs(came-same), s.n+1
			}
		}, false)
	}
	if err != nil {
		return nil, fmt.Errorf("read the samples of %s: %w", w.start.Format(time.DateOnly), err)
	}
	var out []wire.ComponentAccuracy
	for i := range w.series {
		s := &w.series[i]
		if s.n < w.buckets()/4 {
			continue
		}
		out = append(out, wire.ComponentAccuracy{
			Component: wire.ComponentID(v.names.name(s.key.component)), Resource: s.key.resource, Forecaster: s.forecaster,
			MAE: s.off / float64(s.n), Naive: s.naive / float64(s.n),
		})
	}
	slices.SortFunc(out, compareAccuracy)
	return out, nil
}

// scan has f see each value that was measured on a day of the series that were
// forecast, with the series' row at hand. It keeps the row where f changes it.
func (w *workday) scan(ctx context.Context, v *View, start time.Time, f func(n, bucket int, value float64), changes bool) error {
	return w.snapshot.Scan(ctx, samples.Range{From: start, To: start.Add(day)}, func(id schemas.ComponentID, rows []columnar.Row) error {
		number, ok := v.names.find(id)
		if !ok {
			return nil
		}
		for _, r := range schemas.Resources() {
			n, ok := w.index[forecastKey{number, r}]
			if !ok {
				continue
			}
			if err := w.load(n); err != nil {
				return err
			}
			for i := range rows {
				reading := rows[i].CPU
				if r == schemas.Memory {
					reading = rows[i].Memory
				}
				if b, ok := w.bucket(start, columnar.Time(rows[i].Start)); ok && reading.Count != columnar.Unknown {
					f(n, b, columnar.Quantity(r, reading.Mean))
				}
			}
			if changes {
				if err := w.store(n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Basis says what [View.Accuracy] rests on.
type Basis string

// The bases. What has really happened counts for more, but takes a day and a half from
// the first forecast on.
const (
	Backtest Basis = "backtest"
	Realised Basis = "realised"
)

// Accuracy returns how close forecasts were: over time, and of the newest day by
// component, in order. Where no day is over that can be judged it is the current
// models' on the day before their training, and that of the trainings before.
func (v *View) Accuracy() (Basis, []wire.AccuracyPoint, []wire.ComponentAccuracy) {
	if points, components := v.realised.list(); len(points) > 0 {
		return Realised, points, components
	}
	points := v.accuracy.list()
	if t := v.current.Load().models; t != nil {
		return Backtest, points, t.accuracy
	}
	return Backtest, points, nil
}

// Package ledger holds forecasts against what then came: how accurate they were over
// the last day ([Ledger.Accuracy]), whether those made hours ahead are still better than
// the same time of the day before ([Ledger.Drift]), and which components have history
// enough to learn from that no model has learned from yet ([Ledger.Learnable]).
//
// [Ledger.Update] reads what is new in the store and remembers a few days of it: some 4
// kB for each resource of a component. After a start it reads the days before in small
// pieces, a few forecasts a call, so that no call takes long; until they are read there
// is less to judge by, and nothing wrong.
package ledger

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

const (
	// memory is how far back usage is remembered: two days to judge drift on, and
	// one before that to compare with.
	memory = 3 * 24 * time.Hour
	// judged is the time that drift is judged on.
	judged = 2 * 24 * time.Hour
	// near is how many steps of a forecast count for its accuracy, where no later
	// forecast covers them.
	near = 4
	// far is how many steps ahead drift is judged at. Nearer by, the last value alone
	// is hard to beat, and says nothing of what was learned.
	far = 32
	// late is how late a sample may come and still be seen at once.
	late = 2 * time.Hour
	// lookback is how far back samples are read at first. A component that is seen
	// within a day after it counts as there for ever.
	lookback = memory + 2*24*time.Hour

	// newForecasts and oldForecasts bound how many forecasts one call reads, and
	// stride is how many are passed over between two old ones: one in an hour is
	// enough to judge by.
	newForecasts, oldForecasts, stride = 8, 2, 4
)

// What a network needs of a component, as package ladder has it (RungNetwork): how long
// it must have been measured, and which share of that.
const (
	learnable = 3 * 24 * time.Hour
	complete  = .75
)

// Ledger is for one goroutine at a time.
type Ledger struct {
	step   time.Duration // 0 until the first samples
	size   int64         // buckets that are remembered
	end    int64         // number of the bucket after the newest remembered one
	series map[key]*series
	// since is when a component was first measured; zero where that was before
	// anything was read.
	since map[schemas.ComponentID]time.Time

	samples         uint64 // number of the head that was read last, 0 for none
	measured        int64  // number of the bucket after the newest measured one
	first, until    time.Time
	newest, oldest  uint64    // numbers of the forecasts' heads that were read
	modelled        time.Time // how far the accepted models have seen
	haveModel, held bool
}

type key struct {
	component schemas.ComponentID
	resource  schemas.Resource
}

// series is what is remembered of one resource of a component. Each ring holds a value a
// bucket, NaN where none is known, at the bucket's number modulo its length.
type series struct {
	actual []float32
	near   []float32 // medians of the newest forecast that was made before the bucket
	far    []float32 // medians of the forecast that was made far steps before
	drifts bool
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{series: map[key]*series{}, since: map[schemas.ComponentID]time.Time{}}
}

// Update reads what is new in the store since the last call and, where the days before
// are not all read yet, some of that. It reports whether anything has changed. After an
// error what was read before stands, and the next call goes on from there.
func (l *Ledger) Update(ctx context.Context, store *artifact.Store, now time.Time) (changed bool, err error) {
	c1, err := l.readSamples(ctx, store, now)
	if err != nil || l.step == 0 {
		return c1, err
	}
	c2, err := l.readModels(ctx, store)
	if err != nil {
		return c1 || c2, err
	}
	c3, err := l.readForecasts(ctx, store, now)
	if c1 || c2 || c3 {
		l.judge()
	}
	return c1 || c2 || c3, err
}

// Measured returns the time that is measured: from the start of the oldest bucket to the
// end of the newest one, both zero where there is none, as the last call of Update saw.
func (l *Ledger) Measured() (from, until time.Time) { return l.first, l.until }

// Held reports whether somebody wants the models kept as they are: a training would
// change nothing.
func (l *Ledger) Held() bool { return l.held }

func (l *Ledger) readSamples(ctx context.Context, store *artifact.Store, now time.Time) (bool, error) {
	head, err := store.Latest(ctx, schemas.SamplesHead)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if head.Number == l.samples {
		return false, nil
	}
	snapshot, err := samples.New(store, samples.Options{}).At(head)
	if err != nil {
		return false, err
	}
	if snapshot.Step() != l.step {
		l.reset(snapshot.Step())
	}
	from := l.until.Add(-late)
	initial := l.samples == 0 || head.Manifest.From.Before(l.first) // or filled up from the past
	if initial {
		from = now.Add(-lookback)
	}
	to := head.Manifest.To
	l.advance(l.bucket(to))
	err = snapshot.Scan(ctx, samples.Range{From: from, To: to}, func(id schemas.ComponentID, rows []columnar.Row) error {
		start := columnar.Time(rows[0].Start)
		if initial && start.Before(from.Add(24*time.Hour)) {
			start = time.Time{}
		}
		if since, known := l.since[id]; !known || start.Before(since) {
			l.since[id] = start
		}
		for i := range rows {
			b := l.bucket(columnar.Time(rows[i].Start))
			l.measure(key{id, schemas.CPU}, b, rows[i].CPU)
			l.measure(key{id, schemas.Memory}, b, rows[i].Memory)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	l.samples, l.first, l.until = head.Number, head.Manifest.From, to
	l.measured = l.bucket(to)
	l.forget()
	return true, nil
}

// reset forgets everything: buckets have another length.
func (l *Ledger) reset(step time.Duration) {
	*l = *New()
	l.step = step
	l.size = int64(memory/step) + far + 1
}

// bucket returns the number of the bucket that t falls into.
func (l *Ledger) bucket(t time.Time) int64 { return t.UnixMilli() / l.step.Milliseconds() }

// advance makes room up to a bucket, which is not included.
func (l *Ledger) advance(end int64) {
	if end <= l.end {
		return
	}
	from := max(l.end, end-l.size)
	for _, s := range l.series {
		for b := from; b < end; b++ {
			i := b % l.size
			s.actual[i], s.near[i], s.far[i] = nan, nan, nan
		}
	}
	l.end = end
}

var nan = float32(math.NaN())

// holds reports whether a bucket is remembered.
func (l *Ledger) holds(b int64) bool { return b >= l.end-l.size && b < l.end }

func (l *Ledger) at(ring []float32, b int64) (float64, bool) {
	if !l.holds(b) {
		return 0, false
	}
	v := ring[b%l.size]
	return float64(v), v == v
}

func (l *Ledger) of(k key) *series {
	s := l.series[k]
	if s == nil {
		s = &series{actual: l.empty(), near: l.empty(), far: l.empty()}
		l.series[k] = s
	}
	return s
}

func (l *Ledger) empty() []float32 { return slices.Repeat([]float32{nan}, int(l.size)) }

func (l *Ledger) measure(k key, b int64, r columnar.Reading) {
	if r.Count != columnar.Unknown && l.holds(b) {
		l.of(k).actual[b%l.size] = float32(columnar.Quantity(k.resource, r.Mean))
	}
}

// forget drops the components that nothing is known of any more.
func (l *Ledger) forget() {
	alive := map[schemas.ComponentID]bool{}
	known := func(v float32) bool { return v == v }
	for k, s := range l.series {
		if slices.ContainsFunc(s.actual, known) {
			alive[k.component] = true
		}
	}
	for k := range l.series {
		if !alive[k.component] {
			delete(l.series, k)
		}
	}
	for id := range l.since {
		if !alive[id] {
			delete(l.since, id)
		}
	}
}

// readModels notes what the accepted models have seen. What forecasts came of those
// before says nothing about the new ones.
func (l *Ledger) readModels(ctx context.Context, store *artifact.Store) (bool, error) {
	head, err := store.Latest(ctx, schemas.ModelsHead)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held := models.RecordOf(head).Hold
	if l.haveModel && held == l.held && head.Manifest.To.Equal(l.modelled) {
		return false, nil
	}
	l.haveModel, l.held, l.modelled = true, held, head.Manifest.To
	for _, s := range l.series {
		copy(s.far, l.empty())
		s.drifts = false
	}
	return true, nil
}

func (l *Ledger) readForecasts(ctx context.Context, store *artifact.Store, now time.Time) (changed bool, err error) {
	head, err := store.Latest(ctx, schemas.ForecastsHead)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if l.newest == 0 {
		l.newest, l.oldest = head.Number-1, head.Number
	}
	for number := max(l.newest+1, head.Number-min(head.Number, newForecasts)+1); number <= head.Number; number++ {
		if _, err := l.readForecast(ctx, store, number, true); err != nil {
			return changed, err
		}
		l.newest, changed = number, true
	}
	for range oldForecasts {
		if l.oldest <= stride {
			break
		}
		made, err := l.readForecast(ctx, store, l.oldest-stride, false)
		if err != nil {
			return changed, err
		}
		l.oldest -= stride
		changed = true
		if !made.IsZero() && made.Before(now.Add(-judged)) {
			l.oldest = 0 // the rest is older still
		}
	}
	return changed, nil
}

// readForecast enters one run's forecasts and returns the end of the data that they
// were made from. A head that is damaged or gone is passed over.
func (l *Ledger) readForecast(ctx context.Context, store *artifact.Store, number uint64, newer bool) (time.Time, error) {
	head, err := store.ReadHead(ctx, schemas.ForecastsHead, number)
	if err == nil {
		l.advance(l.bucket(head.Manifest.To) + far + 1)
		err = forecasts.Scan(ctx, store, head, func(f *schemas.Forecast) error {
			l.enter(f, newer)
			return nil
		})
	}
	if code := schemas.CodeOf(err); code == schemas.CodeNotFound || code == schemas.CodeCorrupt || code == schemas.CodeInvalidData {
		return time.Time{}, nil
	}
	return head.Manifest.To, err
}

// enter notes one forecast. Newer says that it is newer than all that were entered
// before, else it is older.
func (l *Ledger) enter(f *schemas.Forecast, newer bool) {
	s := l.series[key{f.Component, f.Resource}]
	if s == nil || f.Step != l.step { // nothing was measured to hold it against
		return
	}
	b := l.bucket(f.Origin)
	for i := range min(near, f.Steps()) {
		if _, known := l.at(s.near, b+int64(i)); l.holds(b+int64(i)) && (newer || !known) {
			s.near[(b+int64(i))%l.size] = float32(f.At(i, .5))
		}
	}
	if ahead := b + far - 1; far <= f.Steps() && l.holds(ahead) && !f.Origin.Before(l.modelled) {
		s.far[ahead%l.size] = float32(f.At(far-1, .5))
	}
}

package view

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Options say how a [View] works. The zero value works.
type Options struct {
	// Dir is the folder for files without a name and for copies of data files; a
	// folder of its own below the system's for temporary files where "".
	Dir string
	// Every is how often new heads are looked for; 0 means 5 s.
	Every time.Duration
	// DecisionBytes and FileBytes bound what is kept in Dir of earlier decisions
	// and of data files; 0 means 256 MiB each. The newest forecasts and decisions
	// come on top: about 25 kB a component.
	DecisionBytes, FileBytes int64
	// Share is how much of the time may go into looking at the past, from which accuracy
	// over time comes: with 10,000 components one set of forecasts takes seconds to read,
	// and there may be hundreds. 0 means a twentieth, 1 all of it.
	Share float64
	Clock clock.Clock  // nil means the real one
	Log   *slog.Logger // nil means none
}

// View holds what is current in a store. Its methods may be called from several
// goroutines.
type View struct {
	store *artifact.Store
	// asked is the same store, for what callers ask for: while it does not answer they
	// are told at once.
	asked *artifact.Store
	files *fileCache
	opts  Options

	current   atomic.Pointer[content]
	names     names
	archive   archive
	histories histories

	refreshing sync.Mutex
	skip       map[schemas.Pipeline]uint64 // heads that could not be understood
	rested     time.Time                   // when the past may be looked at again
	accuracy   accuracyPoints
	line       modelLine
	realised   realised

	mu    sync.Mutex
	since time.Time // when the store was first found not to answer; zero while it does
	why   string
	seen  time.Time // when it last answered
}

// content is everything that is current at one moment. It is replaced as a whole.
type content struct {
	forecasts *set
	samples   *artifact.Head
	models    *trained
}

// State says how far the data reaches and whether the store answers.
type State struct {
	// Since is when the store was found not to answer, the zero time while it
	// does. Message says what it did instead.
	Since   time.Time
	Message string
	// Seen is when the store last answered.
	Seen time.Time
	// Samples is the end of the newest bucket that was measured, Forecast when
	// forecasts were last made, and Models the end of what the current models
	// learned from. Zero where there is none yet.
	Samples, Forecast, Models time.Time
	// Heads are the numbers of the heads that are shown.
	Heads map[schemas.Pipeline]uint64
}

// New returns a view of a store. It shows nothing before the first
// [View.Refresh]. Close it after use.
func New(store *artifact.Store, opts Options) (*View, error) {
	opts.Every = cmp.Or(opts.Every, 5*time.Second)
	opts.DecisionBytes = cmp.Or(opts.DecisionBytes, 256<<20)
	opts.FileBytes = cmp.Or(opts.FileBytes, 256<<20)
	opts.Share = cmp.Or(opts.Share, .05)
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	files, err := newFileCache(opts.Dir, opts.FileBytes)
	if err != nil {
		return nil, err
	}
	v := &View{store: store, files: files, opts: opts, skip: map[schemas.Pipeline]uint64{}}
	v.names.index = map[schemas.ComponentID]uint32{}
	v.archive = archive{dir: opts.Dir, budget: opts.DecisionBytes, sets: map[uint64]*set{}}
	v.asked = store.Through(func(b artifact.Bucket) artifact.Bucket { return &impatient{b, v} })
	v.histories = newHistories(v.asked.Through(func(b artifact.Bucket) artifact.Bucket {
		files.Bucket = b
		return files
	}))
	v.current.Store(&content{})
	return v, nil
}

// Run refreshes the view until ctx ends.
func (v *View) Run(ctx context.Context) {
	timer := v.opts.Clock.NewTimer(v.opts.Every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		// What went wrong is logged, and the state says it.
		_ = v.Refresh(ctx)
		timer.Reset(v.opts.Every)
	}
}

// Close gives back what the view holds.
func (v *View) Close() error {
	v.refreshing.Lock()
	defer v.refreshing.Unlock()
	if old := v.current.Swap(&content{}); old.forecasts != nil {
		old.forecasts.spool.close()
	}
	if w := v.realised.work; w != nil {
		w.file.Close() // it has no name: nothing is left
		v.realised.work = nil
	}
	v.archive.close()
	return v.files.remove()
}

// Refresh loads what is new. It returns an error where the store does not answer;
// what was there before is shown on.
func (v *View) Refresh(ctx context.Context) error {
	v.refreshing.Lock()
	defer v.refreshing.Unlock()
	err := v.refresh(ctx)
	now := v.opts.Clock.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		if !v.since.IsZero() {
			v.opts.Log.Info("the store answers again", "after", now.Sub(v.since).String())
		}
		v.since, v.why, v.seen = time.Time{}, "", now
	case ctx.Err() == nil:
		if v.since.IsZero() {
			v.since = now
			v.opts.Log.Warn("the store does not answer; what was read before is shown", "error", err)
		}
		v.why = err.Error()
	}
	return err
}

func (v *View) refresh(ctx context.Context) error {
	old := v.current.Load()
	c := *old
	var errs []error
	for _, part := range []struct {
		pipeline schemas.Pipeline
		shown    uint64
		load     func(artifact.Head) error
	}{
		{schemas.ForecastsHead, old.forecasts.Number(), func(h artifact.Head) (err error) {
			c.forecasts, err = v.loadSet(ctx, h)
			return err
		}},
		{schemas.SamplesHead, headNumber(old.samples), func(h artifact.Head) error {
			c.samples = &h
			return nil
		}},
		{schemas.ModelsHead, old.models.Number(), func(h artifact.Head) (err error) {
			c.models, err = v.loadModels(ctx, h)
			return err
		}},
	} {
		head, ok, err := v.newer(ctx, part.pipeline, max(part.shown, v.skip[part.pipeline]))
		if err == nil && ok {
			err = part.load(head)
			if err != nil && schemas.CodeOf(err) != schemas.CodeUnavailable && ctx.Err() == nil {
				v.opts.Log.Warn("a head cannot be used; the one before is shown", "pipeline", string(part.pipeline), "number", head.Number, "error", err)
				v.skip[part.pipeline] = head.Number
				err = nil
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	v.current.Store(&c)
	if old.forecasts != nil && old.forecasts != c.forecasts {
		old.forecasts.spool.close()
	}
	if len(errs) == 0 && !time.Now().Before(v.rested) {
		begun := time.Now() // the processor's time, whatever the clock of the view says
		v.accuracy.fill(ctx, v, c.models)
		v.realised.fill(ctx, v, &c)
		took := time.Since(begun)
		v.rested = begun.Add(time.Duration(float64(took) / v.opts.Share))
	}
	return errors.Join(errs...)
}

// newer returns the newest valid head of a pipeline above a number. Heads have
// one number after the other, so that looking for the next one says whether there
// is any, for one request; only what is damaged needs a listing.
func (v *View) newer(ctx context.Context, p schemas.Pipeline, shown uint64) (newest artifact.Head, ok bool, err error) {
	for n := shown + 1; shown > 0; n++ {
		h, err := v.store.ReadHead(ctx, p, n)
		switch {
		case err == nil:
			newest, ok = h, true
			continue
		case errors.Is(err, artifact.ErrNotFound):
			return newest, ok, nil
		case schemas.CodeOf(err) == schemas.CodeUnavailable || ctx.Err() != nil:
			return newest, ok, err
		}
		break
	}
	h, err := v.store.Latest(ctx, p)
	if errors.Is(err, artifact.ErrNotFound) {
		return artifact.Head{}, false, nil
	}
	return h, err == nil && h.Number > shown, err
}

func headNumber(h *artifact.Head) uint64 {
	if h == nil {
		return 0
	}
	return h.Number
}

// State returns how far the data reaches and whether the store answers.
func (v *View) State() State {
	c := v.current.Load()
	v.mu.Lock()
	s := State{Since: v.since, Message: v.why, Seen: v.seen}
	v.mu.Unlock()
	s.Heads = map[schemas.Pipeline]uint64{
		schemas.ForecastsHead: c.forecasts.Number(), schemas.SamplesHead: headNumber(c.samples), schemas.ModelsHead: c.models.Number(),
	}
	if c.forecasts != nil {
		s.Forecast = c.forecasts.Now
	}
	if c.samples != nil {
		s.Samples = c.samples.Manifest.To
	}
	if c.models != nil {
		s.Models = c.models.until
	}
	return s
}

// StaleSince returns since when the store has not answered, nil while it does.
func (v *View) StaleSince() *time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.since.IsZero() {
		return nil
	}
	since := v.since.UTC()
	return &since
}

// impatient is a bucket that is not asked while the store is known not to answer:
// each try takes long there, and those who look for it to be back are enough.
type impatient struct {
	artifact.Bucket
	view *View
}

func (b *impatient) err() error {
	if since := b.view.StaleSince(); since != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "the store has not answered since %s", since.Format(time.RFC3339))
	}
	return nil
}

// Get implements [artifact.Bucket].
func (b *impatient) Get(ctx context.Context, key string) ([]byte, error) {
	if err := b.err(); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key)
}

// List implements [artifact.Bucket].
func (b *impatient) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Bucket.List(ctx, prefix, yield)
}

// unit is what a resource is measured in.
func unit(r schemas.Resource) string {
	if r == schemas.Memory {
		return "bytes"
	}
	return "cores"
}

func encodeForecast(f *schemas.Forecast, s *set) wire.Forecast {
	w := wire.Forecast{
		Component: wire.ComponentID(f.Component), Resource: f.Resource, Unit: unit(f.Resource),
		Run: s.Run, Time: s.Now, Origin: f.Origin, Step: f.Step.String(), StepSeconds: int(f.Step / time.Second),
		Levels: f.Levels, Forecasters: f.Forecasters,
		Values: make([][]float64, f.Steps()),
	}
	for i := range w.Values {
		w.Values[i] = f.Row(i)
	}
	for i := range f.PeakSteps() {
		w.Peaks = append(w.Peaks, f.PeakRow(i))
	}
	return w
}

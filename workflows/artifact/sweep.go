package artifact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/schemas"
)

// MinGrace is the least age of an object that a sweep deletes. A writer stores
// its files before the manifest that commits them; what it has stored must not
// go in between.
const MinGrace = time.Hour

// SweepOptions say what a sweep keeps. [DefaultSweepOptions] is what the product
// uses.
type SweepOptions struct {
	// Heads is how many of the newest valid heads to keep, by pipeline. A
	// pipeline that is not named keeps all of its heads.
	Heads map[schemas.Pipeline]int
	// Runs is the age up to which run manifests, and with them their files, are
	// kept. 0 keeps them all.
	Runs time.Duration
	// Grace is the age that an object must have reached before it is deleted, at
	// least [MinGrace].
	Grace time.Duration
	// DryRun reports what would be deleted and deletes nothing.
	DryRun bool
}

// DefaultSweepOptions keeps a week of sample heads, a month of nightly models,
// every forecast, and a fortnight of run manifests, and deletes nothing younger
// than two days.
func DefaultSweepOptions() SweepOptions {
	return SweepOptions{
		Heads: map[schemas.Pipeline]int{
			schemas.SamplesHead: 7 * 96,
			schemas.ModelsHead:  31,
		},
		Runs:  14 * 24 * time.Hour,
		Grace: 48 * time.Hour,
	}
}

// Validate reports the first option that breaks a rule.
func (o SweepOptions) Validate() error {
	for p, n := range o.Heads {
		if n < 1 {
			return schemas.Errorf(schemas.CodeInvalidConfig, "heads of %s to keep must be at least 1, but are %d", p, n)
		}
	}
	if o.Runs < 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "age of runs to keep must not be negative, but is %s", o.Runs)
	}
	if o.Grace < MinGrace {
		return schemas.Errorf(schemas.CodeInvalidConfig, "grace must be at least %s, but is %s", MinGrace, o.Grace)
	}
	return nil
}

// SweepReport tells what a sweep did, or would do in a dry run.
type SweepReport struct {
	Kept         int   // objects that stay because something refers to them
	KeptBytes    int64 // their size
	Young        int   // objects that nothing refers to and that are within their grace
	Deleted      []string
	DeletedBytes int64
	// Invalid names heads and run manifests that could not be read. What only
	// they refer to is not kept.
	Invalid []string
}

// Sweep deletes what nothing refers to any more: data files that are named by
// none of the kept heads and run manifests, heads and run manifests beyond those
// kept, and what probes left behind. Run manifests that a kept head names as its
// inputs are kept with it. The newest head of a pipeline always stays.
// It deletes only what is older than the grace by the store's own clock, and
// leaves objects alone whose keys it does not know.
//
// It may run beside writers and readers, and may be stopped at any moment. An
// error, where the store does not answer, comes with the report so far; where the
// sweep cannot see all that is referred to, it deletes nothing.
func (s *Store) Sweep(ctx context.Context, o SweepOptions) (SweepReport, error) {
	if err := o.Validate(); err != nil {
		return SweepReport{}, err
	}
	if !o.DryRun {
		if err := s.checkWritable(); err != nil {
			return SweepReport{}, err
		}
	}
	w := sweep{store: s, options: o, now: s.opts.Clock.Now(), keep: make(map[string]bool)}
	// The objects are listed before the references are read: what a manifest
	// committed in between names is then not among the candidates, or is marked.
	if err := w.list(ctx); err != nil {
		return w.report, err
	}
	if err := w.mark(ctx); err != nil {
		return w.report, err
	}
	err := w.delete(ctx)
	return w.report, err
}

type sweep struct {
	store   *Store
	options SweepOptions
	now     time.Time
	objects []ObjectInfo
	keep    map[string]bool // by key
	report  SweepReport
}

func (w *sweep) list(ctx context.Context) error {
	// In the order of deletion: what refers goes before what is referred to, so
	// that a sweep that is stopped leaves no head without its files.
	for _, prefix := range []string{"heads/", "runs/", "probe/", "data/"} {
		err := w.store.bucket.List(ctx, prefix, func(o ObjectInfo) bool {
			w.objects = append(w.objects, o)
			return true
		})
		if err != nil {
			return fmt.Errorf("sweep: list %s: %w", prefix, err)
		}
	}
	return nil
}

// mark fills in what to keep.
func (w *sweep) mark(ctx context.Context) error {
	// References are listed anew: w.objects may lack the newest.
	heads := make(map[schemas.Pipeline][]ObjectInfo)
	err := w.store.bucket.List(ctx, "heads/", func(o ObjectInfo) bool {
		p, _, ok := splitHeadKey(o.Key)
		if !ok {
			w.keep[o.Key] = true // not ours to judge
			return true
		}
		heads[p] = append(heads[p], o)
		return true
	})
	if err != nil {
		return fmt.Errorf("sweep: list heads: %w", err)
	}
	for _, p := range slices.Sorted(maps.Keys(heads)) {
		slices.Reverse(heads[p])
		if err := w.markHeads(ctx, p, heads[p]); err != nil {
			return err
		}
	}
	return w.markRuns(ctx)
}

// sweepParallel is how many heads or manifests are read at the same time.
const sweepParallel = 8

// markHeads keeps the newest valid heads of a pipeline, as many as the options
// say, and those within their grace, which a reader may just be following. Heads
// come newest first.
func (w *sweep) markHeads(ctx context.Context, p schemas.Pipeline, heads []ObjectInfo) error {
	w.keep[heads[0].Key] = true // the next number is counted from it
	limit := w.options.Heads[p]
	if limit == 0 {
		limit = len(heads)
	}
	valid := 0
	for chunk := range slices.Chunk(heads, 4*sweepParallel) {
		read := make([]Head, len(chunk))
		errs := make([]error, len(chunk))
		each(len(chunk), func(i int) {
			_, number, _ := splitHeadKey(chunk[i].Key)
			read[i], errs[i] = w.store.ReadHead(ctx, p, number)
		})
		for i, o := range chunk {
			if valid >= limit && w.age(o) > w.options.Grace {
				return nil
			}
			switch {
			case errs[i] == nil:
				valid++
				w.keep[o.Key] = true
				w.keepFiles(read[i].Manifest)
				w.keepRuns(read[i].Manifest)
			case errors.Is(errs[i], ErrNotFound):
			case invalid(errs[i]):
				w.report.Invalid = append(w.report.Invalid, o.Key)
			default:
				return fmt.Errorf("sweep: %w", errs[i])
			}
		}
	}
	return nil
}

func (w *sweep) markRuns(ctx context.Context) error {
	var keys []string
	err := w.store.bucket.List(ctx, "runs/", func(o ObjectInfo) bool {
		if !strings.HasSuffix(o.Key, "/manifest.json") {
			w.keep[o.Key] = true // not ours to judge
			return true
		}
		if w.options.Runs == 0 || w.age(o) <= max(w.options.Runs, w.options.Grace) {
			keys = append(keys, o.Key)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("sweep: list runs: %w", err)
	}
	read := make([]Manifest, len(keys))
	errs := make([]error, len(keys))
	each(len(keys), func(i int) { read[i], errs[i] = w.store.ReadManifest(ctx, keys[i]) })
	for i, key := range keys {
		w.keep[key] = true
		switch {
		case errs[i] == nil:
			w.keepFiles(read[i])
		case errors.Is(errs[i], ErrNotFound):
		case invalid(errs[i]):
			w.report.Invalid = append(w.report.Invalid, key)
		default:
			return fmt.Errorf("sweep: %w", errs[i])
		}
	}
	return nil
}

func (w *sweep) keepFiles(m Manifest) {
	for _, f := range m.Files {
		w.keep[f.Key] = true
	}
}

// keepRuns keeps the run manifests that a head was put together from, however old
// they are: what reads the head may go through them.
func (w *sweep) keepRuns(m Manifest) {
	for _, in := range m.Inputs {
		if strings.HasPrefix(in.Key, "runs/") {
			w.keep[in.Key] = true
		}
	}
}

func (w *sweep) delete(ctx context.Context) error {
	for _, o := range w.objects {
		switch {
		case w.keep[o.Key]:
			w.report.Kept++
			w.report.KeptBytes += o.Size
			continue
		case w.age(o) <= w.options.Grace:
			w.report.Young++
			continue
		}
		if !w.options.DryRun {
			// Since the listing somebody may have stored the same content anew.
			old, err := w.stillOld(ctx, o.Key)
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if !old {
				w.report.Young++
				continue
			}
			if err := w.store.bucket.Delete(ctx, o.Key); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
		w.report.Deleted = append(w.report.Deleted, o.Key)
		w.report.DeletedBytes += o.Size
	}
	return nil
}

func (w *sweep) stillOld(ctx context.Context, key string) (bool, error) {
	old := false
	err := w.store.bucket.List(ctx, key, func(o ObjectInfo) bool {
		old = o.Key == key && w.age(o) > w.options.Grace
		return false
	})
	return old, err
}

func (w *sweep) age(o ObjectInfo) time.Duration { return w.now.Sub(o.Modified) }

// each calls f for 0 to n-1, some at the same time.
func each(n int, f func(i int)) {
	var g errgroup.Group
	g.SetLimit(sweepParallel)
	for i := range n {
		g.Go(func() error { f(i); return nil })
	}
	g.Wait() // f reports its own errors
}

func splitHeadKey(key string) (schemas.Pipeline, uint64, bool) {
	p, _, ok := strings.Cut(strings.TrimPrefix(key, "heads/"), "/")
	if !ok {
		return "", 0, false
	}
	n, ok := schemas.HeadNumber(schemas.Pipeline(p), key)
	return schemas.Pipeline(p), n, ok
}

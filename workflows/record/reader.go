package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Reader finds records. It remembers what it has read, since a record never changes,
// so that listing again costs one request a day listed and one for each record that
// is new. It may be used from several goroutines.
type Reader struct {
	store *artifact.Store

	mu   sync.Mutex
	read map[string]*workflows.Run // by key; nil for what is no record
}

// NewReader returns a reader of a store.
func NewReader(store *artifact.Store) *Reader {
	return &Reader{store: store, read: map[string]*workflows.Run{}}
}

// Get returns the record of a run. It returns an error wrapping
// [artifact.ErrNotFound] where none is kept.
func (r *Reader) Get(ctx context.Context, runID string) (workflows.Run, error) {
	manifests, err := r.store.StepManifests(ctx, runID, StepName)
	if err != nil {
		return workflows.Run{}, err
	}
	var best *workflows.Run
	for _, m := range manifests {
		for _, f := range m.Files {
			found, err := r.file(ctx, f)
			if err != nil {
				return workflows.Run{}, err
			}
			if found != nil && found.ID == runID && (best == nil || later(found, best)) {
				best = found
			}
		}
	}
	if best == nil {
		return workflows.Run{}, fmt.Errorf("run %q: no record of its end: %w", runID, artifact.ErrNotFound)
	}
	return best.Clone(), nil
}

// ListOptions narrows a list of records.
type ListOptions struct {
	workflows.ListOptions
	// From and To bound the UTC days on which runs have ended, both included.
	From, To time.Time
}

// readParallel is how many records are read at the same time.
const readParallel = 8

// List returns the records of runs that ended within the days of the options, the
// one that ended last first. One that is damaged is left out.
func (r *Reader) List(ctx context.Context, o ListOptions) ([]workflows.Run, error) {
	if o.To.Before(o.From) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "records: to must not be before from (%s), but is %s", o.From.Format(time.RFC3339), o.To.Format(time.RFC3339))
	}
	seen := map[string]bool{}
	var out []workflows.Run
	for day := range days(o.From, o.To) {
		found, err := r.day(ctx, day)
		if err != nil {
			return nil, err
		}
		for _, run := range found {
			// Of a run with several records the latest comes first.
			if seen[run.ID] {
				continue
			}
			seen[run.ID] = true
			if (o.Pipeline == "" || run.Pipeline == o.Pipeline) && (o.Phase == "" || run.Phase == o.Phase) {
				out = append(out, run.Clone())
			}
			if o.Limit > 0 && len(out) == o.Limit {
				return out, nil
			}
		}
	}
	r.forget(o.From, o.To)
	return out, nil
}

// day returns the records of one day, the one that ended last first.
func (r *Reader) day(ctx context.Context, day time.Time) ([]*workflows.Run, error) {
	files, err := r.store.Files(ctx, kind, day)
	if err != nil {
		return nil, err
	}
	found := make([]*workflows.Run, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readParallel)
	for i, f := range files {
		g.Go(func() (err error) {
			found[i], err = r.file(ctx, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(r *workflows.Run) bool { return r == nil })
	slices.SortFunc(found, func(a, b *workflows.Run) int {
		switch {
		case later(a, b):
			return -1
		case later(b, a):
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return found, nil
}

// file returns one record, nil where it is damaged or gone.
func (r *Reader) file(ctx context.Context, f artifact.File) (*workflows.Run, error) {
	r.mu.Lock()
	known, ok := r.read[f.Key]
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	data, err := r.store.GetFile(ctx, f)
	switch {
	case errors.Is(err, artifact.ErrNotFound): // swept since the listing
		return nil, nil
	case errors.Is(err, artifact.ErrCorrupt):
		return nil, nil // it may be mended: the next call looks again
	case err != nil:
		return nil, err
	}
	var found *workflows.Run
	if run, err := decode(f.Key, data); err == nil {
		found = &run
	}
	r.mu.Lock()
	r.read[f.Key] = found
	r.mu.Unlock()
	return found, nil
}

// forget drops what lies outside the days that were asked for: the reader of a
// window that moves would else grow for ever.
func (r *Reader) forget(from, to time.Time) {
	keep := map[string]bool{}
	for day := range days(from, to) {
		keep[schemas.DataPrefix(kind, day)] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.read, func(key string, _ *workflows.Run) bool { return !keep[key[:strings.LastIndexByte(key, '/')+1]] })
}

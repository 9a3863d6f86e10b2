// Package forecasts keeps what inference has said and decided: one head of the
// pipeline [schemas.ForecastsHead] a run, with the forecasts and the decisions as
// Parquet. Nothing is overwritten, so that each forecast can later be held
// against what really happened.
package forecasts

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// StepName is the step under whose name forecasts are committed.
const StepName = "inference"

const (
	kind            = "forecasts"
	ext             = "parquet"
	forecastsSchema = "forecasts.v1"
	decisionsSchema = "decisions.v1"
)

// Set is what one run of inference made.
type Set struct {
	Run       string
	Now       time.Time // the instant of the run
	DataUntil time.Time // end of the newest bucket that was seen
	Forecasts []*schemas.Forecast
	Decisions []schemas.Decision
}

// Write commits a set and makes it the current one, unless what is current is
// based on newer data: then it is kept under its run, and the outcome is
// [artifact.Superseded].
func Write(ctx context.Context, store *artifact.Store, version string, s Set, inputs []artifact.Input) (artifact.Head, artifact.Outcome, error) {
	w := NewWriter(store, version, s)
	for _, f := range slices.SortedStableFunc(slices.Values(s.Forecasts), func(a, b *schemas.Forecast) int { return a.Component.Compare(b.Component) }) {
		w.Add(ctx, f)
	}
	return w.Commit(ctx, s.Decisions, inputs)
}

// Writer writes a set whose forecasts come one after the other, so that not all of
// them need be there at once.
type Writer struct {
	store    *artifact.Store
	manifest artifact.Manifest
	now      time.Time
	file     *columnar.ForecastsWriter // nil between two files
	// rows and components are how many forecasts and components the file has.
	rows, components int
	newest           schemas.ComponentID
	written          int
	err              error
}

// fileComponents is how many components one file of forecasts holds: so many that
// an installation of usual size has one file, and so few that neither who writes
// nor who reads those of ten thousand has to hold more than a share of them in
// memory, encoded or not.
const fileComponents = 512

// NewWriter returns a writer of the set that s describes. What s holds is not
// written.
func NewWriter(store *artifact.Store, version string, s Set) *Writer {
	m := artifact.Manifest{
		Kind: kind, Run: s.Run, Step: StepName, Writer: version,
		From: s.Now, To: s.DataUntil, Labels: map[string]string{"now": s.Now.UTC().Format(time.RFC3339)},
	}
	if s.DataUntil.Before(s.Now) {
		m.From = s.DataUntil
	}
	return &Writer{store: store, manifest: m, now: s.Now}
}

// Add takes a forecast. Those of a component must come one after the other, and
// components in order. What goes wrong is told by [Writer.Commit].
func (w *Writer) Add(ctx context.Context, f *schemas.Forecast) {
	if w.err == nil {
		w.err = w.add(ctx, f)
	}
}

func (w *Writer) add(ctx context.Context, f *schemas.Forecast) error {
	if w.file == nil || f.Component != w.newest {
		if w.file != nil && w.components == fileComponents {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		if w.file == nil {
			w.file = columnar.NewForecastsWriter()
		}
		w.components++
		w.newest = f.Component
	}
	w.rows++
	w.written++
	return w.file.Add(f)
}

// flush keeps the file.
func (w *Writer) flush(ctx context.Context) error {
	data, err := w.file.Close()
	if err == nil {
		err = w.put(ctx, forecastsSchema, w.rows, data)
	}
	w.file, w.rows, w.components = nil, 0, 0
	return err
}

func (w *Writer) put(ctx context.Context, schema string, rows int, data []byte) error {
	f, err := w.store.PutFile(ctx, kind, w.now, ext, data, artifact.FileMeta{Rows: int64(rows), From: w.manifest.From, To: w.manifest.To, Schema: schema})
	w.manifest.Files = append(w.manifest.Files, f)
	return err
}

// Forecasts returns how many forecasts were taken.
func (w *Writer) Forecasts() int { return w.written }

// Commit ends the set with its decisions, and makes it the current one as [Write]
// does.
func (w *Writer) Commit(ctx context.Context, decisions []schemas.Decision, inputs []artifact.Input) (artifact.Head, artifact.Outcome, error) {
	if w.err == nil && w.file != nil {
		w.err = w.flush(ctx)
	}
	if w.err == nil && len(decisions) > 0 {
		var data []byte
		if data, w.err = columnar.EncodeDecisions(decisions); w.err == nil {
			w.err = w.put(ctx, decisionsSchema, len(decisions), data)
		}
	}
	if w.err != nil {
		return artifact.Head{}, 0, w.err
	}
	m := w.manifest
	m.Inputs = inputs
	m, err := w.store.CommitManifest(ctx, m.Key(), m)
	if err != nil {
		return artifact.Head{}, 0, err
	}
	return w.store.Advance(ctx, schemas.ForecastsHead, m.Run, func(*artifact.Head) (artifact.Manifest, error) { return m, nil }, artifact.Monotonic())
}

// Latest returns the current set. It reports false where there is none yet. A
// damaged one is passed over for the one before.
func Latest(ctx context.Context, store *artifact.Store) (Set, bool, error) {
	return latest(ctx, store, forecastsSchema, decisionsSchema)
}

// LatestDecisions is [Latest] without the forecasts, which are many times larger.
func LatestDecisions(ctx context.Context, store *artifact.Store) (Set, bool, error) {
	return latest(ctx, store, decisionsSchema)
}

func latest(ctx context.Context, store *artifact.Store, parts ...string) (s Set, ok bool, err error) {
	_, err = store.LatestValid(ctx, schemas.ForecastsHead, func(ctx context.Context, h artifact.Head) (err error) {
		s, err = read(ctx, store, h, parts...)
		return err
	})
	if errors.Is(err, artifact.ErrNotFound) {
		return Set{}, false, nil
	}
	return s, err == nil, err
}

// Read returns the set that a head names.
func Read(ctx context.Context, store *artifact.Store, head artifact.Head) (Set, error) {
	return read(ctx, store, head, forecastsSchema, decisionsSchema)
}

// read returns the parts of a set whose files have one of the given schemas.
func read(ctx context.Context, store *artifact.Store, head artifact.Head, parts ...string) (Set, error) {
	s, err := Describe(head)
	if err != nil {
		return Set{}, err
	}
	for _, f := range head.Manifest.Files {
		if !slices.Contains(parts, f.Schema) {
			continue
		}
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return Set{}, err
		}
		switch f.Schema {
		case forecastsSchema:
			err = columnar.ScanForecasts(f.Key, data, func(f *schemas.Forecast) error {
				s.Forecasts = append(s.Forecasts, f)
				return nil
			})
		case decisionsSchema:
			s.Decisions, err = columnar.DecodeDecisions(f.Key, data)
		}
		if err != nil {
			return Set{}, err
		}
	}
	// A manifest has its files in the order of their keys, which are hashes.
	slices.SortStableFunc(s.Forecasts, func(a, b *schemas.Forecast) int { return a.Component.Compare(b.Component) })
	return s, nil
}

// Describe returns what a head says of its set, without the forecasts and the
// decisions.
func Describe(head artifact.Head) (Set, error) {
	now, err := time.Parse(time.RFC3339, head.Manifest.Labels["now"])
	if err != nil {
		return Set{}, schemas.Errorf(schemas.CodeCorrupt, "head %s: label now must be an RFC 3339 time, but is %q", head.Key(), head.Manifest.Labels["now"])
	}
	return Set{Run: head.Run, Now: now, DataUntil: head.Manifest.To}, nil
}

// Scan calls yield with each forecast of the set that a head names, those of a
// component one after the other, without holding them all. It ends with yield's
// first error.
func Scan(ctx context.Context, store *artifact.Store, head artifact.Head, yield func(*schemas.Forecast) error) error {
	return scan(ctx, store, head, forecastsSchema, func(name string, data []byte) error {
		return columnar.ScanForecasts(name, data, yield)
	})
}

// ScanDecisions calls yield with each decision of the set that a head names as it is
// kept, in the order of the components. It ends with yield's first error.
func ScanDecisions(ctx context.Context, store *artifact.Store, head artifact.Head, yield func(columnar.DecisionRow) error) error {
	return scan(ctx, store, head, decisionsSchema, func(name string, data []byte) error {
		return columnar.ScanDecisions(name, data, yield)
	})
}

func scan(ctx context.Context, store *artifact.Store, head artifact.Head, schema string, decode func(string, []byte) error) error {
	for _, f := range head.Manifest.Files {
		if f.Schema != schema {
			continue
		}
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return err
		}
		if err := decode(f.Key, data); err != nil {
			return err
		}
	}
	return nil
}

// File returns the current forecasts as one Parquet file. It reports false where
// there are none.
func File(ctx context.Context, store *artifact.Store) ([]byte, bool, error) {
	head, err := store.Latest(ctx, schemas.ForecastsHead)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var files []artifact.File
	for _, f := range head.Manifest.Files {
		if f.Schema == forecastsSchema {
			files = append(files, f)
		}
	}
	switch len(files) {
	case 0:
		return nil, false, nil
	case 1:
		data, err := store.GetFile(ctx, files[0])
		return data, err == nil, err
	}
	data, err := join(ctx, store, files)
	return data, err == nil, err
}

// join returns the forecasts of several files as one, holding one of them at a time.
func join(ctx context.Context, store *artifact.Store, files []artifact.File) ([]byte, error) {
	scan := func(f artifact.File, yield func(*schemas.Forecast) error) error {
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return err
		}
		return columnar.ScanForecasts(f.Key, data, yield)
	}
	// A manifest has its files in the order of their keys, which are hashes.
	first := map[string]schemas.ComponentID{}
	for _, f := range files {
		err := scan(f, func(of *schemas.Forecast) error {
			first[f.Key] = of.Component
			return errEnough
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b artifact.File) int { return first[a.Key].Compare(first[b.Key]) })
	w := columnar.NewForecastsWriter()
	for _, f := range files {
		if err := scan(f, w.Add); err != nil {
			return nil, err
		}
	}
	return w.Close()
}

// errEnough ends a scan that has seen what it wanted.
var errEnough = errors.New("enough")

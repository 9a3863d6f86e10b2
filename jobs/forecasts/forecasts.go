// Package forecasts keeps what inference has said and decided: one head of the
// pipeline [schemas.ForecastsHead] a run, with the forecasts and the decisions as
// Parquet. Nothing is overwritten, so that each forecast can later be held
// against what really happened.
package forecasts

import (
	"context"
	"errors"
	"iter"
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
	m := artifact.Manifest{
		Kind: kind, Run: s.Run, Step: StepName, Writer: version, Inputs: inputs,
		From: s.Now, To: s.DataUntil, Labels: map[string]string{"now": s.Now.UTC().Format(time.RFC3339)},
	}
	if s.DataUntil.Before(s.Now) {
		m.From = s.DataUntil
	}
	put := func(schema string, rows int, data []byte, err error) error {
		if err != nil {
			return err
		}
		f, err := store.PutFile(ctx, kind, s.Now, ext, data, artifact.FileMeta{Rows: int64(rows), From: m.From, To: m.To, Schema: schema})
		m.Files = append(m.Files, f)
		return err
	}
	for part := range parts(s.Forecasts) {
		data, err := columnar.EncodeForecasts(part)
		if err := put(forecastsSchema, len(part), data, err); err != nil {
			return artifact.Head{}, 0, err
		}
	}
	if len(s.Decisions) > 0 {
		data, err := columnar.EncodeDecisions(s.Decisions)
		if err := put(decisionsSchema, len(s.Decisions), data, err); err != nil {
			return artifact.Head{}, 0, err
		}
	}
	m, err := store.CommitManifest(ctx, m.Key(), m)
	if err != nil {
		return artifact.Head{}, 0, err
	}
	return store.Advance(ctx, schemas.ForecastsHead, s.Run, func(*artifact.Head) (artifact.Manifest, error) { return m, nil }, artifact.Monotonic())
}

// fileComponents is how many components one file of forecasts holds: so many that
// an installation of usual size has one file, and so few that neither who writes
// nor who reads those of ten thousand has to hold more than a share of them in
// memory, encoded or not.
const fileComponents = 512

// parts cuts forecasts into what goes into one file each: all those of a component
// into the same one.
func parts(all []*schemas.Forecast) iter.Seq[[]*schemas.Forecast] {
	return func(yield func([]*schemas.Forecast) bool) {
		sorted := slices.SortedStableFunc(slices.Values(all), func(a, b *schemas.Forecast) int { return a.Component.Compare(b.Component) })
		from, components := 0, 0
		for i := 1; i <= len(sorted); i++ {
			if i < len(sorted) && sorted[i].Component == sorted[i-1].Component {
				continue
			}
			if components++; components == fileComponents || i == len(sorted) {
				if !yield(sorted[from:i]) {
					return
				}
				from, components = i, 0
			}
		}
	}
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
	s, err := read(ctx, store, head, forecastsSchema)
	if err != nil {
		return nil, false, err
	}
	data, err := columnar.EncodeForecasts(s.Forecasts)
	return data, err == nil, err
}

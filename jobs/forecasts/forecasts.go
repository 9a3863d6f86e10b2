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
	m := artifact.Manifest{
		Kind: kind, Run: s.Run, Step: StepName, Writer: version, Inputs: inputs,
		From: s.Now, To: s.DataUntil, Labels: map[string]string{"now": s.Now.UTC().Format(time.RFC3339)},
	}
	if s.DataUntil.Before(s.Now) {
		m.From = s.DataUntil
	}
	for _, part := range []struct {
		schema string
		rows   int
		encode func() ([]byte, error)
	}{
		{forecastsSchema, len(s.Forecasts), func() ([]byte, error) { return columnar.EncodeForecasts(s.Forecasts) }},
		{decisionsSchema, len(s.Decisions), func() ([]byte, error) { return columnar.EncodeDecisions(s.Decisions) }},
	} {
		if part.rows == 0 {
			continue
		}
		data, err := part.encode()
		if err != nil {
			return artifact.Head{}, 0, err
		}
		f, err := store.PutFile(ctx, kind, s.Now, ext, data, artifact.FileMeta{Rows: int64(part.rows), From: m.From, To: m.To, Schema: part.schema})
		if err != nil {
			return artifact.Head{}, 0, err
		}
		m.Files = append(m.Files, f)
	}
	m, err := store.CommitManifest(ctx, m.Key(), m)
	if err != nil {
		return artifact.Head{}, 0, err
	}
	return store.Advance(ctx, schemas.ForecastsHead, s.Run, func(*artifact.Head) (artifact.Manifest, error) { return m, nil }, artifact.Monotonic())
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
	m := head.Manifest
	s := Set{Run: head.Run, DataUntil: m.To}
	now, err := time.Parse(time.RFC3339, m.Labels["now"])
	if err != nil {
		return Set{}, schemas.Errorf(schemas.CodeCorrupt, "head %s: label now must be an RFC 3339 time, but is %q", head.Key(), m.Labels["now"])
	}
	s.Now = now
	for _, f := range m.Files {
		if !slices.Contains(parts, f.Schema) {
			continue
		}
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return Set{}, err
		}
		switch f.Schema {
		case forecastsSchema:
			s.Forecasts, err = columnar.DecodeForecasts(f.Key, data)
		case decisionsSchema:
			s.Decisions, err = columnar.DecodeDecisions(f.Key, data)
		}
		if err != nil {
			return Set{}, err
		}
	}
	return s, nil
}

// Scan calls yield with each forecast of the set that a head names, ordered by
// component and resource, without holding them all. It ends with yield's first
// error.
func Scan(ctx context.Context, store *artifact.Store, head artifact.Head, yield func(*schemas.Forecast) error) error {
	for _, f := range head.Manifest.Files {
		if f.Schema != forecastsSchema {
			continue
		}
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return err
		}
		if err := columnar.ScanForecasts(f.Key, data, yield); err != nil {
			return err
		}
	}
	return nil
}

// File returns the Parquet file of the current forecasts as it lies in the
// store. It reports false where there is none.
func File(ctx context.Context, store *artifact.Store) ([]byte, bool, error) {
	head, err := store.Latest(ctx, schemas.ForecastsHead)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, f := range head.Manifest.Files {
		if f.Schema == forecastsSchema {
			data, err := store.GetFile(ctx, f)
			return data, err == nil, err
		}
	}
	return nil, false, nil
}

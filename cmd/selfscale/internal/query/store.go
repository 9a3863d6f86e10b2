package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/storage"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// store answers from what lies in a store.
type store struct {
	*storage.Store
	name string
}

func openStore(ctx context.Context, name string) (source, error) {
	s, err := storage.Open(ctx, name, true)
	if err != nil {
		return nil, err
	}
	return &store{s, name}, nil
}

func (s *store) unknown(id schemas.ComponentID) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, "store %s has no component %s; without one the command lists them", s.name, id)
}

func (s *store) histories(ctx context.Context, id *schemas.ComponentID, since, until time.Time) ([]schemas.History, error) {
	snapshot, err := samples.New(s.Store.Store, samples.Options{}).Snapshot(ctx)
	switch {
	case errors.Is(err, artifact.ErrNotFound):
		return nil, s.Nothing("samples")
	case err != nil:
		return nil, fmt.Errorf("store %s: %w", s.name, err)
	}
	from, to := snapshot.Head.Manifest.From.Truncate(snapshot.Step()), snapshot.Head.Manifest.To
	if !since.IsZero() && since.After(from) {
		from = since.Truncate(snapshot.Step())
	}
	if !until.IsZero() && until.Before(to) {
		to = until.Truncate(snapshot.Step())
	}
	if !from.Before(to) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store %s has samples from %s to %s only", s.name, stamp(snapshot.Head.Manifest.From), stamp(snapshot.Head.Manifest.To))
	}
	ids, err := snapshot.Components(ctx, from, to)
	if err != nil {
		return nil, err
	}
	if id != nil {
		if !slices.Contains(ids, *id) {
			return nil, s.unknown(*id)
		}
		ids = []schemas.ComponentID{*id}
	}
	return snapshot.Histories(ctx, ids, from, to)
}

func (s *store) forecasts(ctx context.Context, _ *schemas.ComponentID, _ schemas.Resource) (forecasts.Set, error) {
	set, ok, err := forecasts.Latest(ctx, s.Store.Store)
	if err != nil {
		return set, fmt.Errorf("store %s: %w", s.name, err)
	}
	if !ok {
		return set, s.Nothing("forecasts")
	}
	return set, nil
}

package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Retention says what the store keeps, and when the rest is deleted.
type Retention struct {
	artifact.SweepOptions
	Schedule schedule.Schedule
}

const (
	// sweepInterval is the time between two tries of a sweep that fails.
	sweepInterval = time.Hour
	// sweepTimeout bounds a sweep. One that is stopped has deleted nothing too much, and
	// the next goes on.
	sweepTimeout = 30 * time.Minute
	// sweepDeadline is how late a sweep is made up for that nobody has ended, as far as a
	// controller knows that has just begun.
	sweepDeadline = time.Hour
)

// sweeps deletes by schedule what the store no longer keeps.
type sweeps struct {
	*Controller
	served time.Time // the last slot that had its sweep; zero before the first look
}

// turn sweeps where a slot wants it, and returns when the next one is.
func (s *sweeps) turn(ctx context.Context, now time.Time) (time.Time, error) {
	r := s.config.Retention
	if s.served.IsZero() {
		s.served = now.Add(-sweepDeadline)
	}
	slot, ok := r.Schedule.Last(now, now.Sub(s.served))
	if !ok || !slot.After(s.served) {
		return r.Schedule.Next(now), nil
	}
	store, err := s.config.Store(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("open the store: %w", err)
	}
	report, err := store.Sweep(ctx, r.SweepOptions)
	s.metrics.sweptAway(&report, s.config.Clock.Now(), err)
	if err != nil {
		return time.Time{}, err
	}
	s.config.Logger.Info("store swept", "deleted", len(report.Deleted), "deletedBytes", report.DeletedBytes,
		"kept", report.Kept, "keptBytes", report.KeptBytes, "young", report.Young, "invalid", report.Invalid)
	s.served = slot
	return r.Schedule.Next(now), nil
}

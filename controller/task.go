package controller

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// task is something that is done again and again.
type task struct {
	name    string
	every   time.Duration // between the beginnings of two turns
	timeout time.Duration // of one turn
	// turn does the work once. Now is the instant for which it is done; what it returns
	// is when the next turn is due at the latest, where that is before every has passed.
	turn   func(ctx context.Context, now time.Time) (next time.Time, err error)
	kicked chan struct{}

	mu    sync.Mutex
	begun time.Time // of the turn under way, zero between turns
	told  string    // the failure that was logged last
}

// loop takes turns until ctx ends.
func (c *Controller) loop(ctx context.Context, t *task) {
	for ctx.Err() == nil {
		now := c.config.Clock.Now().UTC()
		next := now.Add(t.every)
		due, err := c.turn(ctx, t, now)
		if err == nil && !due.IsZero() && due.Before(next) {
			next = due
		}
		timer := c.config.Clock.NewTimer(max(next.Sub(c.config.Clock.Now()), 0))
		select {
		case <-ctx.Done():
		case <-timer.C():
		case <-t.kicked:
		}
		timer.Stop()
	}
}

// turn takes one turn. A failure is logged when it begins, changes and ends, not at
// every turn that meets it; a panic is one.
func (c *Controller) turn(ctx context.Context, t *task, now time.Time) (next time.Time, err error) {
	t.mark(now)
	defer t.mark(time.Time{})
	limited, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	next, err = attempt(limited, t, now)
	if ctx.Err() != nil {
		return next, err // it was cut short, which says nothing
	}
	end := c.config.Clock.Now()
	c.metrics.turn(t.name, end.Sub(now), end, err)
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == t.told:
	case err != nil:
		c.config.Logger.Error("task failed", "task", t.name, "error", text)
	default:
		c.config.Logger.Info("task succeeds again", "task", t.name)
	}
	t.told = text
	return next, err
}

func attempt(ctx context.Context, t *task, now time.Time) (next time.Time, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = schemas.Errorf(schemas.CodeInternal, "%s panicked: %s\n%s", t.name, fmt.Sprint(r), debug.Stack())
		}
	}()
	return t.turn(ctx, now)
}

func (t *task) mark(begun time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = begun
}

// stuck is how much longer than its limit a turn may take before the loop counts as
// stuck.
const stuck = 2 * time.Minute

// Live returns an error where a turn has been under way for far longer than its limit:
// something does not heed the end of its context, and only another process helps.
func (c *Controller) Live() error {
	now := c.config.Clock.Now()
	for _, t := range c.tasks {
		t.mu.Lock()
		begun := t.begun
		t.mu.Unlock()
		if !begun.IsZero() && now.Sub(begun) > t.timeout+stuck {
			return schemas.Errorf(schemas.CodeInternal, "task %s: a turn must end within %s, but one has gone on for %s", t.name, t.timeout, now.Sub(begun).Round(time.Second))
		}
	}
	return nil
}

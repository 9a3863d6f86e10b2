package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// components is the turn that looks for components and tells what became of them.
func (c *Controller) components(ctx context.Context, now time.Time) error {
	found, err := c.config.Cluster.Discover(ctx)
	if err != nil {
		return fmt.Errorf("discover: %w", err)
	}
	c.mu.Lock()
	f, before := c.facts, c.states
	ended := floorsEnded(c.found, found)
	c.found, c.foundAt = found, now
	c.mu.Unlock()
	if ended {
		c.kick("guard")
	}

	states := make([]State, 0, len(found))
	after := make(map[schemas.ComponentID]State, len(found))
	for i := range found {
		s := state(found[i], f.decisions[found[i].ID], f.accuracy[found[i].ID], now)
		if s.LastForecast.IsZero() {
			s.LastForecast = before[s.ID].LastForecast
		}
		states = append(states, s)
		after[s.ID] = s
	}
	c.metrics.observe(states, now)
	// Without the store, what was decided is not known. What was published before is
	// nearer to the truth than that.
	if f.known {
		c.tell(before, after)
		c.mu.Lock()
		c.states = after
		c.mu.Unlock()
		written, err := c.config.Cluster.Publish(ctx, states)
		c.metrics.published(written)
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// floorsEnded reports whether a component has a floor that it may not have any more,
// while before it might.
func floorsEnded(before, after []Component) bool {
	might := map[schemas.ComponentID]bool{}
	for i := range before {
		might[before[i].ID] = before[i].mayHold()
	}
	for i := range after {
		old, known := might[after[i].ID]
		if after[i].Floor != nil && !after[i].mayHold() && (old || !known) {
			return true
		}
	}
	return false
}

// tell notifies of components whose state has changed. What was so when the controller
// began is no change.
func (c *Controller) tell(before, after map[schemas.ComponentID]State) {
	for id, s := range after {
		old, known := before[id]
		if !known {
			continue
		}
		say := func(warning bool, reason, format string, args ...any) {
			c.config.Notify(Notice{id.Namespace, id.Service, warning, reason, id.Component + ": " + fmt.Sprintf(format, args...)})
			c.config.Logger.Info("component changed", "component", id.String(), "reason", reason)
		}
		switch {
		case s.Conflict != "" && old.Conflict == "":
			say(true, "Conflict", "left alone, because %s", s.Conflict)
		case s.Conflict == "" && old.Conflict != "":
			say(false, "ConflictResolved", "nobody else owns its number of replicas any more")
		}
		switch {
		case s.Floor != nil && (old.Floor == nil || *old.Floor != *s.Floor):
			say(false, "FloorApplied", "at least %d replicas until %s", *s.Floor, s.Expires.UTC().Format(time.RFC3339))
		case s.Floor == nil && old.Floor != nil:
			say(false, "FloorEnded", "the operator's own minReplicas holds")
		}
		if old.Good() != s.Good() && s.Conflict == "" && s.Mode != schemas.Off && old.Mode != schemas.Off {
			if s.Good() {
				say(false, "ForecastUsed", "%s", s.Message)
			} else {
				say(true, string(s.Reason), "%s", s.Message)
			}
		}
	}
}

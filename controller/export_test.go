package controller

import (
	"context"
	"fmt"
	"time"
)

// Turn takes one turn of a task at an instant.
func (c *Controller) Turn(ctx context.Context, name string, now time.Time) (time.Time, error) {
	for _, t := range c.tasks {
		if t.name == name {
			return attempt(ctx, t, now)
		}
	}
	panic(fmt.Sprintf("there is no task %s", name))
}

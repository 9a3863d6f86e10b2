package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// trusted is for how long what the cluster held is reason enough to take a floor back.
const trusted = 5 * time.Minute

// guard is the turn that takes floors back. It asks nobody but the cluster.
func (c *Controller) guard(ctx context.Context, now time.Time) error {
	tended, err := c.config.Cluster.Tend(ctx, now, c.mayHold(now))
	for _, x := range []struct {
		cause, reason, message string
		warning                bool
		ids                    []schemas.ComponentID
	}{
		{"expired", "FloorExpired", "the floor has expired, because no run renewed it: the operator's own number holds", true, tended.Expired},
		{"unmanaged", "FloorReleased", "the floor is given back: the component is gone or not in mode Auto", false, tended.Released},
		{"yielded", "AutoscalerYielded", "our autoscaler made room for the user's", false, tended.Yielded},
	} {
		c.metrics.released(x.cause, len(x.ids))
		for _, id := range x.ids {
			c.config.Logger.Info("floor taken back", "component", id.String(), "reason", x.reason)
			c.config.Notify(Notice{id.Namespace, id.Service, x.warning, x.reason, fmt.Sprintf("%s: %s", id.Component, x.message)})
		}
	}
	if len(tended.Expired)+len(tended.Released)+len(tended.Yielded) > 0 {
		c.kick("components")
	}
	return err
}

// mayHold says which components may have a floor: all, unless a look at the cluster that
// is not long ago showed that one is gone, or that its operator wants none.
func (c *Controller) mayHold(now time.Time) func(schemas.ComponentID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.foundAt.IsZero() || now.Sub(c.foundAt) > trusted {
		return func(schemas.ComponentID) bool { return true }
	}
	may := make(map[schemas.ComponentID]bool, len(c.found))
	for i := range c.found {
		may[c.found[i].ID] = c.found[i].mayHold()
	}
	return func(id schemas.ComponentID) bool { return may[id] }
}

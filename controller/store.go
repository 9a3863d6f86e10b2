package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/controller/ledger"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// facts is what the store said when it was last read. It is replaced as a whole.
type facts struct {
	known bool // the store was read at least once
	// from and until bound what was measured; zero where nothing was.
	from, until time.Time
	head        uint64 // number of the head that decisions came with
	decisions   map[schemas.ComponentID]*schemas.Decision
	accuracy    map[schemas.ComponentID]map[schemas.Resource]int32
	learnable   []schemas.ComponentID
	drift       ledger.Drift
}

// readStore is the turn that reads what is new in the store.
func (c *Controller) readStore(ctx context.Context, now time.Time) error {
	store, err := c.config.Store(ctx)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	c.mu.Lock()
	f := c.facts
	c.mu.Unlock()
	changed, err := c.ledger.Update(ctx, store, now)
	if err != nil {
		return fmt.Errorf("read samples and forecasts: %w", err)
	}
	if changed || !f.known {
		f.accuracy, f.drift = c.ledger.Accuracy(), c.ledger.Drift()
	}
	f.from, f.until = c.ledger.Measured()
	f.learnable = c.ledger.Learnable(now)
	decided, err := c.readDecisions(ctx, store, &f)
	if err != nil {
		return fmt.Errorf("read decisions: %w", err)
	}
	first := !f.known
	f.known = true
	c.mu.Lock()
	c.facts = f
	if c.demand = nil; !c.ledger.Held() {
		c.demand = demanded(f.learnable, f.drift)
	}
	c.mu.Unlock()
	c.metrics.read(&f, now)
	if first || decided {
		c.kick("components")
	}
	if first {
		c.kick("runs")
	}
	return nil
}

// readDecisions reads the newest decisions, where they are others than before.
func (c *Controller) readDecisions(ctx context.Context, store *artifact.Store, f *facts) (bool, error) {
	head, err := store.Latest(ctx, schemas.ForecastsHead)
	if errors.Is(err, artifact.ErrNotFound) || err == nil && head.Number == f.head {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	set, ok, err := forecasts.LatestDecisions(ctx, store)
	if err != nil || !ok {
		return false, err
	}
	// Those counted are of this controller's time: not what it found at its start.
	if f.known {
		c.metrics.decided(set.Decisions)
	}
	f.head, f.decisions = head.Number, make(map[schemas.ComponentID]*schemas.Decision, len(set.Decisions))
	for i := range set.Decisions {
		f.decisions[set.Decisions[i].Component] = &set.Decisions[i]
	}
	return true, nil
}

package view

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// archive keeps the decisions of earlier sets that somebody has asked for, several
// sets to a spool, up to a budget. The spool that is oldest goes first.
type archive struct {
	dir    string
	budget int64

	loading sync.Mutex // held while a set is read, so that each is read once

	mu     sync.Mutex
	chunks []*chunk
	sets   map[uint64]*set
}

type chunk struct {
	spool   *spool
	numbers []uint64
}

// A chunk takes further sets until it has so many bytes, or so many sets.
const (
	chunkBytes = 8 << 20
	chunkSets  = 512
	maxChunks  = 64
)

func (a *archive) get(number uint64) *set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sets[number]
}

// set returns the set of a head, whose decisions can be read from its spool. It
// returns an error wrapping [artifact.ErrNotFound] where there is no such head.
func (v *View) set(ctx context.Context, number uint64) (*set, error) {
	if s := v.current.Load().forecasts; s.Number() == number && s != nil {
		return s, nil
	}
	a := &v.archive
	if s := a.get(number); s != nil {
		return s, nil
	}
	a.loading.Lock()
	defer a.loading.Unlock()
	if s := a.get(number); s != nil {
		return s, nil
	}
	head, err := v.asked.ReadHead(ctx, schemas.ForecastsHead, number)
	if err != nil {
		return nil, err
	}
	s, err := describe(head)
	if err != nil {
		return nil, err
	}
	c, err := a.room()
	if err != nil {
		return nil, err
	}
	s.spool = c.spool
	if err := v.loadDecisions(ctx, head, s, c.spool, false); err != nil {
		return nil, err
	}
	if err := c.spool.flush(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sets[number] = s
	c.numbers = append(c.numbers, number)
	return s, nil
}

// room returns the chunk that takes the next set, and gives up the oldest ones
// where the budget is spent.
func (a *archive) room() (*chunk, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.chunks); n > 0 {
		if c := a.chunks[n-1]; c.spool.size < min(chunkBytes, a.budget/4) && len(c.numbers) < chunkSets {
			return c, nil
		}
	}
	var used int64
	for _, c := range a.chunks {
		used += c.spool.size
	}
	for len(a.chunks) > 0 && (used > a.budget-chunkBytes || len(a.chunks) >= maxChunks) {
		oldest := a.chunks[0]
		a.chunks = a.chunks[1:]
		used -= oldest.spool.size
		for _, n := range oldest.numbers {
			delete(a.sets, n)
		}
		oldest.spool.close()
	}
	s, err := newSpool(a.dir)
	if err != nil {
		return nil, err
	}
	c := &chunk{spool: s}
	a.chunks = append(a.chunks, c)
	return c, nil
}

func (a *archive) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.chunks {
		c.spool.close()
	}
	a.chunks = nil
	clear(a.sets)
}

// DecisionQuery says which decisions are wanted. Empty fields do not narrow.
type DecisionQuery struct {
	Namespace *string
	Service   string
	Component string
	Reason    schemas.Reason
	// From and To bound when the decisions were made: From included, To not.
	From, To time.Time
	Limit    int
	// After is where the page before ended.
	After Position
}

// Position is a place in the line of all decisions, from the newest run to the
// oldest and within a run by component. Its zero value is the begin.
type Position struct {
	Number uint64 // of the head
	Index  int    // of the first decision there that is still to come
}

// patience is how long one page may look for decisions among earlier runs. Where
// it is used up the page ends early, and the next one goes on.
const patience = 700 * time.Millisecond

// Decisions returns a page of decisions, each a [wire.Decision] as JSON, and where
// the next page begins, nil where there are no more. A page may have fewer than the
// limit although there are more.
func (v *View) Decisions(ctx context.Context, q DecisionQuery) (items [][]byte, next *Position, err error) {
	at := q.After
	if at.Number == 0 {
		at.Number = v.current.Load().forecasts.Number()
		if !q.To.IsZero() && at.Number > 0 {
			if at.Number, err = v.before(ctx, q.To, at.Number); err != nil {
				return nil, nil, err
			}
		}
	}
	began := time.Now()
	for ; at.Number > 0; at = (Position{Number: at.Number - 1}) {
		if len(items) >= q.Limit || time.Since(began) > patience {
			return items, &at, nil
		}
		s, err := v.set(ctx, at.Number)
		switch {
		case errors.Is(err, artifact.ErrNotFound):
			return items, nil, nil // older ones have been swept
		case schemas.CodeOf(err) == schemas.CodeUnavailable, ctx.Err() != nil:
			if len(items) > 0 {
				return items, &at, nil
			}
			return nil, nil, fmt.Errorf("read earlier decisions: %w", err)
		case err != nil:
			continue // damaged: the others are still worth showing
		}
		if s.Now.Before(q.From) {
			return items, nil, nil
		}
		if !q.To.IsZero() && !s.Now.Before(q.To) {
			continue
		}
		for i := v.first(s, &q, at.Index); i < len(s.decisions) && !v.past(s, &q, i); i++ {
			if !v.wanted(s, &q, i) {
				continue
			}
			if len(items) >= q.Limit {
				at.Index = i
				return items, &at, nil
			}
			body, open, err := s.spool.read(nil, s.decisions[i].full)
			if err != nil {
				return nil, nil, err
			}
			if !open { // replaced meanwhile: look for the set again
				at.Index = i
				return items, &at, nil
			}
			items = append(items, body)
		}
	}
	return items, nil, nil
}

// exact returns the one component that a query asks for.
func (q *DecisionQuery) exact() (schemas.ComponentID, bool) {
	if q.Namespace == nil || q.Service == "" || q.Component == "" {
		return schemas.ComponentID{}, false
	}
	return schemas.ComponentID{Namespace: *q.Namespace, Service: q.Service, Component: q.Component}, true
}

// first returns the index from which on a set is to be searched.
func (v *View) first(s *set, q *DecisionQuery, from int) int {
	if id, ok := q.exact(); ok {
		i, _ := v.place(s, id)
		return max(i, from)
	}
	return from
}

// past reports whether nothing that is wanted can come from an index on.
func (v *View) past(s *set, q *DecisionQuery, i int) bool {
	id, ok := q.exact()
	return ok && v.names.name(s.decisions[i].component) != id
}

func (v *View) wanted(s *set, q *DecisionQuery, i int) bool {
	d := &s.decisions[i]
	id := v.names.name(d.component)
	return (q.Reason == "" || d.reason == q.Reason) &&
		(q.Namespace == nil || id.Namespace == *q.Namespace) &&
		(q.Service == "" || id.Service == q.Service) &&
		(q.Component == "" || id.Component == q.Component)
}

// before returns the number of the newest set that was made before an instant, 0
// where there is none. It looks at some of the heads: instants ascend with the
// numbers.
func (v *View) before(ctx context.Context, to time.Time, newest uint64) (uint64, error) {
	// Sets in (low, high] are those in question; the ones below low are swept, or
	// made before.
	low, high := uint64(0), newest
	for low < high {
		n := low + (high-low+1)/2
		at, ok, err := v.made(ctx, n)
		switch {
		case err != nil:
			return 0, err
		case !ok || at.Before(to):
			low = n
		default:
			high = n - 1
		}
	}
	return low, nil
}

// made returns when the set of a head was made. It reports false where the head is
// no more there, or damaged.
func (v *View) made(ctx context.Context, number uint64) (time.Time, bool, error) {
	if s := v.current.Load().forecasts; s != nil && s.number == number {
		return s.Now, true, nil
	}
	if s := v.archive.get(number); s != nil {
		return s.Now, true, nil
	}
	head, err := v.asked.ReadHead(ctx, schemas.ForecastsHead, number)
	if schemas.CodeOf(err) == schemas.CodeUnavailable || ctx.Err() != nil {
		return time.Time{}, false, err
	}
	if err != nil {
		return time.Time{}, false, nil
	}
	s, err := describe(head)
	if err != nil {
		return time.Time{}, false, nil
	}
	return s.Now, true, nil
}

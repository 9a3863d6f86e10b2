package view

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/utils/lru"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// MaxHistory is the longest stretch that one call of [View.History] returns.
const MaxHistory = 31 * 24 * time.Hour

const (
	// histories are read two at a time: each has a file of samples in memory,
	// encoded and decoded.
	historyReaders = 2
	// keptHistories and keptHistoryBytes bound the answers that are remembered.
	keptHistories    = 128
	keptHistoryBytes = 128 << 10
)

// histories reads what was measured, and remembers what it was asked for last.
type histories struct {
	store *artifact.Store
	slots chan struct{}
	kept  *lru.Cache
	load  *singleflight.Group
}

func newHistories(store *artifact.Store) histories {
	return histories{store: store, slots: make(chan struct{}, historyReaders), kept: lru.New(keptHistories), load: &singleflight.Group{}}
}

type historyKey struct {
	id       schemas.ComponentID
	from, to int64
	number   uint64
}

func (k historyKey) String() string { return fmt.Sprint(k.id, "|", k.from, "|", k.to, "|", k.number) }

// History returns what one component used in the buckets that begin within
// [from, to), a [wire.History]; at most [MaxHistory]. It reports false where
// nothing was ever collected.
func (v *View) History(ctx context.Context, id schemas.ComponentID, from, to time.Time) (Answer, bool, error) {
	head := v.current.Load().samples
	if head == nil {
		return Answer{}, false, nil
	}
	key := historyKey{id, from.UnixMilli(), to.UnixMilli(), head.Number}
	if body, ok := v.histories.kept.Get(key); ok {
		return Answer{body.([]byte), head.Number}, true, nil
	}
	// Who asks for the same waits for one answer, and for no longer than they want
	// to; the reading itself ends with the last of them or in its own time.
	result := v.histories.load.DoChan(key.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return v.histories.read(ctx, *head, id, from, to)
	})
	select {
	case <-ctx.Done():
		return Answer{}, false, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return Answer{}, false, r.Err
		}
		body := r.Val.([]byte)
		if len(body) <= keptHistoryBytes {
			v.histories.kept.Add(key, body)
		}
		return Answer{body, head.Number}, true, nil
	}
}

func (h *histories) read(ctx context.Context, head artifact.Head, id schemas.ComponentID, from, to time.Time) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, schemas.Errorf(schemas.CodeUnavailable, "history of %s: too many are asked for at once", id)
	}
	snapshot, err := samples.New(h.store, samples.Options{}).At(head)
	if err != nil {
		return nil, err
	}
	step := snapshot.Step()
	out := wire.History{
		Component: wire.ComponentID(id), From: from.UTC(), To: to.UTC(), Step: step.String(), StepSeconds: int(step / time.Second),
		Buckets: []wire.Bucket{},
	}
	err = snapshot.Scan(ctx, samples.Range{From: from, To: to, First: id, Last: id}, func(_ schemas.ComponentID, rows []columnar.Row) error {
		for i := range rows {
			s := rows[i].Sample(id)
			out.Buckets = append(out.Buckets, wire.NewBucket(&s))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", id, err)
	}
	out.Lost = len(snapshot.Lost()) > 0
	return json.Marshal(out)
}

package view

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// set is what one run of inference said and decided, as JSON in a spool.
type set struct {
	number uint64
	Run    string
	Now    time.Time
	Until  time.Time // end of the data that was seen

	spool *spool
	// forecasts tells where the forecasts of each component lie. It is nil for
	// sets that are not current.
	forecasts map[forecastKey]span
	decisions []decision // in the order of the components
}

type forecastKey struct {
	component uint32
	resource  schemas.Resource
}

// decision tells where one decision lies: the whole record and, in the current
// set, a shorter one for lists.
type decision struct {
	component     uint32
	reason        schemas.Reason
	full, summary span
}

// Number returns the number of the set's head, 0 for no set.
func (s *set) Number() uint64 {
	if s == nil {
		return 0
	}
	return s.number
}

// names gives components numbers, so that an index need not hold their names.
type names struct {
	mu    sync.RWMutex
	index map[schemas.ComponentID]uint32
	list  []schemas.ComponentID
	// reasons holds each reason once.
	reasons map[schemas.Reason]schemas.Reason
}

func (n *names) number(id schemas.ComponentID) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.index[id]
	if !ok {
		id = schemas.ComponentID{Namespace: strings.Clone(id.Namespace), Service: strings.Clone(id.Service), Component: strings.Clone(id.Component)}
		i = uint32(len(n.list))
		n.index[id] = i
		n.list = append(n.list, id)
	}
	return i
}

func (n *names) find(id schemas.ComponentID) (uint32, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	i, ok := n.index[id]
	return i, ok
}

func (n *names) name(i uint32) schemas.ComponentID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.list[i]
}

func (n *names) reason(r schemas.Reason) schemas.Reason {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reasons == nil {
		n.reasons = map[schemas.Reason]schemas.Reason{}
	}
	if known, ok := n.reasons[r]; ok {
		return known
	}
	r = schemas.Reason(strings.Clone(string(r)))
	n.reasons[r] = r
	return r
}

// describe begins the set of a head.
func describe(head artifact.Head) (*set, error) {
	d, err := forecasts.Describe(head)
	if err != nil {
		return nil, err
	}
	return &set{number: head.Number, Run: d.Run, Now: d.Now.UTC(), Until: d.DataUntil.UTC()}, nil
}

// loadSet reads the set of a head into a spool of its own.
func (v *View) loadSet(ctx context.Context, head artifact.Head) (_ *set, err error) {
	s, err := describe(head)
	if err != nil {
		return nil, err
	}
	if s.spool, err = newSpool(v.opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.spool.close()
		}
	}()
	s.forecasts = map[forecastKey]span{}
	err = forecasts.Scan(ctx, v.store, head, func(f *schemas.Forecast) error {
		data, err := json.Marshal(encodeForecast(f, s))
		if err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "forecast of %s: %w", f.Component, err)
		}
		at, err := s.spool.append(data)
		s.forecasts[forecastKey{v.names.number(f.Component), f.Resource}] = at
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the forecasts: %w", err)
	}
	if err := v.loadDecisions(ctx, head, s, s.spool, true); err != nil {
		return nil, err
	}
	return s, s.spool.flush()
}

// loadDecisions reads the decisions of a head, with summaries where they are
// asked for.
func (v *View) loadDecisions(ctx context.Context, head artifact.Head, s *set, to *spool, summaries bool) error {
	err := forecasts.ScanDecisions(ctx, v.store, head, func(r columnar.DecisionRow) error {
		if !json.Valid([]byte(r.Record)) {
			return schemas.Errorf(schemas.CodeInvalidData, "decision of %s: record must be JSON", r.Component)
		}
		d := decision{component: v.names.number(r.Component), reason: v.names.reason(r.Reason)}
		var err error
		if d.full, err = to.append([]byte(r.Record)); err != nil {
			return err
		}
		if summaries {
			var whole schemas.Decision
			if err := json.Unmarshal([]byte(r.Record), &whole); err != nil {
				return schemas.Errorf(schemas.CodeInvalidData, "decision of %s: %w", r.Component, err)
			}
			data, err := json.Marshal(wire.NewDecision(&whole).Summary())
			if err != nil {
				return schemas.Errorf(schemas.CodeInvalidData, "decision of %s: %w", r.Component, err)
			}
			if d.summary, err = to.append(data); err != nil {
				return err
			}
		}
		s.decisions = append(s.decisions, d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the decisions: %w", err)
	}
	s.decisions = slices.Clip(s.decisions)
	return nil
}

// place returns where a component is, or would be, among the decisions.
func (v *View) place(s *set, id schemas.ComponentID) (int, bool) {
	i := sort.Search(len(s.decisions), func(i int) bool { return v.names.name(s.decisions[i].component).Compare(id) >= 0 })
	return i, i < len(s.decisions) && v.names.name(s.decisions[i].component) == id
}

// Answer is something that was found, as it is sent.
type Answer struct {
	// Body is a JSON object.
	Body []byte
	// Number is that of the head that it comes from. While it stays the same, so
	// does the body.
	Number uint64
}

// read appends what lies in the current set to dst. Where the set is replaced
// meanwhile it begins anew with the new one.
func (v *View) read(dst []byte, find func(*set) (span, bool)) (Answer, bool, error) {
	for {
		s := v.current.Load().forecasts
		if s == nil {
			return Answer{}, false, nil
		}
		at, ok := find(s)
		if !ok {
			return Answer{}, false, nil
		}
		body, open, err := s.spool.read(dst, at)
		if err != nil {
			return Answer{}, false, err
		}
		if open {
			return Answer{body, s.number}, true, nil
		}
		if v.current.Load().forecasts == s {
			return Answer{}, false, nil // closed for good
		}
	}
}

// Forecast returns the newest forecast of one component and resource, a
// [wire.Forecast], appended to dst. It reports false where there is none.
func (v *View) Forecast(dst []byte, id schemas.ComponentID, r schemas.Resource) (Answer, bool, error) {
	n, ok := v.names.find(id)
	if !ok {
		return Answer{}, false, nil
	}
	return v.read(dst, func(s *set) (span, bool) {
		at, ok := s.forecasts[forecastKey{n, r}]
		return at, ok
	})
}

// HasForecast reports whether there is a forecast of a component, when it was
// made, and the end of the data that it was made from.
func (v *View) HasForecast(id schemas.ComponentID) (at, until time.Time, ok bool) {
	s := v.current.Load().forecasts
	n, known := v.names.find(id)
	if s == nil || !known {
		return time.Time{}, time.Time{}, false
	}
	for _, r := range schemas.Resources() {
		if _, ok := s.forecasts[forecastKey{n, r}]; ok {
			return s.Now, s.Until, true
		}
	}
	return time.Time{}, time.Time{}, false
}

// Decision returns the newest decision for a component, a [wire.Decision],
// appended to dst: the whole record, or its summary. It reports false where there
// is none.
func (v *View) Decision(dst []byte, id schemas.ComponentID, summary bool) (Answer, bool, error) {
	return v.read(dst, func(s *set) (span, bool) {
		i, ok := v.place(s, id)
		if !ok {
			return span{}, false
		}
		if summary {
			return s.decisions[i].summary, true
		}
		return s.decisions[i].full, true
	})
}

// Components returns the components of the newest decisions, in order.
func (v *View) Components() []schemas.ComponentID {
	s := v.current.Load().forecasts
	if s == nil {
		return nil
	}
	out := make([]schemas.ComponentID, len(s.decisions))
	for i := range s.decisions {
		out[i] = v.names.name(s.decisions[i].component)
	}
	return out
}

package ledger

import (
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// leastNear and leastFar are how many buckets must be known both as they were
// forecast and as they came before there is a verdict.
const leastNear, leastFar = 4, 24

// Accuracy returns, for each component that can be judged, 100 x (1 - sum of the
// absolute errors of the median / sum of the usage) over the last day that is known
// both ways, rounded and at least 0, in percent. For each bucket the newest forecast
// counts that was made before it.
func (l *Ledger) Accuracy() map[schemas.ComponentID]map[schemas.Resource]int32 {
	out := map[schemas.ComponentID]map[schemas.Resource]int32{}
	for k, s := range l.series {
		percent, ok := l.accuracy(s)
		if !ok {
			continue
		}
		if out[k.component] == nil {
			out[k.component] = map[schemas.Resource]int32{}
		}
		out[k.component][k.resource] = percent
	}
	return out
}

func (l *Ledger) accuracy(s *series) (percent int32, ok bool) {
	last := l.measured - 1
	for ; l.holds(last); last-- {
		_, came := l.at(s.actual, last)
		if _, said := l.at(s.near, last); came && said {
			break
		}
	}
	var off, usage float64
	n := 0
	for b := last; b > last-l.day(); b-- {
		came, ok1 := l.at(s.actual, b)
		said, ok2 := l.at(s.near, b)
		if ok1 && ok2 {
			off, usage, n = off+math.Abs(came-said), usage+came, n+1
		}
	}
	if n < leastNear || usage == 0 {
		return 0, false
	}
	return int32(math.Round(100 * max(0, 1-off/usage))), true
}

func (l *Ledger) day() int64 { return int64(24 * time.Hour / l.step) }

// A series drifts from the moment its forecasts err by more than drifts times what the
// same time of the day before would have, until they err less than that would.
// Where both are next to nothing beside the usage, neither is a fault.
const (
	drifts    = 1.15
	steady    = 1.0
	worthless = 0.02
)

// Drift says how many of the components that could be judged have forecasts that are
// worse than the same time of the day before.
type Drift struct {
	Judged, Drifting int
	// Example is one that drifts.
	Example schemas.ComponentID
}

// Drift returns the verdict on the last two days. Only forecasts count that were made
// after the newest models were accepted.
func (l *Ledger) Drift() Drift {
	var d Drift
	seen, drifting := map[schemas.ComponentID]bool{}, []schemas.ComponentID(nil)
	for k, s := range l.series {
		if _, ok := l.ratio(s); !ok {
			continue
		}
		seen[k.component] = true
		if s.drifts {
			drifting = append(drifting, k.component)
		}
	}
	slices.SortFunc(drifting, schemas.ComponentID.Compare)
	drifting = slices.Compact(drifting)
	d.Judged, d.Drifting = len(seen), len(drifting)
	if d.Drifting > 0 {
		d.Example = drifting[0]
	}
	return d
}

// judge says of each series whether it drifts.
func (l *Ledger) judge() {
	for _, s := range l.series {
		ratio, ok := l.ratio(s)
		switch {
		case !ok || ratio < steady:
			s.drifts = false
		case ratio > drifts:
			s.drifts = true
		}
	}
}

// ratio returns the error of the forecasts over that of the day before.
func (l *Ledger) ratio(s *series) (float64, bool) {
	var off, before, usage float64
	n := 0
	for b := l.measured - 1; b >= l.measured-int64(judged/l.step); b-- {
		came, ok1 := l.at(s.actual, b)
		said, ok2 := l.at(s.far, b)
		same, ok3 := l.at(s.actual, b-l.day())
		if ok1 && ok2 && ok3 {
			off, before, usage, n = off+math.Abs(came-said), before+math.Abs(came-same), usage+came, n+1
		}
	}
	switch {
	case n < leastFar:
		return 0, false
	case off <= worthless*usage:
		return 0, true
	case before == 0:
		return math.Inf(1), true
	}
	return off / before, true
}

// Learnable returns the components that have enough history to learn from now and
// had not when the newest models were trained, in order. Where there is no model, it
// returns all that have enough.
func (l *Ledger) Learnable(now time.Time) []schemas.ComponentID {
	var out []schemas.ComponentID
	for id, since := range l.since {
		if now.Sub(since) < learnable || l.haveModel && l.modelled.Sub(since) >= learnable {
			continue
		}
		if l.complete(id, now) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, schemas.ComponentID.Compare)
	return out
}

// complete reports whether enough of the buckets that are needed are measured.
func (l *Ledger) complete(id schemas.ComponentID, now time.Time) bool {
	need := int64(learnable / l.step)
	for _, r := range schemas.Resources() {
		s := l.series[key{id, r}]
		if s == nil {
			continue
		}
		known := int64(0)
		for b := l.bucket(now) - need; b < l.bucket(now); b++ {
			if _, ok := l.at(s.actual, b); ok {
				known++
			}
		}
		if float64(known) >= complete*float64(need) {
			return true
		}
	}
	return false
}

package schemas

import (
	"fmt"
	"math"
	"time"
)

// History is all that is known of one component's past: what the forecasters
// learn from and what a decision starts from. Its series lie on the same grid
// of buckets; a resource that was never measured has none.
type History struct {
	Component ComponentID
	Series    map[Resource]*Series
	// Requests is what one pod requested when that was last known. A resource
	// without a known request is absent.
	Requests Requests
	// Replicas is the last known number of pods, nil where it never was.
	Replicas *int32
}

// End returns the end of the newest bucket of any resource, the zero time where
// there is no series.
func (h *History) End() time.Time {
	var end time.Time
	for _, s := range h.Series {
		if e := s.End(); e.After(end) {
			end = e
		}
	}
	return end
}

// Quality says how much of a series was really measured.
type Quality struct {
	Buckets int // grid points from the first to the last bucket of the series
	Valid   int // of these, how many are not missing
	// First and Last are the starts of the oldest and the newest bucket that is
	// not missing. Both are the zero time where Valid is 0.
	First, Last time.Time
}

// ValidFraction returns Valid / Buckets, and 0 for a series without buckets.
func (q Quality) ValidFraction() float64 {
	if q.Buckets == 0 {
		return 0
	}
	return float64(q.Valid) / float64(q.Buckets)
}

// Quality counts what was measured.
func (s *Series) Quality() Quality {
	q := Quality{Buckets: len(s.Mean)}
	for i, v := range s.Mean {
		if math.IsNaN(v) {
			continue
		}
		if q.Valid == 0 {
			q.First = s.Time(i)
		}
		q.Valid++
		q.Last = s.Time(i)
	}
	return q
}

// ShardID names shard i of a dataset: five digits, so that names sort as
// numbers do.
func ShardID(i int) string { return fmt.Sprintf("%05d", i) }

// Bounds of what operators may set for training, in days: how much history is
// learned from, and how far is looked ahead.
const (
	MaxHistoryDays = 365
	MaxFutureDays  = 7
)

// What holds where operators have set nothing, in days. Four weeks of history show every
// day of the week four times, which is what samples are kept for; the original's five days
// never show a weekend twice.
const (
	DefaultHistoryDays = 28
	DefaultFutureDays  = 1
)

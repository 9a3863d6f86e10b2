package schemas

import (
	"math"
	"time"
)

// DefaultStep is the length of a bucket where nothing else is configured.
const DefaultStep = 15 * time.Minute

// Series is one component's usage of one resource on a regular grid of buckets.
// A missing bucket is NaN; this is the only place where NaN has a meaning, and
// the codecs write it as a null.
type Series struct {
	Component ComponentID
	Resource  Resource
	Start     time.Time // start of bucket 0, UTC
	Step      time.Duration
	Mean      []float64 // cores or bytes, one value a bucket
	// Max holds the highest reading of each bucket, in the same unit. It is nil
	// where only means are known, else as long as Mean.
	Max []float64
}

// Len returns the number of buckets, missing ones included.
func (s *Series) Len() int { return len(s.Mean) }

// End returns the end of the last bucket: the instant from which a forecast
// looks ahead.
func (s *Series) End() time.Time { return s.Time(len(s.Mean)) }

// Time returns the start of bucket i.
func (s *Series) Time(i int) time.Time { return s.Start.Add(time.Duration(i) * s.Step) }

// Index returns the bucket that t falls into. It may lie outside the series.
func (s *Series) Index(t time.Time) int {
	d := t.Sub(s.Start)
	i := int(d / s.Step)
	if d < 0 && d%s.Step != 0 {
		i--
	}
	return i
}

// Valid counts the buckets that are not missing.
func (s *Series) Valid() int {
	n := 0
	for _, v := range s.Mean {
		if !math.IsNaN(v) {
			n++
		}
	}
	return n
}

// LastValid returns the index of the newest bucket that is not missing, or -1.
func (s *Series) LastValid() int {
	for i := len(s.Mean) - 1; i >= 0; i-- {
		if !math.IsNaN(s.Mean[i]) {
			return i
		}
	}
	return -1
}

// Slice returns buckets [from, to) as a series that shares this one's memory.
// Both ends are cut to the series.
func (s *Series) Slice(from, to int) Series {
	from = max(0, min(from, len(s.Mean)))
	to = max(from, min(to, len(s.Mean)))
	out := *s
	out.Start = s.Time(from)
	out.Mean = s.Mean[from:to:to]
	if s.Max != nil {
		out.Max = s.Max[from:to:to]
	}
	return out
}

// Measured returns the series from its first bucket that is not missing on,
// sharing this one's memory. It is empty where nothing was measured.
func (s *Series) Measured() Series {
	for i, v := range s.Mean {
		if !math.IsNaN(v) {
			return s.Slice(i, len(s.Mean))
		}
	}
	return s.Slice(len(s.Mean), len(s.Mean))
}

// StepsPerDay returns how many buckets make a day.
func StepsPerDay(step time.Duration) int { return int(24 * time.Hour / step) }

// ValidateStep holds the rule for the length of a bucket: 1 to 60 whole minutes
// that divide a day.
func ValidateStep(step time.Duration) error {
	if step < time.Minute || step > time.Hour || step%time.Minute != 0 || (24*time.Hour)%step != 0 {
		return Errorf(CodeInvalidConfig, "step must be 1 to 60 whole minutes that divide a day, but is %s", step)
	}
	return nil
}

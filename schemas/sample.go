package schemas

import (
	"math"
	"time"
)

// Limits beyond which a measurement is taken for a mistake in its unit or its
// source, not for usage.
const (
	MaxCPU      = 1e6     // cores, total of one component
	MaxMemory   = 1 << 53 // bytes (8 PiB), total of one component
	MaxReplicas = 100_000
)

// Limit returns the largest believable usage of a resource, in its base unit.
func (r Resource) Limit() float64 {
	if r == Memory {
		return MaxMemory
	}
	return MaxCPU
}

// Usage is one component's total usage of one resource in one bucket, summed
// over its pods. Totals, because an average per pod moves when we scale.
type Usage struct {
	Mean  float64 `json:"mean"`  // cores or bytes
	Max   float64 `json:"max"`   // the highest single reading, cores or bytes
	Count int32   `json:"count"` // readings in the bucket, at least 1
}

// Sample is what one component used in one bucket. What was not measured is
// nil.
type Sample struct {
	Component ComponentID `json:"component"`
	Start     time.Time   `json:"start"` // start of the bucket, UTC
	CPU       *Usage      `json:"cpu,omitempty"`
	Memory    *Usage      `json:"memory,omitempty"`
	// Replicas is the number of pods at the end of the bucket.
	Replicas *int32 `json:"replicas,omitempty"`
	// CPURequest and MemoryRequest are what one pod requests: cores, bytes.
	CPURequest    *float64 `json:"cpuRequest,omitempty"`
	MemoryRequest *float64 `json:"memoryRequest,omitempty"`
}

// Usage returns the usage of a resource, nil where it was not measured.
func (s *Sample) Usage(r Resource) *Usage {
	if r == Memory {
		return s.Memory
	}
	return s.CPU
}

// Readings is how many readings the sample was made from, of both resources.
func (s *Sample) Readings() int {
	n := 0
	for _, r := range Resources() {
		if u := s.Usage(r); u != nil {
			n += int(u.Count)
		}
	}
	return n
}

// Validate reports the first field that breaks a rule. Step is the length of a
// bucket, which the start must be a multiple of.
func (s *Sample) Validate(step time.Duration) error {
	if err := s.Component.Validate(); err != nil {
		return err
	}
	if !s.Start.Equal(s.Start.Truncate(step)) {
		return Errorf(CodeInvalidData, "%s: start must be a multiple of %s, but is %s", s.Component, step, s.Start.Format(time.RFC3339))
	}
	for _, r := range Resources() {
		u := s.Usage(r)
		if u == nil {
			continue
		}
		if err := CheckQuantity(string(r), u.Mean, r.Limit()); err != nil {
			return err
		}
		if err := CheckQuantity(string(r)+" maximum", u.Max, r.Limit()); err != nil {
			return err
		}
		if u.Count < 1 {
			return Errorf(CodeInvalidData, "%s: count of %s readings must be at least 1, but is %d", s.Component, r, u.Count)
		}
	}
	if s.Replicas != nil && (*s.Replicas < 0 || *s.Replicas > MaxReplicas) {
		return Errorf(CodeInvalidData, "%s: replicas must be from 0 to %d, but is %d", s.Component, MaxReplicas, *s.Replicas)
	}
	if s.CPURequest != nil {
		if err := CheckQuantity("cpu_request", *s.CPURequest, MaxCPU); err != nil {
			return err
		}
	}
	if s.MemoryRequest != nil {
		return CheckQuantity("memory_request", *s.MemoryRequest, MaxMemory)
	}
	return nil
}

// CheckQuantity reports a quantity that is not a number from 0 to limit.
func CheckQuantity(field string, v, limit float64) error {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return Errorf(CodeInvalidData, "%s must be a finite number, but is %v", field, v)
	case v < 0:
		return Errorf(CodeInvalidData, "%s must not be negative, but is %v", field, v)
	case v > limit:
		return Errorf(CodeInvalidData, "%s must be at most %g, but is %v", field, limit, v)
	}
	return nil
}

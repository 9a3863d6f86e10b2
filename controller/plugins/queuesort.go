package plugins

import (
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// UrgentFirstName is the name of [UrgentFirst].
const UrgentFirstName = "UrgentFirst"

// UrgentFirst puts the most urgent rise first, so that it gets what is left of
// a budget: rises before all else, the sooner before the later, the relatively
// larger before the smaller.
type UrgentFirst struct{}

var _ framework.QueueSortPlugin = UrgentFirst{}

func newUrgentFirst(args []byte) (framework.Plugin, error) {
	return UrgentFirst{}, noArgs(args)
}

// Name returns [UrgentFirstName].
func (UrgentFirst) Name() string { return UrgentFirstName }

// Less compares two proposals. Equals keep the order of their names.
func (UrgentFirst) Less(a, b *framework.Proposal) bool {
	fromA, toA := rise(a)
	fromB, toB := rise(b)
	if upA, upB := toA > fromA, toB > fromB; upA != upB || !upA {
		return upA && !upB
	}
	if x, y := deciding(a.Decision), deciding(b.Decision); !x.Bucket.Equal(y.Bucket) {
		return x.Bucket.Before(y.Bucket)
	}
	// to/from, multiplied out.
	return toA*fromB > toB*fromA
}

// rise returns the floor before a decision and after it, each at least 1.
func rise(p *framework.Proposal) (from, to int64) {
	from = int64(p.Decision.Policy.MinReplicas)
	if p.Decision.PreviousReplicas != nil {
		from = int64(*p.Decision.PreviousReplicas)
	}
	return max(1, from), max(1, int64(p.Decision.MinReplicas))
}

// deciding returns the demand that asks for the most replicas.
func deciding(d *schemas.Decision) schemas.Demand {
	var top schemas.Demand
	for _, demand := range d.Demands {
		if demand.Replicas > top.Replicas {
			top = demand
		}
	}
	return top
}

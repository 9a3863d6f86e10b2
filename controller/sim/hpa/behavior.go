package hpa

import (
	"math"
	"time"
)

// Behavior limits how fast an autoscaler may change the number of replicas.
type Behavior struct {
	ScaleUp, ScaleDown Rules
}

// Rules limit one direction.
type Rules struct {
	// Stabilization is the window whose most cautious recommendation holds: the
	// lowest for the way up, the highest for the way down.
	Stabilization time.Duration
	Select        Select
	Policies      []Policy
}

// Select says which of several policies decides.
type Select int8

// MaxChange takes the policy that allows the largest change, MinChange the
// smallest, and Disabled forbids the direction.
const (
	MaxChange Select = iota
	MinChange
	Disabled
)

// Policy allows a change of Value pods, or of Value percent, within Period.
type Policy struct {
	Percent bool
	Value   int32
	Period  time.Duration
}

// DefaultBehavior returns what Kubernetes fills in where an object has a
// behavior but leaves its fields open: up at once by the larger of 4 pods and
// 100 % each 15 s, down by up to 100 % each 15 s after the stabilisation that
// the cluster is configured with.
func DefaultBehavior(cfg Config) *Behavior {
	return &Behavior{
		ScaleUp: Rules{Policies: []Policy{
			{Value: 4, Period: 15 * time.Second},
			{Percent: true, Value: 100, Period: 15 * time.Second},
		}},
		ScaleDown: Rules{
			Stabilization: cfg.DownscaleStabilization,
			Policies:      []Policy{{Percent: true, Value: 100, Period: 15 * time.Second}},
		},
	}
}

// State is what an autoscaler remembers from one sync to the next. The zero
// State is that of a new one.
type State struct {
	recommendations []recommendation
	ups, downs      []event
}

type recommendation struct {
	replicas int32
	time     time.Time
}

type event struct {
	change   int32 // pods added or removed
	time     time.Time
	outdated bool
}

// Sync computes the number of replicas that the autoscaler sets at an instant.
// Readings holds one slice for each target of the spec, each with one reading
// for each pod. An error says that the number could not be computed from the
// metrics; the number returned with it is what the autoscaler goes on with.
func (s *State) Sync(cfg *Config, now time.Time, spec *Spec, current int32, pods []Pod, readings [][]Reading) (int32, error) {
	if s.recommendations == nil {
		s.recommendations = append(s.recommendations, recommendation{current, now})
	}
	var desired int32
	var err error
	switch {
	case current == 0 && spec.MinReplicas != 0:
		return 0, nil // switched off by hand
	case current > spec.MaxReplicas:
		desired = spec.MaxReplicas
	case current < spec.MinReplicas:
		// A raised minimum holds at once: no policy and no window applies.
		desired = spec.MinReplicas
	default:
		desired, err = mostDesired(cfg, now, spec, current, pods, readings)
		if desired < 0 {
			return current, err
		}
		if spec.Behavior == nil {
			desired = s.normalize(cfg, now, spec, current, desired)
		} else {
			desired = s.normalizeWithBehavior(now, spec, current, desired)
		}
	}
	if desired != current && spec.Behavior != nil {
		s.remember(now, spec.Behavior, current, desired)
	}
	return desired, err
}

// mostDesired returns the largest number that any metric asks for. It returns
// -1 where no metric has an answer, and also where one has none while the
// others would scale down: what is not known must not remove pods.
func mostDesired(cfg *Config, now time.Time, spec *Spec, current int32, pods []Pod, readings [][]Reading) (int32, error) {
	if len(spec.Targets) == 0 || len(readings) != len(spec.Targets) {
		return -1, ErrNoTargets
	}
	var most int32
	var failure error
	failed := 0
	for i, target := range spec.Targets {
		n, _, err := Desired(cfg, now, target, current, pods, readings[i])
		if err != nil {
			failed++
			if failure == nil {
				failure = err
			}
			continue
		}
		most = max(most, n)
	}
	if failed == len(spec.Targets) || failed > 0 && most < current {
		return -1, failure
	}
	return most, failure
}

// normalize applies what holds for an autoscaler without a behavior: the
// highest recommendation of the stabilisation window, and at most twice the
// pods at once, but 4 in any case.
func (s *State) normalize(cfg *Config, now time.Time, spec *Spec, current, desired int32) int32 {
	stable := desired
	cutoff := now.Add(-cfg.DownscaleStabilization)
	old := -1
	for i, r := range s.recommendations {
		if r.time.Before(cutoff) {
			old = i
		} else {
			stable = max(stable, r.replicas)
		}
	}
	s.recommend(old, desired, now)

	if stable < spec.MinReplicas {
		return spec.MinReplicas
	}
	return min(stable, spec.MaxReplicas, max(2*current, 4))
}

// normalizeWithBehavior applies the windows and the policies of a behavior.
func (s *State) normalizeWithBehavior(now time.Time, spec *Spec, current, desired int32) int32 {
	b := spec.Behavior
	upCutoff := now.Add(-b.ScaleUp.Stabilization)
	downCutoff := now.Add(-b.ScaleDown.Stabilization)
	lowest, highest := desired, desired
	old := -1
	for i, r := range s.recommendations {
		if r.time.After(upCutoff) {
			lowest = min(lowest, r.replicas)
		}
		if r.time.After(downCutoff) {
			highest = max(highest, r.replicas)
		}
		if r.time.Before(upCutoff) && r.time.Before(downCutoff) {
			old = i
		}
	}
	s.recommend(old, desired, now)
	stable := min(max(current, lowest), highest)

	switch {
	case stable > current:
		limit := max(current, s.upLimit(now, &b.ScaleUp, current))
		return min(stable, spec.MaxReplicas, limit)
	case stable < current:
		limit := min(current, s.downLimit(now, &b.ScaleDown, current))
		return max(stable, spec.MinReplicas, limit)
	}
	return stable
}

// recommend keeps a recommendation, in the place of one that is too old to
// matter where there is one.
func (s *State) recommend(old int, replicas int32, now time.Time) {
	if old >= 0 {
		s.recommendations[old] = recommendation{replicas, now}
		return
	}
	s.recommendations = append(s.recommendations, recommendation{replicas, now})
}

// remember keeps a change for the policies.
func (s *State) remember(now time.Time, b *Behavior, before, after int32) {
	if after > before {
		s.ups = keep(s.ups, now, &b.ScaleUp, after-before)
	} else {
		s.downs = keep(s.downs, now, &b.ScaleDown, before-after)
	}
}

func keep(events []event, now time.Time, rules *Rules, change int32) []event {
	var longest time.Duration
	for _, p := range rules.Policies {
		longest = max(longest, p.Period)
	}
	cutoff := now.Add(-longest)
	old := -1
	for i := range events {
		events[i].outdated = events[i].outdated || events[i].time.Before(cutoff)
		if events[i].outdated {
			old = i
		}
	}
	if old >= 0 {
		events[old] = event{change: change, time: now}
		return events
	}
	return append(events, event{change: change, time: now})
}

// upLimit is the most replicas that the policies allow now.
func (s *State) upLimit(now time.Time, rules *Rules, current int32) int32 {
	if rules.Select == Disabled {
		return current
	}
	choose, limit := larger, int32(math.MinInt32)
	if rules.Select == MinChange {
		choose, limit = smaller, math.MaxInt32
	}
	for _, p := range rules.Policies {
		base := current - changed(s.ups, now, p.Period) + changed(s.downs, now, p.Period)
		allowed := base + p.Value
		if p.Percent {
			// Rounded up, or a small number could never grow.
			allowed = int32(math.Ceil(float64(base) * (1 + float64(p.Value)/100)))
		}
		limit = choose(limit, allowed)
	}
	return limit
}

// downLimit is the fewest replicas that the policies allow now.
func (s *State) downLimit(now time.Time, rules *Rules, current int32) int32 {
	if rules.Select == Disabled {
		return current
	}
	choose, limit := smaller, int32(math.MaxInt32)
	if rules.Select == MinChange {
		choose, limit = larger, math.MinInt32
	}
	for _, p := range rules.Policies {
		base := current - changed(s.ups, now, p.Period) + changed(s.downs, now, p.Period)
		allowed := base - p.Value
		if p.Percent {
			allowed = int32(float64(base) * (1 - float64(p.Value)/100))
		}
		limit = choose(limit, allowed)
	}
	return limit
}

// changed adds up the pods of the events within a period.
func changed(events []event, now time.Time, period time.Duration) int32 {
	cutoff := now.Add(-period)
	var n int32
	for _, e := range events {
		if e.time.After(cutoff) {
			n += e.change
		}
	}
	return n
}

func larger(a, b int32) int32  { return max(a, b) }
func smaller(a, b int32) int32 { return min(a, b) }

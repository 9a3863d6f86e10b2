// Package hpa computes what the HorizontalPodAutoscaler of Kubernetes computes,
// as pure functions and one small state, so that a simulated cluster scales
// as a real one would. It covers resource metrics with a utilisation target,
// missing metrics, pods that are not Ready, tolerance, stabilisation windows
// and scaling policies. A separate test module (test/hpaoracle) compares it with
// the controller of Kubernetes itself.
//
// Usage and requests are whole thousandths, as the controller computes them:
// millicores for CPU, thousandths of a byte for memory. A utilisation is a
// whole percentage of the request.
package hpa

import (
	"errors"
	"math"
	"time"
)

// Config is what the operator of a cluster sets for all its autoscalers, as
// flags of kube-controller-manager.
type Config struct {
	// SyncPeriod is the time between two looks at one autoscaler.
	SyncPeriod time.Duration
	// Tolerance is how far the ratio of measured to wanted utilisation may be
	// from 1 without any change.
	Tolerance float64
	// CPUInitializationPeriod is how long after its start a pod's CPU usage is
	// disregarded while it is not Ready, or has not been for a whole window of
	// the metric.
	CPUInitializationPeriod time.Duration
	// InitialReadinessDelay is how long after its start a pod that is not Ready
	// counts as never having been.
	InitialReadinessDelay time.Duration
	// DownscaleStabilization is how long a higher recommendation holds a lower
	// one back, where an autoscaler's own behavior does not say.
	DownscaleStabilization time.Duration
}

// DefaultConfig returns the defaults of Kubernetes.
func DefaultConfig() Config {
	return Config{
		SyncPeriod:              15 * time.Second,
		Tolerance:               0.1,
		CPUInitializationPeriod: 5 * time.Minute,
		InitialReadinessDelay:   30 * time.Second,
		DownscaleStabilization:  5 * time.Minute,
	}
}

// Spec is one autoscaler, as its object's spec.
type Spec struct {
	MinReplicas, MaxReplicas int32
	// Targets holds at least one metric; the one that asks for the most
	// replicas decides.
	Targets []Target
	// Behavior is nil where the object has none: then the controller's built-in
	// limits hold.
	Behavior *Behavior
}

// Target is the utilisation that one resource should have.
type Target struct {
	// CPU says that the readiness of pods matters, as it does for CPU and for
	// no other resource.
	CPU bool
	// Utilization is the percentage of the request, at least 1.
	Utilization int32
}

// Condition is the Ready condition of a pod.
type Condition int8

// A pod has no Ready condition before its node has taken it on.
const (
	NoCondition Condition = iota
	NotReady
	Ready
)

// Phase is how far a pod has come.
type Phase int8

// The phases that make a difference. A pod that is being deleted counts as
// Gone, whatever its phase.
const (
	Running Phase = iota
	Pending
	Gone // failed or being deleted
)

// Pod is what the autoscaler knows of one pod.
type Pod struct {
	Phase Phase
	Ready Condition
	// Started is when its node took it on; the zero time while none has.
	Started time.Time
	// Transition is when Ready last changed.
	Transition time.Time
}

// Reading is what the metrics pipeline knows of one pod's usage of one
// resource.
type Reading struct {
	// Request is what the pod requests; negative where it requests nothing.
	Request int64
	// Known is false where there is no metric, and then the rest is unset.
	Known bool
	Value int64
	// Timestamp is the end of the window that Value was measured over.
	Timestamp time.Time
	Window    time.Duration
}

// The reasons why no number of replicas can be computed.
var (
	ErrNoPods     = errors.New("no pods match the selector")
	ErrNoMetrics  = errors.New("no metrics for any pod that counts")
	ErrNoRequest  = errors.New("a pod has no request for the resource")
	ErrZeroTotal  = errors.New("the requests of the pods that count add up to 0")
	ErrNoTargets  = errors.New("the autoscaler has no metric")
	errReadingLen = errors.New("there must be one reading for each pod")
)

// Desired returns the number of replicas that one metric asks for, before any
// limit, and the measured utilisation in percent. Readings belong to pods by
// index.
//
// Pods that are not Ready and pods without a metric are left out of the first
// ratio. Should that ratio ask for a change, they are counted in against the
// change: on the way up as using nothing, on the way down, if it is the metric
// that is missing, as using their whole request (or the target, where that is
// higher). A change that this reverses or brings within tolerance is dropped.
func Desired(cfg *Config, now time.Time, target Target, current int32, pods []Pod, readings []Reading) (replicas, utilization int32, err error) {
	if len(pods) == 0 {
		return 0, 0, ErrNoPods
	}
	if len(readings) != len(pods) {
		return 0, 0, errReadingLen
	}
	fallback := int64(max(100, target.Utilization))
	var counted, unready, missing sum
	requested := true
	for i := range pods {
		r := &readings[i]
		requested = requested && r.Request >= 0
		switch p := &pods[i]; {
		case p.Phase == Gone:
		case p.Phase == Pending:
			unready.add(0, r.Request)
		case !r.Known:
			missing.add(r.Request*fallback/100, r.Request)
		case target.CPU && disregarded(cfg, now, p, r):
			unready.add(0, r.Request)
		default:
			counted.add(r.Value, r.Request)
		}
	}
	if counted.pods == 0 {
		return 0, 0, ErrNoMetrics
	}
	if !requested {
		return 0, 0, ErrNoRequest
	}
	if counted.request == 0 {
		return 0, 0, ErrZeroTotal
	}
	utilization = counted.utilization()
	ratio := float64(utilization) / float64(target.Utilization)
	up, down := ratio > 1, ratio < 1

	countUnready := up && unready.pods > 0
	if !countUnready && missing.pods == 0 {
		if cfg.tolerates(ratio) {
			return current, utilization, nil
		}
		return int32(math.Ceil(ratio * float64(counted.pods))), utilization, nil
	}

	all := counted
	switch {
	case down:
		all.join(missing)
	case up:
		missing.value = 0
		all.join(missing)
	}
	if countUnready {
		all.join(unready)
	}
	second := float64(all.utilization()) / float64(target.Utilization)
	if cfg.tolerates(second) || down && second > 1 || up && second < 1 {
		return current, utilization, nil
	}
	replicas = int32(math.Ceil(second * float64(all.pods)))
	if second < 1 && replicas > current || second > 1 && replicas < current {
		return current, utilization, nil
	}
	return replicas, utilization, nil
}

// sum adds up the pods of one kind.
type sum struct {
	pods           int
	value, request int64
}

func (s *sum) add(value, request int64) {
	s.pods++
	s.value += value
	s.request += request
}

func (s *sum) join(other sum) {
	s.pods += other.pods
	s.value += other.value
	s.request += other.request
}

// utilization is the percentage in use, cut to a whole number as the
// controller does.
func (s *sum) utilization() int32 { return int32(s.value * 100 / s.request) }

func (cfg *Config) tolerates(ratio float64) bool {
	return 1-cfg.Tolerance <= ratio && ratio <= 1+cfg.Tolerance
}

// disregarded reports whether a running pod's CPU usage says nothing yet.
func disregarded(cfg *Config, now time.Time, p *Pod, r *Reading) bool {
	if p.Ready == NoCondition || p.Started.IsZero() {
		return true
	}
	if p.Started.Add(cfg.CPUInitializationPeriod).After(now) {
		return p.Ready == NotReady || r.Timestamp.Before(p.Transition.Add(r.Window))
	}
	return p.Ready == NotReady && p.Started.Add(cfg.InitialReadinessDelay).After(p.Transition)
}

package schemas

import (
	"bytes"
	"encoding/json"
	"math"
	"time"
)

// Mode says what we may do for a component.
type Mode string

// The modes, from the least to the most that we may do.
const (
	// Off: neither forecast nor decide.
	Off Mode = "Off"
	// Shadow: forecast and decide, write nothing. What a newly discovered
	// component starts with.
	Shadow Mode = "Shadow"
	// Auto: forecast, decide and apply.
	Auto Mode = "Auto"
)

// Policy is what an operator wants for one component. [DefaultPolicy] fills
// what they left open.
type Policy struct {
	Mode Mode `json:"mode"`
	// MinReplicas and MaxReplicas are the operator's own bounds. A floor never
	// leaves them.
	MinReplicas int32 `json:"minReplicas"`
	MaxReplicas int32 `json:"maxReplicas"`
	// CPUUtilization and MemoryUtilization are the share of a pod's request that
	// should be in use, as in the target of a HorizontalPodAutoscaler: 0.7 is
	// 70 %.
	CPUUtilization    float64 `json:"cpuUtilization"`
	MemoryUtilization float64 `json:"memoryUtilization"`
	// PeakUtilization is the share of a pod's request that the highest reading
	// within a bucket may use.
	PeakUtilization float64 `json:"peakUtilization"`
	// CPUUtilizationFrom, MemoryUtilizationFrom and PeakUtilizationFrom say where
	// the shares come from: [FromPolicy], or the user's own autoscaler as in
	// "HorizontalPodAutoscaler/web". Empty where nobody has said anything; see
	// [Policy.UtilizationFrom].
	CPUUtilizationFrom    string `json:"cpuUtilizationFrom,omitempty"`
	MemoryUtilizationFrom string `json:"memoryUtilizationFrom,omitempty"`
	PeakUtilizationFrom   string `json:"peakUtilizationFrom,omitempty"`
	// Quantile is the nominal level of the forecast that the floor must serve,
	// between 0 and 1: of the bucket's peak where peaks are known, else of its
	// mean.
	Quantile float64 `json:"quantile"`
	// LeadTime is how long a pod needs from its creation to Ready.
	LeadTime time.Duration `json:"leadTime"`
	// Hold is how long a floor stays before it may be lowered.
	Hold time.Duration `json:"hold"`
	// MaxStep is the largest rise of the floor in one decision, in replicas; 0
	// means that only the bounds limit it.
	MaxStep int32 `json:"maxStep"`
}

// DefaultPolicy returns the policy of a component for which nobody has said
// anything.
func DefaultPolicy() Policy {
	return Policy{
		Mode:              Shadow,
		MinReplicas:       1,
		MaxReplicas:       10,
		CPUUtilization:    0.7,
		MemoryUtilization: 0.7,
		PeakUtilization:   1,
		Quantile:          0.8,
		LeadTime:          2 * time.Minute,
		Hold:              0,
		MaxStep:           0,
	}
}

// Utilization returns the target utilisation of a resource.
func (p *Policy) Utilization(r Resource) float64 {
	if r == Memory {
		return p.MemoryUtilization
	}
	return p.CPUUtilization
}

// MaxUtilization is the largest share of a request that can be wanted.
const MaxUtilization = 10

// Adopt takes over the target utilisation that an autoscaler has, by its name.
// A resource that is absent keeps what it has. A peak may use no less of a
// request than the autoscaler wants used all the time, or each floor would be
// above what the autoscaler itself asks for.
func (p *Policy) Adopt(autoscaler string, utilization map[Resource]float64) {
	if u, ok := utilization[CPU]; ok {
		p.CPUUtilization, p.CPUUtilizationFrom = u, autoscaler
	}
	if u, ok := utilization[Memory]; ok {
		p.MemoryUtilization, p.MemoryUtilizationFrom = u, autoscaler
	}
	for _, u := range utilization {
		if u > p.PeakUtilization {
			p.PeakUtilization, p.PeakUtilizationFrom = u, autoscaler
		}
	}
}

// Where a share of the request comes from, if not from an autoscaler.
const (
	FromDefault = "default" // nobody has said anything
	FromPolicy  = "policy"  // the operator has set it
	FromFormula = "formula" // the formula of the decision knows no other
)

// UtilizationFrom says where the share of the request comes from that the mean
// or the peak of a resource may use. It is never empty.
func (p *Policy) UtilizationFrom(r Resource, s Statistic) string {
	standard := DefaultPolicy()
	from, share, untold := p.CPUUtilizationFrom, p.CPUUtilization, standard.CPUUtilization
	switch {
	case s == Peak:
		from, share, untold = p.PeakUtilizationFrom, p.PeakUtilization, standard.PeakUtilization
	case r == Memory:
		from, share, untold = p.MemoryUtilizationFrom, p.MemoryUtilization, standard.MemoryUtilization
	}
	switch {
	case from != "":
		return from
	case share != untold: // as a policy file and flags set it
		return FromPolicy
	}
	return FromDefault
}

// Validate reports the first field that breaks a rule.
func (p *Policy) Validate() error {
	switch p.Mode {
	case Off, Shadow, Auto:
	default:
		return Errorf(CodeInvalidConfig, "mode must be Off, Shadow or Auto, but is %q", p.Mode)
	}
	if p.MinReplicas < 1 || p.MinReplicas > MaxReplicas {
		return Errorf(CodeInvalidConfig, "minReplicas must be from 1 to %d, but is %d", MaxReplicas, p.MinReplicas)
	}
	if p.MaxReplicas < p.MinReplicas || p.MaxReplicas > MaxReplicas {
		return Errorf(CodeInvalidConfig, "maxReplicas must be from minReplicas (%d) to %d, but is %d", p.MinReplicas, MaxReplicas, p.MaxReplicas)
	}
	for _, f := range []struct {
		name  string
		value float64
		limit float64
	}{
		{"cpuUtilization", p.CPUUtilization, MaxUtilization}, {"memoryUtilization", p.MemoryUtilization, MaxUtilization},
		{"peakUtilization", p.PeakUtilization, MaxUtilization}, {"quantile", p.Quantile, 1},
	} {
		if math.IsNaN(f.value) || f.value <= 0 || f.value > f.limit || f.name == "quantile" && f.value == 1 {
			return Errorf(CodeInvalidConfig, "%s must be above 0 and below %g, but is %v", f.name, f.limit, f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"leadTime", p.LeadTime}, {"hold", p.Hold}} {
		if f.value < 0 || f.value > 24*time.Hour {
			return Errorf(CodeInvalidConfig, "%s must be from 0s to 24h, but is %s", f.name, f.value)
		}
	}
	if p.MaxStep < 0 {
		return Errorf(CodeInvalidConfig, "maxStep must not be negative, but is %d", p.MaxStep)
	}
	return nil
}

// Requests is what one pod of a component requests. A resource that is not
// requested, or whose request is not known, is absent.
type Requests map[Resource]float64 // cores, bytes

// policyJSON is a policy as files and records spell it: durations as Go writes
// them ("2m0s").
type policyJSON struct {
	*policyFields
	LeadTime *Duration `json:"leadTime"`
	Hold     *Duration `json:"hold"`
}

type policyFields Policy

// MarshalJSON implements json.Marshaler.
func (p Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(p.spelled())
}

// UnmarshalJSON implements json.Unmarshaler. Fields that are not given keep
// their values, and fields that a policy does not have are passed over, because
// records are read for longer than their writers live; [ParsePolicy] is for
// what people write.
func (p *Policy) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, p.spelled())
}

func (p *Policy) spelled() *policyJSON {
	return &policyJSON{(*policyFields)(p), (*Duration)(&p.LeadTime), (*Duration)(&p.Hold)}
}

// ParsePolicy reads a policy, in JSON, that somebody wrote: what it leaves open
// has its default, and a field that a policy does not have is an error.
func ParsePolicy(data []byte) (Policy, error) {
	p := DefaultPolicy()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p.spelled()); err != nil {
		return Policy{}, Errorf(CodeInvalidConfig, "%w", err)
	}
	if p.CPUUtilizationFrom != "" || p.MemoryUtilizationFrom != "" || p.PeakUtilizationFrom != "" {
		return Policy{}, Errorf(CodeInvalidConfig, "where a utilization comes from must not be set: it is recorded")
	}
	return p, p.Validate()
}

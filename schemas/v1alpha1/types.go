package v1alpha1

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/self-scaling/self-scaling/schemas"
)

// ScalingPolicy is what an operator wants for the components of one service.
type ScalingPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ScalingPolicySpec   `json:"spec"`
	Status ScalingPolicyStatus `json:"status,omitempty"`
}

// ScalingPolicyList is a list of policies.
type ScalingPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ScalingPolicy `json:"items"`
}

// ScalingPolicySpec belongs to the operator. Settings given beside the service
// hold for all of its components; those of a component win over them.
type ScalingPolicySpec struct {
	// Service is the value of the service's label. It cannot be changed.
	Service  string `json:"service"`
	Settings `json:",inline"`
	// Components holds what differs for single components, by name.
	Components []ComponentSettings `json:"components,omitempty"`
}

// ComponentSettings are the settings of one component.
type ComponentSettings struct {
	// Name is the value of the component's label.
	Name     string `json:"name"`
	Settings `json:",inline"`
}

// Settings are the parts of a [schemas.Policy] that can be set. What is nil or
// empty keeps the more general value: the service's, then that of the user's
// own autoscaler, then that of [schemas.DefaultPolicy]. Shares are whole
// percentages, as in a HorizontalPodAutoscaler, because the API of Kubernetes
// knows no fractions.
type Settings struct {
	Mode        Mode   `json:"mode,omitempty"`
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// CPUUtilization, MemoryUtilization and PeakUtilization are percentages of a
	// pod's request.
	CPUUtilization    *int32 `json:"cpuUtilization,omitempty"`
	MemoryUtilization *int32 `json:"memoryUtilization,omitempty"`
	PeakUtilization   *int32 `json:"peakUtilization,omitempty"`
	// Quantile is the nominal level of the forecast that the floor serves, in
	// percent.
	Quantile *int32 `json:"quantile,omitempty"`
	// LeadTime, where it is not set, is measured from the component's own pods.
	LeadTime *metav1.Duration `json:"leadTime,omitempty"`
	Hold     *metav1.Duration `json:"hold,omitempty"`
	// MaxStep is the largest rise of the floor in one decision; 0 means that
	// only the bounds limit it.
	MaxStep *int32 `json:"maxStep,omitempty"`
	// Profile names the set of plugins that decides.
	Profile string `json:"profile,omitempty"`
}

// Mode is a [schemas.Mode]. YAML 1.1 reads an unquoted Off as the boolean
// false, so that false is understood as Off wherever a mode is read.
type Mode schemas.Mode

// UnmarshalJSON implements json.Unmarshaler.
func (m *Mode) UnmarshalJSON(data []byte) error {
	if string(data) == "false" {
		*m = Mode(schemas.Off)
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "mode must be Off, Shadow or Auto, but is %s", data)
	}
	*m = Mode(s)
	return nil
}

// The conditions of a policy.
const (
	// ConditionReady is True where every component in mode Auto is carried out,
	// or would be.
	ConditionReady = "Ready"
	// ConditionConflict is True where somebody else owns the number of replicas
	// of a component, so that it is left alone.
	ConditionConflict = "Conflict"
)

// ScalingPolicyStatus is what became of the policy. It belongs to the
// controller.
type ScalingPolicyStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	// Mode is the service's mode in words, which the spec need not be (see
	// [Mode]).
	Mode schemas.Mode `json:"mode,omitempty"`
	// LastForecast is when the newest forecast of any component was made.
	LastForecast *metav1.Time `json:"lastForecast,omitempty"`
	// Summary says how many components there are, and how many of them have a
	// floor, as in "2/3".
	Summary string `json:"summary,omitempty"`
	// Replicas is the floor of each component in words, as in "web=5 db=1",
	// because kubectl prints no more than one value of a list.
	Replicas   string            `json:"replicas,omitempty"`
	Components []ComponentStatus `json:"components,omitempty"`
}

// ComponentStatus is what became of one component.
type ComponentStatus struct {
	Name string       `json:"name"`
	Mode schemas.Mode `json:"mode,omitempty"`
	// Target is the workload, as in "Deployment/web".
	Target string `json:"target,omitempty"`
	// Floor is the number of replicas that the forecast asks for, in mode
	// Shadow too. Applied says whether it is in force, until Expires.
	Floor   *int32       `json:"floor,omitempty"`
	Applied bool         `json:"applied"`
	Expires *metav1.Time `json:"expires,omitempty"`
	// Reason is a machine word, see [schemas.Reason].
	Reason       schemas.Reason `json:"reason,omitempty"`
	Message      string         `json:"message,omitempty"`
	LastForecast *metav1.Time   `json:"lastForecast,omitempty"`
	// Accuracy is 100 x (1 - sum|actual - median| / sum actual) over the last
	// day for which both are known, at least 0, in percent. A resource that
	// could not be judged is absent.
	Accuracy map[schemas.Resource]int32 `json:"accuracy,omitempty"`
}

// Summarize fills in Summary and Replicas from the components.
func (s *ScalingPolicyStatus) Summarize() {
	applied, floors := 0, []string(nil)
	for _, c := range s.Components {
		if c.Applied {
			applied++
		}
		if c.Floor != nil {
			floors = append(floors, fmt.Sprintf("%s=%d", c.Name, *c.Floor))
		}
	}
	s.Summary = fmt.Sprintf("%d/%d", applied, len(s.Components))
	s.Replicas = strings.Join(floors, " ")
}

// Policy returns the policy of a component: base, overlaid with what the
// service and then the component set. It returns an error with
// [schemas.CodeInvalidConfig] where the outcome breaks a rule, as for bounds
// that are in order each for itself but not together.
func (p *ScalingPolicy) Policy(component string, base schemas.Policy) (schemas.Policy, error) {
	p.Spec.overlay(&base)
	for i := range p.Spec.Components {
		if c := &p.Spec.Components[i]; c.Name == component {
			c.overlay(&base)
		}
	}
	if err := base.Validate(); err != nil {
		return schemas.Policy{}, schemas.Errorf(schemas.CodeInvalidConfig, "%s %s/%s: component %s: %w", Kind, p.Namespace, p.Name, component, err)
	}
	return base, nil
}

// Profile returns the name of the set of plugins that decides for a component,
// empty where the policy leaves it open.
func (p *ScalingPolicy) Profile(component string) string {
	for i := range p.Spec.Components {
		if c := &p.Spec.Components[i]; c.Name == component && c.Profile != "" {
			return c.Profile
		}
	}
	return p.Spec.Settings.Profile
}

// LeadTimeSet reports whether the policy sets the lead time of a component, so
// that a measured one must not be used.
func (p *ScalingPolicy) LeadTimeSet(component string) bool {
	for i := range p.Spec.Components {
		if c := &p.Spec.Components[i]; c.Name == component && c.LeadTime != nil {
			return true
		}
	}
	return p.Spec.LeadTime != nil
}

func (s *Settings) overlay(p *schemas.Policy) {
	if s.Mode != "" {
		p.Mode = schemas.Mode(s.Mode)
	}
	for _, f := range []struct {
		from *int32
		to   *int32
	}{{s.MinReplicas, &p.MinReplicas}, {s.MaxReplicas, &p.MaxReplicas}, {s.MaxStep, &p.MaxStep}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	for _, f := range []struct {
		percent  *int32
		to       *float64
		toOrigin *string
	}{
		{s.CPUUtilization, &p.CPUUtilization, &p.CPUUtilizationFrom}, {s.MemoryUtilization, &p.MemoryUtilization, &p.MemoryUtilizationFrom},
		{s.PeakUtilization, &p.PeakUtilization, &p.PeakUtilizationFrom}, {s.Quantile, &p.Quantile, nil},
	} {
		if f.percent == nil {
			continue
		}
		*f.to = float64(*f.percent) / 100
		if f.toOrigin != nil {
			*f.toOrigin = schemas.FromPolicy
		}
	}
	for _, f := range []struct {
		from *metav1.Duration
		to   *time.Duration
	}{{s.LeadTime, &p.LeadTime}, {s.Hold, &p.Hold}} {
		if f.from != nil {
			*f.to = f.from.Duration
		}
	}
}

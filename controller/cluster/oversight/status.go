package oversight

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// The reasons of conditions that no decision has.
const (
	reasonScaled       = "Scaled"       // every component in mode Auto is carried out
	reasonNoneManaged  = "NoneManaged"  // no component is in mode Auto
	reasonNoComponents = "NoComponents" // the service has no component in the cluster
	reasonInvalid      = "InvalidPolicy"
	reasonNoConflict   = "NoConflict"
)

// Status returns the status of a policy, from what became of the components of its
// service, which are in order, at now. What is not known any more since the controller
// began is taken from the status that the policy has.
func Status(p *v1alpha1.ScalingPolicy, states []controller.State, now time.Time) v1alpha1.ScalingPolicyStatus {
	s := v1alpha1.ScalingPolicyStatus{
		ObservedGeneration: p.Generation,
		Mode:               cmp.Or(schemas.Mode(p.Spec.Mode), schemas.Shadow),
	}
	before := map[string]*v1alpha1.ComponentStatus{}
	for i := range p.Status.Components {
		before[p.Status.Components[i].Name] = &p.Status.Components[i]
	}
	for i := range states {
		c := componentStatus(&states[i], before[states[i].ID.Component])
		if c.LastForecast != nil && (s.LastForecast == nil || s.LastForecast.Before(c.LastForecast)) {
			s.LastForecast = c.LastForecast
		}
		s.Components = append(s.Components, c)
	}
	s.Summarize()
	for _, c := range p.Status.Conditions {
		s.Conditions = append(s.Conditions, *c.DeepCopy())
	}
	for _, c := range []metav1.Condition{ready(states), conflict(states)} {
		c.ObservedGeneration, c.LastTransitionTime = p.Generation, metav1.NewTime(now)
		meta.SetStatusCondition(&s.Conditions, c)
	}
	return s
}

func componentStatus(s *controller.State, before *v1alpha1.ComponentStatus) v1alpha1.ComponentStatus {
	c := v1alpha1.ComponentStatus{
		Name: s.ID.Component, Mode: s.Mode, Target: s.Target, Floor: s.Asked, Applied: s.Floor != nil,
		Reason: s.Reason, Message: s.Message, Accuracy: s.Accuracy,
	}
	if s.Floor != nil && !s.Expires.IsZero() {
		c.Expires = instant(s.Expires)
	}
	switch {
	case !s.LastForecast.IsZero():
		c.LastForecast = instant(s.LastForecast)
	case before != nil:
		c.LastForecast = before.LastForecast
	}
	if len(c.Accuracy) == 0 {
		c.Accuracy = nil
	}
	return c
}

// instant returns a time as the API of Kubernetes keeps it: to the second.
func instant(t time.Time) *metav1.Time {
	out := metav1.NewTime(t.UTC().Truncate(time.Second))
	return &out
}

// ready says whether every component in mode Auto is carried out.
func ready(states []controller.State) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reasonScaled, Message: "every component in mode Auto is carried out"}
	managed := false
	for i := range states {
		s := &states[i]
		managed = managed || s.Mode == schemas.Auto
		reason := ""
		switch {
		case s.Mode == "":
			reason = reasonInvalid
		case s.Mode == schemas.Auto && !s.Good():
			reason = string(s.Reason)
		}
		if reason != "" {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, reason, s.ID.Component+": "+s.Message
			return c
		}
	}
	switch {
	case len(states) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reasonNoComponents, "the service has no component in the cluster"
	case !managed:
		c.Reason, c.Message = reasonNoneManaged, "no component is in mode Auto"
	}
	return c
}

// conflict says whether somebody else owns a component's number of replicas.
func conflict(states []controller.State) metav1.Condition {
	for i := range states {
		if s := &states[i]; s.Conflict != "" {
			return metav1.Condition{Type: v1alpha1.ConditionConflict, Status: metav1.ConditionTrue, Reason: string(schemas.TargetNotScalable), Message: s.ID.Component + ": " + s.Conflict}
		}
	}
	return metav1.Condition{Type: v1alpha1.ConditionConflict, Status: metav1.ConditionFalse, Reason: reasonNoConflict, Message: "nobody else owns a number of replicas"}
}

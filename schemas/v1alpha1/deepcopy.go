package v1alpha1

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The group and version, and the resource as clients ask for it.
var (
	GroupVersion         = schema.GroupVersion{Group: Group, Version: Version}
	GroupVersionKind     = GroupVersion.WithKind(Kind)
	GroupVersionResource = GroupVersion.WithResource(Resource)
)

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &ScalingPolicy{}, &ScalingPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// DeepCopy returns a policy that shares no memory with this one.
func (p *ScalingPolicy) DeepCopy() *ScalingPolicy {
	if p == nil {
		return nil
	}
	out := *p
	out.ObjectMeta = *p.ObjectMeta.DeepCopy()
	out.Spec.Settings = p.Spec.Settings.deepCopy()
	out.Spec.Components = nil
	for _, c := range p.Spec.Components {
		c.Settings = c.deepCopy()
		out.Spec.Components = append(out.Spec.Components, c)
	}
	out.Status = p.Status.deepCopy()
	return &out
}

// DeepCopyObject implements [runtime.Object].
func (p *ScalingPolicy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyObject implements [runtime.Object].
func (l *ScalingPolicyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &ScalingPolicyList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopy())
	}
	return out
}

func (s *Settings) deepCopy() Settings {
	out := *s
	out.MinReplicas, out.MaxReplicas, out.MaxStep = clone(s.MinReplicas), clone(s.MaxReplicas), clone(s.MaxStep)
	out.CPUUtilization, out.MemoryUtilization = clone(s.CPUUtilization), clone(s.MemoryUtilization)
	out.PeakUtilization, out.Quantile = clone(s.PeakUtilization), clone(s.Quantile)
	out.LeadTime, out.Hold = clone(s.LeadTime), clone(s.Hold)
	return out
}

func (s *ScalingPolicyStatus) deepCopy() ScalingPolicyStatus {
	out := *s
	out.Conditions = nil
	for _, c := range s.Conditions {
		out.Conditions = append(out.Conditions, *c.DeepCopy())
	}
	out.LastForecast = s.LastForecast.DeepCopy()
	out.Components = nil
	for _, c := range s.Components {
		c.Floor = clone(c.Floor)
		c.Expires, c.LastForecast = c.Expires.DeepCopy(), c.LastForecast.DeepCopy()
		c.Accuracy = maps.Clone(c.Accuracy)
		out.Components = append(out.Components, c)
	}
	return out
}

func clone[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

package clusterservices

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// PolicyOf returns a policy as the REST interface has it.
func PolicyOf(p *v1alpha1.ScalingPolicy) api.ServicePolicy {
	out := api.ServicePolicy{
		ServicePolicy: wire.ServicePolicy{
			Namespace: p.Namespace, Service: p.Spec.Service,
			Settings: settingsOf(&p.Spec.Settings), Components: map[string]wire.Settings{},
		},
		Version: p.ResourceVersion,
	}
	for i := range p.Spec.Components {
		c := &p.Spec.Components[i]
		out.Components[c.Name] = settingsOf(&c.Settings)
	}
	return out
}

func settingsOf(s *v1alpha1.Settings) wire.Settings {
	out := wire.Settings{
		MinReplicas: s.MinReplicas, MaxReplicas: s.MaxReplicas, CPUUtilization: s.CPUUtilization, MemoryUtilization: s.MemoryUtilization,
		PeakUtilization: s.PeakUtilization, Quantile: s.Quantile, MaxStep: s.MaxStep, LeadTime: spelled(s.LeadTime), Hold: spelled(s.Hold),
	}
	if s.Mode != "" {
		m := schemas.Mode(s.Mode)
		out.Mode = &m
	}
	if s.Profile != "" {
		out.Profile = &s.Profile
	}
	return out
}

func spelled(d *metav1.Duration) *string {
	if d == nil {
		return nil
	}
	s := d.Duration.String()
	return &s
}

// SpecOf returns the spec of a policy as it is wanted, after the one that it has:
// components stay in their order, and new ones come after them.
func SpecOf(w *api.ServicePolicy, from v1alpha1.ScalingPolicySpec) (v1alpha1.ScalingPolicySpec, error) {
	out := v1alpha1.ScalingPolicySpec{Service: w.Service}
	if err := setSettings(&out.Settings, &w.Settings); err != nil {
		return out, err
	}
	names := make([]string, 0, len(w.Components))
	for _, c := range from.Components {
		if _, ok := w.Components[c.Name]; ok && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Components)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		c := v1alpha1.ComponentSettings{Name: name}
		settings := w.Components[name]
		if err := setSettings(&c.Settings, &settings); err != nil {
			return out, err
		}
		out.Components = append(out.Components, c)
	}
	return out, nil
}

func setSettings(to *v1alpha1.Settings, from *wire.Settings) error {
	to.MinReplicas, to.MaxReplicas, to.MaxStep = from.MinReplicas, from.MaxReplicas, from.MaxStep
	to.CPUUtilization, to.MemoryUtilization, to.PeakUtilization = from.CPUUtilization, from.MemoryUtilization, from.PeakUtilization
	to.Quantile = from.Quantile
	if from.Mode != nil {
		to.Mode = v1alpha1.Mode(*from.Mode)
	}
	if from.Profile != nil {
		to.Profile = *from.Profile
	}
	for _, f := range []struct {
		name string
		from *string
		to   **metav1.Duration
	}{{"leadTime", from.LeadTime, &to.LeadTime}, {"hold", from.Hold, &to.Hold}} {
		if f.from == nil {
			continue
		}
		d, err := time.ParseDuration(*f.from)
		if err != nil {
			return schemas.Errorf(schemas.CodeInvalidConfig, "%s must be a duration as 90s, but is %.40q", f.name, *f.from)
		}
		*f.to = &metav1.Duration{Duration: d}
	}
	return nil
}

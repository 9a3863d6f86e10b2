package v1alpha1_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

func parse(t *testing.T, text string) *v1alpha1.ScalingPolicy {
	t.Helper()
	var p v1alpha1.ScalingPolicy
	if err := yaml.UnmarshalStrict([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func TestTheMoreParticularSettingWins(t *testing.T) {
	p := parse(t, `
metadata: {namespace: ns, name: shop}
spec:
  service: shop
  mode: Auto
  quantile: 90
  cpuUtilization: 60
  hold: 10m
  profile: careful
  components:
  - {name: web, quantile: 95, minReplicas: 3, maxReplicas: 20, leadTime: 90s, maxStep: 4, memoryUtilization: 80, peakUtilization: 110}
  - {name: db, mode: "Off", profile: classic}
`)
	base := schemas.DefaultPolicy()
	base.MinReplicas, base.LeadTime = 2, time.Minute
	base.Adopt("HorizontalPodAutoscaler/web", map[schemas.Resource]float64{schemas.CPU: .5, schemas.Memory: .5})
	for _, tt := range []struct {
		component, profile string
		lead               bool
		edit               func(*schemas.Policy)
	}{
		{"web", "careful", true, func(p *schemas.Policy) {
			p.Quantile, p.MinReplicas, p.MaxReplicas, p.LeadTime, p.MaxStep = .95, 3, 20, 90*time.Second, 4
			p.MemoryUtilization, p.PeakUtilization = .8, 1.1
			p.MemoryUtilizationFrom, p.PeakUtilizationFrom = schemas.FromPolicy, schemas.FromPolicy
		}},
		{"db", "classic", false, func(p *schemas.Policy) { p.Mode, p.Quantile = schemas.Off, .9 }},
		{"unknown", "careful", false, func(p *schemas.Policy) { p.Quantile = .9 }},
	} {
		t.Run(tt.component, func(t *testing.T) {
			want := base
			want.Mode, want.CPUUtilization, want.Hold = schemas.Auto, .6, 10*time.Minute
			want.CPUUtilizationFrom = schemas.FromPolicy
			tt.edit(&want)
			got, err := p.Policy(tt.component, base)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if p.Profile(tt.component) != tt.profile || p.LeadTimeSet(tt.component) != tt.lead {
				t.Errorf("profile %q, lead time set %t; want %q, %t", p.Profile(tt.component), p.LeadTimeSet(tt.component), tt.profile, tt.lead)
			}
		})
	}
}

func TestBoundsThatDoNotFitTogetherAreAnErrorThatNamesThePolicy(t *testing.T) {
	p := parse(t, "metadata: {namespace: ns, name: shop}\nspec: {service: shop, minReplicas: 20, components: [{name: web}]}")
	_, err := p.Policy("web", schemas.DefaultPolicy())
	want := "ScalingPolicy ns/shop: component web: maxReplicas must be from minReplicas (20) to 100000, but is 10"
	if err == nil || err.Error() != want || schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestOffNeedsNoQuotes(t *testing.T) {
	for _, mode := range []string{"Off", `"Off"`, "'Off'"} {
		p := parse(t, "spec: {service: shop, mode: "+mode+"}")
		if p.Spec.Mode != v1alpha1.Mode(schemas.Off) {
			t.Errorf("mode: %s is %q, want Off", mode, p.Spec.Mode)
		}
	}
	var p v1alpha1.ScalingPolicy
	if err := json.Unmarshal([]byte(`{"spec":{"mode":true}}`), &p); err == nil || !strings.Contains(err.Error(), "mode must be Off, Shadow or Auto, but is true") {
		t.Errorf("error %v, want one that names the value", err)
	}
}

func TestTheSummaryCountsTheFloorsInForce(t *testing.T) {
	five, one := int32(5), int32(1)
	s := v1alpha1.ScalingPolicyStatus{Components: []v1alpha1.ComponentStatus{{Name: "web", Floor: &five, Applied: true}, {Name: "db", Floor: &one}, {Name: "new"}}}
	if s.Summarize(); s.Summary != "1/3" || s.Replicas != "web=5 db=1" {
		t.Errorf("%q and %q, want 1/3 and web=5 db=1", s.Summary, s.Replicas)
	}
}

// A copy is equal, and nothing that is done to it reaches the original.
func TestDeepCopySharesNothing(t *testing.T) {
	number, when := rapid.Ptr(rapid.Int32Range(1, 100), true), metav1.NewTime(time.Unix(1e9, 0).UTC())
	settings := rapid.Custom(func(t *rapid.T) v1alpha1.Settings {
		return v1alpha1.Settings{
			MinReplicas: number.Draw(t, "min"), MaxReplicas: number.Draw(t, "max"), MaxStep: number.Draw(t, "step"),
			CPUUtilization: number.Draw(t, "cpu"), MemoryUtilization: number.Draw(t, "memory"),
			PeakUtilization: number.Draw(t, "peak"), Quantile: number.Draw(t, "quantile"),
			LeadTime: &metav1.Duration{Duration: time.Minute}, Hold: &metav1.Duration{},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		p := &v1alpha1.ScalingPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"a": "b"}},
			Spec: v1alpha1.ScalingPolicySpec{Service: "shop", Settings: settings.Draw(t, "settings"),
				Components: []v1alpha1.ComponentSettings{{Name: "web", Settings: settings.Draw(t, "web")}}},
			Status: v1alpha1.ScalingPolicyStatus{
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady}}, LastForecast: &when,
				Components: []v1alpha1.ComponentStatus{{Name: "web", Floor: number.Draw(t, "floor"), Expires: when.DeepCopy(), Accuracy: map[schemas.Resource]int32{schemas.CPU: 90}}},
			},
		}
		before, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		list := &v1alpha1.ScalingPolicyList{Items: []v1alpha1.ScalingPolicy{*p}}
		for _, c := range []*v1alpha1.ScalingPolicy{p.DeepCopy(), p.DeepCopyObject().(*v1alpha1.ScalingPolicy), &list.DeepCopyObject().(*v1alpha1.ScalingPolicyList).Items[0]} {
			if diff := cmp.Diff(p, c); diff != "" {
				t.Fatalf("copy (-want +got):\n%s", diff)
			}
			for _, s := range []*v1alpha1.Settings{&c.Spec.Settings, &c.Spec.Components[0].Settings} {
				for _, n := range []*int32{s.MinReplicas, s.MaxReplicas, s.MaxStep, s.CPUUtilization, s.MemoryUtilization, s.PeakUtilization, s.Quantile} {
					if n != nil {
						*n = -1
					}
				}
				s.LeadTime.Duration, s.Hold.Duration = -1, -1
			}
			c.Labels["a"] = "changed"
			c.Spec.Components[0].Name = "changed"
			c.Status.Conditions[0].Type = "changed"
			c.Status.LastForecast.Time = time.Time{}
			status := &c.Status.Components[0]
			status.Name, status.Expires.Time = "changed", time.Time{}
			status.Accuracy[schemas.CPU] = -1
			if status.Floor != nil {
				*status.Floor = -1
			}
		}
		after, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Errorf("the original became %s, was %s", after, before)
		}
	})
}

func TestTheTypesAreKnownToAScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	if !s.Recognizes(v1alpha1.GroupVersionKind) {
		t.Errorf("%s is not known", v1alpha1.GroupVersionKind)
	}
}

// Every setting of the Go type is in the schema, for the service and for a
// component, and nothing else is.
func TestTheSchemaHasTheFieldsOfTheType(t *testing.T) {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct{ Properties map[string]property }
				}
			}
		}
	}
	if err := yaml.Unmarshal(v1alpha1.CRD, &crd); err != nil {
		t.Fatal(err)
	}
	one, when := int32(1), metav1.Now()
	settings := v1alpha1.Settings{
		Mode: "Auto", MinReplicas: &one, MaxReplicas: &one, CPUUtilization: &one, MemoryUtilization: &one, PeakUtilization: &one, Quantile: &one,
		LeadTime: &metav1.Duration{}, Hold: &metav1.Duration{}, MaxStep: &one, Profile: "default",
	}
	full := v1alpha1.ScalingPolicy{
		Spec: v1alpha1.ScalingPolicySpec{Service: "shop", Settings: settings, Components: []v1alpha1.ComponentSettings{{Name: "web", Settings: settings}}},
		Status: v1alpha1.ScalingPolicyStatus{
			ObservedGeneration: 1, Mode: schemas.Auto, LastForecast: &when, Summary: "1/1", Replicas: "web=1",
			Conditions: []metav1.Condition{{Type: "Ready", Status: "True", ObservedGeneration: 1, LastTransitionTime: when, Reason: "r", Message: "m"}},
			Components: []v1alpha1.ComponentStatus{{Name: "web", Mode: schemas.Auto, Target: "t", Floor: &one, Applied: true, Expires: &when,
				Reason: "r", Message: "m", LastForecast: &when, Accuracy: map[schemas.Resource]int32{schemas.CPU: 1}}},
		},
	}
	data, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	properties := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
	for _, part := range []string{"spec", "status"} {
		compare(t, part, properties[part], fields[part])
	}
}

type property struct {
	Properties map[string]property
	Items      *property
}

func compare(t *testing.T, path string, p property, v any) {
	t.Helper()
	if list, ok := v.([]any); ok && p.Items != nil {
		compare(t, path+"[]", *p.Items, list[0])
		return
	}
	fields, ok := v.(map[string]any)
	if !ok || p.Properties == nil {
		return
	}
	for name, v := range fields {
		sub, ok := p.Properties[name]
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		compare(t, path+"."+name, sub, v)
	}
	for name := range p.Properties {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s.%s is in the schema alone", path, name)
		}
	}
}

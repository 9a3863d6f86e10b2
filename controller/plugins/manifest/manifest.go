// Package manifest turns decisions into HorizontalPodAutoscaler objects
// (autoscaling/v2) that "kubectl apply" accepts: for whoever wants to see or
// apply them by hand, and where there is no cluster at hand.
package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Labels and annotations of the objects. The names of the service and the
// component are the labels by which components are found in a cluster.
const (
	LabelManagedBy        = "app.kubernetes.io/managed-by"
	LabelService          = "service"
	LabelServiceComponent = "app.kubernetes.io/servicecomponent"
	AnnotationDescription = "kubernetes.io/description"
	ManagedBy             = "self-scaling"
)

// BinderName is the name of [Binder].
const BinderName = "Manifest"

// Binder hands a manifest to a function instead of writing to a cluster.
type Binder struct {
	write func(schemas.ComponentID, *autoscalingv2.HorizontalPodAutoscaler) error
}

var _ framework.BindPlugin = (*Binder)(nil)

// New returns a binder that calls write for every decision that comes from a
// forecast. Write is called by one goroutine at a time.
func New(write func(schemas.ComponentID, *autoscalingv2.HorizontalPodAutoscaler) error) *Binder {
	return &Binder{write}
}

// Name returns [BinderName].
func (*Binder) Name() string { return BinderName }

// Bind skips a decision that does not come from a forecast: no floor is proposed
// on a guess.
func (b *Binder) Bind(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	if !d.Reason.UsesForecast() {
		return framework.NewStatus(framework.Skip, d.Reason, "the floor does not come from a forecast")
	}
	hpa, err := HPA(c, d)
	if err != nil {
		return framework.AsStatus(err)
	}
	return framework.AsStatus(b.write(c.Component, hpa))
}

// HPA returns the object that carries a decision out: its bounds, and a
// utilisation target for each resource that the pods request. Where the
// workload is not known, the target is a Deployment named as the component's
// labels suggest, "service-component". It returns an error with
// [schemas.CodeInvalidData] where no resource is requested or the namespace is
// none that Kubernetes could have.
func HPA(c *framework.Candidate, d *schemas.Decision) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	id := c.Component
	if ns := id.Namespace; ns != "" && !isDNSLabel(ns) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "namespace of %s must be lower-case letters, digits and '-', but is %q", id, ns)
	}
	target := autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: clean(id.Service) + "-" + clean(id.Component)}
	if t := c.Target; t != nil {
		target = autoscalingv2.CrossVersionObjectReference{APIVersion: t.APIVersion, Kind: t.Kind, Name: t.Name}
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: autoscalingv2.SchemeGroupVersion.String(), Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      Name(id),
			Namespace: id.Namespace,
			Labels: map[string]string{
				LabelManagedBy:        ManagedBy,
				LabelService:          id.Service,
				LabelServiceComponent: id.Component,
			},
			Annotations: map[string]string{AnnotationDescription: d.Message},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: target,
			MaxReplicas:    d.MaxReplicas,
		},
	}
	minReplicas := d.MinReplicas // its own, so that the record cannot change it
	hpa.Spec.MinReplicas = &minReplicas
	for _, r := range schemas.Resources() {
		if !(c.Requests[r] > 0) {
			continue
		}
		percent := max(1, int32(math.Round(100*d.Policy.Utilization(r))))
		for _, demand := range d.Demands {
			if demand.Resource == r && demand.Statistic == schemas.Mean { // the formula may have its own
				percent = max(1, int32(math.Round(100*demand.Utilization)))
			}
		}
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceName(r),
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
			},
		})
	}
	if len(hpa.Spec.Metrics) == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s must request cpu or memory to be given an autoscaler, but requests neither", id)
	}
	return hpa, nil
}

// Encode writes the object as YAML, without the fields that only a server sets.
func Encode(hpa *autoscalingv2.HorizontalPodAutoscaler) ([]byte, error) {
	data, err := json.Marshal(hpa)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	if meta, ok := fields["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	return yaml.Marshal(fields)
}

// Longest name that is used, short enough for a name and a suffix in any
// object's label.
const maxName = 63

// Name derives an object's name from a component: "service-component" in lower
// case. Where that is not a safe name, or where another component might have
// the same, it ends with a hash of the component, so that two components never
// share an object.
func Name(id schemas.ComponentID) string {
	name := clean(id.Service) + "-" + clean(id.Component)
	exact := name == id.Service+"-"+id.Component
	// "a-b"/"c" and "a"/"b-c" would meet: only a service without '-' is free of
	// doubt.
	if exact && len(name) <= maxName && !strings.Contains(id.Service, "-") {
		return name
	}
	sum := sha256.Sum256([]byte(id.Service + "/" + id.Component))
	suffix := "-" + hex.EncodeToString(sum[:4])
	if len(name) > maxName-len(suffix) {
		name = strings.TrimRight(name[:maxName-len(suffix)], "-")
	}
	return name + suffix
}

// clean maps a label value to what a DNS label may hold. A label value begins
// and ends with a letter or a digit, and so does the result.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == '_' || r == '.':
			return '-'
		}
		return r
	}, s)
}

func isDNSLabel(s string) bool { return len(s) <= 63 && s == clean(s) }

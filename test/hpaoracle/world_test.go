package hpaoracle

import (
	"fmt"
	"math/rand/v2"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"

	"github.com/self-scaling/self-scaling/controller/sim/hpa"
)

const namespace = "oracle"

// pod is one pod as both sides see it.
type pod struct {
	name     string
	state    hpa.Pod
	deleting bool // how a pod that is Gone shows it
	cpu, mem hpa.Reading
}

func (p *pod) reading(cpu bool) hpa.Reading {
	if cpu {
		return p.cpu
	}
	return p.mem
}

// object returns the pod as Kubernetes knows it.
func (p *pod) object(app string) *corev1.Pod {
	requests := corev1.ResourceList{}
	if p.cpu.Request >= 0 {
		requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(p.cpu.Request, resource.DecimalSI)
	}
	if p.mem.Request >= 0 {
		requests[corev1.ResourceMemory] = *resource.NewMilliQuantity(p.mem.Request, resource.BinarySI)
	}
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.name, Namespace: namespace, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: requests}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	switch p.state.Phase {
	case hpa.Pending:
		out.Status.Phase = corev1.PodPending
	case hpa.Gone:
		if p.deleting {
			now := metav1.Now()
			out.DeletionTimestamp = &now
		} else {
			out.Status.Phase = corev1.PodFailed
		}
	}
	if !p.state.Started.IsZero() {
		started := metav1.NewTime(p.state.Started)
		out.Status.StartTime = &started
	}
	if p.state.Ready != hpa.NoCondition {
		status := corev1.ConditionFalse
		if p.state.Ready == hpa.Ready {
			status = corev1.ConditionTrue
		}
		out.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(p.state.Transition),
		}}
	}
	return out
}

// randomPod draws a pod that may be in any state at all.
func randomPod(rng *rand.Rand, name string, now time.Time, usage float64) *pod {
	p := &pod{name: name, state: hpa.Pod{Ready: hpa.Ready}}
	ago := func(most time.Duration) time.Time {
		return now.Add(-time.Duration(rng.Int64N(int64(most/time.Second)+1)) * time.Second)
	}
	p.state.Started = ago(15 * time.Minute)
	p.state.Transition = ago(now.Sub(p.state.Started))
	switch rng.IntN(20) {
	case 0:
		p.state.Phase = hpa.Pending
		p.state.Ready = hpa.NotReady
	case 1:
		p.state.Phase = hpa.Gone
		p.deleting = rng.IntN(2) == 0
	case 2, 3, 4:
		p.state.Ready = hpa.NotReady
	case 5:
		p.state.Ready = hpa.NoCondition
	case 6:
		p.state.Started = time.Time{}
	}
	reading := func(request int64) hpa.Reading {
		r := hpa.Reading{Request: request}
		if rng.IntN(8) > 0 {
			r.Known = true
			r.Value = int64(float64(request) * usage * (0.5 + rng.Float64()))
			r.Timestamp = ago(2 * time.Minute)
			r.Window = time.Duration(rng.IntN(60)) * time.Second
		}
		return r
	}
	p.cpu = reading(int64(1 + rng.IntN(2000)))
	p.mem = reading(int64(1+rng.IntN(4000)) << 20 * 1000)
	return p
}

// spoil takes the request away from a pod, or sets it to 0.
func (p *pod) spoil(rng *rand.Rand) {
	r := &p.cpu
	if rng.IntN(2) == 0 {
		r = &p.mem
	}
	r.Request = int64(rng.IntN(2)) - 1
}

func metricsOf(pods []*pod, cpu bool) metrics.PodMetricsInfo {
	info := metrics.PodMetricsInfo{}
	for _, p := range pods {
		if r := p.reading(cpu); r.Known {
			info[p.name] = metrics.PodMetric{Timestamp: r.Timestamp, Window: r.Window, Value: r.Value}
		}
	}
	return info
}

func states(pods []*pod) []hpa.Pod {
	out := make([]hpa.Pod, len(pods))
	for i, p := range pods {
		out[i] = p.state
	}
	return out
}

func readings(pods []*pod, cpu bool) []hpa.Reading {
	out := make([]hpa.Reading, len(pods))
	for i, p := range pods {
		out[i] = p.reading(cpu)
	}
	return out
}

// randomSpec draws an autoscaler.
func randomSpec(rng *rand.Rand) hpa.Spec {
	lowest := int32(1 + rng.IntN(5))
	spec := hpa.Spec{MinReplicas: lowest, MaxReplicas: lowest + int32(rng.IntN(60))}
	target := func(cpu bool) hpa.Target { return hpa.Target{CPU: cpu, Utilization: int32(20 + rng.IntN(130))} }
	switch rng.IntN(4) {
	case 0:
		spec.Targets = []hpa.Target{target(false)}
	case 1:
		spec.Targets = []hpa.Target{target(true), target(false)}
	default:
		spec.Targets = []hpa.Target{target(true)}
	}
	if rng.IntN(3) > 0 {
		spec.Behavior = &hpa.Behavior{ScaleUp: randomRules(rng), ScaleDown: randomRules(rng)}
	}
	return spec
}

func randomRules(rng *rand.Rand) hpa.Rules {
	rules := hpa.Rules{
		Stabilization: time.Duration([]int{0, 15, 30, 60, 300, 600}[rng.IntN(6)]) * time.Second,
		Select:        hpa.Select(rng.IntN(7) / 3), // seldom Disabled
	}
	for range 1 + rng.IntN(3) {
		rules.Policies = append(rules.Policies, hpa.Policy{
			Percent: rng.IntN(2) == 0,
			Value:   int32(1 + rng.IntN(100)),
			Period:  time.Duration([]int{15, 30, 60, 120, 300}[rng.IntN(5)]) * time.Second,
		})
	}
	return rules
}

// object returns the autoscaler as Kubernetes knows it.
func object(name string, spec *hpa.Spec) *autoscalingv2.HorizontalPodAutoscaler {
	lowest := spec.MinReplicas
	out := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    &lowest, MaxReplicas: spec.MaxReplicas,
		},
	}
	for _, t := range spec.Targets {
		utilization := t.Utilization
		out.Spec.Metrics = append(out.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   resourceName(t.CPU),
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
			},
		})
	}
	if b := spec.Behavior; b != nil {
		out.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rulesObject(&b.ScaleUp), ScaleDown: rulesObject(&b.ScaleDown)}
	}
	return out
}

func rulesObject(r *hpa.Rules) *autoscalingv2.HPAScalingRules {
	seconds := int32(r.Stabilization / time.Second)
	choice := map[hpa.Select]autoscalingv2.ScalingPolicySelect{
		hpa.MaxChange: autoscalingv2.MaxChangePolicySelect,
		hpa.MinChange: autoscalingv2.MinChangePolicySelect,
		hpa.Disabled:  autoscalingv2.DisabledPolicySelect,
	}[r.Select]
	out := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds, SelectPolicy: &choice}
	for _, p := range r.Policies {
		kind := autoscalingv2.PodsScalingPolicy
		if p.Percent {
			kind = autoscalingv2.PercentScalingPolicy
		}
		out.Policies = append(out.Policies, autoscalingv2.HPAScalingPolicy{Type: kind, Value: p.Value, PeriodSeconds: int32(p.Period / time.Second)})
	}
	return out
}

func resourceName(cpu bool) corev1.ResourceName {
	if cpu {
		return corev1.ResourceCPU
	}
	return corev1.ResourceMemory
}

func podName(app string, i int) string { return fmt.Sprintf("%s-%d", app, i) }

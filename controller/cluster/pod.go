package cluster

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/self-scaling/self-scaling/schemas"
)

// Scope says which pods are looked at.
type Scope struct {
	// Presets are tried in order; [Presets] where there are none.
	Presets []Preset
	// Namespaces to look in; all where there are none.
	Namespaces []string
}

func (s *Scope) presets() []Preset {
	if len(s.Presets) == 0 {
		return Presets()
	}
	return s.Presets
}

func (s *Scope) namespaces() []string {
	if len(s.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return s.Namespaces
}

// Pod is what is kept of a pod of a component.
type Pod struct {
	Component schemas.ComponentID
	Name      string
	Created   time.Time
	Running   bool // as against Pending
	Ready     bool
	// Requests is what the pod requests, see [PodRequests].
	Requests schemas.Requests
	// Lead is the time from scheduled to Ready, 0 where it is not known.
	Lead time.Duration
	// Labels and Owner lead to the workload.
	Labels map[string]string
	Owner  *metav1.OwnerReference
}

// Pods calls add for every pod of a component that lives: not yet ended, and
// not being deleted. Restart is called where the answer so far must be
// forgotten. Pods whose labels name no component, and those of jobs, are passed over.
func (c *Client) Pods(ctx context.Context, scope Scope, restart func(), add func(*Pod)) error {
	presets := scope.presets()
	for _, ns := range scope.namespaces() {
		kept := []*Pod(nil) // so that a restart concerns this namespace only
		err := pages(ctx, "pods", func() { kept = nil }, func(ctx context.Context, opts metav1.ListOptions) (string, error) {
			opts.FieldSelector = "status.phase!=Succeeded,status.phase!=Failed"
			var list corev1.PodList
			if err := c.List(ctx, Pods, ns, opts, &list); err != nil {
				return "", err
			}
			for i := range list.Items {
				p := &list.Items[i]
				id, ok := match(presets, p.Namespace, p.Labels)
				if !ok || ofJob(p) || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
					continue
				}
				kept = append(kept, newPod(id, p))
			}
			return list.Continue, nil
		})
		if err != nil {
			return err
		}
		for _, p := range kept {
			add(p)
		}
	}
	return nil
}

// ofJob says whether a pod works towards an end, as those of our own pipelines: there
// is nothing to scale, and what it uses has no rhythm.
func ofJob(p *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return p.Spec.RestartPolicy == corev1.RestartPolicyNever || p.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
	}
	group, _, _ := strings.Cut(owner.APIVersion, "/")
	return group == "batch" && owner.Kind == "Job" || group == "argoproj.io" && owner.Kind == "Workflow"
}

func newPod(id schemas.ComponentID, p *corev1.Pod) *Pod {
	out := &Pod{
		Component: id, Name: p.Name, Created: p.CreationTimestamp.Time,
		Running:  p.Status.Phase == corev1.PodRunning,
		Requests: PodRequests(&p.Spec), Labels: p.Labels, Owner: metav1.GetControllerOfNoCopy(p),
	}
	if out.Owner != nil {
		owner := *out.Owner // lets go of the page
		out.Owner = &owner
	}
	out.Lead, out.Ready = lead(&p.Status)
	return out
}

// PodRequests returns the sum of the containers' requests, native sidecars
// included. A resource that one of the containers does not request is absent:
// the autoscaler of Kubernetes cannot compute a utilisation of it either.
func PodRequests(spec *corev1.PodSpec) schemas.Requests {
	running := slices.Clone(spec.Containers)
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			running = append(running, c)
		}
	}
	out := schemas.Requests{}
next:
	for _, r := range schemas.Resources() {
		var sum float64
		for _, c := range running {
			q, ok := c.Resources.Requests[corev1.ResourceName(r)]
			if !ok {
				continue next
			}
			sum += quantity(&q, r)
		}
		if sum > 0 && sum <= r.Limit() {
			out[r] = sum
		}
	}
	return out
}

// quantity returns cores or bytes. Cores are exact to the nanocore, which is as
// fine as the kubelet measures.
func quantity(q *resource.Quantity, r schemas.Resource) float64 {
	if r == schemas.CPU {
		if n := q.ScaledValue(resource.Nano); n != math.MaxInt64 && n != math.MinInt64 {
			return float64(n) / 1e9
		}
	}
	return q.AsApproximateFloat64()
}

// Quantity returns a quantity in the base unit of its resource: cores or bytes.
func Quantity(q *resource.Quantity, r schemas.Resource) float64 { return quantity(q, r) }

// maxLead is the longest start of a pod that is believed.
const maxLead = time.Hour

// lead returns how long the pod took from scheduled to Ready, and whether it is
// Ready. A pod that has restarted became Ready more than once, and only the last
// time is known, so that its lead time is not.
func lead(s *corev1.PodStatus) (time.Duration, bool) {
	var scheduled, ready time.Time
	isReady, restarted := false, false
	for _, c := range s.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == corev1.PodScheduled:
			scheduled = c.LastTransitionTime.Time
		case c.Type == corev1.PodReady:
			ready, isReady = c.LastTransitionTime.Time, true
		}
	}
	for _, c := range s.ContainerStatuses {
		restarted = restarted || c.RestartCount > 0
	}
	d := ready.Sub(scheduled)
	if restarted || scheduled.IsZero() || ready.IsZero() || d <= 0 || d > maxLead {
		d = 0
	}
	return d, isReady
}

// LeadQuantile is the quantile of the pods' lead times that counts: a rise needs
// its slowest pods, but one odd pod must not decide.
const LeadQuantile = 0.9

// LeadTime returns the [LeadQuantile] of lead times by the nearest rank, and 0
// where there are none. It sorts its argument.
func LeadTime(leads []time.Duration) time.Duration {
	if len(leads) == 0 {
		return 0
	}
	slices.Sort(leads)
	return leads[int(math.Ceil(LeadQuantile*float64(len(leads))))-1]
}

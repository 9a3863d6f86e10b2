package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// ComponentID names one component of one service.
type ComponentID struct {
	Namespace string `json:"namespace,omitempty" doc:"Namespace; absent where there is no cluster" example:"shop"`
	Service   string `json:"service" doc:"Value of the service's label" example:"store"`
	Component string `json:"component" doc:"Value of the component's label" example:"web"`
}

// Component is one component: what is wanted for it, what runs, and what was
// decided last.
type Component struct {
	ID     ComponentID `json:"id"`
	Policy Policy      `json:"policy" doc:"The policy that holds for it, with every default filled in"`
	// PolicyVersion is the ETag of [ComponentPolicy], which changes with the
	// policy alone.
	PolicyVersion string `json:"policyVersion,omitempty" doc:"ETag of the component's policy, for If-Match when changing it; absent where the policy cannot be changed here"`
	PolicyError   string `json:"policyError,omitempty" doc:"Why what was set cannot be carried out, so that the default holds in mode Shadow"`
	Profile       string `json:"profile,omitempty" doc:"Set of plugins that decides for it, where it is not the installation's"`

	Target          *Target            `json:"target,omitempty" doc:"The workload behind it; absent where none is known"`
	Autoscaler      string             `json:"autoscaler,omitempty" doc:"The autoscaler whose floor is moved" example:"HorizontalPodAutoscaler/web"`
	Owned           bool               `json:"owned,omitempty" doc:"That autoscaler is one that self-scaling made"`
	CurrentReplicas *int32             `json:"currentReplicas,omitempty" doc:"Replicas that the workload is set to or, without a cluster, that were last seen"`
	Requests        map[string]float64 `json:"requests,omitempty" doc:"What one pod requests: cpu in cores, memory in bytes. A resource that is not requested is absent"`

	SamplesUntil *time.Time `json:"samplesUntil,omitempty" doc:"End of the newest bucket that its newest forecast was made from"`
	ForecastAt   *time.Time `json:"forecastAt,omitempty" doc:"When its newest forecast was made"`
	Decision     *Decision  `json:"decision,omitempty" doc:"The newest decision. In a list it has neither policy nor demands nor clamps"`
	Stale
}

// Target is the workload behind a component.
type Target struct {
	APIVersion string `json:"apiVersion,omitempty" example:"apps/v1"`
	Kind       string `json:"kind,omitempty" example:"Deployment"`
	Name       string `json:"name,omitempty" example:"web"`
	Scalable   bool   `json:"scalable" doc:"It has a scale subresource that can be read"`
	Conflict   string `json:"conflict,omitempty" doc:"Who else sets the number of its replicas, so that it is left alone"`
	Message    string `json:"message,omitempty" doc:"Why it cannot be scaled"`
}

// ComponentList is a page of components, in the order of their names.
type ComponentList struct {
	Items []Component `json:"items" nullable:"false"`
	Next  string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
	Stale
}

// Stale marks an answer from the cache that could not be refreshed in time. The
// header Self-Scaling-Stale-Since says the same.
type Stale struct {
	StaleSince *time.Time `json:"staleSince,omitempty" doc:"Since when the store has not answered: what is shown was read before. Absent while it does"`
}

// Policy is what holds for a component.
type Policy struct {
	Mode              schemas.Mode `json:"mode" enum:"Off,Shadow,Auto" doc:"Off: neither forecast nor decide. Shadow: forecast and decide, write nothing. Auto: forecast, decide and apply"`
	MinReplicas       int32        `json:"minReplicas" doc:"The operator's own lower bound"`
	MaxReplicas       int32        `json:"maxReplicas" doc:"The operator's own upper bound"`
	CPUUtilization    float64      `json:"cpuUtilization" doc:"Share of a pod's CPU request that should be in use: 0.7 is 70 %"`
	MemoryUtilization float64      `json:"memoryUtilization" doc:"Share of a pod's memory request that should be in use"`
	PeakUtilization   float64      `json:"peakUtilization" doc:"Share of a pod's request that the highest reading within a bucket may use"`

	CPUUtilizationFrom    string `json:"cpuUtilizationFrom,omitempty" doc:"Where that share comes from: policy, or the component's own autoscaler; absent where nobody has set it" example:"HorizontalPodAutoscaler/web"`
	MemoryUtilizationFrom string `json:"memoryUtilizationFrom,omitempty" doc:"The same of memory"`
	PeakUtilizationFrom   string `json:"peakUtilizationFrom,omitempty" doc:"The same of the peak"`

	Quantile float64 `json:"quantile" doc:"Level of the forecast that the floor must serve"`
	LeadTime string  `json:"leadTime" doc:"How long a pod needs from its creation to Ready" example:"2m0s"`
	Hold     string  `json:"hold" doc:"How long a floor stays before it may be lowered" example:"0s"`
	MaxStep  int32   `json:"maxStep" doc:"Largest rise of the floor in one decision, in replicas; 0 means that only the bounds limit it"`
}

// NewComponentID returns a component's name as it travels.
func NewComponentID(id schemas.ComponentID) ComponentID { return ComponentID(id) }

// NewPolicy returns a policy as it travels.
func NewPolicy(p *schemas.Policy) Policy {
	return Policy{
		Mode: p.Mode, MinReplicas: p.MinReplicas, MaxReplicas: p.MaxReplicas,
		CPUUtilization: p.CPUUtilization, MemoryUtilization: p.MemoryUtilization, PeakUtilization: p.PeakUtilization,
		CPUUtilizationFrom: p.CPUUtilizationFrom, MemoryUtilizationFrom: p.MemoryUtilizationFrom, PeakUtilizationFrom: p.PeakUtilizationFrom,
		Quantile: p.Quantile, LeadTime: p.LeadTime.String(), Hold: p.Hold.String(), MaxStep: p.MaxStep,
	}
}

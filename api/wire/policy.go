package wire

import "github.com/self-scaling/self-scaling/schemas"

// Settings are the parts of a policy that somebody has set. What is absent keeps
// the more general value: the service's, then that of the user's own autoscaler,
// then the default. Shares are whole percentages, as in a HorizontalPodAutoscaler
// and in a ScalingPolicy.
type Settings struct {
	Mode              *schemas.Mode `json:"mode,omitempty" enum:"Off,Shadow,Auto"`
	MinReplicas       *int32        `json:"minReplicas,omitempty" minimum:"1" maximum:"100000"`
	MaxReplicas       *int32        `json:"maxReplicas,omitempty" minimum:"1" maximum:"100000"`
	CPUUtilization    *int32        `json:"cpuUtilization,omitempty" minimum:"1" maximum:"1000" doc:"Percent of a pod's CPU request"`
	MemoryUtilization *int32        `json:"memoryUtilization,omitempty" minimum:"1" maximum:"1000" doc:"Percent of a pod's memory request"`
	PeakUtilization   *int32        `json:"peakUtilization,omitempty" minimum:"1" maximum:"1000" doc:"Percent of a pod's request"`
	Quantile          *int32        `json:"quantile,omitempty" minimum:"1" maximum:"99" doc:"Level of the forecast that the floor must serve, in percent"`
	LeadTime          *string       `json:"leadTime,omitempty" doc:"A duration from 0s to 24h; absent means that it is measured" example:"90s"`
	Hold              *string       `json:"hold,omitempty" doc:"A duration from 0s to 24h" example:"10m"`
	MaxStep           *int32        `json:"maxStep,omitempty" minimum:"0"`
	Profile           *string       `json:"profile,omitempty" doc:"Name of the set of plugins that decides"`
}

// ComponentPolicy is what was set for one component, and what holds for it in
// the end.
//
// A change is a JSON merge patch (RFC 7396) of [Settings]: a member that is null
// is unset, one that is not there stays.
type ComponentPolicy struct {
	ID       ComponentID `json:"id"`
	Settings Settings    `json:"settings" doc:"What was set for this component"`
	Service  Settings    `json:"service" doc:"What was set for its service"`
	Policy   Policy      `json:"policy" doc:"What holds in the end"`
}

// ServicePolicy is what was set for a service.
type ServicePolicy struct {
	Namespace  string              `json:"namespace,omitempty"`
	Service    string              `json:"service"`
	Settings   Settings            `json:"settings" doc:"What was set for all of its components"`
	Components map[string]Settings `json:"components" nullable:"false" doc:"What was set for single components, by name"`
}

// SettingsPatch describes a merge patch of [Settings]. It is for the description
// only: in Go a patch is written as JSON, because a pointer cannot tell null from
// what is not there.
type SettingsPatch struct {
	Mode              *schemas.Mode `json:"mode,omitempty" enum:"Off,Shadow,Auto" nullable:"true"`
	MinReplicas       *int32        `json:"minReplicas,omitempty" minimum:"1" maximum:"100000" nullable:"true"`
	MaxReplicas       *int32        `json:"maxReplicas,omitempty" minimum:"1" maximum:"100000" nullable:"true"`
	CPUUtilization    *int32        `json:"cpuUtilization,omitempty" minimum:"1" maximum:"1000" nullable:"true" doc:"Percent of a pod's CPU request"`
	MemoryUtilization *int32        `json:"memoryUtilization,omitempty" minimum:"1" maximum:"1000" nullable:"true" doc:"Percent of a pod's memory request"`
	PeakUtilization   *int32        `json:"peakUtilization,omitempty" minimum:"1" maximum:"1000" nullable:"true" doc:"Percent of a pod's request"`
	Quantile          *int32        `json:"quantile,omitempty" minimum:"1" maximum:"99" nullable:"true" doc:"Level of the forecast that the floor must serve, in percent"`
	LeadTime          *string       `json:"leadTime,omitempty" nullable:"true" doc:"A duration from 0s to 24h; null means that it is measured" example:"90s"`
	Hold              *string       `json:"hold,omitempty" nullable:"true" doc:"A duration from 0s to 24h" example:"10m"`
	MaxStep           *int32        `json:"maxStep,omitempty" minimum:"0" maximum:"100000" nullable:"true"`
	Profile           *string       `json:"profile,omitempty" maxLength:"63" nullable:"true" doc:"Name of the set of plugins that decides"`
}

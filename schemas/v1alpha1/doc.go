// Package v1alpha1 holds the ScalingPolicy, the object in which an operator says
// what self-scaling may do for the components of one service, and in whose
// status it answers. A policy is made by discovery in mode Shadow the first time
// a service is seen; from then on its spec belongs to the operator.
//
// [CRD] is the CustomResourceDefinition as a cluster takes it.
package v1alpha1

import _ "embed"

// The names under which a cluster knows the object.
const (
	Group    = "self-scaling.github.io"
	Version  = "v1alpha1"
	Kind     = "ScalingPolicy"
	Resource = "scalingpolicies"
)

// CRD is the CustomResourceDefinition, in YAML.
//
//go:embed scalingpolicies.yaml
var CRD []byte

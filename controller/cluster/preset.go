package cluster

import (
	"strings"

	"github.com/self-scaling/self-scaling/schemas"
)

// Preset says by which labels of a pod its component is known.
type Preset struct {
	Name string
	// Service and Component list label keys; the first that has a value counts.
	Service, Component []string
	// Require holds labels that a pod must have besides.
	Require map[string]string
}

// The presets that are known by name.
var (
	// AerOS is what aerOS services carry.
	AerOS = Preset{Name: "aeros", Service: []string{"service"}, Component: []string{"app.kubernetes.io/servicecomponent"}}
	// AssistIoT is what the charts of ASSIST-IoT enablers carry.
	AssistIoT = Preset{Name: "assist-iot", Service: []string{"enabler"}, Component: []string{"app.kubernetes.io/component"}}
	// AerOSOrchestrator is what the orchestrator of aerOS puts on what it
	// deploys.
	AerOSOrchestrator = Preset{
		Name: "aeros-orchestrator", Service: []string{"app.kubernetes.io/part-of"}, Component: []string{"app.kubernetes.io/instance"},
		Require: map[string]string{"app.kubernetes.io/managed-by": "aeriOS-project.eu"},
	}
	// Recommended is what Kubernetes recommends for every application.
	Recommended = Preset{
		Name: "recommended", Service: []string{"app.kubernetes.io/part-of", "app.kubernetes.io/name"},
		Component: []string{"app.kubernetes.io/component", "app.kubernetes.io/name"},
	}
)

// Presets returns the presets that are known by name, the more particular ones
// first.
func Presets() []Preset { return []Preset{AerOS, AssistIoT, AerOSOrchestrator, Recommended} }

// ParsePresets reads a comma-separated list of presets, in the order in which
// they are tried: names of [Presets], or pairs of label keys, "service-key=component-key".
func ParsePresets(s string) ([]Preset, error) {
	var out []Preset
next:
	for _, field := range strings.Split(s, ",") {
		field = strings.TrimSpace(field)
		for _, p := range Presets() {
			if p.Name == field {
				out = append(out, p)
				continue next
			}
		}
		service, component, ok := strings.Cut(field, "=")
		if !ok || !isLabelKey(service) || !isLabelKey(component) {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig,
				"label preset must be aeros, assist-iot, aeros-orchestrator, recommended or a pair of label keys such as team.example/app=team.example/part, but is %q", field)
		}
		out = append(out, Preset{Name: field, Service: []string{service}, Component: []string{component}})
	}
	return out, nil
}

// isLabelKey holds the rule of Kubernetes: an optional DNS prefix and a name.
func isLabelKey(key string) bool {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		prefix, name = "", key
	}
	id := schemas.ComponentID{Service: name, Component: "x"}
	if ok && (prefix == "" || len(prefix) > 253 || strings.ContainsAny(prefix, "_/") || prefix != strings.ToLower(prefix)) {
		return false
	}
	return id.Validate() == nil && !strings.ContainsAny(prefix, " \"'{}\n")
}

// Match returns the component that labels name in a namespace. It is false
// where they name none: a label that is missing or empty is no name.
func (p *Preset) Match(namespace string, labels map[string]string) (schemas.ComponentID, bool) {
	for k, v := range p.Require {
		if labels[k] != v {
			return schemas.ComponentID{}, false
		}
	}
	id := schemas.ComponentID{Namespace: namespace, Service: first(labels, p.Service), Component: first(labels, p.Component)}
	return id, id.Validate() == nil
}

func first(labels map[string]string, keys []string) string {
	for _, k := range keys {
		if v := labels[k]; v != "" {
			return v
		}
	}
	return ""
}

// match returns the component by the first preset that knows one.
func match(presets []Preset, namespace string, labels map[string]string) (schemas.ComponentID, bool) {
	for i := range presets {
		if id, ok := presets[i].Match(namespace, labels); ok {
			return id, true
		}
	}
	return schemas.ComponentID{}, false
}

package schemas

import (
	"cmp"
	"strings"
)

// ComponentID names one component of one service. Namespace is empty where
// there is no cluster, as in a history file.
type ComponentID struct {
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service"`
	Component string `json:"component"`
}

// String returns "service/component", or "namespace/service/component" where
// the namespace is known.
func (id ComponentID) String() string {
	if id.Namespace == "" {
		return id.Service + "/" + id.Component
	}
	return id.Namespace + "/" + id.Service + "/" + id.Component
}

// ParseComponentID reads what [ComponentID.String] wrote.
func ParseComponentID(s string) (ComponentID, error) {
	parts := strings.Split(s, "/")
	var id ComponentID
	switch len(parts) {
	case 2:
		id = ComponentID{Service: parts[0], Component: parts[1]}
	case 3:
		id = ComponentID{Namespace: parts[0], Service: parts[1], Component: parts[2]}
	default:
		return ComponentID{}, Errorf(CodeInvalidConfig, "component %q must have the form service/component or namespace/service/component", s)
	}
	return id, id.Validate()
}

// Compare orders components by namespace, service and component.
func (id ComponentID) Compare(other ComponentID) int {
	return cmp.Or(
		cmp.Compare(id.Namespace, other.Namespace),
		cmp.Compare(id.Service, other.Service),
		cmp.Compare(id.Component, other.Component),
	)
}

// Validate holds the rule of Kubernetes label values for the service and the
// component, since that is where their names come from: 1 to 63 letters,
// digits, '-', '_' and '.', beginning and ending with a letter or a digit. A
// namespace, where there is one, keeps the same rule.
func (id ComponentID) Validate() error {
	if err := validateName("service", id.Service); err != nil {
		return err
	}
	if err := validateName("component", id.Component); err != nil {
		return err
	}
	if id.Namespace != "" {
		return validateName("namespace", id.Namespace)
	}
	return nil
}

func validateName(field, name string) error {
	if name == "" {
		return Errorf(CodeInvalidData, "%s must not be empty", field)
	}
	if len(name) > 63 {
		return Errorf(CodeInvalidData, "%s must have at most 63 characters, but %q has %d", field, name[:63]+"...", len(name))
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(name)-1 && (c == '-' || c == '_' || c == '.')
		if !alnum && !inner {
			return Errorf(CodeInvalidData, "%s must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit, but is %q", field, name)
		}
	}
	return nil
}

// Resource is a kind of usage, spelled as Kubernetes spells it.
type Resource string

// The two resources that are measured and forecast.
const (
	CPU    Resource = "cpu"    // cores
	Memory Resource = "memory" // bytes
)

// Resources lists all resources in the order in which they are reported.
func Resources() []Resource { return []Resource{CPU, Memory} }

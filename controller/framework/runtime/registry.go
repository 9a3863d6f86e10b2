package runtime

import (
	"maps"
	"slices"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Factory makes a plugin from the arguments that the profile gives it, as JSON;
// nil where it gives none. [framework.DecodeArgs] reads them.
type Factory func(args []byte) (framework.Plugin, error)

// Registry holds the plugins that a program has linked, by name. It is a value:
// nothing registers itself.
type Registry map[string]Factory

// Register adds a plugin. It returns an error where the name is taken.
func (r Registry) Register(name string, factory Factory) error {
	if name == "" || factory == nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "a plugin must have a name and a factory, but is %q", name)
	}
	if _, taken := r[name]; taken {
		return schemas.Errorf(schemas.CodeInvalidConfig, "plugin %s must be registered once", name)
	}
	r[name] = factory
	return nil
}

// Merge adds all plugins of another registry. It returns an error, and adds
// nothing, where a name is taken.
func (r Registry) Merge(other Registry) error {
	names := other.Names()
	for _, name := range names {
		if _, taken := r[name]; taken {
			return schemas.Errorf(schemas.CodeInvalidConfig, "plugin %s must be registered once", name)
		}
	}
	for _, name := range names {
		if err := r.Register(name, other[name]); err != nil {
			return err
		}
	}
	return nil
}

// Names lists the registered plugins in alphabetical order.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }

// Package answer writes what a command found in a form for programs.
package answer

import (
	"encoding/json"
	"io"

	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/schemas"
)

// Write writes an answer as JSON or YAML. It reports false, and writes nothing,
// where the form is one for people.
func Write(w io.Writer, form string, answer any) (bool, error) {
	switch form {
	case cli.JSONOutput:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return true, e.Encode(answer)
	case cli.YAMLOutput:
		data, err := yaml.Marshal(answer)
		if err != nil {
			return true, schemas.WithCode(schemas.CodeInternal, err)
		}
		_, err = w.Write(data)
		return true, err
	}
	return false, nil
}

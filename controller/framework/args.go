package framework

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/self-scaling/self-scaling/schemas"
)

// DecodeArgs reads a plugin's arguments, as JSON, into the struct that into
// points to. Fields that are not given keep the value they have, so that the
// caller fills in the defaults first; no arguments at all keep all of them. A
// field that the struct does not have is an error that names those it has.
func DecodeArgs(args []byte, into any) error {
	if len(bytes.TrimSpace(args)) == 0 {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(args, &given); err != nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be a map of names and values, but are %s", args)
	}
	known := fieldNames(into)
	for name := range given {
		if !slices.Contains(known, name) {
			list := strings.Join(known, ", ")
			if list == "" {
				list = "none"
			}
			return schemas.Errorf(schemas.CodeInvalidConfig, "unknown argument %q; known are: %s", name, list)
		}
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var e *json.UnmarshalTypeError
		if errors.As(err, &e) {
			return schemas.Errorf(schemas.CodeInvalidConfig, "argument %q must be of type %s, but is a %s", e.Field, e.Type, e.Value)
		}
		return schemas.WithCode(schemas.CodeInvalidConfig, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be one map, but are %s", args)
	}
	return nil
}

// fieldNames lists the names that a struct's fields have in JSON.
func fieldNames(into any) []string {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for _, f := range reflect.VisibleFields(t.Elem()) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		names = append(names, name)
	}
	return names
}

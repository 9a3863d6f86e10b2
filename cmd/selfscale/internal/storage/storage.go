// Package storage opens the store that a person names on the command line: a
// folder, or a URL.
package storage

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

// Store is an open store that remembers the newest damage that was met in it.
type Store struct {
	*artifact.Store
	name   string
	damage error
}

// Open opens a store. A folder must be one that holds a store; one that is not
// there is not made.
func Open(ctx context.Context, name string, readOnly bool) (*Store, error) {
	o := &Store{name: name}
	if !strings.Contains(name, ":/") {
		path, err := filepath.Abs(name)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store %s: %w", name, err)
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store %s must be a folder, such as the one that 'selfscale run' writes, but there is none", name)
		}
		if inner := filepath.Join(name, "store"); !isStore(path) && isStore(inner) {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store %s must be the folder of a store, but holds one: --store %s", name, inner)
		}
		name = "file://" + path
	}
	var err error
	o.Store, err = artifact.Open(ctx, name, artifact.Drivers{"file": filebucket.Open, "s3": s3bucket.Open}, artifact.Options{
		ReadOnly:      readOnly,
		OnInvalidHead: func(h artifact.InvalidHead) { o.damage = h.Err },
	})
	return o, err
}

// Nothing returns the error for a store in which nothing of a kind was found:
// what is damaged is not the same as what was never there.
func (o *Store) Nothing(of string) error {
	if o.damage != nil {
		return schemas.Errorf(schemas.CodeCorrupt, "store %s has no %s that can be read: %w; a new run writes them again", o.name, of, o.damage)
	}
	return schemas.Errorf(schemas.CodeInvalidConfig, "store %s has no %s yet", o.name, of)
}

// isStore reports whether somebody has written to a store in this folder.
func isStore(folder string) bool {
	info, err := os.Stat(filepath.Join(folder, "heads"))
	return err == nil && info.IsDir()
}

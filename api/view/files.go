package view

import (
	"container/list"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// fileCache is a bucket that keeps copies of the data files that were read last, in
// a folder, up to a budget. A data file never changes under its key, and who reads
// it checks its hash, so that a copy is as good as the object.
type fileCache struct {
	artifact.Bucket
	dir    string
	budget int64

	mu    sync.Mutex
	byKey map[string]*list.Element
	order *list.List // of *copied, the one used last in front
	used  int64
}

type copied struct {
	key  string
	path string
	size int64
}

func newFileCache(dir string, budget int64) (*fileCache, error) {
	own, err := os.MkdirTemp(dir, "self-scaling-*")
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "the cache must have a folder that can be written to: %w", err)
	}
	return &fileCache{dir: own, budget: budget, byKey: map[string]*list.Element{}, order: list.New()}, nil
}

// Get implements [artifact.Bucket].
func (c *fileCache) Get(ctx context.Context, key string) ([]byte, error) {
	if !strings.HasPrefix(key, "data/") {
		return c.Bucket.Get(ctx, key)
	}
	if path, ok := c.find(key); ok {
		if data, err := os.ReadFile(path); err == nil {
			return data, nil
		}
	}
	data, err := c.Bucket.Get(ctx, key)
	if err == nil {
		c.keep(key, data)
	}
	return data, err
}

func (c *fileCache) find(key string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return "", false
	}
	c.order.MoveToFront(e)
	return e.Value.(*copied).path, true
}

// keep writes a copy. That it cannot is no reason to fail: the next reader asks the
// store.
func (c *fileCache) keep(key string, data []byte) {
	size := int64(len(data))
	if size > c.budget/2 {
		return
	}
	f, err := os.CreateTemp(c.dir, "data-*")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if closing := f.Close(); err != nil || closing != nil {
		os.Remove(f.Name())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.forget(e)
	}
	c.byKey[key] = c.order.PushFront(&copied{key, filepath.Clean(f.Name()), size})
	for c.used += size; c.used > c.budget; {
		c.forget(c.order.Back())
	}
}

func (c *fileCache) forget(e *list.Element) {
	old := c.order.Remove(e).(*copied)
	delete(c.byKey, old.key)
	c.used -= old.size
	os.Remove(old.path)
}

// remove deletes the folder.
func (c *fileCache) remove() error {
	return schemas.WithCode(schemas.CodeUnavailable, os.RemoveAll(c.dir))
}

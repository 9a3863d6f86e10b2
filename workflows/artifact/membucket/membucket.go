// Package membucket keeps objects in this process's memory. It is for tests and
// for programs that have nothing to keep.
package membucket

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

var _ artifact.Bucket = (*Bucket)(nil)

// Bucket is an [artifact.Bucket] in memory.
type Bucket struct {
	clock clock.PassiveClock

	mu      sync.RWMutex
	objects map[string]object
}

// An object's data is never changed in place.
type object struct {
	data     []byte
	modified time.Time
}

// New returns an empty bucket. The clock gives the times at which objects are
// modified; the real one where nil.
func New(c clock.PassiveClock) *Bucket {
	if c == nil {
		c = clock.RealClock{}
	}
	return &Bucket{clock: c, objects: make(map[string]object)}
}

// Open is the [artifact.Opener] of "mem:". Each call opens another, empty bucket.
func Open(_ context.Context, u *url.URL) (artifact.Bucket, error) {
	if u.Opaque != "" || u.Host != "" || u.Path != "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "mem: store URL must be just %q", "mem:")
	}
	if _, err := artifact.CheckQuery(u); err != nil {
		return nil, err
	}
	return New(nil), nil
}

// Get implements [artifact.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", key, artifact.ErrNotFound)
	}
	return bytes.Clone(o.data), nil
}

// Create implements [artifact.Bucket].
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; ok {
		return fmt.Errorf("create %s: %w", key, artifact.ErrExists)
	}
	b.objects[key] = object{bytes.Clone(data), b.clock.Now()}
	return nil
}

// Put implements [artifact.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = object{bytes.Clone(data), b.clock.Now()}
	return nil
}

// List implements [artifact.Bucket]. It lists the objects that there are when it
// is called.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.RLock()
	found := make(map[string]artifact.ObjectInfo)
	for key, o := range b.objects {
		if strings.HasPrefix(key, prefix) {
			found[key] = artifact.ObjectInfo{Key: key, Size: int64(len(o.data)), Modified: o.modified}
		}
	}
	b.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if !yield(found[key]) {
			break
		}
	}
	return nil
}

// Delete implements [artifact.Bucket].
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

// Close implements [artifact.Bucket]. It does nothing.
func (b *Bucket) Close() error { return nil }

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return artifact.ValidateKey(key)
}

package outdir

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/workflows/artifact"
)

var _ artifact.Bucket = (*Bucket)(nil)

// Bucket keeps objects as files of a folder on its way, laid out as those of a store
// on disk. It is for one process, and nothing is durable before the folder is committed.
type Bucket struct {
	dir    *Dir
	folder string // slash-separated, within dir

	mu      sync.RWMutex
	objects map[string]artifact.ObjectInfo
	err     error
}

// Bucket returns a bucket whose objects become files of the given folder within d.
func (d *Dir) Bucket(folder string) *Bucket {
	return &Bucket{dir: d, folder: folder, objects: map[string]artifact.ObjectInfo{}}
}

// Err returns the first error of a write, as the folder tells it.
func (b *Bucket) Err() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.err
}

// Get implements [artifact.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if _, ok := b.objects[key]; !ok {
		return nil, fmt.Errorf("get %s: %w", key, artifact.ErrNotFound)
	}
	data, err := os.ReadFile(filepath.Join(b.dir.temp, filepath.FromSlash(b.name(key))))
	return data, ioError(b.dir.target, err)
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
	return b.write(key, data)
}

// Put implements [artifact.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.remove(key); err != nil {
		return err
	}
	return b.write(key, data)
}

func (b *Bucket) write(key string, data []byte) error {
	if err := b.dir.WriteFile(b.name(key), data); err != nil {
		if b.err == nil {
			b.err = err
		}
		_ = b.dir.remove(b.name(key)) // what is half written
		return err
	}
	b.objects[key] = artifact.ObjectInfo{Key: key, Size: int64(len(data)), Modified: time.Now()}
	return nil
}

// List implements [artifact.Bucket]. It lists the objects that there are when it is
// called.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.RLock()
	found := maps.Clone(b.objects)
	b.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if strings.HasPrefix(key, prefix) && !yield(found[key]) {
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
	return b.remove(key)
}

func (b *Bucket) remove(key string) error {
	if _, ok := b.objects[key]; !ok {
		return nil
	}
	delete(b.objects, key)
	return b.dir.remove(b.name(key))
}

// Close implements [artifact.Bucket]. It does nothing.
func (b *Bucket) Close() error { return nil }

func (b *Bucket) name(key string) string { return path.Join(b.folder, key) }

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return artifact.ValidateKey(key)
}

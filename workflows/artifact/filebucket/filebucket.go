// Package filebucket keeps objects as files below a local folder: the store of a
// single node, durable across power loss and safe for several processes at once.
//
// An object is a file whose path below the folder is the key. It is written to a
// temporary file in the same file system, made durable, and then linked to its
// place, which the file system does for exactly one of several writers; the
// folders on the way are made durable as well. So a reader sees the whole object
// or none, and a writer may be killed at any moment. What it leaves in the folder
// ".tmp" is removed by the next process that opens the store, once it is an hour
// old.
//
// The file system must support hard links, as all usual local ones and NFS do.
package filebucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

var _ artifact.Bucket = (*Bucket)(nil)

// tmpDir holds what is being written. Keys cannot name it, because none of
// their segments begins with a '.'.
const tmpDir = ".tmp"

// TempAge is the age from which a temporary file is taken for the leftover of a
// writer that was killed. Taking away a living writer's file costs it no more
// than another attempt.
const TempAge = time.Hour

// Bucket is an [artifact.Bucket] in a folder.
type Bucket struct {
	root string

	mu      sync.Mutex
	durable map[string]bool // folders whose own entries this process has made durable
}

// Open is the [artifact.Opener] of "file:///absolute/folder". The folder is made
// when the first object is written.
func Open(_ context.Context, u *url.URL) (artifact.Bucket, error) {
	if u.Host != "" && u.Host != "localhost" || u.Opaque != "" || !filepath.IsAbs(u.Path) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "file: store URL must have the form file:///absolute/folder, but is %q", u.Redacted())
	}
	if _, err := artifact.CheckQuery(u); err != nil {
		return nil, err
	}
	return New(u.Path)
}

// New returns the bucket in the folder root, and removes what writers that were
// killed have left in it. The folder is made when the first object is written.
func New(root string) (*Bucket, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, coded("open", root, err)
	}
	info, err := os.Stat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, coded("open", root, err)
	case !info.IsDir():
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "file store %s must be a folder", root)
	}
	b := &Bucket{root: root, durable: make(map[string]bool)}
	b.removeLeftovers(time.Now().Add(-TempAge))
	return b, nil
}

// removeLeftovers does what it can: a reader may not be allowed to, and needs
// not.
func (b *Bucket) removeLeftovers(before time.Time) {
	dir := filepath.Join(b.root, tmpDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Get implements [artifact.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	path, err := b.path(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if absent(err) {
		return nil, fmt.Errorf("get %s: %w", key, artifact.ErrNotFound)
	}
	if err != nil {
		return nil, coded("get", key, err)
	}
	return data, nil
}

// Create implements [artifact.Bucket].
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	path, err := b.path(ctx, key)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create %s: %w", key, artifact.ErrExists)
	}
	return b.write(ctx, "create", key, data, func(tmp string) error {
		err := os.Link(tmp, path)
		if errors.Is(err, fs.ErrExist) && sameFile(tmp, path) {
			// A network file system has repeated a request whose answer was lost.
			return nil
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create %s: %w", key, artifact.ErrExists)
		}
		return err
	})
}

// Put implements [artifact.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	path, err := b.path(ctx, key)
	if err != nil {
		return err
	}
	return b.write(ctx, "put", key, data, func(tmp string) error { return os.Rename(tmp, path) })
}

// writeAttempts bounds how often a writer makes the folders anew that
// [Bucket.Delete] has removed under its feet.
const writeAttempts = 20

// write makes a durable temporary file, has publish move it to its place and
// makes the place durable.
func (b *Bucket) write(ctx context.Context, op, key string, data []byte, publish func(tmp string) error) error {
	dir := filepath.Dir(b.filename(key))
	for attempt := 1; ; attempt++ {
		err := b.tryWrite(dir, data, publish)
		if err == nil || errors.Is(err, artifact.ErrExists) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Making a folder that is removed meanwhile fails with either of the two:
		// it may be gone after it stood in the way of its being made.
		overtaken := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)
		if attempt == writeAttempts || !overtaken {
			return coded(op, key, err)
		}
	}
}

func (b *Bucket) tryWrite(dir string, data []byte, publish func(tmp string) error) (err error) {
	tmp, err := b.writeTemp(data)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := b.makeDurable(dir); err != nil {
		return err
	}
	if err := publish(tmp); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			b.forget(dir)
		}
		return err
	}
	if err := syncDir(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // deleted again already, folder and all
}

func (b *Bucket) writeTemp(data []byte) (name string, err error) {
	dir := filepath.Join(b.root, tmpDir)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	name = filepath.Join(dir, "write-"+rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444) // read-only once closed
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(name)
		return "", err
	}
	return name, nil
}

// List implements [artifact.Bucket]. An object that is written or deleted while
// the list is made may be in it or not.
func (b *Bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !artifact.IsPrefix(prefix) {
		return nil
	}
	folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
	_, err := b.list(ctx, folder, prefix, yield)
	return err
}

// list lists the folder whose keys begin with folder, "" or ending with a '/',
// and reports whether to go on.
func (b *Bucket) list(ctx context.Context, folder, prefix string, yield func(artifact.ObjectInfo) bool) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(b.root, filepath.FromSlash(folder)))
	if absent(err) {
		return true, nil
	}
	if err != nil {
		return false, coded("list", folder, err)
	}
	// A folder's objects all have a '/' behind its name, which sorts after '-'
	// and '.' and before the letters.
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return strings.Compare(name(x), name(y)) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		key := folder + name(e)
		if artifact.ValidateKey(e.Name()) != nil || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key) {
			continue
		}
		if e.IsDir() {
			if more, err := b.list(ctx, key, prefix, yield); !more || err != nil {
				return more, err
			}
			continue
		}
		info, err := e.Info()
		if absent(err) {
			continue
		}
		if err != nil {
			return false, coded("list", key, err)
		}
		if !info.Mode().IsRegular() || !strings.HasPrefix(key, prefix) {
			continue
		}
		if !yield(artifact.ObjectInfo{Key: key, Size: info.Size(), Modified: info.ModTime()}) {
			return false, nil
		}
	}
	return true, nil
}

// Delete implements [artifact.Bucket]. It also removes the folders that become
// empty.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	path, err := b.path(ctx, key)
	if err != nil {
		return err
	}
	err = os.Remove(path)
	if absent(err) {
		return nil
	}
	if err != nil {
		return coded("delete", key, err)
	}
	dir := filepath.Dir(path)
	if err := syncDir(dir); err != nil && !absent(err) {
		return coded("delete", key, err)
	}
	for ; dir != b.root; dir = filepath.Dir(dir) {
		b.forget(dir)
		if os.Remove(dir) != nil { // not empty, most often
			break
		}
	}
	return nil
}

// Close implements [artifact.Bucket]. It does nothing.
func (b *Bucket) Close() error { return nil }

func (b *Bucket) path(ctx context.Context, key string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := artifact.ValidateKey(key); err != nil {
		return "", err
	}
	return b.filename(key), nil
}

func (b *Bucket) filename(key string) string {
	return filepath.Join(b.root, filepath.FromSlash(key))
}

// makeDurable makes the folder dir, with those above it that are missing, and
// makes their entries durable. It does so once for each folder below the root
// that this process writes into, since another process may have made it and not
// come further.
func (b *Bucket) makeDurable(dir string) error {
	b.mu.Lock()
	done := b.durable[dir]
	b.mu.Unlock()
	if done {
		return nil
	}
	top := b.root
	for parent := filepath.Dir(top); missing(parent); parent = filepath.Dir(top) {
		top = parent
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for d := dir; ; d = filepath.Dir(d) {
		err := syncDir(filepath.Dir(d))
		if d == top && errors.Is(err, fs.ErrPermission) {
			err = nil // the folder above the store may be somebody else's
		}
		if err != nil {
			return err
		}
		if d == top {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.durable[dir] = true
	return nil
}

func missing(dir string) bool {
	_, err := os.Stat(dir)
	return errors.Is(err, fs.ErrNotExist)
}

// forget undoes makeDurable's memory of dir and of everything below it.
func (b *Bucket) forget(dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for d := range b.durable {
		if d == dir || strings.HasPrefix(d, dir+string(filepath.Separator)) {
			delete(b.durable, d)
		}
	}
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// absent reports whether err says that there is no such file. A file in the
// place of a folder is one way for it not to be there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
}

// coded gives an error of the file system its code.
func coded(op, name string, err error) error {
	code := schemas.CodeUnavailable
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return schemas.Errorf(code, "%s %s: the disk is full: %w", op, name, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.ELOOP):
		code = schemas.CodeInvalidConfig
	}
	return schemas.Errorf(code, "%s %s: %w", op, name, err)
}

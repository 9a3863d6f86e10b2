// Package artifact keeps the objects that one step writes and a later one
// reads: immutable data files, the manifests that commit them, and the heads
// that say what is current. Its doc.go tells the whole protocol.
package artifact

import (
	"context"
	"errors"
	"io"
	"time"
)

// Bucket is what a driver implements: a flat space of keys with whole-object
// writes. The package ships drivers for S3, a local folder and memory; the
// suite in artifacttest says whether another one is right.
type Bucket interface {
	// Get returns the whole object. It returns an error wrapping [ErrNotFound]
	// where the key does not exist. A reader never sees part of an object.
	Get(ctx context.Context, key string) ([]byte, error)
	// Create writes an object under a key that must not exist yet, and returns
	// only when it is durable. Of several callers with one key exactly one
	// succeeds; the others get an error wrapping [ErrExists]. After any other
	// error the object may or may not be there: the caller reads it back.
	Create(ctx context.Context, key string, data []byte) error
	// List calls yield for each object below prefix in ascending order of keys,
	// until yield returns false.
	List(ctx context.Context, prefix string, yield func(ObjectInfo) bool) error
	// Delete removes an object. Deleting what is not there is no error.
	Delete(ctx context.Context, key string) error
	io.Closer
}

// ObjectInfo is what a listing tells of an object.
type ObjectInfo struct {
	Key      string
	Size     int64
	Modified time.Time
}

// ErrNotFound is returned by reads of a key or a head that does not exist.
var ErrNotFound = errors.New("object not found")

// ErrExists is returned by [Bucket.Create] for a key that exists.
var ErrExists = errors.New("object exists")

// ErrCorrupt is returned when an object is not what its manifest promised.
var ErrCorrupt = errors.New("object is corrupt")

// ErrConflict is returned when a manifest with other content stands under the
// key that was to be committed.
var ErrConflict = errors.New("another manifest is committed under this key")

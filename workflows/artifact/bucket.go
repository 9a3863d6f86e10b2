package artifact

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Bucket is what a driver implements: a flat space of keys with whole-object
// writes. The package ships drivers for S3, a local folder and memory; the
// suite in artifacttest says whether another one is right.
//
// A Bucket may be used from several goroutines at once. Every method returns
// the context's error soon after the context ends. Errors carry a
// [schemas.Code]: CodeUnavailable where the same call may work later,
// CodeInvalidConfig where somebody has to mend an address or a permission.
// No error holds a secret.
type Bucket interface {
	// Get returns the whole object. It returns an error wrapping [ErrNotFound]
	// where the key does not exist. A reader never sees part of an object.
	Get(ctx context.Context, key string) ([]byte, error)
	// Create writes an object under a key that must not exist yet, and returns
	// only when it is durable. Of several callers with one key exactly one
	// succeeds; the others get an error wrapping [ErrExists]. After any other
	// error the object may or may not be there: the caller reads it back.
	Create(ctx context.Context, key string, data []byte) error
	// Put writes an object whether the key exists or not, and returns only when
	// it is durable. Readers see the old object or the new one, whole. The store
	// uses it only where every writer of a key writes the same bytes: to mend a
	// damaged data file and to make an old one young again.
	Put(ctx context.Context, key string, data []byte) error
	// List calls yield for each object whose key begins with prefix, in
	// ascending order of keys, until yield returns false. It sees every object
	// that was written before the call.
	List(ctx context.Context, prefix string, yield func(ObjectInfo) bool) error
	// Delete removes an object. Deleting what is not there is no error.
	Delete(ctx context.Context, key string) error
	io.Closer
}

// ObjectInfo is what a listing tells of an object.
type ObjectInfo struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// The errors that callers tell apart with errors.Is. Each carries its code.
var (
	// ErrNotFound is returned by reads of a key or a head that does not exist.
	ErrNotFound = schemas.Errorf(schemas.CodeNotFound, "object not found")
	// ErrExists is returned by [Bucket.Create] for a key that exists.
	ErrExists = schemas.Errorf(schemas.CodeConflict, "object exists")
	// ErrCorrupt is returned when an object is not what its manifest promised.
	ErrCorrupt = schemas.Errorf(schemas.CodeCorrupt, "object is corrupt")
	// ErrConflict is returned when a manifest with other content stands under
	// the key that was to be committed.
	ErrConflict = schemas.Errorf(schemas.CodeConflict, "another manifest is committed under this key")
)

// MaxKey is the longest key in bytes. S3 allows 1,024 with the bucket's own
// prefix included.
const MaxKey = 900

// ValidateKey holds the rule for keys, which every driver applies: segments of
// 1 to 255 letters, digits, '-', '_', '=' and '.', joined by '/', none beginning
// with a '.'. So a key is a safe file name, needs no escaping in a URL and sorts
// alike everywhere.
func ValidateKey(key string) error {
	if len(key) > MaxKey {
		return schemas.Errorf(schemas.CodeInvalidData, "object key must have at most %d bytes, but %q... has %d", MaxKey, key[:40], len(key))
	}
	for segment := range strings.SplitSeq(key, "/") {
		if !validSegment(segment) {
			return schemas.Errorf(schemas.CodeInvalidData, "object key must be segments of 1 to 255 letters, digits, '-', '_', '=' and '.', none beginning with '.', but is %q", key)
		}
	}
	return nil
}

// IsPrefix reports whether a valid key can begin with prefix. Drivers answer a
// listing of any other prefix with nothing.
func IsPrefix(prefix string) bool {
	return prefix == "" || ValidateKey(prefix) == nil || ValidateKey(prefix+"x") == nil
}

func validSegment(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '=' || c == '.') {
			return false
		}
	}
	return true
}

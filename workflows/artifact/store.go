package artifact

import (
	"bytes"
	"context"
	"errors"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
)

// Options say how a [Store] behaves. The zero value works.
type Options struct {
	// ReadOnly refuses every write, and lets [Open] go without the probe, which
	// writes.
	ReadOnly bool
	// OnInvalidHead is told of each head that a call passed over, each time it
	// does. Callers log and count it. It may be called from several goroutines.
	OnInvalidHead func(InvalidHead)
	// Clock gives the age of objects to [Store.Sweep]; the real one where nil.
	Clock clock.PassiveClock
}

// Store keeps data files, the manifests that commit them and the heads that say
// what is current, in a [Bucket]. It may be used from several goroutines and
// from several processes at once.
type Store struct {
	bucket Bucket
	opts   Options
}

// New returns the store in a bucket. Most programs use [Open].
func New(b Bucket, opts Options) *Store {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.OnInvalidHead == nil {
		opts.OnInvalidHead = func(InvalidHead) {}
	}
	return &Store{bucket: b, opts: opts}
}

// Through returns a store that only reads, from what wrap makes of the bucket, such
// as a cache before it. Only the store itself is to be closed.
func (s *Store) Through(wrap func(Bucket) Bucket) *Store {
	opts := s.opts
	opts.ReadOnly = true
	return New(wrap(s.bucket), opts)
}

// Close closes the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

// checkWritable is the first thing that every writing method asks.
func (s *Store) checkWritable() error {
	if s.opts.ReadOnly {
		return schemas.Errorf(schemas.CodeInvalidConfig, "store is opened read-only")
	}
	return nil
}

// create writes a write-once object and settles what [Bucket.Create] leaves
// open: after an error the object may be there nevertheless. It returns nil where
// the object stands under the key with exactly these bytes. Where other bytes
// stand there it returns them and an error wrapping [ErrExists].
func (s *Store) create(ctx context.Context, key string, data []byte) (existing []byte, err error) {
	err = s.bucket.Create(ctx, key, data)
	if err == nil {
		return nil, nil
	}
	got, readErr := s.bucket.Get(ctx, key)
	switch {
	case readErr == nil && bytes.Equal(got, data):
		return nil, nil
	case !errors.Is(err, ErrExists):
		// The first error says what happened. Whether the read failed too or
		// found somebody else's object does not matter to the caller, who has
		// to try again.
		return nil, err
	case errors.Is(readErr, ErrNotFound):
		return nil, schemas.Errorf(schemas.CodeUnavailable, "create %s: an object that stood there is gone again", key)
	case readErr != nil:
		return nil, readErr
	}
	return got, err
}

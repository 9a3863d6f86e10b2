// Package s3bucket keeps objects in a bucket of an S3 server: AWS, MinIO or any
// other that honours conditional writes (If-None-Match: *), which
// [artifact.Store.Probe] finds out.
//
// Credentials come from the environment (AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY, or MINIO_ACCESS_KEY and MINIO_SECRET_KEY), from the
// shared credentials file, or from the platform (a web identity token, a
// container's or an instance's role), in this order, and never from the URL. No
// error repeats them, nor anything else that a server writes into an answer but
// its error code.
package s3bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/self-scaling/self-scaling/workflows/artifact"
)

var _ artifact.Bucket = (*Bucket)(nil)

// Bucket is an [artifact.Bucket] on an S3 server.
type Bucket struct {
	config Config
	core   minio.Core
	idle   func() // closes idle connections
}

// New returns the bucket that a configuration names. It looks for credentials
// and asks the S3 server nothing yet.
func New(config Config) (*Bucket, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(config.Endpoint, &minio.Options{
		Creds:     config.Credentials,
		Secure:    !config.Insecure,
		Region:    config.Region,
		Transport: config.Transport,
		// Bucket retries itself: who repeats a conditional write must know
		// whether the attempt before may have had its effect.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, config.invalid("%s", err)
	}
	creds, err := core.GetCreds()
	if err != nil || creds.SignerType == credentials.SignatureAnonymous || creds.AccessKeyID == "" {
		return nil, config.invalid("no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a shared credentials file or a role")
	}
	b := &Bucket{config: config, core: *core, idle: func() {}}
	if t, ok := config.Transport.(interface{ CloseIdleConnections() }); ok {
		b.idle = t.CloseIdleConnections
	}
	return b, nil
}

// Open is the [artifact.Opener] of
//
//	s3://bucket/prefix?endpoint=host:port&region=...&insecure=true&ca=file&timeout=30s
//
// where everything behind the bucket's name may be left out: see [Config].
func Open(_ context.Context, u *url.URL) (artifact.Bucket, error) {
	config, err := parse(u)
	if err != nil {
		return nil, err
	}
	return New(config)
}

// Close implements [artifact.Bucket].
func (b *Bucket) Close() error {
	b.idle()
	return nil
}

// Get implements [artifact.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := artifact.ValidateKey(key); err != nil {
		return nil, err
	}
	var data []byte
	err := b.retry(ctx, "get", key, func(ctx context.Context, alive func()) error {
		body, info, _, err := b.core.GetObject(ctx, b.config.Bucket, b.object(key), minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		var buf bytes.Buffer
		buf.Grow(int(min(max(info.Size, 0), 64<<20)) + bytes.MinRead)
		if _, err := buf.ReadFrom(&watched{body, alive}); err != nil {
			return err
		}
		if int64(buf.Len()) != info.Size {
			return fmt.Errorf("answer has %d of %d bytes", buf.Len(), info.Size)
		}
		data = buf.Bytes()
		return nil
	})
	return data, err
}

// createID is the name of the metadata by which [Bucket.Create] knows its own
// object again. It is beside the object's bytes, which stay the same however
// often a step is repeated.
const createID = "Selfscaling-Create"

// Create implements [artifact.Bucket].
//
// An attempt whose answer was lost may have written the object, and the next one
// is then refused. The object found is told from other writers' by a random
// number that the call has given to all its attempts.
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	id := rand.Text()
	opts := minio.PutObjectOptions{UserMetadata: map[string]string{createID: id}}
	opts.SetMatchETagExcept("*")
	attempts := 0
	err := b.put(ctx, "create", key, data, func() minio.PutObjectOptions { attempts++; return opts })
	if !errors.Is(err, artifact.ErrExists) || attempts == 1 {
		return err
	}
	var found string
	statErr := b.retry(ctx, "read back", key, func(ctx context.Context, _ func()) error {
		info, err := b.core.StatObject(ctx, b.config.Bucket, b.object(key), minio.StatObjectOptions{})
		found = info.UserMetadata[createID]
		return err
	})
	switch {
	case errors.Is(statErr, artifact.ErrNotFound):
		return err
	case statErr != nil:
		return statErr
	case found == id:
		return nil
	}
	return err
}

// Put implements [artifact.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	return b.put(ctx, "put", key, data, func() minio.PutObjectOptions { return minio.PutObjectOptions{} })
}

func (b *Bucket) put(ctx context.Context, op, key string, data []byte, opts func() minio.PutObjectOptions) error {
	if err := artifact.ValidateKey(key); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	return b.retry(ctx, op, key, func(ctx context.Context, alive func()) error {
		o := opts()
		// One request signed over the body's hash, which the server checks, in
		// place of a body signed in chunks.
		o.DisableContentSha256 = true
		_, err := b.core.PutObject(ctx, b.config.Bucket, b.object(key), &watched{bytes.NewReader(data), alive},
			int64(len(data)), "", hex.EncodeToString(sum[:]), o)
		return err
	})
}

// List implements [artifact.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if !artifact.IsPrefix(prefix) {
		return ctx.Err()
	}
	opts := minio.ListObjectsOptions{Prefix: b.object(prefix), Recursive: true}
	for {
		stopped, progress := false, false
		err := b.retry(ctx, "list", prefix, func(ctx context.Context, alive func()) error {
			for o := range b.core.ListObjectsIter(ctx, b.config.Bucket, opts) {
				if o.Err != nil {
					if progress {
						// The next call goes on behind the last object, with as
						// many attempts as the first.
						return errContinue
					}
					return o.Err
				}
				alive()
				opts.StartAfter, progress = o.Key, true
				key := strings.TrimPrefix(o.Key, b.object(""))
				if artifact.ValidateKey(key) != nil {
					continue // not written by this package
				}
				if !yield(artifact.ObjectInfo{Key: key, Size: o.Size, Modified: o.LastModified}) {
					stopped = true
					return nil
				}
				alive()
			}
			// The iterator just ends when the context does.
			return context.Cause(ctx)
		})
		if stopped || !errors.Is(err, errContinue) {
			return err
		}
	}
}

// errContinue ends a listing's attempt that has yielded something.
var errContinue = errors.New("listing goes on")

// Delete implements [artifact.Bucket].
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := artifact.ValidateKey(key); err != nil {
		return err
	}
	err := b.retry(ctx, "delete", key, func(ctx context.Context, _ func()) error {
		return b.core.RemoveObject(ctx, b.config.Bucket, b.object(key), minio.RemoveObjectOptions{})
	})
	if errors.Is(err, artifact.ErrNotFound) {
		return nil
	}
	return err
}

func (b *Bucket) object(key string) string {
	if b.config.Prefix == "" {
		return key
	}
	return b.config.Prefix + "/" + key
}

// MinIO denies access to a write now and then that meets the deletion of the last
// other object beside it, and allows it a moment later (seen in one of some
// thousand such meetings). A right that is really missing is reported only a
// little later for it.
const (
	deniedAttempts = 4
	deniedPause    = 50 * time.Millisecond
)

// retry calls attempt until it succeeds, fails for good or has failed too often.
// It cancels an attempt that does not call alive for as long as the timeout.
func (b *Bucket) retry(ctx context.Context, op, key string, attempt func(ctx context.Context, alive func()) error) error {
	wait := b.config.Backoff
	for i := 1; ; i++ {
		err := b.attempt(ctx, attempt)
		if err == nil || errors.Is(err, errContinue) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pause := wait
		switch {
		case denied(err) && i < deniedAttempts:
			pause = min(wait, deniedPause)
		case i >= b.config.Attempts || !temporary(err):
			return b.config.explain(op, key, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

func (b *Bucket) attempt(ctx context.Context, f func(ctx context.Context, alive func()) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(b.config.Timeout, func() { cancel(errStalled{b.config.Timeout}) })
	defer watchdog.Stop()
	err := f(ctx, func() { watchdog.Reset(b.config.Timeout) })
	if stalled := (errStalled{}); err != nil && errors.As(context.Cause(ctx), &stalled) {
		return stalled
	}
	return err
}

// errStalled says that a server has sent and taken nothing for a while.
type errStalled struct{ timeout time.Duration }

func (e errStalled) Error() string { return fmt.Sprintf("no progress for %s", e.timeout) }

// watched tells of every read.
type watched struct {
	r     io.Reader
	alive func()
}

func (w *watched) Read(p []byte) (int, error) {
	w.alive()
	n, err := w.r.Read(p)
	w.alive()
	return n, err
}

package artifacttest

import (
	"context"
	"sync"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Fault says how a call fails.
type Fault int

const (
	// FailBefore: the call fails without having had an effect. Later calls work.
	FailBefore Fault = iota
	// FailAfter: the call has its effect, and its answer is lost. Later calls
	// work.
	FailAfter
	// CutBefore and CutAfter: the same, and no later call works either, as if
	// the process had ended there.
	CutBefore
	CutAfter
)

// String returns the fault's name.
func (f Fault) String() string {
	return [...]string{"fails before its effect", "fails after its effect", "is the first that fails", "is the last that has an effect"}[f]
}

// Faults is a bucket whose n-th call fails.
type Faults struct {
	artifact.Bucket
	n     int
	fault Fault

	mu    sync.Mutex
	calls int
}

// NewFaults returns a bucket in which call n, counted from 0, fails. No call
// fails where n is negative.
func NewFaults(b artifact.Bucket, n int, f Fault) *Faults {
	return &Faults{Bucket: b, n: n, fault: f}
}

// Calls returns how many calls there have been.
func (f *Faults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

var errInjected = schemas.Errorf(schemas.CodeUnavailable, "injected fault")

// do makes a call or not, and has it succeed or not.
func (f *Faults) do(call func() error) error {
	f.mu.Lock()
	i := f.calls
	f.calls++
	f.mu.Unlock()
	after := f.fault == FailAfter || f.fault == CutAfter
	cut := f.fault == CutBefore || f.fault == CutAfter
	switch {
	case f.n < 0 || i < f.n || i > f.n && !cut:
		return call()
	case i == f.n && after:
		if err := call(); err != nil {
			return err
		}
	}
	return errInjected
}

// Get implements [artifact.Bucket].
func (f *Faults) Get(ctx context.Context, key string) (data []byte, err error) {
	err = f.do(func() error { data, err = f.Bucket.Get(ctx, key); return err })
	if err != nil {
		data = nil
	}
	return data, err
}

// Create implements [artifact.Bucket].
func (f *Faults) Create(ctx context.Context, key string, data []byte) error {
	return f.do(func() error { return f.Bucket.Create(ctx, key, data) })
}

// Put implements [artifact.Bucket].
func (f *Faults) Put(ctx context.Context, key string, data []byte) error {
	return f.do(func() error { return f.Bucket.Put(ctx, key, data) })
}

// List implements [artifact.Bucket].
func (f *Faults) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	return f.do(func() error { return f.Bucket.List(ctx, prefix, yield) })
}

// Delete implements [artifact.Bucket].
func (f *Faults) Delete(ctx context.Context, key string) error {
	return f.do(func() error { return f.Bucket.Delete(ctx, key) })
}

// Package programlog keeps what a program logs in tests.
package programlog

import (
	"strings"
	"sync"
)

// A Buffer is a program's log, which may be read while it is written. The zero value
// is empty.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that has been written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

package view

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/self-scaling/self-scaling/schemas"
)

// spool is a file without a name that is written once, from front to back, and
// then read anywhere. What is in it is gone with the process, however that ends.
type spool struct {
	mu   sync.RWMutex // held by readers while they read, by close alone
	file *os.File     // nil once it is closed
	w    *bufio.Writer
	size int64
}

// span is where something lies in a spool.
type span struct {
	at int64
	n  uint32
}

// newSpool makes a spool in a folder, the system's for temporary files where it
// is "".
func newSpool(dir string) (*spool, error) {
	f, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	return &spool{file: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

// append writes what follows. It can be read once flush has returned.
func (s *spool) append(data []byte) (span, error) {
	at := span{s.size, uint32(len(data))}
	n, err := s.w.Write(data)
	s.size += int64(n)
	return at, schemas.WithCode(schemas.CodeUnavailable, err)
}

func (s *spool) flush() error {
	return schemas.WithCode(schemas.CodeUnavailable, s.w.Flush())
}

// read appends what lies at a span to dst. It reports false once the spool is
// closed.
func (s *spool) read(dst []byte, at span) ([]byte, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return dst, false, nil
	}
	n := len(dst)
	dst = append(dst, make([]byte, at.n)...)
	if _, err := s.file.ReadAt(dst[n:], at.at); err != nil && err != io.EOF {
		return dst[:n], true, schemas.Errorf(schemas.CodeUnavailable, "read an answer: %w", err)
	}
	return dst, true, nil
}

// close gives the file's space back, once nobody reads it any more.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close() // nothing in it is wanted any more
		s.file = nil
	}
}

// unnamed makes a file in a folder, the system's for temporary files where it is "",
// that has no name and is gone once it is closed.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "self-scaling-*")
	if err == nil {
		if err = os.Remove(f.Name()); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "make a file for answers: %w", err)
	}
	return f, nil
}

// Package footprint tells tests and benchmarks what this process has used.
package footprint

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Live returns how many bytes of the heap live.
func Live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Usage is what a process has used so far.
type Usage struct {
	Processor time.Duration
	Peak      int64 // bytes that were resident at most
}

// Used returns what this process has used.
func Used(t testing.TB) Usage {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return Usage{time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss << 10}
}

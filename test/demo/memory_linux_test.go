//go:build demo

package demo

import (
	"os"
	"syscall"
)

// peakMemory returns the largest resident set of a process that has ended, in
// bytes.
func peakMemory(p *os.ProcessState) (int64, bool) {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, false
	}
	return int64(usage.Maxrss) << 10, true // Linux counts in KiB
}

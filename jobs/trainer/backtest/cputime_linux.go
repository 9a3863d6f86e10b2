package backtest

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns what the current thread has used of a processor, and elapsed
// time where that is not known.
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return elapsed()
	}
	return time.Duration(t.Nano())
}

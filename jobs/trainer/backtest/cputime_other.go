//go:build !linux

package backtest

import "time"

// cpuTime returns elapsed time: what a thread uses is not known here.
func cpuTime() time.Duration { return elapsed() }

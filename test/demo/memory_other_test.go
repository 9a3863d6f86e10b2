//go:build demo && !linux

package demo

import "os"

func peakMemory(*os.ProcessState) (int64, bool) { return 0, false }

// Package memory keeps a program within the memory that its container may use.
package memory

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// share is how much of a container's limit the Go runtime may use. What remains is for
// the program's own pages and for those of files, which count for the container too:
// where none of them fit, they are read from the disk again and again, and the program
// is too slow for its probes long before it is killed.
const share = .75

// Limit has garbage collected in time where the container's memory is limited: without,
// a heap grows to twice what is needed, whatever the limit. The environment's
// GOMEMLIMIT goes before it, and AUTOMEMLIMIT is another share, or off. It does nothing
// where there is no limit, or none can be found out.
func Limit() {
	// Without a limit the program works as well.
	_, _ = memlimit.Set(memlimit.WithRatio(share))
}

// Spare has garbage collected often, unless the environment's GOGC says how often: for a
// program that stays small most of the time.
func Spare() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30)
	}
}

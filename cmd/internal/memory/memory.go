// Package memory keeps a program within the memory that its container may use.
package memory

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

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

// Follow spares memory and keeps it, until ctx ends, within a bound that moves with what
// lives, and is at least so many bytes: one that is close to what the program needs would
// have it collect all the time. GOGC and GOMEMLIMIT in the environment go before it.
func Follow(ctx context.Context, least int64) {
	Spare()
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(least)
	// The least of a minute: while something is read anew there is more for seconds.
	go follow(ctx, least, math.MaxInt64, 5*time.Second, make([]uint64, 12))
}

// Within has garbage collected in time to stay, until ctx ends, within so many bytes as
// long as what lives leaves room: beyond that the bound moves with what lives, as that of
// Follow does. It is for a program that grows, and costs nothing while it is small.
// GOMEMLIMIT in the environment goes before it, and so does the limit of a container.
func Within(ctx context.Context, bytes int64) {
	most := debug.SetMemoryLimit(-1)
	if os.Getenv("GOMEMLIMIT") != "" || most <= bytes {
		return
	}
	debug.SetMemoryLimit(bytes)
	go follow(ctx, bytes, most, time.Second, make([]uint64, 1))
}

// follow keeps the bound above the least of what lived at the newest looks, within least
// and most.
func follow(ctx context.Context, least, most int64, every time.Duration, recent []uint64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(live)
		recent[i%len(recent)] = live[0].Value.Uint64()
		debug.SetMemoryLimit(min(most, max(least, int64(3*slices.Min(recent)/2))))
	}
}

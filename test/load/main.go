// Load is a workload for tests: a service whose demand for the processor follows the
// time of day, and is shared by all pods that are Ready.
//
//	load -base 0.05 -peak 0.3 -at 14:30 -for 1h -peers web-peers
//
// All pods together use -peak cores for -for from -at (UTC) on, each day, and -base
// cores else. -peers is a headless service: each of its addresses is a Ready pod that
// takes an equal share. One that does not run yet takes none, whatever it is asked.
//
// GET /ready answers 200 once -start has passed, as a program does that has to load
// something first.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// version is set by the linker.
var version string

func main() {
	base := flag.Float64("base", 0.05, "`cores` that all pods together use outside the peak")
	peak := flag.Float64("peak", 0.05, "`cores` that all pods together use in the peak")
	at := flag.String("at", "00:00", "when the peak begins each day, `HH:MM` or HH:MM:SS, UTC")
	long := flag.Duration("for", time.Hour, "how long the peak lasts")
	peers := flag.String("peers", "", "`name` whose addresses are the Ready pods; empty: this pod is alone")
	start := flag.Duration("start", 0, "how long it takes until the pod is ready")
	listen := flag.String("listen", ":8080", "`address` of /ready")
	flag.Parse()
	begin, err := timeOfDay(*at)
	if err != nil || flag.NArg() > 0 || *base < 0 || *peak < 0 {
		fmt.Fprintf(os.Stderr, "load: arguments %q: %v\n", os.Args[1:], err)
		os.Exit(2)
	}
	log.Printf("load %s", version)
	began := time.Now()
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if time.Since(began) < *start {
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
	})
	go func() { log.Fatal(http.ListenAndServe(*listen, nil)) }()
	var pods atomic.Int64
	pods.Store(1)
	if *peers != "" {
		go count(*peers, &pods)
	}
	// Demand above one core is as good as one core: a pod burns in one thread. Where
	// others keep it from the processor it makes up for that later.
	const period = 250 * time.Millisecond
	runtime.LockOSThread()
	var owed time.Duration
	for last := time.Now(); ; {
		demand := *base
		if inPeak(time.Now(), begin, *long) {
			demand = *peak
		}
		now := time.Now()
		owed += time.Duration(min(1, demand/float64(pods.Load())) * float64(now.Sub(last)))
		last = now
		owed = min(max(0, owed-burn(min(owed, period))), maxOwed)
		time.Sleep(time.Until(time.Now().Truncate(period).Add(period)))
	}
}

// maxOwed is how much of its work a pod makes up for at most.
const maxOwed = 5 * time.Second

// timeOfDay returns how long after midnight a time is.
func timeOfDay(text string) (time.Duration, error) {
	layout := time.TimeOnly
	if len(text) == len("15:04") {
		layout = "15:04"
	}
	t, err := time.Parse(layout, text)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second, err
}

// inPeak tells whether the last peak, today's or yesterday's, is still on.
func inPeak(now time.Time, begin, long time.Duration) bool {
	const day = 24 * time.Hour
	since := (now.Sub(now.Truncate(day)) - begin + day) % day
	return since < long
}

// burn keeps this thread busy until it has had that much of the processor, for half a
// second at most, and returns how much it has had.
func burn(d time.Duration) time.Duration {
	const patience = 500 * time.Millisecond
	began, start := time.Now(), processorTime()
	for {
		had := processorTime() - start
		if had >= d || time.Since(began) > patience {
			return had
		}
	}
}

// processorTime returns how long this thread has had the processor.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		log.Fatal("getrusage: ", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// count keeps the number of peers up to date, at least 1: this pod. While the name
// cannot be resolved the last number holds.
func count(name string, pods *atomic.Int64) {
	for range time.Tick(2 * time.Second) {
		if addresses, err := net.LookupHost(name); err == nil {
			pods.Store(int64(max(1, len(addresses))))
		}
	}
}

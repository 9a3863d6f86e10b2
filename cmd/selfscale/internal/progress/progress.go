// Package progress tells a person who waits what the program is doing.
//
// On a terminal it keeps one line up to date; into a file or a pipe it writes a
// line when a stage ends and now and then while one goes on. What takes less
// than two seconds says nothing at all.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// When something is said. A terminal's line changes often enough to look alive;
// a log is read later and wants few lines.
const (
	quiet        = 2 * time.Second
	terminalTick = 200 * time.Millisecond
	logTick      = 15 * time.Second
)

// Reporter writes progress. One stage is shown at a time. The nil Reporter says
// nothing.
type Reporter struct {
	w        io.Writer
	terminal bool
	clock    clock.WithTicker

	stop chan struct{}
	loop sync.WaitGroup

	mu       sync.Mutex
	stage    *Stage
	onScreen int // length of the line on the terminal
}

// IsTerminal reports whether f is a terminal that can rewrite a line.
func IsTerminal(f *os.File) bool {
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// New returns a reporter that writes to w. Close it after use.
func New(w io.Writer, terminal bool, c clock.WithTicker) *Reporter {
	r := &Reporter{w: w, terminal: terminal, clock: c, stop: make(chan struct{})}
	tick := logTick
	if terminal {
		tick = terminalTick
	}
	ticker := c.NewTicker(tick)
	r.loop.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C():
				r.mu.Lock()
				r.show()
				r.mu.Unlock()
			case <-r.stop:
				return
			}
		}
	})
	return r
}

// Close ends the current stage's line and returns when nothing more will be
// written.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	close(r.stop)
	r.loop.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
	r.stage = nil
}

// Stage begins a stage that consists of total parts; 0 where their number is
// not known. A stage before it that has not ended is dropped from view.
func (r *Reporter) Stage(name string, total int) *Stage {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage = &Stage{r: r, name: name, total: total, began: r.clock.Now()}
	return r.stage
}

// Stage is one part of the work. The nil Stage says nothing.
type Stage struct {
	r     *Reporter
	name  string
	began time.Time

	// Guarded by r.mu.
	done, total int
	shown       bool
}

// Add counts n more parts as done. It may be called from several goroutines.
func (s *Stage) Add(n int) {
	if s == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.done += n
}

// Set says how many parts are done, and of how many.
func (s *Stage) Set(done, total int) {
	if s == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.done, s.total = done, total
}

// Done ends the stage. If it took long enough to be of interest it leaves a
// line with the time it took.
func (s *Stage) Done() {
	if s == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	r := s.r
	if r.stage == s {
		r.stage = nil
	}
	r.erase()
	if took := r.clock.Since(s.began); took >= quiet || s.shown {
		fmt.Fprintf(r.w, "%s: done in %s\n", s.name, seconds(took))
	}
}

// show writes where the current stage stands.
func (r *Reporter) show() {
	s := r.stage
	if s == nil || r.clock.Since(s.began) < quiet {
		return
	}
	line := s.name
	if s.total > 0 {
		line += fmt.Sprintf(" %d/%d (%d %%)", s.done, s.total, 100*min(s.done, s.total)/s.total)
	} else if s.done > 0 {
		line += fmt.Sprintf(" %d", s.done)
	}
	line += ", " + seconds(r.clock.Since(s.began))
	s.shown = true
	if !r.terminal {
		fmt.Fprintln(r.w, line)
		return
	}
	pad := max(0, r.onScreen-len(line))
	fmt.Fprintf(r.w, "\r%s%s", line, strings.Repeat(" ", pad))
	r.onScreen = len(line)
}

// erase empties the terminal's line.
func (r *Reporter) erase() {
	if r.onScreen > 0 {
		fmt.Fprintf(r.w, "\r%s\r", strings.Repeat(" ", r.onScreen))
		r.onScreen = 0
	}
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

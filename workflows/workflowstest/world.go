// Package workflowstest holds the suite that says whether a
// [workflows.Submitter] is right.
//
// An implementation's test gives [Run] a function that makes a submitter for a
// [World]: pipelines, and what each of their steps does. The jobs that the
// submitter runs, or whatever stands for them, call [World.Execute].
package workflowstest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/self-scaling/self-scaling/workflows"
)

// Behaviour is what a step does. Its zero value succeeds at once.
type Behaviour struct {
	// Exits holds the exit code of each attempt; the last one stands for all
	// that follow.
	Exits []int
	// Shards are named before the step succeeds, unless it is nil.
	Shards []string
	// Blocks makes the step go on until it is told to stop.
	Blocks bool
}

// World is what a submitter under test is made for.
type World struct {
	Pipelines []workflows.Pipeline
	// Behaviours are found by step name or, for one shard, by "step/shard".
	Behaviours map[string]Behaviour

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each event
	events  []Event
	records []workflows.Run
}

// Event is the beginning or the end of one attempt of a step.
type Event struct {
	Run, Step, Shard string
	Attempt          int
	Flags            []string
	Trace            string
	End              bool
}

// Exit is the error of a step that ends with a code other than 0.
type Exit int

// Error returns a sentence with the code.
func (e Exit) Error() string { return fmt.Sprintf("ended with exit code %d", int(e)) }

// ExitCode returns the code.
func (e Exit) ExitCode() int { return int(e) }

// Execute is one attempt of a step: it notes the beginning, behaves as the
// world says and notes the end. It calls setShards where shards are to be named
// and returns an [Exit] for a code other than 0. When ctx ends while the step
// blocks it returns ctx's error.
func (w *World) Execute(ctx context.Context, e Event, setShards func([]string)) error {
	b, ok := w.Behaviours[e.Step+"/"+e.Shard]
	if !ok {
		b = w.Behaviours[e.Step]
	}
	w.note(e)
	defer func() { e.End = true; w.note(e) }()
	if b.Blocks {
		<-ctx.Done()
		return ctx.Err()
	}
	if n := len(b.Exits); n > 0 {
		if code := b.Exits[min(e.Attempt, n)-1]; code != workflows.ExitOK {
			return Exit(code)
		}
	}
	if b.Shards != nil {
		setShards(b.Shards)
	}
	return nil
}

func (w *World) note(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// Record is where the submitter under test keeps records, or whatever stands for it.
// Those of runs that have not ended are passed over.
func (w *World) Record(_ context.Context, r workflows.Run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Phase.Done() {
		w.records = append(w.records, r)
	}
	return nil
}

// recorded returns the records that were kept of a run.
func (w *World) recorded(run string) []workflows.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.records), func(r workflows.Run) bool { return r.ID != run })
}

// Events returns what has happened so far, in order.
func (w *World) Events() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// await returns once a step of a run has begun.
func (w *World) await(t *testing.T, run, step string) {
	t.Helper()
	for {
		w.mu.Lock()
		begun := slices.ContainsFunc(w.events, func(e Event) bool { return e.Run == run && e.Step == step })
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		if begun {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("step %s of run %s never began", step, run)
		}
	}
}

// order returns the place of the first event that begins (or, with end, of the
// last that ends) an attempt of the step, -1 where there is none.
func (w *World) order(run, step string, end bool) int {
	events := w.Events()
	place := -1
	for i, e := range events {
		if e.Run == run && e.Step == step && e.End == end {
			if place = i; !end {
				break
			}
		}
	}
	return place
}

package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Submitter runs pipelines. The suite in workflowstest says whether an
// implementation is right. All methods may be called from several goroutines.
type Submitter interface {
	// Submit asks for a run and returns its record without waiting for it to
	// end. It is idempotent by the run-id: a request that was submitted before
	// returns the record of the run that it started then, whatever became of
	// it. A request that differs from the one submitted before under the same
	// run-id gives schemas.CodeConflict; an unknown pipeline or parameter or a
	// malformed run-id gives schemas.CodeInvalidConfig. CodeUnavailable means
	// that the same call may work later.
	//
	// Runs of one pipeline never overlap: a later one stays Pending until the
	// earlier ones are done. Runs of different pipelines may overlap.
	Submit(ctx context.Context, r Request) (Run, error)
	// Get returns a run's record. It returns an error with
	// schemas.CodeNotFound for a run-id that was never submitted or whose
	// record has been given up.
	Get(ctx context.Context, runID string) (Run, error)
	// List returns the records of runs, the newest first.
	List(ctx context.Context, o ListOptions) ([]Run, error)
	// Stop ends a run as soon as its steps let go: steps that have not started
	// are omitted. Stopping a run that is done does nothing. It returns
	// schemas.CodeNotFound as Get does.
	Stop(ctx context.Context, runID string) error
	// Wait returns the record once the run is done. When ctx ends first it
	// returns the record as it is then, and ctx's error.
	Wait(ctx context.Context, runID string) (Run, error)
}

// Request asks for one run.
type Request struct {
	// Pipeline is a pipeline's name.
	Pipeline string
	// RunID names the run, by the rule of schemas.ValidateRunID. The caller
	// chooses it, so that asking again after a lost answer asks for the same
	// run.
	RunID string
	// Parameters gives values for the pipeline's parameters.
	Parameters map[string]string
	// Trace is the W3C trace context that the run's steps belong to, as in the
	// header traceparent; "" where nobody traces. It is no part of what is asked
	// for: requests that differ in it alone are the same, and the first one's holds.
	Trace string
}

// TraceVariable is the variable of a step's environment that holds the trace context
// of its run. A run without one leaves it out, or empty.
const TraceVariable = "TRACEPARENT"

// Resolve returns the pipeline that is asked for and the values of its
// parameters. It returns schemas.CodeInvalidConfig for a malformed run-id, and
// for a pipeline or a parameter that is not known.
func (r *Request) Resolve(pipelines map[string]*Pipeline) (*Pipeline, map[string]string, error) {
	if err := schemas.ValidateRunID(r.RunID); err != nil {
		return nil, nil, err
	}
	p := pipelines[r.Pipeline]
	if p == nil {
		return nil, nil, schemas.Errorf(schemas.CodeInvalidConfig, "run %s: pipeline must be one of %v, but is %q", r.RunID, slices.Sorted(maps.Keys(pipelines)), r.Pipeline)
	}
	parameters, err := p.Resolve(r.Parameters)
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", r.RunID, err)
	}
	return p, parameters, nil
}

// ObjectName returns the name of the Kubernetes object that stands for a run:
// what can be read of the run-id, up to the given number of characters, and a
// hash that tells it from others.
func ObjectName(runID string, readable int) string {
	sum := sha256.Sum256([]byte(runID))
	spelled := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, runID)
	return "run-" + strings.TrimRight(spelled[:min(len(spelled), readable)], "-") + "-" + hex.EncodeToString(sum[:5])
}

// ListOptions narrows a list. Its zero value lists everything.
type ListOptions struct {
	Pipeline string // only runs of this pipeline
	Phase    Phase  // only runs in this phase
	Limit    int    // at most so many; 0 means all
}

// Phase says where a run or a step stands. The words are Argo's.
type Phase string

// The phases. A phase Succeeded is not a result: what a step made is in the
// store, committed by its manifest.
const (
	Pending   Phase = "Pending"   // not started yet
	Running   Phase = "Running"   // started
	Succeeded Phase = "Succeeded" // ended, exit code 0
	Failed    Phase = "Failed"    // ended otherwise
	Stopped   Phase = "Stopped"   // ended because it was told to
	Omitted   Phase = "Omitted"   // steps only: never started, because one before it did not succeed
)

// Done reports whether the phase is final.
func (p Phase) Done() bool { return p != Pending && p != Running }

// Progress counts how much of a run or a step is done, in a unit of its own.
// Total is 0 where it is not known.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// Run is the record of one run of a pipeline.
type Run struct {
	ID       string `json:"id"`
	Pipeline string `json:"pipeline"`
	// Object is the name of the object in the cluster that stands for the run, ""
	// where none does.
	Object     string            `json:"object,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Phase      Phase             `json:"phase"`
	// Message says in one sentence why the phase is what it is, "" where there
	// is nothing to say.
	Message   string       `json:"message,omitempty"`
	Submitted time.Time    `json:"submitted"`
	Started   *time.Time   `json:"started,omitempty"`
	Finished  *time.Time   `json:"finished,omitempty"`
	Steps     []StepRecord `json:"steps"`
}

// StepRecord is what became of one step of a run or, where the step fans out,
// of one of its shards. Until the shards are known a fan-out has one record
// without a shard.
type StepRecord struct {
	Step     string     `json:"step"`
	Shard    string     `json:"shard,omitempty"`
	Phase    Phase      `json:"phase"`
	Attempts int        `json:"attempts"`
	Progress Progress   `json:"progress"`
	ExitCode *int       `json:"exitCode,omitempty"` // of the last attempt
	Message  string     `json:"message,omitempty"`
	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
}

// Progress counts the run's step records that are done.
func (r *Run) Progress() Progress {
	p := Progress{Total: len(r.Steps)}
	for i := range r.Steps {
		if r.Steps[i].Phase.Done() {
			p.Done++
		}
	}
	return p
}

// Clone returns a copy that shares nothing with r which may change.
func (r *Run) Clone() Run {
	c := *r
	c.Steps = slices.Clone(r.Steps) // what the records point to is never changed
	return c
}

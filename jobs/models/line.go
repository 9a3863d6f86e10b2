package models

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Labels of the heads that a rollback writes.
const (
	trainedLabel = "trained"        // the run whose models hold now
	fromLabel    = "rolledBackFrom" // the run whose models held before
	reasonLabel  = "reason"
	atLabel      = "at"   // when a person asked for it
	holdLabel    = "hold" // "true" keeps later trainings from replacing it
)

// Record is one entry of the line of models: which run's models were made the
// current ones, by a training or by a rollback.
type Record struct {
	Head artifact.Head
	// Run is the run that trained the models.
	Run string
	// RolledBackFrom is the run whose models this entry took out of service, ""
	// where a training made it; Reason says why, and At when.
	RolledBackFrom string
	Reason         string
	At             time.Time
	// Hold says that trainings keep their models under their run, but do not make
	// them the current ones.
	Hold bool
}

// RecordOf reads the head of the pipeline [schemas.ModelsHead].
func RecordOf(h artifact.Head) Record {
	l := h.Manifest.Labels
	r := Record{Head: h, Run: h.Run, RolledBackFrom: l[fromLabel], Reason: l[reasonLabel], Hold: l[holdLabel] == "true"}
	if run := l[trainedLabel]; run != "" {
		r.Run = run
	}
	r.At, _ = time.Parse(time.RFC3339, l[atLabel]) // absent where a training made it
	return r
}

// Note says in a sentence what a training must know of the entry that it goes on
// from, "" where there is nothing to know.
func (r Record) Note() string {
	if r.RolledBackFrom == "" {
		return ""
	}
	note := fmt.Sprintf("goes on from run %s, to which the models were rolled back from run %s", r.Run, r.RolledBackFrom)
	if r.Reason != "" {
		note += " (" + r.Reason + ")"
	}
	return note
}

// Line yields the entries from the newest to the oldest. Damaged heads are left
// out; see [artifact.Store.Heads].
func Line(ctx context.Context, store *artifact.Store) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for h, err := range store.Heads(ctx, schemas.ModelsHead) {
			if !yield(RecordOf(h), err) || err != nil {
				return
			}
		}
	}
}

// Current is what a person calls the newest entry.
const Current = "current"

// Find returns the newest entry that a person means by name: [Current], a run-id
// or the number of an entry. It returns an error with
// [schemas.CodeInvalidConfig] where there is none.
func Find(ctx context.Context, store *artifact.Store, name string) (Record, error) {
	number, isNumber := uint64(0), false
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		number, isNumber = n, true
	}
	for r, err := range Line(ctx, store) {
		if err != nil {
			return Record{}, err
		}
		if name == Current || r.Run == name || isNumber && r.Head.Number == number {
			return r, nil
		}
	}
	return Record{}, schemas.Errorf(schemas.CodeInvalidConfig, "model must be current, or the run or number of one that 'models list' shows, but is %q", name)
}

// Rollback is what a person asks for.
type Rollback struct {
	To     Record // the entry whose models are to hold from now on
	Reason string // for those who come later, may be ""
	At     time.Time
	// Hold keeps later trainings from taking over.
	Hold bool
	// From is the number of the entry that holds as far as the person knows, 0 where
	// they do not say.
	From uint64
	// DryRun finds out what would be done, and writes nothing.
	DryRun bool
}

// Rolled says what a rollback did, or would do.
type Rolled struct {
	// Before is the entry that held, and After the one that holds now; they are the
	// same where nothing changed.
	Before, After Record
	Changed       bool
}

// Roll makes the models of an earlier entry the current ones again, by a new
// entry that names them: nothing is deleted, so that a rollback can be rolled
// back. Inference follows with its next run, and the next training goes on from
// them. The models are read first; those that cannot be are not rolled back to.
// Where they hold already, and Hold does not change, nothing is written. It
// returns an error with [schemas.CodeConflict] where another entry holds than
// the person knows of.
func Roll(ctx context.Context, store *artifact.Store, version string, r Rollback) (Rolled, error) {
	current, err := store.Latest(ctx, schemas.ModelsHead)
	if err != nil {
		return Rolled{}, err
	}
	if r.From != 0 && r.From != current.Number {
		return Rolled{}, schemas.Errorf(schemas.CodeConflict, "record %d of the models must be the newest, but %d is: look at it and ask again", r.From, current.Number)
	}
	if _, err := Read(ctx, store, r.To.Head); err != nil {
		return Rolled{}, fmt.Errorf("read the models of run %s: %w", r.To.Run, err)
	}
	now := RecordOf(current)
	if now.Run == r.To.Run && now.Hold == r.Hold {
		return Rolled{Before: now, After: now}, nil
	}
	if r.DryRun {
		after := r.To
		after.Head.Number, after.Hold = current.Number+1, r.Hold
		return Rolled{now, after, true}, nil
	}
	// One such run per entry that is rolled back from: the same command given
	// twice finds what it has done.
	run := fmt.Sprintf("rollback-%d-to-%d", current.Number, r.To.Head.Number)
	head, outcome, err := store.Advance(ctx, schemas.ModelsHead, run, func(prev *artifact.Head) (artifact.Manifest, error) {
		if prev == nil || prev.Number != current.Number {
			return artifact.Manifest{}, schemas.Errorf(schemas.CodeUnavailable, "the models have changed meanwhile: look at them and ask again")
		}
		to := r.To.Head.Manifest
		m := artifact.Manifest{Kind: modelKind, Writer: version, Inputs: to.Inputs, Files: to.Files, From: to.From, To: to.To, Labels: map[string]string{
			trainedLabel: r.To.Run, fromLabel: now.Run, atLabel: r.At.UTC().Format(time.RFC3339), holdLabel: strconv.FormatBool(r.Hold),
		}}
		if shards := to.Labels[shardsLabel]; shards != "" {
			m.Labels[shardsLabel] = shards
		}
		if r.Reason != "" {
			m.Labels[reasonLabel] = r.Reason
		}
		return m, nil
	})
	if err != nil {
		return Rolled{}, err
	}
	return Rolled{now, RecordOf(head), outcome == artifact.Committed}, nil
}

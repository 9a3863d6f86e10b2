// Package record keeps what became of runs, for longer than the Workflows and Jobs
// that ran them: one JSON document a run, a [workflows.Run], in the store.
//
// [Write] is called when a run has ended: by the controller, which sees every run
// end, and by the exit handler of a Workflow, which runs also where no controller
// does. [Reader] finds the records again.
//
// # The exit handler
//
// A Workflow's exit handler runs the controller's image with these arguments; all but
// the first three may be left out, and an empty one counts as left out:
//
//	/bin/controller report
//	  -store=URL
//	  -run=ID                  as the steps of the run are told
//	  -status={{workflow.status}}
//	  -pipeline=NAME
//	  -failures={{workflow.failures}}
//	  -submitted={{workflow.creationTimestamp.RFC3339}}
//	  -parameter=NAME={{workflow.parameters.NAME}}               once for each parameter
//	  -log-format=json
//
// It needs the store's credentials, as a step does, and no right in the cluster. Its
// exit codes are those of a step.
//
// # Keys
//
// A record is a data file of the kind "records", under the day on which the run
// ended, and a manifest of the run's step "record" names it, so that it goes when the
// run's other manifests do. A run that ended twice, because it was retried, has two
// records; the later one counts.
package record

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

const (
	// StepName is the step under whose name records are committed.
	StepName = "record"

	kind   = "records"
	schema = "run.v1"
	ext    = "json"
)

// Write keeps the record of a run that has ended. Version is that of the program.
// Writing the same again succeeds and changes nothing.
func Write(ctx context.Context, store *artifact.Store, version string, r workflows.Run) error {
	if err := schemas.ValidateRunID(r.ID); err != nil {
		return err
	}
	if !r.Phase.Done() || r.Finished == nil {
		return schemas.Errorf(schemas.CodeInvalidData, "run %s: must have ended to be recorded, but is %s", r.ID, cmp.Or(r.Phase, "without a phase"))
	}
	data, err := json.Marshal(r)
	if err != nil {
		return schemas.Errorf(schemas.CodeInternal, "run %s: encode record: %w", r.ID, err)
	}
	f, err := store.PutFile(ctx, kind, *r.Finished, ext, data, artifact.FileMeta{Rows: 1, From: *r.Finished, To: *r.Finished, Schema: schema})
	if err != nil {
		return fmt.Errorf("run %s: keep record: %w", r.ID, err)
	}
	m := artifact.Manifest{
		// The shard tells the records of a run that ended more than once apart.
		Kind: kind, Run: r.ID, Step: StepName, Shard: f.SHA256[:16], Writer: version,
		Files: []artifact.File{f}, From: f.From, To: f.To,
		Labels: map[string]string{"pipeline": r.Pipeline, "phase": string(r.Phase)},
	}
	// Another version of the program may have committed the same record.
	if _, err := store.CommitManifest(ctx, m.Key(), m); err != nil && !errors.Is(err, artifact.ErrConflict) {
		return fmt.Errorf("run %s: keep record: %w", r.ID, err)
	}
	return nil
}

// later reports whether a is the record to believe of two of one run: the one that
// ended later or, of two that tell of one end, the one that knows more.
func later(a, b *workflows.Run) bool {
	if !a.Finished.Equal(*b.Finished) {
		return a.Finished.After(*b.Finished)
	}
	return detail(a) > detail(b)
}

func detail(r *workflows.Run) (n int) {
	for i := range r.Steps {
		n += 1 + r.Steps[i].Attempts
	}
	return n
}

func decode(key string, data []byte) (workflows.Run, error) {
	var r workflows.Run
	if err := json.Unmarshal(data, &r); err != nil {
		return r, schemas.Errorf(schemas.CodeCorrupt, "%s must be the record of a run: %w", key, err)
	}
	if err := schemas.ValidateRunID(r.ID); err != nil {
		return r, schemas.WithCode(schemas.CodeCorrupt, fmt.Errorf("%s: %w", key, err))
	}
	if !r.Phase.Done() || r.Finished == nil {
		return r, schemas.Errorf(schemas.CodeCorrupt, "%s must be the record of a run that has ended, but the phase is %q", key, r.Phase)
	}
	return r, nil
}

// days yields the UTC days from the one of to back to the one of from.
func days(from, to time.Time) func(func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		for day := to.UTC().Truncate(24 * time.Hour); !day.Before(from.UTC().Truncate(24 * time.Hour)); day = day.AddDate(0, 0, -1) {
			if !yield(day) {
				return
			}
		}
	}
}

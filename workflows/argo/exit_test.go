package argo_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// spelled writes steps as "name[shard] Phase: message", one a line.
func spelled(r workflows.Run) string {
	var b strings.Builder
	b.WriteString(string(r.Phase) + ": " + r.Message + "\n")
	for _, s := range r.Steps {
		b.WriteString(s.Step)
		if s.Shard != "" {
			b.WriteString("[" + s.Shard + "]")
		}
		b.WriteString(" " + string(s.Phase))
		if s.Message != "" {
			b.WriteString(": " + s.Message)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// node is an entry of workflow.failures.
func node(template, shown, message string) map[string]any {
	return map[string]any{"templateName": template, "displayName": shown, "message": message, "phase": "Failed",
		"podName": "run-train-1-" + template + "-1", "finishedAt": "2026-03-09T00:20:00Z"}
}

func TestAnExitBecomesARecord(t *testing.T) {
	const stopped = "workflow shutdown with strategy:  Stop"
	graph := node("main", "run-train-1", "child 'run-train-1-1' failed")
	for _, tt := range []struct {
		name     string
		status   string
		failures []map[string]any
		want     string
	}{
		{"all went well", "Succeeded", nil, `Succeeded: 
dataset Succeeded
trainer Succeeded
commit Succeeded
`},
		{"an attempt failed, a later one did not", "Succeeded", []map[string]any{node("dataset", "dataset(0)", "Error (exit code 75)")}, `Succeeded: 
dataset Succeeded
trainer Succeeded
commit Succeeded
`},
		{"a step failed, and with it what follows", "Failed",
			[]map[string]any{node("dataset", "dataset(0)", "Error (exit code 75)"), graph, node("dataset", "dataset", "Error (exit code 65)")}, `Failed: step dataset: Error (exit code 65)
dataset Failed: Error (exit code 65)
trainer Omitted: step dataset did not succeed
commit Omitted: step trainer did not succeed
`},
		{"two shards failed", "Failed", []map[string]any{graph, node("trainer", "trainer", "child failed"),
			node("trainer", "trainer-0002", "OOMKilled (exit code 137)"), node("trainer", "trainer(0:0000)", "Error (exit code 65)"), node("trainer", "trainer(0:0001)(0)", "Error (exit code 75)")}, `Failed: 2 steps failed; the first is trainer[0000]: Error (exit code 65)
dataset Succeeded
trainer[0000] Failed: Error (exit code 65)
trainer[0002] Failed: OOMKilled (exit code 137)
commit Omitted: step trainer did not succeed
`},
		{"it was stopped", "Failed", []map[string]any{graph, node("dataset", "dataset", stopped)}, `Stopped: the run was stopped
dataset Stopped: ` + stopped + `
trainer Omitted: step dataset did not succeed
commit Omitted: step trainer did not succeed
`},
		{"it broke without a node", "Error", nil, `Failed: the Workflow failed without saying why
dataset Succeeded
trainer Succeeded
commit Succeeded
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := json.Marshal(tt.failures)
			if err != nil {
				t.Fatal(err)
			}
			for _, failures := range []string{string(list), strconv.Quote(string(list))} {
				r, err := argo.Exit{RunID: "train-1", Pipeline: "train", Status: tt.status, Failures: failures}.Record(workflows.Pipelines(), noon)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, spelled(r)); diff != "" {
					t.Errorf("record (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestAnExitKnowsItsTimes(t *testing.T) {
	begun := noon.Add(-10 * time.Minute)
	for _, tt := range []struct {
		name                string
		e                   argo.Exit
		submitted, finished time.Time
	}{
		{"it is told when the run began", argo.Exit{Submitted: begun}, begun, noon},
		{"it is not", argo.Exit{}, noon, noon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.RunID, tt.e.Status, tt.e.Parameters = "a", "Succeeded", map[string]string{"now": "", "backfill": "24h"}
			r, err := tt.e.Record(nil, noon)
			if err != nil {
				t.Fatal(err)
			}
			want := workflows.Run{ID: "a", Phase: workflows.Succeeded, Submitted: tt.submitted, Finished: &tt.finished, Parameters: map[string]string{"backfill": "24h"}}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnExitThatIsNoneIsRefused(t *testing.T) {
	for name, e := range map[string]argo.Exit{
		`run-id must be 1 to 128`: {RunID: "", Status: "Succeeded"},
		`run a: status must be Succeeded, Failed or Error, but is "Running"`: {RunID: "a", Status: "Running"},
		`run a: failures must be a list of nodes in JSON`:                    {RunID: "a", Status: "Failed", Failures: "{{workflow.failures}}"},
	} {
		_, err := e.Record(nil, noon)
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("error %v, want %s", err, name)
		}
	}
}

package argo

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Exit is what a Workflow's exit handler is told, in the spelling of Argo's variables
// of the same names.
type Exit struct {
	RunID    string
	Pipeline string
	// Parameters are those that the run was given, those with no value included.
	Parameters map[string]string
	Status     string // workflow.status: Succeeded, Failed or Error
	// Failures is workflow.failures: a list of nodes in JSON, which Argo quotes once
	// more; "" where it is not known.
	Failures string
	// Submitted is when the Workflow was created; zero where it is not known.
	Submitted time.Time
}

// failedNode is one entry of Exit.Failures.
type failedNode struct {
	DisplayName  string     `json:"displayName"`
	Message      string     `json:"message"`
	TemplateName string     `json:"templateName"`
	FinishedAt   *time.Time `json:"finishedAt"`
}

// shutdown is in the message of every node that ended because the Workflow was told
// to.
const shutdown = "shutdown with strategy"

// Record returns the record of the run: of its steps, what follows from the list of
// those that failed. Attempts, progress and when steps began are not known, nor is
// the end of a step that did not fail. Now is the end of the run: workflow.duration
// cannot tell it, since Argo counts it anew from each retry. It is an error with schemas.CodeInvalidConfig where a value
// does not have its form.
func (e Exit) Record(pipelines []workflows.Pipeline, now time.Time) (workflows.Run, error) {
	r := workflows.Run{ID: e.RunID, Pipeline: e.Pipeline, Submitted: e.Submitted.UTC(), Parameters: map[string]string{}}
	if err := schemas.ValidateRunID(e.RunID); err != nil {
		return r, err
	}
	for name, v := range e.Parameters {
		if v != "" {
			r.Parameters[name] = v
		}
	}
	switch e.Status {
	case "Succeeded":
		r.Phase = workflows.Succeeded
	case "Failed", "Error":
		r.Phase = workflows.Failed
	default:
		return r, schemas.Errorf(schemas.CodeInvalidConfig, "run %s: status must be Succeeded, Failed or Error, but is %q", e.RunID, e.Status)
	}
	end := now.UTC()
	if r.Submitted.IsZero() {
		r.Submitted = end
	}
	r.Finished = &end
	failed, err := e.failures()
	if err != nil {
		return r, err
	}
	if r.Phase == workflows.Failed && len(failed) > 0 && !hasOther(failed) {
		r.Phase, r.Message = workflows.Stopped, "the run was stopped"
	}
	for i := range pipelines {
		if pipelines[i].Name == e.Pipeline {
			r.Steps = ended(&pipelines[i], failed, r.Phase)
		}
	}
	if r.Phase == workflows.Failed {
		r.Message = failure(r.Steps)
	}
	return r, nil
}

func hasOther(failed []failedNode) bool {
	for _, n := range failed {
		// The graph itself and nodes of which nothing is said follow from others.
		if n.TemplateName != entrypoint && n.Message != "" && !strings.Contains(n.Message, shutdown) {
			return true
		}
	}
	return false
}

func (e Exit) failures() ([]failedNode, error) {
	text := e.Failures
	if text == "" {
		return nil, nil
	}
	var unquoted string
	if text[0] == '"' && json.Unmarshal([]byte(text), &unquoted) == nil {
		text = unquoted
	}
	var nodes []failedNode
	if err := json.Unmarshal([]byte(text), &nodes); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "run %s: failures must be a list of nodes in JSON: %w", e.RunID, err)
	}
	return nodes, nil
}

// ended returns the records of a pipeline's steps: those that failed, by shard where
// they fan out, those that could not start because of them, and the rest, which
// succeeded unless the run was stopped.
func ended(p *workflows.Pipeline, failed []failedNode, run workflows.Phase) []workflows.StepRecord {
	var out []workflows.StepRecord
	if run == workflows.Succeeded {
		failed = nil
	}
	broken := map[string]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		var own []workflows.StepRecord
		for _, n := range failed {
			if n.TemplateName == s.Name {
				own = failedStep(own, s, n)
			}
		}
		slices.SortFunc(own, func(a, b workflows.StepRecord) int { return strings.Compare(a.Shard, b.Shard) })
		if len(own) == 0 {
			r := workflows.StepRecord{Step: s.Name, Phase: workflows.Succeeded}
			if run == workflows.Stopped {
				r.Phase = workflows.Stopped
			}
			for _, name := range s.Requires() {
				if broken[name] {
					r.Phase, r.Message = workflows.Omitted, "step "+name+" did not succeed"
				}
			}
			broken[s.Name] = r.Phase != workflows.Succeeded
			own = append(own, r)
		} else {
			broken[s.Name] = true
		}
		out = append(out, own...)
	}
	return out
}

// attempt matches the name that one attempt of a step is shown by: collector(1), or
// trainer(0:0000)(1). Where an attempt failed and the step did not, a later one
// succeeded.
var attempt = regexp.MustCompile(`\(\d+\)$`)

// failedStep adds what one node says of a step.
func failedStep(own []workflows.StepRecord, s *workflows.Step, n failedNode) []workflows.StepRecord {
	if s.Attempts > 1 && attempt.MatchString(n.DisplayName) {
		return own
	}
	r := workflows.StepRecord{Step: s.Name, Phase: workflows.Failed, Message: n.Message}
	if s.FanOut != "" {
		if r.Shard = shardIn(n.DisplayName, s.Name); r.Shard == "" {
			return own // the fan-out itself, which its shards tell of
		}
	}
	if n.FinishedAt != nil {
		at := n.FinishedAt.UTC()
		r.Finished = &at
	}
	if strings.Contains(n.Message, shutdown) {
		r.Phase = workflows.Stopped
	}
	return append(own, r)
}

// shardIn reads the shard out of the name that a node is shown by: trainer(0:0000)
// or, as [Template] has it shown, trainer-0000. It is "" for any other name.
func shardIn(displayName, step string) string {
	rest := strings.TrimPrefix(displayName, step)
	if shard, ok := strings.CutPrefix(rest, "-"); ok {
		return shard
	}
	_, shard, _ := strings.Cut(rest, ":")
	return strings.TrimSuffix(shard, ")")
}

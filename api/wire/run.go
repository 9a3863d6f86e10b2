package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/workflows"
)

// RunRequest asks for a run.
type RunRequest struct {
	Pipeline   string            `json:"pipeline" doc:"What to run" example:"infer"`
	Parameters map[string]string `json:"parameters,omitempty" doc:"Values for the pipeline's parameters"`
}

// Run is one execution of a pipeline. Phases that are not Pending or Running are
// final.
type Run struct {
	ID         string            `json:"id"`
	Pipeline   string            `json:"pipeline"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Phase      workflows.Phase   `json:"phase" enum:"Pending,Running,Succeeded,Failed,Stopped"`
	Message    string            `json:"message,omitempty" doc:"Why the phase is what it is"`
	Progress   Progress          `json:"progress" doc:"Steps that are done, of all that are known so far"`
	Submitted  time.Time         `json:"submitted"`
	Started    *time.Time        `json:"started,omitempty"`
	Finished   *time.Time        `json:"finished,omitempty"`
	Steps      []Step            `json:"steps,omitempty" doc:"Absent in lists"`
	Workflow   *Workflow         `json:"workflow,omitempty" doc:"The object in the cluster that stands for the run"`
}

// Progress counts how much is done, in a unit of its own. Total is 0 where it is
// not known.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

// Step is what became of one step of a run or, where the step fans out, of one of
// its shards.
type Step struct {
	Step     string          `json:"step"`
	Shard    string          `json:"shard,omitempty"`
	Phase    workflows.Phase `json:"phase" enum:"Pending,Running,Succeeded,Failed,Stopped,Omitted"`
	Attempts int             `json:"attempts"`
	Progress Progress        `json:"progress"`
	ExitCode *int            `json:"exitCode,omitempty" doc:"Of the last attempt: 0 is success, 75 may work later, 65 is bad data, 78 bad configuration, 70 a bug"`
	Message  string          `json:"message,omitempty"`
	Started  *time.Time      `json:"started,omitempty"`
	Finished *time.Time      `json:"finished,omitempty"`
}

// Workflow names the object in the cluster that stands for a run.
type Workflow struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UIURL     string `json:"uiUrl,omitempty" doc:"Where Argo's own page shows it; absent where the installation does not say where that page is"`
}

// RunList is a page of runs, the newest first.
type RunList struct {
	Items []Run  `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// NewRun returns a run's record as it travels.
func NewRun(r *workflows.Run) Run {
	w := Run{
		ID: r.ID, Pipeline: r.Pipeline, Parameters: r.Parameters, Phase: r.Phase, Message: r.Message,
		Progress: Progress(r.Progress()), Submitted: r.Submitted, Started: r.Started, Finished: r.Finished,
	}
	for _, s := range r.Steps {
		w.Steps = append(w.Steps, Step{s.Step, s.Shard, s.Phase, s.Attempts, Progress(s.Progress), s.ExitCode, s.Message, s.Started, s.Finished})
	}
	return w
}

// Pipeline is something that can be run.
type Pipeline struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Parameters  []Parameter `json:"parameters" nullable:"false"`
	Steps       []string    `json:"steps" nullable:"false"`
}

// Parameter is a setting of a run.
type Parameter struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Default     string `json:"default,omitempty"`
}

// PipelineList holds all pipelines.
type PipelineList struct {
	Items []Pipeline `json:"items" nullable:"false"`
}

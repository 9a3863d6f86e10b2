package argo

import (
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/self-scaling/self-scaling/workflows"
)

// annotationScheduled is when a CronWorkflow's child was to start, RFC 3339. It
// stays when the child is resubmitted.
const annotationScheduled = "workflows.argoproj.io/scheduled-time"

// Identity returns the run-id of a Workflow, as its steps compute it.
func Identity(w *wfv1.Workflow) string {
	if id := parameter(w, runIDParameter); id != "" {
		return id
	}
	if at := w.Annotations[annotationScheduled]; at != "" {
		return pipelineOf(w) + "-" + strings.NewReplacer(":", "", "+", "_").Replace(at)
	}
	return w.Name
}

// WorkflowName returns the name of the Workflow that [Submitter] makes for a run:
// what can be read of the run-id, and a hash that tells it from others. The pipeline
// has no part in it, so that one run-id is one Workflow.
func WorkflowName(runID string) string {
	return workflows.ObjectName(runID, 40)
}

// pipelineOf returns the pipeline that a Workflow runs: what its label says or,
// before the controller has put it there, the name of its template.
func pipelineOf(w *wfv1.Workflow) string {
	if p := w.Labels[LabelPipeline]; p != "" {
		return p
	}
	if ref := w.Spec.WorkflowTemplateRef; ref != nil {
		return ref.Name[strings.LastIndexByte(ref.Name, '-')+1:]
	}
	return ""
}

// parameter returns the value of one of a Workflow's arguments, "" where it has
// none.
func parameter(w *wfv1.Workflow, name string) string {
	if p := w.Spec.Arguments.GetParameterByName(name); p != nil && p.Value != nil {
		return p.Value.String()
	}
	return ""
}

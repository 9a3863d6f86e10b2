// Package argo runs pipelines as Argo Workflows.
//
// [Render] turns a [workflows.Pipeline] into the manifests that a chart ships: a
// WorkflowTemplate and, where there is a schedule, a CronWorkflow. Everything
// that a run needs is in the WorkflowTemplate, so that all that starts one (this
// package's [Submitter], the UI, argo submit --from, a CronWorkflow, argo
// resubmit) makes a small Workflow with a workflowTemplateRef and arguments, which
// controllers in strict mode accept too. The manifests hold for Argo 3.7 and 4.1.
//
// # Which run is it
//
// What a step does is idempotent by the run-id. A Workflow's run-id is its
// parameter run-id; where that is empty it is made of the pipeline's name and the
// time for which a CronWorkflow scheduled it, else it is the Workflow's name. So a
// Workflow that is retried goes on with its run, and one that is resubmitted
// repeats it, unless it was submitted without a run-id by hand. [Identity] computes
// the same from a Workflow. The instant of the run follows the same rule: parameter
// now, scheduled time, time of creation.
//
// # What becomes of a step
//
// A step is tried again after exit code 75, and after an error of the platform,
// such as a pod that vanished; no other exit code is worth another attempt. Shards
// fail alone, but what follows needs all of them. Runs of one pipeline hold a mutex,
// so that they wait for each other whoever submitted them.
//
// At the end of a run an exit handler keeps its record in the store, whoever started
// it: also of runs that end while no controller of ours is there. It runs when a run is
// stopped too, but not when it is terminated, nor when it ends waiting for the mutex.
//
// A phase Succeeded is not a result. What a step made is in the store, committed by
// its manifest.
package argo

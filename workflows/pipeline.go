// Package workflows says which steps a run has and in which order, as data, and
// who can be asked to run them. Pipelines are defined here and nowhere else:
// workflows/argo and workflows/batch render them, workflows/local walks them.
package workflows

// Step is one node of a pipeline.
type Step struct {
	// Name is unique within the pipeline. It is also the name of the job that
	// the step runs, unless Job says otherwise.
	Name string
	// Job names the program: collector, dataset, trainer or inference.
	Job string
	// Args are the flags that the step gives its program besides the common
	// ones.
	Args []string
	// DependsOn names the steps that must have succeeded before this one.
	DependsOn []string
	// FanOut names an earlier step that wrote a list of shards; this step then
	// runs once a shard, at the same time, and its program is told which one
	// with -shard.
	FanOut string
	// Attempts is how often the step is tried in all while it exits with a
	// temporary failure.
	Attempts int
}

// Pipeline is a directed acyclic graph of steps.
type Pipeline struct {
	Name        string
	Description string
	Steps       []Step
}

// Package workflows says which steps a run has and in which order, as data, and
// who can be asked to run them. Pipelines are defined here and nowhere else:
// workflows/argo and workflows/batch render them, workflows/local walks them.
package workflows

import (
	"slices"

	"github.com/self-scaling/self-scaling/schemas"
)

// The jobs: the programs that steps run.
const (
	CollectorJob = "collector"
	DatasetJob   = "dataset"
	TrainerJob   = "trainer"
	InferenceJob = "inference"
)

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
	// temporary failure. 0 means once.
	Attempts int
}

// JobName returns the name of the program that the step runs.
func (s *Step) JobName() string {
	if s.Job != "" {
		return s.Job
	}
	return s.Name
}

// Requires returns the names of the steps that must have succeeded before this
// one: those it depends on and the one it fans out over.
func (s *Step) Requires() []string {
	if s.FanOut == "" || slices.Contains(s.DependsOn, s.FanOut) {
		return s.DependsOn
	}
	return append(slices.Clone(s.DependsOn), s.FanOut)
}

// Parameter is a setting of a run. Each step that it concerns gets it, where it has
// a value, as the flag -name=value.
type Parameter struct {
	Name        string
	Description string
	// Default is the value where the request gives none; "" means that the
	// programs' own default holds.
	Default string
	// Jobs names the programs that know the flag; nil means all of them.
	Jobs []string
}

// concerns reports whether a step is told of the parameter.
func (p *Parameter) concerns(s *Step) bool {
	return p.Jobs == nil || slices.Contains(p.Jobs, s.JobName())
}

// Pipeline is a directed acyclic graph of steps.
type Pipeline struct {
	Name        string
	Description string
	Parameters  []Parameter
	// Steps are in an order in which they could be run one after the other.
	Steps []Step
}

// The parameters that pipelines have: now is one of all of them, backfill of those
// that measure.
var (
	now = Parameter{
		Name:        "now",
		Description: "the instant for which the run is made, RFC 3339; repeating a run with the same instant gives the same result",
	}
	backfill = Parameter{
		Name:        "backfill",
		Description: "how far back usage is read, as 336h, which needs a source that knows the past. Empty: only what is missing since the last run",
		Jobs:        []string{CollectorJob},
	}
)

// attempts is how often a step is tried while its failure is temporary.
const attempts = 4

// Collect returns the pipeline that measures usage. It runs every 15 minutes.
func Collect() Pipeline {
	return Pipeline{
		Name:        "collect",
		Description: "Reads what every component used since the last run and adds it to the samples.",
		Parameters:  []Parameter{now, backfill},
		Steps: []Step{
			{Name: CollectorJob, Job: CollectorJob, Attempts: attempts},
		},
	}
}

// Train returns the pipeline that learns from the samples. It runs nightly and
// on demand.
func Train() Pipeline {
	return Pipeline{
		Name:        "train",
		Description: "Cuts the samples into datasets, trains on each of them and accepts the models that pass their backtest.",
		Parameters:  []Parameter{now},
		Steps:       train(nil),
	}
}

// train returns the steps of training.
func train(after []string) []Step {
	return []Step{
		{Name: DatasetJob, Job: DatasetJob, DependsOn: after, Attempts: attempts},
		{Name: TrainerJob, Job: TrainerJob, FanOut: DatasetJob, Attempts: attempts},
		// Accepting is a step of its own, so that the head moves once and only
		// after every shard is trained.
		{Name: "commit", Job: TrainerJob, Args: []string{"-commit"}, DependsOn: []string{TrainerJob}, Attempts: attempts},
	}
}

// Infer returns the pipeline that forecasts and decides. It runs every 15
// minutes.
func Infer() Pipeline {
	return Pipeline{
		Name:        "infer",
		Description: "Forecasts every component's usage from the newest samples and decides and applies the floors.",
		Parameters:  []Parameter{now},
		Steps: []Step{
			{Name: InferenceJob, Job: InferenceJob, Attempts: attempts},
		},
	}
}

// Full returns the pipeline that does everything once, from measuring to
// deciding: what an installation without any history or a demonstration runs.
func Full() Pipeline {
	steps := append([]Step{{Name: CollectorJob, Job: CollectorJob, Attempts: attempts}}, train([]string{CollectorJob})...)
	return Pipeline{
		Name:        "full",
		Description: "Measures, trains, forecasts and decides.",
		Parameters:  []Parameter{now, backfill},
		Steps:       append(steps, Step{Name: InferenceJob, Job: InferenceJob, DependsOn: []string{"commit"}, Attempts: attempts}),
	}
}

// Pipelines returns all pipelines that ship.
func Pipelines() []Pipeline { return []Pipeline{Collect(), Train(), Infer(), Full()} }

// Validate reports the first rule that the pipeline breaks: names of letters,
// digits and '-', unique step names, at least one step, steps that refer to
// earlier steps only, so that the graph cannot have a cycle, and parameters that
// some step is told of.
func (p *Pipeline) Validate() error {
	if !validName(p.Name) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline: name must be 1 to 63 lower-case letters, digits and '-', but is %q", p.Name)
	}
	if len(p.Steps) == 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: must have at least one step", p.Name)
	}
	parameters := map[string]bool{}
	for _, param := range p.Parameters {
		if !validName(param.Name) || parameters[param.Name] {
			return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: parameter must have a unique name of lower-case letters, digits and '-', but is %q", p.Name, param.Name)
		}
		parameters[param.Name] = true
		if !slices.ContainsFunc(p.Steps, func(s Step) bool { return param.concerns(&s) }) {
			return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: parameter %q must concern a step, but is for %v", p.Name, param.Name, param.Jobs)
		}
	}
	earlier := map[string]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if !validName(s.Name) {
			return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %d: name must be 1 to 63 lower-case letters, digits and '-', but is %q", p.Name, i+1, s.Name)
		}
		if earlier[s.Name] {
			return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step names must be unique, but %q occurs twice", p.Name, s.Name)
		}
		for _, d := range s.Requires() {
			if !earlier[d] {
				return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %q must refer to earlier steps, but refers to %q", p.Name, s.Name, d)
			}
		}
		if s.Attempts < 0 {
			return schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %q: attempts must not be negative, but is %d", p.Name, s.Name, s.Attempts)
		}
		earlier[s.Name] = true
	}
	return nil
}

// Resolve returns the value of each parameter that has one: what values gives,
// and the defaults for the rest. A value without a parameter is an error.
func (p *Pipeline) Resolve(values map[string]string) (map[string]string, error) {
	resolved := map[string]string{}
	known := make([]string, 0, len(p.Parameters))
	for _, param := range p.Parameters {
		known = append(known, param.Name)
		v, ok := values[param.Name]
		if !ok {
			v = param.Default
		}
		if v != "" {
			resolved[param.Name] = v
		}
	}
	for name := range values {
		if !slices.Contains(known, name) {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: parameter must be one of %v, but is %q", p.Name, known, name)
		}
	}
	return resolved, nil
}

// ParametersOf returns the names of the parameters that concern a step, sorted, which
// is the order of their flags.
func (p *Pipeline) ParametersOf(s *Step) []string {
	var names []string
	for i := range p.Parameters {
		if p.Parameters[i].concerns(s) {
			names = append(names, p.Parameters[i].Name)
		}
	}
	slices.Sort(names)
	return names
}

// Flags returns what a step is told of the run's parameters, given their resolved
// values.
func (p *Pipeline) Flags(s *Step, values map[string]string) []string {
	var flags []string
	for _, name := range p.ParametersOf(s) {
		if v, ok := values[name]; ok {
			flags = append(flags, "-"+name+"="+v)
		}
	}
	return flags
}

func validName(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

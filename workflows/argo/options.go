package argo

import (
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Job says how the program of a step runs in a cluster.
type Job struct {
	// Image holds the program in /bin, as /bin/collector.
	Image           string
	ImagePullPolicy corev1.PullPolicy
	// ServiceAccount is the pod's. It must be allowed to create and patch
	// workflowtaskresults, besides what the program needs.
	ServiceAccount string
	Resources      corev1.ResourceRequirements
	// Args are flags of the installation, given before those of the step.
	Args []string
	// Timeout ends an attempt; 0 means that only the run's deadline does.
	Timeout time.Duration
}

// Options say how pipelines run in one installation. Store and a Job for every
// program must be given; the zero values of all other fields work.
type Options struct {
	// Name is the installation's: objects are named Name-pipeline. It may have
	// at most 36 characters, so that the children of a CronWorkflow keep within
	// 63. Empty means self-scaling.
	Name      string
	Namespace string // "" leaves it to who applies the manifests
	Labels    map[string]string

	Store string // URL of the store, without credentials
	// EnvFrom is where steps find the store's credentials.
	EnvFrom []corev1.EnvFromSource
	Env     []corev1.EnvVar
	// Jobs maps the names of programs, as workflows.CollectorJob, to how they
	// run.
	Jobs map[string]Job
	// Report is the controller's program, which keeps the record of a run at its end,
	// whoever started it (see workflows/record). Without an image nobody does.
	Report Job
	// Volumes and VolumeMounts are added to every step, beside an emptyDir at
	// /tmp.
	Volumes          []corev1.Volume
	VolumeMounts     []corev1.VolumeMount
	ImagePullSecrets []corev1.LocalObjectReference
	NodeSelector     map[string]string
	Tolerations      []corev1.Toleration

	// ServiceAccount is that of pods which are no step; ServiceAccounts of
	// steps are their Job's.
	ServiceAccount string
	// Parallelism bounds how many pods of one run exist at once; 0 means 4.
	Parallelism int64
	// Deadlines end a run, by pipeline; a run that has none gets an hour.
	Deadlines map[string]time.Duration
	// KeepSucceeded and KeepFailed are how long finished Workflows stay; 0 means
	// a day and a week.
	KeepSucceeded, KeepFailed time.Duration
	// Backoff is the pause before a second attempt, and doubles up to
	// MaxBackoff. 0 means 10 s and 2 min.
	Backoff, MaxBackoff time.Duration
	// PatchExecutor gives Argo's own containers in each pod what the Pod
	// Security Standard "restricted" asks for. It must be off where the
	// controller does so itself (executor.securityContext), and where Argo 4.1
	// runs pods without init containers, whose containers have other names.
	PatchExecutor bool
}

// Schedule says when a CronWorkflow starts a pipeline.
type Schedule struct {
	// Schedules are cron expressions of five fields.
	Schedules []string
	// Timezone is an IANA name; empty means Etc/UTC.
	Timezone string
	// StartingDeadline is how late a run that was missed is still made up for.
	StartingDeadline time.Duration
	Suspend          bool
}

// Schedules returns when pipelines run by default: collect and infer every 15
// minutes, train at five past midnight, all UTC.
func Schedules() map[string]Schedule {
	return map[string]Schedule{
		"collect": {Schedules: []string{"*/15 * * * *"}, StartingDeadline: 10 * time.Minute},
		"train":   {Schedules: []string{"5 0 * * *"}, StartingDeadline: time.Hour},
		"infer":   {Schedules: []string{"*/15 * * * *"}, StartingDeadline: 10 * time.Minute},
	}
}

// deadlines is when runs end by default. Waiting for an earlier run counts.
var deadlines = map[string]time.Duration{
	"collect": 10 * time.Minute,
	"train":   4 * time.Hour,
	"infer":   10 * time.Minute,
	"full":    5 * time.Hour,
}

// maxName leaves room in the 52 characters of a CronWorkflow's name for the
// longest name of a pipeline that is allowed here, and a hyphen.
const maxName, maxPipeline = 36, 15

// complete checks the options against a pipeline and fills in what was left
// open.
func (o Options) complete(p *workflows.Pipeline) (Options, error) {
	if err := p.Validate(); err != nil {
		return o, err
	}
	setDefault(&o.Name, "self-scaling")
	setDefault(&o.Parallelism, 4)
	setDefault(&o.KeepSucceeded, 24*time.Hour)
	setDefault(&o.KeepFailed, 7*24*time.Hour)
	setDefault(&o.Backoff, 10*time.Second)
	setDefault(&o.MaxBackoff, 2*time.Minute)
	if len(o.Name) > maxName {
		return o, schemas.Errorf(schemas.CodeInvalidConfig, "name of the installation must have at most %d characters, but is %q", maxName, o.Name)
	}
	if len(p.Name) > maxPipeline {
		return o, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: name must have at most %d characters to run as an Argo Workflow", p.Name, maxPipeline)
	}
	if o.Store == "" {
		return o, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: the store's URL must be given", p.Name)
	}
	for i := range p.Steps {
		if job := p.Steps[i].JobName(); o.Jobs[job].Image == "" {
			return o, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %q needs an image for the program %s", p.Name, p.Steps[i].Name, job)
		}
		if name := p.Steps[i].Name; name == entrypoint || name == exitHandler || name == reportTemplate {
			return o, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: no step may be named %q, the name of a template that every Workflow has", p.Name, name)
		}
	}
	for _, param := range p.Parameters {
		if param.Name == runIDParameter || param.Name == logLevelParameter {
			return o, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: no parameter may be named %q, which every Workflow has", p.Name, param.Name)
		}
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// anyString returns what Argo holds strings in.
func anyString(s string) *wfv1.AnyString { return wfv1.AnyStringPtr(s) }

package batch

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Job says how the program of a step runs.
type Job struct {
	// Image holds the program in /bin, as /bin/collector.
	Image           string
	ImagePullPolicy corev1.PullPolicy
	ServiceAccount  string
	Resources       corev1.ResourceRequirements
	// Args are flags of the installation, given before those of the step.
	Args []string
	// Timeout ends an attempt; 0 means never.
	Timeout time.Duration
}

// Config says what a [Submitter] works with. Client, Namespace, Store, Jobs,
// Pipelines and, where a pipeline fans out, Shards must be given; the zero values of
// all other fields work.
type Config struct {
	Client    kubernetes.Interface
	Namespace string
	// Name is the installation's, "" means self-scaling.
	Name      string
	Labels    map[string]string
	Pipelines []workflows.Pipeline
	// Jobs maps the names of programs, as workflows.CollectorJob, to how they
	// run.
	Jobs map[string]Job

	Store   string // URL of the store, without credentials
	Env     []corev1.EnvVar
	EnvFrom []corev1.EnvFromSource
	// Shards returns the list of shards that a step of a run left in the store. It
	// returns an error with schemas.CodeNotFound where the step left none; any other
	// error is temporary.
	Shards func(ctx context.Context, runID, step string) ([]string, error)

	// Record keeps the record of a run that has ended for longer than its ConfigMap.
	// It is called before the run is done for those who wait, and may be called again.
	// An error is logged and the run ends all the same: a record is not a result. nil
	// keeps none.
	Record func(ctx context.Context, r workflows.Run) error

	Volumes          []corev1.Volume
	VolumeMounts     []corev1.VolumeMount
	ImagePullSecrets []corev1.LocalObjectReference
	NodeSelector     map[string]string
	Tolerations      []corev1.Toleration

	// Parallelism bounds how many pods of one fan-out exist at once; 0 means 4.
	Parallelism int32
	// KeepSucceeded and KeepFailed are how long finished runs stay; 0 means a day
	// and a week.
	KeepSucceeded, KeepFailed time.Duration
	// Resync is after how long everything is looked at although no change was seen;
	// 0 means 30 s.
	Resync time.Duration
	Clock  clock.Clock  // nil means the real one
	Logger *slog.Logger // nil means none
}

func (c Config) complete() (Config, error) {
	if c.Client == nil || c.Namespace == "" || c.Store == "" {
		return c, schemas.Errorf(schemas.CodeInvalidConfig, "batch submitter: a client, a namespace and the store's URL must be given")
	}
	setDefault(&c.Name, partOf)
	setDefault(&c.Parallelism, 4)
	setDefault(&c.KeepSucceeded, 24*time.Hour)
	setDefault(&c.KeepFailed, 7*24*time.Hour)
	setDefault(&c.Resync, 30*time.Second)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, p := range c.Pipelines {
		if err := p.Validate(); err != nil {
			return c, err
		}
		for i := range p.Steps {
			s := &p.Steps[i]
			if c.Jobs[s.JobName()].Image == "" {
				return c, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %q needs an image for the program %s", p.Name, s.Name, s.JobName())
			}
			if s.FanOut != "" && c.Shards == nil {
				return c, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: step %q fans out, so that Shards must be given", p.Name, s.Name)
			}
		}
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

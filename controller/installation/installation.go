// Package installation reads installation.yaml, in which a chart tells the programs
// that start runs what they have to know of one installation. The controller and the
// API read the same file.
package installation

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Path is where the chart puts the file.
const Path = "/etc/self-scaling/config/installation.yaml"

// Installation is the content of the file. Name and Engine must be given, and Jobs
// where the engine is jobs; the zero values of all other fields work.
type Installation struct {
	// Name is the installation's: objects are named Name-pipeline.
	Name string `json:"name"`
	// Engine is what runs the pipelines.
	Engine Engine `json:"engine"`
	// Labels are put on every object that is made for a run.
	Labels map[string]string `json:"labels,omitempty"`
	// Schedules says when pipelines run. Where the engine is argo, CronWorkflows
	// start them, and the controller only makes up for slots that none has.
	Schedules Schedules `json:"schedules"`
	// Prometheus is the URL of the server that the collector reads usage from;
	// empty where it has the controller's own readings.
	Prometheus string `json:"prometheus,omitempty"`
	// Backfill is how far back the very first run asks Prometheus for usage; 0
	// leaves it to the schedules.
	Backfill schemas.Duration `json:"backfill,omitempty"`
	// Training says when a training is started that no schedule asks for.
	Training Training `json:"training"`
	// Retention says what the store keeps.
	Retention Retention `json:"retention,omitzero"`

	// Parallelism bounds how many pods of one run exist at once; 0 means 4.
	Parallelism int32 `json:"parallelism,omitempty"`
	// Jobs says how the steps' programs run, by the names of the programs, and what
	// follows holds for all of them. Where the engine is argo, the
	// WorkflowTemplates say so instead.
	Jobs             map[string]Job                `json:"jobs,omitempty"`
	Env              []corev1.EnvVar               `json:"env,omitempty"`
	EnvFrom          []corev1.EnvFromSource        `json:"envFrom,omitempty"`
	Volumes          []corev1.Volume               `json:"volumes,omitempty"`
	VolumeMounts     []corev1.VolumeMount          `json:"volumeMounts,omitempty"`
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	NodeSelector     map[string]string             `json:"nodeSelector,omitempty"`
	Tolerations      []corev1.Toleration           `json:"tolerations,omitempty"`
}

// Engine is what runs the pipelines.
type Engine string

// The engines.
const (
	Argo Engine = "argo" // Argo Workflows
	Jobs Engine = "jobs" // plain Kubernetes Jobs
)

// Schedules are the schedules of the pipelines that have one. One that is left out
// never runs by itself.
type Schedules struct {
	// Timezone is an IANA name; empty means Etc/UTC.
	Timezone string    `json:"timezone,omitempty"`
	Collect  *Schedule `json:"collect,omitempty"`
	Train    *Schedule `json:"train,omitempty"`
	Infer    *Schedule `json:"infer,omitempty"`
}

// Schedule says when a pipeline runs.
type Schedule struct {
	Enabled bool `json:"enabled"`
	// Cron holds expressions of five fields.
	Cron []string `json:"cron"`
	// StartingDeadlineSeconds is how late a run that was missed is made up for; 0
	// means 600.
	StartingDeadlineSeconds int64 `json:"startingDeadlineSeconds,omitempty"`
	// Suspend keeps the pipeline from being started until it is false again.
	Suspend bool `json:"suspend,omitempty"`
}

// Deadline returns StartingDeadlineSeconds as a duration, or its default.
func (s *Schedule) Deadline() time.Duration {
	return time.Duration(cmp.Or(s.StartingDeadlineSeconds, 600)) * time.Second
}

// Training says when a training is started that no schedule asks for: when a component
// first has enough history, and when forecasts are no longer better than what was a day
// before.
type Training struct {
	// OnDemand is true where it is left out.
	OnDemand *bool `json:"onDemand,omitempty"`
	// Interval is the least time between two trainings of which the second was not
	// scheduled; 0 means 6 hours.
	Interval schemas.Duration `json:"interval,omitempty"`
}

// Retention says for how long the store keeps what only the past needs. Forecasts and
// decisions are kept for good.
type Retention struct {
	// Enabled is true where it is left out. Without, nothing is ever deleted.
	Enabled *bool `json:"enabled,omitempty"`
	// Cron says when the rest is deleted, in the time zone of the schedules; empty
	// means at half past two at night.
	Cron []string `json:"cron,omitempty"`
	// Models is how many of the newest trainings are kept; 0 means 31.
	Models int `json:"models,omitempty"`
	// Runs is for how long the records of runs and their intermediate files are kept; 0
	// means 14 days.
	Runs schemas.Duration `json:"runs,omitempty"`
	// Grace is the least age of what is deleted; 0 means 2 days.
	Grace schemas.Duration `json:"grace,omitempty"`
}

// Sweep returns what the store keeps and when the rest is deleted, false where
// nothing ever is.
func (i *Installation) Sweep() (artifact.SweepOptions, schedule.Schedule, bool, error) {
	r := &i.Retention
	o := artifact.DefaultSweepOptions()
	if r.Enabled != nil && !*r.Enabled {
		return o, schedule.Schedule{}, false, nil
	}
	cron := r.Cron
	if len(cron) == 0 {
		cron = []string{"30 2 * * *"}
	}
	s, err := schedule.Parse(cron, i.Schedules.Timezone)
	if err != nil {
		return o, s, false, invalid("retention: %w", err)
	}
	if r.Models < 0 {
		return o, s, false, invalid("retention.models must be at least 1, or 0 for %d, but is %d", o.Heads[schemas.ModelsHead], r.Models)
	}
	o.Heads[schemas.ModelsHead] = cmp.Or(r.Models, o.Heads[schemas.ModelsHead])
	o.Runs, o.Grace = cmp.Or(time.Duration(r.Runs), o.Runs), cmp.Or(time.Duration(r.Grace), o.Grace)
	if o.Runs < o.Grace {
		return o, s, false, invalid("retention.runs must be at least retention.grace, %s, but is %s", o.Grace, o.Runs)
	}
	if err := o.Validate(); err != nil {
		return o, s, false, invalid("retention: %w", err)
	}
	return o, s, true, nil
}

// Job says how the program of a step runs.
type Job struct {
	Image           string                      `json:"image"`
	ImagePullPolicy corev1.PullPolicy           `json:"imagePullPolicy,omitempty"`
	ServiceAccount  string                      `json:"serviceAccount,omitempty"`
	Args            []string                    `json:"args,omitempty"` // before those of the pipeline
	Resources       corev1.ResourceRequirements `json:"resources,omitzero"`
	// Timeout ends an attempt; 0 means never.
	Timeout schemas.Duration `json:"timeout,omitempty"`
}

// Read returns the content of a file. It returns schemas.CodeInvalidConfig where the
// file cannot be read, has a key that is not known or breaks a rule.
func Read(path string) (*Installation, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "installation: %w", err)
	}
	i, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("installation %s: %w", path, err)
	}
	return i, nil
}

// Parse reads the content of the file.
func Parse(data []byte) (*Installation, error) {
	var i Installation
	if err := yaml.UnmarshalStrict(data, &i); err != nil {
		return nil, schemas.WithCode(schemas.CodeInvalidConfig, err)
	}
	return &i, i.Validate()
}

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// The limits of the fields that have one.
const (
	maxName        = 36 // leaves room for a pipeline and what Argo adds
	maxParallelism = 1000
	maxBackfill    = 800 * 24 * time.Hour
)

// Validate reports the first field that breaks a rule.
func (i *Installation) Validate() error {
	if len(i.Name) > maxName || !validName.MatchString(i.Name) {
		return invalid("name must be 1 to %d lower-case letters, digits and '-', beginning and ending with a letter or a digit, but is %q", maxName, i.Name)
	}
	if i.Engine != Argo && i.Engine != Jobs {
		return invalid("engine must be argo or jobs, but is %q", i.Engine)
	}
	if _, err := i.Plans(); err != nil {
		return err
	}
	if i.Prometheus != "" {
		// The value is not repeated: somebody may have put a password into it.
		u, err := url.Parse(i.Prometheus)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return invalid("prometheus must be a URL as http://prometheus.monitoring:9090, without a user")
		}
	}
	if b := time.Duration(i.Backfill); b < 0 || b > maxBackfill {
		return invalid("backfill must be from 0s to %s, but is %s", maxBackfill, b)
	}
	if i.Backfill > 0 && i.Prometheus == "" {
		return invalid("backfill must be 0s where there is no prometheus to ask, but is %s", i.Backfill)
	}
	if d := time.Duration(i.Training.Interval); d != 0 && (d < time.Hour || d > 7*24*time.Hour) {
		return invalid("training.interval must be from 1h to 168h, but is %s", d)
	}
	if _, _, _, err := i.Sweep(); err != nil {
		return err
	}
	if i.Parallelism < 0 || i.Parallelism > maxParallelism {
		return invalid("parallelism must be from 1 to %d, or 0 for 4, but is %d", maxParallelism, i.Parallelism)
	}
	return i.validateJobs()
}

func (i *Installation) validateJobs() error {
	programs := []string{workflows.CollectorJob, workflows.DatasetJob, workflows.TrainerJob, workflows.InferenceJob}
	for _, name := range slices.Sorted(maps.Keys(i.Jobs)) {
		j := i.Jobs[name]
		switch {
		case !slices.Contains(programs, name):
			return invalid("jobs must be those of %v, but has %q", programs, name)
		case j.Image == "":
			return invalid("jobs.%s.image must be given", name)
		case j.Timeout < 0:
			return invalid("jobs.%s.timeout must not be negative, but is %s", name, j.Timeout)
		}
		switch j.ImagePullPolicy {
		case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		default:
			return invalid("jobs.%s.imagePullPolicy must be Always, IfNotPresent or Never, but is %q", name, j.ImagePullPolicy)
		}
	}
	for _, name := range programs {
		if _, ok := i.Jobs[name]; !ok && i.Engine == Jobs {
			return invalid("jobs.%s must be given where the engine is jobs", name)
		}
	}
	return nil
}

// Plan is the schedule of one pipeline.
type Plan struct {
	Schedule schedule.Schedule
	Deadline time.Duration
	Suspend  bool
}

// Plans returns the schedules that are enabled, by pipeline.
func (i *Installation) Plans() (map[string]Plan, error) {
	plans := map[string]Plan{}
	for _, x := range []struct {
		pipeline string
		s        *Schedule
	}{{"collect", i.Schedules.Collect}, {"train", i.Schedules.Train}, {"infer", i.Schedules.Infer}} {
		if x.s == nil || !x.s.Enabled {
			continue
		}
		s, err := schedule.Parse(x.s.Cron, i.Schedules.Timezone)
		if err != nil {
			return nil, invalid("schedules.%s: %w", x.pipeline, err)
		}
		// A run is found again for a day, so that no slot older than that may be made up
		// for.
		if d := x.s.StartingDeadlineSeconds; d < 0 || d > 12*60*60 {
			return nil, invalid("schedules.%s.startingDeadlineSeconds must be from 1 to 43200, or 0 for 600, but is %d", x.pipeline, d)
		}
		plans[x.pipeline] = Plan{Schedule: s, Deadline: x.s.Deadline(), Suspend: x.s.Suspend}
	}
	return plans, nil
}

func invalid(format string, args ...any) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, format, args...)
}

package argo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Labels of everything that is rendered or submitted here, and of the Workflows
// that come of it.
const (
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelPipeline  = "self-scaling.github.io/pipeline"
	partOf         = "self-scaling"
)

// Annotations that Argo's UI and executor read.
const (
	annotationTitle       = "workflows.argoproj.io/title"
	annotationDescription = "workflows.argoproj.io/description"
	annotationProgress    = "workflows.argoproj.io/progress"
	annotationDisplayName = "workflows.argoproj.io/display-name"
)

const (
	apiVersion = "argoproj.io/v1alpha1"
	entrypoint = "main" // the template that is the graph

	// The templates of what runs at the end, and its program.
	exitHandler    = "exit"
	reportTemplate = "report"
	reportProgram  = "controller"

	runIDParameter    = "run-id"
	logLevelParameter = "log-level"
	traceParameter    = "traceparent"
	nowParameter      = "now"
	shardsParameter   = "shards" // output of a step that is fanned out over
	shardParameter    = "shard"  // input of a step that fans out
	runParameter      = "run"    // the run-id, from a step that is fanned out over to those behind it

	// shardsFile is where a step that is fanned out over writes the list of
	// shard ids.
	shardsFile = "/tmp/shards.json"
	// runFile is where it writes the run-id.
	runFile = "/tmp/run"
	// user is who the steps run as. Images FROM scratch have no users; any
	// number but 0 will do.
	user = 65532
)

// TemplateName returns the name of the WorkflowTemplate of a pipeline.
func (o Options) TemplateName(pipeline string) string {
	return cmp.Or(o.Name, partOf) + "-" + pipeline
}

// Template renders a pipeline. It returns schemas.CodeInvalidConfig where the
// pipeline or the options break a rule.
func Template(p workflows.Pipeline, o Options) (*wfv1.WorkflowTemplate, error) {
	o, err := o.complete(&p)
	if err != nil {
		return nil, err
	}
	r := renderer{o: o, p: &p, labels: o.labels(p.Name)}
	spec := wfv1.WorkflowSpec{
		Entrypoint:         entrypoint,
		Arguments:          r.arguments(),
		ServiceAccountName: o.ServiceAccount,
		// A run ends in any case, and leaves the cluster again.
		ActiveDeadlineSeconds: ptr.To(seconds(cmp.Or(o.Deadlines[p.Name], deadlines[p.Name], time.Hour))),
		TTLStrategy: &wfv1.TTLStrategy{
			SecondsAfterSuccess: ptr.To(int32(seconds(o.KeepSucceeded))),
			SecondsAfterFailure: ptr.To(int32(seconds(o.KeepFailed))),
		},
		PodGC:           &wfv1.PodGC{Strategy: wfv1.PodGCOnPodSuccess, DeleteDelayDuration: "600s"},
		SecurityContext: podSecurity(),
		Synchronization: &wfv1.Synchronization{Mutexes: []*wfv1.Mutex{{Name: o.TemplateName(p.Name)}}},
		Parallelism:     ptr.To(o.Parallelism),
		PodMetadata:     &wfv1.Metadata{Labels: r.labels},
		WorkflowMetadata: &wfv1.WorkflowMetadata{
			Labels:      r.labels,
			Annotations: texts(&p),
		},
		Volumes:          append([]corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}, o.Volumes...),
		ImagePullSecrets: o.ImagePullSecrets,
		NodeSelector:     o.NodeSelector,
		Tolerations:      o.Tolerations,
		Templates:        append([]wfv1.Template{r.graph()}, r.steps()...),
	}
	if o.Report.Image != "" {
		spec.OnExit = exitHandler
		spec.Templates = append(spec.Templates, exit(), r.report())
	}
	if o.PatchExecutor {
		spec.PodSpecPatch = executorPatch()
	}
	return &wfv1.WorkflowTemplate{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "WorkflowTemplate"},
		ObjectMeta: metav1.ObjectMeta{
			Name: o.TemplateName(p.Name), Namespace: o.Namespace, Labels: r.labels,
			Annotations: texts(&p),
		},
		Spec: spec,
	}, nil
}

// texts are what Argo's UI shows of a pipeline.
func texts(p *workflows.Pipeline) map[string]string {
	return map[string]string{annotationTitle: p.Name, annotationDescription: p.Description}
}

// Cron renders what starts a pipeline on a schedule. The Workflows that it makes
// hold no more than the name of the template and what says which run they are.
func Cron(p workflows.Pipeline, o Options, s Schedule) (*wfv1.CronWorkflow, error) {
	o, err := o.complete(&p)
	if err != nil {
		return nil, err
	}
	if len(s.Schedules) == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: schedule must have at least one cron expression", p.Name)
	}
	for _, expression := range s.Schedules {
		if len(strings.Fields(expression)) != 5 {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline %s: schedule must be a cron expression of five fields, but is %q", p.Name, expression)
		}
	}
	c := &wfv1.CronWorkflow{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: "CronWorkflow"},
		ObjectMeta: metav1.ObjectMeta{Name: o.TemplateName(p.Name), Namespace: o.Namespace, Labels: o.labels(p.Name), Annotations: texts(&p)},
		Spec: wfv1.CronWorkflowSpec{
			Schedules:                  s.Schedules,
			Timezone:                   cmp.Or(s.Timezone, "Etc/UTC"),
			ConcurrencyPolicy:          wfv1.ForbidConcurrent,
			SuccessfulJobsHistoryLimit: ptr.To[int32](3),
			FailedJobsHistoryLimit:     ptr.To[int32](3),
			Suspend:                    s.Suspend,
			WorkflowMetadata:           &metav1.ObjectMeta{Labels: o.labels(p.Name)},
			WorkflowSpec:               wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: o.TemplateName(p.Name)}},
		},
	}
	if s.StartingDeadline > 0 {
		c.Spec.StartingDeadlineSeconds = ptr.To(seconds(s.StartingDeadline))
	}
	return c, nil
}

// Render returns the manifests of pipelines as a YAML stream: of each its
// WorkflowTemplate and, where it has a schedule, its CronWorkflow.
func Render(pipelines []workflows.Pipeline, o Options, schedules map[string]Schedule) ([]byte, error) {
	var stream bytes.Buffer
	add := func(object any) error {
		doc, err := Encode(object)
		if err != nil {
			return err
		}
		if stream.Len() > 0 {
			stream.WriteString("---\n")
		}
		stream.Write(doc)
		return nil
	}
	for _, p := range pipelines {
		t, err := Template(p, o)
		if err == nil {
			err = add(t)
		}
		if err != nil {
			return nil, err
		}
		s, ok := schedules[p.Name]
		if !ok {
			continue
		}
		c, err := Cron(p, o, s)
		if err == nil {
			err = add(c)
		}
		if err != nil {
			return nil, err
		}
	}
	return stream.Bytes(), nil
}

// Encode returns an object as YAML, without the status and the times that only a
// server sets.
func Encode(object any) ([]byte, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInternal, "encode manifest: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, schemas.Errorf(schemas.CodeInternal, "encode manifest: %w", err)
	}
	delete(fields, "status")
	prune(fields)
	out, err := yaml.Marshal(fields)
	return out, schemas.WithCode(schemas.CodeInternal, err)
}

// prune drops what encoding/json leaves of fields that were not set: nulls, empty
// names, and structures that are empty all through. An emptyDir is meant to be
// empty.
func prune(fields map[string]any) {
	for name, value := range fields {
		switch v := value.(type) {
		case nil:
			delete(fields, name)
		case string:
			if name == "name" && v == "" {
				delete(fields, name)
			}
		case map[string]any:
			if prune(v); len(v) == 0 && name != "emptyDir" {
				delete(fields, name)
			}
		case []any:
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					prune(m)
				}
			}
		}
	}
}

// renderer renders one pipeline.
type renderer struct {
	o      Options
	p      *workflows.Pipeline
	labels map[string]string
}

func (o Options) labels(pipeline string) map[string]string {
	labels := maps.Clone(o.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelPartOf] = partOf
	labels[LabelInstance] = o.Name
	labels[LabelComponent] = "workflows"
	labels[LabelPipeline] = pipeline
	return labels
}

// arguments are what the submit form of Argo's UI asks for.
func (r renderer) arguments() wfv1.Arguments {
	params := []wfv1.Parameter{{
		Name: runIDParameter, Value: anyString(""),
		Description: anyString("id of the run; repeating a run with the same id changes nothing. Empty: made of the scheduled time, else the Workflow's name"),
	}}
	for _, p := range r.p.Parameters {
		params = append(params, wfv1.Parameter{Name: p.Name, Value: anyString(p.Default), Description: anyString(p.Description)})
	}
	params = append(params, wfv1.Parameter{
		Name: logLevelParameter, Value: anyString("info"), Description: anyString("least level that the steps log"),
		Enum: []wfv1.AnyString{"debug", "info", "warn", "error"},
	}, wfv1.Parameter{
		Name: traceParameter, Value: anyString(""),
		Description: anyString("W3C trace context that the steps belong to, where their traces are collected. Empty: a trace for each step"),
	})
	return wfv1.Arguments{Parameters: params}
}

// graph is the template that says what follows what.
func (r renderer) graph() wfv1.Template {
	dag := &wfv1.DAGTemplate{
		// A step or a shard that fails leaves those beside it alone.
		FailFast: ptr.To(false),
	}
	for i := range r.p.Steps {
		s := &r.p.Steps[i]
		task := wfv1.DAGTask{Name: s.Name, Template: s.Name, Dependencies: s.Requires()}
		if s.FanOut != "" {
			task.WithParam = fmt.Sprintf("{{tasks.%s.outputs.parameters.%s}}", s.FanOut, shardsParameter)
			task.Arguments.Parameters = []wfv1.Parameter{{Name: shardParameter, Value: anyString("{{item}}")}}
		}
		if source := r.source(s); source != "" {
			task.Arguments.Parameters = append(task.Arguments.Parameters, wfv1.Parameter{
				Name: runParameter, Value: anyString(fmt.Sprintf("{{tasks.%s.outputs.parameters.%s}}", source, runParameter)),
			})
		}
		dag.Tasks = append(dag.Tasks, task)
	}
	return wfv1.Template{Name: entrypoint, DAG: dag}
}

func (r renderer) steps() []wfv1.Template {
	var out []wfv1.Template
	for i := range r.p.Steps {
		out = append(out, r.step(&r.p.Steps[i]))
	}
	return out
}

func (r renderer) step(s *workflows.Step) wfv1.Template {
	job := r.o.Jobs[s.JobName()]
	t := r.container(s.Name, s.JobName(), job, r.args(s, job))
	t.Metadata.Annotations = map[string]string{annotationProgress: "0/1"}
	t.RetryStrategy = r.retry(s.Attempts)
	t.Container.Env = append(slices.Clip(t.Container.Env), corev1.EnvVar{Name: workflows.TraceVariable, Value: "{{workflow.parameters." + traceParameter + "}}"})
	if s.FanOut != "" {
		t.Inputs.Parameters = []wfv1.Parameter{{Name: shardParameter}}
		// Argo ends a node in an error whose name has anything but letters, digits,
		// '-' and '.', or more than 63 of them.
		t.Metadata.Annotations[annotationDisplayName] = s.Name + "-{{inputs.parameters." + shardParameter + "}}"
	}
	if r.source(s) != "" {
		t.Inputs.Parameters = append(t.Inputs.Parameters, wfv1.Parameter{Name: runParameter})
	}
	if fannedOut(r.p, s.Name) {
		// There is no default: a step that ended well without its list is broken,
		// and nothing may go on as if there had been no shard.
		t.Outputs.Parameters = []wfv1.Parameter{
			{Name: shardsParameter, ValueFrom: &wfv1.ValueFrom{Path: shardsFile}},
			{Name: runParameter, ValueFrom: &wfv1.ValueFrom{Path: runFile}},
		}
	}
	return t
}

// source returns the step that is fanned out over and that a step comes after, ""
// where there is none. What such a step has made is kept under its run-id, and those
// behind it must look there: a Workflow that is resubmitted with --memoized has a name
// of its own, which may be its run-id, but takes over the steps that succeeded.
func (r renderer) source(s *workflows.Step) string {
	for _, name := range s.Requires() {
		if fannedOut(r.p, name) {
			return name
		}
		for i := range r.p.Steps {
			if r.p.Steps[i].Name == name {
				if source := r.source(&r.p.Steps[i]); source != "" {
					return source
				}
			}
		}
	}
	return ""
}

// container is a template that runs a program.
func (r renderer) container(name, program string, job Job, args []string) wfv1.Template {
	t := wfv1.Template{
		Name:               name,
		Metadata:           wfv1.Metadata{Labels: map[string]string{"self-scaling.github.io/step": name}},
		ServiceAccountName: job.ServiceAccount,
		Container: &corev1.Container{
			Image:           job.Image,
			ImagePullPolicy: job.ImagePullPolicy,
			// Always set: without it the controller asks the image's registry.
			Command:         []string{"/bin/" + program},
			Args:            args,
			Env:             r.o.Env,
			EnvFrom:         r.o.EnvFrom,
			Resources:       job.Resources,
			VolumeMounts:    append([]corev1.VolumeMount{{Name: "tmp", MountPath: path.Dir(shardsFile)}}, r.o.VolumeMounts...),
			SecurityContext: containerSecurity(),
		},
	}
	if job.Timeout > 0 {
		t.ActiveDeadlineSeconds = ptr.To(intstr.FromInt32(int32(seconds(job.Timeout))))
	}
	return t
}

// exit is what runs at the end of every run. Argo lets a run fail with its exit
// handler; a record that could not be kept is no reason for that.
func exit() wfv1.Template {
	return wfv1.Template{Name: exitHandler, Steps: []wfv1.ParallelSteps{{Steps: []wfv1.WorkflowStep{
		{Name: reportTemplate, Template: reportTemplate, ContinueOn: &wfv1.ContinueOn{Failed: true, Error: true}},
	}}}}
}

// reportAttempts is how often the record of a run is tried to be kept.
const reportAttempts = 4

// report keeps the record of a run. It is told what Argo knows by then: it runs
// before the Workflow itself says how it ended.
func (r renderer) report() wfv1.Template {
	args := []string{
		"report", "-store=" + r.o.Store, "-run=" + runIDExpression(r.p.Name), "-log-format=json", "-log-level={{workflow.parameters." + logLevelParameter + "}}",
		"-pipeline=" + r.p.Name, "-status={{workflow.status}}", "-failures={{workflow.failures}}",
		"-submitted={{workflow.creationTimestamp.RFC3339}}",
	}
	for _, p := range r.p.Parameters {
		args = append(args, "-parameter="+p.Name+"={{workflow.parameters."+p.Name+"}}")
	}
	t := r.container(reportTemplate, reportProgram, r.o.Report, append(args, r.o.Report.Args...))
	t.RetryStrategy = r.retry(reportAttempts)
	return t
}

// args are the common flags, those of the installation, those of the step, and those
// of the run's parameters that concern it, in the order of their names. A parameter
// without a value is told too, as nothing: an argument cannot be left out.
func (r renderer) args(s *workflows.Step, job Job) []string {
	run := runIDExpression(r.p.Name)
	if r.source(s) != "" {
		run = "{{inputs.parameters." + runParameter + "}}"
	}
	args := []string{"-store=" + r.o.Store, "-run=" + run, "-log-format=json", "-log-level={{workflow.parameters." + logLevelParameter + "}}"}
	if s.FanOut != "" {
		args = append(args, "-shard={{inputs.parameters."+shardParameter+"}}")
	}
	if fannedOut(r.p, s.Name) {
		args = append(args, "-shards-file="+shardsFile, "-run-file="+runFile)
	}
	args = append(append(args, job.Args...), s.Args...)
	for _, name := range r.p.ParametersOf(s) {
		value := "{{workflow.parameters." + name + "}}"
		if name == nowParameter {
			value = nowExpression
		}
		args = append(args, "-"+name+"="+value)
	}
	return args
}

// runIDExpression computes what [Identity] does. Each access to the scheduled time,
// which only children of a CronWorkflow have, is guarded, because Argo takes one
// that is not for an error.
func runIDExpression(pipeline string) string {
	return "{{=workflow.parameters['run-id'] != '' ? workflow.parameters['run-id'] : " +
		"(workflow.scheduledTime ?? '') != '' ? '" + pipeline + "-' + replace(replace(workflow.scheduledTime ?? '', ':', ''), '+', '_') : workflow.name}}"
}

// nowExpression is the instant of the run, the same for all its steps and for each
// of their attempts.
const nowExpression = "{{=workflow.parameters.now != '' ? workflow.parameters.now : workflow.scheduledTime ?? workflow.creationTimestamp.RFC3339}}"

// retry tries a step again after a temporary failure. Argo calls it an Error where
// not the program failed but the platform under it.
func (r renderer) retry(attempts int) *wfv1.RetryStrategy {
	if attempts <= 1 {
		return nil
	}
	return &wfv1.RetryStrategy{
		Limit:       ptr.To(intstr.FromInt32(int32(attempts - 1))),
		RetryPolicy: wfv1.RetryPolicyAlways,
		Expression:  fmt.Sprintf("lastRetry.status == 'Error' || asInt(lastRetry.exitCode) == %d", workflows.ExitTemporary),
		Backoff: &wfv1.Backoff{
			Duration: r.o.Backoff.String(), Factor: ptr.To(intstr.FromInt32(2)), Cap: r.o.MaxBackoff.String(),
		},
	}
}

func fannedOut(p *workflows.Pipeline, step string) bool {
	return slices.ContainsFunc(p.Steps, func(s workflows.Step) bool { return s.FanOut == step })
}

func podSecurity() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](user), RunAsGroup: ptr.To[int64](user), FSGroup: ptr.To[int64](user),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// executorPatch is the strategic merge patch for Argo's own containers.
func executorPatch() string {
	const security = `"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}}`
	return `{"initContainers":[{"name":"init",` + security + `}],"containers":[{"name":"wait",` + security + `}]}`
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

package batch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/self-scaling/self-scaling/workflows"
)

// Labels of the objects.
const (
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelPipeline  = "self-scaling.github.io/pipeline"
	// LabelRun is the name of the run's ConfigMap.
	LabelRun  = "self-scaling.github.io/run"
	LabelStep = "self-scaling.github.io/step"
	partOf    = "self-scaling"
)

const (
	// container is the name of the one container of a pod.
	container = "main"
	// user is who steps run as. Images FROM scratch have no users; any number but 0
	// will do.
	user = 65532
)

// runName returns the name of a run's ConfigMap: what can be read of the run-id, and a
// hash that tells it from others. Names of Jobs are at most 63 characters, so that it
// leaves room for that of a step.
func runName(runID string) string {
	return workflows.ObjectName(runID, 24)
}

// jobName returns the name of a step's Job. A step with a long name is told by its
// place.
func jobName(run string, p *workflows.Pipeline, step string) string {
	if len(run)+1+len(step) <= 63 {
		return run + "-" + step
	}
	return fmt.Sprintf("%s-step-%d", run, slices.IndexFunc(p.Steps, func(s workflows.Step) bool { return s.Name == step }))
}

func (c *Config) labels(pipeline, run string) map[string]string {
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelPartOf], labels[LabelInstance], labels[LabelComponent] = partOf, c.Name, "workflows"
	labels[LabelPipeline], labels[LabelRun] = pipeline, run
	return labels
}

// job renders a step. Shards are nil where the step does not fan out.
func (c *Config) job(owner *corev1.ConfigMap, p *workflows.Pipeline, s *workflows.Step, runID string, parameters map[string]string, shards []string) *batchv1.Job {
	program := c.Jobs[s.JobName()]
	labels := c.labels(p.Name, owner.Name)
	labels[LabelStep] = s.Name
	args := []string{"-store=" + c.Store, "-run=" + runID, "-log-format=json"}
	if s.FanOut != "" {
		// The pods of an Indexed Job differ in their index alone, which the kubelet
		// puts in.
		args = append(args, "-shards="+strings.Join(shards, ","), "-shard-index=$(JOB_COMPLETION_INDEX)")
	}
	args = append(append(args, program.Args...), s.Args...)
	const now = "now"
	if _, given := parameters[now]; !given && slices.ContainsFunc(p.Parameters, func(x workflows.Parameter) bool { return x.Name == now }) {
		// One instant for all steps of the run, and for each of their attempts.
		args = append(args, "-"+now+"="+owner.CreationTimestamp.UTC().Format(time.RFC3339))
	}
	args = append(args, p.Flags(s, parameters)...)
	env := c.Env
	if trace := owner.Annotations[annotationTrace]; trace != "" {
		env = append(slices.Clip(env), corev1.EnvVar{Name: workflows.TraceVariable, Value: trace})
	}
	pod := corev1.PodSpec{
		RestartPolicy:      corev1.RestartPolicyNever, // or the exit code would be lost
		ServiceAccountName: program.ServiceAccount,
		EnableServiceLinks: ptr.To(false),
		ImagePullSecrets:   c.ImagePullSecrets,
		NodeSelector:       c.NodeSelector,
		Tolerations:        c.Tolerations,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](user), RunAsGroup: ptr.To[int64](user), FSGroup: ptr.To[int64](user),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Volumes: append([]corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}, c.Volumes...),
		Containers: []corev1.Container{{
			Name: container, Image: program.Image, ImagePullPolicy: program.ImagePullPolicy,
			Command: []string{"/bin/" + s.JobName()}, Args: args, Env: env, EnvFrom: c.EnvFrom, Resources: program.Resources,
			VolumeMounts: append([]corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}, c.VolumeMounts...),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	if program.Timeout > 0 {
		pod.ActiveDeadlineSeconds = ptr.To(int64(program.Timeout / time.Second))
	}
	retries, fail := ptr.To(int32(max(s.Attempts, 1)-1)), batchv1.PodFailurePolicyActionFailJob
	spec := batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod}}
	if s.FanOut == "" {
		spec.BackoffLimit = retries
	} else {
		n := int32(len(shards))
		spec.CompletionMode, spec.Completions, spec.Parallelism = ptr.To(batchv1.IndexedCompletion), &n, ptr.To(min(n, c.Parallelism))
		spec.BackoffLimitPerIndex, fail = retries, batchv1.PodFailurePolicyActionFailIndex
	}
	spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
		{Action: fail, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: ptr.To(container), Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{workflows.ExitTemporary}}},
	}}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: jobName(owner.Name, p, s.Name), Namespace: c.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, Controller: ptr.To(true)}},
		},
		Spec: spec,
	}
}

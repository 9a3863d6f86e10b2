package chart_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
)

var rewrite = flag.Bool("rewrite", false, "write the generated files and the golden files again")

const chartDir = "../../charts/self-scaling"

// The programs of the steps, which are also the names of their values.
var programs = []string{workflows.CollectorJob, workflows.DatasetJob, workflows.TrainerJob, workflows.InferenceJob}

// hold compares a file with what it must be, or writes it.
func hold(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-is +must be); -rewrite takes it over:\n%s", path, diff)
	}
}

func TestWorkflowsAreThoseOfTheRenderer(t *testing.T) {
	for _, p := range workflows.Pipelines() {
		hold(t, filepath.Join(chartDir, "templates", "workflows", p.Name+".yaml"), template(t, p))
	}
}

func TestTheCustomResourceDefinitionIsThatOfTheSchemas(t *testing.T) {
	hold(t, filepath.Join(chartDir, "files", "scalingpolicies.yaml"), string(v1alpha1.CRD))
}

// template renders a pipeline for an installation that is all marks, and puts an
// expression of the chart's values in each mark's place.
func template(t *testing.T, p workflows.Pipeline) string {
	t.Helper()
	const mark = 770000000 // where a number must stand
	o := argo.Options{
		Name: "@name@", Namespace: "@namespace@", Labels: map[string]string{"@labels@": ""},
		Store: "$(STORE_URL)", Env: []corev1.EnvVar{{Name: "@stepEnv@"}},
		Volumes:          []corev1.Volume{{Name: "@stepVolumes@"}},
		VolumeMounts:     []corev1.VolumeMount{{Name: "@stepVolumeMounts@", MountPath: "@"}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "@imagePullSecrets@"}},
		NodeSelector:     map[string]string{"@nodeSelector@": ""},
		Tolerations:      []corev1.Toleration{{Key: "@tolerations@"}},
		ServiceAccount:   "@serviceAccount.workflows@",
		Parallelism:      mark + 1,
		Deadlines:        map[string]time.Duration{p.Name: (mark + 2) * time.Second},
		KeepSucceeded:    (mark + 3) * time.Second,
		KeepFailed:       (mark + 4) * time.Second,
		PatchExecutor:    true,
		Jobs:             map[string]argo.Job{},
	}
	numbers := []string{"", ".Values.workflows.parallelism", ".Values.workflows.deadlines." + p.Name, ".Values.workflows.ttl.succeeded", ".Values.workflows.ttl.failed",
		".Values.schedules." + p.Name + ".startingDeadlineSeconds"}
	for _, program := range programs {
		o.Jobs[program] = argo.Job{
			Image: "@image." + program + "@", ImagePullPolicy: "@pullPolicy@", ServiceAccount: "@serviceAccount." + program + "@",
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceName("@resources." + program + "@"): resource.MustParse("1")}},
			Args:      []string{"@args." + program + "@"}, Timeout: time.Duration(mark+len(numbers)) * time.Second,
		}
		numbers = append(numbers, ".Values."+program+".activeDeadlineSeconds")
	}
	o.Report = argo.Job{
		Image: "@image.controller@", ImagePullPolicy: "@pullPolicy@", ServiceAccount: o.ServiceAccount, Timeout: time.Duration(mark+len(numbers)) * time.Second,
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"@resources.workflows.report@": resource.MustParse("1")}},
	}
	numbers = append(numbers, ".Values.workflows.report.activeDeadlineSeconds")
	if p.Name == "full" { // what an installation without any history runs
		for i := range p.Parameters {
			if p.Parameters[i].Name == "backfill" {
				p.Parameters[i].Default = "@backfill@"
			}
		}
	}
	render := func(schedules map[string]argo.Schedule) string {
		stream, err := argo.Render([]workflows.Pipeline{p}, o, schedules)
		if err != nil {
			t.Fatal(err)
		}
		return string(stream)
	}
	schedules := map[string]argo.Schedule{}
	if _, ok := argo.Schedules()[p.Name]; ok {
		schedules[p.Name] = argo.Schedule{Schedules: []string{"@cron@ * * * *"}, Timezone: "@timezone@", StartingDeadline: (mark + 5) * time.Second, Suspend: true}
	}
	text := render(schedules)

	// What is Argo's stays Argo's.
	text = strings.NewReplacer("{{", "{{ `{{` }}", "}}", "{{ `}}` }}").Replace(text)
	// Marks that stand for a block take its place in the lines, with its indentation.
	block := func(pattern, expression string) {
		text = regexp.MustCompile(`(?m)^( *)`+pattern+`\n`).ReplaceAllStringFunc(text, func(lines string) string {
			indent := len(lines) - len(strings.TrimLeft(lines, " "))
			m := regexp.MustCompile(pattern).FindStringSubmatch(lines)
			e := expression
			for i, group := range m[1:] {
				e = strings.ReplaceAll(e, fmt.Sprint("$", i+1), group)
			}
			return strings.ReplaceAll(e, "INDENT", fmt.Sprint(indent)) + "\n"
		})
	}
	block(`'@labels@': ""`, `{{- include "self-scaling.labels" . | nindent INDENT }}`)
	block(`- name: '@stepEnv@'`, `{{- include "self-scaling.stepEnv" . | nindent INDENT }}`)
	block(`- mountPath: '@'\n *name: '@stepVolumeMounts@'`, `{{- include "self-scaling.stepVolumeMounts" . | nindent INDENT }}`)
	block(`- name: '@stepVolumes@'`, `{{- include "self-scaling.stepVolumes" . | nindent INDENT }}`)
	block(`imagePullSecrets:\n *- name: '@imagePullSecrets@'`, `{{- include "self-scaling.imagePullSecrets" . | nindent INDENT }}`)
	block(`nodeSelector:\n *'@nodeSelector@': ""`, "  {{- with .Values.workflows.nodeSelector }}\n  nodeSelector:\n    {{- toYaml . | nindent 4 }}\n  {{- end }}")
	block(`tolerations:\n *- key: '@tolerations@'`, "  {{- with .Values.workflows.tolerations }}\n  tolerations:\n    {{- toYaml . | nindent 4 }}\n  {{- end }}")
	block(`resources:\n *limits:\n *'@resources\.([\w.]+)@': "1"`, "      {{- with .Values.$1.resources }}\n      resources:\n        {{- toYaml . | nindent 8 }}\n      {{- end }}")
	block(`- '@args\.(\w+)@'`, `{{- include "self-scaling.args" (list . "$1") | nindent INDENT }}`)
	block(`- '@cron@ \* \* \* \*'`, `{{- toYaml .Values.schedules.`+p.Name+`.cron | nindent INDENT }}`)
	block(`suspend: true`, `  suspend: {{ .Values.schedules.`+p.Name+`.suspend }}`)
	block(`(podSpecPatch: .*)`, "  {{- if .Values.workflows.executorSecurityPatch }}\n  $1\n  {{- end }}")
	// The other marks stand for one value.
	text = regexp.MustCompile(`'?@image\.(\w+)@'?`).ReplaceAllString(text, `{{ include "self-scaling.image" (list . "$1") }}`)
	text = regexp.MustCompile(`'?@serviceAccount\.(\w+)@'?`).ReplaceAllString(text, `{{ include "self-scaling.serviceAccountName" (list . "$1") }}`)
	text = regexp.MustCompile(`'@name@(-\w+)?'`).ReplaceAllString(text, `{{ include "self-scaling.fullname" . }}$1`)
	text = strings.NewReplacer("'@namespace@'", "{{ .Release.Namespace }}", "'@pullPolicy@'", "{{ .Values.image.pullPolicy }}",
		"'@timezone@'", "{{ .Values.schedules.timezone }}", "'@backfill@'", `{{ include "self-scaling.backfill" . | quote }}`).Replace(text)
	for i, expression := range numbers {
		text = strings.ReplaceAll(text, fmt.Sprint(mark+i), "{{ "+expression+" | int64 }}")
	}
	if left := regexp.MustCompile(`@[\w.]+@|7700000\d\d`).FindAllString(text, -1); left != nil {
		t.Fatalf("marks %v of pipeline %s have no place in the chart", left, p.Name)
	}
	head := "{{- /* Generated from workflows/argo; test/chart holds the two equal. */}}\n{{- if eq (include \"self-scaling.argo\" .) \"true\" }}\n"
	if workflow, cron, ok := strings.Cut(text, "---\n"); ok {
		text = workflow + "{{- if .Values.schedules." + p.Name + ".enabled }}\n---\n" + cron + "{{- end }}\n"
	}
	return head + text + "{{- end }}\n"
}

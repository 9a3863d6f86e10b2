package chart_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/argoproj/argo-workflows/v3/workflow/templateresolution"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
)

// The versions of Argo whose CustomResourceDefinitions the manifests are held to,
// with the checksums of their modules.
var argoVersions = []struct{ module, version, sum string }{
	{"github.com/argoproj/argo-workflows/v3", "v3.7.18", ""}, // in go.sum
	{"github.com/argoproj/argo-workflows/v4", "v4.1.4", "h1:/+7ZnKumIwBmS6z+3zeWvTnhW8c6nun0dLrtcBBRz0A="},
}

// definitions returns the schemas of a version by kind. The definitions lie in the
// module's folder; Argo 4 is not linked, so that go.mod does not name it.
func definitions(t *testing.T, module, version, sum string) map[string]*apiextensions.JSONSchemaProps {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir = t.TempDir() // outside of any module
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s@%s: %v\n%s", module, version, err, out)
	}
	var m struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if sum != "" && m.Sum != sum {
		t.Fatalf("checksum of %s@%s is %s, want %s", module, version, m.Sum, sum)
	}
	files, err := filepath.Glob(filepath.Join(m.Dir, "manifests/base/crds/full/argoproj.io_*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("there are the definitions %v, %v", files, err)
	}
	schemas := map[string]*apiextensions.JSONSchemaProps{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &crd); err != nil {
			t.Fatal(err)
		}
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
			t.Fatal(err)
		}
		schemas[crd.Spec.Names.Kind] = &internal
	}
	return schemas
}

// complaints says what an API server with a schema would: fields that break it, and
// fields that it would drop.
func complaints(t *testing.T, schema *apiextensions.JSONSchemaProps, object map[string]any) []string {
	t.Helper()
	validator, _, err := validation.NewSchemaValidator(schema)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range validation.ValidateCustomResource(field.NewPath(""), object, validator) {
		out = append(out, e.Error())
	}
	structural, err := structuralschema.NewStructural(schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pruning.PruneWithOptions(runtime.DeepCopyJSON(object), structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, "unknown field "+path)
	}
	return out
}

func TestManifestsFitTheDefinitionsOfBothArgos(t *testing.T) {
	submitted := submittedWorkflow(t)
	for _, v := range argoVersions {
		t.Run(v.version, func(t *testing.T) {
			schemas := definitions(t, v.module, v.version, v.sum)
			n := 0
			check := func(t *testing.T, o *unstructured.Unstructured) {
				schema, ok := schemas[o.GetKind()]
				if !ok {
					return
				}
				n++
				// As a server gets it: numbers and all.
				data, err := json.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				var object map[string]any
				if err := json.Unmarshal(data, &object); err != nil {
					t.Fatal(err)
				}
				for _, complaint := range complaints(t, schema, normalise(object).(map[string]any)) {
					t.Errorf("%s: %s", id(o), complaint)
				}
			}
			each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
				for _, o := range objects {
					check(t, o)
				}
			})
			check(t, submitted)
			if n < 40 {
				t.Errorf("only %d objects were looked at", n)
			}
			bad := find(t, mustRender(t, ""), "CronWorkflow", "self-scaling-train").DeepCopy()
			if err := unstructured.SetNestedField(bad.Object, "no", "spec", "suspended"); err != nil {
				t.Fatal(err)
			}
			if got := complaints(t, schemas["CronWorkflow"], bad.Object); len(got) != 1 || !strings.Contains(got[0], "suspended") {
				t.Errorf("complaints about an unknown field are %q", got)
			}
		})
	}
}

// normalise turns whole floating-point numbers, which is all that JSON knows, into
// integers, as an API server does.
func normalise(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = normalise(v[name])
		}
	case []any:
		for i := range v {
			v[i] = normalise(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

func mustRender(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	objects, _, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// submittedWorkflow is what the submitter makes.
func submittedWorkflow(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	s, err := argo.New(argo.Config{Client: client, Namespace: namespace, Pipelines: workflows.Pipelines()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "train", RunID: "night-7", Parameters: map[string]string{"now": "2026-03-01T00:05:00Z"}}); err != nil {
		t.Fatal(err)
	}
	o, err := client.Resource(argo.Workflows).Namespace(namespace).Get(t.Context(), argo.WorkflowName("night-7"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// templates is where Argo's validation finds WorkflowTemplates.
type templates map[string]*wfv1.WorkflowTemplate

func (g templates) Get(name string) (*wfv1.WorkflowTemplate, error) {
	if w, ok := g[name]; ok {
		return w, nil
	}
	return nil, fmt.Errorf("no WorkflowTemplate %s", name)
}

func workflowTemplates(t *testing.T, objects []*unstructured.Unstructured) templates {
	t.Helper()
	all := templates{}
	for _, o := range objects {
		if o.GetKind() == "WorkflowTemplate" {
			var w wfv1.WorkflowTemplate
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &w); err != nil {
				t.Fatal(err)
			}
			all[w.Name] = &w
		}
	}
	return all
}

func TestArgoItselfAcceptsTheWorkflows(t *testing.T) {
	none := &templateresolution.NullClusterWorkflowTemplateGetter{}
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		all := workflowTemplates(t, objects)
		for _, w := range all {
			if err := validate.ValidateWorkflowTemplate(all, none, w, nil, validate.ValidateOpts{Lint: true}); err != nil {
				t.Errorf("%s: %v", w.Name, err)
			}
		}
		for _, o := range objects {
			if o.GetKind() != "CronWorkflow" {
				continue
			}
			var c wfv1.CronWorkflow
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &c); err != nil {
				t.Fatal(err)
			}
			if err := validate.ValidateCronWorkflow(t.Context(), all, none, &c, nil); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	})
	var w wfv1.Workflow
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(submittedWorkflow(t).Object, &w); err != nil {
		t.Fatal(err)
	}
	if err := validate.ValidateWorkflow(workflowTemplates(t, mustRender(t, "")), none, &w, nil, validate.ValidateOpts{}); err != nil {
		t.Error(err)
	}
}

// The expressions in the arguments, evaluated by Argo's own engine with the
// variables that its controller sets, and what the submitter takes for the run's
// identity.
func TestStepsAndSubmitterAgreeOnTheRun(t *testing.T) {
	template := workflowTemplates(t, mustRender(t, ""))["self-scaling-train"]
	const scheduled = "workflows.argoproj.io/scheduled-time"
	for _, tt := range []struct {
		name       string
		parameters map[string]string
		scheduled  string
		wantNow    string
	}{
		{"submitted with a run-id and an instant", map[string]string{"run-id": "night-7", "now": "2026-03-01T00:00:00Z"}, "", "2026-03-01T00:00:00Z"},
		{"submitted with a run-id", map[string]string{"run-id": "night-7", "now": ""}, "", "2026-03-01T00:05:02Z"},
		{"submitted by hand", map[string]string{"run-id": "", "now": ""}, "", "2026-03-01T00:05:02Z"},
		{"scheduled", map[string]string{"run-id": "", "now": ""}, "2026-03-01T00:05:00Z", "2026-03-01T00:05:00Z"},
		{"scheduled in another time zone", map[string]string{"run-id": "", "now": ""}, "2026-03-01T00:05:00+02:00", "2026-03-01T00:05:00+02:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "self-scaling-train-x7k2p"}, Spec: wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: template.Name}}}
			vars := map[string]any{
				"workflow.name": w.Name, "workflow.creationTimestamp": "2026-03-01T00:05:02Z", "workflow.creationTimestamp.RFC3339": "2026-03-01T00:05:02Z",
				"workflow.creationTimestamp.s": "1772323502", "workflow.parameters": "[]", "workflow.parameters.json": "[]", "workflow.parameters.log-level": "info",
			}
			for name, value := range tt.parameters {
				w.Spec.Arguments.Parameters = append(w.Spec.Arguments.Parameters, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(value)})
				vars["workflow.parameters."+name] = value
			}
			if tt.scheduled != "" {
				w.Annotations = map[string]string{scheduled: tt.scheduled}
				vars["workflow.scheduledTime"] = tt.scheduled
			}
			args, err := json.Marshal(template.GetTemplateByName("dataset").Container.Args)
			if err != nil {
				t.Fatal(err)
			}
			replaced, err := argotemplate.ReplaceStrictAny(string(args), vars, []string{"workflow"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := json.Unmarshal([]byte(replaced), &got); err != nil {
				t.Fatal(err)
			}
			want := []string{"-store=$(STORE_URL)", "-run=" + argo.Identity(w), "-log-format=json", "-log-level=info", "-shards-file=/tmp/shards.json", "-run-file=/tmp/run", "-now=" + tt.wantNow}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

// The chart with no values is the renderer with the options that the values stand
// for: no mark in the generated files has a wrong value in its place.
func TestTheChartRendersWhatTheRendererDoes(t *testing.T) {
	quantity := resource.MustParse
	key := func(env, key string) corev1.EnvVar {
		return corev1.EnvVar{Name: env, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "self-scaling-s3"}, Key: key}}}
	}
	trainValue := func(env, key string) corev1.EnvVar {
		return corev1.EnvVar{Name: env, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: cluster.TrainValuesName}, Key: key, Optional: ptr.To(true)}}}
	}
	job := func(name string, timeout time.Duration, cpu, request, limit string) argo.Job {
		return argo.Job{
			Image: "ghcr.io/self-scaling/" + name + ":0.1.0", ImagePullPolicy: corev1.PullIfNotPresent, ServiceAccount: "self-scaling-" + name, Timeout: timeout,
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": quantity(cpu), "memory": quantity(request)}, Limits: corev1.ResourceList{"memory": quantity(limit)},
			},
		}
	}
	withArgs := func(j argo.Job, args ...string) argo.Job {
		j.Args = append(args, "-namespace=scaling", "-labels=aeros,assist-iot,aeros-orchestrator,recommended")
		return j
	}
	report := job("controller", 2*time.Minute, "10m", "32Mi", "128Mi")
	report.ServiceAccount = "self-scaling-workflows"
	o := argo.Options{
		Namespace: namespace, Store: "$(STORE_URL)", ServiceAccount: "self-scaling-workflows", PatchExecutor: true, Report: report,
		Labels: map[string]string{"helm.sh/chart": "self-scaling-0.1.0", "app.kubernetes.io/name": "self-scaling", "app.kubernetes.io/version": "0.1.0", "app.kubernetes.io/managed-by": "Helm"},
		Env: []corev1.EnvVar{
			key("STORE_URL", "STORE_URL"), key("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
			trainValue("TRAIN_HISTORY_DAYS", "History_data"), trainValue("TRAIN_FUTURE_DAYS", "Future_data"),
		},
		Jobs: map[string]argo.Job{
			workflows.CollectorJob: withArgs(job("collector", 5*time.Minute, "50m", "64Mi", "256Mi"), "-cluster",
				"-controller=app.kubernetes.io/part-of=self-scaling,app.kubernetes.io/instance=self-scaling,app.kubernetes.io/component=controller"),
			workflows.DatasetJob:   job("dataset", 30*time.Minute, "100m", "256Mi", "1Gi"),
			workflows.TrainerJob:   job("trainer", time.Hour, "500m", "256Mi", "1Gi"),
			workflows.InferenceJob: withArgs(job("inference", 5*time.Minute, "100m", "128Mi", "512Mi"), "-cluster"),
		},
	}
	rendered := mustRender(t, "")
	for _, p := range workflows.Pipelines() {
		stream, err := argo.Render([]workflows.Pipeline{p}, o, argo.Schedules())
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(stream), "\n---\n") {
			var want map[string]any
			if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
				t.Fatal(err)
			}
			u := unstructured.Unstructured{Object: want}
			got := find(t, rendered, u.GetKind(), u.GetName()).DeepCopy()
			// Helm says it, the renderer leaves it out.
			if suspend, ok, _ := unstructured.NestedBool(got.Object, "spec", "suspend"); ok && !suspend {
				unstructured.RemoveNestedField(got.Object, "spec", "suspend")
			}
			if diff := cmp.Diff(want, got.Object); diff != "" {
				t.Errorf("%s (-renderer +chart):\n%s", id(&u), diff)
			}
		}
	}
}

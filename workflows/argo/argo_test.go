package argo_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	workflowstest.Run(t, func(t *testing.T, w *workflowstest.World) workflows.Submitter {
		client := newClient()
		var templates []*wfv1.WorkflowTemplate
		for _, p := range w.Pipelines {
			template, err := argo.Template(p, options(w.Pipelines...))
			if err != nil {
				t.Fatal(err)
			}
			templates = append(templates, template)
		}
		startController(t, client, w, templates...)
		s, err := argo.New(argo.Config{Client: client, Namespace: namespace, Pipelines: w.Pipelines})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestManifestsAreHeldByGoldenFiles(t *testing.T) {
	for _, p := range workflows.Pipelines() {
		t.Run(p.Name, func(t *testing.T) {
			o := options(workflows.Pipelines()...)
			o.Namespace, o.PatchExecutor = namespace, true
			o.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "self-scaling-s3"}}}}
			got, err := argo.Render([]workflows.Pipeline{p}, o, argo.Schedules())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", p.Name+".yaml")
			if *rewrite {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("manifests (-want +got), -rewrite takes them over:\n%s", diff)
			}
		})
	}
}

func TestManifestsFitTheirTypes(t *testing.T) {
	stream, err := argo.Render(workflows.Pipelines(), options(workflows.Pipelines()...), argo.Schedules())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for doc := range strings.SplitSeq(string(stream), "\n---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		object := map[string]any{"WorkflowTemplate": &wfv1.WorkflowTemplate{}, "CronWorkflow": &wfv1.CronWorkflow{}}[head.Kind]
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Error(err)
		}
		kinds[head.Kind]++
	}
	if diff := cmp.Diff(map[string]int{"WorkflowTemplate": 4, "CronWorkflow": 3}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// What holds of every container of every pipeline, so that no new step can forget
// it.
func TestEveryStepKeepsTheRules(t *testing.T) {
	for _, p := range workflows.Pipelines() {
		template, err := argo.Template(p, options(workflows.Pipelines()...))
		if err != nil {
			t.Fatal(err)
		}
		if template.Spec.SecurityContext.RunAsNonRoot == nil || !*template.Spec.SecurityContext.RunAsNonRoot {
			t.Errorf("pipeline %s may run as root", p.Name)
		}
		for _, step := range template.Spec.Templates {
			c := step.Container
			if step.Name == template.Spec.OnExit {
				continue // its one step is checked below, as the others are
			}
			if c == nil {
				if step.DAG == nil || *step.DAG.FailFast {
					t.Errorf("%s.%s is neither a container nor a graph that lets shards fail alone", p.Name, step.Name)
				}
				continue
			}
			if len(c.Command) != 1 {
				t.Errorf("%s.%s: command is %q, want one: without it Argo asks the registry", p.Name, step.Name, c.Command)
			}
			if step.ServiceAccountName == "" || step.ActiveDeadlineSeconds == nil {
				t.Errorf("%s.%s has the ServiceAccount %q and the deadline %v, want both", p.Name, step.Name, step.ServiceAccountName, step.ActiveDeadlineSeconds)
			}
			if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 {
				t.Errorf("%s.%s: security context %v is not restricted", p.Name, step.Name, s)
			}
			if step.RetryStrategy == nil || !strings.HasSuffix(step.RetryStrategy.Expression, "== 75") {
				t.Errorf("%s.%s: retryStrategy is %v, want one for exit code 75", p.Name, step.Name, step.RetryStrategy)
			}
		}
	}
}

func TestWithoutAnImageForItThereIsNoExitHandler(t *testing.T) {
	o := options(workflows.Infer())
	o.Report = argo.Job{}
	template, err := argo.Template(workflows.Infer(), o)
	if err != nil {
		t.Fatal(err)
	}
	if template.Spec.OnExit != "" || len(template.Spec.Templates) != 2 {
		t.Errorf("the exit handler is %q and there are %d templates, want none and two", template.Spec.OnExit, len(template.Spec.Templates))
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	one := workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "s"}}}
	for _, tt := range []struct {
		name   string
		change func(*workflows.Pipeline, *argo.Options, *argo.Schedule)
		want   string
	}{
		{"no store", func(_ *workflows.Pipeline, o *argo.Options, _ *argo.Schedule) { o.Store = "" }, "pipeline p: the store's URL must be given"},
		{"a program without an image", func(_ *workflows.Pipeline, o *argo.Options, _ *argo.Schedule) { o.Jobs = nil }, `pipeline p: step "s" needs an image for the program s`},
		{"a long name", func(_ *workflows.Pipeline, o *argo.Options, _ *argo.Schedule) { o.Name = strings.Repeat("a", 37) }, "name of the installation must have at most 36 characters"},
		{"a pipeline with a long name", func(p *workflows.Pipeline, _ *argo.Options, _ *argo.Schedule) { p.Name = strings.Repeat("p", 16) }, "name must have at most 15 characters"},
		{"a pipeline that is not valid", func(p *workflows.Pipeline, _ *argo.Options, _ *argo.Schedule) { p.Steps[0].DependsOn = []string{"t"} }, "must refer to earlier steps"},
		{"a step with the graph's name", func(p *workflows.Pipeline, o *argo.Options, _ *argo.Schedule) {
			p.Steps[0] = workflows.Step{Name: "main", Job: "s"}
		}, `no step may be named "main"`},
		{"a step with the exit handler's name", func(p *workflows.Pipeline, o *argo.Options, _ *argo.Schedule) {
			p.Steps[0] = workflows.Step{Name: "report", Job: "s"}
		}, `no step may be named "report"`},
		{"a parameter with a name of ours", func(p *workflows.Pipeline, _ *argo.Options, _ *argo.Schedule) {
			p.Parameters = []workflows.Parameter{{Name: "run-id"}}
		}, `no parameter may be named "run-id"`},
		{"no schedule", func(_ *workflows.Pipeline, _ *argo.Options, s *argo.Schedule) { s.Schedules = nil }, "at least one cron expression"},
		{"a schedule that is none", func(_ *workflows.Pipeline, _ *argo.Options, s *argo.Schedule) { s.Schedules = []string{"hourly"} }, `must be a cron expression of five fields, but is "hourly"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := one
			p.Steps = []workflows.Step{{Name: "s"}}
			o, s := options(one), argo.Schedule{Schedules: []string{"0 * * * *"}}
			tt.change(&p, &o, &s)
			_, err := argo.Render([]workflows.Pipeline{p}, o, map[string]argo.Schedule{p.Name: s})
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Render = %v, want %s with %q", err, schemas.CodeInvalidConfig, tt.want)
			}
		})
	}
}

func TestNamesOfWorkflowsAreNamesForEveryRunID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}`).Draw(t, "run-id")
		other := rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}`).Draw(t, "another run-id")
		name := argo.WorkflowName(id)
		if len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasSuffix(name, "-") {
			t.Errorf("WorkflowName(%q) = %q, which is no name", id, name)
		}
		if id != other && name == argo.WorkflowName(other) {
			t.Errorf("%q and %q have the same name", id, other)
		}
	})
}

func TestARunHasOneIdentityHoweverItWasStarted(t *testing.T) {
	ref := wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: "self-scaling-train"}}
	withID := ref
	withID.Arguments.Parameters = []wfv1.Parameter{{Name: "run-id", Value: wfv1.AnyStringPtr("night-7")}}
	scheduled := map[string]string{"workflows.argoproj.io/scheduled-time": "2026-03-01T00:05:00Z"}
	for _, tt := range []struct {
		name     string
		workflow wfv1.Workflow
		want     string
	}{
		{"submitted with a run-id", wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: withID}, "night-7"},
		{"submitted with a run-id and resubmitted under another name", wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "y"}, Spec: withID}, "night-7"},
		{"a child of a CronWorkflow", wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "self-scaling-train-1772323500", Annotations: scheduled}, Spec: ref}, "train-2026-03-01T000500Z"},
		{"a child in another time zone", wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"workflows.argoproj.io/scheduled-time": "2026-03-01T00:05:00+01:00"}}, Spec: ref}, "train-2026-03-01T000500_0100"},
		{"submitted by hand without a run-id", wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "self-scaling-train-x7k2p"}, Spec: ref}, "self-scaling-train-x7k2p"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := argo.Identity(&tt.workflow)
			if got != tt.want {
				t.Errorf("Identity = %q, want %q", got, tt.want)
			}
			if err := schemas.ValidateRunID(got); err != nil {
				t.Error(err)
			}
		})
	}
}

// stored returns a Workflow of the pipeline train as a server holds it.
func stored(t *testing.T, name string, change func(*wfv1.Workflow)) *unstructured.Unstructured {
	t.Helper()
	w := &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, CreationTimestamp: metav1.Unix(1772323500, 0),
			Labels: map[string]string{argo.LabelPartOf: "self-scaling", argo.LabelInstance: "self-scaling", argo.LabelPipeline: "train"}},
		Spec: wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: "self-scaling-train"}},
	}
	change(w)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}

func submitter(t *testing.T, log io.Writer, objects ...runtime.Object) *argo.Submitter {
	t.Helper()
	s, err := argo.New(argo.Config{Client: newClient(objects...), Namespace: namespace, Pipelines: workflows.Pipelines(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOneMalformedWorkflowHidesNoOther(t *testing.T) {
	bad := stored(t, "bad", func(*wfv1.Workflow) {})
	bad.Object["spec"] = map[string]any{"entrypoint": []any{"not", "a", "string"}}
	var log bytes.Buffer
	s := submitter(t, &log, stored(t, "good", func(*wfv1.Workflow) {}), bad)
	runs, err := s.List(t.Context(), workflows.ListOptions{})
	if err != nil || len(runs) != 1 || runs[0].ID != "good" {
		t.Errorf("List = %v, %v, want the run good", runs, err)
	}
	if !strings.Contains(log.String(), "bad") {
		t.Errorf("log %q does not name the Workflow that was left out", log.String())
	}
}

func TestRunsThatOthersStartedAreFound(t *testing.T) {
	s := submitter(t, io.Discard, stored(t, "self-scaling-train-1772323500", func(w *wfv1.Workflow) {
		w.Annotations = map[string]string{"workflows.argoproj.io/scheduled-time": "2026-03-01T00:05:00Z"}
		w.Status.Phase = wfv1.WorkflowRunning
	}))
	r, err := s.Get(t.Context(), "train-2026-03-01T000500Z")
	if err != nil || r.Phase != workflows.Running || r.Pipeline != "train" {
		t.Errorf("Get = %+v, %v, want the running train", r, err)
	}
	if err := s.Stop(t.Context(), r.ID); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestPhases(t *testing.T) {
	for _, tt := range []struct {
		name     string
		phase    wfv1.WorkflowPhase
		shutdown wfv1.ShutdownStrategy
		nodes    wfv1.Nodes
		want     workflows.Phase
	}{
		{"not seen by the controller yet", "", "", nil, workflows.Pending},
		{"waiting for its mutex", wfv1.WorkflowPending, "", nil, workflows.Pending},
		{"running", wfv1.WorkflowRunning, "", nil, workflows.Running},
		{"told to stop and still running", wfv1.WorkflowRunning, wfv1.ShutdownStrategyStop, nil, workflows.Running},
		{"failed", wfv1.WorkflowFailed, "", nil, workflows.Failed},
		{"an error of the platform", wfv1.WorkflowError, "", nil, workflows.Failed},
		{"stopped", wfv1.WorkflowFailed, wfv1.ShutdownStrategyTerminate, nil, workflows.Stopped},
		{"stopped while it waited and called Succeeded", wfv1.WorkflowSucceeded, wfv1.ShutdownStrategyStop, nil, workflows.Stopped},
		{"a phase of a later Argo", "Paused", "", nil, workflows.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := submitter(t, io.Discard, stored(t, "w", func(w *wfv1.Workflow) {
				w.Spec.Shutdown = tt.shutdown
				w.Status.Phase, w.Status.Nodes = tt.phase, tt.nodes
			}))
			r, err := s.Get(t.Context(), "w")
			if err != nil || r.Phase != tt.want {
				t.Errorf("phase is %s, %v, want %s", r.Phase, err, tt.want)
			}
		})
	}
}

func TestAStepThatFailsSaysWhyItsLastAttemptDid(t *testing.T) {
	code := "65"
	s := submitter(t, io.Discard, stored(t, "w", func(w *wfv1.Workflow) {
		w.Status.Phase = wfv1.WorkflowFailed
		w.Status.Nodes = wfv1.Nodes{
			"1": {ID: "1", Name: "w.dataset", Type: wfv1.NodeTypeRetry, Phase: wfv1.NodeFailed, Message: "retryStrategy.expression evaluated to false"},
			"2": {ID: "2", Name: "w.dataset(0)", Type: wfv1.NodeTypePod, Phase: wfv1.NodeFailed, Message: "main: Error (exit code 65)", Outputs: &wfv1.Outputs{ExitCode: &code}},
		}
	}))
	r, err := s.Get(t.Context(), "w")
	if err != nil || r.Message != "step dataset: main: Error (exit code 65)" {
		t.Errorf("Get = %+v, %v, want the exit code in the message", r, err)
	}
}

// What Argo does to the state of a Workflow that grows large.
func TestTheStateOfLargeWorkflows(t *testing.T) {
	code := "0"
	nodes := wfv1.Nodes{"1": {ID: "1", Name: "w.dataset", Type: wfv1.NodeTypePod, Phase: wfv1.NodeSucceeded, Progress: "7/9", Outputs: &wfv1.Outputs{ExitCode: &code}}}
	data, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(data)
	z.Close()

	for _, tt := range []struct {
		name    string
		change  func(*wfv1.WorkflowStatus)
		steps   int
		message string
	}{
		{"as it is", func(s *wfv1.WorkflowStatus) { s.Nodes = nodes }, 3, ""},
		{"compressed", func(s *wfv1.WorkflowStatus) {
			s.CompressedNodes = base64.StdEncoding.EncodeToString(zipped.Bytes())
		}, 3, ""},
		{"in a database", func(s *wfv1.WorkflowStatus) { s.OffloadNodeStatusVersion = "fnv:1" }, 0, "steps are not known: Argo keeps them in its database"},
		{"compressed and damaged", func(s *wfv1.WorkflowStatus) {
			s.CompressedNodes = base64.StdEncoding.EncodeToString(zipped.Bytes()[:30])
		}, 0, "steps are not known: compressedNodes must"},
		{"compressed and not base64", func(s *wfv1.WorkflowStatus) { s.CompressedNodes = "!" }, 0, "steps are not known: compressedNodes must be base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := submitter(t, io.Discard, stored(t, "w", func(w *wfv1.Workflow) {
				w.Status.Phase = wfv1.WorkflowRunning
				tt.change(&w.Status)
			}))
			r, err := s.Get(t.Context(), "w")
			if err != nil || len(r.Steps) != tt.steps || !strings.HasPrefix(r.Message, tt.message) {
				t.Fatalf("Get = %+v, %v, want %d steps and the message %q", r, err, tt.steps, tt.message)
			}
			if tt.steps > 0 {
				zero := 0
				want := workflows.StepRecord{Step: "dataset", Phase: workflows.Succeeded, Attempts: 1, Progress: workflows.Progress{Done: 7, Total: 9}, ExitCode: &zero}
				if diff := cmp.Diff(want, r.Steps[0]); diff != "" {
					t.Errorf("first step (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestFailuresOfTheServerHaveCodes(t *testing.T) {
	resource := argo.Workflows.GroupResource()
	for _, tt := range []struct {
		name string
		err  error
		want schemas.Code
	}{
		{"not reached", errors.New("connection refused"), schemas.CodeUnavailable},
		{"overloaded", apierrors.NewTooManyRequests("slow down", 1), schemas.CodeUnavailable},
		{"not allowed", apierrors.NewForbidden(resource, "w", errors.New("no role")), schemas.CodeInvalidConfig},
		{"Argo is not installed", apierrors.NewNotFound(resource, ""), schemas.CodeInvalidConfig},
		{"not valid", apierrors.NewBadRequest("no"), schemas.CodeInvalidConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient()
			client.PrependReactor("create", "workflows", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, tt.err })
			s, err := argo.New(argo.Config{Client: client, Namespace: namespace, Pipelines: workflows.Pipelines()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = s.Submit(t.Context(), workflows.Request{Pipeline: "infer", RunID: "r1"}); schemas.CodeOf(err) != tt.want {
				t.Errorf("Submit = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestARunWhoseAnswerWasLostIsTheSameRun(t *testing.T) {
	client := newClient()
	lost := false
	client.PrependReactor("create", "workflows", func(a ktesting.Action) (bool, runtime.Object, error) {
		if lost {
			return false, nil, nil
		}
		lost = true
		if err := client.Tracker().Create(argo.Workflows, a.(ktesting.CreateAction).GetObject(), namespace); err != nil {
			t.Error(err)
		}
		return true, nil, context.DeadlineExceeded
	})
	s, err := argo.New(argo.Config{Client: client, Namespace: namespace, Pipelines: workflows.Pipelines()})
	if err != nil {
		t.Fatal(err)
	}
	request := workflows.Request{Pipeline: "infer", RunID: "r1"}
	if _, err := s.Submit(t.Context(), request); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Fatalf("first Submit = %v, want %s", err, schemas.CodeUnavailable)
	}
	if r, err := s.Submit(t.Context(), request); err != nil || r.ID != "r1" {
		t.Errorf("second Submit = %+v, %v, want the run", r, err)
	}
	if all, err := s.List(t.Context(), workflows.ListOptions{}); err != nil || len(all) != 1 {
		t.Errorf("there are %d runs, %v, want 1", len(all), err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"status":{"phase":"Running","nodes":{"1":{"name":"w.trainer(0:0)","type":"Pod","phase":"Failed"}}}}`))
	f.Add([]byte(`{"spec":{"shutdown":"Stop"},"status":{"phase":"Failed","compressedNodes":"H4sI"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fields map[string]any
		if json.Unmarshal(data, &fields) != nil {
			return
		}
		object := stored(t, "w", func(*wfv1.Workflow) {})
		for _, name := range []string{"spec", "status"} {
			if value, ok := fields[name].(map[string]any); ok {
				object.Object[name] = value
			}
		}
		s := submitter(t, io.Discard, object)
		runs, err := s.List(t.Context(), workflows.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			if r.Phase == "" || r.Phase == workflows.Omitted || r.Phase.Done() != (r.Finished != nil) && r.Phase.Done() {
				t.Errorf("record %+v is not whole", r)
			}
		}
	})
}

// What a list of many runs with many shards costs.
func BenchmarkList(b *testing.B) {
	var objects []runtime.Object
	for i := range 100 {
		w := &wfv1.Workflow{TypeMeta: metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"}, ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprint("w", i), Namespace: namespace, Labels: map[string]string{argo.LabelPartOf: "self-scaling", argo.LabelInstance: "self-scaling", argo.LabelPipeline: "train"}}}
		w.Status.Phase, w.Status.Nodes = wfv1.WorkflowSucceeded, wfv1.Nodes{}
		for n := range 64 {
			id := fmt.Sprint(n)
			w.Status.Nodes[id] = wfv1.NodeStatus{ID: id, Name: fmt.Sprintf("w%d.trainer(%d:%05d)", i, n, n), Type: wfv1.NodeTypePod, Phase: wfv1.NodeSucceeded, StartedAt: metav1.NewTime(time.Unix(0, 0))}
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w)
		if err != nil {
			b.Fatal(err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: object})
	}
	s, err := argo.New(argo.Config{Client: newClient(objects...), Namespace: namespace, Pipelines: workflows.Pipelines()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if runs, err := s.List(b.Context(), workflows.ListOptions{}); err != nil || len(runs) != 100 {
			b.Fatal(len(runs), err)
		}
	}
}

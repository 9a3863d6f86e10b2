package batch_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/batch"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config of an installation in which every program has an image.
func config(client *fake.Clientset, pipelines ...workflows.Pipeline) batch.Config {
	c := batch.Config{
		Client: client, Namespace: namespace, Pipelines: pipelines, Store: "s3://scaling?endpoint=store:9000", Jobs: map[string]batch.Job{},
		Shards: func(context.Context, string, string) ([]string, error) {
			return []string{"00000", "00001", "00002"}, nil
		},
	}
	for _, p := range pipelines {
		for i := range p.Steps {
			job := p.Steps[i].JobName()
			c.Jobs[job] = batch.Job{Image: "registry.example/self-scaling/" + job + ":1.0.0", ServiceAccount: "self-scaling-" + job, Timeout: 30 * time.Minute}
		}
	}
	return c
}

// start returns a submitter that runs.
func start(t *testing.T, c batch.Config) *batch.Submitter {
	t.Helper()
	s, err := batch.New(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

// run lets a submitter run until the returned function is called, or the test ends.
func run(t *testing.T, s *batch.Submitter) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = func() {
		if cancel(); ended != nil {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v, want %v", err, context.Canceled)
			}
			ended = nil
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestConformance(t *testing.T) {
	workflowstest.Run(t, func(t *testing.T, w *workflowstest.World) workflows.Submitter {
		client := newClient()
		cluster := startCluster(t, client, w)
		c := config(client, w.Pipelines...)
		c.Shards, c.Record = cluster.namedShards, w.Record
		return start(t, c)
	})
}

func TestARecordThatCannotBeKeptDoesNotHoldTheRunUp(t *testing.T) {
	client := newClient()
	startCluster(t, client, &workflowstest.World{})
	c := config(client, workflows.Collect())
	c.Record = func(context.Context, workflows.Run) error {
		return schemas.Errorf(schemas.CodeUnavailable, "store: 503")
	}
	s := start(t, c)
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "collect", RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Wait(t.Context(), "r1"); err != nil || r.Phase != workflows.Succeeded {
		t.Errorf("Wait = %+v, %v, want Succeeded", r, err)
	}
}

func TestJobsAreHeldByGoldenFiles(t *testing.T) {
	for _, p := range workflows.Pipelines() {
		t.Run(p.Name, func(t *testing.T) {
			client := newClient()
			w := &workflowstest.World{}
			startCluster(t, client, w)
			c := config(client, workflows.Pipelines()...)
			c.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "self-scaling-s3"}}}}
			s := start(t, c)
			if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: p.Name, RunID: "night-7", Parameters: map[string]string{"now": "2026-03-01T00:05:00Z"}}); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Wait(t.Context(), "night-7"); err != nil || r.Phase != workflows.Succeeded {
				t.Fatalf("Wait = %+v, %v, want Succeeded", r, err)
			}
			jobs, err := client.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, j := range jobs.Items {
				j.Status, j.CreationTimestamp = batchv1.JobStatus{}, metav1.Time{}
				j.ManagedFields = nil
				doc, err := yaml.Marshal(j)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(doc)
			}
			path := filepath.Join("testdata", p.Name+".yaml")
			if *rewrite {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("Jobs (-want +got), -rewrite takes them over:\n%s", diff)
			}
		})
	}
}

// three is a pipeline of three steps in a row, one of which is worth watching.
func three() workflows.Pipeline {
	return workflows.Pipeline{Name: "three", Steps: []workflows.Step{
		{Name: "a"}, {Name: "b", DependsOn: []string{"a"}}, {Name: "c", DependsOn: []string{"b"}},
	}}
}

// Whoever runs next goes on where the last one was cut off.
func TestARunOutlivesTheProcessThatRanIt(t *testing.T) {
	client := newClient()
	w := &workflowstest.World{Pipelines: []workflows.Pipeline{three()}}
	startCluster(t, client, w)
	c := config(client, three())
	first, err := batch.New(c)
	if err != nil {
		t.Fatal(err)
	}
	// The first process is cut off as soon as it has made the Job of step b.
	made := make(chan struct{})
	client.PrependReactor("create", "jobs", func(a ktesting.Action) (bool, runtime.Object, error) {
		if strings.HasSuffix(a.(ktesting.CreateAction).GetObject().(*batchv1.Job).Name, "-b") {
			close(made)
		}
		return false, nil, nil
	})
	stop := run(t, first)
	if _, err := first.Submit(t.Context(), workflows.Request{Pipeline: "three", RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	<-made
	stop()

	second := start(t, c)
	r, err := second.Wait(t.Context(), "r1")
	if err != nil || r.Phase != workflows.Succeeded {
		t.Fatalf("Wait = %+v, %v, want Succeeded", r, err)
	}
	if n := len(w.Events()); n != 6 {
		t.Errorf("there were %d events, want the 6 of three steps: %v", n, w.Events())
	}
}

// A server that fails now and then delays a run and changes nothing else.
func TestFailuresOfTheServerDelayARun(t *testing.T) {
	client := newClient()
	w := &workflowstest.World{Pipelines: []workflows.Pipeline{three()}}
	startCluster(t, client, w)
	calls := map[string]int{}
	for _, verb := range []string{"list", "create"} {
		client.PrependReactor(verb, "jobs", func(ktesting.Action) (bool, runtime.Object, error) {
			if calls[verb]++; calls[verb]%2 == 1 {
				return true, nil, apierrors.NewServiceUnavailable("not now")
			}
			return false, nil, nil
		})
	}
	c := config(client, three())
	c.Resync = time.Millisecond
	s := start(t, c)
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "three", RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Wait(t.Context(), "r1")
	if err != nil || r.Phase != workflows.Succeeded || len(w.Events()) != 6 {
		t.Errorf("Wait = %+v, %v after %v, want Succeeded after 6 events", r, err, w.Events())
	}
}

func TestFinishedRunsAreKeptForAWhile(t *testing.T) {
	client := newClient()
	deleted := make(chan struct{})
	var once sync.Once
	client.PrependReactor("delete", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
		once.Do(func() { close(deleted) })
		return false, nil, nil
	})
	startCluster(t, client, &workflowstest.World{})
	clock := clocktesting.NewFakeClock(time.Now())
	c := config(client, three())
	c.Clock = clock
	s := start(t, c)
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "three", RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case <-deleted:
			return
		case <-t.Context().Done():
			t.Fatal("the run was never deleted")
		default:
			clock.Step(time.Hour)
			goruntime.Gosched()
		}
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*batch.Config)
		want   string
	}{
		{"no client", func(c *batch.Config) { c.Client = nil }, "a client, a namespace and the store's URL must be given"},
		{"no store", func(c *batch.Config) { c.Store = "" }, "a client, a namespace and the store's URL must be given"},
		{"a program without an image", func(c *batch.Config) { delete(c.Jobs, "trainer") }, `step "trainer" needs an image for the program trainer`},
		{"a fan-out and nobody who knows the shards", func(c *batch.Config) { c.Shards = nil }, `step "trainer" fans out, so that Shards must be given`},
		{"a pipeline that is not valid", func(c *batch.Config) { c.Pipelines[0].Steps = nil }, "must have at least one step"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(newClient(), workflows.Pipelines()...)
			tt.change(&c)
			if _, err := batch.New(c); schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %s with %q", err, schemas.CodeInvalidConfig, tt.want)
			}
		})
	}
}

func TestOneDamagedRunHidesNoOther(t *testing.T) {
	var log bytes.Buffer
	client := newClient(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "run-bad", Namespace: namespace, Labels: map[string]string{
			batch.LabelPartOf: "self-scaling", batch.LabelInstance: "self-scaling", batch.LabelComponent: "workflows", batch.LabelRun: "run-bad"}},
		Data: map[string]string{"record": "{"},
	})
	c := config(client, three())
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := batch.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "three", RunID: "good"}); err != nil {
		t.Fatal(err)
	}
	runs, err := s.List(t.Context(), workflows.ListOptions{})
	if err != nil || len(runs) != 1 || runs[0].ID != "good" || !strings.Contains(log.String(), "run-bad") {
		t.Errorf("List = %v, %v with the log %q, want the run good and a line about the other", runs, err, log.String())
	}
}

func TestShardsThatCannotBeListedFailTheStep(t *testing.T) {
	fan := workflows.Pipeline{Name: "fan", Steps: []workflows.Step{{Name: "split"}, {Name: "work", FanOut: "split"}}}
	for name, shards := range map[string][]string{"one with a comma": {"a,b"}, "one twice": {"a", "a"}, "one without a name": {""}} {
		t.Run(name, func(t *testing.T) {
			client := newClient()
			startCluster(t, client, &workflowstest.World{})
			c := config(client, fan)
			c.Shards = func(context.Context, string, string) ([]string, error) { return shards, nil }
			s := start(t, c)
			if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "fan", RunID: "r1"}); err != nil {
				t.Fatal(err)
			}
			r, err := s.Wait(t.Context(), "r1")
			if err != nil || r.Phase != workflows.Failed || !strings.Contains(r.Message, "step split must name each shard once") {
				t.Errorf("Wait = %+v, %v, want Failed with the reason", r, err)
			}
		})
	}
}

func FuzzRecordInAConfigMap(f *testing.F) {
	f.Add(`{"id":"r1","pipeline":"three","phase":"Running","steps":[{"step":"a","phase":"Running"}]}`, "true")
	f.Add(`{"phase":"Succeeded"}`, "")
	// One server for all: making it costs more than the rest.
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "run-x", Namespace: namespace, Labels: map[string]string{
		batch.LabelPartOf: "self-scaling", batch.LabelInstance: "self-scaling", batch.LabelComponent: "workflows", batch.LabelRun: "run-x"}}}
	client := newClient(object)
	s, err := batch.New(config(client, three()))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record, stop string) {
		object := object.DeepCopy()
		object.Data = map[string]string{"record": record, "stop": stop}
		_, err := client.CoreV1().ConfigMaps(namespace).Update(t.Context(), object, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) { // deleted, because it had finished long ago
			_, err = client.CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.List(t.Context(), workflows.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		run(t, s)() // at least once through all runs
	})
}

func TestAllStepsOfARunHaveOneInstant(t *testing.T) {
	client := newClient()
	w := &workflowstest.World{}
	startCluster(t, client, w)
	s := start(t, config(client, workflows.Pipelines()...))
	submitted, err := s.Submit(t.Context(), workflows.Request{Pipeline: "train", RunID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	want := "-now=" + submitted.Submitted.Format(time.RFC3339)
	if len(w.Events()) == 0 {
		t.Error("no step ran")
	}
	for _, e := range w.Events() {
		if !slices.Contains(e.Flags, want) {
			t.Errorf("step %s has the flags %q, want %s among them", e.Step, e.Flags, want)
		}
	}
}

package batch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

const namespace = "scaling"

// newClient returns an API server in memory that sets what a real one sets.
func newClient(objects ...runtime.Object) *fake.Clientset {
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
		if o, ok := a.(ktesting.CreateAction).GetObject().(metav1.Object); ok {
			o.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
			o.SetUID(types.UID(o.GetName()))
		}
		return false, nil, nil
	})
	return client
}

// cluster stands for the Job controller and the kubelet: it makes pods as the Jobs'
// specs say, policy for failures included. It knows nothing of pipelines. What steps
// name as shards it keeps, as the store would.
type cluster struct {
	t      *testing.T
	client *fake.Clientset
	world  *workflowstest.World

	ctx     context.Context
	running sync.WaitGroup
	mu      sync.Mutex
	stops   map[string]context.CancelFunc
	shards  map[string][]string
}

func startCluster(t *testing.T, client *fake.Clientset, w *workflowstest.World) *cluster {
	c := &cluster{t: t, client: client, world: w, stops: map[string]context.CancelFunc{}, shards: map[string][]string{}}
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithCancel(context.Background())
	watcher, err := client.BatchV1().Jobs(namespace).Watch(c.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.running.Go(func() {
		for {
			select {
			case <-c.ctx.Done():
				return
			case event := <-watcher.ResultChan():
				job, ok := event.Object.(*batchv1.Job)
				if !ok {
					return
				}
				c.mu.Lock()
				switch {
				case event.Type == watch.Added:
					ctx, stop := context.WithCancel(c.ctx)
					c.stops[job.Name] = stop
					c.running.Go(func() { c.job(ctx, job) })
				case job.Spec.Suspend != nil && *job.Spec.Suspend:
					c.stops[job.Name]()
				}
				c.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { cancel(); watcher.Stop(); c.running.Wait() })
	return c
}

func (c *cluster) namedShards(_ context.Context, run, step string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shards, ok := c.shards[run+"/"+step]
	if !ok {
		return nil, schemas.Errorf(schemas.CodeNotFound, "step %s of run %s named no shards", step, run)
	}
	return shards, nil
}

// job runs a Job to its end.
func (c *cluster) job(ctx context.Context, j *batchv1.Job) {
	var status struct {
		sync.Mutex
		batchv1.JobStatus
	}
	write := func(change func(*batchv1.JobStatus)) {
		status.Lock()
		defer status.Unlock()
		change(&status.JobStatus)
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status.JobStatus)
		if err != nil {
			c.t.Error(err)
		}
		fields["active"] = status.Active // 0 is left out otherwise, and nothing changed
		patch, err := json.Marshal(map[string]any{"status": fields})
		if err != nil {
			c.t.Error(err)
		}
		if _, err := c.client.BatchV1().Jobs(namespace).Patch(context.Background(), j.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			c.t.Errorf("write status of %s: %v", j.Name, err)
		}
	}
	n := 1
	if j.Spec.CompletionMode != nil {
		n = int(*j.Spec.Completions)
	}
	write(func(s *batchv1.JobStatus) { s.Active = int32(n) })
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			ok := c.index(ctx, j, i)
			write(func(s *batchv1.JobStatus) {
				s.Active--
				switch {
				case ctx.Err() != nil:
				case ok:
					s.Succeeded++
					s.CompletedIndexes = add(s.CompletedIndexes, i)
				default:
					s.Failed++
					failed := ""
					if s.FailedIndexes != nil {
						failed = *s.FailedIndexes
					}
					failed = add(failed, i)
					s.FailedIndexes = &failed
				}
			})
		})
	}
	all.Wait()
	write(func(s *batchv1.JobStatus) {
		condition := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}
		if s.Failed > 0 {
			condition = batchv1.JobCondition{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "PodFailurePolicy"}
		}
		if ctx.Err() != nil {
			condition = batchv1.JobCondition{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}
		}
		s.Conditions = []batchv1.JobCondition{condition}
	})
}

func add(list string, i int) string { return strings.TrimPrefix(list+","+strconv.Itoa(i), ",") }

// index runs the pods of one index until one succeeds or the Job's policy gives up.
func (c *cluster) index(ctx context.Context, j *batchv1.Job, i int) bool {
	retries := j.Spec.BackoffLimit
	if j.Spec.CompletionMode != nil {
		retries = j.Spec.BackoffLimitPerIndex
	}
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return false
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d-%d", j.Name, i, attempt), Namespace: namespace, Labels: j.Spec.Template.Labels,
				Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: strconv.Itoa(i)}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		pods := c.client.CoreV1().Pods(namespace)
		if _, err := pods.Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
			c.t.Error(err)
		}
		event := c.event(j, i, attempt)
		err := c.world.Execute(ctx, event, func(shards []string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.shards[event.Run+"/"+event.Step] = shards
		})
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			if err := pods.Delete(context.Background(), pod.Name, metav1.DeleteOptions{}); err != nil {
				c.t.Error(err)
			}
			return false
		}
		code := int32(workflows.ExitCode(err))
		pod.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			pod.Status.Phase = corev1.PodFailed
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}
		if _, err := pods.UpdateStatus(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
			c.t.Error(err)
		}
		if code == 0 {
			return true
		}
		for _, rule := range j.Spec.PodFailurePolicy.Rules {
			if on := rule.OnExitCodes; on != nil && on.Operator == batchv1.PodFailurePolicyOnExitCodesOpNotIn && !slices.Contains(on.Values, code) {
				return false
			}
		}
		if attempt > int(*retries) {
			return false
		}
	}
}

// event is what a program learns from its arguments.
func (c *cluster) event(j *batchv1.Job, i, attempt int) workflowstest.Event {
	main := j.Spec.Template.Spec.Containers[0]
	e := workflowstest.Event{Step: path.Base(main.Command[0]), Attempt: attempt}
	for _, arg := range main.Args {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "-run":
			e.Run = value
		case "-shards":
			e.Shard = strings.Split(value, ",")[i]
		case "-store", "-log-format", "-shard-index":
		default:
			e.Flags = append(e.Flags, arg)
		}
	}
	for _, v := range main.Env {
		if v.Name == workflows.TraceVariable {
			e.Trace = v.Value
		}
	}
	return e
}

package argo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/argo"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

const namespace = "scaling"

// newClient returns an API server in memory that knows Workflows and sets what a
// real one sets.
func newClient(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{argo.Workflows: "WorkflowList"}, objects...)
	client.PrependReactor("create", "workflows", func(a ktesting.Action) (bool, runtime.Object, error) {
		a.(ktesting.CreateAction).GetObject().(*unstructured.Unstructured).SetCreationTimestamp(metav1.Now().Rfc3339Copy())
		return false, nil, nil
	})
	return client
}

// controller stands for Argo's: it runs Workflows as the rendered templates say,
// one after the other where they share a mutex, and writes their nodes as Argo
// does. It knows nothing of pipelines.
type controller struct {
	t         *testing.T
	client    dynamic.ResourceInterface
	templates map[string]*wfv1.WorkflowTemplate
	world     *workflowstest.World

	ctx     context.Context
	running sync.WaitGroup
	mu      sync.Mutex
	mutexes map[string]chan func() // what waits for a mutex, in its order
	stops   map[string]context.CancelFunc
}

func startController(t *testing.T, client dynamic.Interface, w *workflowstest.World, templates ...*wfv1.WorkflowTemplate) {
	c := &controller{
		t: t, client: client.Resource(argo.Workflows).Namespace(namespace), world: w,
		templates: map[string]*wfv1.WorkflowTemplate{}, mutexes: map[string]chan func(){}, stops: map[string]context.CancelFunc{},
	}
	for _, template := range templates {
		c.templates[template.Name] = template
	}
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithCancel(context.Background())
	watcher, err := c.client.Watch(c.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.running.Go(func() { c.run(watcher) })
	t.Cleanup(func() { cancel(); watcher.Stop(); c.running.Wait() })
}

func (c *controller) run(watcher watch.Interface) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case event, ok := <-watcher.ResultChan():
			if !ok {
				return
			}
			var w wfv1.Workflow
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(event.Object.(*unstructured.Unstructured).Object, &w); err != nil {
				continue // not fit for its type
			}
			switch {
			case event.Type == watch.Added:
				c.add(&w)
			case w.Spec.Shutdown != "":
				c.mu.Lock()
				c.stops[w.Name]()
				c.mu.Unlock()
			}
		}
	}
}

// add queues a Workflow for the mutex of its template.
func (c *controller) add(w *wfv1.Workflow) {
	template := c.templates[w.Spec.WorkflowTemplateRef.Name]
	if template == nil {
		c.t.Errorf("Workflow %s refers to the WorkflowTemplate %s, which is not there", w.Name, w.Spec.WorkflowTemplateRef.Name)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, stop := context.WithCancel(c.ctx)
	c.stops[w.Name] = stop
	mutex := template.Spec.Synchronization.Mutexes[0].Name
	queue := c.mutexes[mutex]
	if queue == nil {
		queue = make(chan func(), 100)
		c.mutexes[mutex] = queue
		c.running.Go(func() {
			for {
				select {
				case walk := <-queue:
					walk()
				case <-c.ctx.Done():
					return
				}
			}
		})
	}
	r := &run{controller: c, workflow: w, template: template, ctx: ctx, status: wfv1.WorkflowStatus{
		Phase: wfv1.WorkflowPending, Message: "Waiting for " + mutex, StartedAt: metav1.Now(), Nodes: wfv1.Nodes{}}}
	begun := make(chan struct{})
	// A Workflow that is stopped while it waits ends at once.
	c.running.Go(func() {
		select {
		case <-begun:
		case <-ctx.Done():
			r.once.Do(r.stopWaiting)
		}
	})
	queue <- func() {
		close(begun)
		if ctx.Err() != nil {
			r.once.Do(r.stopWaiting)
		}
		r.once.Do(r.walk)
	}
}

// run is one Workflow under way.
type run struct {
	*controller
	workflow *wfv1.Workflow
	template *wfv1.WorkflowTemplate
	ctx      context.Context
	once     sync.Once

	mu     sync.Mutex
	status wfv1.WorkflowStatus
}

func (r *run) stopWaiting() {
	r.status.Phase, r.status.Message, r.status.FinishedAt = wfv1.WorkflowFailed, "Stopped with strategy 'Stop'", metav1.Now()
	r.write()
}

func (r *run) walk() {
	r.status.Phase, r.status.Message = wfv1.WorkflowRunning, ""
	r.write()
	tasks := r.template.GetTemplateByName(r.template.Spec.Entrypoint).DAG.Tasks
	done := map[string]chan struct{}{}
	ok := map[string]bool{}
	outputs := map[string]string{}
	for _, task := range tasks {
		done[task.Name] = make(chan struct{})
	}
	var all sync.WaitGroup
	for _, task := range tasks {
		all.Go(func() {
			defer close(done[task.Name])
			for _, d := range task.Dependencies {
				<-done[d]
				if !r.get(ok, d) {
					r.node(task.Name, wfv1.NodeTypeSkipped, wfv1.NodeOmitted, "omitted: depends condition not met", nil)
					return
				}
			}
			succeeded := r.task(&task, outputs)
			r.mu.Lock()
			ok[task.Name] = succeeded
			r.mu.Unlock()
		})
	}
	all.Wait()
	r.status.Phase, r.status.FinishedAt = wfv1.WorkflowSucceeded, metav1.Now()
	for _, task := range tasks {
		if !ok[task.Name] {
			r.status.Phase = wfv1.WorkflowFailed
		}
	}
	r.exit()
	r.write()
}

// exit runs the exit handler: the program that keeps the record of the run, which is
// told no more than its arguments.
func (r *run) exit() {
	step := r.template.GetTemplateByName(r.template.Spec.OnExit).Steps[0].Steps[0]
	if !step.ContinueOn.Failed || !step.ContinueOn.Error {
		r.t.Errorf("a record that cannot be kept would let the run fail")
	}
	failures := []map[string]string{}
	for _, n := range r.status.Nodes {
		if n.Phase.FailedOrError() {
			failures = append(failures, map[string]string{"displayName": n.Name, "message": n.Message, "phase": string(n.Phase)})
		}
	}
	list, err := json.Marshal(failures)
	if err != nil {
		r.t.Error(err)
	}
	variables := map[string]string{"status": string(r.status.Phase), "failures": string(list), "creationTimestamp.RFC3339": r.workflow.CreationTimestamp.Format(time.RFC3339)}
	for _, p := range r.template.Spec.Arguments.Parameters {
		variables["parameters."+p.Name] = p.Value.String()
	}
	for _, p := range r.workflow.Spec.Arguments.Parameters {
		variables["parameters."+p.Name] = p.Value.String()
	}
	record := workflows.Run{Parameters: map[string]string{}}
	args := r.template.GetTemplateByName(step.Template).Container.Args
	if args[0] != "report" {
		r.t.Errorf("the exit handler runs %q, want report", args[0])
	}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if name == "-run" {
			value = argo.Identity(r.workflow)
		}
		value = variable.ReplaceAllStringFunc(value, func(v string) string {
			text, ok := variables[v[len("{{workflow."):len(v)-len("}}")]]
			if !ok {
				r.t.Errorf("argument %q names a variable that there is not", arg)
			}
			return text
		})
		switch name {
		case "-run":
			record.ID = value
		case "-pipeline":
			record.Pipeline = value
		case "-status":
			record.Phase = workflows.Phase(value)
		case "-failures":
			if err := json.Unmarshal([]byte(value), &failures); err != nil {
				r.t.Error(err)
			}
		case "-parameter":
			if parameter, value, _ := strings.Cut(value, "="); value != "" {
				record.Parameters[parameter] = value
			}
		case "-submitted":
			if record.Submitted, err = time.Parse(time.RFC3339, value); err != nil {
				r.t.Error(err)
			}
		case "-store", "-log-format", "-log-level":
		default:
			r.t.Errorf("the exit handler is given the flag %s, which is not known", name)
		}
	}
	finished := time.Now().UTC()
	record.Finished = &finished
	if err := r.world.Record(r.ctx, record); err != nil {
		r.t.Error(err)
	}
}

var variable = regexp.MustCompile(`{{workflow\.[^}]+}}`)

func (r *run) get(m map[string]bool, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return m[name]
}

var reference = regexp.MustCompile(`^{{tasks\.(.+)\.outputs\.parameters\.(.+)}}$`)

// task runs a task, once for each item of its withParam.
func (r *run) task(task *wfv1.DAGTask, outputs map[string]string) bool {
	template := r.template.GetTemplateByName(task.Template)
	if task.WithParam == "" {
		return r.pod(task.Name, template, "", outputs)
	}
	ref := reference.FindStringSubmatch(task.WithParam)
	r.mu.Lock()
	list := outputs[ref[1]+"."+ref[2]]
	r.mu.Unlock()
	var items []string
	if err := json.Unmarshal([]byte(list), &items); err != nil {
		r.node(task.Name, wfv1.NodeTypeSkipped, wfv1.NodeError, err.Error(), nil)
		return false
	}
	if len(items) == 0 {
		r.node(task.Name, wfv1.NodeTypeSkipped, wfv1.NodeSkipped, "Skipped, empty params", nil)
		return true
	}
	r.node(task.Name, wfv1.NodeTypeTaskGroup, wfv1.NodeRunning, "", nil)
	var all sync.WaitGroup
	ok := make([]bool, len(items))
	for i, item := range items {
		all.Go(func() { ok[i] = r.pod(fmt.Sprintf("%s(%d:%s)", task.Name, i, item), template, item, outputs) })
	}
	all.Wait()
	phase := wfv1.NodeSucceeded
	for i := range ok {
		if !ok[i] {
			phase = wfv1.NodeFailed
		}
	}
	r.node(task.Name, wfv1.NodeTypeTaskGroup, phase, "", nil)
	return phase == wfv1.NodeSucceeded
}

// pod runs a container template until its retryStrategy gives up.
func (r *run) pod(name string, template *wfv1.Template, item string, outputs map[string]string) bool {
	attempts := 1
	if template.RetryStrategy != nil {
		attempts += template.RetryStrategy.Limit.IntValue()
		r.node(name, wfv1.NodeTypeRetry, wfv1.NodeRunning, "", nil)
	}
	for n := range attempts {
		pod := name
		if template.RetryStrategy != nil {
			pod = fmt.Sprintf("%s(%d)", name, n)
		}
		if r.ctx.Err() != nil {
			r.node(name, wfv1.NodeTypePod, wfv1.NodeFailed, "workflow shutdown with strategy: Stop", nil)
			return false
		}
		r.node(pod, wfv1.NodeTypePod, wfv1.NodeRunning, "", nil)
		var shards []string
		err := r.world.Execute(r.ctx, r.event(template, item, n+1), func(s []string) { shards = s })
		code := workflows.ExitCode(err)
		phase, message := wfv1.NodeSucceeded, ""
		if err != nil {
			phase, message = wfv1.NodeFailed, fmt.Sprintf("Error (exit code %d)", code)
		}
		if len(template.Outputs.Parameters) > 0 && err == nil {
			list, _ := json.Marshal(shards)
			if shards == nil {
				phase, message = wfv1.NodeError, "path not found"
			}
			r.mu.Lock()
			outputs[template.Name+"."+template.Outputs.Parameters[0].Name] = string(list)
			r.mu.Unlock()
		}
		r.node(pod, wfv1.NodeTypePod, phase, message, &code)
		if template.RetryStrategy != nil && (phase == wfv1.NodeSucceeded || n == attempts-1 || !again(template.RetryStrategy.Expression, phase, code)) {
			r.node(name, wfv1.NodeTypeRetry, phase, message, nil)
		} else if template.RetryStrategy != nil {
			continue
		}
		return phase == wfv1.NodeSucceeded
	}
	return false
}

// again evaluates the one form of expression that is rendered.
func again(expression string, phase wfv1.NodePhase, code int) bool {
	wanted, _ := strconv.Atoi(expression[strings.LastIndexByte(expression, ' ')+1:])
	return phase == wfv1.NodeError || code == wanted
}

// event is what a program learns from its arguments.
func (r *run) event(template *wfv1.Template, item string, attempt int) workflowstest.Event {
	e := workflowstest.Event{Step: path.Base(template.Container.Command[0]), Attempt: attempt}
	for _, arg := range template.Container.Args {
		name, value, _ := strings.Cut(arg, "=")
		switch {
		case name == "-run":
			value = argo.Identity(r.workflow)
			e.Run = value
			continue
		case value == "{{inputs.parameters.shard}}":
			e.Shard = item
			continue
		case name == "-store" || strings.HasPrefix(name, "-log-") || name == "-shards-file":
			continue
		case strings.Contains(value, "{{"):
			value = ""
			if p := r.workflow.Spec.Arguments.GetParameterByName(strings.TrimPrefix(name, "-")); p != nil {
				value = p.Value.String()
			}
			if value == "" {
				continue
			}
			arg = name + "=" + value
		}
		e.Flags = append(e.Flags, arg)
	}
	for _, v := range template.Container.Env {
		if v.Name != workflows.TraceVariable {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(v.Value, "{{workflow.parameters."), "}}")
		for _, of := range []wfv1.Arguments{r.template.Spec.Arguments, r.workflow.Spec.Arguments} { // the run's own last
			if p := of.GetParameterByName(name); p != nil {
				e.Trace = p.Value.String()
			}
		}
	}
	return e
}

// node writes a node. Times of one second, as Argo has them.
func (r *run) node(name string, kind wfv1.NodeType, phase wfv1.NodePhase, message string, code *int) {
	r.mu.Lock()
	name = r.workflow.Name + "." + name
	id := r.workflow.NodeID(name)
	n, ok := r.status.Nodes[id]
	if !ok {
		n = wfv1.NodeStatus{ID: id, Name: name, StartedAt: metav1.Now()}
	}
	n.Type, n.Phase, n.Message = kind, phase, message
	if n.Phase.Fulfilled(nil) {
		n.FinishedAt = metav1.Now()
	}
	if code != nil {
		text := strconv.Itoa(*code)
		n.Outputs = &wfv1.Outputs{ExitCode: &text}
	}
	r.status.Nodes[id] = n
	r.mu.Unlock()
	r.write()
}

func (r *run) write() {
	r.mu.Lock()
	defer r.mu.Unlock()
	patch, err := json.Marshal(map[string]any{"status": r.status})
	if err != nil {
		r.t.Error(err)
	}
	_, err = r.client.Patch(context.WithoutCancel(r.ctx), r.workflow.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !errors.Is(err, context.Canceled) {
		r.t.Errorf("write status of %s: %v", r.workflow.Name, err)
	}
}

// options of an installation in which every program has an image.
func options(pipelines ...workflows.Pipeline) argo.Options {
	o := argo.Options{
		Store: "s3://scaling?endpoint=store:9000", Jobs: map[string]argo.Job{},
		Report: argo.Job{Image: "registry.example/self-scaling/controller:1.0.0", ServiceAccount: "self-scaling-workflows", Timeout: time.Minute},
	}
	for _, p := range pipelines {
		for i := range p.Steps {
			job := p.Steps[i].JobName()
			o.Jobs[job] = argo.Job{Image: "registry.example/self-scaling/" + job + ":1.0.0", ServiceAccount: "self-scaling-" + job, Timeout: 30 * time.Minute}
		}
	}
	return o
}

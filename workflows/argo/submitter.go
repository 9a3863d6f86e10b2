package argo

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/change"
)

// Workflows is the resource that a [Submitter] needs get, list, watch, create and
// patch on.
var Workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

// annotationSubmitted is when the submitter made a Workflow, to the nanosecond. It
// orders those of one second, and nothing else.
const annotationSubmitted = "self-scaling.github.io/submitted"

// Config says what a [Submitter] works with. Client, Namespace and Pipelines must be
// given.
type Config struct {
	// Client is dynamic, because one Workflow that somebody wrote by hand and that
	// does not fit its type would break every list of a typed client.
	Client    dynamic.Interface
	Namespace string
	// Name is the installation's, as in [Options].
	Name      string
	Pipelines []workflows.Pipeline
	// Resync is after how long Wait asks again although no change was seen; 0
	// means 30 s.
	Resync time.Duration
	Clock  clock.Clock  // nil means the real one
	Logger *slog.Logger // nil means none
}

// Submitter implements [workflows.Submitter] on the Workflows of a namespace. It
// keeps no state: any number of them, in any number of processes, are one.
type Submitter struct {
	config    Config
	options   Options // for names and labels
	client    dynamic.ResourceInterface
	pipelines map[string]*workflows.Pipeline
}

var _ workflows.Submitter = (*Submitter)(nil)

// New returns a submitter. It returns schemas.CodeInvalidConfig for a pipeline that
// is not valid.
func New(c Config) (*Submitter, error) {
	if c.Client == nil || c.Namespace == "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "argo submitter: a client and a namespace must be given")
	}
	setDefault(&c.Name, partOf)
	setDefault(&c.Resync, 30*time.Second)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Submitter{
		config: c, options: Options{Name: c.Name}, client: c.Client.Resource(Workflows).Namespace(c.Namespace),
		pipelines: map[string]*workflows.Pipeline{},
	}
	for _, p := range c.Pipelines {
		if err := p.Validate(); err != nil {
			return nil, err
		}
		s.pipelines[p.Name] = &p
	}
	return s, nil
}

// Submit implements [workflows.Submitter]. The Workflow's name follows from the
// run-id, so that the API server itself refuses a second one.
func (s *Submitter) Submit(ctx context.Context, r workflows.Request) (workflows.Run, error) {
	p, parameters, err := r.Resolve(s.pipelines)
	if err != nil {
		return workflows.Run{}, err
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s.workflow(p, &r, parameters))
	if err != nil {
		return workflows.Run{}, schemas.Errorf(schemas.CodeInternal, "run %s: encode Workflow: %w", r.RunID, err)
	}
	delete(object, "status")
	created, err := s.client.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: partOf})
	if err == nil {
		w, err := decode(created)
		if err != nil {
			return workflows.Run{}, err
		}
		return record(w, s.pipelines), nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return workflows.Run{}, coded("run "+r.RunID+": create Workflow", err)
	}
	w, err := s.get(ctx, r.RunID)
	if err != nil {
		return workflows.Run{}, err
	}
	old := record(w, s.pipelines)
	if old.ID != r.RunID || old.Pipeline != p.Name || !maps.Equal(old.Parameters, parameters) {
		return workflows.Run{}, schemas.Errorf(schemas.CodeConflict, "run %s: must be the request that was submitted before, pipeline %s with parameters %v, but is pipeline %s with parameters %v", r.RunID, old.Pipeline, old.Parameters, p.Name, parameters)
	}
	return old, nil
}

// workflow is what every way to start a run makes: a reference and arguments.
func (s *Submitter) workflow(p *workflows.Pipeline, q *workflows.Request, parameters map[string]string) *wfv1.Workflow {
	arguments := []wfv1.Parameter{{Name: runIDParameter, Value: anyString(q.RunID)}}
	if q.Trace != "" {
		arguments = append(arguments, wfv1.Parameter{Name: traceParameter, Value: anyString(q.Trace)})
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		arguments = append(arguments, wfv1.Parameter{Name: name, Value: anyString(parameters[name])})
	}
	return &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name: WorkflowName(q.RunID), Namespace: s.config.Namespace, Labels: s.options.labels(p.Name),
			Annotations: map[string]string{annotationSubmitted: s.config.Clock.Now().UTC().Format(time.RFC3339Nano)},
		},
		Spec: wfv1.WorkflowSpec{
			WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: s.options.TemplateName(p.Name)},
			Arguments:           wfv1.Arguments{Parameters: arguments},
		},
	}
}

// Get implements [workflows.Submitter]. It also finds runs that a CronWorkflow, the
// UI or argo submit started.
func (s *Submitter) Get(ctx context.Context, runID string) (workflows.Run, error) {
	w, err := s.get(ctx, runID)
	if err != nil {
		return workflows.Run{}, err
	}
	return record(w, s.pipelines), nil
}

func (s *Submitter) get(ctx context.Context, runID string) (*wfv1.Workflow, error) {
	object, err := s.client.Get(ctx, WorkflowName(runID), metav1.GetOptions{})
	if err == nil {
		return decode(object)
	}
	if !apierrors.IsNotFound(err) {
		return nil, coded("run "+runID+": get Workflow", err)
	}
	all, err := s.list(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, w := range all { // the newest first: a resubmitted run is the later one
		if Identity(w) == runID {
			return w, nil
		}
	}
	return nil, schemas.Errorf(schemas.CodeNotFound, "run %q: no such run", runID)
}

// List implements [workflows.Submitter].
func (s *Submitter) List(ctx context.Context, o workflows.ListOptions) ([]workflows.Run, error) {
	all, err := s.list(ctx, o.Pipeline)
	if err != nil {
		return nil, err
	}
	var runs []workflows.Run
	for _, w := range all {
		if o.Limit > 0 && len(runs) == o.Limit {
			break
		}
		if r := record(w, s.pipelines); o.Phase == "" || r.Phase == o.Phase {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

// page is how many Workflows are asked for at once.
const page = 100

// list returns the Workflows of a pipeline, or of all, the newest first. One that
// does not fit its type is left out and logged.
func (s *Submitter) list(ctx context.Context, pipeline string) ([]*wfv1.Workflow, error) {
	set := labels.Set{LabelPartOf: partOf, LabelInstance: s.config.Name}
	if pipeline != "" {
		set[LabelPipeline] = pipeline
	}
	var all []*wfv1.Workflow
	for o := (metav1.ListOptions{LabelSelector: labels.FormatLabels(set), Limit: page}); ; {
		list, err := s.client.List(ctx, o)
		if err != nil {
			return nil, coded("list Workflows", err)
		}
		for i := range list.Items {
			w, err := decode(&list.Items[i])
			if err != nil {
				s.config.Logger.Warn("Workflow left out", "workflow", list.Items[i].GetName(), "error", err)
				continue
			}
			all = append(all, w)
		}
		if o.Continue = list.GetContinue(); o.Continue == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b *wfv1.Workflow) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			submitted(b).Compare(submitted(a)), strings.Compare(b.Name, a.Name))
	})
	return all, nil
}

func submitted(w *wfv1.Workflow) time.Time {
	t, err := time.Parse(time.RFC3339Nano, w.Annotations[annotationSubmitted])
	if err != nil {
		return w.CreationTimestamp.Time
	}
	return t
}

// Stop implements [workflows.Submitter]. Steps that run are told to end; the exit
// code with which they do so is theirs.
func (s *Submitter) Stop(ctx context.Context, runID string) error {
	w, err := s.get(ctx, runID)
	if err != nil {
		return err
	}
	if w.Status.Phase.Completed() || w.Spec.Shutdown != "" {
		return nil
	}
	patch := fmt.Appendf(nil, `{"spec":{"shutdown":%q}}`, wfv1.ShutdownStrategyStop)
	if _, err := s.client.Patch(ctx, w.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: partOf}); err != nil {
		return coded("run "+runID+": stop Workflow", err)
	}
	return nil
}

// Wait implements [workflows.Submitter].
func (s *Submitter) Wait(ctx context.Context, runID string) (workflows.Run, error) {
	w, err := s.get(context.WithoutCancel(ctx), runID)
	if err != nil {
		return workflows.Run{}, err
	}
	name := w.Name
	for {
		if ctx.Err() != nil {
			r := record(w, s.pipelines)
			if r.Phase.Done() {
				return r, nil
			}
			return r, ctx.Err()
		}
		// The watch begins before the look, so that no change falls between.
		watcher, err := s.client.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
		if err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("watch failed", "run", runID, "error", err)
		}
		w, err = s.byName(ctx, name, runID, w)
		if err != nil || w.Status.Phase.Completed() {
			if watcher != nil {
				watcher.Stop()
			}
			if err != nil {
				return workflows.Run{}, err
			}
			return record(w, s.pipelines), nil
		}
		change.Wait(ctx, watcher, w.ResourceVersion, s.config.Clock, s.config.Resync)
	}
}

// byName returns the Workflow as it is now, or the one before where the server does
// not answer just now.
func (s *Submitter) byName(ctx context.Context, name, runID string, before *wfv1.Workflow) (*wfv1.Workflow, error) {
	object, err := s.client.Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return decode(object)
	case apierrors.IsNotFound(err):
		return nil, schemas.Errorf(schemas.CodeNotFound, "run %q: the Workflow was deleted", runID)
	}
	s.config.Logger.Warn("Workflow not read", "run", runID, "error", err)
	return before, nil
}

func decode(object *unstructured.Unstructured) (*wfv1.Workflow, error) {
	var w wfv1.Workflow
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &w); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "Workflow %s must fit its type: %w", object.GetName(), err)
	}
	return &w, nil
}

// coded gives an error of the API server the code that says what to do about it.
func coded(doing string, err error) error {
	code := schemas.CodeUnavailable
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
		// A NotFound on create means that the resource itself is not there.
		code = schemas.CodeInvalidConfig
	case apierrors.IsConflict(err):
		code = schemas.CodeConflict
	}
	return schemas.Errorf(code, "%s: %w", doing, err)
}

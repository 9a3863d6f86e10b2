package batch

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/change"
)

// The keys of a run's ConfigMap.
const (
	recordKey = "record"  // workflows.Run as JSON
	stopKey   = "stop"    // there once the run was told to stop
	shardsKey = "shards." // and the name of a step: what it named, as a JSON list
)

// annotationSubmitted is when a run was submitted, to the nanosecond. It orders those
// of one second, and nothing else.
const annotationSubmitted = "self-scaling.github.io/submitted"

// annotationTrace is the trace context that a run's steps belong to.
const annotationTrace = "self-scaling.github.io/traceparent"

// Submitter implements [workflows.Submitter]. It keeps no state.
type Submitter struct {
	config    Config
	pipelines map[string]*workflows.Pipeline
}

var _ workflows.Submitter = (*Submitter)(nil)

// New returns a submitter. It returns schemas.CodeInvalidConfig for a configuration
// that cannot work. Nothing runs until somebody calls [Submitter.Run].
func New(c Config) (*Submitter, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	s := &Submitter{config: c, pipelines: map[string]*workflows.Pipeline{}}
	for _, p := range c.Pipelines {
		s.pipelines[p.Name] = &p
	}
	return s, nil
}

// Submit implements [workflows.Submitter].
func (s *Submitter) Submit(ctx context.Context, r workflows.Request) (workflows.Run, error) {
	p, parameters, err := r.Resolve(s.pipelines)
	if err != nil {
		return workflows.Run{}, err
	}
	record := workflows.Run{ID: r.RunID, Pipeline: p.Name, Parameters: parameters, Phase: workflows.Pending}
	for i := range p.Steps {
		record.Steps = append(record.Steps, workflows.StepRecord{Step: p.Steps[i].Name, Phase: workflows.Pending})
	}
	data, err := json.Marshal(record)
	if err != nil {
		return workflows.Run{}, schemas.Errorf(schemas.CodeInternal, "run %s: encode record: %w", r.RunID, err)
	}
	name := runName(r.RunID)
	annotations := map[string]string{annotationSubmitted: s.config.Clock.Now().UTC().Format(time.RFC3339Nano)}
	if r.Trace != "" {
		annotations[annotationTrace] = r.Trace
	}
	created, err := s.configMaps().Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.config.Namespace, Labels: s.config.labels(p.Name, name), Annotations: annotations,
		},
		Data: map[string]string{recordKey: string(data)},
	}, metav1.CreateOptions{FieldManager: partOf})
	if err == nil {
		return decode(created)
	}
	if !apierrors.IsAlreadyExists(err) {
		return workflows.Run{}, coded("run "+r.RunID+": create", err)
	}
	old, err := s.Get(ctx, r.RunID)
	if err != nil {
		return workflows.Run{}, err
	}
	if old.ID != r.RunID || old.Pipeline != p.Name || !maps.Equal(old.Parameters, parameters) {
		return workflows.Run{}, schemas.Errorf(schemas.CodeConflict, "run %s: must be the request that was submitted before, pipeline %s with parameters %v, but is pipeline %s with parameters %v", r.RunID, old.Pipeline, old.Parameters, p.Name, parameters)
	}
	return old, nil
}

// Get implements [workflows.Submitter].
func (s *Submitter) Get(ctx context.Context, runID string) (workflows.Run, error) {
	m, err := s.get(ctx, runID)
	if err != nil {
		return workflows.Run{}, err
	}
	return decode(m)
}

func (s *Submitter) get(ctx context.Context, runID string) (*corev1.ConfigMap, error) {
	m, err := s.configMaps().Get(ctx, runName(runID), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, schemas.Errorf(schemas.CodeNotFound, "run %q: no such run", runID)
	}
	if err != nil {
		return nil, coded("run "+runID+": get", err)
	}
	return m, nil
}

// List implements [workflows.Submitter].
func (s *Submitter) List(ctx context.Context, o workflows.ListOptions) ([]workflows.Run, error) {
	all, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var runs []workflows.Run
	for _, m := range slices.Backward(all) {
		if o.Limit > 0 && len(runs) == o.Limit {
			break
		}
		r, err := decode(&m)
		if err != nil {
			s.config.Logger.Warn("run left out", "run", m.Name, "error", err)
			continue
		}
		if (o.Pipeline == "" || r.Pipeline == o.Pipeline) && (o.Phase == "" || r.Phase == o.Phase) {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

// list returns the ConfigMaps of all runs, the oldest first.
func (s *Submitter) list(ctx context.Context) ([]corev1.ConfigMap, error) {
	var all []corev1.ConfigMap
	for o := (metav1.ListOptions{LabelSelector: s.selector(), Limit: 500}); ; {
		list, err := s.configMaps().List(ctx, o)
		if err != nil {
			return nil, coded("list runs", err)
		}
		all = append(all, list.Items...)
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b corev1.ConfigMap) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), submitted(&a).Compare(submitted(&b)), strings.Compare(a.Name, b.Name))
	})
	return all, nil
}

// selector finds the objects of all runs of the installation.
func (s *Submitter) selector() string {
	return labels.FormatLabels(labels.Set{LabelPartOf: partOf, LabelInstance: s.config.Name, LabelComponent: "workflows"}) + "," + LabelRun
}

func submitted(m *corev1.ConfigMap) time.Time {
	t, err := time.Parse(time.RFC3339Nano, m.Annotations[annotationSubmitted])
	if err != nil {
		return m.CreationTimestamp.Time
	}
	return t
}

// Stop implements [workflows.Submitter].
func (s *Submitter) Stop(ctx context.Context, runID string) error {
	r, err := s.Get(ctx, runID)
	if err != nil || r.Phase.Done() {
		return err
	}
	return s.patch(ctx, runName(runID), map[string]string{stopKey: "true"})
}

// Wait implements [workflows.Submitter].
func (s *Submitter) Wait(ctx context.Context, runID string) (workflows.Run, error) {
	r, err := s.Get(context.WithoutCancel(ctx), runID)
	known := "" // version of what r was read from
	for err == nil && !r.Phase.Done() {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		// The watch begins before the look, so that no change falls between.
		watcher, failure := s.configMaps().Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", runName(runID)).String()})
		if failure != nil {
			s.config.Logger.Warn("watch failed", "run", runID, "error", failure)
		}
		var next workflows.Run
		m, failure := s.get(context.WithoutCancel(ctx), runID)
		if failure == nil {
			known = m.ResourceVersion
			next, failure = decode(m)
		}
		switch {
		case failure == nil:
			r = next
		case schemas.CodeOf(failure) == schemas.CodeUnavailable:
			s.config.Logger.Warn("run not read", "run", runID, "error", failure)
		default:
			err = failure
		}
		switch {
		case err == nil && !r.Phase.Done():
			change.Wait(ctx, watcher, known, s.config.Clock, s.config.Resync)
		case watcher != nil:
			watcher.Stop()
		}
	}
	return r, err
}

// patch writes some keys of a run's ConfigMap and leaves the others to those who
// write them.
func (s *Submitter) patch(ctx context.Context, name string, data map[string]string) error {
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return schemas.Errorf(schemas.CodeInternal, "run %s: encode: %w", name, err)
	}
	if _, err := s.configMaps().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: partOf}); err != nil {
		return coded("run "+name+": write", err)
	}
	return nil
}

func decode(m *corev1.ConfigMap) (workflows.Run, error) {
	var r workflows.Run
	if err := json.Unmarshal([]byte(m.Data[recordKey]), &r); err != nil {
		return r, schemas.Errorf(schemas.CodeCorrupt, "ConfigMap %s: %s must be the record of a run: %w", m.Name, recordKey, err)
	}
	r.Submitted, r.Object = m.CreationTimestamp.UTC(), m.Name
	return r, nil
}

// coded gives an error of the API server the code that says what to do about it.
func coded(doing string, err error) error {
	code := schemas.CodeUnavailable
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		code = schemas.CodeInvalidConfig
	case apierrors.IsNotFound(err):
		code = schemas.CodeNotFound
	case apierrors.IsConflict(err):
		code = schemas.CodeConflict
	}
	return schemas.Errorf(code, "%s: %w", doing, err)
}

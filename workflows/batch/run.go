package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedbatch "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

func (s *Submitter) configMaps() typedcore.ConfigMapInterface {
	return s.config.Client.CoreV1().ConfigMaps(s.config.Namespace)
}

func (s *Submitter) jobs() typedbatch.JobInterface {
	return s.config.Client.BatchV1().Jobs(s.config.Namespace)
}

// Run moves runs on until ctx ends, whose error it returns: at each change of a run or
// a Job, and from time to time without one. What fails is logged and tried again.
func (s *Submitter) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	for _, open := range []func(context.Context, metav1.ListOptions) (watch.Interface, error){s.configMaps().Watch, s.jobs().Watch} {
		watching.Go(func() { s.watch(ctx, open, changed) })
	}
	for {
		if err := s.reconcile(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("runs were not moved on", "error", err)
		}
		timer := s.config.Clock.NewTimer(s.config.Resync)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-changed:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// watch tells of changes. A watch that ends is opened again.
func (s *Submitter) watch(ctx context.Context, open func(context.Context, metav1.ListOptions) (watch.Interface, error), changed chan<- struct{}) {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // somebody has told already
		}
	}
	for ctx.Err() == nil {
		watcher, err := open(ctx, metav1.ListOptions{LabelSelector: s.selector()})
		if err == nil {
			tell() // of what happened before
			for ok := true; ok; {
				select {
				case _, ok = <-watcher.ResultChan():
					tell()
				case <-ctx.Done():
					ok = false
				}
			}
			watcher.Stop()
		}
		timer := s.config.Clock.NewTimer(time.Second)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// reconcile moves every unfinished run on as far as it goes now.
func (s *Submitter) reconcile(ctx context.Context) error {
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	// One run a pipeline: the one that has begun, else the oldest.
	first := map[string]string{}
	records := map[string]workflows.Run{}
	for i := range all {
		m := &all[i]
		r, err := decode(m)
		if err != nil {
			s.config.Logger.Warn("run left out", "run", m.Name, "error", err)
			continue
		}
		records[m.Name] = r
		if _, ok := first[r.Pipeline]; !ok && !r.Phase.Done() || r.Phase == workflows.Running {
			first[r.Pipeline] = m.Name
		}
	}
	for i := range all {
		m := &all[i]
		r, ok := records[m.Name]
		if !ok {
			continue
		}
		switch {
		case r.Phase.Done():
			err = s.expire(ctx, m, r)
		case r.Phase == workflows.Pending && m.Data[stopKey] != "":
			for i := range r.Steps {
				r.Steps[i].Phase, r.Steps[i].Message = workflows.Omitted, "the run was stopped before it"
			}
			conclude(&r, s.config.Clock.Now().UTC())
			err = s.write(ctx, m, r)
		case first[r.Pipeline] == m.Name:
			err = s.advance(ctx, m, r)
		}
		if err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("run was not moved on", "run", r.ID, "error", err)
		}
	}
	return nil
}

// expire deletes a run that finished long ago, and with it its Jobs.
func (s *Submitter) expire(ctx context.Context, m *corev1.ConfigMap, r workflows.Run) error {
	keep := s.config.KeepFailed
	if r.Phase == workflows.Succeeded {
		keep = s.config.KeepSucceeded
	}
	if r.Finished == nil || s.config.Clock.Since(*r.Finished) < keep {
		return nil
	}
	background := metav1.DeletePropagationBackground
	err := s.configMaps().Delete(ctx, m.Name, metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &m.UID}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// advance looks at the Jobs of a run, starts those that are due and writes the record.
// Everything it does may be done again.
func (s *Submitter) advance(ctx context.Context, m *corev1.ConfigMap, r workflows.Run) error {
	p := s.pipelines[r.Pipeline]
	if p == nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "run %s: pipeline %q is not known", r.ID, r.Pipeline)
	}
	selector := metav1.ListOptions{LabelSelector: LabelRun + "=" + m.Name}
	jobList, err := s.jobs().List(ctx, selector)
	if err != nil {
		return coded("list Jobs", err)
	}
	podList, err := s.config.Client.CoreV1().Pods(s.config.Namespace).List(ctx, selector)
	if err != nil {
		return coded("list pods", err)
	}
	before, err := json.Marshal(r)
	if err != nil {
		return schemas.WithCode(schemas.CodeInternal, err)
	}
	now := s.config.Clock.Now().UTC()
	if r.Phase == workflows.Pending {
		r.Phase, r.Started = workflows.Running, &now
	}
	stop := m.Data[stopKey] != ""
	var due []*batchv1.Job     // to be created
	var suspend []*batchv1.Job // to be stopped
	var steps []workflows.StepRecord
	for i := range p.Steps {
		step := &p.Steps[i]
		records := of(r.Steps, step.Name)
		done := !slices.ContainsFunc(records, func(x workflows.StepRecord) bool { return !x.Phase.Done() })
		j := slices.IndexFunc(jobList.Items, func(j batchv1.Job) bool { return j.Labels[LabelStep] == step.Name })
		switch {
		case done: // and written: whatever became of the Job since
		case j >= 0:
			job := &jobList.Items[j]
			pods := slices.DeleteFunc(slices.Clone(podList.Items), func(p corev1.Pod) bool { return p.Labels[LabelStep] != step.Name })
			var shards []string
			if step.FanOut != "" {
				if err := json.Unmarshal([]byte(m.Data[shardsKey+step.FanOut]), &shards); err != nil {
					return schemas.Errorf(schemas.CodeCorrupt, "run %s: list of shards of step %s: %w", r.ID, step.FanOut, err)
				}
			}
			records = observe(job, pods, step, shards, r.Steps)
			if stop && condition(job) == "" && (job.Spec.Suspend == nil || !*job.Spec.Suspend) {
				suspend = append(suspend, job)
			}
		default:
			var job *batchv1.Job
			if records, job, err = s.start(ctx, m, &r, p, step, steps, stop); err != nil {
				return err
			}
			if job != nil {
				due = append(due, job)
			}
		}
		for i := range records {
			if records[i].Phase.Done() && records[i].Finished == nil {
				records[i].Finished = &now
			}
		}
		steps = append(steps, records...)
	}
	r.Steps = steps
	if len(due) == 0 && !slices.ContainsFunc(steps, func(x workflows.StepRecord) bool { return !x.Phase.Done() }) {
		conclude(&r, now)
	}
	// What was seen is written first, so that attempts are remembered when stopping
	// deletes their pods.
	if after, err := json.Marshal(r); err != nil || string(after) != string(before) {
		if err := s.write(ctx, m, r); err != nil {
			return err
		}
	}
	for _, job := range due {
		if _, err := s.jobs().Create(ctx, job, metav1.CreateOptions{FieldManager: partOf}); err != nil && !apierrors.IsAlreadyExists(err) {
			return coded("run "+r.ID+": create Job "+job.Name, err)
		}
	}
	for _, job := range suspend {
		if _, err := s.jobs().Patch(ctx, job.Name, types.MergePatchType, []byte(`{"spec":{"suspend":true}}`), metav1.PatchOptions{FieldManager: partOf}); err != nil {
			return coded("run "+r.ID+": suspend Job "+job.Name, err)
		}
	}
	return nil
}

// start says what is to become of a step that has no Job: its records, and a Job where
// it is time for one. Earlier are the records of the steps before it.
func (s *Submitter) start(ctx context.Context, m *corev1.ConfigMap, r *workflows.Run, p *workflows.Pipeline, step *workflows.Step, earlier []workflows.StepRecord, stop bool) ([]workflows.StepRecord, *batchv1.Job, error) {
	record := workflows.StepRecord{Step: step.Name, Phase: workflows.Pending}
	waiting := false
	for _, name := range step.Requires() {
		for _, x := range of(earlier, name) {
			waiting = waiting || !x.Phase.Done()
			if x.Phase.Done() && x.Phase != workflows.Succeeded && record.Message == "" {
				record.Message = fmt.Sprintf("step %s did not succeed", name)
			}
		}
	}
	switch {
	case waiting:
		record.Message = ""
		return []workflows.StepRecord{record}, nil, nil
	case record.Message != "" || stop:
		if record.Message == "" {
			record.Message = "the run was stopped before it"
		}
		record.Phase = workflows.Omitted
		return []workflows.StepRecord{record}, nil, nil
	case step.FanOut == "":
		return []workflows.StepRecord{record}, s.config.job(m, p, step, r.ID, r.Parameters, nil), nil
	}
	shards, err := s.config.Shards(ctx, r.ID, step.FanOut)
	sorted := slices.Compact(slices.Sorted(slices.Values(shards)))
	switch {
	case schemas.CodeOf(err) == schemas.CodeNotFound:
		record.Phase, record.Message = workflows.Failed, fmt.Sprintf("step %s must name its shards, but did not", step.FanOut)
		return []workflows.StepRecord{record}, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("run %s: shards of step %s: %w", r.ID, step.FanOut, err)
	case len(sorted) != len(shards) || slices.ContainsFunc(shards, func(x string) bool { return !validShard(x) }):
		record.Phase, record.Message = workflows.Failed, fmt.Sprintf("step %s must name each shard once, and by letters, digits, '-', '_' and '.', but named %q", step.FanOut, shards)
		return []workflows.StepRecord{record}, nil, nil
	case len(shards) == 0:
		record.Phase, record.Message = workflows.Succeeded, "there was no shard to run it for"
		return []workflows.StepRecord{record}, nil, nil
	}
	list, err := json.Marshal(shards)
	if err != nil {
		return nil, nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	// Kept, so that the indexes of the Job mean the same shards for ever.
	if err := s.patch(ctx, m.Name, map[string]string{shardsKey + step.FanOut: string(list)}); err != nil {
		return nil, nil, err
	}
	var records []workflows.StepRecord
	for _, shard := range shards {
		records = append(records, workflows.StepRecord{Step: step.Name, Shard: shard, Phase: workflows.Pending})
	}
	return records, s.config.job(m, p, step, r.ID, r.Parameters, shards), nil
}

// validShard reports whether a shard's id can stand in a list with commas.
func validShard(id string) bool { return schemas.ValidateRunID(id) == nil }

// of returns the records of one step.
func of(records []workflows.StepRecord, step string) []workflows.StepRecord {
	var out []workflows.StepRecord
	for _, r := range records {
		if r.Step == step {
			out = append(out, r)
		}
	}
	return out
}

// write writes a run's record, and keeps that of one that has just ended.
func (s *Submitter) write(ctx context.Context, m *corev1.ConfigMap, r workflows.Run) error {
	if r.Phase.Done() && s.config.Record != nil {
		if err := s.config.Record(ctx, r.Clone()); err != nil {
			s.config.Logger.Warn("record was not kept", "run", r.ID, "error", err)
		}
	}
	data, err := json.Marshal(r)
	if err != nil {
		return schemas.Errorf(schemas.CodeInternal, "run %s: encode record: %w", r.ID, err)
	}
	return s.patch(ctx, m.Name, map[string]string{recordKey: string(data)})
}

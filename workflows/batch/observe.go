package batch

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/self-scaling/self-scaling/workflows"
)

// observe turns a Job and its pods into the records of a step: one or, of a fan-out,
// one a shard. Before holds the records of the last look, which remember attempts
// whose pods are gone.
func observe(j *batchv1.Job, pods []corev1.Pod, step *workflows.Step, shards []string, before []workflows.StepRecord) []workflows.StepRecord {
	var out []workflows.StepRecord
	if step.FanOut == "" {
		r := one(j, pods, workflows.StepRecord{Step: step.Name}, before)
		switch condition(j) {
		case batchv1.JobComplete:
			r.Phase = workflows.Succeeded
		case batchv1.JobFailed:
			r.Phase = workflows.Failed
		}
		out = append(out, finish(j, r))
	}
	completed, failed := indexes(j.Status.CompletedIndexes), indexes(ptrString(j.Status.FailedIndexes))
	for i, shard := range shards {
		own := slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return p.Annotations[batchv1.JobCompletionIndexAnnotation] != strconv.Itoa(i) })
		r := one(j, own, workflows.StepRecord{Step: step.Name, Shard: shard}, before)
		switch {
		case completed(i):
			r.Phase = workflows.Succeeded
		case failed(i), condition(j) == batchv1.JobFailed:
			r.Phase = workflows.Failed
		}
		out = append(out, finish(j, r))
	}
	return out
}

// one fills in what pods say of a record.
func one(j *batchv1.Job, pods []corev1.Pod, r workflows.StepRecord, before []workflows.StepRecord) workflows.StepRecord {
	slices.SortStableFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	r.Phase, r.Attempts = workflows.Pending, len(pods)
	for _, b := range before {
		if b.Step == r.Step && b.Shard == r.Shard {
			r.Attempts, r.Started, r.ExitCode, r.Message = max(r.Attempts, b.Attempts), b.Started, b.ExitCode, b.Message
		}
	}
	for i := range pods {
		p := &pods[i]
		if t := p.Status.StartTime; t != nil && r.Started == nil {
			u := t.UTC()
			r.Started = &u
		}
		for _, s := range p.Status.ContainerStatuses {
			if end := s.State.Terminated; s.Name == container && end != nil {
				code := int(end.ExitCode)
				r.ExitCode, r.Message = &code, ""
				if code != workflows.ExitOK {
					r.Message = fmt.Sprintf("ended with exit code %d", code)
				}
			}
		}
		if active(p) {
			r.Phase = workflows.Running
		}
	}
	if r.Phase == workflows.Pending && r.Attempts > 0 {
		r.Phase = workflows.Running // between two attempts
	}
	return r
}

// finish completes a record whose phase is final, and that of a Job that was told to
// stop once its pods are gone.
func finish(j *batchv1.Job, r workflows.StepRecord) workflows.StepRecord {
	if !r.Phase.Done() && j.Spec.Suspend != nil && *j.Spec.Suspend && j.Status.Active == 0 && (j.Status.Terminating == nil || *j.Status.Terminating == 0) {
		r.Phase, r.Message, r.ExitCode = workflows.Stopped, "the run was stopped", nil
		if r.Attempts == 0 {
			r.Phase = workflows.Omitted
		}
	}
	switch r.Phase {
	case workflows.Succeeded:
		code := workflows.ExitOK
		r.ExitCode, r.Message = &code, ""
	case workflows.Failed:
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
				r.Message = cmp.Or(r.Message, c.Message, c.Reason)
			}
		}
	}
	return r
}

// condition returns how a Job ended, "" while it has not.
func condition(j *batchv1.Job) batchv1.JobConditionType {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// active reports whether a pod has yet to end.
func active(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// indexes reads a list such as "1,3-5,7".
func indexes(list string) func(int) bool {
	type span struct{ from, to int }
	var spans []span
	for part := range strings.SplitSeq(list, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil {
			spans = append(spans, span{a, b})
		}
	}
	return func(i int) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.from <= i && i <= s.to })
	}
}

func ptrString(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// conclude sets what follows for a run from its steps, once all are done.
func conclude(r *workflows.Run, now time.Time) {
	stopped, failed, first := false, 0, ""
	for _, s := range r.Steps {
		switch s.Phase {
		case workflows.Failed:
			if failed++; first == "" {
				first = s.Step
				if s.Shard != "" {
					first += "[" + s.Shard + "]"
				}
				first += ": " + s.Message
			}
		case workflows.Stopped, workflows.Omitted:
			stopped = true
		}
	}
	if now.Before(r.Submitted) { // clocks differ
		now = r.Submitted
	}
	r.Phase, r.Message, r.Finished = workflows.Succeeded, "", &now
	switch {
	case failed == 1:
		r.Phase, r.Message = workflows.Failed, "step "+first
	case failed > 1:
		r.Phase, r.Message = workflows.Failed, fmt.Sprintf("%d steps failed; the first is %s", failed, first)
	case stopped:
		r.Phase, r.Message = workflows.Stopped, "the run was stopped"
	}
}

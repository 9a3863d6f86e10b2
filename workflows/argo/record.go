package argo

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// record turns a Workflow into the record of a run. What the Workflow does not say,
// because the controller keeps the state of its nodes elsewhere, is left out, and
// the message says so.
func record(w *wfv1.Workflow, pipelines map[string]*workflows.Pipeline) workflows.Run {
	r := workflows.Run{
		ID:         Identity(w),
		Pipeline:   pipelineOf(w),
		Object:     w.Name,
		Parameters: map[string]string{},
		Message:    w.Status.Message,
		Submitted:  w.CreationTimestamp.UTC(),
		Started:    instant(w.Status.StartedAt),
		Finished:   instant(w.Status.FinishedAt),
	}
	p := pipelines[r.Pipeline]
	for _, a := range w.Spec.Arguments.Parameters {
		known := p == nil || slices.ContainsFunc(p.Parameters, func(x workflows.Parameter) bool { return x.Name == a.Name })
		if known && a.Name != runIDParameter && a.Name != traceParameter && a.Value != nil && *a.Value != "" {
			r.Parameters[a.Name] = a.Value.String()
		}
	}
	nodes, err := nodesOf(w)
	if err != nil {
		r.Message = strings.TrimPrefix(r.Message+"; steps are not known: "+err.Error(), "; ")
	} else if p != nil {
		r.Steps = steps(w, p, nodes)
	}
	r.Phase = phase(w, r.Steps)
	switch {
	case r.Phase == workflows.Pending:
		// Argo sets this already when it queues the Workflow for its mutex.
		r.Started = nil
	case r.Phase.Done() && r.Finished == nil:
		r.Finished = &r.Submitted
	}
	if (r.Phase == workflows.Failed || r.Phase == workflows.Stopped) && r.Message == "" {
		r.Message = "the run was stopped"
		if r.Phase == workflows.Failed {
			r.Message = failure(r.Steps)
		}
	}
	return r
}

// failure says what failed first.
func failure(steps []workflows.StepRecord) string {
	failed, first := 0, ""
	for _, s := range steps {
		if s.Phase != workflows.Failed {
			continue
		}
		if failed++; first == "" {
			first = s.Step
			if s.Shard != "" {
				first += "[" + s.Shard + "]"
			}
			first += ": " + s.Message
		}
	}
	switch failed {
	case 0:
		return "the Workflow failed without saying why"
	case 1:
		return "step " + first
	}
	return fmt.Sprintf("%d steps failed; the first is %s", failed, first)
}

// phase maps the phase of a Workflow. One that was told to stop is Stopped, unless
// every step has succeeded: Argo calls a Workflow that was stopped while it waited
// for a lock Failed, Error or, by a fault of some versions, even Succeeded.
func phase(w *wfv1.Workflow, steps []workflows.StepRecord) workflows.Phase {
	var p workflows.Phase
	switch w.Status.Phase {
	case wfv1.WorkflowUnknown, wfv1.WorkflowPending:
		return workflows.Pending
	case wfv1.WorkflowRunning:
		return workflows.Running
	case wfv1.WorkflowSucceeded:
		p = workflows.Succeeded
	default:
		p = workflows.Failed
	}
	if w.Spec.Shutdown == "" {
		return p
	}
	if p == workflows.Succeeded && !slices.ContainsFunc(steps, func(s workflows.StepRecord) bool { return s.Phase != workflows.Succeeded }) {
		return p
	}
	if slices.ContainsFunc(steps, func(s workflows.StepRecord) bool { return s.Phase == workflows.Failed }) {
		return workflows.Failed
	}
	return workflows.Stopped
}

// nodesOf returns the nodes of a Workflow by name. Argo compresses the state of
// large Workflows, or moves it to a database.
func nodesOf(w *wfv1.Workflow) (map[string]wfv1.NodeStatus, error) {
	nodes := w.Status.Nodes
	if w.Status.OffloadNodeStatusVersion != "" {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "Argo keeps them in its database")
	}
	if w.Status.CompressedNodes != "" {
		data, err := base64.StdEncoding.DecodeString(w.Status.CompressedNodes)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "compressedNodes must be base64: %w", err)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "compressedNodes must be gzip: %w", err)
		}
		// A bound, because a few bytes can stand for gigabytes.
		const most = 64 << 20
		data, err = io.ReadAll(io.LimitReader(z, most+1))
		if err != nil || len(data) > most {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "compressedNodes must hold at most %d bytes of gzip, but %d were read: %w", most, len(data), err)
		}
		if err := json.Unmarshal(data, &nodes); err != nil {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "compressedNodes must be JSON: %w", err)
		}
	}
	byName := make(map[string]wfv1.NodeStatus, len(nodes))
	for _, n := range nodes {
		byName[n.Name] = n
	}
	return byName, nil
}

// steps returns a record for each step, and for each shard of those that fan out.
// Argo names a step's node workflow.step, a shard's node workflow.step(0:shard) and
// an attempt's node like that of its step with a (0) at the end.
func steps(w *wfv1.Workflow, p *workflows.Pipeline, nodes map[string]wfv1.NodeStatus) []workflows.StepRecord {
	var out []workflows.StepRecord
	for i := range p.Steps {
		s := &p.Steps[i]
		name := w.Name + "." + s.Name
		node, ok := nodes[name]
		var shards []workflows.StepRecord
		if ok && s.FanOut != "" {
			for n := 0; ; n++ {
				shard, found := find(nodes, fmt.Sprintf("%s(%d:", name, n))
				if !found {
					break
				}
				shards = append(shards, step(w, s.Name, shardOf(shard), shard, nodes, s.Attempts > 1))
			}
		}
		switch {
		case len(shards) > 0:
			out = append(out, shards...)
		case ok:
			out = append(out, step(w, s.Name, "", node, nodes, s.Attempts > 1))
		default:
			r := workflows.StepRecord{Step: s.Name, Phase: workflows.Pending}
			if w.Status.Phase.Completed() {
				r.Phase, r.Finished, r.Message = workflows.Omitted, instant(w.Status.FinishedAt), "the run ended before it"
			}
			out = append(out, r)
		}
	}
	return out
}

// find returns the node of a shard, which is the shortest name with the prefix:
// those of its attempts are longer.
func find(nodes map[string]wfv1.NodeStatus, prefix string) (wfv1.NodeStatus, bool) {
	var best wfv1.NodeStatus
	for name, n := range nodes {
		if strings.HasPrefix(name, prefix) && (best.Name == "" || len(name) < len(best.Name)) {
			best = n
		}
	}
	return best, best.Name != ""
}

// shardOf returns the shard of a fan-out's node.
func shardOf(n wfv1.NodeStatus) string {
	if n.Inputs != nil {
		if p := n.Inputs.GetParameterByName(shardParameter); p != nil && p.Value != nil {
			return p.Value.String()
		}
	}
	_, shard, _ := strings.Cut(n.Name[strings.LastIndexByte(n.Name, '('):], ":")
	return strings.TrimSuffix(shard, ")")
}

// step maps one node, with the nodes of its attempts where it can have several.
func step(w *wfv1.Workflow, name, shard string, n wfv1.NodeStatus, nodes map[string]wfv1.NodeStatus, retries bool) workflows.StepRecord {
	r := workflows.StepRecord{Step: name, Shard: shard, Message: n.Message, Started: instant(n.StartedAt), Finished: instant(n.FinishedAt)}
	last := n
	if retries && n.Type == wfv1.NodeTypeRetry {
		for {
			attempt, ok := nodes[fmt.Sprintf("%s(%d)", n.Name, r.Attempts)]
			if !ok {
				break
			}
			last = attempt
			r.Attempts++
		}
	} else if n.Type == wfv1.NodeTypePod {
		r.Attempts = 1
	}
	if last.Outputs != nil && last.Outputs.ExitCode != nil {
		if code, err := strconv.Atoi(*last.Outputs.ExitCode); err == nil {
			r.ExitCode = &code
		}
	}
	if done, total, ok := strings.Cut(string(last.Progress), "/"); ok {
		d, err1 := strconv.Atoi(done)
		t, err2 := strconv.Atoi(total)
		if err1 == nil && err2 == nil {
			r.Progress = workflows.Progress{Done: d, Total: t}
		}
	}
	switch n.Phase {
	case wfv1.NodeSucceeded:
		r.Phase = workflows.Succeeded
	case wfv1.NodeFailed, wfv1.NodeError:
		r.Phase = workflows.Failed
		// Of an attempt Argo says why it failed; of all of them, why there was no other.
		r.Message = cmp.Or(last.Message, n.Message)
		// The end of a pod that was told to end is no failure of its own; one
		// that had ended before is.
		if w.Spec.Shutdown != "" && (r.ExitCode == nil || *r.ExitCode == workflows.ExitTemporary || *r.ExitCode > 128) {
			r.Phase = workflows.Stopped
			if r.Attempts == 0 {
				r.Phase = workflows.Omitted
			}
		}
	case wfv1.NodeSkipped:
		// Only a fan-out over no shard is skipped: no task has a condition.
		r.Phase, r.Message = workflows.Succeeded, "there was no shard to run it for"
	case wfv1.NodeOmitted:
		r.Phase = workflows.Omitted
	case wfv1.NodeRunning:
		r.Phase = workflows.Running
	default:
		r.Phase = workflows.Pending
	}
	if !r.Phase.Done() {
		r.Finished = nil
	}
	return r
}

// instant returns nil for a time that was not set.
func instant(t metav1.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

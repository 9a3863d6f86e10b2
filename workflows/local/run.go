package local

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// run is one run of a pipeline: its record, and what is needed to walk it.
type run struct {
	s        *Submitter
	id       string
	pipeline *workflows.Pipeline
	values   map[string]string // of the parameters
	trace    string

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the record is final

	// recording is held while a change is made and recorded, so that records
	// reach the Recorder in their order. It is taken before mu.
	recording sync.Mutex
	mu        sync.Mutex
	record    workflows.Run
	shards    map[string][]string // by step; present once the step has named them
}

func newRun(s *Submitter, p *workflows.Pipeline, q *workflows.Request, parameters map[string]string) *run {
	x := &run{s: s, id: q.RunID, pipeline: p, values: parameters, trace: q.Trace, done: make(chan struct{}), shards: map[string][]string{}}
	x.ctx, x.cancel = context.WithCancel(s.ctx)
	x.record = workflows.Run{
		ID:         q.RunID,
		Pipeline:   p.Name,
		Parameters: parameters,
		Phase:      workflows.Pending,
		Submitted:  s.config.Clock.Now().UTC(),
	}
	for i := range p.Steps {
		x.record.Steps = append(x.record.Steps, workflows.StepRecord{Step: p.Steps[i].Name, Phase: workflows.Pending})
	}
	return x
}

func (x *run) snapshot() workflows.Run {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.record.Clone()
}

func (x *run) isDone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.record.Phase.Done()
}

// change changes the record and hands it to the recorder.
func (x *run) change(change func(r *workflows.Run, now *time.Time)) {
	x.recording.Lock()
	defer x.recording.Unlock()
	now := x.s.config.Clock.Now().UTC()
	x.mu.Lock()
	change(&x.record, &now)
	if x.s.config.Recorder == nil {
		x.mu.Unlock()
		return
	}
	r := x.record.Clone()
	x.mu.Unlock()
	// The end of a run that was stopped must be recorded too.
	if err := x.s.config.Recorder.Record(context.WithoutCancel(x.ctx), r); err != nil {
		x.s.config.Logger.Error("run record was not kept", "run", x.id, "error", err)
	}
}

// walk runs the steps to their end and closes done.
func (x *run) walk() {
	defer x.cancel()
	if x.ctx.Err() == nil {
		x.change(func(r *workflows.Run, now *time.Time) { r.Phase, r.Started = workflows.Running, now })
		x.s.config.Logger.Info("run started", "run", x.id, "pipeline", x.pipeline.Name)
	}
	type node struct {
		done chan struct{}
		ok   bool // written before done is closed
	}
	nodes := map[string]*node{}
	for i := range x.pipeline.Steps {
		nodes[x.pipeline.Steps[i].Name] = &node{done: make(chan struct{})}
	}
	var steps sync.WaitGroup
	for i := range x.pipeline.Steps {
		step := &x.pipeline.Steps[i]
		steps.Go(func() {
			n := nodes[step.Name]
			defer close(n.done)
			missing := ""
			for _, name := range step.Requires() {
				<-nodes[name].done
				if !nodes[name].ok && missing == "" {
					missing = name
				}
			}
			switch {
			case x.ctx.Err() != nil:
				x.omit(step, "the run was stopped before it")
			case missing != "":
				x.omit(step, fmt.Sprintf("step %s did not succeed", missing))
			default:
				n.ok = x.step(step)
			}
		})
	}
	steps.Wait()
	x.finish()
	close(x.done)
}

func (x *run) finish() {
	var phase workflows.Phase
	x.change(func(r *workflows.Run, now *time.Time) {
		r.Phase, r.Finished = workflows.Succeeded, now
		stopped, failed, first := false, 0, ""
		for i := range r.Steps {
			switch s := &r.Steps[i]; s.Phase {
			case workflows.Failed:
				if failed++; first == "" {
					first = name(s.Step, s.Shard) + ": " + s.Message
				}
			case workflows.Stopped, workflows.Omitted:
				stopped = true
			}
		}
		switch {
		case failed > 0:
			r.Phase, r.Message = workflows.Failed, "step "+first
			if failed > 1 {
				r.Message = fmt.Sprintf("%d steps failed; the first is %s", failed, first)
			}
		case stopped: // nothing is omitted without a failure unless the run was stopped
			r.Phase, r.Message = workflows.Stopped, "the run was stopped"
		}
		phase = r.Phase
	})
	x.s.config.Logger.Info("run finished", "run", x.id, "pipeline", x.pipeline.Name, "phase", string(phase))
}

// step runs one step, all its shards if it fans out, and reports whether it
// succeeded.
func (x *run) step(step *workflows.Step) bool {
	if step.FanOut == "" {
		return x.shard(step, "")
	}
	x.mu.Lock()
	shards, named := x.shards[step.FanOut]
	x.mu.Unlock()
	if !named {
		x.fail(step, "", fmt.Sprintf("step %s must name its shards, but did not", step.FanOut))
		return false
	}
	sorted := slices.Sorted(slices.Values(shards))
	if len(slices.Compact(sorted)) != len(shards) || slices.Contains(shards, "") {
		x.fail(step, "", fmt.Sprintf("step %s must name each shard once and none with an empty name, but named %q", step.FanOut, shards))
		return false
	}
	x.expand(step, shards)
	var running sync.WaitGroup
	ok := make([]bool, len(shards))
	for i, shard := range shards {
		running.Go(func() { ok[i] = x.shard(step, shard) })
	}
	running.Wait()
	return !slices.Contains(ok, false)
}

// expand replaces a fan-out's one record by one for each shard. Without a shard
// the step has succeeded.
func (x *run) expand(step *workflows.Step, shards []string) {
	x.change(func(r *workflows.Run, now *time.Time) {
		i := index(r, step.Name, "")
		if len(shards) == 0 {
			r.Steps[i].Phase, r.Steps[i].Finished = workflows.Succeeded, now
			r.Steps[i].Message = "there was no shard to run it for"
			return
		}
		records := make([]workflows.StepRecord, len(shards))
		for j, shard := range shards {
			records[j] = workflows.StepRecord{Step: step.Name, Shard: shard, Phase: workflows.Pending}
		}
		r.Steps = slices.Replace(r.Steps, i, i+1, records...)
	})
}

// shard tries a step, or one shard of it, until it ends for good, and reports
// whether it succeeded.
func (x *run) shard(step *workflows.Step, shard string) bool {
	backoff := x.s.config.Backoff
	for attempt := 1; ; attempt++ {
		err, started := x.attempt(step, shard, attempt)
		switch {
		case !started:
			x.stopped(step, shard, "the run was stopped")
			return false
		case err == nil:
			x.update(step, shard, func(r *workflows.StepRecord, now *time.Time) {
				code := workflows.ExitOK
				r.Phase, r.Finished, r.ExitCode, r.Message = workflows.Succeeded, now, &code, ""
			})
			return true
		}
		code := workflows.ExitCode(err)
		if code == workflows.ExitOK {
			code = workflows.ExitSoftware // an error that claims to be none
		}
		again := code == workflows.ExitTemporary && attempt < step.Attempts && x.ctx.Err() == nil
		x.update(step, shard, func(r *workflows.StepRecord, now *time.Time) {
			r.ExitCode, r.Message = &code, err.Error()
			switch {
			case again: // stays Running, with the message of the last attempt
			case x.ctx.Err() != nil:
				r.Phase, r.Finished = workflows.Stopped, now
			default:
				r.Phase, r.Finished = workflows.Failed, now
			}
		})
		if !again {
			return false
		}
		x.s.config.Logger.Warn("step will be tried again", "run", x.id, "step", step.Name, "shard", shard, "attempt", attempt, "error", err)
		timer := x.s.config.Clock.NewTimer(backoff)
		select {
		case <-timer.C():
		case <-x.ctx.Done():
			timer.Stop()
			x.stopped(step, shard, "the run was stopped while the step waited to be tried again after: "+err.Error())
			return false
		}
		backoff = min(2*backoff, x.s.config.MaxBackoff)
	}
}

// attempt runs a job once when there is a free slot. It reports false where the
// run was stopped before that.
func (x *run) attempt(step *workflows.Step, shard string, attempt int) (err error, started bool) {
	select {
	case x.s.slots <- struct{}{}:
		defer func() { <-x.s.slots }()
	case <-x.ctx.Done():
	}
	if x.ctx.Err() != nil { // both may have been ready
		return nil, false
	}
	x.update(step, shard, func(r *workflows.StepRecord, now *time.Time) {
		r.Phase, r.Attempts, r.Progress = workflows.Running, attempt, workflows.Progress{}
		if r.Started == nil {
			r.Started = now
		}
	})
	started = true // also when the job panics
	defer func() {
		if v := recover(); v != nil {
			x.s.config.Logger.Error("step panicked", "run", x.id, "step", step.Name, "shard", shard, "panic", v, "stack", string(debug.Stack()))
			err = schemas.Errorf(schemas.CodeInternal, "job %s panicked: %v", step.JobName(), v)
		}
	}()
	err = x.s.config.Jobs[step.JobName()](x.ctx, Args{
		RunID:   x.id,
		Step:    step.Name,
		Shard:   shard,
		Attempt: attempt,
		Trace:   x.trace,
		Flags:   slices.Concat(step.Args, x.pipeline.Flags(step, x.values)),
		Progress: func(done, total int) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if i := index(&x.record, step.Name, shard); i >= 0 && x.record.Steps[i].Phase == workflows.Running {
				x.record.Steps[i].Progress = workflows.Progress{Done: done, Total: total}
			}
		},
		SetShards: func(shards []string) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.shards[step.Name] = slices.Clone(shards)
		},
	})
	return err, started
}

// update changes one step record.
func (x *run) update(step *workflows.Step, shard string, update func(r *workflows.StepRecord, now *time.Time)) {
	x.change(func(r *workflows.Run, now *time.Time) {
		if i := index(r, step.Name, shard); i >= 0 {
			update(&r.Steps[i], now)
		}
	})
}

func (x *run) fail(step *workflows.Step, shard, message string) {
	x.update(step, shard, func(r *workflows.StepRecord, now *time.Time) {
		code := workflows.ExitSoftware
		r.Phase, r.Finished, r.ExitCode, r.Message = workflows.Failed, now, &code, message
	})
}

func (x *run) stopped(step *workflows.Step, shard, message string) {
	x.update(step, shard, func(r *workflows.StepRecord, now *time.Time) {
		r.Phase, r.Finished, r.Message = workflows.Stopped, now, message
		if r.Attempts == 0 {
			r.Phase = workflows.Omitted
		}
	})
}

func (x *run) omit(step *workflows.Step, message string) {
	x.update(step, "", func(r *workflows.StepRecord, now *time.Time) {
		r.Phase, r.Finished, r.Message = workflows.Omitted, now, message
	})
}

// index returns the place of a step's record, or -1.
func index(r *workflows.Run, step, shard string) int {
	return slices.IndexFunc(r.Steps, func(s workflows.StepRecord) bool { return s.Step == step && s.Shard == shard })
}

func name(step, shard string) string {
	if shard == "" {
		return step
	}
	return step + "[" + shard + "]"
}

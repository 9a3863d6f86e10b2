package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/lru"

	"github.com/self-scaling/self-scaling/workflows"
)

// keptRuns bounds the runs of which is known what asked for them.
const keptRuns = 500

// Runs traces the steps of runs in this process, as parts of the traces of the requests
// that asked for the runs.
type Runs struct {
	tracer  trace.Tracer // nil where nothing is traced
	parents *lru.Cache   // of trace.SpanContext by run-id
}

// Runs returns what traces runs.
func (t *Tracer) Runs() *Runs {
	if t.provider == nil {
		return &Runs{}
	}
	return &Runs{t.provider.Tracer("github.com/self-scaling/self-scaling"), lru.New(keptRuns)}
}

// Submitter returns a submitter that remembers which request asked for a run first.
func (r *Runs) Submitter(s workflows.Submitter) workflows.Submitter {
	if r.tracer == nil {
		return s
	}
	return &submitter{s, r}
}

type submitter struct {
	workflows.Submitter
	runs *Runs
}

// Submit implements [workflows.Submitter].
func (s *submitter) Submit(ctx context.Context, q workflows.Request) (workflows.Run, error) {
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() {
		// Before it is submitted: its first step may begin before Submit returns.
		if _, known := s.runs.parents.Get(q.RunID); !known {
			s.runs.parents.Add(q.RunID, parent)
		}
	}
	return s.Submitter.Submit(ctx, q)
}

// Step begins the span of a step, and returns what ends it. A run that no request has
// asked for, as one of a schedule, is a trace for each of its steps.
func (r *Runs) Step(ctx context.Context, run, step, shard string) (context.Context, func(error)) {
	if r.tracer == nil {
		return ctx, func(error) {}
	}
	if parent, ok := r.parents.Get(run); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent.(trace.SpanContext))
	}
	about := []attribute.KeyValue{attribute.String("selfscaling.run", run), attribute.String("selfscaling.step", step)}
	if shard != "" {
		about = append(about, attribute.String("selfscaling.shard", shard))
	}
	ctx, span := r.tracer.Start(ctx, "step "+step, trace.WithAttributes(about...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

package tracing

import (
	"context"
	"crypto/sha256"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/self-scaling/self-scaling/workflows"
)

// Runs traces runs: who asks for one tells its steps, wherever they run, which trace
// they belong to.
type Runs struct {
	tracer trace.Tracer // nil where nothing is traced
}

// Runs returns what traces runs.
func (t *Tracer) Runs() *Runs {
	if t.provider == nil {
		return &Runs{}
	}
	return &Runs{t.provider.Tracer("github.com/self-scaling/self-scaling")}
}

// Submitter returns a submitter whose runs are parts of the traces of the requests
// that ask for them. A run that no request asks for has a trace of its own.
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
func (s *submitter) Submit(ctx context.Context, q workflows.Request) (run workflows.Run, err error) {
	if q.Trace == "" {
		if !trace.SpanContextFromContext(ctx).IsValid() {
			var span trace.Span
			ctx, span = s.runs.tracer.Start(ctx, "run "+q.Pipeline, trace.WithAttributes(attribute.String("selfscaling.run", q.RunID)))
			defer func() { end(span, err) }()
		}
		q.Trace = written(ctx)
	}
	return s.Submitter.Submit(ctx, q)
}

// header is the W3C form of a trace context, in which it travels.
const header = "traceparent"

func written(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[header]
}

// Step begins the span of a step and returns what ends it. The span belongs to the
// trace that was written down for the run. Where there is none, or one that cannot be
// read, nobody has begun one: a schedule or another program has started the run. Its
// steps then share a trace whose number, and that of the span they are in, is made of
// the run's ID.
func (r *Runs) Step(ctx context.Context, traceparent, run, step, shard string) (context.Context, func(error)) {
	if r.tracer == nil {
		return ctx, func(error) {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: traceparent})
	if run != "" && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, ofRun(run))
	}
	about := []attribute.KeyValue{attribute.String("selfscaling.run", run), attribute.String("selfscaling.step", step)}
	if shard != "" {
		about = append(about, attribute.String("selfscaling.shard", shard))
	}
	ctx, span := r.tracer.Start(ctx, "step "+step, trace.WithAttributes(about...))
	return ctx, func(err error) { end(span, err) }
}

// ofRun returns what the steps of a run are in that belongs to no request.
func ofRun(run string) trace.SpanContext {
	sum := sha256.Sum256([]byte(run))
	var c trace.SpanContextConfig
	copy(c.TraceID[:], sum[:16])
	copy(c.SpanID[:], sum[16:])
	c.TraceFlags = trace.FlagsSampled
	return trace.NewSpanContext(c)
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

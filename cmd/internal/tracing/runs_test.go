package tracing_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// world is a server whose runs are traced. Its inference ends with what fail says.
func world(t *testing.T, tracer *tracing.Tracer, fail error) (*apitest.World, string) {
	t.Helper()
	ids := []schemas.ComponentID{apitest.Shop("web")}
	runs := tracer.Runs()
	w := apitest.New(t, ids, func(c *api.Config) { c.Submitter = runs.Submitter(c.Submitter) })
	w.Fill(t, ids, 2, 1)
	w.Step(workflows.InferenceJob, func(ctx context.Context, args local.Args) error {
		_, end := runs.Step(ctx, args.Trace, args.RunID, args.Step, args.Shard)
		end(fail)
		return fail
	})
	server := httptest.NewServer(tracer.Handler(w.Server))
	t.Cleanup(server.Close)
	return w, server.URL
}

func TestARunGoesOnWithTheTraceOfItsRequest(t *testing.T) {
	const caller = "0af7651916cd43dd8448eb211c80319c"
	for name, fail := range map[string]error{"a run that succeeds": nil, "one that fails": schemas.Errorf(schemas.CodeInvalidData, "no")} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{}
			receiving := httptest.NewServer(r)
			defer receiving.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiving.URL)
			tracer, err := tracing.Start(t.Context(), "selfscale", "1.0.0", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			w, address := world(t, tracer, fail)
			// It waits for the run to end.
			get(t, address+"/v1/inference", "traceparent", "00-"+caller+"-b7ad6b7169203331-01")
			// Nobody asks for this one.
			if _, err := w.Submitter.Submit(t.Context(), workflows.Request{Pipeline: "infer", RunID: "scheduled"}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Submitter.Wait(t.Context(), "scheduled"); err != nil {
				t.Fatal(err)
			}
			if err := tracer.Close(); err != nil {
				t.Fatal(err)
			}
			request, steps := span{}, map[string]span{}
			for _, s := range r.spans {
				if run := s.attributes["selfscaling.step"]; run != "" {
					steps[s.attributes["selfscaling.run"]] = s
				} else {
					request = s
				}
			}
			if len(steps) != 2 || request.name != "GET /v1/inference" || request.trace != caller {
				t.Fatalf("the spans are %+v, want the request's and two runs'", r.spans)
			}
			for run, s := range steps {
				if run == "scheduled" {
					if s.trace == caller || s.parent == request.id {
						t.Errorf("the step of the run that nobody asked for is %+v, want it in a trace of the run's own", s)
					}
					continue
				}
				if s.trace != caller || s.parent != request.id || s.service != "selfscale" || s.failed != (fail != nil) {
					t.Errorf("the step is %+v, want one within %+v", s, request)
				}
			}
		})
	}
}

// What no request has asked for, as a controller does not, is one trace all the same.
func TestARunThatNobodyAskedForIsATrace(t *testing.T) {
	r := &receiver{}
	receiving := httptest.NewServer(r)
	defer receiving.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiving.URL)
	tracer, err := tracing.Start(t.Context(), "controller", "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	asked := &kept{}
	s := tracer.Runs().Submitter(asked)
	for _, q := range []workflows.Request{{Pipeline: "infer", RunID: "a"}, {Pipeline: "infer", RunID: "b", Trace: traceparent}} {
		if _, err := s.Submit(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	asked.err = schemas.Errorf(schemas.CodeUnavailable, "no")
	if _, err := s.Submit(t.Context(), workflows.Request{Pipeline: "train", RunID: "c"}); err != asked.err {
		t.Errorf("error %v, want the submitter's", err)
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 2 || r.spans[0].name != "run infer" || r.spans[0].failed || !r.spans[1].failed {
		t.Fatalf("spans %+v, want one of run a, and one of run c that failed", r.spans)
	}
	want := []string{"00-" + r.spans[0].trace + "-" + r.spans[0].id + "-01", traceparent, "00-" + r.spans[1].trace + "-" + r.spans[1].id + "-01"}
	if diff := cmp.Diff(want, asked.traces); diff != "" {
		t.Errorf("traces (-want +got):\n%s", diff)
	}
}

// kept keeps what it is asked for.
type kept struct {
	workflows.Submitter
	traces []string
	err    error
}

func (k *kept) Submit(_ context.Context, q workflows.Request) (workflows.Run, error) {
	k.traces = append(k.traces, q.Trace)
	return workflows.Run{}, k.err
}

const (
	theTrace    = "4bf92f3577b34da6a3ce929d0e0e4736"
	theParent   = "00f067aa0ba902b7"
	traceparent = "00-" + theTrace + "-" + theParent + "-01"
	// The beginning of the SHA-256 of infer-1.
	ofTheRun = "003c8b2233da3ea65bf05a5f75fd89f4"
	inTheRun = "13431710d1cb1921"
)

func TestAStepBelongsToTheTraceOfItsRun(t *testing.T) {
	fail := schemas.Errorf(schemas.CodeInvalidData, "no")
	for _, tt := range []struct {
		name, variable string
		step           jobs.Func
		trace, parent  string
		failed         bool
	}{
		{"as its environment says", traceparent, func(context.Context, jobs.Env) error { return nil }, theTrace, theParent, false},
		{"also when it fails", traceparent, func(context.Context, jobs.Env) error { return fail }, theTrace, theParent, true},
		{"also when it panics", traceparent, func(context.Context, jobs.Env) error { panic("index out of range") }, theTrace, theParent, true},
		{"as its run is called, where nobody traces that", "", func(context.Context, jobs.Env) error { return nil }, ofTheRun, inTheRun, false},
		{"what cannot be read counts as nothing", "00-zz", func(context.Context, jobs.Env) error { return nil }, ofTheRun, inTheRun, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &receiver{}
			receiving := httptest.NewServer(r)
			defer receiving.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiving.URL)
			t.Setenv(workflows.TraceVariable, tt.variable)
			inside := trace.SpanContext{}
			step := tracing.Step("inference", func(ctx context.Context, env jobs.Env) error {
				inside = trace.SpanContextFromContext(ctx)
				return tt.step(ctx, env)
			})
			err := step(t.Context(), jobs.Env{Log: slog.New(slog.DiscardHandler), Run: "infer-1", Shard: "00001", Version: "1.0.0"})
			if (err != nil) != tt.failed {
				t.Errorf("error %v, want one: %t", err, tt.failed)
			}
			if len(r.spans) != 1 {
				t.Fatalf("spans %+v, want one", r.spans)
			}
			s := r.spans[0]
			want := span{"step inference", tt.trace, inside.SpanID().String(), tt.parent, "self-scaling-inference", tt.failed,
				map[string]string{"selfscaling.run": "infer-1", "selfscaling.step": "inference", "selfscaling.shard": "00001"}}
			if diff := cmp.Diff(want, s, cmp.AllowUnexported(span{})); diff != "" {
				t.Errorf("span (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAStepIsNotTracedForNothing(t *testing.T) {
	t.Setenv(workflows.TraceVariable, traceparent)
	ran := false
	err := tracing.Step("inference", func(ctx context.Context, _ jobs.Env) error {
		ran = !trace.SpanContextFromContext(ctx).IsValid()
		return nil
	})(t.Context(), jobs.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil || !ran {
		t.Errorf("error %v, untraced %t; want the step alone", err, ran)
	}
}

func TestRunsAreNotTracedForNothing(t *testing.T) {
	runs := (&tracing.Tracer{}).Runs()
	var s workflows.Submitter = &local.Submitter{}
	if runs.Submitter(s) != s {
		t.Error("a submitter is wrapped for nothing")
	}
	ctx, end := runs.Step(t.Context(), "", "a", "infer", "")
	if end(nil); ctx != t.Context() {
		t.Error("a step has a context of its own for nothing")
	}
}

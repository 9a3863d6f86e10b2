package tracing_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/cmd/internal/tracing"
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
		_, end := runs.Step(ctx, args.RunID, args.Step, args.Shard)
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
					if s.trace == caller || s.parent != "" {
						t.Errorf("the step of the run that nobody asked for is %+v, want a trace of its own", s)
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

func TestRunsAreNotTracedForNothing(t *testing.T) {
	runs := (&tracing.Tracer{}).Runs()
	var s workflows.Submitter = &local.Submitter{}
	if runs.Submitter(s) != s {
		t.Error("a submitter is wrapped for nothing")
	}
	ctx, end := runs.Step(t.Context(), "a", "infer", "")
	if end(nil); ctx != t.Context() {
		t.Error("a step has a context of its own for nothing")
	}
}

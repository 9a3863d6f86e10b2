// Package tracing sends traces of HTTP requests, runs and steps by OpenTelemetry, where
// the environment says where to. Where it does not, nothing is started and nothing is sent.
//
// The variables are OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT turn tracing on, and OTEL_SDK_DISABLED,
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and
// OTEL_EXPORTER_OTLP_HEADERS, among others, mean what they mean everywhere. The
// protocol is http/protobuf.
package tracing

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/self-scaling/self-scaling/schemas"
)

// protocol is the one that is spoken.
const protocol = "http/protobuf"

// last is how long the spans that are left may take to be sent at the end.
const last = 5 * time.Second

// Tracer traces requests and runs. Its zero value traces nothing.
type Tracer struct{ provider *trace.TracerProvider }

// Configured reports whether the environment says that traces are wanted.
func Configured() bool {
	return !strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") && os.Getenv("OTEL_TRACES_EXPORTER") != "none" &&
		cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
}

// Start returns a tracer as the environment says. It makes no request: spans are sent
// in the background, and those that cannot be sent are lost. Close it at the end.
// It returns an error with CodeInvalidConfig where the environment asks for what there
// is not.
func Start(ctx context.Context, program, version string, log *slog.Logger) (*Tracer, error) {
	if !Configured() {
		return &Tracer{}, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != protocol {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "environment variable %s must be %s, but is %q", name, protocol, p)
		}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing", "error", err) }))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "tracing: %w", err)
	}
	// What the environment says of the resource comes last, and wins.
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", program), attribute.String("service.version", version),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, errors.Join(schemas.Errorf(schemas.CodeInvalidConfig, "tracing: %w", err), exporter.Shutdown(ctx))
	}
	log.Info("traces are sent")
	return &Tracer{trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))}, nil
}

// Handler returns a handler whose requests are traced, as a part of their callers'
// traces where they say so. Probes are not.
func (t *Tracer) Handler(h http.Handler) http.Handler {
	if t.provider == nil {
		return h
	}
	return otelhttp.NewHandler(h, "request",
		otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}), otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/livez" && r.URL.Path != "/readyz" }))
}

// Close sends what has not been sent yet, for a few seconds at most.
func (t *Tracer) Close() error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), last)
	defer cancel()
	return schemas.WithCode(schemas.CodeUnavailable, t.provider.Shutdown(ctx))
}

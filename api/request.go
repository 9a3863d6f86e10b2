package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/schemas"
)

// info is what is known of a request while it is answered, for the log and the
// metrics.
type info struct {
	id    string // the request-id
	route *route // nil until one is found
	user  access.User
	run   string // the run that the request is about
	what  string // what a mutation does, in a few words
	err   error  // why the answer is a failure of ours
}

type infoKey struct{}

// infoOf returns the info of a request's context; a new one where there is none.
func infoOf(ctx context.Context) *info {
	if i, ok := ctx.Value(infoKey{}).(*info); ok {
		return i
	}
	return &info{}
}

// response notes how an answer ends.
type response struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(data)
	r.bytes += int64(n)
	return n, err
}

// Unwrap gives [http.ResponseController] the server's own writer.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// maxRequestID is the longest request-id that is taken from a caller.
const maxRequestID = 64

// requestID returns the id that a caller gave, or a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= maxRequestID && schemas.ValidateRunID(id) == nil {
		return id
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	i := &info{id: requestID(r)}
	rw := &response{ResponseWriter: w}
	r = r.WithContext(context.WithValue(r.Context(), infoKey{}, i))
	h := w.Header()
	h.Set("X-Request-Id", i.id)
	h.Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			i.err = schemas.Errorf(schemas.CodeInternal, "panic: %v", p)
			s.config.Log.Error("handler panicked", "request", i.id, "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if rw.status == 0 {
				sendProblem(rw, r, i.err)
			}
		}
		s.done(r, i, rw, time.Since(began))
	}()
	if err := s.admit(r); err != nil {
		sendProblem(rw, r, err)
		return
	}
	s.router.ServeHTTP(rw, r)
}

// done counts and logs what a request came to.
func (s *Server) done(r *http.Request, i *info, w *response, took time.Duration) {
	if w.status == 0 {
		w.status = http.StatusOK // what net/http sends where nothing was written
	}
	s.metrics.done(i.route, r.Method, w.status, took)
	span := trace.SpanFromContext(r.Context())
	if span.IsRecording() {
		name(span, i)
	}
	attrs := make([]slog.Attr, 0, 13)
	attrs = append(attrs, slog.String("request", i.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", w.status), slog.Duration("took", took), slog.String("remote", r.RemoteAddr))
	if i.user.Name != "" {
		attrs = append(attrs, slog.String("user", i.user.Name))
	}
	if i.run != "" {
		attrs = append(attrs, slog.String("run", i.run))
	}
	if c := span.SpanContext(); c.IsValid() {
		attrs = append(attrs, slog.String("trace", c.TraceID().String()))
	}
	if i.err != nil {
		attrs = append(attrs, slog.String("error", i.err.Error()))
	}
	ctx := context.WithoutCancel(r.Context())
	switch {
	case i.route != nil && i.route.mutates():
		if i.what != "" {
			attrs = append(attrs, slog.String("what", i.what))
		}
		s.config.Log.LogAttrs(ctx, slog.LevelInfo, "audit", attrs...)
	case w.status >= 500:
		s.config.Log.LogAttrs(ctx, slog.LevelWarn, "request failed", attrs...)
	default:
		s.config.Log.LogAttrs(ctx, slog.LevelDebug, "request", attrs...)
	}
}

// name says in a trace what a request was. Whoever wraps the server in spans does not
// know its routes.
func name(span trace.Span, i *info) {
	attributes := []attribute.KeyValue{attribute.String("selfscaling.request", i.id)}
	if i.route != nil {
		span.SetName(i.route.method + " " + i.route.pattern)
		attributes = append(attributes, attribute.String("http.route", i.route.pattern))
	}
	if i.run != "" {
		attributes = append(attributes, attribute.String("selfscaling.run", i.run))
	}
	span.SetAttributes(attributes...)
}

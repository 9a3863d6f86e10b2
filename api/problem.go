package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// Problem is a [wire.Problem] that is also an error.
type Problem struct{ wire.Problem }

// Error returns what is wrong.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// GetStatus returns the HTTP status. It makes a Problem a [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problems.
func (p *Problem) ContentType(string) string { return problemType }

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
	// typePrefix begins the types of problems that have a code.
	typePrefix = "tag:self-scaling.github.io,2026:"
)

// newProblem returns a problem with a code, "" where the status says it all.
func newProblem(status int, code schemas.Code, detail string) *Problem {
	p := &Problem{wire.Problem{Title: http.StatusText(status), Status: status, Detail: detail, Code: string(code)}}
	if code != "" {
		p.Type = typePrefix + string(code)
	}
	return p
}

// problemOf returns the problem that an error stands for. What is a bug of ours is
// not told to the caller: the log has it under the request-id.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	code := schemas.CodeOf(err)
	switch {
	case errors.Is(err, access.ErrUnauthenticated):
		return newProblem(http.StatusUnauthorized, "", "the token is not valid here")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusServiceUnavailable, schemas.CodeUnavailable, "the request was not done in time")
	case code == schemas.CodeInvalidConfig, code == schemas.CodeInvalidData:
		return newProblem(http.StatusUnprocessableEntity, code, err.Error())
	case code == schemas.CodeNotFound:
		return newProblem(http.StatusNotFound, code, err.Error())
	case code == schemas.CodeConflict:
		return newProblem(http.StatusConflict, code, err.Error())
	case code == schemas.CodeUnavailable:
		return newProblem(http.StatusServiceUnavailable, code, err.Error())
	case code == schemas.CodeCorrupt:
		return newProblem(http.StatusInternalServerError, code, "what the store has is damaged")
	}
	return newProblem(http.StatusInternalServerError, schemas.CodeInternal, "a bug of the server's; its log says more under the request-id")
}

// fail answers with the problem that an error stands for, from a handler of huma's.
func fail(ctx context.Context, err error) error {
	p := problemOf(err)
	info := infoOf(ctx)
	p.Instance = info.id
	if p.Status >= 500 {
		info.err = err
	}
	if p.Status == http.StatusServiceUnavailable {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"5"}})
	}
	return p
}

// sendProblem answers with the problem that an error stands for.
func sendProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	info := infoOf(r.Context())
	p.Instance = info.id
	if p.Status >= 500 {
		info.err = err
	}
	data, err := json.Marshal(p)
	if err != nil {
		data = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	h := w.Header()
	h.Set("Content-Type", problemType)
	if p.Status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(data, '\n')) // who has left needs no answer
}

// huma makes its own errors by these variables of its package.
func init() {
	make := func(status int, msg string, errs ...error) *Problem {
		if status == http.StatusInternalServerError && len(errs) > 0 && errors.Is(errs[0], io.ErrUnexpectedEOF) {
			status = http.StatusBadRequest // who broke off has no use for the answer, but the metrics do
		}
		p := newProblem(status, "", msg)
		if status == http.StatusBadRequest || status == http.StatusUnprocessableEntity {
			p = newProblem(status, schemas.CodeInvalidConfig, msg)
		}
		for _, err := range errs {
			if err == nil {
				continue
			}
			item := wire.ProblemItem{Message: err.Error()}
			var detailed huma.ErrorDetailer
			if errors.As(err, &detailed) {
				d := detailed.ErrorDetail()
				item = wire.ProblemItem{Location: d.Location, Message: d.Message, Value: shown(d.Value)}
			}
			p.Errors = append(p.Errors, item)
		}
		return p
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return make(status, msg, errs...) }
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		p := make(status, msg, errs...)
		if ctx != nil {
			p.Instance = infoOf(ctx.Context()).id
		}
		return p
	}
}

// shown returns a value that was refused, as far as it is worth repeating.
func shown(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > 100 {
			return v[:100] + "..."
		}
		return v
	case bool, float64, int, int64, nil:
		return v
	}
	return nil
}

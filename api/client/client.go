// Package client speaks the modern REST interface. Its answers are the shapes of
// package wire; its errors carry the codes of package schemas, so that callers act
// on them as on any other.
package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// Client asks one server.
type Client struct {
	base  *url.URL
	token string
	web   *http.Client
}

// Options say how a server is spoken to. The zero value works where the server lets
// everybody in.
type Options struct {
	// Token is sent as a bearer token.
	Token string
	// Transport carries the requests; the default one where nil.
	Transport http.RoundTripper
}

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 64 << 20

// New returns a client of the server at a URL, as http://127.0.0.1:8080. It makes
// no request.
func New(base string, o Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "server must be a URL such as http://127.0.0.1:8080, but is %q", base)
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return &Client{u, o.Token, &http.Client{
		Transport: o.Transport,
		// A token must not travel to wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Problem is an answer that says no.
type Problem struct{ wire.Problem }

// Error returns what is wrong.
func (p *Problem) Error() string {
	text := cmp.Or(p.Detail, p.Title)
	for _, e := range p.Errors {
		text += "; " + strings.TrimPrefix(e.Location+": ", ": ") + e.Message
	}
	return text
}

// ProblemOf returns the answer that an error stands for, nil where it stands for none.
func ProblemOf(err error) *Problem {
	var p *Problem
	errors.As(err, &p)
	return p
}

// code returns what the caller can do about it.
func (p *Problem) code() schemas.Code {
	switch p.Status {
	case http.StatusNotFound, http.StatusGone:
		return schemas.CodeNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return schemas.CodeConflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return schemas.CodeUnavailable
	case http.StatusInternalServerError:
		return schemas.CodeInternal
	}
	return schemas.CodeInvalidConfig
}

func segments(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return strings.Join(escaped, "/")
}

// component returns the path of a component.
func component(id wire.ComponentID) string {
	return segments(cmp.Or(id.Namespace, "-"), id.Service, id.Component)
}

// Query narrows a list. Empty fields mean everything.
type Query struct {
	Namespace, Service, Component, Mode, Reason, Pipeline, Phase string
	From, To                                                     time.Time
}

func (q Query) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"namespace": q.Namespace, "service": q.Service, "component": q.Component, "mode": q.Mode,
		"reason": q.Reason, "pipeline": q.Pipeline, "phase": q.Phase,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339))
		}
	}
	return v
}

// Status says how the server and its data are.
func (c *Client) Status(ctx context.Context) (*wire.Status, error) {
	return get[wire.Status](ctx, c, "v1/status", nil)
}

// Component returns one component.
func (c *Client) Component(ctx context.Context, id wire.ComponentID) (*wire.Component, error) {
	return get[wire.Component](ctx, c, "v1/components/"+component(id), nil)
}

// Forecast returns a component's newest forecast of one resource.
func (c *Client) Forecast(ctx context.Context, id wire.ComponentID, r schemas.Resource) (*wire.Forecast, error) {
	return get[wire.Forecast](ctx, c, "v1/forecasts/"+component(id), url.Values{"resource": {string(r)}})
}

// History returns what a component used. Zero times leave the bounds to the server.
func (c *Client) History(ctx context.Context, id wire.ComponentID, from, to time.Time) (*wire.History, error) {
	return get[wire.History](ctx, c, "v1/history/"+component(id), Query{From: from, To: to}.values())
}

// Models returns the models of one training, the current ones for 0.
func (c *Client) Models(ctx context.Context) (*wire.ModelList, error) {
	return get[wire.ModelList](ctx, c, "v1/models", nil)
}

// ModelLine returns the line of models, the newest entry first. An error is the last
// thing that it yields.
func (c *Client) ModelLine(ctx context.Context, q Query) iter.Seq2[wire.ModelEntry, error] {
	return pages(ctx, c, "v1/models/line", q, func(p *wire.ModelLine) ([]wire.ModelEntry, string) { return p.Items, p.Next })
}

// Components returns components, page by page, in the order of their names. An error
// is the last thing that it yields.
func (c *Client) Components(ctx context.Context, q Query) iter.Seq2[wire.Component, error] {
	return pages(ctx, c, "v1/components", q, func(p *wire.ComponentList) ([]wire.Component, string) { return p.Items, p.Next })
}

// Decisions returns decisions, the newest first. An error is the last thing that it
// yields.
func (c *Client) Decisions(ctx context.Context, q Query) iter.Seq2[wire.Decision, error] {
	return pages(ctx, c, "v1/decisions", q, func(p *wire.DecisionList) ([]wire.Decision, string) { return p.Items, p.Next })
}

// Runs returns runs, the newest first. An error is the last thing that it yields.
func (c *Client) Runs(ctx context.Context, q Query) iter.Seq2[wire.Run, error] {
	return pages(ctx, c, "v1/runs", q, func(p *wire.RunList) ([]wire.Run, string) { return p.Items, p.Next })
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id string) (*wire.Run, error) {
	return get[wire.Run](ctx, c, "v1/runs/"+segments(id), nil)
}

// Start asks for a run. Asking again with the same key asks for the same run.
func (c *Client) Start(ctx context.Context, r wire.RunRequest, key string) (*wire.Run, error) {
	header := http.Header{}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return send[wire.Run](ctx, c, http.MethodPost, "v1/runs", header, r)
}

// Stop tells a run to end.
func (c *Client) Stop(ctx context.Context, id string) (*wire.Run, error) {
	return send[wire.Run](ctx, c, http.MethodDelete, "v1/runs/"+segments(id), nil, nil)
}

// Retry asks for the same run again, under a new id.
func (c *Client) Retry(ctx context.Context, id string) (*wire.Run, error) {
	return send[wire.Run](ctx, c, http.MethodPost, "v1/runs/"+segments(id)+"/retry", nil, nil)
}

// RollBack makes earlier models the current ones again. It succeeds only where nobody
// has changed them since they were looked at, which this call does itself.
func (c *Client) RollBack(ctx context.Context, r wire.Rollback) (*wire.RolledBack, error) {
	answer, err := c.do(ctx, http.MethodGet, "v1/models", nil, nil, nil)
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	return send[wire.RolledBack](ctx, c, http.MethodPost, "v1/models/rollback", http.Header{"If-Match": {answer.Header.Get("ETag")}}, r)
}

// SetService changes what was set for a service: patch is a JSON merge patch of
// [wire.Settings]. It succeeds only where nobody has changed the policy since it was
// read, which this call does itself.
func (c *Client) SetService(ctx context.Context, namespace, service string, patch map[string]any) (*wire.ServicePolicy, error) {
	return change[wire.ServicePolicy](ctx, c, "v1/policies/"+segments(cmp.Or(namespace, "-"), service), patch)
}

// SetComponent changes what was set for one component, as [Client.SetService] does
// for a service.
func (c *Client) SetComponent(ctx context.Context, id wire.ComponentID, patch map[string]any) (*wire.ComponentPolicy, error) {
	return change[wire.ComponentPolicy](ctx, c, "v1/policies/"+component(id), patch)
}

func change[T any](ctx context.Context, c *Client, path string, patch map[string]any) (*T, error) {
	answer, err := c.do(ctx, http.MethodGet, path, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	return send[T](ctx, c, http.MethodPatch, path, http.Header{
		"If-Match": {answer.Header.Get("ETag")}, "Content-Type": {"application/merge-patch+json"},
	}, patch)
}

// Follow calls told with a run at each change, until it has ended, and returns it as
// it was last. Where the connection breaks it goes on from there, and where the server
// stays away for long it returns [schemas.CodeUnavailable].
func (c *Client) Follow(ctx context.Context, id string, told func(*wire.Run)) (*wire.Run, error) {
	last, run, silent := "", (*wire.Run)(nil), time.Now()
	for {
		err := c.events(ctx, id, &last, func(r *wire.Run) { run, silent = r, time.Now(); told(r) })
		switch {
		case run != nil && run.Phase.Done():
			return run, nil
		case ctx.Err() != nil:
			return run, ctx.Err()
		case err != nil && schemas.CodeOf(err) != schemas.CodeUnavailable:
			return run, err
		case time.Since(silent) > patience:
			return run, schemas.Errorf(schemas.CodeUnavailable, "the server has said nothing of run %s for %s; the run goes on without it", id, patience)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// patience is for how long Follow waits for a server that says nothing.
const patience = 2 * time.Minute

// events reads one stream to its end.
func (c *Client) events(ctx context.Context, id string, last *string, told func(*wire.Run)) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	answer, err := c.do(ctx, http.MethodGet, "v1/runs/"+segments(id)+"/events", nil, header, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	// An event counts once it is whole: one that the connection broke in is sent again.
	event, data, at := "", "", *last
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "" && event == "run":
			var r wire.Run
			if err := json.Unmarshal([]byte(data), &r); err != nil {
				return schemas.Errorf(schemas.CodeInvalidData, "event of run %s: %w", id, err)
			}
			told(&r)
			event, data, *last = "", "", at
		case lines.Text() == "":
			event, data, *last = "", "", at
		case field == "event":
			event = value
		case field == "data":
			data += value
		case field == "id":
			at = value
		}
	}
	return schemas.WithCode(schemas.CodeUnavailable, lines.Err())
}

// get asks for one thing.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	answer, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return nil, err
	}
	return decode[T](answer)
}

// send asks for a change.
func send[T any](ctx context.Context, c *Client, method, path string, header http.Header, body any) (*T, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, schemas.WithCode(schemas.CodeInternal, err)
		}
	}
	answer, err := c.do(ctx, method, path, nil, header, data)
	if err != nil {
		return nil, err
	}
	return decode[T](answer)
}

// pages yields a list's entries. It asks for a page when the one before it is used up.
func pages[T, P any](ctx context.Context, c *Client, path string, q Query, of func(*P) ([]T, string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		values := q.values()
		for {
			page, err := get[P](ctx, c, path, values)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			items, next := of(page)
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			values.Set("cursor", next)
		}
	}
}

func decode[T any](answer *http.Response) (*T, error) {
	defer answer.Body.Close()
	var out T
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&out); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "answer of %s: %w", answer.Request.URL.Path, err)
	}
	return &out, nil
}

// do sends a request. An answer that says no is a [Problem] with a code.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, header http.Header, body []byte) (*http.Response, error) {
	u, err := c.base.Parse(path)
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.web.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, schemas.Errorf(schemas.CodeUnavailable, "the server at %s does not answer: %w", c.base.Host, err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	p := &Problem{wire.Problem{Title: answer.Status}}
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil || json.Unmarshal(data, &p.Problem) != nil {
		p.Problem = wire.Problem{Title: answer.Status}
	}
	p.Status = answer.StatusCode
	return nil, schemas.WithCode(p.code(), p)
}

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// noNamespace stands in a path where there is no namespace.
const noNamespace = wire.NoNamespace

// staleHeader marks an answer that could not be refreshed.
const staleHeader = "Self-Scaling-Stale-Since"

func (s *Server) addModern(api huma.API) {
	read := func(path, id, summary string, resource string, errors ...int) huma.Operation {
		return s.operation(http.MethodGet, path, id, summary, route{verb: access.Get, resource: resource}, errors...)
	}
	const short, long = "/{service}/{component}", "/{namespace}/{service}/{component}"

	huma.Register(api, read("/v1/status", "get-status", "How the server and its data are", "status"), s.getStatus)

	huma.Register(api, answering[wire.ComponentList](api, read("/v1/components", "list-components", "The components and what was decided for them last", "components")), s.listComponents)
	component := func(path, id, summary, resource string) huma.Operation {
		return read(path, id, summary, resource, http.StatusNotFound, http.StatusConflict)
	}
	huma.Register(api, answering[wire.Component](api, component("/v1/components"+short, "find-component", "One component, by a name that only one namespace has", "components")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentName
		}) (*encoded, error) {
			return s.getComponent(ctx, in.Conditional, named(in.ComponentName))
		})
	huma.Register(api, answering[wire.Component](api, component("/v1/components"+long, "get-component", "One component", "components")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentPath
		}) (*encoded, error) {
			return s.getComponent(ctx, in.Conditional, placed(in.ComponentPath))
		})
	huma.Register(api, answering[wire.Forecast](api, component("/v1/forecasts"+short, "find-forecast", "What a component will use, by a name that only one namespace has", "forecasts")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentName
			wire.OfResource
		}) (*encoded, error) {
			return s.getForecast(ctx, in.Conditional, named(in.ComponentName), in.Resource)
		})
	huma.Register(api, answering[wire.Forecast](api, component("/v1/forecasts"+long, "get-forecast", "What a component will use", "forecasts")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentPath
			wire.OfResource
		}) (*encoded, error) {
			return s.getForecast(ctx, in.Conditional, placed(in.ComponentPath), in.Resource)
		})
	huma.Register(api, answering[wire.History](api, component("/v1/history"+short, "find-history", "What a component used, by a name that only one namespace has", "history")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentName
			wire.Stretch
		}) (*encoded, error) {
			return s.getHistory(ctx, in.Conditional, named(in.ComponentName), in.Stretch)
		})
	huma.Register(api, answering[wire.History](api, component("/v1/history"+long, "get-history", "What a component used", "history")),
		func(ctx context.Context, in *struct {
			wire.Conditional
			wire.ComponentPath
			wire.Stretch
		}) (*encoded, error) {
			return s.getHistory(ctx, in.Conditional, placed(in.ComponentPath), in.Stretch)
		})
	s.addPolicies(api)

	huma.Register(api, answering[wire.DecisionList](api, read("/v1/decisions", "list-decisions", "What was decided, the newest first", "decisions")), s.listDecisions)
	huma.Register(api, answering[wire.ModelList](api, read("/v1/models", "list-models", "What the trainer learned", "models", http.StatusNotFound)), s.listModels)
	huma.Register(api, answering[wire.ModelLine](api, read("/v1/models/line", "list-accepted-models", "The trainings and rollbacks that made models the current ones, the newest first", "models")), s.listModelLine)
	s.addModels(api)
	huma.Register(api, read("/v1/accuracy", "get-accuracy", "How close the forecasts were", "models"), s.getAccuracy)
	huma.Register(api, read("/v1/pipelines", "list-pipelines", "What can be run", "runs"), s.listPipelines)
	s.addRuns(api)

	// Without huma: they are asked for often, or answer with something else than JSON.
	s.handle(route{method: http.MethodGet, pattern: "/openapi.json"}, s.sendDescription("application/openapi+json", func(d *descriptions) []byte { return d.v31 }))
	s.handle(route{method: http.MethodGet, pattern: "/livez"}, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		probe(w, http.StatusOK, "ok")
	})
	s.handle(route{method: http.MethodGet, pattern: "/readyz"}, s.getReady)
}

// operation returns what is said of a route in the description.
func (s *Server) operation(method, path, id, summary string, rt route, errors ...int) huma.Operation {
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary,
		Tags:     []string{"modern"},
		Metadata: map[string]any{routeKey: rt},
		Errors: append(errors, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
			http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable),
		MaxBodyBytes: s.config.Limits.Body, BodyReadTimeout: s.config.Limits.BodyTime,
		Security: []map[string][]string{{bearerScheme: {}}, {}},
	}
	return op
}

// answering says that the operation sends a T that is encoded already.
func answering[T any](api huma.API, op huma.Operation) huma.Operation {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	op.Responses = map[string]*huma.Response{
		"200": {Description: "OK", Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
		"304": {Description: "Not modified: what the caller has is what there is"},
	}
	return op
}

// encoded is an answer that is JSON already.
type encoded struct {
	Status       int
	ContentType  string `header:"Content-Type" hidden:"true"`
	ETag         string `header:"ETag" doc:"Changes when the answer does"`
	CacheControl string `header:"Cache-Control"`
	StaleSince   string `header:"Self-Scaling-Stale-Since" doc:"Since when what is shown could not be read anew; absent while it can"`
	Body         []byte
}

// answer returns an encoded answer. Where something is stale it says so in the body
// too, which must be a JSON object.
func (s *Server) answer(c wire.Conditional, body []byte, tag string) *encoded {
	e := &encoded{Status: http.StatusOK, ContentType: jsonType, CacheControl: "no-cache"}
	if since := s.staleSince(); since != nil {
		e.StaleSince = since.Format(time.RFC3339)
		body = splice(body, "staleSince", []byte(strconv.Quote(e.StaleSince)))
		if tag != "" {
			tag += "-" + strconv.FormatInt(since.Unix(), 36)
		}
	}
	if tag != "" {
		e.ETag = `"` + tag + `"`
		if matches(c.IfNoneMatch, e.ETag) {
			e.Status, e.ContentType = http.StatusNotModified, ""
			return e
		}
	}
	e.Body = body
	return e
}

// markStale is the header of [Server.answer].
func (s *Server) markStale(h http.Header) {
	if since := s.staleSince(); since != nil {
		h.Set(staleHeader, since.Format(time.RFC3339))
	}
}

// splice adds a member to an encoded JSON object that has at least one.
func splice(object []byte, name string, value []byte) []byte {
	out := append(bytes.TrimSuffix(object, []byte("}")), ',', '"')
	out = append(append(out, name...), '"', ':')
	return append(append(out, value...), '}')
}

// spliceAll appends encoded items between two texts.
func joinItems(items [][]byte, next string) []byte {
	n := 32 + len(next)
	for _, item := range items {
		n += len(item) + 1
	}
	out := append(make([]byte, 0, n), `{"items":[`...)
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	out = append(out, ']')
	if next != "" {
		out = append(append(append(out, `,"next":"`...), next...), '"')
	}
	return append(out, '}')
}

// status

type statusOutput struct{ Body wire.Status }

func (s *Server) getStatus(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	state := s.config.View.State()
	out := wire.Status{
		Component: s.config.Name, Version: s.config.Version, Now: s.config.Clock.Now().UTC(), Speed: s.config.Speed,
		Freshness:  wire.Freshness{Samples: known1(state.Samples), Forecast: known1(state.Forecast), Model: known1(state.Models)},
		Store:      wire.Store{OK: state.Since.IsZero() && !state.Seen.IsZero(), Since: known1(state.Since), Message: state.Message},
		Components: s.catalog.load().modes,
	}
	if out.Components == nil {
		out.Components = map[string]int{}
	}
	user := infoOf(ctx).user
	out.User, out.Write = user.Name, true
	if s.config.Access != nil {
		allowed, err := s.config.Access.Allows(ctx, user, access.Action{Verb: access.Update, Resource: "policies"})
		if err != nil {
			return nil, fail(ctx, err)
		}
		out.Write = allowed
	}
	return &statusOutput{out}, nil
}

// known1 returns nil for a time that is not known.
func known1(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s *Server) getReady(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	// A store that does not answer is no reason to take the server out: it answers
	// from what it has.
	if !s.catalog.load().seen {
		probe(w, http.StatusServiceUnavailable, "the components have not been read yet")
		return
	}
	probe(w, http.StatusOK, "ok")
}

func probe(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// components

type listComponentsInput struct {
	wire.Conditional
	Namespace string       `query:"namespace" maxLength:"63"`
	Service   string       `query:"service" maxLength:"63"`
	Mode      schemas.Mode `query:"mode" enum:"Off,Shadow,Auto"`
	wire.Page
}

func (s *Server) listComponents(ctx context.Context, in *listComponentsInput) (*encoded, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fail(ctx, err)
	}
	q := question("components", in.Namespace, in.Service, string(in.Mode))
	var after schemas.ComponentID
	if err := decodeCursor(in.Cursor, q, &after); err != nil {
		return nil, fail(ctx, err)
	}
	k := s.catalog.load()
	// The components of a namespace lie together.
	from := sort.Search(len(k.components), func(i int) bool { return k.components[i].ID.Namespace >= in.Namespace })
	if in.Cursor != "" {
		from = sort.Search(len(k.components), func(i int) bool { return schemas.ComponentID(k.components[i].ID).Compare(after) > 0 })
	}
	var items [][]byte
	var last wire.ComponentID
	next := ""
	for i := from; i < len(k.components); i++ {
		c := &k.components[i]
		if in.Namespace != "" && c.ID.Namespace != in.Namespace {
			break
		}
		if in.Service != "" && c.ID.Service != in.Service || in.Mode != "" && c.Policy.Mode != in.Mode {
			continue
		}
		if len(items) == in.Limit {
			next = encodeCursor(q, last)
			break
		}
		body, err := s.component(c, true)
		if err != nil {
			return nil, fail(ctx, err)
		}
		items, last = append(items, body), c.ID
	}
	return s.answer(in.Conditional, joinItems(items, next), ""), nil
}

// component returns a component as JSON, with its newest decision.
func (s *Server) component(c *component, summary bool) ([]byte, error) {
	head, err := c.encoded()
	if err != nil {
		return nil, err
	}
	id := schemas.ComponentID(c.ID)
	decision, ok, err := s.config.View.Decision(nil, id, summary)
	if err != nil {
		return nil, err
	}
	body := append(make([]byte, 0, len(head)+len(decision.Body)+128), head...)
	if at, until, ok := s.config.View.HasForecast(id); ok {
		body = splice(body, "samplesUntil", []byte(until.Format(`"`+time.RFC3339+`"`)))
		body = splice(body, "forecastAt", []byte(at.Format(`"`+time.RFC3339+`"`)))
	}
	if ok {
		body = splice(body, "decision", decision.Body)
	}
	return body, nil
}

// place is a component as a path names it. Without namespaced, the namespace is not
// said.
type place struct {
	schemas.ComponentID
	namespaced bool
}

func named(p wire.ComponentName) place {
	return place{ComponentID: schemas.ComponentID{Service: p.Service, Component: p.Component}}
}

func placed(p wire.ComponentPath) place {
	id := named(p.ComponentName)
	id.namespaced = true
	if p.Namespace != noNamespace {
		id.Namespace = p.Namespace
	}
	return id
}

// resolve returns the component that a path names. Without a namespace it is the one
// of that name.
func (s *Server) resolve(p place) (schemas.ComponentID, error) {
	if p.namespaced {
		return p.ComponentID, nil
	}
	namespaces := s.catalog.load().namespaces(p.Service, p.Component)
	if len(namespaces) > 1 {
		return p.ComponentID, schemas.Errorf(schemas.CodeConflict, "component %s is in the namespaces %s: name one of them in the path", p, strings.Join(namespaces, ", "))
	}
	if len(namespaces) == 1 {
		p.Namespace = namespaces[0]
	}
	return p.ComponentID, nil
}

func (s *Server) getComponent(ctx context.Context, has wire.Conditional, at place) (*encoded, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fail(ctx, err)
	}
	id, err := s.resolve(at)
	if err != nil {
		return nil, fail(ctx, err)
	}
	c, ok := s.catalog.load().find(id)
	if !ok {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "component %q: there is none", id))
	}
	body, err := s.component(c, false)
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.answer(has, body, strings.Trim(tagOf(body), `"`)), nil
}

// forecasts and history

func (s *Server) getForecast(ctx context.Context, has wire.Conditional, at place, of schemas.Resource) (*encoded, error) {
	id, err := s.resolve(at)
	if err != nil {
		return nil, fail(ctx, err)
	}
	a, ok, err := s.config.View.Forecast(nil, id, of)
	if err != nil {
		return nil, fail(ctx, err)
	}
	if !ok {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "component %q: there is no forecast of its %s", id, of))
	}
	return s.answer(has, a.Body, "f"+strconv.FormatUint(a.Number, 10)), nil
}

func (s *Server) getHistory(ctx context.Context, has wire.Conditional, at place, asked wire.Stretch) (*encoded, error) {
	id, err := s.resolve(at)
	if err != nil {
		return nil, fail(ctx, err)
	}
	// Rounded to the minute, so that callers who ask for "until now" share an answer.
	to := asked.To.UTC()
	if to.IsZero() {
		to = s.config.Clock.Now().UTC().Truncate(time.Minute).Add(time.Minute)
	}
	from := asked.From.UTC()
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	if !from.Before(to) || to.Sub(from) > view.MaxHistory || from.Year() < 1970 || to.Year() > 2200 {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeInvalidConfig, "from must lie before to, at most 31 days, but they are %s and %s", from.Format(time.RFC3339), to.Format(time.RFC3339)))
	}
	a, ok, err := s.config.View.History(ctx, id, from, to)
	if err != nil {
		return nil, fail(ctx, err)
	}
	if !ok {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "component %q: nothing was measured yet", id))
	}
	return s.answer(has, bytes.Clone(a.Body), "h"+strconv.FormatUint(a.Number, 10)), nil
}

// decisions

type decisionsInput struct {
	wire.Conditional
	Namespace string    `query:"namespace" maxLength:"63" doc:"- for components without a namespace"`
	Service   string    `query:"service" maxLength:"63"`
	Component string    `query:"component" maxLength:"63"`
	Reason    string    `query:"reason" maxLength:"63" example:"FloorRaised"`
	From      time.Time `query:"from" doc:"Only decisions that were made from then on"`
	To        time.Time `query:"to" doc:"Only decisions that were made before then"`
	wire.Page
}

func (s *Server) listDecisions(ctx context.Context, in *decisionsInput) (*encoded, error) {
	q := view.DecisionQuery{Service: in.Service, Component: in.Component, Reason: schemas.Reason(in.Reason), From: in.From, To: in.To, Limit: in.Limit}
	if in.Namespace != "" {
		q.Namespace = &in.Namespace
		if in.Namespace == noNamespace {
			q.Namespace = new(string)
		}
	} else if in.Service != "" && in.Component != "" {
		// One component, where its name says which: then its place is looked up.
		if found := s.catalog.load().namespaces(in.Service, in.Component); len(found) == 1 {
			q.Namespace = &found[0]
		}
	}
	asked := question("decisions", in.Namespace, in.Service, in.Component, in.Reason, in.From.String(), in.To.String())
	if err := decodeCursor(in.Cursor, asked, &q.After); err != nil {
		return nil, fail(ctx, err)
	}
	if q.After.Index < 0 {
		q.After.Index = 0
	}
	items, next, err := s.config.View.Decisions(ctx, q)
	if err != nil {
		return nil, fail(ctx, err)
	}
	cursor := ""
	if next != nil {
		cursor = encodeCursor(asked, next)
	}
	return s.answer(in.Conditional, joinItems(items, cursor), ""), nil
}

// models and accuracy

type modelsInput struct {
	wire.Conditional
	Number uint64 `query:"number" doc:"Number of an earlier training"`
}

func (s *Server) listModels(ctx context.Context, in *modelsInput) (*encoded, error) {
	a, ok, err := s.config.View.Models(ctx, in.Number)
	if err != nil {
		return nil, fail(ctx, err)
	}
	if !ok {
		if in.Number != 0 {
			return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "training %d: there is none, or it is no longer kept", in.Number))
		}
		a.Body = []byte(`{"number":0,"items":[]}`)
	}
	return s.answer(in.Conditional, bytes.Clone(a.Body), modelsTag(a.Number)), nil
}

type modelLineInput struct {
	wire.Conditional
	wire.Page
}

func (s *Server) listModelLine(ctx context.Context, in *modelLineInput) (*encoded, error) {
	asked := question("models")
	below := uint64(0)
	if err := decodeCursor(in.Cursor, asked, &below); err != nil {
		return nil, fail(ctx, err)
	}
	entries, next, err := s.config.View.ModelLine(ctx, below, in.Limit)
	if err != nil {
		return nil, fail(ctx, err)
	}
	line := wire.ModelLine{Items: entries}
	if entries == nil {
		line.Items = []wire.ModelEntry{}
	}
	if next != 0 {
		line.Next = encodeCursor(asked, next)
	}
	body, err := json.Marshal(line)
	if err != nil {
		return nil, fail(ctx, schemas.WithCode(schemas.CodeInternal, err))
	}
	return s.answer(in.Conditional, body, ""), nil
}

type accuracyInput struct{ wire.Page }

type accuracyOutput struct {
	StaleSince string `header:"Self-Scaling-Stale-Since"`
	Body       wire.Accuracy
}

func (s *Server) getAccuracy(ctx context.Context, in *accuracyInput) (*accuracyOutput, error) {
	basis, points, components := s.config.View.Accuracy()
	asked := question("accuracy", string(basis))
	after := 0
	if err := decodeCursor(in.Cursor, asked, &after); err != nil {
		return nil, fail(ctx, err)
	}
	from := min(max(0, after), len(components))
	to := min(from+in.Limit, len(components))
	out := &accuracyOutput{Body: wire.Accuracy{Basis: string(basis), Points: points, Components: components[from:to]}}
	if out.Body.Components == nil {
		out.Body.Components = []wire.ComponentAccuracy{}
	}
	if to < len(components) {
		out.Body.Next = encodeCursor(asked, to)
	}
	if since := s.staleSince(); since != nil {
		out.Body.StaleSince, out.StaleSince = since, since.Format(time.RFC3339)
	}
	return out, nil
}

type pipelinesOutput struct{ Body wire.PipelineList }

func (s *Server) listPipelines(context.Context, *struct{}) (*pipelinesOutput, error) {
	out := &pipelinesOutput{wire.PipelineList{Items: []wire.Pipeline{}}}
	for i := range s.config.Pipelines {
		p := &s.config.Pipelines[i]
		w := wire.Pipeline{Name: p.Name, Description: p.Description, Parameters: []wire.Parameter{}, Steps: []string{}}
		for _, x := range p.Parameters {
			w.Parameters = append(w.Parameters, wire.Parameter{Name: x.Name, Description: x.Description, Default: x.Default})
		}
		for j := range p.Steps {
			w.Steps = append(w.Steps, p.Steps[j].Name)
		}
		out.Body.Items = append(out.Body.Items, w)
	}
	return out, nil
}

// pipeline returns a pipeline by its name, nil where there is none.
func (s *Server) pipeline(name string) *workflows.Pipeline {
	for i := range s.config.Pipelines {
		if s.config.Pipelines[i].Name == name {
			return &s.config.Pipelines[i]
		}
	}
	return nil
}

func (s *Server) pipelineNames() (names []string) {
	for i := range s.config.Pipelines {
		names = append(names, s.config.Pipelines[i].Name)
	}
	return names
}

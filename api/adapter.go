package api

import (
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"
	"github.com/julienschmidt/httprouter"
)

// adapter gives huma's operations their place in the router. The requests and
// answers themselves are humahttprouter's. What it adds is the guard before each
// operation, and parameters that may have different names at one place of the path,
// which httprouter does not allow: {namespace}/{service} beside
// {service}/{component}.
type adapter struct {
	huma.Adapter
	server *Server
	inner  *httprouter.Router
}

func newAdapter(s *Server) *adapter {
	inner := httprouter.New()
	return &adapter{humahttprouter.New(inner, huma.Config{OpenAPI: &huma.OpenAPI{}}).Adapter(), s, inner}
}

// routeKey is where an operation's metadata has its route.
const routeKey = "route"

// Handle implements [huma.Adapter].
func (a *adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	rt := op.Metadata[routeKey].(route)
	rt.method, rt.pattern = op.Method, op.Path
	path, names := positional(op.Path)
	placed := *op
	placed.Path = path
	a.Adapter.Handle(&placed, func(ctx huma.Context) { handler(&request{ctx, op, names}) })
	h, _, _ := a.inner.Lookup(op.Method, path)
	a.server.handle(rt, h)
}

// humaContext is embedded under a name that is not one of its methods'.
type humaContext = huma.Context

// request is one whose path parameters are known by their names.
type request struct {
	humaContext
	op    *huma.Operation
	names []string
}

// Operation implements [huma.Context].
func (n *request) Operation() *huma.Operation { return n.op }

// Param implements [huma.Context].
func (n *request) Param(name string) string {
	for i := range n.names {
		if n.names[i] == name {
			return n.humaContext.Param(strconv.Itoa(i + 1))
		}
	}
	return ""
}

// Unwrap lets humahttprouter find the request below.
func (n *request) Unwrap() huma.Context { return n.humaContext }

// positional returns a path as httprouter wants it, with the parameters named by
// their place, and their names: /v1/runs/{id} is /v1/runs/:1.
func positional(pattern string) (path string, names []string) {
	names = segments(pattern)
	path = pattern
	for i, name := range names {
		path = strings.Replace(path, "{"+name+"}", ":"+strconv.Itoa(i+1), 1)
	}
	return path, names
}

// segments returns the names of a pattern's parameters, in order.
func segments(pattern string) (names []string) {
	for part := range strings.SplitSeq(pattern, "/") {
		if strings.HasPrefix(part, "{") {
			names = append(names, strings.Trim(part, "{}"))
		}
	}
	return names
}

package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/schemas"
)

// Server answers the REST interface. It is an [http.Handler].
type Server struct {
	config      Config
	router      *httprouter.Router
	crossOrigin *http.CrossOriginProtection
	throttles   throttles
	metrics     *metrics
	catalog     *catalog
	runs        *runList
	followers   followers

	// descriptions are encoded when somebody first asks for one.
	descriptions func() (*descriptions, error)
	routes       []*route
}

// New returns a server. It answers, though with little to show, before
// [Server.Run] is called. It returns an error with CodeInvalidConfig where
// something is missing.
func New(c Config) (*Server, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: c, crossOrigin: http.NewCrossOriginProtection(), throttles: newThrottles(c.Limits),
		catalog: newCatalog(c.Services), router: httprouter.New(),
	}
	s.runs = &runList{server: s}
	s.followers.byRun = map[string]*follower{}
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, err
	}
	s.router.RedirectTrailingSlash = false
	s.router.RedirectFixedPath = false
	s.router.NotFound = http.HandlerFunc(s.notFound)
	s.router.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sendProblem(w, r, newProblem(http.StatusMethodNotAllowed, "", "this path has the methods "+w.Header().Get("Allow")))
	})
	described := s.newAPI()
	s.addOriginal(described)
	s.addModern(described)
	s.descriptions = sync.OnceValues(func() (*descriptions, error) { return s.describe(described) })
	return s, nil
}

// notFound answers what no route is for: by the page, where there is one, except
// below the interface's own paths.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	if s.config.Page != nil && !ours(r.URL.Path) {
		s.config.Page.ServeHTTP(w, r)
		return
	}
	sendProblem(w, r, newProblem(http.StatusNotFound, schemas.CodeNotFound, "there is nothing at this path"))
}

func ours(path string) bool { return path == "/v1" || len(path) > 3 && path[:4] == "/v1/" }

// Run keeps what the server shows fresh until ctx ends.
func (s *Server) Run(ctx context.Context) {
	var done sync.WaitGroup
	done.Go(func() { s.config.View.Run(ctx) })
	defer done.Wait()
	ticker := time.NewTicker(s.config.Refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.refreshCatalog(ctx)
	}
}

// Refresh loads everything now. Callers use it at the start, so that the first
// answers have something to show; what fails is tried again by [Server.Run].
func (s *Server) Refresh(ctx context.Context) error {
	s.refreshCatalog(ctx)
	return s.config.View.Refresh(ctx)
}

func (s *Server) refreshCatalog(ctx context.Context) {
	if err := s.catalog.refresh(ctx, s.config.Clock.Now()); err != nil && ctx.Err() == nil {
		s.config.Log.Warn("the components cannot be read; what was read before is shown", "error", err)
	}
}

// staleSince returns since when something that is shown could not be read anew.
func (s *Server) staleSince() *time.Time {
	since := s.config.View.StaleSince()
	if other := s.catalog.since.Load(); other != nil && (since == nil || other.Before(*since)) {
		t := other.UTC()
		since = &t
	}
	return since
}

// handle adds a route whose handler is not huma's.
func (s *Server) handle(rt route, h httprouter.Handle) {
	path, _ := positional(rt.pattern)
	s.routes = append(s.routes, &rt)
	s.router.Handle(rt.method, path, s.guard(&rt, h))
}

// newAPI returns what describes the interface and decodes requests for it.
func (s *Server) newAPI() huma.API {
	config := huma.DefaultConfig("self-scaling", s.config.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.RejectUnknownQueryParameters = true
	return huma.NewAPI(config, newAdapter(s))
}

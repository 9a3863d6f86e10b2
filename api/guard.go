package api

import (
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"
	"golang.org/x/time/rate"
	"k8s.io/utils/lru"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/schemas"
)

// route is one method and path of the interface.
type route struct {
	method  string
	pattern string // as in OpenAPI, /v1/runs/{id}
	// verb and resource are the right that is needed; a route without a resource is
	// open to everybody.
	verb, resource string
	// unlimited says that an answer may take as long as it takes.
	unlimited bool
}

// mutates reports whether the route changes anything. Among the original's routes
// are GETs that do.
func (r *route) mutates() bool { return r.resource != "" && r.verb != access.Get }

// admit holds what is asked of every request, whatever its route.
func (s *Server) admit(r *http.Request) error {
	if len(s.config.Hosts) > 0 {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !slices.Contains(s.config.Hosts, strings.Trim(host, "[]")) {
			return newProblem(http.StatusMisdirectedRequest, "", "the server has another name")
		}
	}
	// Browsers say where a request comes from; what does not come from a browser
	// says nothing and cannot be forged by a web site.
	if err := s.crossOrigin.Check(r); err != nil {
		return newProblem(http.StatusForbidden, "", "another web site must not change anything here")
	}
	return nil
}

// guard lets a request through to a route's handler, or answers why not.
func (s *Server) guard(rt *route, next httprouter.Handle) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, ps httprouter.Params) {
		i := infoOf(r.Context())
		i.route = rt
		if err := s.permit(rt, w, r, ps, i); err != nil {
			sendProblem(w, r, err)
			return
		}
		// Not every writer has deadlines. That of an answer is the server's, see Serve.
		rc := http.NewResponseController(w)
		switch {
		case rt.unlimited:
			_ = rc.SetWriteDeadline(time.Time{})
		case r.ContentLength != 0 && s.config.Limits.BodyTime > 0:
			_ = rc.SetReadDeadline(time.Now().Add(s.config.Limits.BodyTime))
		}
		if r.Body != nil && s.config.Limits.Body > 0 {
			// One more than huma reads, which has its own way to say so.
			r.Body = http.MaxBytesReader(w, r.Body, s.config.Limits.Body+1)
		}
		if rt.mutates() {
			w.Header().Set("Cache-Control", "no-store")
		}
		next(w, r, ps)
	}
}

// permit returns why a request must not go on: a prefetch that would change
// something, nobody that is known, no right, or too many.
func (s *Server) permit(rt *route, w http.ResponseWriter, r *http.Request, ps httprouter.Params, i *info) error {
	if rt.mutates() && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		if why := idle(r.Header); why != "" {
			w.Header().Set("Cache-Control", "no-store")
			return newProblem(http.StatusForbidden, "", "this GET changes something and is not answered to "+why)
		}
	}
	if rt.resource == "" {
		return s.throttle(rt, w, address(r))
	}
	if s.config.Access == nil {
		return s.throttle(rt, w, address(r))
	}
	token, ok := bearer(r.Header)
	if !ok {
		s.metrics.refused.WithLabelValues("no_token").Inc()
		w.Header().Set("WWW-Authenticate", `Bearer realm="self-scaling"`)
		return newProblem(http.StatusUnauthorized, "", "a bearer token must be given in the header Authorization")
	}
	user, err := s.config.Access.Review(r.Context(), token)
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusUnauthorized {
			s.metrics.refused.WithLabelValues("bad_token").Inc()
			w.Header().Set("WWW-Authenticate", `Bearer realm="self-scaling", error="invalid_token"`)
		}
		return err
	}
	i.user = user
	if err := s.throttle(rt, w, user.Name); err != nil {
		return err
	}
	allowed, err := s.config.Access.Allows(r.Context(), user, action(rt, ps))
	if err != nil {
		return err
	}
	if !allowed {
		s.metrics.refused.WithLabelValues("no_right").Inc()
		a := action(rt, ps)
		where := ""
		if a.Namespace != "" {
			where = " in namespace " + a.Namespace
		}
		return newProblem(http.StatusForbidden, "", user.Name+" must have the right to "+a.Verb+" "+a.Resource+"."+access.Group+where)
	}
	return nil
}

// action returns what a request wants to do: within a namespace where its path
// names one.
func action(rt *route, ps httprouter.Params) access.Action {
	a := access.Action{Verb: rt.verb, Resource: rt.resource}
	if names := segments(rt.pattern); len(names) > 0 && names[0] == "namespace" && len(ps) > 0 && ps[0].Value != noNamespace {
		a.Namespace = ps[0].Value
	}
	return a
}

// bearer returns the token of a request.
func bearer(h http.Header) (string, bool) {
	scheme, token, ok := strings.Cut(h.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && strings.EqualFold(scheme, "Bearer")
}

// idle says what a browser sends that nobody has meant to send, "" for what
// somebody did.
func idle(h http.Header) string {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(h.Get(name)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") || strings.Contains(v, "prerender") {
			return "a prefetch"
		}
	}
	switch h.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return ""
	}
	return "another web site"
}

// address returns who asks where nobody has to say: the caller's address.
func address(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// subjects is how many subjects have a bucket of their own. One that is forgotten
// begins with a full one.
const subjects = 10_000

// throttles hold each subject to the limits, by a token bucket for what reads and
// one for what changes something.
type throttles struct {
	reads, writes float64
	buckets       *lru.Cache // of *buckets, by subject
}

type buckets struct{ reads, writes *rate.Limiter }

func newThrottles(l Limits) throttles {
	return throttles{l.Reads, l.Writes, lru.New(subjects)}
}

func limiter(perSecond float64) *rate.Limiter {
	if perSecond < 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(2*perSecond)))
}

func (s *Server) throttle(rt *route, w http.ResponseWriter, subject string) error {
	t := &s.throttles
	if rt.mutates() && t.writes < 0 || !rt.mutates() && t.reads < 0 {
		return nil
	}
	var b *buckets
	if v, ok := t.buckets.Get(subject); ok {
		b = v.(*buckets)
	} else {
		// Two first requests at once may each make one; a few more are let through.
		b = &buckets{limiter(t.reads), limiter(t.writes)}
		t.buckets.Add(subject, b)
	}
	l := b.reads
	if rt.mutates() {
		l = b.writes
	}
	now := time.Now()
	reservation := l.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	s.metrics.refused.WithLabelValues("too_many").Inc()
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return newProblem(http.StatusTooManyRequests, schemas.CodeUnavailable, "too many requests")
}

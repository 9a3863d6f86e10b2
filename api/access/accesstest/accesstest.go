// Package accesstest is the part of an API server that says who a token stands for
// and what they may do, for tests. It answers as a real one does: a token that is
// unknown, has expired or is meant for somebody else is no error of the request.
package accesstest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/access"
)

// Token is what the server knows of a token.
type Token struct {
	User access.User
	// Audiences are whom it is made for; none stands for the API server itself.
	Audiences []string
	// Expires is when it is no longer valid, the zero time for never.
	Expires time.Time
}

// Right is what somebody may do. Empty fields stand for all of their kind.
type Right struct {
	User, Verb, Resource, Namespace string
}

// Doors are what programs are told of audiences, and tokens by whom they are made for:
// every program that asks for tokens lets in the same.
var Doors = []struct {
	Name      string
	Flag      string   // -audience of the program
	Audiences []string // of the token
	Open      bool
}{
	{"as kubectl create token makes it", "", nil, true},
	{"for us", "", []string{access.Audience}, true},
	{"for the API server and us, as kubectl selfscale --account makes it", "", []string{own, access.Audience}, true},
	{"for somebody else", "", []string{"vault"}, false},
	{"for us, where only that will do", access.Audience, []string{access.Audience}, true},
	{"for the API server, where only ours will do", access.Audience, nil, false},
	{"for the API server and us, where only ours will do", access.Audience, []string{own, access.Audience}, true},
	{"for us, where the operator wants another", "scaling.example.org", []string{access.Audience}, false},
	{"for what the operator wants", "scaling.example.org", []string{"scaling.example.org"}, true},
}

// own is the audience of the API server.
const own = "https://kubernetes.default.svc"

// Server is an API server that reviews tokens and rights.
type Server struct {
	// URL is where it is reached.
	URL string

	mu      sync.Mutex
	now     time.Time
	tokens  map[string]Token
	rights  []Right
	status  int  // what requests are refused with; 0 while they are not
	simple  bool // the authenticator knows no audiences
	asked   map[string]int
	spoken  []map[string]any // the specs of all reviews
	blocked chan struct{}    // closed when reviews may go on; nil for at once
}

// New returns a server that listens on loopback until the test ends.
func New(t testing.TB) *Server {
	s := &Server{now: time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC), tokens: map[string]Token{}, asked: map[string]int{}}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.URL = h.URL
	return s
}

// Kubeconfig returns a kubeconfig file for the server.
func (s *Server) Kubeconfig() string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q}}]
users: [{name: a, user: {token: ours}}]
contexts: [{name: a, context: {cluster: a, user: a, namespace: self-scaling}}]
current-context: a
`, s.URL)
}

// Know makes a token known.
func (s *Server) Know(token string, k Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = k
}

// Forget makes a token unknown.
func (s *Server) Forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// Grant replaces all rights that there are.
func (s *Server) Grant(rights ...Right) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights = rights
}

// SetTime sets the server's clock, which begins in March 2026.
func (s *Server) SetTime(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Refuse answers every request with a status, or works again where it is 0.
func (s *Server) Refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// IgnoreAudiences has the server answer as an authenticator does that knows no
// audiences, such as an older webhook: the answer does not name any.
func (s *Server) IgnoreAudiences() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.simple = true
}

// Hold makes reviews wait until the function that it returns is called.
func (s *Server) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.blocked = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Asked returns how many reviews of a kind were asked for, TokenReview or
// SubjectAccessReview.
func (s *Server) Asked(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[kind]
}

// Last returns the spec of the newest review, as it came.
func (s *Server) Last() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.spoken[len(s.spoken)-1])
}

// review is a TokenReview or a SubjectAccessReview.
type review struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Spec       map[string]any `json:"spec"`
	Status     map[string]any `json:"status"`
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := map[string]string{
		"/apis/authentication.k8s.io/v1/tokenreviews":        "TokenReview",
		"/apis/authorization.k8s.io/v1/subjectaccessreviews": "SubjectAccessReview",
	}[r.URL.Path]
	var got review
	if err := json.NewDecoder(r.Body).Decode(&got); kind == "" || r.Method != http.MethodPost || err != nil || got.Kind != kind {
		http.Error(w, "the test's API server has no such request", http.StatusNotFound)
		return
	}
	s.mu.Lock()
	s.asked[kind]++
	s.spoken = append(s.spoken, got.Spec)
	gate, status := s.blocked, s.status
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "message": "refused by the test"})
		return
	}
	s.mu.Lock()
	if kind == "TokenReview" {
		got.Status = s.token(got.Spec)
	} else {
		got.Status = map[string]any{"allowed": s.allowed(got.Spec)}
	}
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(got) // who has left needs no answer
}

// token returns the status of a TokenReview.
func (s *Server) token(spec map[string]any) map[string]any {
	text, _ := spec["token"].(string)
	k, ok := s.tokens[text]
	no := func(why string) map[string]any { return map[string]any{"authenticated": false, "error": why} }
	switch {
	case !ok:
		return no("invalid bearer token")
	case !k.Expires.IsZero() && !s.now.Before(k.Expires):
		return no("invalid bearer token, service account token has expired")
	}
	yes := map[string]any{"authenticated": true, "user": map[string]any{
		"username": k.User.Name, "uid": k.User.UID, "groups": k.User.Groups, "extra": k.User.Extra,
	}}
	if s.simple {
		return yes
	}
	made := k.Audiences
	if len(made) == 0 {
		made = []string{own}
	}
	wanted := []string{own}
	if list, ok := spec["audiences"].([]any); ok && len(list) > 0 {
		wanted = nil
		for _, a := range list {
			wanted = append(wanted, a.(string))
		}
	}
	var both []string
	for _, a := range wanted {
		if slices.Contains(made, a) {
			both = append(both, a)
		}
	}
	if both == nil {
		return no("token audiences are invalid for the target audiences")
	}
	yes["audiences"] = both
	return yes
}

// allowed answers a SubjectAccessReview.
func (s *Server) allowed(spec map[string]any) bool {
	a, _ := spec["resourceAttributes"].(map[string]any)
	if a == nil || a["group"] != access.Group {
		return false
	}
	text := func(m map[string]any, name string) string {
		v, _ := m[name].(string)
		return v
	}
	is := func(granted, asked string) bool { return granted == "" || granted == asked }
	return slices.ContainsFunc(s.rights, func(r Right) bool {
		return is(r.User, text(spec, "user")) && is(r.Verb, text(a, "verb")) && is(r.Resource, text(a, "resource")) && is(r.Namespace, text(a, "namespace"))
	})
}

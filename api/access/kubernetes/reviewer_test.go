package kubernetes_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/access/accesstest"
	"github.com/self-scaling/self-scaling/api/access/kubernetes"
	"github.com/self-scaling/self-scaling/schemas"
)

func newReviewer(t *testing.T, s *accesstest.Server, audience string) *kubernetes.Reviewer {
	t.Helper()
	client, err := dynamic.NewForConfig(&rest.Config{Host: s.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.New(client, audience)
}

var alice = access.User{Name: "alice", UID: "1", Groups: []string{"ops", "system:authenticated"}, Extra: map[string][]string{"example.org/team": {"a", "b"}}}

func TestTokens(t *testing.T) {
	const here = "self-scaling"
	for _, tt := range []struct {
		name     string
		token    accesstest.Token
		audience string // that the reviewer asks for
		simple   bool   // the API server knows no audiences
		want     error
	}{
		{name: "made for us", token: accesstest.Token{User: alice, Audiences: []string{here}}, audience: here},
		{name: "made for several, us among them", token: accesstest.Token{User: alice, Audiences: []string{"vault", here}}, audience: here},
		{name: "made for somebody else", token: accesstest.Token{User: alice, Audiences: []string{"vault"}}, audience: here, want: access.ErrUnauthenticated},
		{name: "made for the API server alone, where only ours do", token: accesstest.Token{User: alice}, audience: here, want: access.ErrUnauthenticated},
		{name: "made for the API server", token: accesstest.Token{User: alice}},
		{name: "made for us and nobody else", token: accesstest.Token{User: alice, Audiences: []string{access.Audience}}},
		{name: "made for somebody else, where ours and the API server's do", token: accesstest.Token{User: alice, Audiences: []string{"vault"}}, want: access.ErrUnauthenticated},
		{name: "made for us, where an audience of the operator's is asked for", token: accesstest.Token{User: alice, Audiences: []string{access.Audience}}, audience: "scaling.example.org", want: access.ErrUnauthenticated},
		{name: "of an authenticator that knows no audiences", token: accesstest.Token{User: alice, Audiences: []string{here}}, audience: here, simple: true, want: access.ErrUnauthenticated},
		{name: "of an authenticator that knows no audiences, where the API server's do", token: accesstest.Token{User: alice}, simple: true},
		{name: "that has expired", token: accesstest.Token{User: alice, Audiences: []string{here}, Expires: time.Date(2026, 3, 9, 11, 59, 0, 0, time.UTC)}, audience: here, want: access.ErrUnauthenticated},
		{name: "that expires later", token: accesstest.Token{User: alice, Audiences: []string{here}, Expires: time.Date(2026, 3, 9, 12, 1, 0, 0, time.UTC)}, audience: here},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := accesstest.New(t)
			s.Know("secret", tt.token)
			if tt.simple {
				s.IgnoreAudiences()
			}
			r := newReviewer(t, s, tt.audience)
			got, err := r.Review(t.Context(), "secret")
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if err == nil {
				if diff := cmp.Diff(alice, got); diff != "" {
					t.Errorf("user (-want +got):\n%s", diff)
				}
			}
			if _, err := r.Review(t.Context(), "guessed"); !errors.Is(err, access.ErrUnauthenticated) {
				t.Errorf("a token that nobody knows: %v", err)
			}
		})
	}
}

func TestRights(t *testing.T) {
	s := accesstest.New(t)
	s.Grant(
		accesstest.Right{User: "alice", Verb: access.Get, Resource: "runs"},
		accesstest.Right{User: "alice", Verb: access.Update, Resource: "policies", Namespace: "prod"},
	)
	r := newReviewer(t, s, "")
	for _, tt := range []struct {
		user   string
		action access.Action
		want   bool
	}{
		{"alice", access.Action{Verb: access.Get, Resource: "runs"}, true},
		{"alice", access.Action{Verb: access.Create, Resource: "runs"}, false},
		{"alice", access.Action{Verb: access.Get, Resource: "models"}, false},
		{"alice", access.Action{Verb: access.Update, Resource: "policies", Namespace: "prod"}, true},
		{"alice", access.Action{Verb: access.Update, Resource: "policies", Namespace: "staging"}, false},
		{"alice", access.Action{Verb: access.Update, Resource: "policies"}, false},
		{"bob", access.Action{Verb: access.Get, Resource: "runs"}, false},
	} {
		u := alice
		u.Name = tt.user
		if got, err := r.Allows(t.Context(), u, tt.action); err != nil || got != tt.want {
			t.Errorf("%s, %+v: %v (%v), want %v", tt.user, tt.action, got, err, tt.want)
		}
	}
	// All that is known of a user goes along: rights may hang on groups and extras.
	want := map[string]any{
		"user": "bob", "uid": "1", "groups": []any{"ops", "system:authenticated"}, "extra": map[string]any{"example.org/team": []any{"a", "b"}},
		"resourceAttributes": map[string]any{"group": access.Group, "version": "*", "resource": "runs", "verb": "get"},
	}
	if diff := cmp.Diff(want, s.Last()); diff != "" {
		t.Errorf("what was asked (-want +got):\n%s", diff)
	}
}

func TestServerThatCannotSay(t *testing.T) {
	for name, status := range map[string]int{"it is down": http.StatusServiceUnavailable, "it fails": http.StatusInternalServerError, "we may not ask": http.StatusForbidden, "our token is not valid": http.StatusUnauthorized} {
		t.Run(name, func(t *testing.T) {
			s := accesstest.New(t)
			s.Know("secret", accesstest.Token{User: alice})
			s.Grant(accesstest.Right{})
			s.Refuse(status)
			r := newReviewer(t, s, "")
			_, err := r.Review(t.Context(), "secret")
			if schemas.CodeOf(err) != schemas.CodeUnavailable || errors.Is(err, access.ErrUnauthenticated) {
				t.Errorf("a review returns %v, want that nobody can say", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds the token: %v", err)
			}
			if ok, err := r.Allows(t.Context(), alice, access.Action{Verb: access.Get, Resource: "runs"}); ok || schemas.CodeOf(err) != schemas.CodeUnavailable {
				t.Errorf("a right is %v (%v), want that nobody can say", ok, err)
			}
		})
	}
}

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// serve returns a client of a server that answers with handler.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL+"/behind/a/prefix", client.Options{Token: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServerMustBeAURL(t *testing.T) {
	for _, s := range []string{"", "localhost:8080", "ftp://host", "http://", "http://host?x=y", "http://host#x", "http://host:port"} {
		if _, err := client.New(s, client.Options{}); schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("New(%q): error %v, want one that names the value", s, err)
		}
	}
}

func TestPathsAndTokens(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		fmt.Fprint(w, `{}`)
	})
	ctx := t.Context()
	from := time.Date(2026, 1, 2, 3, 0, 0, 0, time.FixedZone("", 3600))
	for _, f := range []func() error{
		func() error { _, err := c.Status(ctx); return err },
		func() error {
			_, err := c.Component(ctx, wire.ComponentID{Service: "a b", Component: "c/d"})
			return err
		},
		func() error {
			_, err := c.Forecast(ctx, wire.ComponentID{Namespace: "n", Service: "s", Component: "c"}, schemas.Memory)
			return err
		},
		func() error {
			_, err := c.History(ctx, wire.ComponentID{Namespace: "n", Service: "s", Component: "c"}, from, time.Time{})
			return err
		},
		func() error { _, err := c.Stop(ctx, "a/b"); return err },
		func() error { _, err := c.Retry(ctx, "r"); return err },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /behind/a/prefix/v1/status Bearer mine",
		"GET /behind/a/prefix/v1/components/-/a%20b/c%2Fd Bearer mine",
		"GET /behind/a/prefix/v1/forecasts/n/s/c?resource=memory Bearer mine",
		"GET /behind/a/prefix/v1/history/n/s/c?from=2026-01-02T02%3A00%3A00Z Bearer mine",
		"DELETE /behind/a/prefix/v1/runs/a%2Fb Bearer mine",
		"POST /behind/a/prefix/v1/runs/r/retry Bearer mine",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestPagesAreReadAsTheyAreUsedUp(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		switch r.URL.Query().Get("cursor") {
		case "":
			fmt.Fprint(w, `{"items": [{"id": "1"}, {"id": "2"}], "next": "two"}`)
		case "two":
			fmt.Fprint(w, `{"items": [{"id": "3"}], "next": "three"}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"title": "Service Unavailable", "detail": "the store is away"}`)
		}
	})
	read := func(n int) (ids []string, last error) {
		for r, err := range c.Runs(t.Context(), client.Query{Pipeline: "train"}) {
			if err != nil {
				return ids, err
			}
			if ids = append(ids, r.ID); len(ids) == n {
				break
			}
		}
		return ids, nil
	}
	if ids, err := read(2); err != nil || len(asked) != 1 {
		t.Errorf("runs %v (%v) by %d requests, want two by one", ids, err, len(asked))
	}
	asked = nil
	ids, err := read(-1)
	if diff := cmp.Diff([]string{"1", "2", "3"}, ids); diff != "" || schemas.CodeOf(err) != schemas.CodeUnavailable || err.Error() != "the store is away" {
		t.Errorf("error %v, runs (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"pipeline=train", "cursor=two&pipeline=train", "cursor=three&pipeline=train"}, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestWhatAnAnswerThatSaysNoMeans(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		code   schemas.Code
		want   string
	}{
		{400, `{"title": "Bad Request", "detail": "it is wrong", "errors": [{"location": "body.mode", "message": "must be Off"}]}`, schemas.CodeInvalidConfig, "it is wrong; body.mode: must be Off"},
		{401, `{"title": "Unauthorized"}`, schemas.CodeInvalidConfig, "Unauthorized"},
		{404, `{"detail": "there is none"}`, schemas.CodeNotFound, "there is none"},
		{410, `{"detail": "gone"}`, schemas.CodeNotFound, "gone"},
		{409, `{"detail": "twice"}`, schemas.CodeConflict, "twice"},
		{412, `{"detail": "changed"}`, schemas.CodeConflict, "changed"},
		{429, `{"detail": "too many"}`, schemas.CodeUnavailable, "too many"},
		{500, `{"detail": "a bug"}`, schemas.CodeInternal, "a bug"},
		{502, `<html>bad gateway</html>`, schemas.CodeUnavailable, "502 Bad Gateway"},
		{302, ``, schemas.CodeInvalidConfig, "302 Found"}, // a token goes nowhere else
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			asked := 0
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			_, err := c.Status(t.Context())
			if err == nil || err.Error() != tt.want || schemas.CodeOf(err) != tt.code || asked != 1 {
				t.Errorf("error %v (%s) after %d requests, want %q (%s) after one", err, schemas.CodeOf(err), asked, tt.want, tt.code)
			}
			if p := client.ProblemOf(err); p == nil || p.Status != tt.status {
				t.Errorf("problem %v, want one of status %d", p, tt.status)
			}
		})
	}
}

func TestServersThatDoNotAnswer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); schemas.CodeOf(err) != schemas.CodeUnavailable || strings.Contains(err.Error(), "Get \"") || client.ProblemOf(err) != nil {
		t.Errorf("error %v, want that the server does not answer", err)
	}
	c = serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `<html>`) })
	if _, err := c.Status(t.Context()); schemas.CodeOf(err) != schemas.CodeInvalidData || !strings.Contains(err.Error(), "/behind/a/prefix/v1/status") {
		t.Errorf("error %v, want that the answer is none", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c = serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestAChangeIsOneOfWhatWasRead(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"7"`)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPatch || r.Header.Get("If-Match") != `"7"` || r.Header.Get("Content-Type") != "application/merge-patch+json" || string(body) != `{"mode":"Auto"}` {
			t.Errorf("%s with %v and %s, want a merge patch of what was read", r.Method, r.Header, body)
		}
		fmt.Fprint(w, `{"service": "shop"}`)
	})
	p, err := c.SetService(t.Context(), "", "shop", map[string]any{"mode": "Auto"})
	if err != nil || p.Service != "shop" {
		t.Errorf("policy %v (%v), want that of shop", p, err)
	}
}

func TestAskingAgainForTheSameRun(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var request wire.RunRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Pipeline != "infer" {
			t.Errorf("request %v (%v), want one for infer", request, err)
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"id": %q}`, r.Header.Get("Idempotency-Key"))
	})
	if run, err := c.Start(t.Context(), wire.RunRequest{Pipeline: "infer"}, "key"); err != nil || run.ID != "key" {
		t.Errorf("run %v (%v), want that of the key", run, err)
	}
}

// A stream that breaks is taken up where it broke.
func TestFollow(t *testing.T) {
	var since []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		since = append(since, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		switch len(since) {
		case 1:
			fmt.Fprint(w, ": a comment\n\nid: 1\nevent: run\ndata: {\"id\": \"r\", \"phase\": \"Running\"}\n\nevent: other\ndata: {}\n\nid: 2\nevent: ru")
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		default:
			fmt.Fprint(w, "id: 3\nevent: run\ndata: {\"id\": \"r\",\ndata: \"phase\": \"Succeeded\"}\n\n")
		}
	})
	var phases []workflows.Phase
	run, err := c.Follow(t.Context(), "r", func(r *wire.Run) { phases = append(phases, r.Phase) })
	if err != nil || run.Phase != workflows.Succeeded {
		t.Fatalf("run %v (%v), want its end", run, err)
	}
	if diff := cmp.Diff([]workflows.Phase{workflows.Running, workflows.Succeeded}, phases); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	// The event in which it broke is sent again.
	if diff := cmp.Diff([]string{"", "1", "1"}, since); diff != "" {
		t.Errorf("taken up after (-want +got):\n%s", diff)
	}
}

func TestFollowEnds(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if _, err := c.Follow(t.Context(), "r", func(*wire.Run) {}); schemas.CodeOf(err) != schemas.CodeNotFound {
		t.Errorf("error %v, want that there is no such run", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c = serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Follow(ctx, "r", func(*wire.Run) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

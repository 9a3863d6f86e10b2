package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// Each event holds the whole record of its run, so that no event has to be kept for
// those who come back: the id of an event is that of its content, and who has seen
// the newest one gets the next.

const (
	// followEvery is how often a run that somebody follows is looked at.
	followEvery = time.Second
	// heartbeat is how often a stream without news says that it lives.
	heartbeat = 15 * time.Second
	// lossPatience is how long a run that cannot be read is still followed.
	lossPatience = 2 * time.Minute
)

func (s *Server) addEvents(api huma.API) {
	const path = "/v1/runs/{id}/events"
	s.handle(route{method: http.MethodGet, pattern: path, verb: access.Get, resource: "runs", unlimited: true}, s.getEvents)
	op := s.operation(http.MethodGet, path, "follow-run", "A run's record at each change, as server-sent events named run; the stream ends with the run", route{}, http.StatusNotFound)
	op.Parameters = []*huma.Param{
		{Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}},
		{Name: "Last-Event-ID", In: "header", Description: "Id of the last event that was seen", Schema: &huma.Schema{Type: huma.TypeString}},
	}
	run := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.Run](), true, "")
	op.Responses = map[string]*huma.Response{
		"200": {Description: "Events whose data is a " + strings.TrimPrefix(run.Ref, "#/components/schemas/"), Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		"204": {Description: "The run is done, and the last event was seen"},
	}
	documentErrors(api, &op)
	op.Errors = nil
	api.OpenAPI().AddOperation(&op)
}

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request, ps httprouter.Params) {
	id := ps[0].Value
	infoOf(r.Context()).run = id
	if limit := s.config.Limits.Streams; limit > 0 && !s.followers.enter(limit) {
		sendProblem(w, r, newProblem(http.StatusServiceUnavailable, schemas.CodeUnavailable, "too many event streams are open"))
		return
	}
	defer s.followers.leave()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	f, first, err := s.follow(r.Context(), id)
	if err != nil {
		sendProblem(w, r, err)
		return
	}
	defer s.unfollow(f)

	seen := r.Header.Get("Last-Event-ID")
	if first.done && first.id == seen {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if _, err := fmt.Fprint(w, "retry: 2000\n\n"); err != nil || rc.Flush() != nil {
		return
	}
	beat := time.NewTicker(s.beat())
	defer beat.Stop()
	for e := first; ; {
		if e.id != seen {
			if _, err := fmt.Fprintf(w, "id: %s\nevent: run\ndata: %s\n\n", e.id, e.data); err != nil || rc.Flush() != nil {
				return
			}
			seen = e.id
		}
		if e.done || e.lost {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			if _, err := fmt.Fprint(w, ": alive\n\n"); err != nil || rc.Flush() != nil {
				return
			}
		case <-e.next:
			e = f.newest()
		}
	}
}

// beat returns how often streams say that they live.
func (s *Server) beat() time.Duration { return heartbeat }

// event is a run's record at one moment. Next is closed once there is a newer one.
type event struct {
	id   string
	data []byte
	done bool
	lost bool // the run cannot be read any more
	next chan struct{}
}

// follower looks at one run for all who follow it. A slow reader misses events and
// none is kept for it: it gets the newest.
type follower struct {
	run    string
	users  int
	cancel context.CancelFunc

	mu    sync.Mutex
	event *event
}

func (f *follower) newest() *event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.event
}

func (f *follower) set(e *event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.event
	if old != nil && old.id == e.id && old.done == e.done && old.lost == e.lost {
		return
	}
	e.next = make(chan struct{})
	f.event = e
	if old != nil {
		close(old.next)
	}
}

type followers struct {
	mu    sync.Mutex
	byRun map[string]*follower
	open  int
}

func (f *followers) enter(limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open >= limit {
		return false
	}
	f.open++
	return true
}

func (f *followers) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open > 0 {
		f.open--
	}
}

// follow begins to follow a run, or joins those who do.
func (s *Server) follow(ctx context.Context, id string) (*follower, *event, error) {
	first, err := s.look(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	s.followers.mu.Lock()
	defer s.followers.mu.Unlock()
	f := s.followers.byRun[id]
	if f == nil {
		// It goes on for as long as anybody follows, whoever came first.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &follower{run: id, cancel: cancel}
		s.followers.byRun[id] = f
		f.set(first)
		if !first.done {
			go s.watch(ctx, f)
		}
	} else {
		f.set(first)
	}
	f.users++
	return f, f.newest(), nil
}

func (s *Server) unfollow(f *follower) {
	s.followers.mu.Lock()
	defer s.followers.mu.Unlock()
	if f.users--; f.users == 0 {
		f.cancel()
		delete(s.followers.byRun, f.run)
	}
}

// look returns a run's record as an event.
func (s *Server) look(ctx context.Context, id string) (*event, error) {
	run, err := s.run(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(s.wireRun(&run))
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	return &event{id: strings.Trim(tagOf(data), `"`), data: data, done: run.Phase.Done()}, nil
}

// watch looks at a run until it is done.
func (s *Server) watch(ctx context.Context, f *follower) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		e, err := s.look(ctx, f.run)
		switch {
		case err == nil:
			last = time.Now()
			f.set(e)
			if e.done {
				return
			}
		case schemas.CodeOf(err) == schemas.CodeNotFound, time.Since(last) > lossPatience:
			lost := *f.newest()
			lost.lost = true
			f.set(&lost)
			return
		case errors.Is(err, context.Canceled):
			return
		}
	}
}

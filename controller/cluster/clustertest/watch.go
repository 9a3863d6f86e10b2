package clustertest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// changes are all that there have been, for watches. The server's lock guards them.
type changes struct {
	all   []change
	more  chan struct{} // closed when there are more, or something else has changed
	ended int           // how often watches were ended
	held  bool
}

type change struct {
	version int
	gvr     schema.GroupVersionResource
	kind    watch.EventType
	object  *unstructured.Unstructured
}

func newChanges() changes { return changes{more: make(chan struct{})} }

func (c *changes) add(gvr schema.GroupVersionResource, version int, kind watch.EventType, o *unstructured.Unstructured) {
	c.all = append(c.all, change{version, gvr, kind, o})
	c.wake()
}

func (c *changes) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// EndWatches ends the watches that there are, as a server does that is restarted.
func (s *Server) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.ended++
	s.changes.wake()
}

// HoldWatches keeps watches from being told of anything, until [Server.ResumeWatches]:
// copies of what there is lag.
func (s *Server) HoldWatches() { s.hold(true) }

// ResumeWatches has watches told of what they have not been told yet.
func (s *Server) ResumeWatches() { s.hold(false) }

func (s *Server) hold(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.held = held
	s.changes.wake()
}

func watches(r *http.Request) bool {
	on, err := strconv.ParseBool(r.URL.Query().Get("watch"))
	return err == nil && on
}

// watch answers with changes as they come.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	gvr, namespace, ok := watched(r.URL.Path)
	if _, known := s.kinds[gvr]; !ok || !known {
		status := apierrors.NewNotFound(gvr.GroupResource(), "").Status()
		answer(w, int(status.Code), &status)
		return
	}
	timeout := time.Hour
	if seconds, err := strconv.Atoi(r.URL.Query().Get("timeoutSeconds")); err == nil {
		timeout = time.Duration(seconds) * time.Second
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	from, known := 0, false
	if version, err := strconv.Atoi(r.URL.Query().Get("resourceVersion")); err == nil {
		from, known = version, true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	encoder := json.NewEncoder(w)
	flush := func() { _ = http.NewResponseController(w).Flush() } // a client that has gone
	flush()
	s.mu.Lock()
	ended := s.changes.ended
	s.mu.Unlock()
	for {
		s.mu.Lock()
		var events []metav1.WatchEvent
		send := func(kind watch.EventType, o *unstructured.Unstructured) {
			if namespace != "" && o.GetNamespace() != namespace {
				return
			}
			event := metav1.WatchEvent{Type: string(kind)}
			event.Object.Object = o
			events = append(events, event)
		}
		if !known { // from where it stands: what there is comes first
			for _, o := range s.objects[gvr] {
				send(watch.Added, o.DeepCopy())
			}
			from, known = s.version, true
		}
		if !s.changes.held {
			for _, c := range s.changes.all {
				if c.version > from && c.gvr == gvr {
					send(c.kind, c.object)
				}
			}
			from = s.version
		}
		more, over := s.changes.more, s.changes.ended != ended
		s.mu.Unlock()
		for i := range events {
			if encoder.Encode(&events[i]) != nil {
				return
			}
		}
		if flush(); over {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// watched returns what a path is about.
func watched(path string) (gvr schema.GroupVersionResource, namespace string, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		gvr.Version, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		gvr.Group, gvr.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return gvr, "", false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	gvr.Resource = parts[0]
	return gvr, namespace, len(parts) == 1
}

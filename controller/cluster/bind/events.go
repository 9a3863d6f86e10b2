package bind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// EventsName is the name of [Events].
const EventsName = "Events"

// maxEvents is how many Events one run makes at most: they are for people, and
// every one costs the API server a write.
const maxEvents = 500

// Events tells people of changed floors, as Events of Kubernetes. While a run is
// under way it only listens, so that nothing waits for it; [Events.Send] writes.
// A run in which nothing changes makes none.
type Events struct {
	writer *Writer
	about  func(schemas.ComponentID) *corev1.ObjectReference
	run    string
	now    time.Time

	pending []*corev1.Event
	passed  int // over, because there were too many
}

var _ framework.PostBindPlugin = (*Events)(nil)

// NewEvents returns what tells of a writer's changes in a run at an instant.
// About returns the object that an Event about a component is attached to; nil
// where there is none.
func NewEvents(w *Writer, about func(schemas.ComponentID) *corev1.ObjectReference, run string, now time.Time) *Events {
	return &Events{writer: w, about: about, run: run, now: now}
}

// Name returns [EventsName].
func (*Events) Name() string { return EventsName }

// PostBind implements [framework.PostBindPlugin].
func (e *Events) PostBind(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) {
	change, ok := e.writer.Change(c.Component)
	if !ok {
		return
	}
	kind, reason := corev1.EventTypeNormal, d.Reason
	switch {
	case !d.Applied:
		kind = corev1.EventTypeWarning
	case !d.Reason.UsesForecast():
		kind = corev1.EventTypeWarning
	case change.Before == nil, change.After != nil && *change.After > *change.Before:
		reason = schemas.FloorRaised // what happened in the cluster, whatever the decision before was
	default:
		reason = schemas.FloorLowered
	}
	e.add(kind, string(reason), change, d.Message)
}

// GivenBack tells of what a [Sweep] took away.
func (e *Events) GivenBack(b GivenBack) {
	e.add(corev1.EventTypeNormal, string(schemas.FloorReleased), b.Change, fmt.Sprintf("the floor in %s was given back: %s", b.Autoscaler, b.Why))
}

func (e *Events) add(kind, reason string, change Change, message string) {
	about := e.about(change.Component)
	if about == nil {
		return
	}
	if len(e.pending) == maxEvents {
		e.passed++
		return
	}
	text := fmt.Sprintf("%s: replicas at least %s -> %s: %s", change.Component.Component, spell(change.Before), spell(change.After), message)
	// The same change of the same run has the same name, so that a repeated run
	// tells nothing twice.
	sum := sha256.Sum256([]byte(strings.Join([]string{e.run, change.Component.String(), spell(change.Before), spell(change.After)}, "\n")))
	at := metav1.NewTime(e.now)
	e.pending = append(e.pending, &corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: about.Namespace, Name: about.Name + "." + hex.EncodeToString(sum[:8])},
		InvolvedObject: *about,
		Reason:         reason,
		Message:        strings.ToValidUTF8(text[:min(len(text), 1024)], ""),
		Type:           kind,
		Source:         corev1.EventSource{Component: cluster.FieldManager},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		ReportingController: cluster.FieldManager, ReportingInstance: e.run[:min(len(e.run), 128)],
	})
}

func spell(n *int32) string {
	if n == nil {
		return "none"
	}
	return strconv.Itoa(int(*n))
}

// Send writes the Events, and returns how many it wrote and how many were too
// many. After the first that fails it stops: who cannot be told of one change
// cannot be told of the next.
func (e *Events) Send(ctx context.Context) (sent, passed int, err error) {
	pending := e.pending
	e.pending = nil
	for _, event := range pending {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
		if err == nil {
			_, err = e.writer.client.Dynamic.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(event.Namespace).
				Create(ctx, &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{FieldManager: cluster.FieldManager})
		}
		switch {
		case err == nil:
			sent++
		case apierrors.IsAlreadyExists(err):
		default:
			return sent, len(pending) - sent + e.passed, cluster.Error("create Event in "+event.Namespace, err)
		}
	}
	return sent, e.passed, nil
}

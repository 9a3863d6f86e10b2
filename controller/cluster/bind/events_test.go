package bind_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/bind"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

func about(id schemas.ComponentID) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "self-scaling.github.io/v1alpha1", Kind: "ScalingPolicy", Namespace: id.Namespace, Name: id.Service, UID: "policy"}
}

// decide makes a run with a decision, and sends its Events.
func (f *fixture) decide(run string, d schemas.Decision, at time.Time) {
	f.t.Helper()
	components, err := f.client.Components(f.t.Context(), cluster.Scope{})
	if err != nil {
		f.t.Fatal(err)
	}
	w := bind.NewWriter(f.client, components)
	events := bind.NewEvents(w, about, run, at)
	c := components[0]
	policy := c.BasePolicy()
	policy.Mode = schemas.Auto
	d.Component, d.Time, d.Policy, d.MaxReplicas, d.Expires = c.ID, at, policy, 8, at.Add(time.Hour)
	candidate := &framework.Candidate{Component: c.ID, Now: at, Policy: policy, Requests: c.Requests, Target: c.Target}
	if st := bind.Floor(w).Bind(f.t.Context(), nil, candidate, &d); !st.IsSuccess() {
		f.t.Fatal(st.Message())
	}
	d.Applied = true
	events.PostBind(f.t.Context(), nil, candidate, &d)
	if _, passed, err := events.Send(f.t.Context()); passed != 0 || err != nil {
		f.t.Fatalf("%d passed over, %v", passed, err)
	}
}

func TestAChangedFloorIsAnEvent(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	for i, step := range []struct {
		floor  int32
		reason schemas.Reason
		want   string // "" for none
	}{
		{5, schemas.FloorRaised, "Normal FloorRaised web: replicas at least 2 -> 5: why"},
		{5, schemas.FloorKept, ""},
		{4, schemas.FloorLowered, "Normal FloorLowered web: replicas at least 5 -> 4: why"},
		{2, schemas.StaleSamples, "Warning StaleSamples web: replicas at least 4 -> 2: why"},
		{2, schemas.StaleSamples, ""},
		{5, schemas.FloorKept, "Normal FloorRaised web: replicas at least 2 -> 5: why"}, // as after an expiry
	} {
		at := now.Add(time.Duration(i) * 15 * time.Minute)
		f.decide(fmt.Sprintf("infer-%d", i), schemas.Decision{MinReplicas: step.floor, Reason: step.reason, Message: "why"}, at)
		got := ""
		for _, e := range f.server.Events(t) {
			if e.LastTimestamp.Time.Equal(at) {
				got = e.Type + " " + e.Reason + " " + e.Message
			}
		}
		if got != step.want {
			t.Errorf("step %d: Event %q, want %q", i, got, step.want)
		}
	}
}

func TestAnEventIsWhole(t *testing.T) {
	f := start(t, workload("Deployment", both)+userHPA)
	f.decide("infer-1", schemas.Decision{MinReplicas: 5, Reason: schemas.FloorRaised, Message: strings.Repeat("é", 1000)}, now)
	// The same run again, after it was killed between writing and telling.
	f.server.Load("kubectl", userHPA)
	f.decide("infer-1", schemas.Decision{MinReplicas: 5, Reason: schemas.FloorRaised, Message: "why"}, now)
	events := f.server.Events(t)
	if len(events) != 1 {
		t.Fatalf("%d Events, want one of a run that was made twice", len(events))
	}
	e := events[0]
	if n := len(e.Message); n > 1024 || n < 1000 || strings.ContainsRune(e.Message, '\uFFFD') {
		t.Errorf("message of %d bytes, want at most 1024, and whole letters", n)
	}
	want := corev1.Event{
		InvolvedObject: *about(schemas.ComponentID{Namespace: "default", Service: "shop", Component: "web"}),
		Reason:         "FloorRaised", Type: "Normal", Message: e.Message, Count: 1,
		Source: corev1.EventSource{Component: "self-scaling"}, ReportingController: "self-scaling", ReportingInstance: "infer-1",
		FirstTimestamp: e.FirstTimestamp, LastTimestamp: e.LastTimestamp,
	}
	want.TypeMeta, want.ObjectMeta = e.TypeMeta, e.ObjectMeta
	if diff := cmp.Diff(want, e); diff != "" || e.Namespace != "default" || !strings.HasPrefix(e.Name, "shop.") || !e.LastTimestamp.Time.Equal(now) {
		t.Errorf("Event %s/%s at %s (-want +got):\n%s", e.Namespace, e.Name, e.LastTimestamp, diff)
	}
}

func TestEventsAreBounded(t *testing.T) {
	f := start(t, "")
	events := bind.NewEvents(bind.NewWriter(f.client, nil), about, "infer-1", now)
	for i := range 600 {
		id := schemas.ComponentID{Namespace: "default", Service: "shop", Component: fmt.Sprintf("web-%d", i)}
		events.GivenBack(bind.GivenBack{Change: bind.Change{Component: id}, Why: "the mode is Off"})
	}
	if sent, passed, err := events.Send(t.Context()); sent != 500 || passed != 100 || err != nil {
		t.Errorf("sent %d, passed over %d, %v; want 500 and 100", sent, passed, err)
	}
	events.GivenBack(bind.GivenBack{Change: bind.Change{Component: schemas.ComponentID{Namespace: "default", Service: "shop", Component: "last"}}})
	f.server.Deny("create", "events")
	if sent, passed, err := events.Send(t.Context()); sent != 0 || passed != 101 || schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("sent %d, passed over %d, %v; want none, and the right that lacks", sent, passed, err)
	}
}

package controller

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Cluster is what the controller watches over. Package controller/cluster/oversight has
// one for Kubernetes. Every method ends soon after its context does and may be called
// again after an error; Tend may be called while another method is.
type Cluster interface {
	// Discover returns the components that there are, in order, after it has made sure
	// that every service of theirs has a policy: a new one has the mode Shadow.
	Discover(ctx context.Context) ([]Component, error)
	// Publish tells operators what became of their components. It is called after
	// Discover with the state of each component that it returned, in the same order.
	// Nothing is written that is there already. It returns how many objects were
	// written; where it leaves some for the next call, that is no error.
	Publish(ctx context.Context, states []State) (int, error)
	// Tend takes back the floors that have expired at now and those of the components
	// that keep is false for, and autoscalers of ours beside one of the user's. It goes
	// on after an error, and returns what it did besides.
	Tend(ctx context.Context, now time.Time, keep func(schemas.ComponentID) bool) (Tended, error)
}

// Tended says what [Cluster.Tend] has taken back.
type Tended struct {
	Expired  []schemas.ComponentID // floors that had expired
	Released []schemas.ComponentID // floors of components that may not have one
	Yielded  []schemas.ComponentID // autoscalers of ours that made room
}

// Component is a component as the cluster shows it.
type Component struct {
	ID schemas.ComponentID
	// Mode is what its operator wants; empty where Problem keeps that from being known.
	Mode schemas.Mode
	// Target is the workload, as in "Deployment/web"; empty where there is none.
	Target string
	// Replicas is what the workload is set to.
	Replicas int32
	// Floor is the floor in force, nil where there is none, and Expires is its end.
	Floor   *int32
	Expires time.Time
	// Conflict says who else owns the number of replicas; empty where nobody does.
	Conflict string
	// Problem says why the component cannot be scaled or its policy cannot be
	// followed; empty where it can.
	Problem string
}

// mayHold reports whether the component may have a floor. One whose policy cannot be
// followed keeps what it has until that expires.
func (c *Component) mayHold() bool { return c.Mode == schemas.Auto || c.Mode == "" }

// State is what became of a component.
type State struct {
	Component
	// Asked is the floor that the newest decision asks for, in mode Shadow too; nil
	// where it asks for none.
	Asked *int32
	// Reason and Message say why that is so, or what has overtaken it since.
	Reason  schemas.Reason
	Message string
	// LastForecast is when the newest forecast of the component was used, zero where
	// none is known.
	LastForecast time.Time
	// Accuracy is in percent, see [ledger.Ledger.Accuracy].
	Accuracy map[schemas.Resource]int32
}

// Good reports whether what a decision asks for is carried out, or would be in mode
// Auto.
func (s *State) Good() bool {
	return s.Reason.UsesForecast() || s.Reason == schemas.CoolingDown || s.Reason == schemas.BudgetExhausted
}

// state puts together what is known of a component at now. Decision is the newest one,
// nil where there is none.
func state(c Component, decision *schemas.Decision, accuracy map[schemas.Resource]int32, now time.Time) State {
	s := State{Component: c, Accuracy: accuracy}
	if decision != nil {
		s.Reason, s.Message = decision.Reason, decision.Message
		if s.Good() {
			floor := decision.MinReplicas
			s.Asked = &floor
		}
		if decision.Reason.UsesForecast() {
			s.LastForecast = decision.Time
		}
	}
	switch {
	case c.Mode == schemas.Off:
		s.Asked, s.Reason, s.Message = nil, schemas.NotManaged, "the mode is Off"
	case c.Conflict != "":
		s.Asked, s.Reason, s.Message = nil, schemas.TargetNotScalable, c.Conflict
	case c.Problem != "":
		s.Asked, s.Reason, s.Message = nil, schemas.TargetNotScalable, c.Problem
	case decision == nil:
		s.Reason, s.Message = schemas.InsufficientData, "no run has decided about it yet"
	case !now.Before(decision.Expires):
		s.Asked, s.Reason = nil, schemas.FloorReleased
		s.Message = "no run has decided since " + decision.Time.UTC().Format(time.RFC3339) + ", and that decision has expired"
	}
	return s
}

package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Decision is one component's floor, with everything needed to compute the same
// floor again. It is spelled as the record in the store.
type Decision struct {
	Component        ComponentID       `json:"component"`
	Time             time.Time         `json:"time" doc:"When it was made"`
	Run              string            `json:"run,omitempty" doc:"The run that made it"`
	Policy           *Policy           `json:"policy,omitempty" doc:"The policy that held then"`
	Profile          string            `json:"profile,omitempty" doc:"The set of plugins that decided"`
	Formula          string            `json:"formula,omitempty" doc:"How demands became replicas; absent means quantile"`
	Model            string            `json:"model,omitempty" doc:"SHA-256 of the model that was used; absent where none was"`
	Forecasters      map[string]string `json:"forecasters,omitempty" doc:"The forecaster that was believed for the first hours, per resource"`
	From             time.Time         `json:"from" doc:"Begin of the window whose highest demand the floor must serve"`
	To               time.Time         `json:"to" doc:"End of that window"`
	Demands          []Demand          `json:"demands,omitempty" doc:"What each resource asks for"`
	Clamps           []Clamp           `json:"clamps,omitempty" doc:"The limits that were applied, in order"`
	PreviousReplicas *int32            `json:"previousReplicas,omitempty" doc:"The floor before this decision; absent on the first"`
	PreviousSince    *time.Time        `json:"previousSince,omitempty" doc:"When that floor was first set"`
	MinReplicas      int32             `json:"minReplicas" doc:"The floor. Where there is nothing to act on it is the operator's own number"`
	MaxReplicas      int32             `json:"maxReplicas" doc:"The ceiling"`
	Reason           schemas.Reason    `json:"reason" doc:"A machine word that says why" example:"FloorRaised"`
	Message          string            `json:"message,omitempty" doc:"The same in a sentence"`
	Expires          time.Time         `json:"expires" doc:"When the floor goes back to the operator's own number unless it is renewed"`
	Applied          bool              `json:"applied" doc:"The floor was written to the cluster"`
}

// Demand is what one resource asks for within the window of a decision.
type Demand struct {
	Resource        schemas.Resource  `json:"resource" enum:"cpu,memory"`
	Statistic       schemas.Statistic `json:"statistic" doc:"Which number of the bucket: its mean or its peak" enum:"mean,peak"`
	Level           float64           `json:"level" doc:"The quantile that was read from the forecast"`
	Usage           float64           `json:"usage" doc:"That quantile, in cores or bytes"`
	Bucket          time.Time         `json:"bucket" doc:"Start of the bucket that it was read for"`
	Request         float64           `json:"request" doc:"What one pod requests"`
	Utilization     float64           `json:"utilization" doc:"The share of the request that should be in use"`
	UtilizationFrom string            `json:"utilizationFrom,omitempty" doc:"Where that share comes from: default, policy, formula, or the component's own autoscaler; absent in old records" example:"HorizontalPodAutoscaler/web"`
	Replicas        int32             `json:"replicas" doc:"ceil(usage / (request x utilization)), or what the formula makes of it"`
}

// Clamp is one limit on the way from the forecast to the floor.
type Clamp struct {
	Name    string `json:"name"`
	Before  int32  `json:"before"`
	After   int32  `json:"after"`
	Message string `json:"message"`
}

// DecisionList is a page of decisions, the newest first and those of one run in
// the order of their components.
type DecisionList struct {
	Items []Decision `json:"items" nullable:"false"`
	Next  string     `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
	Stale
}

// NewDecision returns a decision as it travels.
func NewDecision(d *schemas.Decision) Decision {
	policy := NewPolicy(&d.Policy)
	w := Decision{
		Component: ComponentID(d.Component), Time: d.Time, Run: d.Run, Policy: &policy, Profile: d.Profile, Formula: string(d.Formula), Model: d.Model,
		From: d.From, To: d.To, PreviousReplicas: d.PreviousReplicas, PreviousSince: d.PreviousSince,
		MinReplicas: d.MinReplicas, MaxReplicas: d.MaxReplicas, Reason: d.Reason, Message: d.Message, Expires: d.Expires, Applied: d.Applied,
	}
	for r, f := range d.Forecasters {
		if w.Forecasters == nil {
			w.Forecasters = map[string]string{}
		}
		w.Forecasters[string(r)] = f
	}
	for _, x := range d.Demands {
		w.Demands = append(w.Demands, Demand(x))
	}
	for _, c := range d.Clamps {
		w.Clamps = append(w.Clamps, Clamp(c))
	}
	return w
}

// Summary returns the decision without policy, demands and clamps.
func (d Decision) Summary() Decision {
	d.Policy, d.Demands, d.Clamps = nil, nil, nil
	return d
}

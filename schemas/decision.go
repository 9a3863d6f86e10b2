package schemas

import "time"

// Reason is a machine word that says why a decision is what it is. It is part
// of the interface: alerts and scripts match on it.
type Reason string

// The reasons a decision can carry.
const (
	// FloorRaised, FloorLowered and FloorKept: the forecast was used.
	FloorRaised  Reason = "FloorRaised"
	FloorLowered Reason = "FloorLowered"
	FloorKept    Reason = "FloorKept"
	// FloorReleased: there is no forecast to act on, so that the operator's own
	// minReplicas holds.
	FloorReleased Reason = "FloorReleased"

	NotManaged         Reason = "NotManaged"         // mode Off
	InvalidPolicy      Reason = "InvalidPolicy"      // the operator's policy cannot be read or breaks a rule
	InsufficientData   Reason = "InsufficientData"   // too little history
	StaleSamples       Reason = "StaleSamples"       // the newest sample is too old
	NoRequests         Reason = "NoRequests"         // no resource has both a request and a forecast
	NoForecast         Reason = "NoForecast"         // no forecaster had an answer
	InvalidForecast    Reason = "InvalidForecast"    // the answer was NaN, infinite, negative or misshapen
	ForecastOutOfRange Reason = "ForecastOutOfRange" // far outside what was ever seen
	TargetNotScalable  Reason = "TargetNotScalable"  // no scale subresource, or somebody else owns it
	CoolingDown        Reason = "CoolingDown"        // changed too recently
	BudgetExhausted    Reason = "BudgetExhausted"    // too many changes in this run
	PluginError        Reason = "PluginError"        // a plugin broke
)

// UsesForecast reports whether the floor was computed from a forecast. Every
// other reason means that the operator's own minReplicas or an earlier floor
// holds.
func (r Reason) UsesForecast() bool {
	return r == FloorRaised || r == FloorLowered || r == FloorKept
}

// Formula names the arithmetic that leads from a forecast to a floor.
type Formula string

const (
	// FormulaQuantile serves the highest value of a quantile over the window of
	// the decision, inside the operator's bounds. The default.
	FormulaQuantile Formula = "quantile"
	// FormulaClassic is the original system's: 75 % of the request of the
	// bucket in progress, whole millicores and MiB, 1 to 10 replicas, and three
	// more as the ceiling.
	FormulaClassic Formula = "classic"
)

// Statistic says which number of a bucket is meant.
type Statistic string

// The two statistics that are forecast.
const (
	Mean Statistic = "mean" // the mean usage over the bucket
	Peak Statistic = "peak" // the highest reading within the bucket
)

// Demand is what one resource asks for within the window of a decision.
type Demand struct {
	Resource Resource `json:"resource"`
	// Statistic and Level say what was read from the forecast, as in "the 0.8
	// quantile of the peak".
	Statistic Statistic `json:"statistic"`
	Level     float64   `json:"level"`
	// Usage is the forecast quantile that was used, in cores or bytes, for the
	// bucket that starts at Bucket.
	Usage  float64   `json:"usage"`
	Bucket time.Time `json:"bucket"`
	// Request is what one pod requests and Utilization the share of it that
	// should be in use.
	Request     float64 `json:"request"`
	Utilization float64 `json:"utilization"`
	// UtilizationFrom says where that share comes from: [FromDefault],
	// [FromPolicy], [FromFormula], or the user's own autoscaler as in
	// "HorizontalPodAutoscaler/web". Empty in records from before it was noted.
	UtilizationFrom string `json:"utilizationFrom,omitempty"`
	// Replicas is ceil(Usage / (Request x Utilization)), or what the formula of
	// the decision makes of these numbers; at most [MaxReplicas].
	Replicas int32 `json:"replicas"`
}

// Clamp is one limit that was applied on the way from the forecast to the
// floor, in order.
type Clamp struct {
	Name    string `json:"name"`
	Before  int32  `json:"before"`
	After   int32  `json:"after"`
	Message string `json:"message"`
}

// Mixture is what forecasters count for where they are mixed.
type Mixture struct {
	Resource  Resource  `json:"resource"`
	Statistic Statistic `json:"statistic"`
	// Weights add up to 1. One of 0 is that of a forecaster that is left out.
	Weights map[string]float64 `json:"weights"`
	// Days is on how many days the forecasters were compared before, and Lost on how
	// many of them, up to the newest, the network was worse than the best of the
	// others.
	Days int `json:"days"`
	Lost int `json:"lost"`
}

// Decision is one component's floor, with everything needed to compute the same
// floor again.
type Decision struct {
	Component ComponentID `json:"component"`
	Time      time.Time   `json:"time"` // when it was made, UTC
	Run       string      `json:"run,omitempty"`
	Policy    Policy      `json:"policy"`
	// Profile names the set of plugins that decided.
	Profile string `json:"profile,omitempty"`
	// Formula is how Demands became replicas; empty means FormulaQuantile.
	Formula Formula `json:"formula,omitempty"`
	// Model is the SHA-256 of the model that was used, empty where none was.
	Model string `json:"model,omitempty"`
	// Histories says what each resource's history allowed: which forecasters could
	// take part, and what the others wait for.
	Histories map[Resource]Grade `json:"histories,omitempty"`
	// Forecasters names the forecaster that was believed for the first hours,
	// per resource.
	Forecasters map[Resource]string `json:"forecasters,omitempty"`
	// Mixtures says, where that forecaster mixes others, what each of them counts
	// for in the next hour.
	Mixtures []Mixture `json:"mixtures,omitempty"`
	// From and To bound the window whose highest demand the floor must serve.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Demands holds one entry for each resource that could be used.
	Demands []Demand `json:"demands,omitempty"`
	// Clamps holds the limits applied, in order: to the largest demand or, where
	// there is none, to the operator's own minReplicas.
	Clamps []Clamp `json:"clamps,omitempty"`
	// PreviousReplicas is the floor before this decision; nil on the first.
	PreviousReplicas *int32 `json:"previousReplicas,omitempty"`
	// PreviousSince is when that floor was first set.
	PreviousSince *time.Time `json:"previousSince,omitempty"`
	// MinReplicas is the floor. Where there is nothing to act on it is the
	// operator's own number.
	MinReplicas int32 `json:"minReplicas"`
	// MaxReplicas is the ceiling: the operator's own, unless a profile says
	// otherwise.
	MaxReplicas int32     `json:"maxReplicas"`
	Reason      Reason    `json:"reason"`
	Message     string    `json:"message"`
	Expires     time.Time `json:"expires"`
	// Applied says whether the floor was written to the cluster.
	Applied bool `json:"applied"`
}

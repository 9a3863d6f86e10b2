// Package framework holds the extension points at which plugins decide, in the
// style of the Kubernetes scheduler framework: what kube-scheduler does for a
// pod, this does for a component. It holds the contracts only; the machine that
// runs them is controller/framework/runtime and the plugins are in
// controller/plugins.
//
// A component passes two cycles. The forecast cycle (Filter, Forecast, Score)
// is free of side effects and ends with one [schemas.Forecast] a resource or
// with the reason why there is none. The binding cycle (Permit, Bind, PostBind)
// takes the decision computed from those forecasts to where it counts.
package framework

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Code says how a plugin call ended.
type Code int

const (
	// Success: the plugin did its work. A nil *Status means Success too.
	Success Code = iota
	// Error: something unexpected broke. The component leaves the cycle with
	// the reason PluginError and the run reports it; other components go on.
	// A plugin must not use it for an expected "no".
	Error
	// Rejected: an expected "no". The component leaves the cycle with the
	// status's reason, and its floor is released.
	Rejected
	// Wait: Permit only. Not now: the previous floor stays until the next run.
	Wait
	// Skip: the plugin has nothing to say here. The next one is asked.
	Skip
)

// String returns the code's name.
func (c Code) String() string {
	switch c {
	case Success:
		return "Success"
	case Error:
		return "Error"
	case Rejected:
		return "Rejected"
	case Wait:
		return "Wait"
	case Skip:
		return "Skip"
	}
	return "Unknown"
}

// Status is how a plugin call ended, with a machine word and a sentence. The
// nil Status is Success.
type Status struct {
	code    Code
	plugin  string
	reason  schemas.Reason
	message string
	err     error
}

// NewStatus returns a status. Use [AsStatus] for errors.
func NewStatus(code Code, reason schemas.Reason, message string) *Status {
	return &Status{code: code, reason: reason, message: message}
}

// AsStatus returns an Error status for err, nil for a nil err.
func AsStatus(err error) *Status {
	if err == nil {
		return nil
	}
	return &Status{code: Error, reason: schemas.PluginError, message: err.Error(), err: err}
}

// Code returns how the call ended.
func (s *Status) Code() Code {
	if s == nil {
		return Success
	}
	return s.code
}

// IsSuccess reports whether the call succeeded.
func (s *Status) IsSuccess() bool { return s.Code() == Success }

// Reason returns the machine word, "" on success.
func (s *Status) Reason() schemas.Reason {
	if s == nil {
		return ""
	}
	return s.reason
}

// Message returns the sentence, "" on success.
func (s *Status) Message() string {
	if s == nil {
		return ""
	}
	return s.message
}

// Plugin returns the name of the plugin that gave the status, "" if none has
// been noted.
func (s *Status) Plugin() string {
	if s == nil {
		return ""
	}
	return s.plugin
}

// WithPlugin returns a copy of the status that notes which plugin gave it, nil
// for nil.
func (s *Status) WithPlugin(name string) *Status {
	if s == nil {
		return nil
	}
	noted := *s
	noted.plugin = name
	return &noted
}

// Err returns the error of an Error status, nil otherwise.
func (s *Status) Err() error {
	if s == nil {
		return nil
	}
	return s.err
}

// Candidate is a component on its way through the cycles, with all that
// plugins may look at. Plugins must not change it.
type Candidate struct {
	Component schemas.ComponentID
	// Now is the instant of the run. Plugins take the time from here only, so
	// that a run can be repeated.
	Now    time.Time
	Policy schemas.Policy
	// Series holds the usage of each measured resource, oldest bucket first,
	// all ending at the same bucket. A resource that was never measured is
	// absent. By the binding cycle it may be gone.
	Series map[schemas.Resource]*schemas.Series
	// Measured holds the series as they were measured, where a [ViewPlugin] shows
	// forecasters others in Series. It is nil where Series is what was measured.
	Measured map[schemas.Resource]*schemas.Series
	// Requests is what one pod requests. A resource without a known request is
	// absent.
	Requests schemas.Requests
	// Target is the workload behind the component; nil where there is no
	// cluster.
	Target *Target
	// Previous is the decision of the run before, nil on the first.
	Previous *schemas.Decision
}

// MeasuredSeries returns the series of a resource as it was measured, nil where it
// never was.
func (c *Candidate) MeasuredSeries(r schemas.Resource) *schemas.Series {
	if c.Measured != nil {
		return c.Measured[r]
	}
	return c.Series[r]
}

// Target is the workload behind a component, as the cluster shows it.
type Target struct {
	APIVersion, Kind, Name string
	// Scalable is false where the workload has no scale subresource; Message
	// then says why.
	Scalable bool
	Message  string
	// Conflict says who else sets the number of replicas, so that we must not,
	// as in "Deployment/web is scaled by HorizontalPodAutoscaler/a and
	// HorizontalPodAutoscaler/b". It is empty where nobody does.
	Conflict string
	// CurrentReplicas is how many pods there are.
	CurrentReplicas int32
	// CapacityLeft is how many more pods of this size the cluster can hold, nil
	// where that is not known.
	CapacityLeft *int32
}

// Plugin is the parent of all extension points.
type Plugin interface {
	// Name returns the plugin's name as profiles spell it.
	Name() string
}

// RunStarter can be optionally implemented by a plugin of any extension point
// that counts something over a whole run, such as a budget.
type RunStarter interface {
	// StartRun is called once at the beginning of every run, before any other
	// method and never at the same time as one.
	StartRun(run string)
}

// QueueSortPlugin orders the components of a run. A profile has exactly one.
type QueueSortPlugin interface {
	Plugin
	// Less reports whether a goes before b. It is called only after both have
	// passed the forecast cycle, O(n log n) times a run, and must be cheap.
	Less(a, b *Proposal) bool
}

// Proposal is a component that has passed the forecast cycle, with its decision
// as computed so far.
type Proposal struct {
	Candidate *Candidate
	Decision  *schemas.Decision
}

// FilterPlugin says which components may enter.
type FilterPlugin interface {
	Plugin
	// Filter is called once per component and run, before any forecast is made.
	// It returns Rejected with a reason to keep the component out: its floor is
	// then released. Filters run in the profile's order and the first rejection
	// ends the cycle.
	Filter(ctx context.Context, state *CycleState, c *Candidate) *Status
}

// ForecastPlugin predicts usage.
type ForecastPlugin interface {
	Plugin
	// Forecast returns the quantiles of the next steps buckets of one resource.
	// It is called once per component, resource and run, for different
	// components at the same time. Where it has no answer it returns Rejected
	// with the reason (too short a history, no model); a forecast of zero means
	// that no usage is expected and nothing else. The framework drops an answer
	// that is for other buckets than asked or does not pass
	// [schemas.Forecast.Validate], brings the levels to [schemas.DefaultLevels]
	// and fills in Forecasters. The forecast is the framework's afterwards.
	Forecast(ctx context.Context, state *CycleState, c *Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *Status)
}

// ViewPlugin knows what forecasters cannot see in a series, such as what a
// calendar says about a day. It shows them the series as their arithmetic wants it
// and turns what they forecast back. A profile has at most one.
type ViewPlugin interface {
	Plugin
	// View is called once per component, resource and run, after the filters and
	// before any forecast. It returns the series that forecasters are to see, and
	// how many steps they must forecast so that steps come of it; Skip leaves the
	// series as it is. It must not change c.
	View(ctx context.Context, state *CycleState, c *Candidate, r schemas.Resource, steps int) (seen *schemas.Series, seenSteps int, status *Status)
	// Restore is called with the forecast that was put together from the answers
	// about what View returned, and returns that of the component's own series. It
	// may change what is known better. The forecast is the plugin's.
	Restore(ctx context.Context, state *CycleState, c *Candidate, f *schemas.Forecast, steps int) (*schemas.Forecast, *Status)
}

// Scores lie between these bounds; higher is better.
const (
	MinScore = 0.0
	MaxScore = 100.0
)

// ScorePlugin says which of several forecasts to believe.
type ScorePlugin interface {
	Plugin
	// Score judges one forecast over one band of its horizon, between MinScore
	// and MaxScore. It is called for every valid forecast of a resource, once a
	// band. The framework adds up the plugins' scores times their weights; for
	// each band the highest total wins, and of equals the one that the profile
	// names first.
	Score(ctx context.Context, state *CycleState, c *Candidate, f *schemas.Forecast, band schemas.Band) (float64, *Status)
}

// PermitPlugin says whether a decision may be carried out now, and cuts it to
// limits.
type PermitPlugin interface {
	Plugin
	// Permit is called once per component and run, in the order of the queue.
	// It may change d.MinReplicas and must then add a [schemas.Clamp]. Wait
	// keeps the previous floor; Rejected releases it.
	Permit(ctx context.Context, state *CycleState, c *Candidate, d *schemas.Decision) *Status
}

// BindPlugin writes a decision to where it takes effect.
type BindPlugin interface {
	Plugin
	// Bind must be idempotent, because a run may be repeated. It returns Skip
	// to leave the decision to the next binder; the first that does not skip
	// ends the search. It is never called in mode Shadow or Off.
	Bind(ctx context.Context, state *CycleState, c *Candidate, d *schemas.Decision) *Status
}

// PostBindPlugin is told what was decided.
type PostBindPlugin interface {
	Plugin
	// PostBind is called once per component and run, for every mode and also
	// for components that a filter kept out. It must not change d.
	PostBind(ctx context.Context, state *CycleState, c *Candidate, d *schemas.Decision)
}

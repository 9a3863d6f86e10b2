package plugins

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/jobs/trainer/ladder"
	"github.com/self-scaling/self-scaling/schemas"
)

// Names of the filters.
const (
	ManagedName        = "Managed"
	ScalableTargetName = "ScalableTarget"
	RequestsName       = "Requests"
	EnoughHistoryName  = "EnoughHistory"
	FreshSamplesName   = "FreshSamples"
)

var (
	_ framework.FilterPlugin = Managed{}
	_ framework.FilterPlugin = ScalableTarget{}
	_ framework.FilterPlugin = Requests{}
	_ framework.FilterPlugin = (*EnoughHistory)(nil)
	_ framework.FilterPlugin = (*FreshSamples)(nil)
)

// Managed keeps components out that nobody has switched on.
type Managed struct{}

func newManaged(args []byte) (framework.Plugin, error) { return Managed{}, noArgs(args) }

// Name returns [ManagedName].
func (Managed) Name() string { return ManagedName }

// Filter rejects mode Off.
func (Managed) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	if c.Policy.Mode == schemas.Off {
		return rejected(schemas.NotManaged, "the mode is Off")
	}
	return nil
}

// ScalableTarget keeps components out whose workload has no scale subresource.
type ScalableTarget struct{}

func newScalableTarget(args []byte) (framework.Plugin, error) { return ScalableTarget{}, noArgs(args) }

// Name returns [ScalableTargetName].
func (ScalableTarget) Name() string { return ScalableTargetName }

// Filter rejects a workload that cannot be scaled. Where there is no cluster
// there is no workload to object to.
func (ScalableTarget) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	if t := c.Target; t != nil && !t.Scalable {
		return rejected(schemas.TargetNotScalable, fmt.Sprintf("%s %s cannot be scaled: %s", t.Kind, t.Name, t.Message))
	}
	return nil
}

// Requests keeps components out of which no resource is both measured and
// requested: without a request there is nothing to divide by, and a guess would
// be a floor on a guess.
type Requests struct{}

func newRequests(args []byte) (framework.Plugin, error) { return Requests{}, noArgs(args) }

// Name returns [RequestsName].
func (Requests) Name() string { return RequestsName }

// Filter rejects a component without a request.
func (Requests) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	for _, r := range schemas.Resources() {
		if c.Series[r] != nil && c.Requests[r] > 0 {
			return nil
		}
	}
	return rejected(schemas.NoRequests, "its pods request none of the resources that are measured")
}

// EnoughHistory keeps components out that have not been measured for long
// enough, and grades the histories of the others: see package
// jobs/trainer/ladder for what a history allows.
type EnoughHistory struct {
	// Minimum is how long ago the oldest measurement must be: a day unless said
	// otherwise.
	Minimum framework.Duration `json:"minimum"`
	// Measured is the share of the last day's buckets that must have been
	// measured: one half unless said otherwise.
	Measured float64 `json:"measured"`
}

func newEnoughHistory(args []byte) (framework.Plugin, error) {
	p := &EnoughHistory{Minimum: framework.Duration(24 * time.Hour), Measured: 0.5}
	if err := framework.DecodeArgs(args, p); err != nil {
		return nil, err
	}
	if p.Minimum < 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "minimum must not be negative, but is %s", p.Minimum)
	}
	if !(p.Measured >= 0 && p.Measured <= 1) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "measured must be from 0 to 1, but is %v", p.Measured)
	}
	return p, nil
}

// Name returns [EnoughHistoryName].
func (*EnoughHistory) Name() string { return EnoughHistoryName }

// Filter passes a component with one resource that has history enough.
func (p *EnoughHistory) Filter(_ context.Context, state *framework.CycleState, c *framework.Candidate) *framework.Status {
	for _, r := range schemas.Resources() {
		if s := c.Series[r]; s != nil {
			framework.WriteGrade(state, r, ladder.Judge(s, 0, c.Now))
		}
	}
	why := "nothing was ever measured"
	for _, r := range schemas.Resources() {
		s := c.Series[r]
		if s == nil {
			continue
		}
		first := 0
		for first < s.Len() && math.IsNaN(s.Mean[first]) {
			first++
		}
		if first == s.Len() {
			continue
		}
		if age := s.End().Sub(s.Time(first)); age < time.Duration(p.Minimum) {
			why = fmt.Sprintf("%s has been measured for %s; %s are needed", r, age, time.Duration(p.Minimum))
			continue
		}
		day := schemas.StepsPerDay(s.Step)
		last := s.Slice(s.Len()-day, s.Len())
		if have, need := last.Valid(), int(math.Ceil(p.Measured*float64(day))); have < need {
			why = fmt.Sprintf("%s was measured in %d of the last day's %d buckets; %d are needed", r, have, day, need)
			continue
		}
		return nil
	}
	return rejected(schemas.InsufficientData, ladder.Insufficient+": "+why)
}

// FreshSamples keeps components out whose newest measurement is too old.
type FreshSamples struct {
	// Maximum is how old the newest measurement may be: six hours unless said
	// otherwise. Up to then the forecasters go without the last values.
	Maximum framework.Duration `json:"maximum"`
}

func newFreshSamples(args []byte) (framework.Plugin, error) {
	p := &FreshSamples{Maximum: framework.Duration(ladder.MaxAge)}
	if err := framework.DecodeArgs(args, p); err != nil {
		return nil, err
	}
	if p.Maximum <= 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "maximum must be above 0s, but is %s", p.Maximum)
	}
	return p, nil
}

// Name returns [FreshSamplesName].
func (*FreshSamples) Name() string { return FreshSamplesName }

// Filter rejects a component of which no resource was measured lately. The age
// counts from the end of the newest bucket that is not missing.
func (p *FreshSamples) Filter(_ context.Context, _ *framework.CycleState, c *framework.Candidate) *framework.Status {
	var newest time.Time
	for _, s := range c.Series {
		if s == nil {
			continue
		}
		if i := s.LastValid(); i >= 0 && s.Time(i+1).After(newest) {
			newest = s.Time(i + 1)
		}
	}
	if newest.IsZero() {
		return rejected(schemas.StaleSamples, "nothing was ever measured")
	}
	if age := c.Now.Sub(newest); age > time.Duration(p.Maximum) {
		return rejected(schemas.StaleSamples, fmt.Sprintf("the newest sample is %s old; at most %s are allowed", age, time.Duration(p.Maximum)))
	}
	return nil
}

// Package replicas turns forecasts and a policy into a floor for the number of
// replicas. It is arithmetic only: no clock, no client, no log; all that a
// decision depends on comes in as [Input], and all of it is kept in the
// [schemas.Decision], so that [Recompute] finds the same floor from the record
// alone.
//
// For each resource the demand is
//
//	ceil(q / (request x utilisation))
//
// where q is the highest forecast over [now, now + interval + lead time): until
// the next decision, and until a pod created then would be Ready. This is the
// formula of the HorizontalPodAutoscaler with a forecast in the place of the
// measurement. Where peaks are forecast there are two demands: the median of the
// mean at the target utilisation, which is what the autoscaler itself is
// expected to ask for, and the policy's quantile of the peak at the peak
// utilisation, because a short peak is what a mean hides and what hurts. Where
// only means are known, the policy's quantile of the mean takes the place of
// both. The largest demand is then cut, in this order, to the operator's bounds,
// to the largest step up, and to the floor that is still held.
//
// Where something is not known or cannot be believed, the floor is released:
// the operator's own minReplicas holds, as if nobody had ever forecast. What is
// unknown is left out and never counted as 0.
package replicas

import (
	"fmt"
	"math"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Input is all that a decision depends on.
type Input struct {
	Component schemas.ComponentID
	Run       string
	// Now is the instant of the decision and Interval the time until the next
	// one.
	Now      time.Time
	Interval time.Duration
	// Policy must be valid.
	Policy schemas.Policy
	// Formula is how usage becomes replicas; empty means
	// [schemas.FormulaQuantile].
	Formula schemas.Formula
	// Requests is what one pod requests, in cores and bytes. A resource without
	// a known request, or with a request of 0, takes no part.
	Requests schemas.Requests
	// Forecasts holds what is expected of each resource. One without a forecast
	// takes no part.
	Forecasts map[schemas.Resource]*schemas.Forecast
	// Highest is the highest usage of each resource that was ever measured, in
	// cores and bytes: the scale against which a forecast is judged. A resource
	// that is absent is not judged.
	Highest map[schemas.Resource]float64
	// Histories grades what the forecasts were made from, for the record. A
	// resource that is absent was not graded.
	Histories map[schemas.Resource]schemas.Grade
	// Mixtures says what the forecasts were mixed from, for the record.
	Mixtures []schemas.Mixture
	// Previous is the decision before this one, nil on the first.
	Previous *schemas.Decision
}

// RangeFactor is how far above the highest usage ever measured a forecast is
// still believed: up to 3 times. A service that really grows more than that
// between two decisions is left to the reactive autoscaler, and the next
// decision has seen the growth.
const RangeFactor = 3

// Names of the clamps that [Plan] applies, in order.
const (
	ClampMinReplicas = "MinReplicas" // up to the operator's minReplicas
	ClampMaxReplicas = "MaxReplicas" // down to the operator's maxReplicas
	ClampMaxStep     = "MaxStep"     // down to the largest rise in one decision
	ClampHold        = "Hold"        // up to the floor that is still held
	ClampReleased    = "Released"    // back to the operator's minReplicas
	ClampKept        = "Kept"        // the floor of the decision before stays
)

// Plan computes a decision. Its reason is one of FloorRaised, FloorLowered and
// FloorKept where a forecast was used, and otherwise says why none was:
// NoForecast, NoRequests, InvalidForecast or ForecastOutOfRange.
//
// The decision expires one interval after the end of its window, so that one
// late run changes nothing and two missed ones give the operator's number back.
func Plan(in Input) schemas.Decision {
	d := schemas.Decision{
		Component:   in.Component,
		Run:         in.Run,
		Time:        in.Now,
		Policy:      in.Policy,
		Formula:     in.Formula,
		Histories:   in.Histories,
		Mixtures:    in.Mixtures,
		From:        in.Now,
		To:          in.Now.Add(in.Interval + in.Policy.LeadTime),
		MinReplicas: in.Policy.MinReplicas,
		MaxReplicas: in.Policy.MaxReplicas,
	}
	d.Expires = d.To.Add(in.Interval)
	d.PreviousReplicas, d.PreviousSince = standing(in.Previous, in.Policy.Mode)

	requested := false
	reason, problem := schemas.NoForecast, "no resource has a forecast"
	for _, r := range schemas.Resources() {
		request := in.Requests[r]
		f := in.Forecasts[r]
		if !(request > 0) || math.IsInf(request, 0) {
			continue
		}
		requested = true
		if f == nil {
			continue
		}
		if err := f.Validate(); err != nil {
			d.Demands = nil
			Release(&d, schemas.InvalidForecast, err.Error())
			return d
		}
		demands, ok := demandsOf(&d, f, request)
		if !ok {
			problem = fmt.Sprintf("the %s forecast, from %s to %s, does not cover the window from %s to %s",
				r, stamp(f.Origin), stamp(f.Time(f.Steps())), stamp(d.From), stamp(d.To))
			continue
		}
		d.Demands = append(d.Demands, demands...)
		for _, demand := range demands {
			if highest, known := in.Highest[r]; known && !(demand.Usage <= RangeFactor*highest) {
				n, _ := largest(&d)
				clamp(&d, ClampReleased, n, in.Policy.MinReplicas, "the forecast is out of range")
				d.Reason = schemas.ForecastOutOfRange
				d.Message = fmt.Sprintf("%s is forecast to reach %s, more than %d times the highest ever measured (%s)",
					r, Quantity(r, demand.Usage), RangeFactor, Quantity(r, highest))
				return d
			}
		}
	}
	if !requested {
		reason, problem = schemas.NoRequests, "no resource has a known request"
	}
	if len(d.Demands) == 0 {
		Release(&d, reason, problem)
		return d
	}

	d.MinReplicas, _ = largest(&d)
	for _, name := range arithmetic(in.Formula) {
		before := d.MinReplicas
		after, why := limit(&d, name, before)
		clamp(&d, name, before, after, why)
	}
	if in.Formula == schemas.FormulaClassic {
		d.MaxReplicas = d.MinReplicas + classicSpan
	}
	Conclude(&d)
	return d
}

// Conclude sets the reason and the message that fit a floor which came from a
// forecast. It is called again after a limit was added to the decision.
func Conclude(d *schemas.Decision) {
	base := floorBefore(d)
	switch {
	case d.MinReplicas > base:
		d.Reason = schemas.FloorRaised
	case d.MinReplicas < base:
		d.Reason = schemas.FloorLowered
	default:
		d.Reason = schemas.FloorKept
	}
	_, top := largest(d)
	d.Message = fmt.Sprintf("%s is forecast to reach %s in the %s of the bucket at %s (quantile %g): %s at %.0f %%%s of a request of %s",
		top.Resource, Quantity(top.Resource, top.Usage), top.Statistic, stamp(top.Bucket), top.Level, Count(top.Replicas, "replica"), 100*top.Utilization, Origin(top.UtilizationFrom), Quantity(top.Resource, top.Request))
	if n := len(d.Clamps); n > 0 {
		c := d.Clamps[n-1]
		d.Message += fmt.Sprintf("; limited to %d, because %s", c.After, c.Message)
	}
	// What is made from little history, or old, is worth less: who reads the
	// number must see that too.
	if g, ok := d.Histories[top.Resource]; ok && (g.Rung < schemas.RungNetwork || g.Stale) {
		d.Message += "; " + g.Message
	}
	for _, m := range d.Mixtures {
		if m.Resource == top.Resource && m.Statistic == top.Statistic && m.Lost > 0 && m.Weights[schemas.Network] == 0 {
			d.Message += fmt.Sprintf("; %s is left out until it wins a day again, because it was the worse one on the last %d", schemas.Network, m.Lost)
		}
	}
}

// Release gives the operator's own minReplicas back and says why. What had been
// computed stays in the record, followed by a clamp. Like [Keep] and [Limit] it
// is for a decision that uses a forecast, or has no demands at all.
func Release(d *schemas.Decision, reason schemas.Reason, message string) {
	clamp(d, ClampReleased, d.MinReplicas, d.Policy.MinReplicas, message)
	d.MaxReplicas = d.Policy.MaxReplicas
	d.Reason, d.Message = reason, message
}

// Keep holds on to the floor of the decision before, or to the operator's own
// minReplicas where there is none, and says why.
func Keep(d *schemas.Decision, reason schemas.Reason, message string) {
	clamp(d, ClampKept, d.MinReplicas, floorBefore(d), message)
	d.MaxReplicas = d.Policy.MaxReplicas
	if d.Formula == schemas.FormulaClassic && d.PreviousReplicas != nil {
		d.MaxReplicas = d.MinReplicas + classicSpan
	}
	d.Reason, d.Message = reason, message
}

// Limit applies a limit that the arithmetic does not know, such as a plugin's,
// and records it under the given name.
func Limit(d *schemas.Decision, name string, after int32, message string) {
	clamp(d, name, d.MinReplicas, after, message)
	if d.Formula == schemas.FormulaClassic {
		d.MaxReplicas = d.MinReplicas + classicSpan
	}
}

// Recompute returns the floor that follows from a decision's record. It
// computes the demands and the limits of [Plan] anew from the policy, takes
// the limits of others as recorded, and returns an error with
// [schemas.CodeCorrupt] where the record contradicts itself.
func Recompute(d *schemas.Decision) (int32, error) {
	floor := d.Policy.MinReplicas
	if len(d.Demands) > 0 {
		for i := range d.Demands {
			demand := &d.Demands[i]
			if n := demandReplicas(d.Formula, demand); n != demand.Replicas {
				return 0, corrupt(d, "%s demand must be %d replicas, but is recorded as %d", demand.Resource, n, demand.Replicas)
			}
		}
		floor, _ = largest(d)
	}
	// A limit that did nothing is not recorded; one of the arithmetic that
	// should have done something must be.
	recorded := d.Clamps
	if d.Reason != schemas.ForecastOutOfRange && len(d.Demands) > 0 {
		for _, name := range arithmetic(d.Formula) {
			after, _ := limit(d, name, floor)
			if after == floor {
				continue
			}
			if len(recorded) == 0 || recorded[0].Name != name || recorded[0].Before != floor || recorded[0].After != after {
				return 0, corrupt(d, "clamp %s must lead from %d to %d, but the record has %v", name, floor, after, recorded)
			}
			floor, recorded = after, recorded[1:]
		}
	}
	for _, c := range recorded {
		if c.Before != floor {
			return 0, corrupt(d, "clamp %s must begin at %d, but begins at %d", c.Name, floor, c.Before)
		}
		floor = c.After
	}
	if floor != d.MinReplicas {
		return 0, corrupt(d, "minReplicas must be %d, but is recorded as %d", floor, d.MinReplicas)
	}
	return floor, nil
}

func corrupt(d *schemas.Decision, format string, args ...any) error {
	return schemas.Errorf(schemas.CodeCorrupt, "decision of %s at %s: %s", d.Component, stamp(d.Time), fmt.Sprintf(format, args...))
}

// arithmetic lists the limits of a formula in the order in which they apply.
func arithmetic(f schemas.Formula) []string {
	if f == schemas.FormulaClassic {
		return []string{classicClampCap}
	}
	return []string{ClampMinReplicas, ClampMaxReplicas, ClampMaxStep, ClampHold}
}

// limit returns what one limit makes of a floor, and why.
func limit(d *schemas.Decision, name string, floor int32) (after int32, why string) {
	p := &d.Policy
	switch name {
	case ClampMinReplicas:
		return max(floor, p.MinReplicas), fmt.Sprintf("minReplicas is %d", p.MinReplicas)
	case ClampMaxReplicas:
		return min(floor, p.MaxReplicas), fmt.Sprintf("maxReplicas is %d", p.MaxReplicas)
	case ClampMaxStep:
		if p.MaxStep <= 0 {
			return floor, ""
		}
		// In 64 bits, because an operator may set a step that means "none".
		top := int64(floorBefore(d)) + int64(p.MaxStep)
		return int32(min(int64(floor), top)), fmt.Sprintf("the floor may rise by %d at once", p.MaxStep)
	case ClampHold:
		base := floorBefore(d)
		if floor >= base || d.PreviousSince == nil || d.Time.Sub(*d.PreviousSince) >= p.Hold {
			return floor, ""
		}
		return base, fmt.Sprintf("the floor of %d is held until %s", base, stamp(d.PreviousSince.Add(p.Hold)))
	case classicClampCap:
		return min(floor, classicCap), fmt.Sprintf("the classic formula ends at %d", classicCap)
	}
	return floor, ""
}

// clamp records a limit, unless it changes nothing.
func clamp(d *schemas.Decision, name string, before, after int32, message string) {
	d.MinReplicas = after
	if before != after {
		d.Clamps = append(d.Clamps, schemas.Clamp{Name: name, Before: before, After: after, Message: message})
	}
}

// floorBefore is the floor that stands while a decision is made: the previous
// one, cut to bounds that may have changed since, or the operator's own.
func floorBefore(d *schemas.Decision) int32 {
	if d.PreviousReplicas == nil {
		return d.Policy.MinReplicas
	}
	if d.Formula == schemas.FormulaClassic {
		return *d.PreviousReplicas // it knows no bounds but its own
	}
	return min(max(*d.PreviousReplicas, d.Policy.MinReplicas), d.Policy.MaxReplicas)
}

// standing returns the floor that stands after the decision before, and since
// when. In mode Auto that is what was applied: a decision that was not leaves
// the floor as it found it. In the others nothing is ever applied, and the
// decisions are followed as if they had been.
func standing(previous *schemas.Decision, mode schemas.Mode) (*int32, *time.Time) {
	switch {
	case previous == nil:
		return nil, nil
	case mode == schemas.Auto && !previous.Applied && previous.Policy.Mode == schemas.Auto:
		return previous.PreviousReplicas, previous.PreviousSince
	case mode == schemas.Auto && !previous.Applied:
		return nil, nil
	}
	floor, since := previous.MinReplicas, previous.Time
	if previous.PreviousReplicas != nil && *previous.PreviousReplicas == floor && previous.PreviousSince != nil {
		since = *previous.PreviousSince
	}
	return &floor, &since
}

// largest returns the demand that asks for the most replicas; of equals the
// first. It returns 0 where there is no demand.
func largest(d *schemas.Decision) (int32, schemas.Demand) {
	var top schemas.Demand
	for i, demand := range d.Demands {
		if i == 0 || demand.Replicas > top.Replicas {
			top = demand
		}
	}
	return top.Replicas, top
}

// demandsOf returns what the formula reads from a forecast. It reports false
// where the forecast does not cover the time that is asked for: a part of it
// could hide the peak.
func demandsOf(d *schemas.Decision, f *schemas.Forecast, request float64) ([]schemas.Demand, bool) {
	p := &d.Policy
	if d.Formula == schemas.FormulaClassic {
		// The first row after now: the bucket in progress.
		q, step, ok := f.Highest(classicLevel, d.From, d.From.Add(1))
		if !ok {
			return nil, false
		}
		return []schemas.Demand{demand(d, f, schemas.Mean, classicLevel, q, step, request)}, true
	}
	// The bucket in progress may be the last one measured, even in part. Then
	// the forecast begins up to one step after now.
	if f.Origin.After(d.From.Add(f.Step)) || f.Time(f.Steps()).Before(d.To) {
		return nil, false
	}
	if f.Time(f.PeakSteps()).Before(d.To) {
		q, step, ok := f.Highest(p.Quantile, d.From, d.To)
		return []schemas.Demand{demand(d, f, schemas.Mean, p.Quantile, q, step, request)}, ok
	}
	mean, meanStep, _ := f.Highest(medianLevel, d.From, d.To)
	peak, peakStep, ok := f.HighestPeak(p.Quantile, d.From, d.To)
	return []schemas.Demand{
		demand(d, f, schemas.Mean, medianLevel, mean, meanStep, request),
		demand(d, f, schemas.Peak, p.Quantile, peak, peakStep, request),
	}, ok
}

// medianLevel is the level at which the mean is served where peaks are forecast
// too.
const medianLevel = 0.5

func demand(d *schemas.Decision, f *schemas.Forecast, s schemas.Statistic, level, usage float64, step int, request float64) schemas.Demand {
	out := schemas.Demand{
		Resource: f.Resource, Statistic: s, Level: level,
		Usage: usage, Bucket: f.Time(step), Request: request,
		Utilization: d.Policy.Utilization(f.Resource), UtilizationFrom: d.Policy.UtilizationFrom(f.Resource, s),
	}
	switch {
	case d.Formula == schemas.FormulaClassic:
		out.Utilization, out.UtilizationFrom = classicUtilization, schemas.FromFormula
	case s == schemas.Peak:
		out.Utilization = d.Policy.PeakUtilization
	}
	out.Replicas = demandReplicas(d.Formula, &out)
	return out
}

func demandReplicas(f schemas.Formula, d *schemas.Demand) int32 {
	if f == schemas.FormulaClassic {
		return classicDemand(d.Resource, d.Usage, d.Request)
	}
	return Ceil(d.Usage, d.Request*d.Utilization)
}

// noise is the relative error up to which a quotient counts as the whole
// number just below it: 0.1+0.2 cores over 0.1 are 3 pods and not 4. It is far
// above what a few float64 operations can add and far below what matters.
const noise = 1e-9

// Ceil returns the number of pods that usage needs when each may use perPod,
// both in the same unit: ceil(usage / perPod), forgiving float noise, from 0 to
// [schemas.MaxReplicas]. PerPod must be above 0.
func Ceil(usage, perPod float64) int32 {
	n := math.Ceil(usage / perPod * (1 - noise))
	if !(n < schemas.MaxReplicas) {
		return schemas.MaxReplicas
	}
	return max(0, int32(n))
}

// Origin spells where a share of the request comes from for people, to be put
// behind it, as in " (HorizontalPodAutoscaler/web)"; "" where nobody has set it.
func Origin(from string) string {
	if from == "" || from == schemas.FromDefault || from == schemas.FromFormula {
		return ""
	}
	return " (" + from + ")"
}

// Quantity spells a usage or a request for people.
func Quantity(r schemas.Resource, v float64) string {
	if r != schemas.Memory {
		s := fmt.Sprintf("%.4g core", v)
		if s != "1 core" {
			s += "s"
		}
		return s
	}
	unit := 0
	for v >= 1024 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", v, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit])
}

// Count spells a number of things for people: "1 pod", "2 pods".
func Count(n int32, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

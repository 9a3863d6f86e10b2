package runtime

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// Note is something that a plugin said on the way which did not decide the
// outcome: a forecaster without an answer, an answer that could not be used, a
// listener that broke.
type Note struct {
	Plugin   string
	Resource schemas.Resource // empty where it is not about one
	Status   *framework.Status
}

// RunForecastCycle takes one component through Filter, Forecast and Score. It
// returns a forecast for each resource that has one, in the levels of
// [schemas.DefaultLevels], put together band by band from the forecasters with
// the highest score. The status is nil where there is a forecast of at least
// one resource; otherwise it says why there is none.
func (f *Framework) RunForecastCycle(ctx context.Context, state *framework.CycleState, c *framework.Candidate) (map[schemas.Resource]*schemas.Forecast, []Note, *framework.Status) {
	if err := checkCandidate(c); err != nil {
		return nil, nil, framework.AsStatus(err)
	}
	for _, p := range f.filters {
		st := guard(p.Name(), func() *framework.Status { return p.Filter(ctx, state, c) })
		if code := st.Code(); code != framework.Success && code != framework.Skip {
			return nil, nil, only(st, framework.Rejected)
		}
	}
	forecasts := make(map[schemas.Resource]*schemas.Forecast)
	var notes []Note
	for _, r := range schemas.Resources() {
		if c.Series[r] == nil {
			continue
		}
		made, dropped, st := f.forecast(ctx, state, c, r)
		notes = append(notes, dropped...)
		if !st.IsSuccess() {
			return nil, notes, st
		}
		if made != nil {
			forecasts[r] = made
		}
	}
	if len(forecasts) == 0 {
		return nil, notes, none(notes)
	}
	return forecasts, notes, nil
}

// checkCandidate reports a candidate that no plugin should have to deal with.
func checkCandidate(c *framework.Candidate) error {
	if err := c.Component.Validate(); err != nil {
		return err
	}
	if err := c.Policy.Validate(); err != nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "policy of %s: %w", c.Component, err)
	}
	for _, r := range schemas.Resources() {
		s := c.Series[r]
		if s == nil {
			continue
		}
		if err := schemas.ValidateStep(s.Step); err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "%s series of %s: %w", r, c.Component, err)
		}
		if s.Component != c.Component || s.Resource != r || s.Max != nil && len(s.Max) != len(s.Mean) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s series of %s must be its own and have as many maxima as means, but is that of %s %s with %d and %d",
				r, c.Component, s.Component, s.Resource, len(s.Max), len(s.Mean))
		}
	}
	return nil
}

// none says why no resource has a forecast.
func none(notes []Note) *framework.Status {
	if len(notes) == 0 {
		return framework.NewStatus(framework.Rejected, schemas.NoForecast, "no resource was measured")
	}
	reason := schemas.NoForecast
	var said []string
	for _, n := range notes {
		if n.Status.Reason() == schemas.InvalidForecast {
			reason = schemas.InvalidForecast
		}
		said = append(said, fmt.Sprintf("%s of %s: %s", n.Plugin, n.Resource, n.Status.Message()))
	}
	return framework.NewStatus(framework.Rejected, reason, "no forecaster had a usable answer: "+strings.Join(said, "; "))
}

// forecast makes the forecast of one resource, through the view of a plugin where
// there is one. It returns nil where there is no answer.
func (f *Framework) forecast(ctx context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource) (*schemas.Forecast, []Note, *framework.Status) {
	series := c.Series[r]
	steps := max(1, int(time.Duration(f.profile.Horizon)/series.Step))
	if len(f.views) == 0 {
		return f.answers(ctx, state, c, r, steps)
	}
	p := f.views[0]
	var seen *schemas.Series
	var seenSteps int
	st := guard(p.Name(), func() (st *framework.Status) {
		seen, seenSteps, st = p.View(ctx, state, c, r, steps)
		return st
	})
	switch st.Code() {
	case framework.Success:
	case framework.Skip:
		return f.answers(ctx, state, c, r, steps)
	default:
		return nil, nil, only(st, framework.Rejected)
	}
	view := *c
	view.Measured, view.Series = c.Series, maps.Clone(c.Series)
	view.Series[r] = seen
	if err := checkView(seen, c.Component, r, series.Step, seenSteps, steps); err != nil {
		return nil, nil, framework.AsStatus(err).WithPlugin(p.Name())
	}
	made, notes, st := f.answers(ctx, state, &view, r, seenSteps)
	if made == nil || !st.IsSuccess() {
		return nil, notes, st
	}
	st = guard(p.Name(), func() (st *framework.Status) {
		made, st = p.Restore(ctx, state, c, made, steps)
		return st
	})
	if !st.IsSuccess() {
		return nil, notes, only(st, framework.Rejected)
	}
	if err := checkAnswer(made, series, steps); err != nil {
		return nil, notes, framework.AsStatus(err).WithPlugin(p.Name())
	}
	return made, notes, nil
}

// checkView reports a view that forecasters cannot work with.
func checkView(seen *schemas.Series, id schemas.ComponentID, r schemas.Resource, step time.Duration, seenSteps, steps int) error {
	if seen == nil || seen.Component != id || seen.Resource != r || seen.Step != step || seen.Max != nil && len(seen.Max) != len(seen.Mean) || seenSteps < steps {
		return schemas.Errorf(schemas.CodeInternal, "the view of %s %s must be a series of it with its step, for at least %d steps", id, r, steps)
	}
	return nil
}

// answers asks every forecaster about one resource and puts the best of their
// answers together. It returns nil where there is no answer.
func (f *Framework) answers(ctx context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, []Note, *framework.Status) {
	series := c.Series[r]
	bands := schemas.Bands(steps)
	var notes []Note
	var answers []*schemas.Forecast
	for _, p := range f.forecasters {
		var answer *schemas.Forecast
		st := guard(p.Name(), func() *framework.Status {
			var st *framework.Status
			answer, st = p.Forecast(ctx, state, c, r, steps)
			return st
		})
		if st.Code() == framework.Success {
			err := checkAnswer(answer, series, steps)
			if err == nil {
				answer.Forecasters = slices.Repeat([]string{p.Name()}, len(bands))
				answers = append(answers, atLevels(answer, schemas.DefaultLevels()))
				continue
			}
			st = framework.NewStatus(framework.Rejected, schemas.InvalidForecast, err.Error()).WithPlugin(p.Name())
		}
		if code := st.Code(); code != framework.Rejected && code != framework.Skip {
			return nil, notes, only(st, framework.Rejected)
		}
		notes = append(notes, Note{p.Name(), r, st})
	}
	if len(answers) == 0 {
		return nil, notes, nil
	}
	winners, st := f.believe(ctx, state, c, answers, bands)
	if !st.IsSuccess() {
		return nil, notes, st
	}
	return compose(answers, winners, bands), notes, nil
}

// checkAnswer reports a forecast that is not an answer to what was asked, or
// not usable.
func checkAnswer(answer *schemas.Forecast, s *schemas.Series, steps int) error {
	if answer == nil {
		return schemas.Errorf(schemas.CodeInvalidData, "%s %s forecast must not be nil", s.Component, s.Resource)
	}
	if answer.Component != s.Component || answer.Resource != s.Resource {
		return schemas.Errorf(schemas.CodeInvalidData, "forecast must be of %s %s, but is of %s %s", s.Component, s.Resource, answer.Component, answer.Resource)
	}
	if err := answer.Validate(); err != nil {
		return err
	}
	if !answer.Origin.Equal(s.End()) || answer.Step != s.Step || answer.Steps() != steps {
		return schemas.Errorf(schemas.CodeInvalidData, "%s %s forecast must have %d steps of %s from %s, but has %d of %s from %s",
			s.Component, s.Resource, steps, s.Step, s.End().Format(time.RFC3339), answer.Steps(), answer.Step, answer.Origin.Format(time.RFC3339))
	}
	return nil
}

// believe returns, for each band, the index of the answer with the highest
// total score; of equals the first.
func (f *Framework) believe(ctx context.Context, state *framework.CycleState, c *framework.Candidate, answers []*schemas.Forecast, bands []schemas.Band) ([]int, *framework.Status) {
	winners := make([]int, len(bands))
	if len(answers) == 1 {
		return winners, nil
	}
	for b, band := range bands {
		best := math.Inf(-1)
		for i, answer := range answers {
			total := 0.0
			for _, p := range f.scorers {
				var score float64
				st := guard(p.Name(), func() *framework.Status {
					var st *framework.Status
					score, st = p.Score(ctx, state, c, answer, band)
					if st.IsSuccess() && !(score >= framework.MinScore && score <= framework.MaxScore) {
						return framework.AsStatus(schemas.Errorf(schemas.CodeInternal, "score must be from %g to %g, but is %v", framework.MinScore, framework.MaxScore, score))
					}
					return st
				})
				switch st.Code() {
				case framework.Success:
					total += p.weight * score
				case framework.Skip: // counts as the lowest score
				default:
					return nil, only(st)
				}
			}
			if total > best {
				best, winners[b] = total, i
			}
		}
	}
	return winners, nil
}

// compose takes each band from its winner. Peaks go as far as every winner on
// the way has them.
func compose(answers []*schemas.Forecast, winners []int, bands []schemas.Band) *schemas.Forecast {
	first := answers[winners[0]]
	if !slices.ContainsFunc(winners, func(w int) bool { return w != winners[0] }) {
		return first
	}
	out := *first
	out.Values, out.Peaks = make([]float64, 0, len(first.Values)), nil
	out.Forecasters = make([]string, 0, len(bands))
	n := len(first.Levels)
	for b, band := range bands {
		from := answers[winners[b]]
		out.Forecasters = append(out.Forecasters, from.Forecasters[b])
		out.Values = append(out.Values, from.Values[(band.First-1)*n:band.Last*n]...)
		if start, end := band.First-1, min(band.Last, from.PeakSteps()); out.PeakSteps() == start && end > start {
			out.Peaks = append(out.Peaks, from.Peaks[start*n:end*n]...)
		}
	}
	return &out
}

// atLevels returns the forecast in other levels, the same one where they are
// equal.
func atLevels(f *schemas.Forecast, levels []float64) *schemas.Forecast {
	if slices.Equal(f.Levels, levels) {
		return f
	}
	out := *f
	out.Levels, out.Values, out.Peaks = levels, nil, nil
	for i := range f.Steps() {
		for _, level := range levels {
			out.Values = append(out.Values, f.At(i, level))
		}
	}
	for i := range f.PeakSteps() {
		for _, level := range levels {
			out.Peaks = append(out.Peaks, f.PeakAt(i, level))
		}
	}
	return &out
}

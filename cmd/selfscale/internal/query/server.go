package query

import (
	"context"
	"math"
	"time"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/connect"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/schemas"
)

// server answers with what an installation's API says.
type server struct {
	*connect.Connection
	console cli.Console
}

func openServer(ctx context.Context, o cli.ServerOptions, c cli.Console) (source, error) {
	to, err := connect.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &server{to, c}, nil
}

func (s *server) unknown(id schemas.ComponentID) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, "there is no component %s; without one the command lists them", id)
}

// each calls do with the component of a name or, where there is none, with all of
// them. A name without a namespace may be that of one in a namespace.
func (s *server) each(ctx context.Context, id *schemas.ComponentID, doing string, do func(*wire.Component) error) error {
	if id != nil {
		c, err := s.Component(ctx, wire.NewComponentID(*id))
		if schemas.CodeOf(err) == schemas.CodeNotFound {
			return s.unknown(*id)
		}
		if err != nil {
			return err
		}
		return do(c)
	}
	var all []wire.Component
	for c, err := range s.Components(ctx, client.Query{}) {
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	stage := s.console.Progress.Stage(doing, len(all))
	defer stage.Done()
	for i := range all {
		if err := do(&all[i]); err != nil {
			return err
		}
		stage.Set(i+1, len(all))
	}
	return nil
}

// longest is the longest stretch that the API answers with at once.
const longest = 31 * 24 * time.Hour

func (s *server) histories(ctx context.Context, id *schemas.ComponentID, from, to time.Time) ([]schemas.History, error) {
	if from.IsZero() || to.IsZero() {
		status, err := s.Status(ctx)
		if err != nil {
			return nil, err
		}
		if to.IsZero() {
			to = status.Now.Truncate(time.Minute).Add(time.Minute)
		}
		if from.IsZero() {
			from = to.Add(-24 * time.Hour)
		}
	}
	if !from.Before(to) {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "--from must be before --to (%s), but is %s", stamp(to), stamp(from))
	}
	var out []schemas.History
	err := s.each(ctx, id, "history", func(c *wire.Component) error {
		var parts []*wire.History
		for at := from; at.Before(to); at = at.Add(longest) {
			end := at.Add(longest)
			if end.After(to) {
				end = to
			}
			part, err := s.History(ctx, c.ID, at, end)
			if schemas.CodeOf(err) == schemas.CodeNotFound {
				continue // nothing was ever measured
			}
			if err != nil {
				return err
			}
			parts = append(parts, part)
		}
		h, err := historyOf(schemas.ComponentID(c.ID), parts)
		if err == nil {
			out = append(out, h)
		}
		return err
	})
	return out, err
}

// historyOf puts buckets on a grid. What is missing is NaN there, and a resource that
// was never measured is absent.
func historyOf(id schemas.ComponentID, parts []*wire.History) (schemas.History, error) {
	h := schemas.History{Component: id, Series: map[schemas.Resource]*schemas.Series{}}
	var buckets []wire.Bucket
	var step time.Duration
	for _, p := range parts {
		buckets = append(buckets, p.Buckets...)
		step = time.Duration(p.StepSeconds) * time.Second
	}
	if len(buckets) == 0 {
		return h, nil
	}
	if err := schemas.ValidateStep(step); err != nil {
		return h, schemas.Errorf(schemas.CodeInvalidData, "history of %s: %w", id, err)
	}
	first := buckets[0].Start
	n := int(buckets[len(buckets)-1].Start.Sub(first)/step) + 1
	add := func(r schemas.Resource, i int, u *wire.Usage) {
		if u == nil {
			return
		}
		s := h.Series[r]
		if s == nil {
			s = &schemas.Series{Component: id, Resource: r, Start: first, Step: step, Mean: unknowns(n), Max: unknowns(n)}
			h.Series[r] = s
		}
		s.Mean[i], s.Max[i] = u.Mean, u.Max
	}
	for _, b := range buckets {
		i := int(b.Start.Sub(first) / step)
		if i < 0 || i >= n {
			return h, schemas.Errorf(schemas.CodeInvalidData, "history of %s: buckets must ascend, but %s comes after %s", id, stamp(b.Start), stamp(first))
		}
		add(schemas.CPU, i, b.CPU)
		add(schemas.Memory, i, b.Memory)
	}
	return h, nil
}

func unknowns(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

func (s *server) forecasts(ctx context.Context, id *schemas.ComponentID, r schemas.Resource) (forecasts.Set, error) {
	var set forecasts.Set
	err := s.each(ctx, id, "forecasts", func(c *wire.Component) error {
		name := schemas.ComponentID(c.ID)
		if id != nil {
			name = *id // as it was asked for
		}
		d := schemas.Decision{Component: name, Reason: "NotDecided", Message: "nothing has been decided about it yet", MinReplicas: c.Policy.MinReplicas}
		if c.Decision != nil {
			d.Reason, d.Message, d.MinReplicas = c.Decision.Reason, c.Decision.Message, c.Decision.MinReplicas
		}
		set.Decisions = append(set.Decisions, d)
		if c.ForecastAt == nil {
			return nil
		}
		w, err := s.Forecast(ctx, c.ID, r)
		if schemas.CodeOf(err) == schemas.CodeNotFound {
			return nil // of the other resource only
		}
		if err != nil {
			return err
		}
		f, err := forecastOf(name, w)
		if err == nil {
			set.Forecasts = append(set.Forecasts, f)
		}
		return err
	})
	return set, err
}

// forecastOf returns a forecast as it was before it travelled.
func forecastOf(id schemas.ComponentID, w *wire.Forecast) (*schemas.Forecast, error) {
	f := &schemas.Forecast{
		Component: id, Resource: w.Resource, Forecasters: w.Forecasters, Origin: w.Origin,
		Step: time.Duration(w.StepSeconds) * time.Second, Levels: w.Levels,
	}
	for _, row := range w.Values {
		f.Values = append(f.Values, row...)
	}
	for _, row := range w.Peaks {
		f.Peaks = append(f.Peaks, row...)
	}
	if err := f.Validate(); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "forecast of %s: %w", id, err)
	}
	return f, nil
}

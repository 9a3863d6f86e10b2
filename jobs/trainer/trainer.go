package trainer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/jobs/datasets"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Config is what a program decides for its trainer step.
type Config struct {
	Options Options
	// Commit makes the models of all shards of the run the current ones instead
	// of training a shard.
	Commit bool
	// Calendars say what is left out of what is learned, and by whose clock a day
	// is a day. Nil leaves nothing out, by the clock of UTC.
	Calendars *calendar.Calendars
}

// New returns the step. It trains the shard of its environment and keeps the
// model under the run, or, with Commit, accepts the models of all shards.
func New(c Config) jobs.Func {
	if c.Commit {
		return accept
	}
	return func(ctx context.Context, env jobs.Env) error { return c.train(ctx, env) }
}

func (c Config) train(ctx context.Context, env jobs.Env) error {
	if written, err := models.Written(ctx, env.Store, env.Run, env.Shard); err != nil || written {
		return err
	}
	data, err := datasets.Manifest(ctx, env.Store, env.Run, env.Shard)
	if err != nil {
		return fmt.Errorf("read shard %s of the dataset: %w", env.Shard, err)
	}
	histories, err := datasets.Read(ctx, env.Store, env.Run, env.Shard)
	if err != nil {
		return fmt.Errorf("read shard %s of the dataset: %w", env.Shard, err)
	}
	input, err := data.Input()
	if err != nil {
		return err
	}
	inputs := []artifact.Input{input}
	o := c.Options
	o.CodeVersion = env.Version
	o.Fit.Progress = func(epoch, epochs int, _ float64) { env.Report(epoch, epochs) }
	before, head, err := c.before(ctx, env)
	if err != nil {
		return err
	}
	if before != nil {
		o.Initial, o.Before = before.Weights, before.Model
		in, err := head.Input()
		if err != nil {
			return err
		}
		inputs = append(inputs, in)
	}
	from, to := span(histories)
	for i := range histories {
		view(&histories[i], c.Calendars)
	}
	m, weights, err := Train(ctx, histories, o)
	if err != nil {
		return err
	}
	m.DatasetSum, m.CalendarSum = data.Sum, c.Calendars.Sum()
	if c.Calendars != nil {
		m.From, m.To = from, to // by time, not by the clock on the wall
	}
	if before != nil {
		if note := models.RecordOf(head).Note(); note != "" {
			m.Verdict += "; " + note
		}
	}
	if m.To.IsZero() { // nothing was measured
		m.From, m.To = data.From, data.To
	}
	if _, err := models.Write(ctx, env.Store, env.Run, env.Version, models.Trained{Shard: env.Shard, Model: m, Weights: weights}, inputs); err != nil {
		return fmt.Errorf("keep the model: %w", err)
	}
	env.Log.InfoContext(ctx, "trained", "shard", env.Shard, "components", len(histories), "examples", m.Examples, "steps", m.Steps, "verdict", m.Verdict)
	return nil
}

// view replaces the series of a history by what may be learned from them.
func view(h *schemas.History, c *calendar.Calendars) {
	v := c.Of(h.Component.Service)
	for r, s := range h.Series {
		if lens := v.Look(s); lens != nil {
			h.Series[r] = lens.Learned()
		}
	}
}

// span returns from when to when anything was measured.
func span(histories []schemas.History) (from, to time.Time) {
	for i := range histories {
		for _, s := range histories[i].Series {
			m := s.Measured()
			if m.Len() == 0 {
				continue
			}
			if from.IsZero() || m.Start.Before(from) {
				from = m.Start
			}
			if m.End().After(to) {
				to = m.End()
			}
		}
	}
	return from, to
}

// before returns the model that the shard was last accepted with, nil where
// there are none, or where they cannot be read or gone on from: training then
// begins anew.
func (c Config) before(ctx context.Context, env jobs.Env) (*models.Trained, artifact.Head, error) {
	trained, head, err := models.Latest(ctx, env.Store)
	if err != nil {
		if schemas.CodeOf(err) == schemas.CodeUnavailable {
			return nil, artifact.Head{}, fmt.Errorf("read the model before: %w", err)
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			env.Log.WarnContext(ctx, "the model before cannot be used", "error", err.Error())
		}
		return nil, artifact.Head{}, nil
	}
	for _, t := range trained {
		if t.Shard == env.Shard && t.Weights != nil {
			return &t, head, nil
		}
	}
	return nil, artifact.Head{}, nil
}

// accept makes the models of a run the current ones.
func accept(ctx context.Context, env jobs.Env) error {
	shards, err := datasets.Shards(ctx, env.Store, env.Run)
	if err != nil {
		return fmt.Errorf("read the dataset's shards: %w", err)
	}
	if len(shards) == 0 {
		env.Log.InfoContext(ctx, "nothing to accept: the dataset has no component")
		return nil
	}
	head, outcome, err := models.Accept(ctx, env.Store, env.Run, env.Version, shards)
	if err != nil {
		return fmt.Errorf("accept the models: %w", err)
	}
	if r := models.RecordOf(head); r.Hold {
		env.Log.WarnContext(ctx, "kept under their run, not used: a person holds older models", "holds", r.Run, "instead of", r.RolledBackFrom, "reason", r.Reason)
		return nil
	}
	env.Log.InfoContext(ctx, "accepted", "head", head.Number, "shards", len(shards), "outcome", outcome.String())
	return nil
}

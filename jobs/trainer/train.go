// Package trainer is the step that learns: from one shard of a dataset it
// trains the network that corrects the bank's forecasts, judges every
// forecaster on the newest day, which none of them had seen, and keeps the
// network only if it did better there than the bank alone.
package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/jobs/trainer/fit"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
)

// Options say how to train a shard. [DefaultOptions] has values that work.
type Options struct {
	Horizon int // steps of a forecast
	// Season is the number of steps in a season; 0 means a day.
	Season int
	// Windows bounds the training windows of one series, and TotalWindows those
	// of the whole shard. Each window gives fewer examples where all of them would
	// be more than Examples.
	Windows, TotalWindows, Examples int
	// Validation bounds the examples of the shard that training is watched with.
	Validation int
	Fit        fit.Options
	// Initial is the network to go on from, nil for the one that ships with the
	// program.
	Initial *network.Weights
	// Scratch starts from the bank instead.
	Scratch bool
	// Before is the model of the training before, whose records are gone on with,
	// nil where there is none.
	Before *schemas.Model
	// CodeVersion is recorded in the model.
	CodeVersion string
}

// DefaultOptions returns the options that production uses.
func DefaultOptions() Options {
	return Options{
		Horizon:      schemas.DefaultHorizon,
		Windows:      24,
		TotalWindows: 8_192,
		Examples:     1 << 16,
		Validation:   1 << 15,
		Fit:          fit.DefaultOptions(),
	}
}

// Train learns from the histories of a shard and returns the model and the
// weights of its network, nil where none was accepted. The same histories and
// options give the same bytes.
func Train(ctx context.Context, histories []schemas.History, o Options) (*schemas.Model, *network.Weights, error) {
	levels := schemas.DefaultLevels()
	if o.Initial == nil && !o.Scratch {
		o.Initial = pretrained.Weights()
	}
	m := &schemas.Model{CodeVersion: o.CodeVersion, Horizon: o.Horizon, Levels: levels, Seed: o.Fit.Seed}
	var targets []target
	for i := range histories {
		for _, r := range schemas.Resources() {
			known := histories[i].Series[r]
			if known == nil {
				continue
			}
			measured := known.Measured()
			s := &measured
			if s.Len() == 0 {
				continue
			}
			if m.Step == 0 {
				m.Step = s.Step
			}
			if s.Step != m.Step {
				return nil, nil, schemas.Errorf(schemas.CodeInvalidData, "%s %s must have the step of the other series, %s, but has %s", s.Component, r, m.Step, s.Step)
			}
			if m.From.IsZero() || s.Start.Before(m.From) {
				m.From = s.Start
			}
			if s.End().After(m.To) {
				m.To = s.End()
			}
			targets = append(targets, target{s, schemas.Mean, o.Horizon})
			if p, ok := network.Peaks(s); ok {
				targets = append(targets, target{p, schemas.Peak, min(o.Horizon, network.PeakHorizon)})
			}
		}
	}
	if len(targets) == 0 {
		m.Verdict = "no component has a measured series"
		return m, nil, nil
	}
	m.Period = o.Season
	if m.Period == 0 {
		m.Period = schemas.StepsPerDay(m.Step)
	}
	sm := &sampler{
		period: m.Period, levels: levels, holdout: m.Period,
		tries:   max(4, min(12, totalTries/len(targets))),
		windows: max(4, min(o.Windows, o.TotalWindows/len(targets))), validation: max(16, min(max(perSeries/2, 1<<12/len(targets)), o.Validation/len(targets))), seed: o.Fit.Seed,
	}
	all := sm.windows * len(targets) * (stepsPerBand[0] + stepsPerBand[1] + stepsPerBand[2])
	sm.thin = max(1, min(fewestSteps, all/max(1, min(o.Examples, max(1<<12, perSeries*len(targets))))))
	// The trainer judges on the newest day, so that it needs one day to judge, one
	// to learn from and one before that to look back on.
	learnable := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
		return t.series.Valid() < t.series.Len()/2 || t.series.Len() < 3*m.Period
	})
	train, err := sm.train(ctx, learnable)
	if err != nil {
		return nil, nil, err
	}
	validate, err := sm.validate(ctx, learnable)
	if err != nil {
		return nil, nil, err
	}
	m.Examples = train.Len()
	// Where nothing better is learned, the weights before stay: they were accepted
	// once, and the guard of each series knows how they do.
	weights := o.Initial
	if train.Len() < minExamples || validate.Len() == 0 {
		m.Verdict = fmt.Sprintf("the network needs %d examples to learn from, but the histories give %d", minExamples, train.Len())
	} else {
		res, err := fit.Train(ctx, train, validate, levels, o.Initial, o.Fit)
		if err != nil {
			return nil, nil, err
		}
		m.Steps, m.Loss, m.BankLoss = res.Steps, &res.Loss, &res.BankLoss
		if res.Loss < acceptBelow*res.BankLoss && !(res.Loss >= acceptGain*res.InitialLoss) {
			weights = res.Weights
			m.Verdict = fmt.Sprintf("accepted: pinball loss on the newest day %.4f, the bank alone %.4f", res.Loss, res.BankLoss)
		} else {
			m.Verdict = fmt.Sprintf("not accepted: pinball loss on the newest day %.4f is not clearly below %.4f, that of the weights before, and %.4f, the bank's", res.Loss, res.InitialLoss, res.BankLoss)
		}
	}
	served := o.Initial
	if served == nil {
		served = weights // as if it had been there before
	}
	if m.Scores, err = sm.score(ctx, targets, weights, served, o.Before); err != nil {
		return nil, nil, err
	}
	if weights != nil {
		data, err := weights.Encode()
		if err != nil {
			return nil, nil, fmt.Errorf("encode the network's weights: %w", err)
		}
		sum := sha256.Sum256(data)
		m.WeightsSum = hex.EncodeToString(sum[:])
	}
	return m, weights, nil
}

// acceptBelow is the share of the bank's loss that a network must stay below, and
// acceptGain that of the loss of the network before. One day is a small sample, the
// bank needs no network, and the guard of each series knows the network before.
const (
	acceptBelow = 0.995
	acceptGain  = 0.999
)

// perSeries is how many examples of a series are learned from where there are other
// series to learn from: more of the same one teach little.
const perSeries = 192

// totalTries bounds the origins on the newest day from which the examples of a
// shard's validation are taken.
const totalTries = 2048

// minExamples is how many examples a network of a few thousand weights needs at
// least before its training is worth the time.
const minExamples = 384

// pinball returns the mean pinball loss of the quantiles from the median
// upwards.
func pinball(levels, row []float64, actual float64) float64 {
	sum, n := 0.0, 0
	for i, l := range levels {
		if l < .5 {
			continue
		}
		e := actual - row[i]
		sum += max(l*e, (l-1)*e)
		n++
	}
	return sum / float64(n)
}

// tally adds up one forecaster's errors over one band.
type tally struct {
	mae, loss float64
	n         int
}

func (t *tally) add(levels, row []float64, actual float64) {
	t.mae += math.Abs(actual - row[slices.Index(levels, .5)])
	t.loss += pinball(levels, row, actual)
	t.n++
}

func (t *tally) bandError() *schemas.BandError {
	if t.n == 0 {
		return nil
	}
	return &schemas.BandError{MAE: t.mae / float64(t.n), Loss: t.loss / float64(t.n), Count: t.n}
}

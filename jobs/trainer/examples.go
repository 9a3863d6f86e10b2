package trainer

import (
	"context"
	"math/rand/v2"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/fit"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// stepsPerBand is how many steps of each band one training window contributes at
// most, chosen at random where that is not all of them. Neighbouring steps teach
// much the same: where there are many windows, a quarter of them will do.
var stepsPerBand = [3]int{4, 8, 12}

// fewestSteps is what stepsPerBand is divided by at most.
const fewestSteps = 4

// target is one thing that is forecast: the means or the peaks of a series.
type target struct {
	series    *schemas.Series
	statistic schemas.Statistic
	horizon   int
}

// sampler turns series into examples for the network.
type sampler struct {
	period int
	levels []float64
	// holdout is how many of the newest steps are kept for validation.
	holdout int
	// tries is how many origins of the newest steps are validated on.
	tries int
	// windows is how many training windows one series contributes at most.
	windows int
	// thin is what the steps of a training window are divided by.
	thin int
	// validation is how many validation examples it contributes at most, or two
	// for each origin.
	validation int
	seed       uint64
}

// origins returns the training origins of a series of n steps, newest last:
// evenly spread, each with at least a period of history, and so that at least
// the first band lies before the holdout.
func (s *sampler) origins(n int) []int {
	first, last := s.period+s.period/2, n-s.holdout-4
	if last < first {
		return nil
	}
	count := min(s.windows, last-first+1)
	out := make([]int, 0, count)
	for k := range count {
		// A stride that is no divisor of the day walks through its hours.
		out = append(out, last-(last-first)*k/max(1, count))
	}
	return out
}

// train returns the training examples of all series.
func (s *sampler) train(ctx context.Context, targets []target) (*fit.Rows, error) {
	return s.gather(ctx, targets, func(h *bank.History, i int, t target, rows *fit.Rows) {
		y := t.series
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		end := y.Len() - s.holdout
		for _, at := range s.origins(y.Len()) {
			w, ok := network.NewWindow(h, y, s.period, at, t.horizon, s.levels)
			if !ok {
				continue
			}
			weight := importance(w.Surprise(y.Mean[at:min(end, at+t.horizon)]))
			for b, band := range schemas.Bands(t.horizon) {
				last := min(band.Last, end-at)
				if last < band.First {
					break
				}
				steps := max(1, stepsPerBand[b]/s.thin)
				for k := range steps {
					step := band.First - 1 + k
					if steps < band.Last-band.First+1 {
						step = band.First - 1 + rng.IntN(last-band.First+1)
					}
					if step >= last {
						break
					}
					s.add(rows, w, y, at, step, weight)
				}
			}
		}
	})
}

// validate returns examples from the newest steps, which training leaves out.
func (s *sampler) validate(ctx context.Context, targets []target) (*fit.Rows, error) {
	return s.gather(ctx, targets, func(h *bank.History, i int, t target, rows *fit.Rows) {
		y := t.series
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		origins := s.holdoutOrigins(y.Len())
		// Every step of every origin where there are few series, else a choice.
		each := max(2, s.validation/max(1, len(origins)))
		for _, at := range origins {
			w, ok := network.NewWindow(h, y, s.period, at, t.horizon, s.levels)
			if !ok {
				continue
			}
			steps := min(t.horizon, y.Len()-at)
			weight := importance(w.Surprise(y.Mean[at : at+steps]))
			if steps <= each {
				for step := range steps {
					s.add(rows, w, y, at, step, weight)
				}
				continue
			}
			for k := range each {
				// Half of them from the next hour, which the floor is made from.
				if k%2 == 0 {
					s.add(rows, w, y, at, rng.IntN(min(4, steps)), weight)
				} else {
					s.add(rows, w, y, at, rng.IntN(steps), weight)
				}
			}
		}
	})
}

// holdoutOrigins returns the origins that are judged on the newest steps: the
// one that sees a whole holdout ahead, and others after it.
func (s *sampler) holdoutOrigins(n int) []int {
	var out []int
	if n < s.holdout+s.period {
		return nil
	}
	for at := n - s.holdout; at <= n-4; at += max(1, s.period/s.tries) {
		out = append(out, at)
	}
	return out
}

// farWeight is how many times as much the examples of the far band count: half of the
// examples are of the bands before it, which are a sixth of the horizon.
const farWeight = 3

// usual is how far, in units of the bank's mean error, an ordinary day lies from
// its forecast at least.
const usual = 0.2

// importance returns what the examples of a window count for: the less, the
// further its day lies from what could be known. Otherwise a few wild series would
// teach the network, and the many calm ones would have to live with it.
func importance(surprise float64) float32 {
	if surprise != surprise {
		return 1
	}
	return float32(1 / max(surprise, usual))
}

func (s *sampler) add(rows *fit.Rows, w *network.Window, y *schemas.Series, at, step int, weight float32) {
	actual := y.Mean[at+step]
	if actual != actual {
		return
	}
	scale := w.Scale(step)
	n := len(rows.Features)
	rows.Features = append(rows.Features, make([]float32, network.NumFeatures)...)
	w.Features(step, rows.Features[n:])
	n = len(rows.Differences)
	rows.Differences = append(rows.Differences, make([]float32, bank.Count)...)
	w.Differences(step, rows.Differences[n:])
	offsets := make([]float64, len(s.levels))
	w.Offsets(step, offsets)
	for _, o := range offsets {
		rows.Offsets = append(rows.Offsets, float32(o/scale))
	}
	rows.Actual = append(rows.Actual, float32((actual-w.Anchor(step))/scale))
	if step >= schemas.NearSteps {
		weight *= farWeight
	}
	rows.Weight = append(rows.Weight, weight)
}

// gatherBlock is how many series are gathered before their rows are joined, so
// that the rows are not held twice.
const gatherBlock = 64

// gather calls collect for every series, on all processors, and joins the rows
// in the order of the series.
func (s *sampler) gather(ctx context.Context, targets []target, collect func(h *bank.History, i int, t target, rows *fit.Rows)) (*fit.Rows, error) {
	all := &fit.Rows{}
	workers := runtime.GOMAXPROCS(0)
	histories := make([]*bank.History, workers)
	parts := make([]fit.Rows, gatherBlock)
	for from := 0; from < len(targets); from += gatherBlock {
		block := targets[from:min(len(targets), from+gatherBlock)]
		g, ctx := errgroup.WithContext(ctx)
		for k := range workers {
			g.Go(func() error {
				for i := k; i < len(block); i += workers {
					if err := ctx.Err(); err != nil {
						return err
					}
					if histories[k] == nil {
						histories[k] = bank.NewHistory(nil, 1, 0)
					}
					p := &parts[i]
					p.Reset()
					histories[k].Reset(block[i].series.Mean, s.period, 0)
					collect(histories[k], from+i, block[i], p)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if from == 0 {
			// Room for all at once: growing would hold the rows twice.
			n := 0
			for i := range block {
				n += parts[i].Len()
			}
			n = n * (len(targets) + len(block)) / len(block)
			all.Grow(n, len(s.levels))
		}
		for i := range block {
			all.Append(&parts[i])
		}
	}
	return all, nil
}

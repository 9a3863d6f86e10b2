// Package backtest measures forecasters as they would have done: from rolling
// origins, each seeing only what lay before it, on windows that no training has
// touched.
package backtest

import (
	"context"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/schemas"
)

// Model is a forecaster to be measured. Forecast is called from several
// goroutines.
type Model interface {
	// Name is the model's row in the report.
	Name() string
	// Forecast returns the quantiles of the steps after the end of past, in the
	// levels of [schemas.DefaultLevels]. It reports false where it has no answer;
	// that of [Naive] then counts in its place, so that no model gains by silence.
	Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool)
}

// Preparer is a model that needs something of the past which production would
// have kept, such as a record of how it did on the days before. The time that this
// takes is not counted as time of the forecast.
type Preparer interface {
	// Prepare returns the model's Forecast for one past.
	Prepare(past *schemas.Series) func(steps int) (*schemas.Forecast, bool)
}

// Options say which windows are measured.
type Options struct {
	Season  int // steps in a season, at least 1
	Horizon int // steps to forecast
	// History is how many steps before an origin a model sees; 0 means all.
	History int
	// Origins is how many windows each series has at most, the newest first.
	Origins int
	// Progress, if not nil, is told how many windows are done.
	Progress func(done, total int)
}

// Window is one origin of one series.
type Window struct {
	Series int // index
	At     int // index of the first step to be forecast
}

// stride is the distance of two origins: a little more than the horizon or the
// season, so that the origins walk through all hours of the day.
func (o *Options) stride() int { return max(o.Horizon, o.Season) + max(1, max(o.Horizon, o.Season)/9) }

// Windows returns the windows of all series, the newest of each series last, and
// for each series the index from which on nothing may be trained: the first step
// of its oldest window. A series too short for a window, one season of history
// and a horizon, has none.
func (o *Options) Windows(series []*schemas.Series) (windows []Window, train []int) {
	train = make([]int, len(series))
	for i, s := range series {
		train[i] = s.Len()
		least := max(o.Season+1, 4)
		if o.History > 0 {
			least = min(max(least, o.History), max(least, s.Len()-o.Horizon))
		}
		var at []int
		for k := range o.Origins {
			t := s.Len() - o.Horizon - k*o.stride()
			if t < least {
				break
			}
			at = append(at, t)
		}
		for k := len(at) - 1; k >= 0; k-- {
			windows = append(windows, Window{i, at[k]})
			train[i] = min(train[i], at[k])
		}
	}
	return windows, train
}

// Run measures models on windows of series.
func Run(ctx context.Context, series []*schemas.Series, windows []Window, models []Model, o Options) (*Report, error) {
	r := newReport(models, o, len(windows))
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	done := 0
	for k := range workers {
		g.Go(func() error {
			// What a thread has used is measured, not what others kept it from using.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for i := k; i < len(windows); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				w := windows[i]
				s := series[w.Series]
				from := 0
				if o.History > 0 {
					from = max(0, w.At-o.History)
				}
				past := s.Slice(from, w.At)
				actual := s.Mean[w.At:min(s.Len(), w.At+o.Horizon)]
				r.results[i] = measure(&past, actual, models, o)
				r.results[i].series = w.Series
				mu.Lock()
				done++
				if o.Progress != nil {
					o.Progress(done, len(windows))
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, w := range windows {
		r.seen[w.Series] = true
	}
	return r, nil
}

// result is what all models came to on one window.
type result struct {
	series int
	ok     bool // the window has actual values and a scale
	models []score
}

// score is what one model came to on one window, per band and, last, over the
// whole horizon.
type score struct {
	bands []sums
	took  time.Duration
}

// sums are one model's sums over the steps of one band of one window.
type sums struct {
	n                         int
	absolute                  float64 // |y - median|
	scale                     float64 // of the window: what one unit of MASE is
	symmetric                 float64 // 2|y - median| / (|y| + |median|)
	pinball                   float64 // over the nine deciles
	actual                    float64 // |y|
	below80, below90, below95 int     // y at or below that quantile
}

func measure(past *schemas.Series, actual []float64, models []Model, o Options) result {
	scale := Scale(past.Mean, o.Season)
	if leap(past.Mean, actual) > maxLeap*scale {
		scale = math.NaN()
	}
	out := result{models: make([]score, len(models))}
	fallback, _ := Naive{}.Forecast(past, len(actual))
	if fallback == nil || math.IsNaN(scale) {
		return out
	}
	bands := append(schemas.Bands(o.Horizon), schemas.Band{First: 1, Last: o.Horizon})
	for k, m := range models {
		forecast := func(steps int) (*schemas.Forecast, bool) { return m.Forecast(past, steps) }
		if p, ok := m.(Preparer); ok {
			forecast = p.Prepare(past)
		}
		began := cpuTime()
		f, ok := forecast(len(actual))
		out.models[k].took = cpuTime() - began
		if !ok || f == nil || f.Validate() != nil || f.Steps() < len(actual) {
			f = fallback
		}
		out.models[k].bands = make([]sums, len(bands))
		for b, band := range bands {
			s := &out.models[k].bands[b]
			s.scale = scale
			for step := band.First - 1; step < min(band.Last, len(actual)); step++ {
				s.add(actual[step], f, step)
			}
			out.ok = out.ok || s.n > 0
		}
	}
	return out
}

// maxLeap is how many units of MASE a window may lie away from its history and
// still be measured. Beyond it the history was all but constant, no forecaster
// could have known, and one window would outweigh all others.
const maxLeap = 1000

// leap returns how far the mean of what came lies from the mean of what was.
func leap(past, actual []float64) float64 {
	mean := func(y []float64) float64 {
		sum, n := 0.0, 0
		for _, v := range y {
			if v == v {
				sum += v
				n++
			}
		}
		return sum / float64(n)
	}
	return math.Abs(mean(actual) - mean(past))
}

var began = time.Now()

// elapsed returns the time since the program began.
func elapsed() time.Duration { return time.Since(began) }

func (s *sums) add(y float64, f *schemas.Forecast, step int) {
	if y != y {
		return
	}
	median := f.At(step, .5)
	s.n++
	s.absolute += math.Abs(y - median)
	if d := math.Abs(y) + math.Abs(median); d > 0 {
		s.symmetric += 2 * math.Abs(y-median) / d
	}
	s.actual += math.Abs(y)
	for _, l := range deciles {
		e := y - f.At(step, l)
		s.pinball += max(l*e, (l-1)*e)
	}
	for _, c := range []struct {
		level float64
		count *int
	}{{.8, &s.below80}, {.9, &s.below90}, {.95, &s.below95}} {
		if y <= f.At(step, c.level) {
			*c.count++
		}
	}
}

var deciles = []float64{.1, .2, .3, .4, .5, .6, .7, .8, .9}

// Scale is what one unit of MASE is worth (Hyndman and Koehler, "Another look at
// measures of forecast accuracy", 2006): the mean absolute difference between
// usage and usage one season before, over all of the history. It is kept above a
// tenth of the mean absolute deviation and a thousandth of the level, so that a
// nearly constant series does not decide a mean. It is NaN where nothing was
// measured, and where the history is one value throughout: errors then have no
// unit.
func Scale(y []float64, season int) float64 {
	diff, n := 0.0, 0
	sum, count := 0.0, 0
	for i, v := range y {
		if v != v {
			continue
		}
		sum += v
		count++
		if i >= season {
			if d := math.Abs(v - y[i-season]); d == d {
				diff += d
				n++
			}
		}
	}
	if count == 0 {
		return math.NaN()
	}
	mean, dev := sum/float64(count), 0.0
	for _, v := range y {
		if v == v {
			dev += math.Abs(v - mean)
		}
	}
	scale := 0.0
	if n > 0 {
		scale = diff / float64(n)
	}
	if dev <= 1e-12*float64(count)*math.Abs(mean) {
		return math.NaN()
	}
	return max(scale, .1*dev/float64(count), 1e-3*math.Abs(mean))
}

// Package measure is selfscale backtest: it reads series, trains on what lies
// before the windows to be measured, and reports how every forecaster did.
package measure

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/longformat"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/learned"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/jobs/trainer/backtest"
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/hedge"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// Names of the rows that this program adds to those of package backtest.
const (
	bankName    = "bank"
	networkName = "network"
	finalName   = "final"
)

// Run is selfscale backtest.
func Run(ctx context.Context, o cli.BacktestOptions, c cli.Console, version string) error {
	reading := c.Progress.Stage("reading "+o.Data, 0)
	named, err := longformat.Read(ctx, o.Data, o.Step)
	reading.Done()
	if err != nil {
		return err
	}
	series := make([]*schemas.Series, len(named))
	for i := range named {
		series[i] = named[i].Series
	}
	options := backtest.Options{Season: o.Season, Horizon: o.Horizon, History: int(o.History / o.Step), Origins: o.Origins}
	windows, train := options.Windows(series)
	if len(windows) == 0 {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: no series is long enough: a window takes a season (%d steps) and a horizon (%d), and the longest has %d",
			filepath.Base(o.Data), o.Season, o.Horizon, longest(series))
	}
	trained, millis, err := learn(ctx, series, train, o, c, version)
	if err != nil {
		return err
	}
	rows, err := rows(trained, o)
	if err != nil {
		return err
	}
	stage := c.Progress.Stage("measuring", len(windows))
	options.Progress = stage.Set
	report, err := backtest.Run(ctx, series, windows, rows, options)
	stage.Done()
	if err != nil {
		return err
	}
	report.TrainMillis[networkName], report.TrainMillis[finalName] = millis, millis
	_, report.PeakBytes = used()
	if o.Plot != "" {
		if err := draw(named, windows, rows[len(rows)-1], o); err != nil {
			return err
		}
	}
	if o.Export != "" {
		stage := c.Progress.Stage("writing "+o.Export, 0)
		err := export(ctx, o.Export, named, windows, rows, report, o.Step)
		stage.Done()
		if err != nil {
			return err
		}
	}
	return write(c.Out, report, trained.Model.Verdict, o.Format)
}

func longest(series []*schemas.Series) int {
	n := 0
	for _, s := range series {
		n = max(n, s.Len())
	}
	return n
}

// trainingDays is how far back from its oldest window a series is learned from.
const trainingDays = 28

// used returns the processor time that the program has used, and the most memory
// that it held, in bytes.
func used() (processor time.Duration, peak int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss * 1024
}

// learn trains on what lies before the windows, and returns the milliseconds of
// processor time that this took for each series.
func learn(ctx context.Context, series []*schemas.Series, train []int, o cli.BacktestOptions, c cli.Console, version string) (models.Trained, float64, error) {
	var histories []schemas.History
	for i, s := range series {
		if train[i] == s.Len() {
			continue // no window, and so no telling what may be learned
		}
		past := s.Slice(train[i]-trainingDays*o.Season, train[i])
		histories = append(histories, schemas.History{Component: s.Component, Series: map[schemas.Resource]*schemas.Series{s.Resource: &past}})
	}
	options := trainer.DefaultOptions()
	options.Horizon, options.Season, options.CodeVersion, options.Fit.Seed = o.Horizon, o.Season, version, o.Seed
	stage := c.Progress.Stage("training", options.Fit.Epochs)
	defer stage.Done()
	options.Fit.Progress = func(epoch, epochs int, _ float64) { stage.Set(epoch, epochs) }
	began, _ := used()
	model, weights, err := trainer.Train(ctx, histories, options)
	if err != nil {
		return models.Trained{}, 0, err
	}
	ended, _ := used()
	millis := float64((ended - began).Microseconds()) / 1000 / float64(len(histories))
	return models.Trained{Model: model, Weights: weights}, millis, nil
}

// rows returns the models of the report.
func rows(trained models.Trained, o cli.BacktestOptions) ([]backtest.Model, error) {
	library := learned.NewLibrary()
	library.Add(trained.Model, trained.Weights)
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		return nil, err
	}
	profile.Horizon = framework.Duration(time.Duration(o.Horizon) * o.Step)
	fw, err := standard.Forecasts(profile, o.Season, trained)
	if err != nil {
		return nil, err
	}
	return []backtest.Model{
		backtest.Naive{},
		backtest.Naive2{Season: o.Season},
		backtest.SeasonalNaive{Label: backtest.SeasonalNaiveName, Season: o.Season},
		backtest.SeasonalNaive{Label: "seasonal-naive-week", Season: 7 * o.Season},
		backtest.HoltWinters{Season: o.Season},
		backtest.DayMedian{Season: o.Season},
		backtest.Recipe{Season: o.Season},
		plugin{bankName, learned.NewBank(o.Season)},
		plugin{networkName, learned.NewNetwork(library, o.Season)},
		final{fw, trained.Weights, o.Season, o.Horizon},
	}, nil
}

// candidate is a series as the plugins see it, at the moment of its end.
func candidate(past *schemas.Series) *framework.Candidate {
	p := schemas.DefaultPolicy()
	p.Mode = schemas.Auto
	return &framework.Candidate{
		Component: past.Component, Now: past.End(), Policy: p,
		Series:   map[schemas.Resource]*schemas.Series{past.Resource: past},
		Requests: schemas.Requests{past.Resource: 1},
	}
}

// plugin is one forecaster alone.
type plugin struct {
	name string
	framework.ForecastPlugin
}

func (p plugin) Name() string { return p.name }

func (p plugin) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	f, status := p.ForecastPlugin.Forecast(context.Background(), framework.NewCycleState(), candidate(past), past.Resource, steps)
	return f, status.IsSuccess() && f != nil
}

// final is what production would have served: the forecast of the default
// profile, with the record of the days before that the trainer would have kept.
type final struct {
	*runtime.Framework
	weights *network.Weights
	season  int
	horizon int
}

func (final) Name() string { return finalName }

func (m final) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	return m.Prepare(past)(steps)
}

// Prepare implements [backtest.Preparer].
func (m final) Prepare(past *schemas.Series) func(steps int) (*schemas.Forecast, bool) {
	t := tools.Get().(*replayer)
	t.history.Reset(past.Mean, m.season, past.Len()-2*(hedge.Days+1)*m.season)
	record := hedge.Begin(t.forecaster, t.history, past, m.season, past.Len(), m.horizon, m.weights, schemas.DefaultLevels())
	tools.Put(t)
	return func(int) (*schemas.Forecast, bool) {
		state := framework.NewCycleState()
		learned.WriteRecord(state, past.Resource, record, nil)
		made, _, _ := m.RunForecastCycle(context.Background(), state, candidate(past))
		f := made[past.Resource]
		return f, f != nil
	}
}

// replayer is what replaying the days before takes.
type replayer struct {
	history    *bank.History
	forecaster *network.Forecaster
}

var tools = sync.Pool{New: func() any {
	return &replayer{bank.NewHistory(nil, 1, 0), network.NewForecaster(schemas.DefaultLevels())}
}}

// draw writes a plot of the newest window of each series.
func draw(named []longformat.Series, windows []backtest.Window, m backtest.Model, o cli.BacktestOptions) error {
	out, err := outdir.Open(o.Plot)
	if err != nil {
		return err
	}
	defer out.Discard()
	newest := map[int]int{}
	for _, w := range windows {
		newest[w.Series] = w.At
	}
	for i, at := range newest {
		s := named[i]
		past := s.Slice(max(0, at-max(5*o.Season, 2*o.Horizon)), at)
		seen := s.Slice(0, at)
		if o.History > 0 {
			seen = s.Slice(at-int(o.History/o.Step), at)
		}
		c := &chart.Chart{
			Title: s.Name, Subtitle: "what production would have forecast, and what came", Resource: s.Resource,
			ForecastStep: o.Step, BandLabel: "10th to 90th percentile", MidLabel: "median", Now: past.End(),
		}
		all := s.Slice(max(0, at-max(5*o.Season, 2*o.Horizon)), at+o.Horizon)
		for k, v := range all.Mean {
			c.Usage = append(c.Usage, chart.Point{Time: all.Time(k), Value: v})
		}
		if f, ok := m.Forecast(&seen, o.Horizon); ok {
			for k := range f.Steps() {
				c.Forecast = append(c.Forecast, chart.Interval{Time: f.Time(k), Low: f.At(k, .1), Mid: f.At(k, .5), High: f.At(k, .9)})
			}
		}
		file, err := out.Create(strconv.Itoa(i+1) + ".svg")
		if err != nil {
			return err
		}
		if err := c.WriteSVG(file); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	index := map[string]string{}
	for i := range newest {
		index[strconv.Itoa(i+1)+".svg"] = named[i].Name
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := out.WriteFile("index.json", data); err != nil {
		return err
	}
	return out.Commit()
}

func round(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

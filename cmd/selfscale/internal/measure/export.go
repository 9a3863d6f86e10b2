package measure

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"math"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/longformat"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/jobs/trainer/backtest"
	"github.com/self-scaling/self-scaling/schemas"
)

// The files of an export.
const (
	// windowsFile has the columns window, series, part, time and value: part is
	// "history" for what a forecaster may look at and "actual" for what it is held
	// against. A value that is missing is empty.
	windowsFile = "windows.csv"
	// forecastsFile has the columns window, model, time and median: what each of
	// our rows forecast there. A model without an answer has no lines.
	forecastsFile = "forecasts.csv"
	// reportFile is the report as --format json prints it, with what of the command
	// line another program must know.
	reportFile = "report.json"
)

// exported is the content of [reportFile].
type exported struct {
	StepSeconds int              `json:"stepSeconds"`
	Season      int              `json:"season"`
	Horizon     int              `json:"horizon"`
	Report      *backtest.Report `json:"report"`
}

// export writes the measured windows and every model's medians on them, so that
// a program that is not ours can be measured on the very same ones. Windows are
// numbered from 1 in the order of their series.
func export(ctx context.Context, dir string, named []longformat.Series, windows []backtest.Window, models []backtest.Model, report *backtest.Report, step time.Duration) error {
	out, err := outdir.Open(dir)
	if err != nil {
		return err
	}
	defer out.Discard()
	o := report.Options
	err = writeTable(out, windowsFile, []string{"window", "series", "part", "time", "value"}, func(row func(...string)) {
		for i, w := range windows {
			s := named[w.Series]
			from := 0
			if o.History > 0 {
				from = max(0, w.At-o.History)
			}
			for k := from; k < min(s.Len(), w.At+o.Horizon); k++ {
				part := "history"
				if k >= w.At {
					part = "actual"
				}
				row(strconv.Itoa(i+1), s.Name, part, s.Time(k).Format(time.RFC3339), number(s.Mean[k]))
			}
		}
	})
	if err != nil {
		return err
	}
	medians, err := forecastAll(ctx, named, windows, models, o)
	if err != nil {
		return err
	}
	err = writeTable(out, forecastsFile, []string{"window", "model", "time", "median"}, func(row func(...string)) {
		for i := range windows {
			for k, f := range medians[i] {
				for step := range f.values {
					row(strconv.Itoa(i+1), models[k].Name(), f.origin.Add(time.Duration(step)*f.step).Format(time.RFC3339), number(f.values[step]))
				}
			}
		}
	})
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(exported{int(step / time.Second), o.Season, o.Horizon, report}, "", "  ")
	if err != nil {
		return err
	}
	if err := out.WriteFile(reportFile, append(data, '\n')); err != nil {
		return err
	}
	return out.Commit()
}

// points is one model's medians on one window, empty where it had no answer.
type points struct {
	origin time.Time
	step   time.Duration
	values []float64
}

// forecastAll returns the medians of all models, by window.
func forecastAll(ctx context.Context, named []longformat.Series, windows []backtest.Window, models []backtest.Model, o backtest.Options) ([][]points, error) {
	made := make([][]points, len(windows))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, w := range windows {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s := named[w.Series]
			from := 0
			if o.History > 0 {
				from = max(0, w.At-o.History)
			}
			past := s.Slice(from, w.At)
			steps := min(o.Horizon, s.Len()-w.At)
			made[i] = make([]points, len(models))
			for k, m := range models {
				f, ok := m.Forecast(&past, steps)
				if !ok || f == nil || f.Validate() != nil || f.Steps() < steps {
					continue
				}
				made[i][k] = medians(f, steps)
			}
			return nil
		})
	}
	return made, g.Wait()
}

func medians(f *schemas.Forecast, steps int) points {
	p := points{f.Origin, f.Step, make([]float64, steps)}
	for i := range p.values {
		p.values[i] = f.At(i, .5)
	}
	return p
}

// writeTable writes a CSV file, line by line.
func writeTable(out *outdir.Dir, name string, header []string, rows func(row func(...string))) error {
	file, err := out.Create(name)
	if err != nil {
		return err
	}
	w := csv.NewWriter(file)
	_ = w.Write(header) // what goes wrong is told by Error below
	rows(func(cells ...string) { _ = w.Write(cells) })
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	return file.Close()
}

// number spells a value so that reading it gives the same one; missing is empty.
func number(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

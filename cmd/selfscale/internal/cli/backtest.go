package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/schemas"
)

// BacktestOptions are the flags of selfscale backtest.
type BacktestOptions struct {
	Data    string        // the file to read
	Step    time.Duration // of the series' grid
	Season  int           // steps; a day where 0 was given
	Horizon int           // steps
	History time.Duration // 0 means all
	Origins int
	Seed    uint64
	Format  string // TableOutput, CSVOutput or JSONOutput
	Plot    string // a folder to draw into, "" for none
	Export  string // a folder to write the windows and forecasts into, "" for none
}

func newBacktest(run func(context.Context, BacktestOptions, Console) error, console Console) *cobra.Command {
	var o BacktestOptions
	history := ""
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Measure the forecasters on any series",
		Long: `backtest measures every forecaster on windows that it has not seen: from rolling
origins at the end of each series, each with the history before it only. The
network is trained once, on what lies before the oldest window of each series.

The data is CSV or Parquet with the columns series, time and value, the rows of
one series in the order of time; series may have unequal length and gaps. Values
within one step are averaged.

The row "final" is what production would have served. MASE, sMAPE and OWA are
those of the M4 competition (its Naive2 is the row "naive2"); relMAE is the
geometric mean over windows of the error over that of the day before; the columns
from "sQL" on judge the quantiles.

--export writes the windows and what our rows forecast on them as CSV, so that
any other program can be measured on the very same ones: windows.csv (window,
series, part, time, value; part is "history" or "actual"), forecasts.csv (window,
model, time, median) and report.json. test/neuralprophet in the source uses it.`,
		Example: `  selfscale backtest --data usage.csv
  selfscale backtest --data m4-hourly.csv --step 1h --season 24 --horizon 48 --history 0 --origins 1
  selfscale backtest --data usage.parquet --history 14d --format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Data == "" {
				return usagef(cmd, "--data must name a file, but is empty")
			}
			if err := schemas.ValidateStep(o.Step); err != nil {
				return usagef(cmd, "--%s", err)
			}
			if o.History, err = parseDays(history); err != nil || o.History < 0 {
				return usagef(cmd, "--history must be a duration such as 14d or 36h, or 0 for all, but is %q", history)
			}
			if o.Season == 0 {
				o.Season = schemas.StepsPerDay(o.Step)
			}
			for _, f := range []struct {
				flag            string
				value, min, max int
			}{{"season", o.Season, 2, 100_000}, {"horizon", o.Horizon, 1, 10_000}, {"origins", o.Origins, 1, 10_000}} {
				if f.value < f.min || f.value > f.max {
					return usagef(cmd, "--%s must be from %d to %d, but is %d", f.flag, f.min, f.max, f.value)
				}
			}
			switch o.Format {
			case TableOutput, CSVOutput, JSONOutput:
			default:
				return usagef(cmd, "--format must be table, csv or json, but is %q", o.Format)
			}
			return run(cmd.Context(), o, console)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Data, "data", "", "file with the series, CSV or Parquet (required)")
	flags.DurationVar(&o.Step, "step", schemas.DefaultStep, "distance of two values, 1m to 1h")
	flags.IntVar(&o.Season, "season", 0, "steps in a season; 0 for a day")
	flags.IntVar(&o.Horizon, "horizon", schemas.DefaultHorizon, "steps to forecast")
	flags.StringVar(&history, "history", "14d", "what a forecast may look back on, such as 14d; 0 for all")
	flags.IntVar(&o.Origins, "origins", 8, "windows of each series, at most")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the training")
	flags.StringVar(&o.Format, "format", TableOutput, "form of the answer: table, csv or json")
	flags.StringVar(&o.Export, "export", "", "folder to write the windows and all forecasts into, as CSV")
	flags.StringVar(&o.Plot, "plot", "", "folder to draw the newest window of each series into")
	return cmd
}

// parseDays reads a duration, in which d stands for a day.
func parseDays(s string) (time.Duration, error) {
	if n := len(s); n > 1 && s[n-1] == 'd' {
		d, err := time.ParseDuration(s[:n-1] + "h")
		return 24 * d, err
	}
	return time.ParseDuration(s)
}

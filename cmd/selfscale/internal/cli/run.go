package cli

import (
	"context"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/schemas"
)

// RunOptions are the flags of selfscale run.
type RunOptions struct {
	History string // the file to read
	Out     string // the folder to write
	Profile string // a profile's name or file
	// Policy is what holds for every component.
	Policy schemas.Policy
	// Calendars and Zones say what is special about a day and by whose clock, as
	// package jobs/calendar reads them.
	Calendars, Zones []string
	// Now is the instant to decide for; the zero time means the end of the
	// history.
	Now time.Time
}

func newRun(run func(context.Context, RunOptions, Console) error, console Console) *cobra.Command {
	o := RunOptions{Policy: schemas.DefaultPolicy()}
	o.Policy.Mode = schemas.Auto // there is no cluster that could be touched
	percents := []struct {
		flag  string
		value int
		field *float64
		help  string
	}{
		{"cpu-percent", 0, &o.Policy.CPUUtilization, "share of a pod's CPU request that should be in use, in percent"},
		{"memory-percent", 0, &o.Policy.MemoryUtilization, "the same for memory"},
		{"peak-percent", 0, &o.Policy.PeakUtilization, "share of a pod's request that a short peak may use, in percent"},
	}
	for i := range percents {
		percents[i].value = int(math.Round(100 * *percents[i].field))
	}
	now := ""
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Turn your own usage into forecasts, decisions and HPA manifests",
		Long: `run reads what your components used, learns from it, and writes what it forecasts
and what it would do about it. No cluster is needed and none is touched.

The history is CSV or Parquet with the columns

  time            RFC 3339, such as 2026-01-31T06:00:00Z
  service         the service's name
  component       the component's name
  cpu             cores, summed over the component's pods
  memory          bytes, summed over the component's pods

and, where they are known, replicas, cpu_request and memory_request (of one
pod). Rows of many components may come in any order, those of one component in
the order of time, at any regular step from 1 to 60 minutes. An empty field
means not known. A component with too little history, or without requests, is
named with the reason; no floor is guessed for it.

What a --calendar marks is not learned from, and forecast as it was on its
earlier occurrences; a holiday without any, like a weekend day. Events are
holidays where the path says so (holidays:), where their category does, or where
the name of their calendar does. With --timezone, a day is one on the clock of
the users: nine o'clock is the same in summer and in winter.

A file that cannot be trusted ends the command with exit code 65 and one line
that names the row, and nothing is written.`,
		Example: `  selfscale run --history usage.csv --out result

  # bounds and targets as in 'kubectl autoscale'
  selfscale run --history usage.parquet --out result --min 2 --max 40 --cpu-percent 60

  # holidays and sales are not learned from, and days are those in Madrid
  selfscale run --history usage.csv --out result --calendar holidays:spain.ics --calendar shop=sales.ics --timezone Europe/Madrid

  # what the original formula would have decided
  selfscale run --history usage.csv --out result --profile classic`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.History, "history", "", "file with the usage, CSV or Parquet (required)")
	flags.StringVar(&o.Out, "out", "", "folder to write; an earlier result in it is replaced (required)")
	flags.Int32Var(&o.Policy.MinReplicas, "min", o.Policy.MinReplicas, "least replicas of every component")
	flags.Int32Var(&o.Policy.MaxReplicas, "max", o.Policy.MaxReplicas, "most replicas of every component")
	for i := range percents {
		flags.IntVar(&percents[i].value, percents[i].flag, percents[i].value, percents[i].help)
	}
	flags.Float64Var(&o.Policy.Quantile, "quantile", o.Policy.Quantile, "quantile of the forecast that the floor must serve")
	flags.DurationVar(&o.Policy.LeadTime, "lead-time", o.Policy.LeadTime, "time a pod needs from its creation to Ready")
	flags.DurationVar(&o.Policy.Hold, "hold", o.Policy.Hold, "how long a floor stays before it may be lowered")
	flags.Int32Var(&o.Policy.MaxStep, "max-step", o.Policy.MaxStep, "largest rise of the floor at once, in replicas; 0 for any")
	flags.StringVar(&o.Profile, "profile", "default", "profile: default, classic or a YAML file")
	registerCalendars(flags, &o.Calendars, &o.Zones)
	flags.StringVar(&now, "now", "", "instant to decide for, RFC 3339 (default: the end of the history)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, required := range []struct{ flag, value, what string }{{"history", o.History, "file"}, {"out", o.Out, "folder"}, {"profile", o.Profile, "profile"}} {
			if required.value == "" {
				return usagef(cmd, "--%s must name a %s, but is empty", required.flag, required.what)
			}
		}
		if o.Policy.MinReplicas < 1 || o.Policy.MinReplicas > schemas.MaxReplicas {
			return usagef(cmd, "--min must be from 1 to %d, but is %d", schemas.MaxReplicas, o.Policy.MinReplicas)
		}
		if o.Policy.MaxReplicas < o.Policy.MinReplicas || o.Policy.MaxReplicas > schemas.MaxReplicas {
			return usagef(cmd, "--max must be from --min (%d) to %d, but is %d", o.Policy.MinReplicas, schemas.MaxReplicas, o.Policy.MaxReplicas)
		}
		for _, p := range percents {
			if p.value < 1 || p.value > 1000 {
				return usagef(cmd, "--%s must be from 1 to 1000, but is %d", p.flag, p.value)
			}
			*p.field = float64(p.value) / 100
		}
		if !(o.Policy.Quantile > 0 && o.Policy.Quantile < 1) {
			return usagef(cmd, "--quantile must be above 0 and below 1, but is %v", o.Policy.Quantile)
		}
		for _, d := range []struct {
			flag  string
			value time.Duration
		}{{"lead-time", o.Policy.LeadTime}, {"hold", o.Policy.Hold}} {
			if d.value < 0 || d.value > 24*time.Hour {
				return usagef(cmd, "--%s must be from 0s to 24h, but is %s", d.flag, d.value)
			}
		}
		if o.Policy.MaxStep < 0 {
			return usagef(cmd, "--max-step must not be negative, but is %d", o.Policy.MaxStep)
		}
		var err error
		if o.Now, err = parseTime(cmd, "now", now); err != nil {
			return err
		}
		return run(cmd.Context(), o, console)
	}
	return cmd
}

// parseTime reads the value of a flag; "" gives the zero time.
func parseTime(cmd *cobra.Command, flag, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, usagef(cmd, "--%s must be a time such as 2026-01-31T06:00:00Z, but is %q", flag, value)
	}
	return t.UTC(), nil
}

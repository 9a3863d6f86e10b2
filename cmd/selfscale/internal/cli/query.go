package cli

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/schemas"
)

// Query says what of an installation or of a store is asked for, and in which form.
type Query struct {
	// Store is a folder or a URL; where it is "" the installation is asked.
	Store string
	// ServerOptions say which installation, and the form: TableOutput, CSVOutput,
	// JSONOutput or YAMLOutput.
	ServerOptions
	// Component is the one that is asked for; nil means all.
	Component *schemas.ComponentID
	Resource  schemas.Resource
	// Plot is a file to draw into, .png or .svg; "" for none.
	Plot string
}

// The forms of a [Query]'s answer.
const (
	TableOutput = "table"
	CSVOutput   = "csv"
	JSONOutput  = "json"
)

// ForecastOptions are the flags of selfscale forecast.
type ForecastOptions struct {
	Query
	// Levels are the quantiles to show.
	Levels []float64
}

// HistoryOptions are the flags of selfscale history.
type HistoryOptions struct {
	Query
	// From and To bound the time that is shown; zero means no bound.
	From, To time.Time
}

// register adds the flags that both queries have.
func (q *Query) register(cmd *cobra.Command, resource *string, names func(context.Context, ServerOptions) ([]string, error)) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&q.Store, "store", "", "folder or URL of a store to look into, instead of asking an installation")
	flags.StringVar(resource, "resource", string(schemas.CPU), "cpu or memory")
	q.registerOutput(cmd, queryForms)
	q.registerServer(cmd)
	complete(cmd, "resource", string(schemas.CPU), string(schemas.Memory))
	completeComponents(cmd, &q.ServerOptions, names)
	flags.StringVar(&q.Plot, "plot", "", "draw one component into this file, .png or .svg")
}

// queryForms are the forms of a [Query]'s answer.
var queryForms = []string{TableOutput, CSVOutput, JSONOutput, YAMLOutput}

// check checks the flags and the argument.
func (q *Query) check(cmd *cobra.Command, resource string, args []string) error {
	if len(args) > 1 {
		return usagef(cmd, "%s takes at most one component, but was given %d", cmd.Name(), len(args))
	}
	if len(args) == 1 {
		id, err := schemas.ParseComponentID(args[0])
		if err != nil {
			return usagef(cmd, "%s", err)
		}
		q.Component = &id
	}
	if q.Store != "" {
		if err := alone(cmd); err != nil {
			return err
		}
	} else if err := q.checkServer(cmd); err != nil {
		return err
	}
	switch q.Resource = schemas.Resource(resource); q.Resource {
	case schemas.CPU, schemas.Memory:
	default:
		return usagef(cmd, "--resource must be cpu or memory, but is %q", resource)
	}
	if err := q.checkOutput(cmd, queryForms); err != nil {
		return err
	}
	if q.Plot == "" {
		return nil
	}
	if ext := strings.ToLower(filepath.Ext(q.Plot)); ext != ".png" && ext != ".svg" {
		return usagef(cmd, "--plot must name a file that ends in .png or .svg, but is %q", q.Plot)
	}
	if q.Component == nil {
		return usagef(cmd, "--plot draws one component, but none is named")
	}
	return nil
}

// alone returns an error where --store is given together with a flag that names an
// installation.
func alone(cmd *cobra.Command) error {
	for _, f := range serverFlags {
		if cmd.Flags().Changed(f) {
			return usagef(cmd, "--store and --%s must not be given together: a store is looked into without asking anybody", f)
		}
	}
	return nil
}

func newForecast(run func(context.Context, ForecastOptions, Console) error, names func(context.Context, ServerOptions) ([]string, error), console Console) *cobra.Command {
	var o ForecastOptions
	var resource string
	cmd := &cobra.Command{
		Use:   "forecast [[namespace/]service/component]",
		Short: "Show the newest forecasts",
		Long: `forecast prints the newest forecasts of an installation or of a store, as
quantiles for each bucket of the next day, or draws them. Without a component it
lists all components with the highest value that is expected.`,
		Example: `  selfscale forecast
  selfscale forecast store/shop/cart --server https://selfscale.example.org
  selfscale forecast shop/cart --store result/store --level 0.5 --level 0.9
  selfscale forecast shop/cart --store result/store --plot cart.svg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, resource, args); err != nil {
				return err
			}
			for _, l := range o.Levels {
				if !(l > 0 && l < 1) {
					return usagef(cmd, "--level must be above 0 and below 1, but is %v", l)
				}
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.register(cmd, &resource, names)
	cmd.Flags().Float64SliceVar(&o.Levels, "level", []float64{0.1, 0.5, 0.8, 0.9}, "quantiles to show, between 0 and 1")
	return cmd
}

func newHistory(run func(context.Context, HistoryOptions, Console) error, names func(context.Context, ServerOptions) ([]string, error), console Console) *cobra.Command {
	var o HistoryOptions
	var resource, from, to string
	cmd := &cobra.Command{
		Use:   "history [[namespace/]service/component]",
		Short: "Show the usage that was measured",
		Long: `history prints or draws the samples of an installation or of a store: the mean
and the highest usage of each bucket. Without a component it lists all components
with the time they cover and the share of buckets that are there. What was not
measured is left out.`,
		Example: `  selfscale history
  selfscale history store/shop/cart --from 2026-01-31T00:00:00Z --to 2026-02-07T00:00:00Z
  selfscale history shop/cart --store result/store --from 2026-01-31T00:00:00Z -o csv
  selfscale history shop/cart --store result/store --resource memory --plot cart.png`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := o.check(cmd, resource, args); err != nil {
				return err
			}
			if o.From, err = parseTime(cmd, "from", from); err != nil {
				return err
			}
			if o.To, err = parseTime(cmd, "to", to); err != nil {
				return err
			}
			if from != "" && to != "" && !o.From.Before(o.To) {
				return usagef(cmd, "--from must be before --to (%s), but is %s", to, from)
			}
			return run(cmd.Context(), o, console)
		},
	}
	o.register(cmd, &resource, names)
	cmd.Flags().StringVar(&from, "from", "", "first instant, RFC 3339 (default: the oldest sample of a store, or a day before --to)")
	cmd.Flags().StringVar(&to, "to", "", "end, RFC 3339 (default: the newest sample)")
	return cmd
}

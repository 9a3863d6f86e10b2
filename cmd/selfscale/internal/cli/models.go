package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// ModelsEngine is what the commands below selfscale models do.
type ModelsEngine struct {
	List     func(ctx context.Context, o ModelsOptions, c Console) error
	Show     func(ctx context.Context, o ShowModelOptions, c Console) error
	Compare  func(ctx context.Context, o CompareModelsOptions, c Console) error
	Rollback func(ctx context.Context, o RollbackOptions, c Console) error
}

// ModelsOptions are the flags that all commands about models have.
type ModelsOptions struct {
	Store  string // a folder or a URL
	Output string // TableOutput, JSONOutput or YAMLOutput
}

// ShowModelOptions are the flags of selfscale models show.
type ShowModelOptions struct {
	ModelsOptions
	Model string // a run-id, a number or "current"
}

// CompareModelsOptions are the flags of selfscale models compare.
type CompareModelsOptions struct {
	ModelsOptions
	First, Second string
}

// RollbackOptions are the flags of selfscale models rollback.
type RollbackOptions struct {
	// Where Store is "", the installation at Server does it.
	ModelsOptions
	Server ServerOptions
	Model  string
	Reason string
	Hold   bool
	DryRun bool
}

func (o *ModelsOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.Store, "store", "", "folder or URL of the store (required)")
	registerOutput(cmd, &o.Output, forms)
}

func (o *ModelsOptions) complete(cmd *cobra.Command) error {
	if o.Store == "" {
		return usagef(cmd, "--store must name a store, but is empty")
	}
	return checkOutput(cmd, o.Output, forms)
}

// completeEither checks flags that name a store or an installation.
func (o *RollbackOptions) completeEither(cmd *cobra.Command) error {
	if o.Store == "" {
		if err := o.Server.checkServer(cmd); err != nil {
			return err
		}
		return checkOutput(cmd, o.Output, forms)
	}
	if err := alone(cmd); err != nil {
		return err
	}
	return o.complete(cmd)
}

// takes returns the check of a command that names so many models.
func takes(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef(cmd, "%s must be given %s, but was given %d", cmd.Name(), map[int]string{1: "one model", 2: "two models"}[n], len(args))
		}
		return nil
	}
}

func newModels(e *ModelsEngine, console Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "See what was learned, compare it, and go back to earlier models",
		Long: `models looks at the models that trainings have left in a store.

Every training keeps what it learned as a record of its own: the network's
weights, the scores of all forecasters on a day that none of them had seen, and
what it was made from (the hash of the data, the version of the code, the seed).
The newest record whose training was accepted is current: it is what forecasts
are made with. Records are never changed; going back to an earlier one is itself
a record.

A model is named by the run that trained it, by the number of its record, or by
the word current.`,
		Example: `  selfscale models list --store result/store
  selfscale models compare train-20260310t000000z current --store result/store
  selfscale models rollback train-20260310t000000z --store result/store --reason "floors too low since Monday"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
				hint = ": did you mean " + strings.Join(similar, " or ") + "?"
			}
			return usagef(cmd, "unknown command \"models %s\"%s", args[0], hint)
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(newModelsList(e, console), newModelsShow(e, console), newModelsCompare(e, console), newModelsRollback(e, console))
	return cmd
}

func newModelsList(e *ModelsEngine, console Console) *cobra.Command {
	var o ModelsOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the records, the newest first",
		Long: `list prints one line a record, the newest first; * marks the current one.

  learned from   the first and the last day of the usage
  loss           mean pinball loss of the network on the newest day, which it
                 had not seen, in units of the bank's mean absolute error
  bank           the same of the bank, which needs no network
  networks       of so many shards, how many have a network that was accepted`,
		Example: `  selfscale models list --store result/store
  selfscale models list --store 's3://bucket/prefix?endpoint=minio:9000' -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(cmd); err != nil {
				return err
			}
			return e.List(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	return cmd
}

func newModelsShow(e *ModelsEngine, console Console) *cobra.Command {
	var o ShowModelOptions
	cmd := &cobra.Command{
		Use:   "show MODEL",
		Short: "Show all that is known of one model",
		Long: `show prints what a model was made from and how its forecasters did.

Its scores are ratios to repeating the day before, as geometric means over all
series, for the parts of the next day: below 1 is better. "loss" counts
predicting too little for more than predicting too much, "MAE" counts both
alike.`,
		Example: `  selfscale models show current --store result/store
  selfscale models show 12 --store result/store -o json`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(cmd); err != nil {
				return err
			}
			o.Model = args[0]
			return e.Show(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	return cmd
}

func newModelsCompare(e *ModelsEngine, console Console) *cobra.Command {
	var o CompareModelsOptions
	cmd := &cobra.Command{
		Use:   "compare MODEL MODEL",
		Short: "Hold two models side by side",
		Long: `compare prints what two models were made from and how they did, side by side.

Each was judged on the newest day before its own training, so that errors cannot
be compared, but ratios to repeating the day before can: see 'selfscale models
show --help'.`,
		Example: `  selfscale models compare train-20260310t000000z current --store result/store
  selfscale models compare 11 12 --store result/store -o json`,
		Args: takes(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(cmd); err != nil {
				return err
			}
			o.First, o.Second = args[0], args[1]
			return e.Compare(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	return cmd
}

func newModelsRollback(e *ModelsEngine, console Console) *cobra.Command {
	var o RollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback MODEL",
		Short: "Go back to an earlier model",
		Long: `rollback makes an earlier model the current one by a new record that names it.
Nothing is deleted: the same command goes forward again.

Forecasts are made with it from the next inference run on. The next training
goes on from it, says so in its verdict, and takes over where it is accepted;
with --hold trainings keep what they learn but do not take over, until a
rollback without --hold, to whichever model.

Without --store an installation does it, for who has the right to update models
there.`,
		Example: `  selfscale models rollback train-20260310t000000z --store result/store --reason "floors too low since Monday"

  # in an installation, through the cluster of the kubeconfig
  kubectl selfscale models rollback train-20260310t000000z

  # and stay there until told otherwise
  selfscale models rollback 11 --store result/store --hold

  # what would happen
  selfscale models rollback 11 --store result/store --dry-run`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.completeEither(cmd); err != nil {
				return err
			}
			if len(o.Reason) > 500 || strings.ContainsAny(o.Reason, "\n\r") {
				return usagef(cmd, "--reason must be one line of at most 500 bytes, but has %d bytes", len(o.Reason))
			}
			o.Model = args[0]
			return e.Rollback(cmd.Context(), o, console)
		},
	}
	o.register(cmd)
	cmd.Flags().Lookup("store").Usage = "folder or URL of a store to write into, instead of asking an installation"
	o.Server.registerServer(cmd)
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, for those who come later")
	cmd.Flags().BoolVar(&o.Hold, "hold", false, "keep later trainings from taking over")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would be done and do nothing")
	return cmd
}

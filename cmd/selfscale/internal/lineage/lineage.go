// Package lineage is selfscale models: it shows the line of models that a store
// holds, holds two of them side by side, and goes back to an earlier one.
package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/api/rollback"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/answer"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/connect"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/storage"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// newEntry sums up a record and its models.
func newEntry(r models.Record, trained []models.Trained) wire.ModelEntry {
	var tally models.Tally
	for _, t := range trained {
		tally.Add(t.Model)
	}
	return view.ModelEntry(r, tally.Summary())
}

// standing is how one forecaster did in one part of the next day.
type standing struct {
	Forecaster string  `json:"forecaster"`
	Steps      string  `json:"steps"`
	RelLoss    float64 `json:"relLoss"`
	RelMAE     float64 `json:"relMAE"`
	Series     int     `json:"series"`
}

// detail is all that is known of one model.
type detail struct {
	wire.ModelEntry
	Models    []schemas.Model `json:"models"` // by shard, without the scores of each series
	Standings []standing      `json:"standings"`
}

func newDetail(r models.Record, trained []models.Trained) detail {
	d := detail{ModelEntry: newEntry(r, trained)}
	for _, s := range models.Standings(trained) {
		d.Standings = append(d.Standings, standing{s.Forecaster, fmt.Sprintf("%d-%d", s.Band.First, s.Band.Last), s.RelLoss, s.RelMAE, s.Series})
	}
	for _, t := range trained {
		m := *t.Model
		m.Scores = nil
		d.Models = append(d.Models, m)
	}
	return d
}

// List is selfscale models list.
func List(ctx context.Context, o cli.ModelsOptions, c cli.Console) error {
	store, err := storage.Open(ctx, o.Store, true)
	if err != nil {
		return err
	}
	defer store.Close()
	var entries []wire.ModelEntry
	current := false
	for r, err := range models.Line(ctx, store.Store) {
		if err != nil {
			return err
		}
		trained, err := models.Read(ctx, store.Store, r.Head)
		e := newEntry(r, trained)
		switch {
		case err != nil && schemas.CodeOf(err) == schemas.CodeUnavailable:
			return err
		case err != nil:
			e.Damage = err.Error()
		case !current:
			e.Current, current = true, true
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return store.Nothing("models")
	}
	if done, err := answer.Write(c.Out, o.Output, entries); done {
		return err
	}
	t := table.New(
		table.Column{Heading: ""}, table.Column{Heading: "number", Align: table.Right}, table.Column{Heading: "run"}, table.Column{Heading: "learned from"},
		table.Column{Heading: "components", Align: table.Right}, table.Column{Heading: "networks", Align: table.Right},
		table.Column{Heading: "loss", Align: table.Right}, table.Column{Heading: "bank", Align: table.Right}, table.Column{Heading: "note"},
	)
	for _, e := range entries {
		mark := ""
		if e.Current {
			mark = "*"
		}
		t.Row(mark, strconv.FormatUint(e.Number, 10), e.Run, days(e), strconv.Itoa(e.Components), fmt.Sprintf("%d of %d", e.Networks, e.Shards), number(e.Loss), number(e.BankLoss), note(e))
	}
	_, err = t.WriteTo(c.Out)
	return err
}

// note says in short what is special about a record.
func note(e wire.ModelEntry) string {
	var said []string
	if e.RolledBackFrom != "" {
		said = append(said, "rolled back from "+e.RolledBackFrom)
	}
	if e.Hold {
		said = append(said, "held")
	}
	if e.Reason != "" {
		said = append(said, e.Reason)
	}
	if e.Damage != "" {
		said = append(said, "cannot be used: "+e.Damage)
	}
	return strings.Join(said, "; ")
}

// Show is selfscale models show.
func Show(ctx context.Context, o cli.ShowModelOptions, c cli.Console) error {
	store, err := storage.Open(ctx, o.Store, true)
	if err != nil {
		return err
	}
	defer store.Close()
	d, err := find(ctx, store, o.Model)
	if err != nil {
		return err
	}
	if done, err := answer.Write(c.Out, o.Output, d); done {
		return err
	}
	return sideBySide(c.Out, d)
}

// Compare is selfscale models compare.
func Compare(ctx context.Context, o cli.CompareModelsOptions, c cli.Console) error {
	store, err := storage.Open(ctx, o.Store, true)
	if err != nil {
		return err
	}
	defer store.Close()
	first, err := find(ctx, store, o.First)
	if err != nil {
		return err
	}
	second, err := find(ctx, store, o.Second)
	if err != nil {
		return err
	}
	if done, err := answer.Write(c.Out, o.Output, []detail{first, second}); done {
		return err
	}
	return sideBySide(c.Out, first, second)
}

// find returns what is known of the model that a person named.
func find(ctx context.Context, store *storage.Store, name string) (detail, error) {
	_, current, err := models.Latest(ctx, store.Store)
	if schemas.CodeOf(err) == schemas.CodeNotFound {
		return detail{}, store.Nothing("models")
	}
	if err != nil {
		return detail{}, err
	}
	r := models.RecordOf(current)
	if name != models.Current {
		if r, err = models.Find(ctx, store.Store, name); err != nil {
			return detail{}, err
		}
	}
	trained, err := models.Read(ctx, store.Store, r.Head)
	if err != nil {
		return detail{}, err
	}
	d := newDetail(r, trained)
	d.Current = r.Head.Number == current.Number
	return d, nil
}

// sideBySide prints models as the columns of a table.
func sideBySide(w io.Writer, all ...detail) error {
	columns := []table.Column{{Heading: ""}}
	for _, d := range all {
		heading := d.Run
		if d.Current {
			heading += " (current)"
		}
		columns = append(columns, table.Column{Heading: heading})
	}
	t := table.New(columns...)
	row := func(name string, value func(d *detail) string) {
		cells := []string{name}
		for i := range all {
			cells = append(cells, value(&all[i]))
		}
		t.Row(cells...)
	}
	row("record", func(d *detail) string { return strconv.FormatUint(d.Number, 10) })
	row("learned from", func(d *detail) string { return days(d.ModelEntry) })
	row("components", func(d *detail) string { return strconv.Itoa(d.Components) })
	row("examples", func(d *detail) string { return strconv.Itoa(d.Examples) })
	row("training steps", func(d *detail) string { return strconv.Itoa(d.Steps) })
	row("networks", func(d *detail) string { return fmt.Sprintf("%d of %d shards", d.Networks, d.Shards) })
	row("loss", func(d *detail) string { return number(d.Loss) })
	row("bank's loss", func(d *detail) string { return number(d.BankLoss) })
	row("code", func(d *detail) string { return d.CodeVersion })
	row("seed", func(d *detail) string { return strconv.FormatUint(d.Seed, 10) })
	row("data", func(d *detail) string { return sums(d, func(m *schemas.Model) string { return m.DatasetSum }) })
	row("weights", func(d *detail) string { return sums(d, func(m *schemas.Model) string { return m.WeightsSum }) })
	row("note", func(d *detail) string { return note(d.ModelEntry) })
	if _, err := t.WriteTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := standings(w, all); err != nil {
		return err
	}
	for _, d := range all {
		for i, m := range d.Models {
			fmt.Fprintf(w, "\n%s, shard %s: %s", d.Run, schemas.ShardID(i), m.Verdict)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// standings prints how the forecasters did, one line each and part of the day.
func standings(w io.Writer, all []detail) error {
	columns := []table.Column{{Heading: "\nforecaster"}, {Heading: "\nsteps"}}
	for _, d := range all {
		columns = append(columns,
			table.Column{Heading: d.Run + "\nloss", Align: table.Right}, table.Column{Heading: "\nMAE", Align: table.Right}, table.Column{Heading: "\nseries", Align: table.Right})
	}
	t := table.New(columns...)
	type line struct{ forecaster, steps string }
	seen := map[line]bool{}
	for _, d := range all {
		for _, s := range d.Standings {
			l := line{s.Forecaster, s.Steps}
			if seen[l] {
				continue
			}
			seen[l] = true
			cells := []string{l.forecaster, l.steps}
			for _, other := range all {
				cells = append(cells, other.standing(l.forecaster, l.steps)...)
			}
			t.Row(cells...)
		}
	}
	_, err := t.WriteTo(w)
	return err
}

func (d *detail) standing(forecaster, steps string) []string {
	for _, s := range d.Standings {
		if s.Forecaster == forecaster && s.Steps == steps {
			return []string{number(&s.RelLoss), number(&s.RelMAE), strconv.Itoa(s.Series)}
		}
	}
	return []string{"-", "-", "0"}
}

// Rollback returns selfscale models rollback, which notes when it was asked.
func Rollback(version string, now func() time.Time) func(context.Context, cli.RollbackOptions, cli.Console) error {
	return func(ctx context.Context, o cli.RollbackOptions, c cli.Console) error {
		done, err := rollBack(ctx, o, version, now)
		if err != nil {
			return err
		}
		return tell(c.Out, o, done)
	}
}

// rollBack goes back in a store or, where none is named, has an installation do it.
func rollBack(ctx context.Context, o cli.RollbackOptions, version string, now func() time.Time) (wire.RolledBack, error) {
	ask := wire.Rollback{Model: o.Model, Reason: o.Reason, Hold: o.Hold, DryRun: o.DryRun}
	if o.Store == "" {
		api, err := connect.Open(ctx, o.Server)
		if err != nil {
			return wire.RolledBack{}, err
		}
		defer api.Close()
		done, err := api.RollBack(ctx, ask)
		if err != nil {
			return wire.RolledBack{}, err
		}
		return *done, nil
	}
	store, err := storage.Open(ctx, o.Store, o.DryRun)
	if err != nil {
		return wire.RolledBack{}, err
	}
	defer store.Close()
	if _, err := store.Latest(ctx, schemas.ModelsHead); errors.Is(err, artifact.ErrNotFound) {
		return wire.RolledBack{}, store.Nothing("models")
	}
	return rollback.Roll(ctx, store.Store, version, now(), 0, ask)
}

func tell(w io.Writer, o cli.RollbackOptions, done wire.RolledBack) error {
	if wrote, err := answer.Write(w, o.Output, done); wrote {
		return err
	}
	if !done.Changed {
		_, err := fmt.Fprintf(w, "the models of %s are current already; nothing was changed\n", done.Run)
		return err
	}
	is, then := "are", "the next training goes on from them and takes over where it is accepted"
	if o.DryRun {
		is = "would be"
	}
	if done.Hold {
		then = "trainings do not take over until 'selfscale models rollback' is called without --hold"
	}
	_, err := fmt.Fprintf(w, "the models of %s %s current from the next inference run on, instead of those of %s (record %d); %s\n", done.Run, is, done.Before, done.Number, then)
	return err
}

func days(e wire.ModelEntry) string {
	return e.From.UTC().Format(time.DateOnly) + " to " + e.To.UTC().Format(time.DateOnly)
}

func number(v *float64) string {
	if v == nil || math.IsNaN(*v) {
		return "-"
	}
	return strconv.FormatFloat(*v, 'f', 4, 64)
}

// sums shortens the hashes of all shards.
func sums(d *detail, of func(*schemas.Model) string) string {
	const most = 4
	var out []string
	for i := range d.Models {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(d.Models)-most))
			break
		}
		sum := of(&d.Models[i])
		out = append(out, sum[:min(12, len(sum))])
	}
	return strings.Trim(strings.Join(out, " "), " ")
}

// Package remote is what selfscale's commands do with an installation, through its
// API: list, switch, start, look at and explain.
package remote

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/answer"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/connect"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Engine returns what the commands do.
func Engine() *cli.RemoteEngine {
	return &cli.RemoteEngine{Names: names, Services: services, Manage: manage, Start: start, Runs: runs, Decisions: decisions, Explain: explain, Doctor: examine}
}

// list is the shape of lists for programs.
type list[T any] struct {
	Items []T `json:"items"`
}

func name(id wire.ComponentID) string {
	return schemas.ComponentID(id).String()
}

// mostNames is how many names are completed.
const mostNames = 1000

func names(ctx context.Context, o cli.ServerOptions) ([]string, error) {
	api, err := connect.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	var all []string
	for x, err := range api.Components(ctx, client.Query{}) {
		if err != nil {
			return nil, err
		}
		if all = append(all, name(x.ID)); len(all) == mostNames {
			break
		}
	}
	return all, nil
}

func services(ctx context.Context, o cli.ServicesOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	all := list[wire.Component]{Items: []wire.Component{}}
	for x, err := range api.Components(ctx, client.Query{Mode: o.Mode}) {
		if err != nil {
			return err
		}
		all.Items = append(all.Items, x)
	}
	if done, err := answer.Write(c.Out, o.Output, all); done {
		return err
	}
	if len(all.Items) == 0 {
		_, err := fmt.Fprintln(c.Out, "There are no components: `selfscale doctor` says which pods are looked for.")
		return err
	}
	t := table.New(table.Column{Heading: "COMPONENT"}, table.Column{Heading: "MODE"}, table.Column{Heading: "TARGET"},
		table.Column{Heading: "REPLICAS", Align: table.Right}, table.Column{Heading: "FLOOR", Align: table.Right},
		table.Column{Heading: "REASON"}, table.Column{Heading: "DECIDED"})
	for i := range all.Items {
		x := &all.Items[i]
		target, replicas, floor, reason, decided := "-", "-", "-", "-", "-"
		if x.Target != nil && x.Target.Name != "" {
			target = x.Target.Kind + "/" + x.Target.Name
		}
		if x.CurrentReplicas != nil {
			replicas = strconv.Itoa(int(*x.CurrentReplicas))
		}
		if d := x.Decision; d != nil {
			floor, reason, decided = strconv.Itoa(int(d.MinReplicas)), string(d.Reason), stamp(d.Time)
		}
		t.Row(name(x.ID), string(x.Policy.Mode), target, replicas, floor, reason, decided)
	}
	_, err = t.WriteTo(c.Out)
	return err
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func manage(ctx context.Context, o cli.ManageOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	patch := map[string]any{"mode": o.Mode}
	if o.Component == "" {
		p, err := api.SetService(ctx, o.Namespace, o.Service, patch)
		if err != nil {
			return err
		}
		if done, err := answer.Write(c.Out, o.Output, p); done {
			return err
		}
		fmt.Fprintf(c.Out, "service %s is in mode %s", strings.TrimPrefix(p.Namespace+"/"+p.Service, "/"), o.Mode)
		if n := differing(p, o.Mode); n > 0 {
			have := "components have a mode of their own"
			if n == 1 {
				have = "components has a mode of its own"
			}
			fmt.Fprintf(c.Out, "; %d of its %s", n, have)
		}
		_, err = fmt.Fprintln(c.Out)
		return err
	}
	p, err := api.SetComponent(ctx, wire.ComponentID{Namespace: o.Namespace, Service: o.Service, Component: o.Component}, patch)
	if err != nil {
		return err
	}
	if done, err := answer.Write(c.Out, o.Output, p); done {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "component %s is in mode %s\n", name(p.ID), p.Policy.Mode)
	return err
}

func differing(p *wire.ServicePolicy, mode schemas.Mode) (n int) {
	for _, s := range p.Components {
		if s.Mode != nil && *s.Mode != mode {
			n++
		}
	}
	return n
}

func start(ctx context.Context, o cli.StartOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	run, err := api.Start(ctx, wire.RunRequest{Pipeline: o.Pipeline}, "")
	if err != nil {
		return err
	}
	return told(ctx, api.Client, run, o.ServerOptions, o.Wait, c)
}

// told shows a run, at its end where that is waited for.
func told(ctx context.Context, api *client.Client, run *wire.Run, o cli.ServerOptions, wait bool, c cli.Console) error {
	if wait && !run.Phase.Done() {
		stage := c.Progress.Stage("run "+run.ID, run.Progress.Total)
		ended, err := api.Follow(ctx, run.ID, func(r *wire.Run) { stage.Set(r.Progress.Done, r.Progress.Total) })
		stage.Done()
		if err != nil {
			return err
		}
		run = ended
	}
	if done, err := answer.Write(c.Out, o.Output, run); !done {
		err = describeRun(c.Out, run)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if wait && run.Phase != workflows.Succeeded {
		return schemas.Errorf(schemas.CodeUnavailable, "run %s is %s: %s", run.ID, run.Phase, cmp.Or(run.Message, "the server does not say why"))
	}
	return nil
}

func describeRun(w io.Writer, r *wire.Run) error {
	fmt.Fprintf(w, "%s  %s", r.ID, r.Phase)
	if r.Message != "" {
		fmt.Fprintf(w, ": %s", r.Message)
	}
	fmt.Fprintln(w)
	if r.Workflow != nil {
		fmt.Fprintf(w, "Workflow %s in %s", r.Workflow.Name, r.Workflow.Namespace)
		if r.Workflow.UIURL != "" {
			fmt.Fprintf(w, ": %s", r.Workflow.UIURL)
		}
		fmt.Fprintln(w)
	}
	if len(r.Steps) == 0 {
		return nil
	}
	t := table.New(table.Column{Heading: "STEP"}, table.Column{Heading: "PHASE"}, table.Column{Heading: "ATTEMPTS", Align: table.Right}, table.Column{Heading: "TOOK", Align: table.Right}, table.Column{Heading: "MESSAGE"})
	for i := range r.Steps {
		s := &r.Steps[i]
		step := s.Step
		if s.Shard != "" {
			step += " " + s.Shard
		}
		t.Row(step, string(s.Phase), strconv.Itoa(s.Attempts), took(s.Started, s.Finished), s.Message)
	}
	_, err := t.WriteTo(w)
	return err
}

func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return "-"
	}
	return to.Sub(*from).Round(time.Second).String()
}

func runs(ctx context.Context, o cli.RunsOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	if o.Run != "" {
		var run *wire.Run
		switch {
		case o.Stop:
			run, err = api.Stop(ctx, o.Run)
		case o.Retry:
			run, err = api.Retry(ctx, o.Run)
		default:
			run, err = api.Run(ctx, o.Run)
		}
		if err != nil {
			return err
		}
		return told(ctx, api.Client, run, o.ServerOptions, o.Wait, c)
	}
	all := list[wire.Run]{Items: []wire.Run{}}
	for r, err := range api.Runs(ctx, client.Query{Pipeline: o.Pipeline, Phase: o.Phase}) {
		if err != nil {
			return err
		}
		if all.Items = append(all.Items, r); len(all.Items) == o.Limit {
			break
		}
	}
	if done, err := answer.Write(c.Out, o.Output, all); done {
		return err
	}
	t := table.New(table.Column{Heading: "RUN"}, table.Column{Heading: "PIPELINE"}, table.Column{Heading: "PHASE"}, table.Column{Heading: "PROGRESS", Align: table.Right},
		table.Column{Heading: "SUBMITTED"}, table.Column{Heading: "TOOK", Align: table.Right}, table.Column{Heading: "MESSAGE"})
	for i := range all.Items {
		r := &all.Items[i]
		t.Row(r.ID, r.Pipeline, string(r.Phase), fmt.Sprintf("%d/%d", r.Progress.Done, r.Progress.Total), stamp(r.Submitted), took(r.Started, r.Finished), r.Message)
	}
	_, err = t.WriteTo(c.Out)
	return err
}

func decisions(ctx context.Context, o cli.DecisionsOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	q := client.Query{Reason: o.Reason}
	if o.Component != nil {
		q.Namespace, q.Service, q.Component = o.Component.Namespace, o.Component.Service, o.Component.Component
	}
	all := list[wire.Decision]{Items: []wire.Decision{}}
	for d, err := range api.Decisions(ctx, q) {
		if err != nil {
			return err
		}
		if all.Items = append(all.Items, d); len(all.Items) == o.Limit {
			break
		}
	}
	if done, err := answer.Write(c.Out, o.Output, all); done {
		return err
	}
	t := table.New(table.Column{Heading: "TIME"}, table.Column{Heading: "COMPONENT"}, table.Column{Heading: "FLOOR", Align: table.Right},
		table.Column{Heading: "APPLIED"}, table.Column{Heading: "REASON"}, table.Column{Heading: "MESSAGE"})
	for i := range all.Items {
		d := &all.Items[i]
		applied := "no"
		if d.Applied {
			applied = "yes"
		}
		t.Row(stamp(d.Time), name(d.Component), strconv.Itoa(int(d.MinReplicas)), applied, string(d.Reason), d.Message)
	}
	_, err = t.WriteTo(c.Out)
	return err
}

func explain(ctx context.Context, o cli.ExplainOptions, c cli.Console) error {
	api, err := connect.Open(ctx, o.ServerOptions)
	if err != nil {
		return err
	}
	defer api.Close()
	x, err := api.Component(ctx, wire.NewComponentID(o.Component))
	if err != nil {
		return err
	}
	if done, err := answer.Write(c.Out, o.Output, x); done {
		return err
	}
	return tell(c.Out, x)
}

// tell explains a component's newest decision in the order in which it was made.
func tell(w io.Writer, x *wire.Component) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is in mode %s", name(x.ID), x.Policy.Mode)
	if x.Target != nil && x.Target.Name != "" {
		fmt.Fprintf(&b, " and runs as %s/%s", x.Target.Kind, x.Target.Name)
	}
	if x.Autoscaler != "" {
		fmt.Fprintf(&b, " under %s", x.Autoscaler)
	}
	b.WriteString(".\n")
	d := x.Decision
	if d == nil {
		b.WriteString("Nothing has been decided about it yet.\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	by := ""
	if d.Profile != "" {
		by = " with profile " + d.Profile
	}
	fmt.Fprintf(&b, "Decided %s by run %s%s: %s. %s\n", stamp(d.Time), cmp.Or(d.Run, "unknown"), by, d.Reason, d.Message)
	if len(d.Demands) > 0 {
		fmt.Fprintf(&b, "\nWhat is asked for from %s to %s:\n", stamp(d.From), stamp(d.To))
	}
	for _, m := range d.Demands {
		fmt.Fprintf(&b, "  %-6s %-5s quantile %.2f is %s at %s; ceil(that / (%s x %.0f %%%s)) = %d replicas\n",
			m.Resource, m.Statistic, m.Level, replicas.Quantity(m.Resource, m.Usage), m.Bucket.UTC().Format("15:04"), replicas.Quantity(m.Resource, m.Request), 100*m.Utilization, replicas.Origin(m.UtilizationFrom), m.Replicas)
	}
	for r, f := range d.Forecasters {
		fmt.Fprintf(&b, "  the forecast of %s is that of %s\n", r, f)
	}
	if len(d.Clamps) > 0 {
		b.WriteString("\nLimits, in order:\n")
	}
	for _, k := range d.Clamps {
		fmt.Fprintf(&b, "  %-14s %d -> %d  %s\n", k.Name, k.Before, k.After, k.Message)
	}
	state := "it is in force until " + stamp(d.Expires) + ", unless it is renewed"
	if !d.Applied {
		state = "it was not written"
	}
	fmt.Fprintf(&b, "\nThe floor is %d: %s.\n", d.MinReplicas, state)
	_, err := io.WriteString(w, b.String())
	return err
}

package measure

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/jobs/trainer/backtest"
)

var header = []string{"model", "MASE", "sMAPE", "OWA", "relMAE", "worse %", "worst", "sQL", "WQL", "P80", "P90", "P95", "train ms", "predict ms"}

// cells returns a model's line.
func cells(r *backtest.Report, name string, m backtest.Metrics) []string {
	train := "-"
	if v, ok := r.TrainMillis[name]; ok {
		train = round(v, 2)
	}
	return []string{
		name, round(m.MASE, 3), round(m.SMAPE, 2), round(m.OWA, 3), round(m.RelMAE, 3), round(m.WorsePercent, 1), round(m.Worst, 2),
		round(m.SQLRel, 3), round(m.WQL, 4), round(m.Cover80, 3), round(m.Cover90, 3), round(m.Cover95, 3), train, round(m.PredictMillis, 3),
	}
}

// write prints the report in the form that was asked for.
func write(w io.Writer, r *backtest.Report, verdict, format string) error {
	switch format {
	case cli.JSONOutput:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case cli.CSVOutput:
		out := csv.NewWriter(w)
		if err := out.Write(append([]string{"steps"}, header...)); err != nil {
			return err
		}
		for _, name := range r.Models {
			if err := out.Write(append([]string{"all"}, cells(r, name, r.Total(name))...)); err != nil {
				return err
			}
		}
		for b, label := range r.BandLabels() {
			for _, name := range r.Models {
				if err := out.Write(append([]string{label}, cells(r, name, r.Band(name, b))...)); err != nil {
					return err
				}
			}
		}
		out.Flush()
		return out.Error()
	}
	columns := make([]table.Column, len(header))
	for i, h := range header {
		columns[i] = table.Column{Heading: h, Align: table.Right}
	}
	columns[0].Align = table.Left
	t := table.New(columns...)
	for _, name := range r.Models {
		t.Row(cells(r, name, r.Total(name))...)
	}
	if _, err := t.WriteTo(w); err != nil {
		return err
	}
	labels := r.BandLabels()
	heading := []table.Column{{Heading: "\nmodel"}}
	for _, label := range labels {
		for _, what := range []string{"MASE", "relMAE", "/last", "sQL"} {
			top := ""
			if what == "MASE" {
				top = "steps " + label
			}
			heading = append(heading, table.Column{Heading: top + "\n" + what, Align: table.Right})
		}
	}
	bands := table.New(heading...)
	for _, name := range r.Models {
		row := []string{name}
		for b := range labels {
			m := r.Band(name, b)
			row = append(row, round(m.MASE, 3), round(m.RelMAE, 3), round(m.RelLast, 3), round(m.SQLRel, 3))
		}
		bands.Row(row...)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	if _, err := bands.WriteTo(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d series, %d windows (%d more left out: all but constant before, or not measured after); network %s; at most %d MiB of memory\n",
		r.Series(), r.Windows(), r.LeftOut(), verdict, r.PeakBytes>>20)
	return err
}

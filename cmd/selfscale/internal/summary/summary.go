// Package summary says what a demonstration came to: the same usage replayed
// twice, with the reactive HPA alone and with us, per component and in total.
package summary

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/schemas"
)

// File is the name of the summary in an output folder.
const File = "summary.json"

// Outcome is what one run of a component came to.
type Outcome struct {
	// UnderProvisionedMinutes counts the minutes whose demand was above what
	// the Ready pods request. Minutes that even the operator's maximum could
	// not have served count for neither run.
	UnderProvisionedMinutes float64 `json:"underProvisionedMinutes"`
	// ReplicaHours adds up the pods over time: what the run costs.
	ReplicaHours float64 `json:"replicaHours"`
}

// Add adds another outcome to o.
func (o *Outcome) Add(x Outcome) {
	o.UnderProvisionedMinutes += x.UnderProvisionedMinutes
	o.ReplicaHours += x.ReplicaHours
}

// Component is what a component's two runs came to.
type Component struct {
	ID schemas.ComponentID
	// History is how much usage the last forecast was made from.
	History time.Duration
	// RelMAE is the mean absolute error of the forecasts over that of seasonal
	// naive, the value one day before: below 1 is better than repeating
	// yesterday. NaN where there was no forecast.
	RelMAE float64
	// Floor is the floor at the end of the replay, nil where none was set.
	Floor *int32
	// Note says in a few words why there is no forecast or no floor, "" where
	// both are there.
	Note string

	Reactive  Outcome // the HPA alone
	Selfscale Outcome // the HPA with our floor under it
}

// IsWorse reports whether the component lacked pods for longer with us.
func (c *Component) IsWorse() bool {
	return c.Selfscale.UnderProvisionedMinutes > c.Reactive.UnderProvisionedMinutes
}

// Summary is what the whole demonstration came to.
type Summary struct {
	Components []Component
}

// Total adds up the components.
func (s *Summary) Total() (reactive, selfscale Outcome) {
	for i := range s.Components {
		reactive.Add(s.Components[i].Reactive)
		selfscale.Add(s.Components[i].Selfscale)
	}
	return reactive, selfscale
}

// Sort orders the components by their names.
func (s *Summary) Sort() {
	slices.SortFunc(s.Components, func(a, b Component) int { return a.ID.Compare(b.ID) })
}

// MarshalJSON gives [File]'s form. A relMAE that is not known is null.
func (s *Summary) MarshalJSON() ([]byte, error) {
	type both struct {
		Reactive  Outcome `json:"reactive"`
		Selfscale Outcome `json:"selfscale"`
	}
	type component struct {
		Service   string   `json:"service"`
		Component string   `json:"component"`
		RelMAE    *float64 `json:"relMAE"`
		both
	}
	out := struct {
		Components []component `json:"components"`
		Total      both        `json:"total"`
	}{Components: make([]component, 0, len(s.Components))}
	for i := range s.Components {
		c := &s.Components[i]
		entry := component{Service: c.ID.Service, Component: c.ID.Component, both: both{c.Reactive, c.Selfscale}}
		if !math.IsNaN(c.RelMAE) && !math.IsInf(c.RelMAE, 0) {
			entry.RelMAE = &c.RelMAE
		}
		out.Components = append(out.Components, entry)
	}
	out.Total.Reactive, out.Total.Selfscale = s.Total()
	return json.Marshal(out)
}

// WriteJSON writes [File], indented.
func (s *Summary) WriteJSON(w io.Writer) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// WriteText writes the table that people read, and below it how the totals
// compare and which components got worse.
func (s *Summary) WriteText(w io.Writer) error {
	t := table.New(
		table.Column{Heading: "component"},
		table.Column{Heading: "history", Align: table.Right},
		table.Column{Heading: "forecast error\n/ seasonal naive", Align: table.Right},
		table.Column{Heading: "floor\nnow", Align: table.Right},
		table.Column{Heading: "minutes short of pods\nHPA alone", Align: table.Right},
		table.Column{Heading: "\nwith us", Align: table.Right},
		table.Column{Heading: "replica-hours\nHPA alone", Align: table.Right},
		table.Column{Heading: "\nwith us", Align: table.Right},
		table.Column{Heading: ""},
	)
	var worse []string
	for i := range s.Components {
		c := &s.Components[i]
		note := c.Note
		if c.IsWorse() {
			worse = append(worse, c.ID.String())
			if note == "" {
				note = "worse"
			}
		}
		floor := "-"
		if c.Floor != nil {
			floor = strconv.Itoa(int(*c.Floor))
		}
		relMAE := "-"
		if !math.IsNaN(c.RelMAE) {
			relMAE = fixed(c.RelMAE, 2)
		}
		t.Row(append([]string{c.ID.String(), history(c.History), relMAE, floor}, append(outcomes(c.Reactive, c.Selfscale), note)...)...)
	}
	reactive, selfscale := s.Total()
	t.Rule()
	t.Row(append([]string{"total", "", "", ""}, outcomes(reactive, selfscale)...)...)
	if _, err := t.WriteTo(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", compare(reactive, selfscale)); err != nil {
		return err
	}
	var err error
	if len(worse) > 0 {
		_, err = fmt.Fprintf(w, "Worse than without us: %d of %d (marked).\n", len(worse), len(s.Components))
	} else {
		_, err = fmt.Fprintf(w, "No component was short of pods for longer than without us.\n")
	}
	return err
}

func outcomes(reactive, selfscale Outcome) []string {
	return []string{
		fixed(reactive.UnderProvisionedMinutes, 0), fixed(selfscale.UnderProvisionedMinutes, 0),
		fixed(reactive.ReplicaHours, 0), fixed(selfscale.ReplicaHours, 0),
	}
}

func fixed(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// compare says in one sentence how the totals compare.
func compare(reactive, selfscale Outcome) string {
	hours := "no pods in either run"
	if reactive.ReplicaHours > 0 {
		hours = fixed(100*selfscale.ReplicaHours/reactive.ReplicaHours, 1) + " % of its replica-hours"
	}
	if reactive.UnderProvisionedMinutes == 0 {
		return fmt.Sprintf("Short of pods: %s minutes, where the HPA alone never was, for %s.", fixed(selfscale.UnderProvisionedMinutes, 0), hours)
	}
	return fmt.Sprintf("Short of pods: %s %% of the minutes of the HPA alone, for %s.", fixed(100*selfscale.UnderProvisionedMinutes/reactive.UnderProvisionedMinutes, 1), hours)
}

// history says a length of time in days or, where it is short, in hours.
func history(d time.Duration) string {
	if d < 48*time.Hour {
		return fixed(d.Hours(), 0) + " h"
	}
	return fixed(d.Hours()/24, 1) + " d"
}

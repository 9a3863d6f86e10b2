package offline

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/schemas"
)

// maxRows is how many components the table on the screen shows: first those
// whose floor would rise the most, then those without a forecast.
const maxRows = 40

// outlook is what the table says about a component besides the decision.
type outlook struct{ history, cpu, memory string }

func look(r *runtime.Result) outlook {
	return outlook{days(r), highest(r, schemas.CPU), highest(r, schemas.Memory)}
}

// tell prints what was decided.
func tell(w io.Writer, file *history.File, now time.Time, results []runtime.Result, seen map[schemas.ComponentID]outlook, out string) error {
	t := table.New(
		table.Column{Heading: "\ncomponent"},
		table.Column{Heading: "\nhistory", Align: table.Right},
		table.Column{Heading: "cpu, next day\nmedian peak", Align: table.Right},
		table.Column{Heading: "memory, next day\nmedian peak", Align: table.Right},
		table.Column{Heading: "\nfloor", Align: table.Right},
		table.Column{Heading: "\nreason"},
	)
	order := slices.Clone(results)
	slices.SortStableFunc(order, func(a, b runtime.Result) int {
		if x, y := rank(&a), rank(&b); x != y {
			return y - x
		}
		return a.Candidate.Component.Compare(b.Candidate.Component)
	})
	count := map[schemas.Reason]int{}
	for i := range order {
		r := &order[i]
		count[r.Decision.Reason]++
		if i >= maxRows {
			continue
		}
		floor := "-"
		if r.Decision.Reason.UsesForecast() {
			floor = fmt.Sprint(r.Decision.MinReplicas)
		}
		reason := string(r.Decision.Reason)
		if !r.Decision.Reason.UsesForecast() {
			reason += ": " + r.Decision.Message
		}
		o := seen[r.Candidate.Component]
		t.Row(r.Candidate.Component.String(), o.history, o.cpu, o.memory, floor, reason)
	}
	if _, err := t.WriteTo(w); err != nil {
		return err
	}
	var text strings.Builder
	if n := len(order) - maxRows; n > 0 {
		fmt.Fprintf(&text, "... and %d more components, all of them in %s\n", n, DecisionsFile)
	}
	fmt.Fprintf(&text, "\n%s, %s, %s to %s in buckets of %s; decided for %s\n", counted(len(order), "component"), counted(int(file.Rows), "row"),
		file.From.Format(time.RFC3339), file.To.Format(time.RFC3339), file.Step, now.Format(time.RFC3339))
	floors := 0
	for _, reason := range slices.Sorted(keys(count)) {
		fmt.Fprintf(&text, "  %-20s %d\n", reason, count[reason])
		if reason.UsesForecast() {
			floors += count[reason]
		}
	}
	if floors == 0 {
		fmt.Fprintf(&text, "No component has a floor, so that there are no manifests; the decisions and the store are in %s\n", out)
		fmt.Fprintf(&text, "  selfscale history --store %s/%s\n", out, StoreDir)
	} else {
		fmt.Fprintf(&text, "Manifests, forecasts, decisions and the store are in %s\n", out)
		fmt.Fprintf(&text, "  kubectl apply --dry-run=client -R -f %s/manifests\n", out)
		fmt.Fprintf(&text, "  selfscale forecast --store %s/%s\n", out, StoreDir)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// counted returns "1 row" or "2 rows".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func keys(m map[schemas.Reason]int) func(func(schemas.Reason) bool) {
	return func(yield func(schemas.Reason) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// rank puts the largest rises first, and components without a forecast behind
// those with one.
func rank(r *runtime.Result) int {
	if !r.Decision.Reason.UsesForecast() {
		return -1
	}
	return int(r.Decision.MinReplicas - r.Decision.Policy.MinReplicas)
}

// days returns for how long a component was measured.
func days(r *runtime.Result) string {
	longest := time.Duration(0)
	for _, s := range r.Candidate.Series {
		m := s.Measured()
		longest = max(longest, time.Duration(m.Len())*m.Step)
	}
	return fmt.Sprintf("%.1f d", longest.Hours()/24)
}

// highest returns the highest median of a forecast.
func highest(r *runtime.Result, res schemas.Resource) string {
	f := r.Forecasts[res]
	if f == nil {
		return "-"
	}
	top := math.Inf(-1)
	for i := range f.Steps() {
		top = max(top, f.At(i, .5))
	}
	return replicas.Quantity(res, top)
}

// Package schedule says when a pipeline runs: which instants, its slots, cron
// expressions name, and which run-id the run of a slot has. It reads expressions with
// the parser that Argo's CronWorkflows use, so that both name the same slots.
//
// It is arithmetic: time comes in as an argument.
package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // images from scratch have no time zones

	"github.com/robfig/cron/v3"

	"github.com/self-scaling/self-scaling/schemas"
)

// Schedule is a set of cron expressions in one time zone. Its zero value has no
// slots.
type Schedule struct {
	expressions []cron.Schedule
	location    *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Parse reads cron expressions of five fields: minute, hour, day of the month, month,
// day of the week. Timezone is an IANA name; empty means UTC. It returns
// schemas.CodeInvalidConfig for what cannot be read, and for an expression that names
// no instant at all, as "0 0 30 2 *".
func Parse(expressions []string, timezone string) (Schedule, error) {
	if timezone == "" {
		timezone = "Etc/UTC"
	}
	location, err := time.LoadLocation(timezone)
	if err != nil || timezone == "Local" {
		return Schedule{}, schemas.Errorf(schemas.CodeInvalidConfig, "timezone must be an IANA name such as Europe/Warsaw, but is %q", timezone)
	}
	if len(expressions) == 0 {
		return Schedule{}, schemas.Errorf(schemas.CodeInvalidConfig, "cron must have at least one expression")
	}
	s := Schedule{location: location}
	for _, text := range expressions {
		// The parser would take a first field of TZ= or CRON_TZ= for a time zone.
		if len(strings.Fields(text)) != 5 || strings.Contains(text, "=") {
			return Schedule{}, schemas.Errorf(schemas.CodeInvalidConfig, "cron expression must have five fields, but is %q", text)
		}
		e, err := parser.Parse(text)
		if err != nil {
			return Schedule{}, schemas.Errorf(schemas.CodeInvalidConfig, "cron expression %q: %w", text, err)
		}
		if e.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, location)).IsZero() {
			return Schedule{}, schemas.Errorf(schemas.CodeInvalidConfig, "cron expression must name an instant, but %q never comes", text)
		}
		s.expressions = append(s.expressions, e)
	}
	return s, nil
}

// Next returns the first slot after t, UTC; the zero time where there is none.
func (s Schedule) Next(t time.Time) time.Time {
	var first time.Time
	for _, e := range s.expressions {
		if next := e.Next(t.In(s.location)); !next.IsZero() && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	if first.IsZero() {
		return time.Time{}
	}
	return first.UTC()
}

// Last returns the newest slot that is not after now and less than within before it.
// It is false where there is none.
func (s Schedule) Last(now time.Time, within time.Duration) (slot time.Time, ok bool) {
	for next := s.Next(now.Add(-within)); !next.IsZero() && !next.After(now); next = s.Next(next) {
		slot, ok = next, true
	}
	return slot, ok
}

// layout is how a slot is spelled in a run-id: RFC 3339 without the colons.
const layout = "2006-01-02T150405Z"

// RunID returns the run-id of a pipeline's run for a slot. It is the one that a
// CronWorkflow's child has, whose steps compute it from the scheduled time.
func RunID(pipeline string, slot time.Time) string {
	return pipeline + "-" + slot.UTC().Format(layout)
}

// Slot returns the slot that a run-id names. It is false where the run-id is no
// [RunID] of the pipeline.
func Slot(pipeline, runID string) (time.Time, bool) {
	text, ok := strings.CutPrefix(runID, pipeline+"-")
	if !ok {
		return time.Time{}, false
	}
	slot, err := time.Parse(layout, text)
	return slot, err == nil
}

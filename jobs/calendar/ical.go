package calendar

import (
	"bytes"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"
	"github.com/teambition/rrule-go"

	"github.com/self-scaling/self-scaling/schemas"
)

// event is one VEVENT: when it is for the first time, and how it recurs.
type event struct {
	summary string
	key     string
	holiday bool
	start   moment
	// length is how long it is by the clock on the wall.
	length time.Duration
	rule   *rrule.ROption // nil where it is once
	// untilUTC says that the rule ends at an instant, not at a time on the wall.
	untilUTC bool
	except   []moment
}

// moment is a time as a calendar writes it: with a zone of its own, or by the
// clock of whoever reads it (zone is nil).
type moment struct {
	wall time.Time // in UTC, whatever the zone
	zone *time.Location
}

// in returns the instant, for a reader of the given zone.
func (m moment) in(zone *time.Location) time.Time {
	if m.zone != nil {
		zone = m.zone
	}
	w := m.wall
	return time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), 0, zone)
}

// maxFile bounds a calendar: a year's holidays of all countries have a tenth.
const maxFile = 8 << 20

// parse reads the events of one iCalendar file.
func parse(data []byte, sort category) ([]event, error) {
	if len(data) > maxFile {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "must have at most %d bytes, but has %d", maxFile, len(data))
	}
	cal, err := ics.ParseCalendar(bytes.NewReader(data))
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "must be iCalendar: %w", err)
	}
	var zone *time.Location
	for _, p := range cal.CalendarProperties {
		switch p.IANAToken {
		case "X-WR-CALNAME":
			if sort == unknown && namesHolidays(p.Value) {
				sort = holidays
			}
		case "X-WR-TIMEZONE":
			if zone, err = location(p.Value); err != nil {
				return nil, err
			}
		}
	}
	var all []event
	moved := map[string][]moment{} // single occurrences of recurring events that were moved, by UID
	for _, e := range cal.Events() {
		read, instead, err := newEvent(e, sort, zone)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "event %q: %w", text(e, ics.ComponentPropertySummary), err)
		}
		if instead != nil {
			moved[e.Id()] = append(moved[e.Id()], *instead)
		}
		if read != nil {
			all = append(all, *read)
		}
	}
	for i := range all {
		if all[i].rule != nil {
			all[i].except = append(all[i].except, moved[all[i].key]...)
		}
	}
	// Only now, since what was moved is named by the UID.
	for i := range all {
		if name := strings.ToLower(strings.Join(strings.Fields(all[i].summary), " ")); name != "" {
			all[i].key = name
		}
	}
	return all, nil
}

func text(e *ics.VEvent, p ics.ComponentProperty) string {
	if v := e.GetProperty(p); v != nil {
		return ics.FromText(v.Value)
	}
	return ""
}

// namesHolidays reports whether a category or a calendar's name is that of
// holidays.
func namesHolidays(s string) bool {
	s = strings.ToLower(s)
	return strings.Contains(s, "holiday") || strings.Contains(s, "feiertag")
}

// newEvent reads one event, nil where it was cancelled. Instead is which
// occurrence of a recurring event it takes the place of.
func newEvent(e *ics.VEvent, sort category, zone *time.Location) (read *event, instead *moment, err error) {
	start := e.GetProperty(ics.ComponentPropertyDtStart)
	if start == nil {
		return nil, nil, schemas.Errorf(schemas.CodeInvalidConfig, "DTSTART must be there, but is not")
	}
	out := event{summary: text(e, ics.ComponentPropertySummary), key: e.Id(), holiday: sort == holidays}
	var days bool
	if out.start, days, err = newMoment(start, zone); err != nil {
		return nil, nil, err
	}
	if p := e.GetProperty("RECURRENCE-ID"); p != nil {
		m, _, err := newMoment(p, zone)
		if err != nil {
			return nil, nil, err
		}
		instead = &m
	}
	if strings.EqualFold(text(e, ics.ComponentPropertyStatus), "CANCELLED") {
		return nil, instead, nil
	}
	if out.length, err = length(e, out.start, days, zone); err != nil {
		return nil, nil, err
	}
	if p := e.GetProperty(ics.ComponentPropertyCategories); p != nil && sort == unknown {
		out.holiday = namesHolidays(p.Value)
	}
	for _, p := range e.Properties {
		switch p.IANAToken {
		case "RRULE":
			if out.rule, err = newRule(p.Value); err != nil {
				return nil, nil, err
			}
			_, until, _ := strings.Cut(strings.ToUpper(p.Value), "UNTIL=")
			until, _, _ = strings.Cut(until, ";")
			out.untilUTC = strings.HasSuffix(until, "Z")
		case "EXDATE":
			for _, v := range strings.Split(p.Value, ",") {
				one := p
				one.Value = v
				m, _, err := newMoment(&one, zone)
				if err != nil {
					return nil, nil, err
				}
				out.except = append(out.except, m)
			}
		case "RDATE", "EXRULE":
			return nil, nil, schemas.Errorf(schemas.CodeInvalidConfig, "%s must not be used: list the dates as events of their own", p.IANAToken)
		}
	}
	return &out, instead, nil
}

// length returns how long an event is.
func length(e *ics.VEvent, start moment, days bool, zone *time.Location) (time.Duration, error) {
	if p := e.GetProperty(ics.ComponentPropertyDtEnd); p != nil {
		end, _, err := newMoment(p, zone)
		if err != nil {
			return 0, err
		}
		// By the wall where both are by the same clock: a day is a day also when it
		// has 23 hours.
		d := end.wall.Sub(start.wall)
		if a, b := start.zone, end.zone; a != nil && b != nil && a.String() != b.String() {
			d = end.in(nil).Sub(start.in(nil))
		}
		if d <= 0 || d > 366*24*time.Hour {
			return 0, schemas.Errorf(schemas.CodeInvalidConfig, "DTEND must be after DTSTART and within a year of it, but is %s", p.Value)
		}
		return d, nil
	}
	if p := e.GetProperty(ics.ComponentPropertyDuration); p != nil {
		d, err := duration(p.Value)
		if err != nil {
			return 0, err
		}
		return d, nil
	}
	if days {
		return 24 * time.Hour, nil
	}
	return 0, schemas.Errorf(schemas.CodeInvalidConfig, "DTEND or DURATION must be there, but neither is")
}

// newMoment reads a DATE or a DATE-TIME.
func newMoment(p *ics.IANAProperty, zone *time.Location) (m moment, isDate bool, err error) {
	v := strings.TrimSpace(p.Value)
	if len(v) == 8 {
		m.wall, err = time.Parse("20060102", v)
		if err != nil {
			return m, true, schemas.Errorf(schemas.CodeInvalidConfig, "%s must be a date as 20060102, but is %q", p.IANAToken, v)
		}
		return m, true, nil // a day is by the clock of whoever reads it
	}
	m.zone = zone
	if ids := p.ICalParameters["TZID"]; len(ids) > 0 {
		if m.zone, err = location(ids[0]); err != nil {
			return m, false, err
		}
	}
	if rest, ok := strings.CutSuffix(v, "Z"); ok {
		v, m.zone = rest, time.UTC
	}
	if m.wall, err = time.Parse("20060102T150405", v); err != nil {
		return m, false, schemas.Errorf(schemas.CodeInvalidConfig, "%s must be a time as 20060102T150405Z, but is %q", p.IANAToken, p.Value)
	}
	return m, false, nil
}

// location returns a time zone by its name. Some programs put a path of their own
// before it.
func location(name string) (*time.Location, error) {
	name = strings.Trim(name, `" `)
	for rest := name; ; {
		if loc, err := time.LoadLocation(strings.TrimPrefix(rest, "/")); err == nil && rest != "" && rest != "Local" {
			return loc, nil
		}
		i := strings.Index(strings.TrimPrefix(rest, "/"), "/")
		if i < 0 {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "time zone must be one of the IANA database, such as Europe/Berlin, but is %q", name)
		}
		rest = strings.TrimPrefix(rest, "/")[i+1:]
	}
}

// duration reads a DURATION: PT1H30M, P1D, P2W.
func duration(s string) (time.Duration, error) {
	fail := schemas.Errorf(schemas.CodeInvalidConfig, "DURATION must be as PT1H30M, P1D or P2W, and at most a year, but is %q", s)
	rest, ok := strings.CutPrefix(strings.TrimPrefix(s, "+"), "P")
	if !ok || rest == "" {
		return 0, fail
	}
	units := map[byte]time.Duration{'W': 7 * 24 * time.Hour, 'D': 24 * time.Hour}
	total, number, digits := time.Duration(0), time.Duration(0), 0
	for i := range len(rest) {
		switch c := rest[i]; {
		case c >= '0' && c <= '9' && digits < 6:
			number, digits = 10*number+time.Duration(c-'0'), digits+1
		case c == 'T' && digits == 0:
			units = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}
		case units[c] > 0 && digits > 0:
			total += number * units[c]
			number, digits = 0, 0
		default:
			return 0, fail
		}
	}
	if digits > 0 || total <= 0 || total > 366*24*time.Hour {
		return 0, fail
	}
	return total, nil
}

// newRule reads an RRULE that recurs no more often than daily.
func newRule(s string) (*rrule.ROption, error) {
	r, err := rrule.StrToROptionInLocation(s, time.UTC)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "RRULE must be one of RFC 5545, but %q is not: %w", s, err)
	}
	if r.Freq > rrule.DAILY || len(r.Byhour)+len(r.Byminute)+len(r.Bysecond) > 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "RRULE must recur no more often than daily, but is %q", s)
	}
	if _, err := rrule.NewRRule(*r); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "RRULE must be one of RFC 5545, but %q is not: %w", s, err)
	}
	return r, nil
}

// between returns the occurrences that touch [from, to), for a reader of the given
// zone.
func (e *event) between(from, to time.Time, zone *time.Location) []Occurrence {
	if e.start.zone != nil {
		zone = e.start.zone
	}
	wall := func(t time.Time) time.Time { return wallClock(t, zone) }
	var starts []time.Time
	if e.rule == nil {
		starts = []time.Time{e.start.wall}
	} else {
		// Recurrence is by the wall: at nine o'clock in winter and in summer.
		o := *e.rule
		o.Dtstart = e.start.wall
		if e.untilUTC {
			o.Until = wall(o.Until)
		} else if !o.Until.IsZero() && o.Until.Equal(o.Until.Truncate(24*time.Hour)) {
			o.Until = o.Until.Add(24*time.Hour - time.Second) // a day is meant, and it is part of it
		}
		r, err := rrule.NewRRule(o)
		if err != nil {
			return nil // cannot be: it was made before
		}
		starts = r.Between(wall(from).Add(-e.length-2*time.Hour), wall(to).Add(2*time.Hour), true)
	}
	var out []Occurrence
next:
	for _, s := range starts {
		for _, x := range e.except {
			at := x.wall
			if x.zone != nil {
				at = wall(x.in(nil))
			}
			if at.Equal(s) || x.zone == nil && at.Equal(s.Truncate(24*time.Hour)) {
				continue next
			}
		}
		o := Occurrence{
			Start: moment{s, zone}.in(nil), End: moment{s.Add(e.length), zone}.in(nil),
			Summary: e.summary, Key: e.key, Holiday: e.holiday,
		}
		if o.Start.Before(to) && from.Before(o.End) {
			out = append(out, o)
		}
	}
	return out
}

// wallClock returns what a clock on the wall shows at an instant, as a time in
// UTC.
func wallClock(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

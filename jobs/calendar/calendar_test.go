package calendar_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/schemas"
)

// ical wraps the lines of components into a calendar.
func ical(lines ...string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VCALENDAR\r\n"
}

func vevent(lines ...string) string {
	return "BEGIN:VEVENT\r\nUID:1@test\r\nDTSTAMP:20260101T000000Z\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT"
}

// file writes a calendar and returns its path.
func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, zone, content string) calendar.View {
	t.Helper()
	var zones []string
	if zone != "" {
		zones = []string{zone}
	}
	c, err := calendar.Load([]string{file(t, "test.ics", content)}, zones)
	if err != nil {
		t.Fatal(err)
	}
	return c.Of("shop")
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// TestWhatIsMarked reads events as the calendars of this world write them. Each
// line of want is an occurrence in 2026, in UTC.
func TestWhatIsMarked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		zone  string
		lines []string
		want  []string
	}{
		{"a day is by the clock of the service", "Europe/Berlin",
			[]string{vevent("SUMMARY:Labour Day", "DTSTART;VALUE=DATE:20260501")},
			[]string{"04-30 22:00 to 05-01 22:00 Labour Day"}},
		{"days, the last of which is not part of it", "",
			[]string{vevent("SUMMARY:Fair", "DTSTART;VALUE=DATE:20260501", "DTEND;VALUE=DATE:20260504")},
			[]string{"05-01 00:00 to 05-04 00:00 Fair"}},
		{"an instant in UTC", "Asia/Tokyo",
			[]string{vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DTEND:20260501T100000Z")},
			[]string{"05-01 08:00 to 05-01 10:00 Launch"}},
		{"a time without a zone is by the clock of the service", "Asia/Kathmandu",
			[]string{vevent("SUMMARY:Launch", "DTSTART:20260501T080000", "DURATION:PT1H30M")},
			[]string{"05-01 02:15 to 05-01 03:45 Launch"}},
		{"a zone of its own", "Asia/Tokyo",
			[]string{vevent("SUMMARY:Launch", "DTSTART;TZID=America/New_York:20260501T080000", "DTEND;TZID=America/New_York:20260501T090000")},
			[]string{"05-01 12:00 to 05-01 13:00 Launch"}},
		{"a zone behind another program's path", "",
			[]string{vevent("SUMMARY:Launch", `DTSTART;TZID="/citadel.org/20250101_1/Europe/Berlin":20260501T080000`, "DURATION:PT1H")},
			[]string{"05-01 06:00 to 05-01 07:00 Launch"}},
		{"the zone of the calendar", "Asia/Tokyo",
			[]string{"X-WR-TIMEZONE:Europe/Berlin", vevent("SUMMARY:Launch", "DTSTART:20260501T080000", "DURATION:PT1H")},
			[]string{"05-01 06:00 to 05-01 07:00 Launch"}},
		{"nine o'clock stays nine o'clock in summer", "Europe/Berlin",
			[]string{vevent("SUMMARY:Sync", "DTSTART:20260326T090000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=5", "EXDATE:20260328T090000")},
			[]string{"03-26 08:00 to 03-26 09:00 Sync", "03-27 08:00 to 03-27 09:00 Sync", "03-29 07:00 to 03-29 08:00 Sync", "03-30 07:00 to 03-30 08:00 Sync"}},
		{"a day that has 23 hours, and one that has 25", "Europe/Berlin",
			[]string{vevent("SUMMARY:Spring", "DTSTART;VALUE=DATE:20260329"), vevent("SUMMARY:Autumn", "DTSTART;VALUE=DATE:20261025")},
			[]string{"03-28 23:00 to 03-29 22:00 Spring", "10-24 22:00 to 10-25 23:00 Autumn"}},
		{"every first Monday, until a day that is part of it", "",
			[]string{vevent("SUMMARY:Billing", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=MONTHLY;BYDAY=1MO;UNTIL=20260302")},
			[]string{"01-05 00:00 to 01-06 00:00 Billing", "02-02 00:00 to 02-03 00:00 Billing", "03-02 00:00 to 03-03 00:00 Billing"}},
		{"every year since long ago", "",
			[]string{vevent("SUMMARY:New Year", "DTSTART;VALUE=DATE:19990101", "RRULE:FREQ=YEARLY")},
			[]string{"01-01 00:00 to 01-02 00:00 New Year"}},
		{"one occurrence was moved", "",
			[]string{vevent("SUMMARY:Sale", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=WEEKLY;COUNT=3"), vevent("SUMMARY:Sale", "RECURRENCE-ID;VALUE=DATE:20260112", "DTSTART;VALUE=DATE:20260113")},
			[]string{"01-05 00:00 to 01-06 00:00 Sale", "01-13 00:00 to 01-14 00:00 Sale", "01-19 00:00 to 01-20 00:00 Sale"}},
		{"one occurrence was cancelled", "",
			[]string{vevent("SUMMARY:Sale", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=WEEKLY;COUNT=2"), vevent("SUMMARY:Sale", "RECURRENCE-ID;VALUE=DATE:20260112", "DTSTART;VALUE=DATE:20260112", "STATUS:CANCELLED")},
			[]string{"01-05 00:00 to 01-06 00:00 Sale"}},
		{"a category makes a holiday", "", []string{vevent("SUMMARY:Epiphany", "DTSTART;VALUE=DATE:20260106", "CATEGORIES:Public Holidays")},
			[]string{"01-06 00:00 to 01-07 00:00 Epiphany (holiday)"}},
		{"so does the name of the calendar", "", []string{"X-WR-CALNAME:Feiertage in Bayern", vevent("SUMMARY:Epiphany", "DTSTART;VALUE=DATE:20260106")},
			[]string{"01-06 00:00 to 01-07 00:00 Epiphany (holiday)"}},
		{"nothing is marked", "", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, o := range load(t, tt.zone, ical(tt.lines...)).Between(date(2026, 1, 1), date(2027, 1, 1)) {
				line := fmt.Sprintf("%s to %s %s", o.Start.UTC().Format("01-02 15:04"), o.End.UTC().Format("01-02 15:04"), o.Summary)
				if o.Holiday {
					line += " (holiday)"
				}
				got = append(got, line)
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("marked are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	good := vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DTEND:20260501T100000Z")
	for _, tt := range []struct {
		name, content, zone, want string
	}{
		{"no calendar at all", "time,value\n1,2\n", "", "must be iCalendar"},
		{"no beginning", ical(vevent("SUMMARY:Launch")), "", `event "Launch": DTSTART must be there`},
		{"no end", ical(vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z")), "", "DTEND or DURATION must be there"},
		{"an end before the beginning", ical(vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DTEND:20260501T070000Z")), "", "DTEND must be after DTSTART"},
		{"no such day", ical(vevent("SUMMARY:Launch", "DTSTART;VALUE=DATE:20260230")), "", `DTSTART must be a date as 20060102, but is "20260230"`},
		{"no such zone", ical(vevent("SUMMARY:Launch", "DTSTART;TZID=Middle-earth:20260501T080000", "DURATION:PT1H")), "", `but is "Middle-earth"`},
		{"no such duration", ical(vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DURATION:1h")), "", `DURATION must be as PT1H30M, P1D or P2W, and at most a year, but is "1h"`},
		{"a rule of every second", ical(vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DURATION:PT1H", "RRULE:FREQ=SECONDLY")), "", "RRULE must recur no more often than daily"},
		{"no rule", ical(vevent("SUMMARY:Launch", "DTSTART:20260501T080000Z", "DURATION:PT1H", "RRULE:FREQ=SOMETIMES")), "", `RRULE must be one of RFC 5545, but "FREQ=SOMETIMES" is not`},
		{"a zone of the service that is none", ical(good), "Gondor", `time zone must be one of the IANA database, such as Europe/Berlin, but is "Gondor"`},
		{"the zone of the machine", ical(good), "Local", `but is "Local"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var zones []string
			if tt.zone != "" {
				zones = []string{tt.zone}
			}
			_, err := calendar.Load([]string{file(t, "test.ics", tt.content)}, zones)
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := calendar.Load([]string{"nosuch.ics"}, nil); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("error of a file that is not there is %v", err)
	}
	if _, err := calendar.Load([]string{"shop=holidays:" + t.TempDir()}, nil); schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "must hold a file *.ics") {
		t.Errorf("an empty folder is %v", err)
	}
	if _, err := calendar.Load(nil, []string{"Europe/Berlin", "Asia/Tokyo"}); err == nil || !strings.Contains(err.Error(), "must be given once") {
		t.Errorf("error of two zones for all services is %v", err)
	}
}

func TestEachServiceHasItsOwn(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"all.ics":   ical(vevent("SUMMARY:For all", "DTSTART;VALUE=DATE:20260501")),
		"notes.txt": "not a calendar",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shop := file(t, "shop.ics", ical(vevent("SUMMARY:Of the shop", "DTSTART;VALUE=DATE:20260502", "CATEGORIES:holiday")))
	c, err := calendar.Load([]string{"holidays:" + dir, "shop=events:" + shop}, []string{"Europe/Berlin", "shop=Asia/Tokyo"})
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]string{
		"shop": "Asia/Tokyo [For all holiday] [Of the shop]",
		"web":  "Europe/Berlin [For all holiday]",
	} {
		v := c.Of(service)
		got := v.Zone().String()
		for _, o := range v.Between(date(2026, 1, 1), date(2027, 1, 1)) {
			got += " [" + o.Summary
			if o.Holiday {
				got += " holiday"
			}
			got += "]"
		}
		if got != want {
			t.Errorf("%s has %s, want %s", service, got, want)
		}
	}
	if len(c.Sum()) != 64 {
		t.Errorf("sum is %q", c.Sum())
	}
	var none *calendar.Calendars
	if none.Sum() != "" || none.Of("shop").Look(&schemas.Series{Step: time.Hour, Mean: make([]float64, 99)}) != nil {
		t.Error("no calendars change what forecasters see")
	}
}

// FuzzLoad holds the reader to occurrences that can be used, whatever it is
// given.
func FuzzLoad(f *testing.F) {
	f.Add(ical(vevent("SUMMARY:Sale", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=WEEKLY;BYDAY=MO,TU;INTERVAL=2", "EXDATE;VALUE=DATE:20260106")), "Europe/Berlin")
	f.Add(ical("X-WR-CALNAME:Holidays", vevent("DTSTART;TZID=America/New_York:20260501T080000", "DURATION:PT1H", "RRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO")), "UTC")
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:", "")
	f.Fuzz(func(t *testing.T, content, zone string) {
		var zones []string
		if zone != "" {
			zones = []string{zone}
		}
		c, err := calendar.Load([]string{file(t, "fuzz.ics", content)}, zones)
		if err != nil {
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
				t.Fatalf("error is %v, which has the code %s", err, schemas.CodeOf(err))
			}
			return
		}
		from, to := date(2026, 3, 1), date(2026, 4, 1)
		last := time.Time{}
		for _, o := range c.Of("shop").Between(from, to) {
			if !o.Start.Before(to) || !from.Before(o.End) || o.Start.Before(last) {
				t.Fatalf("%+v does not touch March, or comes too late", o)
			}
			last = o.Start
		}
	})
}

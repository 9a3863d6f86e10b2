package standard

import (
	"flag"

	"github.com/self-scaling/self-scaling/jobs/calendar"
)

// CalendarFlags are the flags that name calendars and time zones, the same for
// every program that learns or forecasts: what one leaves out, the other must.
type CalendarFlags struct {
	Files, Zones []string
}

// Register adds the flags.
func (c *CalendarFlags) Register(f *flag.FlagSet) {
	f.Func("calendar", "iCalendar file, or folder of such, as `[SERVICE=][holidays:|events:]PATH`; what it marks is not learned from, and forecast as on its earlier occurrences; may be given several times", func(s string) error { c.Files = append(c.Files, s); return nil })
	f.Func("timezone", "clock that services' users live by, as `[SERVICE=]ZONE`, such as Europe/Berlin; may be given several times (default UTC)", func(s string) error { c.Zones = append(c.Zones, s); return nil })
}

// Load reads what the flags name.
func (c *CalendarFlags) Load() (*calendar.Calendars, error) { return calendar.Load(c.Files, c.Zones) }

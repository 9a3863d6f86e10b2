package cli

import "github.com/spf13/pflag"

// registerCalendars adds the flags that say what is special about a day, and by whose
// clock it is one, as package jobs/calendar reads them.
func registerCalendars(flags *pflag.FlagSet, calendars, zones *[]string) {
	flags.StringArrayVar(calendars, "calendar", nil, "iCalendar file, or folder of such: `[SERVICE=][holidays:|events:]PATH`, read at each run; may be given several times")
	flags.StringArrayVar(zones, "timezone", nil, "clock that services' users live by: `[SERVICE=]ZONE`; may be given several times (default UTC)")
}

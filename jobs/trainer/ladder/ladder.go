// Package ladder says what the history of a series allows: which forecasters may
// take part, and why the others may not yet. What a forecaster could compute
// from less is not worth a floor: measured on real usage, medians and weights
// from less than two days are no better than repeating yesterday, and neither
// are those from a history half of which is missing.
package ladder

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Insufficient begins the message about a series that allows no forecast, as the
// original system said it.
const Insufficient = "Insufficient data"

// Ages of the newest measurement.
const (
	// FreshAge is up to when the last values say something about the next ones.
	FreshAge = time.Hour
	// MaxAge is up to when there is a forecast at all.
	MaxAge = 6 * time.Hour
)

// rung is what one step of the ladder asks for.
type rung struct {
	rung  schemas.Rung
	days  float64
	valid float64 // share of the last week
	opens string  // who may take part from here on
}

var rungs = []rung{
	{schemas.RungDay, 1, 0, schemas.SeasonalNaive},
	{schemas.RungBank, 2, .5, schemas.Bank},
	{schemas.RungNetwork, 3, .75, schemas.Network},
	{schemas.RungWeek, 8, .75, "what was used a week ago"},
	{schemas.RungFull, 14, .75, "what was used two weeks ago"},
}

// lastDay is the share of the last day that must have been measured for any
// forecast.
const lastDay = .5

// Judge grades a series as it is at an instant. Season is the number of steps in
// a season, 0 for a day; where it is shorter than a day, the ladder counts in
// seasons.
func Judge(s *schemas.Series, season int, now time.Time) schemas.Grade {
	m := schemas.Series{}
	if s != nil {
		m = s.Measured()
	}
	if m.Len() == 0 {
		return schemas.Grade{Message: Insufficient + ": nothing was ever measured"}
	}
	day := schemas.StepsPerDay(s.Step)
	if season > 0 {
		day = min(day, season)
	}
	week := m.Slice(m.Len()-7*day, m.Len())
	g := schemas.Grade{Days: float64(m.Len()) / float64(day), Valid: float64(week.Valid()) / float64(week.Len())}
	last := m.Slice(m.Len()-day, m.Len())
	need := int(math.Ceil(lastDay * float64(day)))
	switch have := last.Valid(); {
	case g.Days < 1:
		g.Message = fmt.Sprintf("%s: %s has been measured for %s; %s are needed", Insufficient, s.Resource, time.Duration(m.Len())*s.Step, time.Duration(day)*s.Step)
		return g
	case have < need:
		g.Message = fmt.Sprintf("%s: %s was measured in %d of the last day's %d buckets; %d are needed", Insufficient, s.Resource, have, day, need)
		return g
	}
	next := ""
	for _, r := range rungs {
		if g.Days < r.days {
			next = fmt.Sprintf("%s takes part from %g days on", r.opens, r.days)
			break
		}
		if g.Valid < r.valid {
			next = fmt.Sprintf("%s takes part once %g %% of a week are measured", r.opens, 100*r.valid)
			break
		}
		g.Rung = r.rung
	}
	unit := "days"
	if g.Days < 1.1 {
		unit = "day"
	}
	g.Message = fmt.Sprintf("%s has been measured for %s %s", s.Resource, strconv.FormatFloat(math.Floor(10*g.Days)/10, 'f', -1, 64), unit)
	if g.Valid < 1 {
		g.Message += fmt.Sprintf(" and in %d %% of the last week", int(100*g.Valid))
	}
	if next == "" {
		next = "every forecaster takes part"
	}
	g.Message += ": " + next
	if age := Age(s, now); age > FreshAge {
		g.Stale = true
		g.Message += fmt.Sprintf("; its newest sample is %s old: %s does not take part past %s", age, schemas.Network, FreshAge)
	}
	return g
}

// Age returns how long before an instant the newest measurement of a series that
// has one ended.
func Age(s *schemas.Series, now time.Time) time.Duration {
	return now.Sub(s.Time(s.LastValid() + 1))
}

// Allows says whether a forecaster may take part, and why not.
func Allows(forecaster string, s *schemas.Series, season int, now time.Time) (ok bool, reason schemas.Reason, message string) {
	g := Judge(s, season, now)
	need := schemas.RungDay
	for _, r := range rungs {
		if r.opens == forecaster {
			need = r.rung
		}
	}
	switch {
	case g.Rung < need:
		return false, schemas.InsufficientData, g.Message
	case Age(s, now) > MaxAge:
		return false, schemas.StaleSamples, fmt.Sprintf("the newest sample of %s is %s old; at most %s are allowed", s.Resource, Age(s, now), MaxAge)
	case g.Stale && forecaster == schemas.Network:
		return false, schemas.StaleSamples, g.Message
	}
	return true, "", ""
}

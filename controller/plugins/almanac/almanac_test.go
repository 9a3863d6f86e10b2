package almanac_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/almanac"
	"github.com/self-scaling/self-scaling/controller/plugins/learned"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/schemas"
)

var berlin = func() *time.Location {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return loc
}()

// usage says what a component uses at an instant.
type usage func(time.Time) float64

// office is busy from eight to eighteen o'clock on the wall of a zone, on
// weekdays, with a little noise.
func office(zone *time.Location) usage {
	return func(t time.Time) float64 {
		l := t.In(zone)
		noise := .05 * rand.New(rand.NewPCG(uint64(t.Unix()), 1)).Float64()
		if weekday := l.Weekday(); l.Hour() >= 8 && l.Hour() < 18 && weekday != time.Saturday && weekday != time.Sunday {
			return 6 + noise
		}
		return 1 + noise
	}
}

// times multiplies usage within an interval.
func (u usage) times(factor float64, from, to time.Time) usage {
	return func(t time.Time) float64 {
		if !t.Before(from) && t.Before(to) {
			return factor * u(t)
		}
		return u(t)
	}
}

// settings are the calendar and the zone of a forecast.
type settings struct {
	events []string // the lines of each VEVENT
	zone   string
}

// forecast makes the forecast of the day after now, from days of usage before it,
// as production does.
func forecast(t *testing.T, u usage, days int, now time.Time, s settings) *schemas.Forecast {
	t.Helper()
	f, d := decide(t, u, days, now, s)
	if f == nil {
		t.Fatalf("no forecast: %s", d.Message)
	}
	return f
}

func decide(t *testing.T, u usage, days int, now time.Time, s settings) (*schemas.Forecast, *schemas.Decision) {
	t.Helper()
	id := schemas.ComponentID{Service: "shop", Component: "web"}
	n := days * 96
	series := &schemas.Series{Component: id, Resource: schemas.CPU, Start: now.Add(-time.Duration(n) * 15 * time.Minute), Step: 15 * time.Minute, Mean: make([]float64, n), Max: make([]float64, n)}
	for i := range n {
		series.Mean[i] = u(series.Time(i))
		series.Max[i] = 1.2 * series.Mean[i]
	}
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		t.Fatal(err)
	}
	registry := plugins.NewRegistry()
	if err := registry.Merge(learned.Factories(learned.NewLibrary(), 0)); err != nil {
		t.Fatal(err)
	}
	fw, err := runtime.New(registry, profile, runtime.Options{Plugins: []framework.Plugin{almanac.New(s.load(t)), binder{}}})
	if err != nil {
		t.Fatal(err)
	}
	policy := schemas.DefaultPolicy()
	policy.Mode, policy.MaxReplicas = schemas.Auto, 100
	before := slices.Clone(series.Mean)
	r := fw.Run(t.Context(), "run", []*framework.Candidate{{
		Component: id, Now: now, Policy: policy, Series: map[schemas.Resource]*schemas.Series{schemas.CPU: series}, Requests: schemas.Requests{schemas.CPU: .5},
	}})[0]
	if !cmp.Equal(before, series.Mean, cmpopts.EquateNaNs()) {
		t.Error("the series itself was changed")
	}
	f := r.Forecasts[schemas.CPU]
	if f != nil {
		if err := f.Validate(); err != nil {
			t.Error(err)
		}
		if !f.Origin.Equal(now) || f.Steps() != 96 || f.PeakSteps() == 0 {
			t.Errorf("the forecast has %d steps from %s, with peaks for %d; want 96 from %s", f.Steps(), f.Origin, f.PeakSteps(), now)
		}
	}
	return f, r.Decision
}

type binder struct{}

func (binder) Name() string { return "TestBinder" }

func (binder) Bind(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, _ *schemas.Decision) *framework.Status {
	return nil
}

func (s settings) load(t *testing.T) *calendar.Calendars {
	t.Helper()
	var files, zones []string
	if len(s.events) > 0 {
		text := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n"
		for i, e := range s.events {
			text += fmt.Sprintf("BEGIN:VEVENT\r\nUID:%d\r\nDTSTAMP:20260101T000000Z\r\n%s\r\nEND:VEVENT\r\n", i, strings.ReplaceAll(e, "; ", "\r\n"))
		}
		path := filepath.Join(t.TempDir(), "test.ics")
		if err := os.WriteFile(path, []byte(text+"END:VCALENDAR\r\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		files = []string{path}
	}
	if s.zone != "" {
		zones = []string{s.zone}
	}
	c, err := calendar.Load(files, zones)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantMedian holds the median at an hour of the wall, on the day of a time.
func wantMedian(t *testing.T, f *schemas.Forecast, at time.Time, want float64) {
	t.Helper()
	step := int(at.Sub(f.Origin) / f.Step)
	if got := f.At(step, .5); !(math.Abs(got-want) <= max(.3, .07*want)) {
		t.Errorf("the median for %s is %.2f, want %g", at.Format(time.RFC3339), got, want)
	}
}

// difference is the largest difference of two forecasts.
func difference(a, b *schemas.Forecast) float64 {
	most := 0.0
	for _, v := range [][2][]float64{{a.Values, b.Values}, {a.Peaks, b.Peaks}} {
		for i := range v[0] {
			most = max(most, math.Abs(v[0][i]-v[1][i]))
		}
	}
	return most
}

// day is a Monday to Sunday of March 2026 in UTC: the 9th is a Monday.
func day(d, hour int) time.Time { return time.Date(2026, 3, d, hour, 0, 0, 0, time.UTC) }

func TestAMarkedEventDoesNotChangeNextWeeksForecast(t *testing.T) {
	usual := office(time.UTC)
	sale := usual.times(4, day(10, 0), day(11, 0)) // Tuesday
	marked := settings{events: []string{"SUMMARY:Sale; DTSTART;VALUE=DATE:20260310"}}
	for _, now := range []time.Time{day(11, 8), day(13, 0), day(17, 0)} {
		without := forecast(t, usual, 14, now, marked)
		if d := difference(without, forecast(t, sale, 14, now, marked)); d != 0 {
			t.Errorf("at %s the marked event changes the forecast by %g", now, d)
		}
		if d := difference(forecast(t, usual, 14, now, settings{}), forecast(t, sale, 14, now, settings{})); d < .05 {
			t.Errorf("at %s the event changes the forecast by %g where it is not marked: it shows nothing", now, d)
		}
	}
	// And what is left out costs nothing: the forecast is right.
	f := forecast(t, sale, 14, day(17, 0), marked)
	wantMedian(t, f, day(17, 4), 1)
	wantMedian(t, f, day(17, 12), 6)
}

func TestAnAnnouncedEventIsForecastLikeItsEarlierOccurrences(t *testing.T) {
	u := office(time.UTC)
	for _, tuesday := range []int{3, 10} {
		u = u.times(4, day(tuesday, 10), day(tuesday, 14))
	}
	now := day(17, 0)
	weekly := []string{"SUMMARY:Sale; DTSTART:20260303T100000Z; DTEND:20260303T140000Z; RRULE:FREQ=WEEKLY"}
	f := forecast(t, u, 15, now, settings{events: weekly})
	wantMedian(t, f, day(17, 9), 6)
	wantMedian(t, f, day(17, 10), 24)
	wantMedian(t, f, day(17, 13), 24)
	wantMedian(t, f, day(17, 14), 6)
	if lo, hi := f.At(48, .1), f.At(48, .9); !(lo < 24.1 && 24.1 < hi) {
		t.Errorf("the event is between %.2f and %.2f, want 24.1 between them", lo, hi)
	}

	// Under its name it is found again without a rule.
	named := []string{"SUMMARY:Sale; DTSTART:20260303T100000Z; DURATION:PT4H", "SUMMARY:sale; DTSTART:20260317T110000Z; DURATION:PT3H"}
	once := office(time.UTC).times(4, day(3, 10), day(3, 14))
	f = forecast(t, once, 15, now, settings{events: named})
	wantMedian(t, f, day(17, 10), 6)
	wantMedian(t, f, day(17, 11), 24)

	// Of an event that nothing is known of, nothing is said.
	unknown := []string{"SUMMARY:Launch; DTSTART:20260317T100000Z; DURATION:PT4H"}
	if d := difference(forecast(t, office(time.UTC), 14, now, settings{events: unknown}), forecast(t, office(time.UTC), 14, now, settings{})); d != 0 {
		t.Errorf("an event that was never seen changes the forecast by %g", d)
	}
}

func TestTheFloorIsUpBeforeAnAnnouncedEvent(t *testing.T) {
	u := office(time.UTC).times(4, day(5, 10), day(5, 14)) // a Thursday
	sales := settings{events: []string{"SUMMARY:Sale; DTSTART:20260305T100000Z; DURATION:PT4H", "SUMMARY:Sale; DTSTART:20260317T100000Z; DURATION:PT4H"}}
	_, d := decide(t, u, 14, day(17, 10), sales)
	if d.Reason != schemas.FloorRaised || d.MinReplicas < 60 {
		t.Errorf("at the beginning of the event the floor is %d (%s: %s), want 24 cores in pods of half a core at 70 %%", d.MinReplicas, d.Reason, d.Message)
	}
	if _, without := decide(t, u, 14, day(17, 10), settings{}); without.MinReplicas >= 40 {
		t.Errorf("without the calendar the floor is %d: the event shows nothing", without.MinReplicas)
	}
}

func TestAnEventUnderWayGoesOnAsItBegan(t *testing.T) {
	// The third sale is twice as big as those before.
	u := office(time.UTC).times(4, day(3, 10), day(3, 16)).times(4, day(10, 10), day(10, 16)).times(8, day(17, 10), day(17, 16))
	weekly := settings{events: []string{"SUMMARY:Sale; DTSTART:20260303T100000Z; DURATION:PT6H; RRULE:FREQ=WEEKLY"}}
	f, d := decide(t, u, 15, day(17, 12), weekly)
	wantMedian(t, f, day(17, 12), 48)
	wantMedian(t, f, day(17, 17), 6)
	if d.Reason != schemas.FloorRaised {
		t.Errorf("decision %s: %s", d.Reason, d.Message)
	}
	if g := d.Histories[schemas.CPU]; g.Stale || g.Rung != schemas.RungFull {
		t.Errorf("during the event the history is %+v: what is left out was measured all the same", g)
	}
}

func TestAHolidayIsForecastLikeAWeekendDay(t *testing.T) {
	// The 19th is a Thursday. Nobody works, as on Sundays.
	u := office(time.UTC)
	now := day(19, 0)
	holiday := settings{events: []string{"SUMMARY:St Joseph; CATEGORIES:HOLIDAY; DTSTART;VALUE=DATE:20260319"}}
	f := forecast(t, u, 14, now, holiday)
	wantMedian(t, f, day(19, 12), 1)
	f = forecast(t, u, 14, now, settings{})
	wantMedian(t, f, day(19, 12), 6)

	// The day after is a weekday again, as if the holiday had not been.
	closed := u.times(1./6, day(19, 8), day(19, 18))
	f = forecast(t, closed, 14, day(20, 0), holiday)
	wantMedian(t, f, day(20, 12), 6)

	// It is like its earlier occurrence where there is one, here: half a day's work.
	half := u.times(.5, day(12, 8), day(12, 18))
	twice := settings{events: []string{"SUMMARY:Carnival; CATEGORIES:HOLIDAY; DTSTART;VALUE=DATE:20260312", "SUMMARY:Carnival; CATEGORIES:HOLIDAY; DTSTART;VALUE=DATE:20260319"}}
	f = forecast(t, half, 14, now, twice)
	wantMedian(t, f, day(19, 12), 3)

	// Without any weekend in the history nothing is known, and nothing changes.
	if d := difference(forecast(t, u, 3, now, holiday), forecast(t, u, 3, now, settings{})); d != 0 {
		t.Errorf("a holiday of which nothing is known changes the forecast by %g", d)
	}
}

// TestNineOClockIsNineOClockInSummerAndInWinter forecasts the first working days
// after the clocks were changed, and the day on which they are.
func TestNineOClockIsNineOClockInSummerAndInWinter(t *testing.T) {
	at := func(m time.Month, d, hour int) time.Time { return time.Date(2026, m, d, hour, 0, 0, 0, berlin) }
	everyDay := func(t time.Time) float64 { // also on Sundays, when clocks are changed
		l := t.In(berlin)
		v := 1 + .05*rand.New(rand.NewPCG(uint64(t.Unix()), 1)).Float64()
		if l.Hour() >= 8 && l.Hour() < 18 {
			v += 5
		}
		return v
	}
	for _, tt := range []struct {
		name   string
		now    time.Time
		probes []time.Time // at which usage is right after a change of it
	}{
		{"spring: on the day itself", at(time.March, 29, 0), []time.Time{at(time.March, 29, 7), at(time.March, 29, 8), at(time.March, 29, 17), at(time.March, 29, 18)}},
		{"spring: right after the change", at(time.March, 29, 3), []time.Time{at(time.March, 29, 7), at(time.March, 29, 8)}},
		{"spring: on the day after", at(time.March, 30, 0), []time.Time{at(time.March, 30, 7), at(time.March, 30, 8), at(time.March, 30, 17), at(time.March, 30, 18)}},
		{"spring: across the change", at(time.March, 28, 12), []time.Time{at(time.March, 29, 7), at(time.March, 29, 8)}},
		{"autumn: on the day itself", at(time.October, 25, 0), []time.Time{at(time.October, 25, 7), at(time.October, 25, 8), at(time.October, 25, 17), at(time.October, 25, 18)}},
		{"autumn: within the hour that comes twice", at(time.October, 25, 2).Add(90 * time.Minute), []time.Time{at(time.October, 25, 7), at(time.October, 25, 8)}},
		{"autumn: on the day after", at(time.October, 26, 0), []time.Time{at(time.October, 26, 7), at(time.October, 26, 8), at(time.October, 26, 17), at(time.October, 26, 18)}},
		{"autumn: across the change", at(time.October, 24, 12), []time.Time{at(time.October, 25, 7), at(time.October, 25, 8)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := tt.now.UTC()
			f := forecast(t, everyDay, 14, now, settings{zone: "Europe/Berlin"})
			for _, p := range tt.probes {
				wantMedian(t, f, p.UTC(), everyDay(p))
			}
		})
	}
	t.Run("by the clock of UTC it comes an hour late", func(t *testing.T) {
		f := forecast(t, everyDay, 14, at(time.March, 30, 0).UTC(), settings{})
		step := int(at(time.March, 30, 8).Sub(f.Origin) / f.Step)
		if got := f.At(step, .5); got > 4 {
			t.Errorf("the median at eight o'clock is %.2f also without a time zone: the test shows nothing", got)
		}
	})
	t.Run("in a zone that does not change its clock nothing changes", func(t *testing.T) {
		now := at(time.March, 30, 0).UTC()
		a, b := forecast(t, everyDay, 14, now, settings{zone: "Asia/Kolkata"}), forecast(t, everyDay, 14, now, settings{})
		if d := difference(a, b); d != 0 {
			t.Errorf("the forecasts differ by %g", d)
		}
	})
}

func TestAWeekOfHolidaysIsNoLackOfData(t *testing.T) {
	// Marked days count as measured.
	u := office(time.UTC)
	week := settings{events: []string{"SUMMARY:Company holidays; CATEGORIES:HOLIDAY; DTSTART;VALUE=DATE:20260309; DTEND;VALUE=DATE:20260316"}}
	closed := u.times(1./6, day(9, 0), day(16, 0))
	f, d := decide(t, closed, 21, day(16, 0), week)
	if f == nil {
		t.Fatalf("no forecast after a week of holidays: %s", d.Message)
	}
	wantMedian(t, f, day(16, 12), 6)
}

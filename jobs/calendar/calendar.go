// Package calendar knows what is special about a day: holidays and announced
// events, from iCalendar files (RFC 5545), and the time zone by whose clock a
// service's users live.
//
// What a calendar marks is left out of what forecasters learn from, and is
// forecast as it was on its earlier occurrences: see [Lens].
package calendar

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // images from scratch have no time zones

	"github.com/self-scaling/self-scaling/schemas"
)

// Occurrence is one stretch of time that a calendar marks.
type Occurrence struct {
	Start, End time.Time // End is not part of it
	Summary    string
	// Key is the same for all occurrences of one thing: those of one recurring
	// event, and events of one name.
	Key string
	// Holiday says that a day without earlier occurrences is like a weekend day.
	Holiday bool
}

// Calendars holds what is marked for each service. Nil marks nothing, by the
// clock of UTC.
type Calendars struct {
	zones  map[string]*time.Location // by service, "" for all others
	events map[string][]event
	sum    string
}

// Load reads calendars and time zones as they are given on a command line:
//
//	files  [SERVICE=][holidays:|events:]PATH, an iCalendar file or a folder of such (*.ics)
//	zones  [SERVICE=]NAME, as Europe/Berlin
//
// What names no service holds for all; a service's own time zone replaces that
// of all, its own calendars come besides. Events are holidays where the path says
// so, where their category does, or where the name of their calendar does; the
// path is believed before the category, and that before the name. Times without a
// zone, and days, are by the clock of the service.
//
// A file or a zone that cannot be read, and a folder without a calendar, is an error with
// [schemas.CodeInvalidConfig].
func Load(files, zones []string) (*Calendars, error) {
	if len(files) == 0 && len(zones) == 0 {
		return nil, nil
	}
	c := &Calendars{zones: map[string]*time.Location{}, events: map[string][]event{}}
	hash := sha256.New()
	for _, z := range zones {
		service, name := split(z)
		loc, err := time.LoadLocation(name)
		if err != nil || name == "" || name == "Local" {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "time zone must be one of the IANA database, such as Europe/Berlin, but is %q", name)
		}
		if _, twice := c.zones[service]; twice {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "time zone of %s must be given once, but is given again as %q", cmp.Or(service, "all services"), name)
		}
		c.zones[service] = loc
		hash.Write([]byte("zone\x00" + service + "\x00" + name + "\x00"))
	}
	for _, f := range files {
		service, path := split(f)
		sort := unknown
		for prefix, k := range map[string]category{"holidays:": holidays, "events:": events} {
			if rest, ok := strings.CutPrefix(path, prefix); ok {
				sort, path = k, rest
			}
		}
		names, err := filesOf(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, schemas.Errorf(schemas.CodeInvalidConfig, "calendar: %w", err)
			}
			read, err := parse(data, sort)
			if err != nil {
				return nil, schemas.Errorf(schemas.CodeInvalidConfig, "calendar %s: %w", name, err)
			}
			c.events[service] = append(c.events[service], read...)
			hash.Write([]byte("calendar\x00" + service + "\x00" + string(rune('0'+sort)) + "\x00"))
			hash.Write(data)
		}
	}
	c.sum = hex.EncodeToString(hash.Sum(nil))
	return c, nil
}

// category says what the events of a file are where they do not say it themselves.
type category int

const (
	unknown category = iota
	holidays
	events
)

// split cuts "service=rest"; the service is "" where none is named.
func split(s string) (service, rest string) {
	if before, after, ok := strings.Cut(s, "="); ok {
		return before, after
	}
	return "", s
}

// filesOf returns the calendars at a path: the file itself, or all of a folder.
// A mounted ConfigMap is a folder with links and hidden entries.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "calendar: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "calendar: %w", err)
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".ics" && e.Type()&fs.ModeDir == 0 {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "calendar: folder %s must hold a file *.ics, but has none", path)
	}
	return names, nil
}

// Sum is the SHA-256, in hexadecimal, of everything that was read; "" for none.
func (c *Calendars) Sum() string {
	if c == nil {
		return ""
	}
	return c.sum
}

// Of returns what is marked for a service.
func (c *Calendars) Of(service string) View {
	if c == nil {
		return View{}
	}
	v := View{zone: c.zones[service]}
	if v.zone == nil {
		v.zone = c.zones[""]
	}
	v.events = c.events[""]
	if service != "" && len(c.events[service]) > 0 {
		v.events = append(slices.Clone(v.events), c.events[service]...)
	}
	return v
}

// View is what is marked for one service. The zero value marks nothing, by the
// clock of UTC.
type View struct {
	zone   *time.Location
	events []event
}

// Zone returns the clock that the service's users live by.
func (v View) Zone() *time.Location {
	if v.zone == nil {
		return time.UTC
	}
	return v.zone
}

// plain reports whether nothing is marked and the clock is that of UTC.
func (v View) plain() bool { return len(v.events) == 0 && (v.zone == nil || v.zone == time.UTC) }

// Between returns the occurrences that touch [from, to), in the order of their
// beginning.
func (v View) Between(from, to time.Time) []Occurrence {
	var out []Occurrence
	for i := range v.events {
		out = append(out, v.events[i].between(from, to, v.Zone())...)
	}
	slices.SortStableFunc(out, func(a, b Occurrence) int {
		return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End), strings.Compare(a.Key, b.Key))
	})
	return out
}

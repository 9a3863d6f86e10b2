package schedule_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/schedule"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/argo"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		v, err = time.Parse("2006-01-02 15:04", text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSlots(t *testing.T) {
	for _, tt := range []struct {
		name       string
		cron, zone string
		now        string
		within     time.Duration
		last, next string // "" for none
	}{
		{"every quarter hour", "*/15 * * * *", "", "2026-03-09 12:20", 10 * time.Minute, "2026-03-09 12:15", "2026-03-09 12:30"},
		{"at the very instant", "*/15 * * * *", "", "2026-03-09 12:15", 10 * time.Minute, "2026-03-09 12:15", "2026-03-09 12:30"},
		{"a slot that is too old does not count", "*/15 * * * *", "", "2026-03-09 12:25", 10 * time.Minute, "", "2026-03-09 12:30"},
		{"of several missed ones the newest counts", "*/15 * * * *", "", "2026-03-09 12:20", 2 * time.Hour, "2026-03-09 12:15", "2026-03-09 12:30"},
		{"of several expressions the nearest counts", "0 6 * * *|30 5 * * *", "", "2026-03-09 06:10", time.Hour, "2026-03-09 06:00", "2026-03-10 05:30"},
		{"in a time zone", "5 0 * * *", "Europe/Warsaw", "2026-03-09 23:10", time.Hour, "2026-03-09 23:05", "2026-03-10 23:05"},
		{"in summer an hour earlier", "5 0 * * *", "Europe/Warsaw", "2026-07-09 22:10", time.Hour, "2026-07-09 22:05", "2026-07-10 22:05"},
		{"an hour that the clocks leave out is left out", "30 2 * * *", "Europe/Warsaw", "2026-03-28 12:00", 24 * time.Hour, "2026-03-28 01:30", "2026-03-30 00:30"},
		{"on the 29th of February", "0 0 29 2 *", "", "2026-03-01 00:00", time.Hour, "", "2028-02-29 00:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := schedule.Parse(strings.Split(tt.cron, "|"), tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			now := at(t, tt.now)
			last, ok := s.Last(now, tt.within)
			if ok != (tt.last != "") || ok && !last.Equal(at(t, tt.last)) {
				t.Errorf("last slot is %s, %t; want %q", last, ok, tt.last)
			}
			if next := s.Next(now); !next.Equal(at(t, tt.next)) || next.Location() != time.UTC {
				t.Errorf("next slot is %s, want %s UTC", next, tt.next)
			}
		})
	}
}

func TestTheZeroScheduleHasNoSlot(t *testing.T) {
	var s schedule.Schedule
	if _, ok := s.Last(at(t, "2026-03-09 12:00"), 24*time.Hour); ok || !s.Next(at(t, "2026-03-09 12:00")).IsZero() {
		t.Error("it has one")
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	for _, tt := range []struct{ cron, zone, want string }{
		{"", "", `cron expression must have five fields, but is ""`},
		{"* * * *", "", `cron expression must have five fields, but is "* * * *"`},
		{"@daily", "", `cron expression must have five fields, but is "@daily"`},
		{"TZ=UTC * * * *", "", `cron expression must have five fields, but is "TZ=UTC * * * *"`},
		{"61 * * * *", "", `cron expression "61 * * * *": end of range (61) above maximum (59): 61`},
		{"0 0 30 2 *", "", `cron expression must name an instant, but "0 0 30 2 *" never comes`},
		{"* * * * *", "Mars/Olympus", `timezone must be an IANA name such as Europe/Warsaw, but is "Mars/Olympus"`},
		{"* * * * *", "Local", `timezone must be an IANA name such as Europe/Warsaw, but is "Local"`},
	} {
		_, err := schedule.Parse([]string{tt.cron}, tt.zone)
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig || err.Error() != tt.want {
			t.Errorf("%q in %q: error %v, want %s", tt.cron, tt.zone, err, tt.want)
		}
	}
	if _, err := schedule.Parse(nil, ""); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("no expression: error %v", err)
	}
}

// The run of a slot has one run-id, whoever starts it.
func TestTheRunIDIsThatOfACronWorkflowsChild(t *testing.T) {
	slot := at(t, "2026-03-09 12:15")
	id := schedule.RunID("collect", slot)
	child := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{argo.LabelPipeline: "collect"},
		Annotations: map[string]string{"workflows.argoproj.io/scheduled-time": slot.Format(time.RFC3339)},
	}}
	if got := argo.Identity(child); got != id || id != "collect-2026-03-09T121500Z" {
		t.Errorf("run-ids %s and %s, want collect-2026-03-09T121500Z", id, got)
	}
	if err := schemas.ValidateRunID(id); err != nil {
		t.Error(err)
	}
	back, ok := schedule.Slot("collect", id)
	if !ok || !back.Equal(slot) {
		t.Errorf("slot %s, %t; want %s", back, ok, slot)
	}
	for _, other := range []string{"collect-7", "train-2026-03-09T121500Z", "collect-2026-03-09T12:15:00Z"} {
		if _, ok := schedule.Slot("collect", other); ok {
			t.Errorf("%s names no slot of collect", other)
		}
	}
}

// Last and Next are two views of one list of slots.
func TestLastIsTheSlotBeforeNext(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, err := schedule.Parse([]string{
			rapid.SampledFrom([]string{"*/15 * * * *", "5 0 * * *", "0 */6 * * 1-5", "59 23 31 * *"}).Draw(r, "cron"),
			"7 3 * * *",
		}, rapid.SampledFrom([]string{"", "Europe/Warsaw", "America/St_Johns"}).Draw(r, "zone"))
		if err != nil {
			r.Fatal(err)
		}
		now := time.Unix(rapid.Int64Range(1767225600, 1800000000).Draw(r, "now"), 0)
		within := time.Duration(rapid.IntRange(1, 3000).Draw(r, "minutes")) * time.Minute
		slot, ok := s.Last(now, within)
		var slots []time.Time
		for next := s.Next(now.Add(-within)); !next.After(now); next = s.Next(next) {
			slots = append(slots, next)
		}
		switch {
		case ok != (len(slots) > 0):
			r.Fatalf("last slot is %s, %t; slots are %v", slot, ok, slots)
		case ok && (!slot.Equal(slots[len(slots)-1]) || slot.After(now) || !slot.After(now.Add(-within)) || !slices.IsSortedFunc(slots, time.Time.Compare)):
			r.Fatalf("last slot is %s of %v", slot, slots)
		case ok && !s.Next(slot).After(now):
			r.Fatalf("after the last slot %s comes %s, before %s", slot, s.Next(slot), now)
		}
	})
}

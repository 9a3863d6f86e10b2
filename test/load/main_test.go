package main

import (
	"testing"
	"time"
)

func TestInPeak(t *testing.T) {
	for _, c := range []struct {
		now, begin string
		long       time.Duration
		want       bool
	}{
		{"12:00", "12:00", time.Hour, true},
		{"11:59", "12:00", time.Hour, false},
		{"12:59", "12:00", time.Hour, true},
		{"13:00", "12:00", time.Hour, false},
		{"00:10", "23:50", time.Hour, true}, // since yesterday
		{"23:55", "23:50:30", time.Hour, true},
		{"23:49", "23:50", 0, false},
	} {
		now, err := timeOfDay(c.now)
		if err != nil {
			t.Fatal(err)
		}
		begin, err := timeOfDay(c.begin)
		if err != nil {
			t.Fatal(err)
		}
		midnight := time.Date(2024, 3, 10, 0, 0, 0, 0, time.UTC)
		if got := inPeak(midnight.Add(now), begin, c.long); got != c.want {
			t.Errorf("at %s, a peak of %s from %s: %t, want %t", c.now, c.long, c.begin, got, c.want)
		}
	}
	if _, err := timeOfDay("24:30"); err == nil {
		t.Error("24:30 was taken for a time of day")
	}
}

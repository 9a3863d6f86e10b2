package main

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMadeUpUsageIsUsage(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(200) {
		y := makeUp(seed, 9)
		if len(y) != 9*day {
			t.Fatalf("%d steps, want %d", len(y), 9*day)
		}
		least, most := math.Inf(1), 0.0
		for i, v := range y {
			if !(v >= 0) || math.IsInf(v, 0) {
				t.Fatalf("step %d of seed %d is %v", i, seed, v)
			}
			least, most = min(least, v), max(most, v)
		}
		switch {
		case least == most:
			kinds["constant"]++
		case least == 0:
			kinds["idle at times"]++
		default:
			kinds["busy"]++
		}
	}
	if kinds["busy"] < 50 || kinds["idle at times"] < 10 {
		t.Errorf("kinds %v, want some of each", kinds)
	}
	if diff := cmp.Diff(makeUp(7, 3), makeUp(7, 3)); diff != "" {
		t.Errorf("one seed gives two series:\n%s", diff)
	}
}

func TestOnlyTheFirstHalfOfTheTracesIsUsed(t *testing.T) {
	histories, err := real()
	if err != nil {
		t.Fatal(err)
	}
	if len(histories) != 32 {
		t.Errorf("%d series, want the means and peaks of 16", len(histories))
	}
	for _, h := range histories {
		for _, s := range h.Series {
			if s.Len() > 8*day {
				t.Errorf("%s has %d steps, want at most half of 16 days", s.Component, s.Len())
			}
		}
	}
}

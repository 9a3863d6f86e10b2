package madeup_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained/madeup"
)

func TestMadeUpUsageIsUsage(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(200) {
		y := madeup.Usage(seed, 9)
		if len(y) != 9*madeup.Day {
			t.Fatalf("%d steps, want %d", len(y), 9*madeup.Day)
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
	if diff := cmp.Diff(madeup.Usage(7, 3), madeup.Usage(7, 3)); diff != "" {
		t.Errorf("one seed gives two series:\n%s", diff)
	}
}

package main

import (
	"testing"

	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained/madeup"
)

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
			if s.Len() > 8*madeup.Day {
				t.Errorf("%s has %d steps, want at most half of 16 days", s.Component, s.Len())
			}
		}
	}
}

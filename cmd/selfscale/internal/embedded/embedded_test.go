package embedded_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

// How much is learned from is asked for when a training begins, so that it may change
// while the process runs.
func TestTrainingLearnsFromAsManyDaysAsAreSet(t *testing.T) {
	days := 900
	nothing := func(context.Context, jobs.Env) error { return nil }
	p, err := embedded.New(embedded.Config{
		Store:       artifact.New(membucket.New(nil), artifact.Options{}),
		Collector:   embedded.Always(nothing),
		HistoryDays: func(context.Context) (int, error) { return days, nil },
		Inference:   nothing,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	midnight := time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)
	for _, want := range []string{"days must be from 1 to 800, but is 900", "days must be from 1 to 800, but is 901"} {
		if err := p.Run(t.Context(), "train", midnight, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("training ends with %v, want %q", err, want)
		}
		days, midnight = days+1, midnight.AddDate(0, 0, 1)
	}
}

package progress_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
)

func TestReporter(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		work     func(r *progress.Reporter)
		want     string
	}{
		{"what is quick says nothing", true, func(r *progress.Reporter) {
			s := r.Stage("reading", 3)
			time.Sleep(1900 * time.Millisecond)
			s.Add(3)
			s.Done()
		}, ""},
		{"a log gets a line now and then and one at the end", false, func(r *progress.Reporter) {
			s := r.Stage("training", 4)
			for range 4 {
				time.Sleep(8 * time.Second)
				s.Add(1)
			}
			s.Done()
		}, "training 1/4 (25 %), 15s\ntraining 3/4 (75 %), 30s\ntraining: done in 32s\n"},
		{"a log tells the time of a stage that was over before the next line", false, func(r *progress.Reporter) {
			s := r.Stage("replaying", 0)
			time.Sleep(3210 * time.Millisecond)
			s.Done()
		}, "replaying: done in 3.2s\n"},
		{"a terminal's line is rewritten and made way for the next", true, func(r *progress.Reporter) {
			s := r.Stage("training", 12)
			s.Set(3, 12)
			time.Sleep(2300 * time.Millisecond)
			s.Set(12, 12)
			time.Sleep(50 * time.Millisecond)
			s.Done()
		}, "\rtraining 3/12 (25 %), 2s\rtraining 3/12 (25 %), 2.2s\r                          \rtraining: done in 2.4s\n"},
		{"a shorter line leaves nothing of the longer one", true, func(r *progress.Reporter) {
			s := r.Stage("training", 0)
			s.Set(100, 0)
			time.Sleep(2100 * time.Millisecond)
			s.Set(1, 0)
			time.Sleep(800 * time.Millisecond)
		}, "\rtraining 100, 2s\rtraining 1, 2.2s\rtraining 1, 2.4s\rtraining 1, 2.6s\rtraining 1, 2.8s\r                \r"},
		{"closing in the midst of a stage leaves an empty line", true, func(r *progress.Reporter) {
			r.Stage("training", 0)
			time.Sleep(2100 * time.Millisecond)
		}, "\rtraining, 2s\r            \r"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // sleeps are the bubble's
				var out bytes.Buffer
				r := progress.New(&out, tt.terminal, clock.RealClock{})
				tt.work(r)
				r.Close()
				if diff := cmp.Diff(tt.want, out.String()); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestNilSaysNothing(t *testing.T) {
	var r *progress.Reporter
	s := r.Stage("training", 1)
	s.Add(1)
	s.Set(1, 1)
	s.Done()
	r.Close()
}

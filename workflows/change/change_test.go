package change_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/workflows/change"
)

func version(v string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "run", ResourceVersion: v}}
}

func TestWait(t *testing.T) {
	for _, tt := range []struct {
		name    string
		known   string
		happens func(w *watch.RaceFreeFakeWatcher)
		after   time.Duration // by when it has returned; 0: at once
	}{
		{"the version that is known is no change", "7", func(w *watch.RaceFreeFakeWatcher) { w.Add(version("7")) }, time.Minute},
		{"one that is newer than what was read", "7", func(w *watch.RaceFreeFakeWatcher) { w.Add(version("8")) }, 0},
		{"a change", "7", func(w *watch.RaceFreeFakeWatcher) { w.Add(version("7")); w.Modify(version("8")) }, 0},
		{"the end of the object", "7", func(w *watch.RaceFreeFakeWatcher) { w.Add(version("7")); w.Delete(version("7")) }, 0},
		{"an error of the server", "7", func(w *watch.RaceFreeFakeWatcher) { w.Error(&metav1.Status{Code: 410}) }, 0},
		{"objects without versions", "", func(w *watch.RaceFreeFakeWatcher) { w.Add(version("")) }, 0},
		{"a watch that ends", "7", func(w *watch.RaceFreeFakeWatcher) { w.Stop() }, time.Second},
		{"nothing", "7", func(*watch.RaceFreeFakeWatcher) {}, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Now())
			w := watch.NewRaceFreeFake()
			tt.happens(w)
			done := make(chan struct{})
			go func() {
				defer close(done)
				change.Wait(context.Background(), w, tt.known, clock, time.Minute)
			}()
			if tt.after > 0 {
				until(t, func() bool { return clock.HasWaiters() && len(w.ResultChan()) == 0 })
				select {
				case <-done:
					t.Fatal("it returned before anything changed")
				default:
				}
				// A timer may still be replaced by a shorter one.
				until(t, func() bool {
					clock.Step(tt.after)
					select {
					case <-done:
						return true
					default:
						return false
					}
				})
			}
			<-done
			if !w.IsStopped() {
				t.Error("the watch goes on")
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	change.Wait(ctx, nil, "7", clocktesting.NewFakeClock(time.Now()), time.Minute)
}

// until lets others run until a condition holds.
func until(t *testing.T, condition func() bool) {
	t.Helper()
	for !condition() {
		if t.Context().Err() != nil {
			t.Fatal("it never came to be")
		}
		runtime.Gosched()
	}
}

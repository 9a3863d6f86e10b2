// Package change waits for the changes of an object in a cluster.
package change

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

// pause is the time before what a server no longer tells is looked at again.
const pause = time.Second

// Wait returns when an object that is watched is another than the version that is known
// of it, after resync, or when ctx ends. It ends the watch. The watch must have begun
// before the known version was read, so that no change falls between; it begins with the
// object as it was then, which is mostly the version that is known, and no change. A nil
// watcher waits for resync alone.
func Wait(ctx context.Context, watcher watch.Interface, known string, c clock.Clock, resync time.Duration) {
	timer := c.NewTimer(resync)
	defer func() { timer.Stop() }()
	var events <-chan watch.Event // none ever, where nothing is watched
	if watcher != nil {
		defer watcher.Stop()
		events = watcher.ResultChan()
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				timer.Stop()
				timer = c.NewTimer(min(pause, resync))
				continue
			}
			if o, err := meta.Accessor(e.Object); err != nil || e.Type != watch.Added || known == "" || o.GetResourceVersion() != known {
				return
			}
		case <-timer.C():
			return
		case <-ctx.Done():
			return
		}
	}
}

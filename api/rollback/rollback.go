// Package rollback goes back to earlier models of a store, for whoever asks: by the REST
// interface or on the command line.
package rollback

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Roll carries out a rollback, see [models.Roll]. Version is that of the program, and at
// is when it was asked for. From is the number of the entry that holds as far as whoever
// asks knows, 0 where they do not say.
func Roll(ctx context.Context, store *artifact.Store, version string, at time.Time, from uint64, r wire.Rollback) (wire.RolledBack, error) {
	to, err := models.Find(ctx, store, r.Model)
	if err != nil {
		return wire.RolledBack{}, err
	}
	done, err := models.Roll(ctx, store, version, models.Rollback{To: to, Reason: r.Reason, At: at, Hold: r.Hold, From: from, DryRun: r.DryRun})
	if err != nil {
		return wire.RolledBack{}, err
	}
	return wire.RolledBack{
		Run: done.After.Run, Before: done.Before.Run, Number: done.After.Head.Number, Hold: done.After.Hold, Changed: done.Changed, DryRun: r.DryRun,
	}, nil
}

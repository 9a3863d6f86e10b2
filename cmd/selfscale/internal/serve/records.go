package serve

import (
	"context"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// records shows the API what became of runs that this process has forgotten.
type records struct{ *record.Reader }

// kept is for how long the records of runs are looked through.
const kept = 14 * 24 * time.Hour

// List implements [api.Records].
func (r records) List(ctx context.Context, before time.Time, o workflows.ListOptions) ([]workflows.Run, error) {
	limit := o.Limit
	o.Limit = 0 // some of what is found is too new
	found, err := r.Reader.List(ctx, record.ListOptions{ListOptions: o, From: before.Add(-kept), To: before.Add(24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(x workflows.Run) bool { return !x.Submitted.Before(before) })
	slices.SortStableFunc(found, func(a, b workflows.Run) int { return b.Submitted.Compare(a.Submitted) })
	if limit > 0 {
		found = found[:min(limit, len(found))]
	}
	return found, nil
}

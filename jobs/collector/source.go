// Package collector is the step that measures: it asks a [Source] what every
// component has used and appends the answer to the table of samples, from which
// everything later starts.
package collector

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Source knows what components use. A cluster is one, so is a file that holds
// its past, and so is a simulated cluster.
type Source interface {
	// Samples calls add once for every component and every bucket of
	// [from, to) in which anything is known of it, in any order. From and to
	// are multiples of step, the length of a bucket, and to is not in the
	// future.
	//
	// A bucket without a reading of a resource has a nil Usage: a Source never
	// fills a gap. The sample belongs to the Source and may be changed after
	// add has returned. An error from add ends the call and is returned as it
	// is. A Source that cannot answer returns an error with
	// [schemas.CodeUnavailable], and the collector tries again later; samples
	// that were added by then are thrown away.
	//
	// It may be called for the same time again, after a failure or for a
	// backfill, and should then give the same answer.
	Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error
}

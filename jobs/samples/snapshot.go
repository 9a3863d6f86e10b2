package samples

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Snapshot is the table as it was at one moment. Later runs do not change it. It
// is for one goroutine at a time.
type Snapshot struct {
	// Head is what the snapshot reads; later manifests name it as their input.
	Head artifact.Head

	table *Table
	step  time.Duration
	lost  []artifact.File
}

// Snapshot returns the current table. It returns an error wrapping
// [artifact.ErrNotFound] where nothing was ever collected.
func (t *Table) Snapshot(ctx context.Context) (*Snapshot, error) {
	head, err := t.store.Latest(ctx, schemas.SamplesHead)
	if err != nil {
		return nil, err
	}
	return t.At(head)
}

// At returns the table as one head describes it.
func (t *Table) At(head artifact.Head) (*Snapshot, error) {
	step, err := time.ParseDuration(head.Manifest.Labels["step"])
	if err == nil {
		err = schemas.ValidateStep(step)
	}
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "head %s: label step must be 1 to 60 whole minutes that divide a day, but is %q", head.Key(), head.Manifest.Labels["step"])
	}
	return &Snapshot{Head: head, table: t, step: step}, nil
}

// Step returns the length of a bucket.
func (s *Snapshot) Step() time.Duration { return s.step }

// Lost returns the files that reads have left out so far, because they are
// damaged or gone: their samples are missing from what was read. Callers report
// them; the next run of the collector takes them out of the table.
func (s *Snapshot) Lost() []artifact.File { return s.lost }

// Range says which samples to read: those of buckets that start within
// [From, To), of the components from First to Last, both included. A zero
// ComponentID is no bound.
type Range struct {
	From, To    time.Time
	First, Last schemas.ComponentID
}

// files calls yield for each file that may hold samples of [from, to), the
// oldest first. One file is in memory at a time.
func (s *Snapshot) files(ctx context.Context, from, to time.Time, yield func(*columnar.SamplesReader) error) error {
	files := slices.Clone(s.Head.Manifest.Files)
	slices.SortStableFunc(files, func(a, b artifact.File) int { return a.From.Compare(b.From) })
	for _, f := range files {
		if !f.From.Before(to) || !from.Before(f.To) {
			continue
		}
		err := s.file(ctx, f, yield)
		var stopped stop
		if errors.As(err, &stopped) {
			return stopped.error
		}
		if damaged(err) {
			if !slices.Contains(s.lost, f) {
				s.lost = append(s.lost, f)
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stop is a caller's error on its way through a reader, whose own errors say
// that a file is damaged.
type stop struct{ error }

func (s *Snapshot) file(ctx context.Context, f artifact.File, yield func(*columnar.SamplesReader) error) error {
	data, err := s.table.store.GetFile(ctx, f)
	if err != nil {
		return err
	}
	r, err := columnar.OpenSamples(f.Key, data)
	if err != nil {
		return err
	}
	return yield(r)
}

// Scan calls yield with the samples of a range: file by file, the oldest first,
// within a file by component, and within a component by time. Each sample comes
// once. Rows are valid during the call only.
func (s *Snapshot) Scan(ctx context.Context, r Range, yield func(schemas.ComponentID, []columnar.Row) error) error {
	from, to := r.From.UnixMilli(), r.To.UnixMilli()
	return s.files(ctx, r.From, r.To, func(file *columnar.SamplesReader) error {
		return file.Scan(r.First, r.Last, func(id schemas.ComponentID, rows []columnar.Row) error {
			for len(rows) > 0 && rows[0].Start < from {
				rows = rows[1:]
			}
			for len(rows) > 0 && rows[len(rows)-1].Start >= to {
				rows = rows[:len(rows)-1]
			}
			if len(rows) == 0 {
				return nil
			}
			if err := yield(id, rows); err != nil {
				return stop{err}
			}
			return nil
		})
	})
}

// Components returns the components that have samples in files of [from, to), in
// order. Components that were seen on the same days only, just outside the
// range, may be among them.
func (s *Snapshot) Components(ctx context.Context, from, to time.Time) ([]schemas.ComponentID, error) {
	var all []schemas.ComponentID
	err := s.files(ctx, from, to, func(file *columnar.SamplesReader) error {
		ids, err := file.Components()
		if err != nil {
			return err
		}
		// Merged at once, since most files hold the same components.
		all = append(all, ids...)
		slices.SortFunc(all, schemas.ComponentID.Compare)
		all = slices.Compact(all)
		return nil
	})
	return all, err
}

// Window returns the newest n days of whole buckets that end at or before now,
// cut to what the table holds: the oldest bucket is the first one, and the newest
// the last one, that anything was measured in.
func (s *Snapshot) Window(now time.Time, days int) (from, to time.Time) {
	to = now.UTC().Truncate(s.step)
	if last := s.Head.Manifest.To; last.Before(to) {
		to = last
	}
	from = to.Add(-time.Duration(days) * 24 * time.Hour)
	if first := s.Head.Manifest.From.UTC().Truncate(s.step); from.Before(first) && first.Before(to) {
		from = first
	}
	return from, to
}

// Histories returns what is known of the given components, which must ascend,
// over the buckets of [from, to): series that all cover the whole window, with
// NaN where nothing was measured, and the requests and replicas that were last
// known within it. A resource that was never measured has no series. The result
// takes 32 bytes for each bucket and component; besides it, one file is in
// memory at a time.
func (s *Snapshot) Histories(ctx context.Context, ids []schemas.ComponentID, from, to time.Time) ([]schemas.History, error) {
	n := int(to.Sub(from) / s.step)
	if n < 1 || !from.Equal(from.Truncate(s.step)) || !to.Equal(from.Add(time.Duration(n)*s.step)) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "samples: window must be whole buckets of %s, but is %s to %s", s.step, from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	if len(ids) == 0 {
		return nil, nil
	}
	out := make([]schemas.History, len(ids))
	index := make(map[schemas.ComponentID]int, len(ids))
	for i, id := range ids {
		if i > 0 && id.Compare(ids[i-1]) <= 0 {
			return nil, schemas.Errorf(schemas.CodeInternal, "samples: components must ascend, but %s comes after %s", id, ids[i-1])
		}
		out[i] = schemas.History{Component: id, Series: map[schemas.Resource]*schemas.Series{}, Requests: schemas.Requests{}}
		index[id] = i
	}
	first, step := from.UnixMilli(), s.step.Milliseconds()
	r := Range{From: from, To: to, First: ids[0], Last: ids[len(ids)-1]}
	err := s.Scan(ctx, r, func(id schemas.ComponentID, rows []columnar.Row) error {
		i, ok := index[id]
		if !ok {
			return nil
		}
		h := &out[i]
		for _, res := range schemas.Resources() {
			fill(h, res, rows, from, s.step, n, func(row *columnar.Row) int { return int((row.Start - first) / step) })
		}
		newest(h, rows)
		return nil
	})
	return out, err
}

// fill puts the readings of one resource into its series, which it makes with
// the first of them.
func fill(h *schemas.History, r schemas.Resource, rows []columnar.Row, from time.Time, step time.Duration, n int, bucket func(*columnar.Row) int) {
	series := h.Series[r]
	for i := range rows {
		reading := rows[i].CPU
		if r == schemas.Memory {
			reading = rows[i].Memory
		}
		if reading.Count == columnar.Unknown {
			continue
		}
		if series == nil {
			series = &schemas.Series{Component: h.Component, Resource: r, Start: from.UTC(), Step: step, Mean: missing(n), Max: missing(n)}
			h.Series[r] = series
		}
		k := bucket(&rows[i])
		series.Mean[k] = columnar.Quantity(r, reading.Mean)
		series.Max[k] = columnar.Quantity(r, reading.Max)
	}
}

// newest takes the requests and replicas of the newest rows that know them. The
// rows are newer than those of the calls before.
func newest(h *schemas.History, rows []columnar.Row) {
	var replicas, cpu, memory bool
	for i := len(rows) - 1; i >= 0 && !(replicas && cpu && memory); i-- {
		row := &rows[i]
		if !replicas && row.Replicas != columnar.Unknown {
			n := int32(row.Replicas)
			h.Replicas, replicas = &n, true
		}
		if !cpu && row.CPURequest != columnar.Unknown {
			request(h, schemas.CPU, row.CPURequest)
			cpu = true
		}
		if !memory && row.MemoryRequest != columnar.Unknown {
			request(h, schemas.Memory, row.MemoryRequest)
			memory = true
		}
	}
}

// request sets the newest request. A request of nothing is none: a share of it
// could not be in use.
func request(h *schemas.History, r schemas.Resource, units int64) {
	if units == 0 {
		delete(h.Requests, r)
		return
	}
	h.Requests[r] = columnar.Quantity(r, units)
}

// missing returns n buckets in which nothing was measured.
func missing(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// Package samples is the table that the collector fills and every later step
// reads: what every component has used in every bucket of the last weeks.
//
// # Files
//
// The table is a set of Parquet files, each of one UTC day. The current head of
// the pipeline [schemas.SamplesHead] names them all, and no two of them hold the
// same component and bucket. A run of the collector adds a small file; when the
// day is over, or has [maxDayFiles], its files become one. A day that is older
// than the retention leaves the head, and the store's sweep removes its file.
//
// # Runs
//
// What a run has measured is first committed under the run's own manifest
// ([Table.Stage]) and then merged into the table ([Table.Merge]). A run that is
// killed between the two and started again merges what it had staged and asks
// its source nothing, so that every run-id stands for one set of samples.
//
// Samples that come late, twice, or from two sources are joined by
// [columnar.Join], for which the order does not matter: the table is the same
// whichever run came first.
package samples

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// DefaultRetention is how long samples are kept where nothing else is
// configured.
const DefaultRetention = 28 * 24 * time.Hour

// StepName is the step under whose name runs stage their samples.
const StepName = "collector"

const (
	kind = "samples"
	ext  = "parquet"
	// maxDayFiles is how many files a day may have before they become one. More
	// would be written less often and read more slowly.
	maxDayFiles = 16
)

// Table is the table of samples in one store.
type Table struct {
	store *artifact.Store
	opts  Options
}

// Options say how a [Table] behaves. The zero value works.
type Options struct {
	// Step is the length of a bucket; [schemas.DefaultStep] where 0. It is that
	// of the table for good.
	Step time.Duration
	// Retention is how long samples are kept; [DefaultRetention] where 0.
	Retention time.Duration
	// Writer is the version of the program, as manifests note it.
	Writer string
}

// New returns the table in a store.
func New(store *artifact.Store, opts Options) *Table {
	opts.Step = cmp.Or(opts.Step, schemas.DefaultStep)
	opts.Retention = cmp.Or(opts.Retention, DefaultRetention)
	return &Table{store, opts}
}

// Step returns the length of a bucket.
func (t *Table) Step() time.Duration { return t.opts.Step }

// Retention returns how long samples are kept.
func (t *Table) Retention() time.Duration { return t.opts.Retention }

// Stage collects what one run has measured and commits it under the run's
// manifest.
type Stage struct {
	table *Table
	run   string
	files []artifact.File
	rows  int64
	// duplicates and conflicts count what the source said twice.
	duplicates, conflicts int
}

// Stage starts the samples of a run.
func (t *Table) Stage(run string) *Stage { return &Stage{table: t, run: run} }

// Staged returns the manifest of what a run has staged, and false where it has
// staged nothing yet.
func (t *Table) Staged(ctx context.Context, run string) (artifact.Manifest, bool, error) {
	m, err := t.store.ReadManifest(ctx, schemas.ManifestKey(run, StepName, ""))
	if errors.Is(err, artifact.ErrNotFound) {
		return artifact.Manifest{}, false, nil
	}
	return m, err == nil, err
}

// Add stores samples, one file for each day that they touch. It may be called
// several times, with days in any order.
func (s *Stage) Add(ctx context.Context, set *columnar.Samples) error {
	if set.Step != s.table.opts.Step {
		return schemas.Errorf(schemas.CodeInvalidData, "samples: step must be that of the table, %s, but is %s", s.table.opts.Step, set.Step)
	}
	duplicates, conflicts := set.Normalize()
	s.duplicates += duplicates
	s.conflicts += conflicts
	days := byDay(set)
	for _, day := range slices.Sorted(maps.Keys(days)) {
		f, err := s.table.put(ctx, columnar.Time(day), days[day])
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
		s.rows += f.Rows
	}
	return nil
}

// Commit commits what was added. It is an error wrapping
// [artifact.ErrConflict] if the run has staged something else before; see
// [Table.Staged].
func (s *Stage) Commit(ctx context.Context) (artifact.Manifest, error) {
	m := artifact.Manifest{
		Kind: kind, Run: s.run, Step: StepName, Writer: s.table.opts.Writer, Files: s.files,
		Labels: map[string]string{
			"step":       s.table.opts.Step.String(),
			"rows":       strconv.FormatInt(s.rows, 10),
			"duplicates": strconv.Itoa(s.duplicates),
			"conflicts":  strconv.Itoa(s.conflicts),
		},
	}
	m.From, m.To = bounds(s.files)
	return s.table.store.CommitManifest(ctx, m.Key(), m)
}

// Report says what a run did to the table.
type Report struct {
	Outcome artifact.Outcome
	// Rows is how many rows the table has, Added how many more than before.
	// After a day has left the table, Added may be negative.
	Rows, Added int64
	// Duplicates counts rows that the table held already or that completed one
	// that it held; Conflicts those that differed from it.
	Duplicates, Conflicts int
	// Expired counts files that left the table because they are older than the
	// retention, and Lost those that were damaged or gone.
	Expired, Lost int
	From, To      time.Time
}

// Merge takes a run's staged samples into the table. Now decides which days are
// over and which are older than the retention. Merging the same run again
// changes nothing and gives the same report.
func (t *Table) Merge(ctx context.Context, m artifact.Manifest, now time.Time) (Report, error) {
	input, err := m.Input()
	if err != nil {
		return Report{}, err
	}
	head, outcome, err := t.store.Advance(ctx, schemas.SamplesHead, m.Run, func(prev *artifact.Head) (artifact.Manifest, error) {
		var live []artifact.File
		if prev != nil {
			live = prev.Manifest.Files
			if step := prev.Manifest.Labels["step"]; step != t.opts.Step.String() {
				return artifact.Manifest{}, schemas.Errorf(schemas.CodeInvalidConfig, "samples: step must be that of the table, %s, but is %s", step, t.opts.Step)
			}
		}
		return t.next(ctx, live, m, input, now)
	})
	if err != nil {
		return Report{}, err
	}
	return report(head, outcome)
}

// next builds the manifest of the head after one with the given live files.
func (t *Table) next(ctx context.Context, live []artifact.File, staged artifact.Manifest, input artifact.Input, now time.Time) (artifact.Manifest, error) {
	var r Report
	before := rows(live)
	oldest := dayOf(now.Add(-t.opts.Retention))
	days := map[int64]*dayFiles{}
	for i, files := range [][]artifact.File{live, staged.Files} {
		for _, f := range files {
			day := dayOf(f.From)
			if day < oldest {
				r.Expired++
				continue
			}
			d := days[day]
			if d == nil {
				d = &dayFiles{}
				days[day] = d
			}
			if i == 0 {
				d.live = append(d.live, f)
			} else {
				d.added = append(d.added, f)
			}
		}
	}
	next := artifact.Manifest{Kind: kind, Run: staged.Run, Writer: t.opts.Writer, Inputs: []artifact.Input{input}}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		files := days[day].all()
		if days[day].mustJoin(day < dayOf(now)) {
			f, err := t.join(ctx, day, files, &r)
			if err != nil {
				return artifact.Manifest{}, err
			}
			files = f
		}
		next.Files = append(next.Files, files...)
	}
	next.From, next.To = bounds(next.Files)
	r.Rows = rows(next.Files)
	next.Labels = map[string]string{
		"step":       t.opts.Step.String(),
		"rows":       strconv.FormatInt(r.Rows, 10),
		"added":      strconv.FormatInt(r.Rows-before, 10),
		"duplicates": strconv.Itoa(r.Duplicates),
		"conflicts":  strconv.Itoa(r.Conflicts),
		"expired":    strconv.Itoa(r.Expired),
		"lost":       strconv.Itoa(r.Lost),
	}
	return next, nil
}

// report reads back what [Table.next] noted, so that a repeated run tells the
// same as the first.
func report(h artifact.Head, outcome artifact.Outcome) (Report, error) {
	r := Report{Outcome: outcome, From: h.Manifest.From, To: h.Manifest.To}
	var errs []error
	number := func(label string) int64 {
		n, err := strconv.ParseInt(h.Manifest.Labels[label], 10, 64)
		if err != nil {
			errs = append(errs, schemas.Errorf(schemas.CodeCorrupt, "head %s: label %s must be a number, but is %q", h.Key(), label, h.Manifest.Labels[label]))
		}
		return n
	}
	r.Rows, r.Added = number("rows"), number("added")
	r.Duplicates, r.Conflicts = int(number("duplicates")), int(number("conflicts"))
	r.Expired, r.Lost = int(number("expired")), int(number("lost"))
	return r, errors.Join(errs...)
}

// dayFiles are the files of one day: those in the table and those of the run
// that is merged.
type dayFiles struct{ live, added []artifact.File }

func (d *dayFiles) all() []artifact.File { return slices.Concat(d.live, d.added) }

// mustJoin reports whether the day's files must become one: because two of them
// may hold the same bucket, because there are many, or because the day is over.
func (d *dayFiles) mustJoin(over bool) bool {
	all := d.all()
	if len(all) > 1 && over || len(all) > maxDayFiles {
		return true
	}
	for i, f := range all {
		for _, g := range all[:i] {
			if f.From.Before(g.To) && g.From.Before(f.To) {
				return true
			}
		}
	}
	return false
}

// join makes one file of a day's. A file that is damaged or gone is left out: a
// gap in the past must not keep the present out of the table.
func (t *Table) join(ctx context.Context, day int64, files []artifact.File, r *Report) ([]artifact.File, error) {
	joined := columnar.NewSamples(t.opts.Step)
	for _, f := range files {
		set, err := t.read(ctx, f)
		if damaged(err) {
			r.Lost++
			continue
		}
		if err != nil {
			return nil, err
		}
		for id, rows := range set.Rows {
			joined.Rows[id] = append(joined.Rows[id], rows...)
		}
	}
	if joined.Len() == 0 {
		return nil, nil
	}
	duplicates, conflicts := joined.Normalize()
	r.Duplicates += duplicates
	r.Conflicts += conflicts
	f, err := t.put(ctx, columnar.Time(day), joined)
	return []artifact.File{f}, err
}

// damaged reports whether err says that a file will never be readable again, as
// against that it cannot be reached now.
func damaged(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.CodeNotFound, schemas.CodeCorrupt, schemas.CodeInvalidData:
		return true
	}
	return false
}

// read returns the content of one file.
func (t *Table) read(ctx context.Context, f artifact.File) (*columnar.Samples, error) {
	data, err := t.store.GetFile(ctx, f)
	if err != nil {
		return nil, err
	}
	return columnar.DecodeSamples(f.Key, data)
}

// put stores the samples of one day.
func (t *Table) put(ctx context.Context, day time.Time, set *columnar.Samples) (artifact.File, error) {
	data, err := set.Encode()
	if err != nil {
		return artifact.File{}, fmt.Errorf("samples of %s: %w", day.Format(time.DateOnly), err)
	}
	meta := artifact.FileMeta{Rows: int64(set.Len()), Schema: columnar.SamplesSchema.String()}
	meta.From, meta.To = set.Bounds()
	return t.store.PutFile(ctx, kind, day, ext, data, meta)
}

// dayOf returns the beginning of the UTC day that holds an instant, in
// milliseconds.
func dayOf(at time.Time) int64 { return at.UTC().Truncate(24 * time.Hour).UnixMilli() }

// byDay cuts a set at the beginnings of days.
func byDay(set *columnar.Samples) map[int64]*columnar.Samples {
	const day = int64(24 * time.Hour / time.Millisecond)
	out := map[int64]*columnar.Samples{}
	for id, rows := range set.Rows {
		for len(rows) > 0 {
			start := rows[0].Start - rows[0].Start%day
			n := 1
			for n < len(rows) && rows[n].Start < start+day {
				n++
			}
			d := out[start]
			if d == nil {
				d = columnar.NewSamples(set.Step)
				out[start] = d
			}
			d.Rows[id] = rows[:n:n]
			rows = rows[n:]
		}
	}
	return out
}

func bounds(files []artifact.File) (from, to time.Time) {
	for i, f := range files {
		if i == 0 || f.From.Before(from) {
			from = f.From
		}
		if f.To.After(to) {
			to = f.To
		}
	}
	return from, to
}

func rows(files []artifact.File) int64 {
	n := int64(0)
	for _, f := range files {
		n += f.Rows
	}
	return n
}

package columnar

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// SamplesSchema is the table of samples: one row for each component and bucket.
var SamplesSchema = &Schema{
	Name:    "samples",
	Version: 1,
	Key:     4,
	Columns: append(keyColumns(),
		Column{Name: "cpu_mean", Kind: Cores, Optional: true},
		Column{Name: "cpu_max", Kind: Cores, Optional: true},
		Column{Name: "cpu_readings", Kind: Count, Optional: true, Repeats: true},
		Column{Name: "memory_mean_kib", Kind: KiB, Optional: true},
		Column{Name: "memory_max_kib", Kind: KiB, Optional: true},
		Column{Name: "memory_readings", Kind: Count, Optional: true, Repeats: true},
		Column{Name: "replicas", Kind: Count, Optional: true, Repeats: true},
		Column{Name: "cpu_request", Kind: Cores, Optional: true, Repeats: true},
		Column{Name: "memory_request_kib", Kind: KiB, Optional: true, Repeats: true},
	),
}

// keyColumns are what every table of components begins with and is sorted by.
func keyColumns() []Column {
	return []Column{
		{Name: "namespace", Kind: Text, Optional: true, Repeats: true},
		{Name: "service", Kind: Text, Repeats: true},
		{Name: "component", Kind: Text, Repeats: true},
		{Name: "time", Kind: Instant},
	}
}

// keys is the number of key columns.
const keys = 4

// Row is one sample without its component, in stored units. What was not
// measured is [Unknown].
type Row struct {
	Start       int64 // milliseconds since 1970, UTC
	CPU, Memory Reading
	Replicas    int64
	// CPURequest and MemoryRequest are what one pod requests.
	CPURequest, MemoryRequest int64
}

// Reading is one resource's usage in one bucket.
type Reading struct {
	Mean, Max int64
	Count     int64 // readings that the bucket holds
}

var unknownReading = Reading{Unknown, Unknown, Unknown}

// Join merges what two sources say about the same component and bucket: of each
// resource the reading with the larger count, then the larger maximum, then the
// larger mean; of each other field the larger one; and whatever only one of
// them knows. The order in which samples arrive therefore never matters, and a
// sample that arrives twice changes nothing. It reports as conflict whether the
// two know different things about one field.
func Join(a, b Row) (joined Row, conflict bool) {
	joined = a
	for _, f := range []struct {
		into *Reading
		from Reading
	}{{&joined.CPU, b.CPU}, {&joined.Memory, b.Memory}} {
		conflict = conflict || *f.into != f.from && f.into.Count != Unknown && f.from.Count != Unknown
		if f.from.exceeds(*f.into) {
			*f.into = f.from
		}
	}
	for _, f := range []struct {
		into *int64
		from int64
	}{{&joined.Replicas, b.Replicas}, {&joined.CPURequest, b.CPURequest}, {&joined.MemoryRequest, b.MemoryRequest}} {
		conflict = conflict || *f.into != f.from && *f.into != Unknown && f.from != Unknown
		*f.into = max(*f.into, f.from)
	}
	return joined, conflict
}

func (r Reading) exceeds(other Reading) bool {
	if r.Count != other.Count {
		return r.Count > other.Count
	}
	if r.Max != other.Max {
		return r.Max > other.Max
	}
	return r.Mean > other.Mean
}

// Samples is a set of samples with one length of bucket, by component. The zero
// value is not ready; use [NewSamples].
type Samples struct {
	Step time.Duration
	Rows map[schemas.ComponentID][]Row
}

// NewSamples returns an empty set.
func NewSamples(step time.Duration) *Samples {
	return &Samples{Step: step, Rows: map[schemas.ComponentID][]Row{}}
}

// Len returns the number of rows.
func (s *Samples) Len() int {
	n := 0
	for _, rows := range s.Rows {
		n += len(rows)
	}
	return n
}

// Bounds returns the start of the oldest bucket and the end of the newest one,
// zero times where there is none.
func (s *Samples) Bounds() (from, to time.Time) {
	first, last := int64(-1), int64(-1)
	for _, rows := range s.Rows {
		for i := range rows {
			if first < 0 || rows[i].Start < first {
				first = rows[i].Start
			}
			last = max(last, rows[i].Start)
		}
	}
	if first < 0 {
		return time.Time{}, time.Time{}
	}
	return Time(first), Time(last).Add(s.Step)
}

// Add checks a sample and adds it. A sample in which nothing is known is left
// out.
func (s *Samples) Add(sample *schemas.Sample) error {
	if err := sample.Validate(s.Step); err != nil {
		return err
	}
	row, known := toRow(sample)
	if known {
		s.Rows[sample.Component] = append(s.Rows[sample.Component], row)
	}
	return nil
}

func toRow(sample *schemas.Sample) (row Row, known bool) {
	row = Row{
		Start: sample.Start.UnixMilli(), CPU: unknownReading, Memory: unknownReading,
		Replicas: Unknown, CPURequest: Unknown, MemoryRequest: Unknown,
	}
	if u := sample.CPU; u != nil {
		row.CPU = Reading{Units(schemas.CPU, u.Mean), Units(schemas.CPU, u.Max), int64(u.Count)}
	}
	if u := sample.Memory; u != nil {
		row.Memory = Reading{Units(schemas.Memory, u.Mean), Units(schemas.Memory, u.Max), int64(u.Count)}
	}
	if sample.Replicas != nil {
		row.Replicas = int64(*sample.Replicas)
	}
	if sample.CPURequest != nil {
		row.CPURequest = Units(schemas.CPU, *sample.CPURequest)
	}
	if sample.MemoryRequest != nil {
		row.MemoryRequest = Units(schemas.Memory, *sample.MemoryRequest)
	}
	known = row.CPU.Count != Unknown || row.Memory.Count != Unknown || row.Replicas != Unknown ||
		row.CPURequest != Unknown || row.MemoryRequest != Unknown
	return row, known
}

// Sample returns a row as the noun that it stores.
func (r *Row) Sample(id schemas.ComponentID) schemas.Sample {
	s := schemas.Sample{Component: id, Start: Time(r.Start)}
	usage := func(res schemas.Resource, u Reading) *schemas.Usage {
		if u.Count == Unknown {
			return nil
		}
		return &schemas.Usage{Mean: Quantity(res, u.Mean), Max: Quantity(res, u.Max), Count: int32(u.Count)}
	}
	s.CPU = usage(schemas.CPU, r.CPU)
	s.Memory = usage(schemas.Memory, r.Memory)
	if r.Replicas != Unknown {
		n := int32(r.Replicas)
		s.Replicas = &n
	}
	if r.CPURequest != Unknown {
		v := Quantity(schemas.CPU, r.CPURequest)
		s.CPURequest = &v
	}
	if r.MemoryRequest != Unknown {
		v := Quantity(schemas.Memory, r.MemoryRequest)
		s.MemoryRequest = &v
	}
	return s
}

// Normalize sorts each component's rows by time and joins those of one bucket.
// It returns how many rows were joined to an equal one and how many of the
// joins were conflicts.
func (s *Samples) Normalize() (duplicates, conflicts int) {
	for id, rows := range s.Rows {
		ascending := func(a, b Row) int { return int(min(1, max(-1, a.Start-b.Start))) }
		if !slices.IsSortedFunc(rows, ascending) {
			slices.SortStableFunc(rows, ascending)
		}
		kept := rows[:min(1, len(rows))]
		for _, row := range rows[len(kept):] {
			last := &kept[len(kept)-1]
			if row.Start != last.Start {
				kept = append(kept, row)
				continue
			}
			joined, conflict := Join(*last, row)
			*last = joined
			if conflict {
				conflicts++
			} else {
				duplicates++
			}
		}
		s.Rows[id] = kept
	}
	return duplicates, conflicts
}

// Components returns the components in order.
func (s *Samples) Components() []schemas.ComponentID {
	return slices.SortedFunc(maps.Keys(s.Rows), schemas.ComponentID.Compare)
}

// Encode normalizes the set and returns it as a Parquet file. Equal sets give
// equal bytes.
func (s *Samples) Encode() ([]byte, error) {
	if err := schemas.ValidateStep(s.Step); err != nil {
		return nil, err
	}
	s.Normalize()
	w, err := NewWriter(SamplesSchema)
	if err != nil {
		return nil, err
	}
	var groups []groupBounds
	b := newBuilder(SamplesSchema)
	flush := func() error {
		f := b.frame()
		groups = append(groups, boundsOf(f))
		err := w.Append(f)
		b.reset()
		return err
	}
	for _, id := range s.Components() {
		rows := s.Rows[id]
		for i := range rows {
			if b.rows() == GroupRows {
				if err := flush(); err != nil {
					return nil, err
				}
			}
			r := &rows[i]
			b.key(id, r.Start)
			b.ints(keys, r.CPU.Mean, r.CPU.Max, r.CPU.Count, r.Memory.Mean, r.Memory.Max, r.Memory.Count, r.Replicas, r.CPURequest, r.MemoryRequest)
		}
	}
	if b.rows() > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	index, err := json.Marshal(groups)
	if err != nil {
		return nil, schemas.WithCode(schemas.CodeInternal, err)
	}
	return w.Close(map[string]string{"step": s.Step.String(), "groups": string(index)})
}

// groupBounds says which components a row group holds, so that a reader of a
// few can leave out the rest.
type groupBounds struct {
	First schemas.ComponentID `json:"first"`
	Last  schemas.ComponentID `json:"last"`
}

func boundsOf(f Frame) groupBounds {
	return groupBounds{componentAt(f, 0), componentAt(f, len(f[0].Index)-1)}
}

func componentAt(f Frame, row int) schemas.ComponentID {
	return schemas.ComponentID{
		Namespace: f[0].Texts[f[0].Index[row]],
		Service:   f[1].Texts[f[1].Index[row]],
		Component: f[2].Texts[f[2].Index[row]],
	}
}

// SamplesReader reads a file that [Samples.Encode] made.
type SamplesReader struct {
	r      *Reader
	step   time.Duration
	groups []groupBounds
}

// OpenSamples checks a file of samples and returns a reader for it.
func OpenSamples(name string, data []byte) (*SamplesReader, error) {
	r, err := Open(SamplesSchema, name, data)
	if err != nil {
		return nil, err
	}
	s := &SamplesReader{r: r}
	if s.step, err = r.step(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(r.Attribute("groups")), &s.groups); err != nil || len(s.groups) != r.Groups() {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must name the first and last component of its %d row groups, but names those of %d", name, r.Groups(), len(s.groups))
	}
	return s, nil
}

// Step returns the length of a bucket.
func (s *SamplesReader) Step() time.Duration { return s.step }

// Len returns the number of rows.
func (s *SamplesReader) Len() int64 { return s.r.Rows() }

// Scan calls yield for the components from first to last, both included, with
// their rows in order of time. Rows are valid during the call only. A component
// may come in several calls, one after the other. The zero ComponentID as first
// or last means no bound.
func (s *SamplesReader) Scan(first, last schemas.ComponentID, yield func(schemas.ComponentID, []Row) error) error {
	var none schemas.ComponentID
	var rows []Row
	previous := none
	previousStart := int64(-1)
	for g, bounds := range s.groups {
		if first != none && bounds.Last.Compare(first) < 0 || last != none && bounds.First.Compare(last) > 0 {
			continue
		}
		f, err := s.r.Group(g)
		if err != nil {
			return err
		}
		if got := boundsOf(f); got != bounds {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row group %d must hold %s to %s, but holds %s to %s", s.r.name, g, bounds.First, bounds.Last, got.First, got.Last)
		}
		err = s.r.components(f, func(id schemas.ComponentID, from, to int) error {
			if c := id.Compare(previous); c < 0 || c == 0 && f[3].Ints[from] <= previousStart {
				return schemas.Errorf(schemas.CodeInvalidData, "%s: row group %d: rows must ascend by component and time, but %s does not come after the group before it", s.r.name, g, id)
			}
			previous, previousStart = id, f[3].Ints[to-1]
			if first != none && id.Compare(first) < 0 || last != none && id.Compare(last) > 0 {
				return nil
			}
			rows = rows[:0]
			for i := from; i < to; i++ {
				row, err := s.row(f, i)
				if err != nil {
					return schemas.Errorf(schemas.CodeInvalidData, "%s: %s at %s: %w", s.r.name, id, Time(f[3].Ints[i]).Format(time.RFC3339), err)
				}
				rows = append(rows, row)
			}
			return yield(id, rows)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// row takes one row out of a frame and holds the rules that bind columns
// together.
func (s *SamplesReader) row(f Frame, i int) (Row, error) {
	r := Row{
		Start:         f[3].Ints[i],
		CPU:           Reading{f[4].Ints[i], f[5].Ints[i], f[6].Ints[i]},
		Memory:        Reading{f[7].Ints[i], f[8].Ints[i], f[9].Ints[i]},
		Replicas:      f[10].Ints[i],
		CPURequest:    f[11].Ints[i],
		MemoryRequest: f[12].Ints[i],
	}
	if r.Start%s.step.Milliseconds() != 0 {
		return r, schemas.Errorf(schemas.CodeInvalidData, "time must be a multiple of %s", s.step)
	}
	for _, u := range []struct {
		name string
		Reading
	}{{"cpu", r.CPU}, {"memory", r.Memory}} {
		if u.Reading == unknownReading {
			continue
		}
		if u.Count < 1 || u.Mean < 0 || u.Max < 0 {
			return r, schemas.Errorf(schemas.CodeInvalidData, "%s must have a mean, a maximum and at least one reading, or none of them, but has %d, %d and %d", u.name, u.Mean, u.Max, u.Count)
		}
	}
	if r.Replicas > schemas.MaxReplicas {
		return r, schemas.Errorf(schemas.CodeInvalidData, "replicas must be at most %d, but is %d", schemas.MaxReplicas, r.Replicas)
	}
	return r, nil
}

// DecodeSamples reads a whole file.
func DecodeSamples(name string, data []byte) (*Samples, error) {
	r, err := OpenSamples(name, data)
	if err != nil {
		return nil, err
	}
	s := NewSamples(r.Step())
	var none schemas.ComponentID
	err = r.Scan(none, none, func(id schemas.ComponentID, rows []Row) error {
		s.Rows[id] = append(s.Rows[id], rows...)
		return nil
	})
	return s, err
}

// components calls yield for each run of rows of one component, and checks its
// name.
func (r *Reader) components(f Frame, yield func(id schemas.ComponentID, from, to int) error) error {
	rows := f.Rows(r.schema)
	for from := 0; from < rows; {
		to := from + 1
		for to < rows && f[2].Index[to] == f[2].Index[from] && f[1].Index[to] == f[1].Index[from] && f[0].Index[to] == f[0].Index[from] {
			to++
		}
		id := componentAt(f, from)
		if err := id.Validate(); err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: %w", r.name, from, err)
		}
		if err := yield(id, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// step returns the length of a bucket, which every table of series carries.
func (r *Reader) step() (time.Duration, error) {
	step, err := time.ParseDuration(r.Attribute("step"))
	if err == nil {
		err = schemas.ValidateStep(step)
	}
	if err != nil {
		return 0, schemas.Errorf(schemas.CodeInvalidData, "%s: step must be 1 to 60 whole minutes that divide a day, but is %q", r.name, r.Attribute("step"))
	}
	return step, nil
}

// Components returns the components of the file in order. It reads their names
// only.
func (s *SamplesReader) Components() ([]schemas.ComponentID, error) {
	var out []schemas.ComponentID
	for g := range s.groups {
		f, err := s.r.names(g)
		if err != nil {
			return nil, err
		}
		err = s.r.components(f, func(id schemas.ComponentID, _, _ int) error {
			if len(out) == 0 || out[len(out)-1] != id {
				out = append(out, id)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

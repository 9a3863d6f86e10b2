package columnar

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// DatasetSchema is one shard of a dataset: for each component one row for every
// bucket of the window, measured or not.
var DatasetSchema = &Schema{
	Name:    "dataset",
	Version: 1,
	Key:     4,
	Columns: append(keyColumns(),
		Column{Name: "cpu_mean", Kind: Cores, Optional: true},
		Column{Name: "cpu_max", Kind: Cores, Optional: true},
		Column{Name: "memory_mean_kib", Kind: KiB, Optional: true},
		Column{Name: "memory_max_kib", Kind: KiB, Optional: true},
		// The last known ones, the same in all rows of a component.
		Column{Name: "replicas", Kind: Count, Optional: true, Repeats: true},
		Column{Name: "cpu_request", Kind: Cores, Optional: true, Repeats: true},
		Column{Name: "memory_request_kib", Kind: KiB, Optional: true, Repeats: true},
	),
}

// DatasetWriter builds one shard, component by component in ascending order,
// holding no more than a row group of them.
type DatasetWriter struct {
	w     *Writer
	b     *builder
	start time.Time
	step  time.Duration
	len   int
}

// NewDatasetWriter starts a shard whose series all have the given grid: n
// buckets of length step from start on.
func NewDatasetWriter(start time.Time, step time.Duration, n int) (*DatasetWriter, error) {
	if err := schemas.ValidateStep(step); err != nil {
		return nil, err
	}
	if n < 1 || !start.Equal(start.Truncate(step)) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "dataset: must have at least one bucket and start at a multiple of %s, but has %d and starts at %s", step, n, start.Format(time.RFC3339))
	}
	w, err := NewWriter(DatasetSchema)
	if err != nil {
		return nil, err
	}
	return &DatasetWriter{w: w, b: newBuilder(DatasetSchema), start: start, step: step, len: n}, nil
}

// Add writes one component. A history that has no series keeps its requests and
// replicas and comes back without series.
func (d *DatasetWriter) Add(h *schemas.History) error {
	if err := h.Component.Validate(); err != nil {
		return err
	}
	for _, r := range schemas.Resources() {
		s := h.Series[r]
		if s == nil {
			continue
		}
		if !s.Start.Equal(d.start) || s.Step != d.step || len(s.Mean) != d.len || s.Max != nil && len(s.Max) != d.len {
			return schemas.Errorf(schemas.CodeInvalidData, "dataset: %s %s: must have %d buckets of %s from %s on, but has %d of %s from %s on",
				h.Component, r, d.len, d.step, d.start.Format(time.RFC3339), len(s.Mean), s.Step, s.Start.Format(time.RFC3339))
		}
	}
	replicas := int64(Unknown)
	if h.Replicas != nil {
		replicas = int64(*h.Replicas)
	}
	requests := [2]int64{Unknown, Unknown}
	for i, r := range schemas.Resources() {
		if v, ok := h.Requests[r]; ok {
			requests[i] = Units(r, v)
		}
	}
	for i := range d.len {
		if d.b.rows() == GroupRows {
			if err := d.flush(); err != nil {
				return err
			}
		}
		d.b.key(h.Component, d.start.Add(time.Duration(i)*d.step).UnixMilli())
		for k, r := range schemas.Resources() {
			mean, most := int64(Unknown), int64(Unknown)
			if s := h.Series[r]; s != nil {
				mean = Units(r, s.Mean[i])
				if s.Max != nil {
					most = Units(r, s.Max[i])
				}
			}
			d.b.ints(keys+2*k, mean, most)
		}
		d.b.ints(keys+4, replicas, requests[0], requests[1])
	}
	return nil
}

func (d *DatasetWriter) flush() error {
	err := d.w.Append(d.b.frame())
	d.b.reset()
	return err
}

// Close ends the file and returns its bytes.
func (d *DatasetWriter) Close() ([]byte, error) {
	if err := d.flush(); err != nil {
		return nil, err
	}
	return d.w.Close(map[string]string{
		"step":    d.step.String(),
		"start":   d.start.UTC().Format(time.RFC3339),
		"buckets": strconv.Itoa(d.len),
	})
}

// DecodeDataset reads a shard. A resource without a single measured bucket has
// no series, and a series without a single maximum has no Max.
func DecodeDataset(name string, data []byte) ([]schemas.History, error) {
	r, err := Open(DatasetSchema, name, data)
	if err != nil {
		return nil, err
	}
	step, err := r.step()
	if err != nil {
		return nil, err
	}
	start, err := time.Parse(time.RFC3339, r.Attribute("start"))
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: start must be a time, but is %q", name, r.Attribute("start"))
	}
	n, err := strconv.Atoi(r.Attribute("buckets"))
	if err != nil || n < 1 || r.Rows()%int64(n) != 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: buckets must be a number that divides the %d rows, but is %q", name, r.Rows(), r.Attribute("buckets"))
	}
	var out []schemas.History
	filled := n // buckets of the newest component
	err = r.All(func(f Frame) error {
		return r.components(f, func(id schemas.ComponentID, from, to int) error {
			if filled == n {
				out = append(out, emptyHistory(id, start.UTC(), step, n))
				filled = 0
			}
			h := &out[len(out)-1]
			if h.Component != id || filled+to-from > n || f[3].Ints[from] != start.Add(time.Duration(filled)*step).UnixMilli() ||
				f[3].Ints[to-1]-f[3].Ints[from] != int64(to-from-1)*step.Milliseconds() {
				return schemas.Errorf(schemas.CodeInvalidData, "%s: %s must have %d buckets of %s from %s on, but has a row at %s after %d of them", name, h.Component, n, step, r.Attribute("start"), Time(f[3].Ints[from]).Format(time.RFC3339), filled)
			}
			for k, res := range schemas.Resources() {
				s := h.Series[res]
				for i := from; i < to; i++ {
					s.Mean[filled+i-from] = Quantity(res, f[keys+2*k].Ints[i])
					s.Max[filled+i-from] = Quantity(res, f[keys+2*k+1].Ints[i])
				}
			}
			filled += to - from
			if x := f[keys+4].Ints[from]; x != Unknown {
				replicas := int32(x)
				h.Replicas = &replicas
			}
			for k, res := range schemas.Resources() {
				if x := f[keys+5+k].Ints[from]; x != Unknown {
					h.Requests[res] = Quantity(res, x)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if filled != n {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: %s must have %d buckets, but has %d", name, out[len(out)-1].Component, n, filled)
	}
	for i := range out {
		dropUnmeasured(&out[i])
	}
	return out, nil
}

// emptyHistory returns a component whose series are to be filled.
func emptyHistory(id schemas.ComponentID, start time.Time, step time.Duration, n int) schemas.History {
	h := schemas.History{Component: id, Series: map[schemas.Resource]*schemas.Series{}, Requests: schemas.Requests{}}
	for _, r := range schemas.Resources() {
		h.Series[r] = &schemas.Series{Component: id, Resource: r, Start: start, Step: step, Mean: make([]float64, n), Max: make([]float64, n)}
	}
	return h
}

func dropUnmeasured(h *schemas.History) {
	known := func(v float64) bool { return !math.IsNaN(v) }
	for r, s := range h.Series {
		if !slices.ContainsFunc(s.Max, known) {
			s.Max = nil
		}
		if s.Max == nil && !slices.ContainsFunc(s.Mean, known) {
			delete(h.Series, r)
		}
	}
}

// Package history reads the usage that somebody else has recorded: CSV or
// Parquet files with one row for each component and instant.
//
//	time,service,component,cpu,memory,replicas,cpu_request,memory_request
//	2024-03-09T00:00:00Z,shop,cart,0.83,268435456,3,0.5,134217728
//
// Columns may come in any order. time, service, component, cpu and memory must
// be there; namespace, replicas, cpu_request and memory_request may. Times are
// RFC 3339, cpu is in cores and memory in bytes, both summed over the
// component's pods; requests are those of one pod. An empty field means not
// known. Rows of many components may be mixed, each component's own in order of
// time, on a regular grid of 1 to 60 minutes that begins with the UTC day; rows
// that are missing are gaps.
//
// A CSV file has a header, may be compressed with gzip or zstd, and may have
// CR/LF line ends, quoted fields and a byte order mark. A Parquet file may hold
// times as text or as timestamps and numbers in any type.
//
// [Read] gives series, a [File] is also a source for the collector. A file
// breaks a rule as a whole: the error names the file, the line or row, the
// column, the rule and the value, and nothing is returned.
package history

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Options say how a file is read. The zero value works.
type Options struct {
	// Step is the length of the buckets that finer rows are gathered in;
	// [schemas.DefaultStep] where 0. Rows further apart than that keep their own
	// step.
	Step time.Duration
}

// File is the content of a history file.
type File struct {
	Name string
	Rows int64
	// RowStep is the distance of rows, and Step the length of the buckets that
	// they were gathered in: the same, or longer.
	RowStep, Step time.Duration
	// From is the start of the oldest bucket and To the end of the newest.
	From, To time.Time

	components []*component // in order
}

// Histories returns the components in order. Each one's series begin with its own first
// row and end with To, so that all can be forecast from there.
func (f *File) Histories() []schemas.History {
	minutes := int64(f.Step / time.Minute)
	out := make([]schemas.History, 0, len(f.components))
	for _, c := range f.components {
		out = append(out, c.history(minutes, f.To.Unix()/60/minutes))
	}
	return out
}

// Release lets go of the series, once they are taken over. What the file says of itself
// stays.
func (f *File) Release() { f.components = nil }

// maxSpan is the longest time that a file may cover. Beyond it a wrong year is
// more likely than a long memory, and the memory for its buckets would be
// without bound.
const maxSpan = 800 * 24 * time.Hour

// Read reads a whole file. Memory is bounded by the result: at most two float64
// and a byte for each bucket, component and resource. A file that breaks a rule is an
// error with [schemas.CodeInvalidData]; one that cannot be opened,
// [schemas.CodeInvalidConfig].
func Read(ctx context.Context, path string, opts Options) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "history file %s: %w", path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "history file %s: must be a file, but is a folder", path)
	}
	return parse(ctx, filepath.Base(path), f, opts)
}

// Parse reads a file that is in memory. Name says in errors which one it is.
func Parse(ctx context.Context, name string, data []byte, opts Options) (*File, error) {
	return parse(ctx, name, bytes.NewReader(data), opts)
}

// input is what a file is read from; some errors need a second reading.
type input interface {
	io.Reader
	io.ReaderAt
	io.Seeker
}

func parse(ctx context.Context, name string, in input, opts Options) (*File, error) {
	if opts.Step == 0 {
		opts.Step = schemas.DefaultStep
	}
	if err := schemas.ValidateStep(opts.Step); err != nil {
		return nil, err
	}
	scan := scanCSV
	head := make([]byte, 4)
	n, err := in.ReadAt(head, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, schemas.Errorf(schemas.CodeUnavailable, "%s: %w", name, err)
	case n == 0:
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must have a header and rows, but is empty", name)
	case string(head[:n]) == "PAR1":
		scan = scanParquet
	}
	g := newGatherer(name, opts.Step)
	if err := scan(ctx, name, in, g.add); err != nil {
		return nil, err
	}
	f, off, err := g.file()
	if err == nil || off == 0 {
		return f, err
	}
	// Which row is off the grid is known only now that the grid is.
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "%s: %w", name, err)
	}
	return nil, scan(ctx, name, in, func(r *row) error {
		if r.minute%off != 0 {
			return r.errorf("time", "must be a multiple of %s since midnight UTC, the shortest distance between two rows of a component, but is %s", time.Duration(off)*time.Minute, r.instant())
		}
		return nil
	})
}

// row is one row of a file while it is read. Its byte slices are valid until the
// next one.
type row struct {
	file  string
	where string // "line" or "row"
	at    int64  // number of the line or row, from 1

	minute                        int64 // since 1970, UTC
	namespace, service, component []byte
	// Quantities; NaN is unknown.
	cpu, memory, replicas, cpuRequest, memoryRequest float64
}

// newRow returns a row to be filled again and again. Columns that the file does
// not have stay unknown.
func newRow(file, where string) *row {
	return &row{file: file, where: where, replicas: math.NaN(), cpuRequest: math.NaN(), memoryRequest: math.NaN()}
}

func (r *row) instant() string {
	return time.Unix(r.minute*60, 0).UTC().Format(time.RFC3339)
}

func (r *row) id() schemas.ComponentID {
	return schemas.ComponentID{Namespace: string(r.namespace), Service: string(r.service), Component: string(r.component)}
}

// errorf names the row and the column in front of the rule and the value.
func (r *row) errorf(column, format string, args ...any) error {
	return schemas.Errorf(schemas.CodeInvalidData, "%s: %s %d, column %s: "+format, append([]any{r.file, r.where, r.at, column}, args...)...)
}

// The columns of a history file.
const (
	timeColumn = iota
	serviceColumn
	componentColumn
	cpuColumn
	memoryColumn
	namespaceColumn
	replicasColumn
	cpuRequestColumn
	memoryRequestColumn
	columnCount
)

var columnNames = [columnCount]string{"time", "service", "component", "cpu", "memory", "namespace", "replicas", "cpu_request", "memory_request"}

// requiredColumns is how many of them, the first ones, a file must have.
const requiredColumns = memoryColumn + 1

// layout returns which column of ours each one of a file is.
func layout(name string, header []string) ([]int, error) {
	var seen [columnCount]bool
	out := make([]int, len(header))
	for i, h := range header {
		out[i] = -1
		for k, known := range columnNames {
			if h == known {
				out[i] = k
			}
		}
		switch k := out[i]; {
		case k < 0:
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: columns must be among %s, but there is %s", name, columnList(), quote([]byte(h)))
		case seen[k]:
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: each column must be there once, but %s is there twice", name, h)
		default:
			seen[k] = true
		}
	}
	for k := range requiredColumns {
		if !seen[k] {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: column %s must be there, but is missing", name, columnNames[k])
		}
	}
	return out, nil
}

func columnList() string {
	s := ""
	for i, c := range columnNames {
		if i > 0 {
			s += ", "
		}
		s += c
	}
	return s
}

package columnar

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"

	"github.com/self-scaling/self-scaling/schemas"
)

// Reader reads one file, row group by row group.
type Reader struct {
	name       string
	schema     *Schema
	file       *file.Reader
	first      []int64 // number of the first row of each group
	attributes map[string]string
}

// Open checks a file's bytes against their checksum and against the schema that
// they should have. Name says in errors which file it is. Data must not change
// while the reader is used.
func Open(s *Schema, name string, data []byte) (*Reader, error) {
	r, err := open(name, data)
	if err != nil {
		return nil, err
	}
	return r, r.conform(s)
}

// open reads what the file says about itself. [Reader.conform] must follow.
func open(name string, data []byte) (r *Reader, err error) {
	defer recoverCorrupt(name, &err)
	if len(data) < 12 || string(data[:4]) != magic || string(data[len(data)-4:]) != magic {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: must be a Parquet file, with %s at its beginning and its end, but is %d bytes of something else", name, magic, len(data))
	}
	at := checksumAt(data)
	if at < 0 {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: must carry a checksum under %s, but has none", name, checksumKey)
	}
	if want, got := string(data[at:at+len(zeroChecksum)]), checksum(data, at); want != got {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: CRC-32C must be %q, but is %q", name, want, got)
	}
	f, err := file.NewParquetReader(bytes.NewReader(data), file.WithReadProps(parquet.NewReaderProperties(limit(len(data)))))
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: %w", name, err)
	}
	r = &Reader{name: name, file: f, attributes: map[string]string{}}
	for _, kv := range f.MetaData().GetKeyValueMetadata() {
		if key, ok := strings.CutPrefix(kv.Key, attributePrefix); ok {
			r.attributes[key] = kv.GetValue()
		}
	}
	return r, nil
}

// magic stands at both ends of a Parquet file.
const magic = "PAR1"

// conform checks that the file has the given schema and a believable size.
func (r *Reader) conform(s *Schema) (err error) {
	defer recoverCorrupt(r.name, &err)
	r.schema = s
	title, fingerprint := r.Attribute("schema"), r.Attribute("fingerprint")
	if title != s.String() || fingerprint != s.Fingerprint() {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: schema must be %s (%.12s), but is %q (%.12s)", r.name, s, s.Fingerprint(), title, fingerprint)
	}
	root, err := s.node()
	if err != nil {
		return err
	}
	meta := r.file.MetaData()
	if !meta.Schema.Root().Equals(root) {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: columns must be those of %s, but are %s", r.name, s, meta.Schema)
	}
	rows := int64(0)
	for i := range r.file.NumRowGroups() {
		n := meta.RowGroup(i).NumRows()
		if n < 1 || n > GroupRows {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row group %d must have from 1 to %d rows, but has %d", r.name, i, GroupRows, n)
		}
		r.first = append(r.first, rows)
		rows += n
	}
	if rows != r.file.NumRows() {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: must have the %d rows of its row groups, but has %d", r.name, rows, r.file.NumRows())
	}
	return nil
}

// boundedAllocator refuses an allocation that no honest file of this size
// asks for: the library trusts the sizes that a page's header names.
type boundedAllocator struct {
	memory.Allocator
	most int
}

// limit returns an allocator for reading a file of the given size.
func limit(size int) memory.Allocator {
	return boundedAllocator{memory.DefaultAllocator, 16<<20 + 256*size}
}

func (a boundedAllocator) Allocate(size int) []byte {
	a.check(size)
	return a.Allocator.Allocate(size)
}

func (a boundedAllocator) Reallocate(size int, b []byte) []byte {
	a.check(size)
	return a.Allocator.Reallocate(size, b)
}

// check panics, because the interface has no error; readers recover.
func (a boundedAllocator) check(size int) {
	if size > a.most {
		panic(fmt.Sprintf("a page must have at most %d bytes, but names %d", a.most, size))
	}
}

// recoverCorrupt turns a panic of the library, which it raises on damaged
// files, into an error.
func recoverCorrupt(name string, err *error) {
	if r := recover(); r != nil {
		*err = schemas.Errorf(schemas.CodeCorrupt, "%s: unreadable: %v", name, r)
	}
}

// Rows returns the number of rows in the file.
func (r *Reader) Rows() int64 { return r.file.NumRows() }

// Groups returns the number of row groups.
func (r *Reader) Groups() int { return len(r.first) }

// Attribute returns what was given to [Writer.Close], "" where there is none.
func (r *Reader) Attribute(key string) string { return r.attributes[key] }

// Group reads row group i and checks its values and the order of its rows.
func (r *Reader) Group(i int) (Frame, error) {
	f, err := r.columns(i, len(r.schema.Columns))
	if err != nil {
		return nil, err
	}
	if err := r.schema.checkFrame(r.name, f, r.first[i]); err != nil {
		return nil, err
	}
	return f, nil
}

// names reads the columns of row group i that name its components, and leaves
// the other columns without rows.
func (r *Reader) names(i int) (Frame, error) { return r.columns(i, keys-1) }

// columns reads the first n columns of row group i.
func (r *Reader) columns(i, n int) (f Frame, err error) {
	defer recoverCorrupt(r.name, &err)
	group := r.file.RowGroup(i)
	rows := int(group.NumRows())
	f = make(Frame, len(r.schema.Columns))
	levels := make([]int16, rows)
	for k, c := range r.schema.Columns[:n] {
		f[k] = newVector(c, rows)
		column, err := group.Column(k)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: column %s: %w", r.name, c.Name, err)
		}
		if err := readColumn(column, c, &f[k], levels); err != nil {
			return nil, schemas.Errorf(schemas.CodeCorrupt, "%s: column %s of row group %d: %w", r.name, c.Name, i, err)
		}
	}
	return f, nil
}

// All calls yield for each row group in turn, and checks the order of rows from
// one to the next.
func (r *Reader) All(yield func(Frame) error) error {
	var last Frame
	for i := range r.Groups() {
		f, err := r.Group(i)
		if err != nil {
			return err
		}
		if last != nil && r.schema.Key > 0 && r.schema.compare(last, 0, f, 0) >= 0 {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: rows must ascend by %s without duplicates, but it does not come after the row before it", r.name, r.first[i], r.schema.Columns[r.schema.Key-1].Name)
		}
		last = f.row(f.Rows(r.schema) - 1)
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// readColumn fills v, which has its full length already.
func readColumn(column file.ColumnChunkReader, c Column, v *Vector, levels []int16) error {
	if !c.Optional {
		levels = nil
	}
	switch column := column.(type) {
	case *file.Int64ColumnChunkReader:
		return readValues(column.ReadBatch, column.Err, v.Ints, levels, Unknown)
	case *file.Float64ColumnChunkReader:
		return readValues(column.ReadBatch, column.Err, v.Reals, levels, math.NaN())
	case *file.BooleanColumnChunkReader:
		return readValues(column.ReadBatch, column.Err, v.Flags, levels, false)
	case *file.ByteArrayColumnChunkReader:
		texts := make([]parquet.ByteArray, len(v.Index))
		if err := readValues(column.ReadBatch, column.Err, texts, levels, nil); err != nil {
			return err
		}
		v.Texts = v.Texts[:0]
		v.Texts, v.Index = intern(texts, v.Texts, v.Index)
		return nil
	}
	return fmt.Errorf("no way to read a %T", column)
}

// readValues reads len(out) rows. The library puts the values that are present
// at the front; they are spread to their rows from the back, with null between.
// Failure says why the library has stopped before the end, which it does not
// always report with the values.
func readValues[T any](read func(int64, []T, []int16, []int16) (int64, int, error), failure func() error, out []T, levels []int16, null T) error {
	values := 0
	for rows := 0; rows < len(out); {
		var l []int16
		if levels != nil {
			l = levels[rows:]
		}
		n, present, err := read(int64(len(out)-rows), out[values:], l, nil)
		if err == nil && n <= 0 {
			err = failure()
		}
		if err != nil {
			return err
		}
		if n <= 0 {
			return fmt.Errorf("must have %d rows, but has %d", len(out), rows)
		}
		rows += int(n)
		values += present
	}
	if levels == nil {
		if values != len(out) {
			return fmt.Errorf("must have %d values, but has %d", len(out), values)
		}
		return nil
	}
	if values == len(out) {
		return nil
	}
	for row := len(out) - 1; row >= 0; row-- {
		if levels[row] == 0 {
			out[row] = null
			continue
		}
		values--
		if values < 0 {
			return fmt.Errorf("has fewer values than rows that are not null")
		}
		out[row] = out[values]
	}
	if values != 0 {
		return fmt.Errorf("has %d values more than rows that are not null", values)
	}
	return nil
}

// intern numbers the different texts in order of appearance.
func intern(rows []parquet.ByteArray, texts []string, index []uint32) ([]string, []uint32) {
	numbers := map[string]uint32{}
	var last string
	var number uint32
	for i, b := range rows {
		if i == 0 || string(b) != last {
			var ok bool
			if number, ok = numbers[string(b)]; !ok {
				number = uint32(len(texts))
				t := string(b)
				numbers[t] = number
				texts = append(texts, t)
			}
			last = texts[number]
		}
		index[i] = number
	}
	return texts, index
}

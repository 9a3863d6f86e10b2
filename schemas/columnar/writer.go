package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"runtime"
	"slices"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"

	"github.com/self-scaling/self-scaling/schemas"
)

// GroupRows is how many rows a row group has; the last one may have fewer.
const GroupRows = 1 << 16

// The keys of what a file says about itself.
const (
	attributePrefix = "self-scaling."
	schemaKey       = attributePrefix + "schema"
	fingerprintKey  = attributePrefix + "fingerprint"
	checksumKey     = attributePrefix + "crc32c"
)

// zstdLevel is the fastest one: after delta encoding the higher ones take up to
// six times as long and save less than a thousandth.
const zstdLevel = 1

// fewRows is how many rows a file must have for zstd. The library makes a new
// zstd encoder for each page, which takes a millisecond and 2 MB: a file of a
// few rows, whose footer outweighs them, is written several times as fast with
// Snappy.
const fewRows = GroupRows / 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer builds one file, group of rows by group of rows. Equal rows give equal
// bytes.
type Writer struct {
	schema *Schema
	buf    bytes.Buffer
	file   *file.Writer
	rows   int64
	last   Frame // the newest row, to hold the order across groups
	err    error
}

// NewWriter starts a file.
func NewWriter(s *Schema) (*Writer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return &Writer{schema: s}, nil
}

// start makes the library's writer, once it is known how many rows the first
// group has.
func (w *Writer) start(rows int) error {
	root, err := w.schema.node()
	if err != nil {
		return err
	}
	props := []parquet.WriterProperty{
		parquet.WithCreatedBy("self-scaling"),
		parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(zstdLevel),
		parquet.WithDictionaryDefault(false),
		// One batch a group, so that [noValues] is only met at its end.
		parquet.WithBatchSize(GroupRows),
	}
	if rows < fewRows {
		props = append(props, parquet.WithCompression(compress.Codecs.Snappy))
	}
	for _, c := range w.schema.Columns {
		switch {
		case c.Repeats:
			props = append(props, parquet.WithDictionaryFor(c.Name, true))
		case c.Kind.isInteger():
			props = append(props, parquet.WithEncodingFor(c.Name, parquet.Encodings.DeltaBinaryPacked))
		}
	}
	w.file = file.NewParquetWriter(&w.buf, root, file.WithWriterProps(parquet.NewWriterProperties(props...)))
	return nil
}

// Rows returns how many rows have been written.
func (w *Writer) Rows() int64 { return w.rows }

// Append writes the frame's rows, which must come after all rows before them.
// Each call starts a new row group. After an error the file is lost.
func (w *Writer) Append(f Frame) error {
	if w.err != nil {
		return w.err
	}
	w.err = w.append(f)
	return w.err
}

func (w *Writer) append(f Frame) error {
	s := w.schema
	name := s.Name + " file"
	if err := s.checkFrame(name, f, w.rows); err != nil {
		return err
	}
	rows := f.Rows(s)
	if rows == 0 {
		return nil
	}
	if w.last != nil && s.Key > 0 && s.compare(w.last, 0, f, 0) >= 0 {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: rows must ascend by %s without duplicates, but it does not come after the row before it", name, w.rows, s.Columns[s.Key-1].Name)
	}
	for from := 0; from < rows; from += GroupRows {
		if err := w.group(f.slice(from, min(from+GroupRows, rows))); err != nil {
			return err
		}
	}
	w.rows += int64(rows)
	w.last = f.row(rows - 1)
	return nil
}

// group writes one row group. The library reports some failures by panicking.
func (w *Writer) group(f Frame) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = schemas.Errorf(schemas.CodeInternal, "write %s file: %v", w.schema.Name, r)
		}
	}()
	rows := f.Rows(w.schema)
	if w.file == nil {
		if err := w.start(rows); err != nil {
			return err
		}
	}
	group := w.file.AppendRowGroup()
	levels := make([]int16, rows)
	for i, c := range w.schema.Columns {
		column, err := group.NextColumn()
		if err != nil {
			return fmt.Errorf("column %s: %w", c.Name, err)
		}
		if err := writeColumn(column, c, &f[i], levels); err != nil {
			return fmt.Errorf("column %s: %w", c.Name, err)
		}
		if err := column.Close(); err != nil {
			return fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	return group.Close()
}

// writeColumn writes all rows of one column. Levels has room for one definition
// level a row.
func writeColumn(column file.ColumnChunkWriter, c Column, v *Vector, levels []int16) error {
	if !c.Optional {
		levels = nil
	}
	var err error
	switch column := column.(type) {
	case *file.Int64ColumnChunkWriter:
		values := present(v.Ints, levels, func(x int64) bool { return x != Unknown })
		if _, err = column.WriteBatch(values, levels, nil); len(values) == 0 && !c.Repeats {
			err = noValues(err)
		}
	case *file.Float64ColumnChunkWriter:
		_, err = column.WriteBatch(present(v.Reals, levels, func(x float64) bool { return x == x }), levels, nil)
	case *file.BooleanColumnChunkWriter:
		_, err = column.WriteBatch(v.Flags, nil, nil)
	case *file.ByteArrayColumnChunkWriter:
		texts := make([]parquet.ByteArray, len(v.Texts))
		for i, t := range v.Texts {
			texts[i] = []byte(t)
		}
		index := present(v.Index, levels, func(x uint32) bool { return len(texts[x]) > 0 })
		values := make([]parquet.ByteArray, len(index))
		for i, x := range index {
			values[i] = texts[x]
		}
		_, err = column.WriteBatch(values, levels, nil)
	default:
		err = schemas.Errorf(schemas.CodeInternal, "no way to write a %T", column)
	}
	return err
}

// noValues forgives what the library reports after it has taken in a batch of
// nulls alone: its delta encoder makes its output with the first value, and the
// writer, when all is done, asks that output for its length without looking
// whether there is one. Nothing is lost by it.
func noValues(err error) error {
	var missing runtime.Error
	if errors.As(err, &missing) {
		return nil
	}
	return err
}

// present sets the definition level of each value and returns the values that
// are not null. Without levels all values are present.
func present[T any](values []T, levels []int16, known func(T) bool) []T {
	if levels == nil {
		return values
	}
	nulls := 0
	for i, x := range values {
		levels[i] = 1
		if !known(x) {
			levels[i] = 0
			nulls++
		}
	}
	if nulls == 0 {
		return values
	}
	out := make([]T, 0, len(values)-nulls)
	for i, x := range values {
		if levels[i] == 1 {
			out = append(out, x)
		}
	}
	return out
}

// Close ends the file and returns its bytes. Attributes say what the rows
// cannot, such as the length of a bucket.
func (w *Writer) Close(attributes map[string]string) (data []byte, err error) {
	if w.err != nil {
		return nil, w.err
	}
	defer func() {
		if r := recover(); r != nil {
			data, err = nil, schemas.Errorf(schemas.CodeInternal, "write %s file: %v", w.schema.Name, r)
		}
	}()
	if w.file == nil {
		if err := w.start(0); err != nil {
			return nil, err
		}
	}
	pairs := [][2]string{{schemaKey, w.schema.String()}, {fingerprintKey, w.schema.Fingerprint()}}
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		pairs = append(pairs, [2]string{attributePrefix + k, attributes[k]})
	}
	// The checksum comes last, so that its place is found from the end.
	pairs = append(pairs, [2]string{checksumKey, zeroChecksum})
	for _, p := range pairs {
		if err := w.file.AppendKeyValueMetadata(p[0], p[1]); err != nil {
			return nil, err
		}
	}
	if err := w.file.Close(); err != nil {
		return nil, err
	}
	data = w.buf.Bytes()
	at := checksumAt(data)
	if at < 0 || string(data[at:at+len(zeroChecksum)]) != zeroChecksum {
		return nil, schemas.Errorf(schemas.CodeInternal, "write %s file: no place for its checksum", w.schema.Name)
	}
	copy(data[at:], checksum(data, at))
	return data, nil
}

// zeroChecksum stands where the checksum will be while it is computed.
const zeroChecksum = "00000000"

// checksumAt returns where in data the checksum stands, -1 where there is none.
// In Thrift's compact protocol a field header and a length, one byte each, lie
// between a key and its value.
func checksumAt(data []byte) int {
	at := bytes.LastIndex(data, []byte(checksumKey))
	if at < 0 {
		return -1
	}
	at += len(checksumKey) + 2
	if at+len(zeroChecksum) > len(data) {
		return -1
	}
	return at
}

// checksum returns the CRC-32C of data, with the checksum's own place read as
// zeros, as eight hexadecimal digits.
func checksum(data []byte, at int) string {
	sum := crc32.Update(0, castagnoli, data[:at])
	sum = crc32.Update(sum, castagnoli, []byte(zeroChecksum))
	sum = crc32.Update(sum, castagnoli, data[at+len(zeroChecksum):])
	return fmt.Sprintf("%08x", sum)
}

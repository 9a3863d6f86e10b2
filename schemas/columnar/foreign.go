package columnar

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/self-scaling/self-scaling/schemas"
)

// Foreign reads a Parquet file that another program wrote: pandas, DuckDB,
// Spark. It knows nothing of what the columns mean; types that stand for text,
// a number or an instant are read, whatever their width, unit and encoding.
type Foreign struct {
	name    string
	file    *file.Reader
	columns []ForeignColumn
}

// ForeignColumn is one column of a [Foreign] file.
type ForeignColumn struct {
	Name string
	// Kind is [Text], [Instant] or [Real].
	Kind Kind
	// convert makes the kind's values of the physical ones.
	convert converter
}

// converter says how a column's physical values become text, numbers or
// instants.
type converter struct {
	// scale is what a whole number is divided by: of a decimal, or of an instant
	// to give milliseconds.
	scale float64
	// perMilli is how many of an instant's units make a millisecond, negative
	// for how many milliseconds a unit has.
	perMilli int64
}

// ForeignBatch holds some rows of the columns that were asked for, one vector
// each. A null is "" as text, NaN as a number and [Unknown] as an instant. Texts
// share the batch's memory: they are valid during the call only.
type ForeignBatch struct {
	First   int64 // number of the first row, from 0
	Rows    int
	Columns []ForeignVector
}

// ForeignVector holds the values of one column in a batch.
type ForeignVector struct {
	Texts []parquet.ByteArray
	// Reals holds numbers.
	Reals []float64
	// Instants holds milliseconds since 1970. Times without a zone are taken for
	// UTC.
	Instants []int64
}

// maxForeignColumns is more than any table of usage has.
const maxForeignColumns = 1000

// OpenForeign reads what a file says about itself. A file that cannot be read
// is an error with [schemas.CodeInvalidData], which begins with its name.
func OpenForeign(name string, r parquet.ReaderAtSeeker) (f *Foreign, err error) {
	defer recoverForeign(name, &err)
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "%s: %w", name, err)
	}
	props := parquet.NewReaderProperties(boundedAllocator{memory.DefaultAllocator, int(min(16<<20+256*size, 1<<31))})
	props.BufferedStreamEnabled = true
	reader, err := file.NewParquetReader(r, file.WithReadProps(props))
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must be a Parquet file: %w", name, err)
	}
	f = &Foreign{name: name, file: reader}
	s := reader.MetaData().Schema
	if s.NumColumns() > maxForeignColumns {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must have at most %d columns, but has %d", name, maxForeignColumns, s.NumColumns())
	}
	for i := range s.NumColumns() {
		c := s.Column(i)
		column := ForeignColumn{Name: c.Path()}
		if c.MaxRepetitionLevel() > 0 || c.MaxDefinitionLevel() > 1 {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: column %.100q must be flat, but is nested", name, c.Path())
		}
		if column.Kind, column.convert, err = kindOf(c); err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: column %.100q %w", name, c.Path(), err)
		}
		f.columns = append(f.columns, column)
	}
	rows := int64(0)
	for i := range reader.NumRowGroups() {
		n := reader.MetaData().RowGroup(i).NumRows()
		if n < 0 {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: row group %d must not have a negative number of rows, but has %d", name, i, n)
		}
		rows += n
	}
	if rows != reader.NumRows() {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must have the %d rows of its row groups, but has %d", name, rows, reader.NumRows())
	}
	return f, nil
}

// recoverForeign turns a panic of the library into an error about a file that
// is not ours.
func recoverForeign(name string, err *error) {
	if r := recover(); r != nil {
		*err = schemas.Errorf(schemas.CodeInvalidData, "%s: must be a whole Parquet file: %v", name, r)
	}
}

// kindOf says what a column of a foreign file holds.
func kindOf(c *schema.Column) (Kind, converter, error) {
	switch c.PhysicalType() {
	case parquet.Types.ByteArray:
		if d, ok := c.LogicalType().(schema.DecimalLogicalType); ok {
			return 0, converter{}, fmt.Errorf("must be a number of at most 64 bits, but is %s", d)
		}
		return Text, converter{}, nil
	case parquet.Types.Double, parquet.Types.Float:
		return Real, converter{scale: 1}, nil
	case parquet.Types.Int96:
		return Instant, converter{}, nil
	case parquet.Types.Int64, parquet.Types.Int32:
		switch l := c.LogicalType().(type) {
		case *schema.TimestampLogicalType:
			return timestamp(l.TimeUnit())
		case schema.TimestampLogicalType:
			return timestamp(l.TimeUnit())
		case *schema.DecimalLogicalType:
			return Real, converter{scale: math.Pow10(int(l.Scale()))}, nil
		case schema.DecimalLogicalType:
			return Real, converter{scale: math.Pow10(int(l.Scale()))}, nil
		case *schema.IntLogicalType, schema.IntLogicalType, schema.NoLogicalType, schema.UnknownLogicalType, nil:
			return Real, converter{scale: 1}, nil
		}
	}
	return 0, converter{}, fmt.Errorf("must be text, a number or a timestamp, but is %s %s", c.PhysicalType(), c.LogicalType())
}

func timestamp(unit schema.TimeUnitType) (Kind, converter, error) {
	switch unit {
	case schema.TimeUnitMillis:
		return Instant, converter{perMilli: 1}, nil
	case schema.TimeUnitMicros:
		return Instant, converter{perMilli: 1e3}, nil
	case schema.TimeUnitNanos:
		return Instant, converter{perMilli: 1e6}, nil
	}
	return 0, converter{}, fmt.Errorf("must count milli-, micro- or nanoseconds, but does not say")
}

// Columns returns the columns in the order of the file.
func (f *Foreign) Columns() []ForeignColumn { return f.columns }

// Rows returns the number of rows.
func (f *Foreign) Rows() int64 { return f.file.NumRows() }

// foreignBatchRows is how many rows are read at once.
const foreignBatchRows = 8192

// Scan calls yield with the given columns, batch by batch in the order of the
// file. The batch is reused for the next call.
func (f *Foreign) Scan(columns []int, yield func(*ForeignBatch) error) error {
	batch := &ForeignBatch{Columns: make([]ForeignVector, len(columns))}
	for g := range f.file.NumRowGroups() {
		readers, rows, err := f.group(g, columns)
		if err != nil {
			return err
		}
		for rows > 0 {
			batch.Rows = int(min(rows, foreignBatchRows))
			for i, r := range readers {
				if err := f.read(r, f.columns[columns[i]], batch.First, batch.Rows, &batch.Columns[i]); err != nil {
					return err
				}
			}
			if err := yield(batch); err != nil {
				return err
			}
			batch.First += int64(batch.Rows)
			rows -= int64(batch.Rows)
		}
	}
	return nil
}

// group opens the columns of a row group.
func (f *Foreign) group(g int, columns []int) (readers []file.ColumnChunkReader, rows int64, err error) {
	defer recoverForeign(f.name, &err)
	group := f.file.RowGroup(g)
	for _, k := range columns {
		pages, err := group.GetColumnPageReader(k)
		if err != nil {
			return nil, 0, schemas.Errorf(schemas.CodeInvalidData, "%s: column %s: %w", f.name, f.columns[k].Name, err)
		}
		descr := f.file.MetaData().Schema.Column(k)
		whole := &wholePages{PageReader: pages, optional: descr.MaxDefinitionLevel() > 0}
		if node, ok := descr.SchemaNode().(*schema.PrimitiveNode); ok && !whole.optional {
			descr = schema.NewColumn(node, 1, 0)
		}
		readers = append(readers, file.NewColumnReader(descr, whole, memory.DefaultAllocator, f.file.BufferPool()))
	}
	return readers, group.NumRows(), nil
}

// read fills v with the next rows of one column. First is the number of the
// first of them.
func (f *Foreign) read(r file.ColumnChunkReader, c ForeignColumn, first int64, rows int, v *ForeignVector) (err error) {
	defer recoverForeign(f.name, &err)
	defer func() {
		if err != nil && schemas.CodeOf(err) == schemas.CodeInternal {
			err = schemas.Errorf(schemas.CodeInvalidData, "%s: column %s: %w", f.name, c.Name, err)
		}
	}()
	levels := make([]int16, rows)
	switch r := r.(type) {
	case *file.ByteArrayColumnChunkReader:
		v.Texts = resize(v.Texts, rows)
		return readValues(r.ReadBatch, r.Err, v.Texts, levels, nil)
	case *file.Float64ColumnChunkReader:
		v.Reals = resize(v.Reals, rows)
		if err := readValues(r.ReadBatch, r.Err, v.Reals, levels, math.NaN()); err != nil {
			return err
		}
		return f.refuseNaN(c, first, v.Reals, levels)
	case *file.Float32ColumnChunkReader:
		if err := readReals(r.ReadBatch, r.Err, v, rows, levels, float32(math.NaN()), func(x float32) float64 { return float64(x) }); err != nil {
			return err
		}
		return f.refuseNaN(c, first, v.Reals, levels)
	case *file.Int32ColumnChunkReader:
		return readReals(r.ReadBatch, r.Err, v, rows, levels, nullInt32, func(x int32) float64 {
			return orNaN(x == nullInt32, float64(x)/c.convert.scale)
		})
	case *file.Int64ColumnChunkReader:
		if c.Kind == Instant {
			v.Instants = resize(v.Instants, rows)
			err := readValues(r.ReadBatch, r.Err, v.Instants, levels, nullInt64)
			for i, x := range v.Instants {
				v.Instants[i] = milliseconds(x, c.convert.perMilli)
			}
			return err
		}
		return readReals(r.ReadBatch, r.Err, v, rows, levels, nullInt64, func(x int64) float64 {
			return orNaN(x == nullInt64, float64(x)/c.convert.scale)
		})
	case *file.Int96ColumnChunkReader:
		raw := make([]parquet.Int96, rows)
		v.Instants = resize(v.Instants, rows)
		err := readValues(r.ReadBatch, r.Err, raw, levels, parquet.Int96{})
		for i, x := range raw {
			v.Instants[i] = Unknown
			if levels[i] == 1 {
				v.Instants[i] = int96(x)
			}
		}
		return err
	}
	return fmt.Errorf("no way to read a %T", r)
}

// refuseNaN reports a NaN that stands in the file, where a null would mean that
// nothing is known.
func (f *Foreign) refuseNaN(c ForeignColumn, first int64, values []float64, levels []int16) error {
	for i, x := range values {
		if math.IsNaN(x) && levels[i] == 1 {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d, column %s: must be a finite number or null, but is NaN", f.name, first+int64(i)+1, c.Name)
		}
	}
	return nil
}

// The smallest whole numbers stand for null on the way to a float64. No usage is
// negative, so that a file that really holds one is refused either way.
const (
	nullInt32 = math.MinInt32
	nullInt64 = math.MinInt64
)

func orNaN(null bool, v float64) float64 {
	if null {
		return math.NaN()
	}
	return v
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// readReals reads numbers of another type as float64.
func readReals[T any](read func(int64, []T, []int16, []int16) (int64, int, error), failure func() error, v *ForeignVector, rows int, levels []int16, null T, real func(T) float64) error {
	raw := make([]T, rows)
	v.Reals = resize(v.Reals, rows)
	if err := readValues(read, failure, raw, levels, null); err != nil {
		return err
	}
	for i, x := range raw {
		v.Reals[i] = real(x)
	}
	return nil
}

// milliseconds converts an instant and rounds it down. What is no instant that
// usage is measured at becomes an instant out of range, so that it is reported
// and not taken for null.
func milliseconds(x, perMilli int64) int64 {
	if x == nullInt64 {
		return Unknown
	}
	if x < 0 {
		return math.MinInt64
	}
	if x%perMilli != 0 {
		return math.MaxInt64
	}
	return x / perMilli
}

// int96 converts the timestamps of old Spark and Impala: nanoseconds of the day
// and the Julian day.
func int96(x parquet.Int96) int64 {
	const unixEpoch = 2440588 // as a Julian day
	nanos := int64(binary.LittleEndian.Uint64(x[:8]))
	day := int64(binary.LittleEndian.Uint32(x[8:])) - unixEpoch
	if nanos < 0 || nanos >= 86400e9 || day < 0 {
		return math.MinInt64
	}
	return day*86400_000 + nanos/1e6
}

// wholePages hands on pages that hold as many rows as they say, and all of them
// as pages of columns that may be null. The library's column reader waits for
// ever for rows that a damaged page promises and does not have, be it for their
// definition levels or, in a column without levels, for their values.
type wholePages struct {
	file.PageReader
	optional bool // the column has definition levels
	page     file.Page
	err      error
}

// Next fetches the next page that is whole.
func (p *wholePages) Next() bool {
	if p.err != nil || !p.PageReader.Next() {
		return false
	}
	p.page = p.PageReader.Page()
	if p.optional {
		p.err = p.check()
	} else {
		p.err = p.addLevels()
	}
	return p.err == nil
}

// Page returns the page that Next fetched.
func (p *wholePages) Page() file.Page { return p.page }

// Err returns why there is no further page.
func (p *wholePages) Err() error {
	if p.err != nil {
		return p.err
	}
	return p.PageReader.Err()
}

// check counts the definition levels of a page.
func (p *wholePages) check() error {
	var levels []byte
	switch page := p.page.(type) {
	case *file.DataPageV1:
		data := page.Data()
		if page.DefinitionLevelEncoding() != parquet.Encodings.RLE || len(data) < 4 {
			return fmt.Errorf("definition levels must be run-length encoded, but are %s in %d bytes", page.DefinitionLevelEncoding(), len(data))
		}
		n := binary.LittleEndian.Uint32(data)
		if uint64(n) > uint64(len(data)-4) {
			return fmt.Errorf("definition levels must fit their page, but take %d of %d bytes", n, len(data)-4)
		}
		levels = data[4 : 4+n]
	case *file.DataPageV2:
		data := page.Data()
		from, n := int64(page.RepetitionLevelByteLen()), int64(page.DefinitionLevelByteLen())
		if from < 0 || n < 0 || from+n > int64(len(data)) {
			return fmt.Errorf("definition levels must fit their page, but take %d of %d bytes", from+n, len(data))
		}
		levels = data[from : from+n]
	default:
		return nil
	}
	if want, got := int64(p.page.NumValues()), countLevels(levels); got < want {
		return fmt.Errorf("a page must have definition levels for its %d rows, but has %d", want, got)
	}
	return nil
}

// addLevels gives a page that has none definition levels which say that every
// row has a value.
func (p *wholePages) addLevels() error {
	values := p.page.Data()
	switch page := p.page.(type) {
	case *file.DataPageV1:
	case *file.DataPageV2:
		from := int64(page.RepetitionLevelByteLen()) + int64(page.DefinitionLevelByteLen())
		if from < 0 || from > int64(len(values)) {
			return fmt.Errorf("levels must fit their page, but take %d of %d bytes", from, len(values))
		}
		values = values[from:]
	default:
		return nil
	}
	rows := p.page.NumValues()
	run := binary.AppendUvarint(nil, uint64(rows)<<1) // the length of a run
	run = append(run, 1)                              // of this level
	data := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(run)+len(values)), uint32(len(run)))
	data = append(append(data, run...), values...)
	p.page = file.NewDataPageV1(memory.NewBufferBytes(data), rows, parquet.Encoding(p.page.Encoding()), parquet.Encodings.RLE, parquet.Encodings.RLE, int32(len(data)))
	return nil
}

// countLevels returns how many levels of one bit a run-length and bit-packed
// sequence holds.
func countLevels(b []byte) int64 {
	total := int64(0)
	for len(b) > 0 {
		header, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		b = b[n:]
		if header&1 == 0 { // a run of one value, which takes a byte
			if len(b) < 1 {
				break
			}
			b = b[1:]
			total += int64(min(header>>1, 1<<31))
			continue
		}
		groups := header >> 1 // of eight values in a byte
		if groups > uint64(len(b)) {
			groups = uint64(len(b))
		}
		b = b[groups:]
		total += 8 * int64(groups)
	}
	return total
}

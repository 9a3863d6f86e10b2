package columnar

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/self-scaling/self-scaling/schemas"
)

// Kind is what a column holds, which decides its type in Parquet, its encoding
// and the range of its values.
type Kind uint8

// The kinds of columns.
const (
	// Text is a UTF-8 string. Optional texts write "" as null.
	Text Kind = iota
	// Instant is a time in UTC, in whole milliseconds since 1970.
	Instant
	// Cores is CPU in whole tenths of a millicore, shown as DECIMAL(18,4) cores.
	Cores
	// KiB is memory in whole KiB.
	KiB
	// Count is a whole number from 0 to 2^31-1.
	Count
	// Real is a finite float64. Optional reals write NaN as null.
	Real
	// Flag is true or false and never null.
	Flag
)

// String returns the kind's name as the fingerprint spells it.
func (k Kind) String() string {
	return [...]string{"text", "instant", "cores", "kib", "count", "real", "flag"}[k]
}

// maxInstant is the end of the year 2199 in milliseconds. Arithmetic on
// nanoseconds overflows later than that.
const maxInstant = 7258118400000

// limit returns the largest whole number a column of this kind may hold.
func (k Kind) limit() int64 {
	switch k {
	case Instant:
		return maxInstant
	case Cores:
		return schemas.MaxCPU * coreUnits
	case KiB:
		return schemas.MaxMemory / bytesPerKiB
	}
	return 1<<31 - 1
}

func (k Kind) isInteger() bool { return k >= Instant && k <= Count }

// Column is one column of a table.
type Column struct {
	Name     string
	Kind     Kind
	Optional bool // may be null
	// Repeats says that the values come in long runs of few different ones, and
	// makes the column dictionary encoded.
	Repeats bool
}

// Schema is the shape of a table. It never changes once files exist: another
// shape gets another Version.
type Schema struct {
	Name    string // letters only
	Version int
	Columns []Column
	// Key is how many leading columns make up the key: rows ascend by them and
	// no two rows agree in all of them. 0 means that rows are in no order.
	Key int
}

// String returns name/version.
func (s *Schema) String() string { return fmt.Sprintf("%s/%d", s.Name, s.Version) }

// Fingerprint returns the SHA-256 of all that matters for reading a file:
// columns, their kinds, which may be null, and the key.
func (s *Schema) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s key %d\n", s, s.Key)
	for _, c := range s.Columns {
		fmt.Fprintf(&b, "%s %s %t\n", c.Name, c.Kind, c.Optional)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// Arrow returns the schema that Arrow readers see.
func (s *Schema) Arrow() *arrow.Schema {
	fields := make([]arrow.Field, len(s.Columns))
	for i, c := range s.Columns {
		var t arrow.DataType
		switch c.Kind {
		case Text:
			t = arrow.BinaryTypes.String
		case Instant:
			t = arrow.FixedWidthTypes.Timestamp_ms
		case Cores:
			t = &arrow.Decimal128Type{Precision: decimalPrecision, Scale: decimalScale}
		case Real:
			t = arrow.PrimitiveTypes.Float64
		case Flag:
			t = arrow.FixedWidthTypes.Boolean
		default:
			t = arrow.PrimitiveTypes.Int64
		}
		fields[i] = arrow.Field{Name: c.Name, Type: t, Nullable: c.Optional}
	}
	return arrow.NewSchema(fields, nil)
}

// CPU is kept in steps of 10^-decimalScale cores.
const (
	decimalPrecision = 18
	decimalScale     = 4
)

// node returns the schema as Parquet spells it.
func (s *Schema) node() (*schema.GroupNode, error) {
	var fields schema.FieldList
	for _, c := range s.Columns {
		var logical schema.LogicalType = schema.NoLogicalType{}
		physical := parquet.Types.Int64
		switch c.Kind {
		case Text:
			logical, physical = schema.StringLogicalType{}, parquet.Types.ByteArray
		case Instant:
			logical = schema.NewTimestampLogicalType(true, schema.TimeUnitMillis)
		case Cores:
			logical = schema.NewDecimalLogicalType(decimalPrecision, decimalScale)
		case Real:
			physical = parquet.Types.Double
		case Flag:
			physical = parquet.Types.Boolean
		}
		repetition := parquet.Repetitions.Required
		if c.Optional {
			repetition = parquet.Repetitions.Optional
		}
		n, err := schema.NewPrimitiveNodeLogical(c.Name, repetition, logical, physical, 0, -1)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeInternal, "schema %s, column %s: %w", s, c.Name, err)
		}
		fields = append(fields, n)
	}
	return schema.NewGroupNode(s.Name, parquet.Repetitions.Required, fields, -1)
}

// check reports a schema that cannot be written.
func (s *Schema) check() error {
	if s.Key < 0 || s.Key > len(s.Columns) || len(s.Columns) == 0 {
		return schemas.Errorf(schemas.CodeInternal, "schema %s: key must be from 0 to the number of columns (%d), but is %d", s, len(s.Columns), s.Key)
	}
	for i, c := range s.Columns {
		if c.Optional && c.Kind == Flag {
			return schemas.Errorf(schemas.CodeInternal, "schema %s: flag %s must not be optional", s, c.Name)
		}
		if i < s.Key && c.Kind != Text && !c.Kind.isInteger() {
			return schemas.Errorf(schemas.CodeInternal, "schema %s: key column %s must be text or a whole number, but is %s", s, c.Name, c.Kind)
		}
	}
	return nil
}

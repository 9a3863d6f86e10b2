package traces

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// The packed form, before gzip: the magic line, the number of series, and for
// each series its name, its first second, its step in seconds, its unit in
// millionths, whether the file ends with a line feed, the number of values and
// the values' differences in that unit. All numbers are varints, signed ones in
// zigzag form. Differences, because a minute's value is near the one before:
// gzip leaves 2.1 bytes a value of them, and 6 of the CSV.
const magic = "self-scaling traces 1\n"

const header = "ts,value"

// Bounds of what Decode believes, far above what it is used for, so that a
// damaged count cannot ask for the machine's memory.
const (
	maxSeries = 1 << 10
	maxValues = 1 << 24
	maxName   = 255
)

// Encode writes the series in their packed form.
func Encode(w io.Writer, series []Original) error {
	buf := []byte(magic)
	buf = binary.AppendUvarint(buf, uint64(len(series)))
	for i := range series {
		o := &series[i]
		unit := commonUnit(o.Micros)
		buf = binary.AppendUvarint(buf, uint64(len(o.Name)))
		buf = append(buf, o.Name...)
		buf = binary.AppendVarint(buf, o.Start.Unix())
		buf = binary.AppendUvarint(buf, uint64(o.Step/time.Second))
		buf = binary.AppendUvarint(buf, uint64(unit))
		newline := byte(0)
		if o.FinalNewline {
			newline = 1
		}
		buf = append(buf, newline)
		buf = binary.AppendUvarint(buf, uint64(len(o.Micros)))
		last := int64(0)
		for _, v := range o.Micros {
			buf = binary.AppendVarint(buf, (v-last)/unit)
			last = v
		}
	}
	_, err := w.Write(buf)
	return err
}

// Decode reads what [Encode] wrote. Anything else gives an error with
// [schemas.CodeCorrupt].
func Decode(r io.Reader) ([]Original, error) {
	d := decoder{r: bufio.NewReader(r)}
	if string(d.bytes(len(magic))) != magic && d.err == nil {
		d.fail("must begin with the line " + strconv.Quote(magic))
	}
	n := d.count("series", maxSeries)
	var series []Original
	for i := uint64(0); i < n && d.err == nil; i++ {
		series = append(series, d.original())
	}
	if d.err == nil {
		if _, err := d.r.ReadByte(); err == nil {
			d.fail("must end after the last series")
		} else if !errors.Is(err, io.EOF) {
			d.err = err // gzip's own checksum is checked at its end
		}
	}
	if d.err != nil {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "traces: packed series: %w", d.err)
	}
	return series, nil
}

// decoder reads numbers until the first error and then only zeros.
type decoder struct {
	r   *bufio.Reader
	err error
}

func (d *decoder) original() Original {
	o := Original{Name: string(d.bytes(int(d.count("name", maxName))))}
	o.Start = time.Unix(d.varint(), 0).UTC()
	o.Step = time.Duration(d.count("step", 3600)) * time.Second
	unit := int64(d.count("unit", math.MaxInt64))
	newline := d.bytes(1)
	o.FinalNewline = len(newline) == 1 && newline[0] == 1
	n := d.count("values", maxValues)
	// Grown as values arrive, so that memory follows the data and not the count.
	o.Micros = make([]int64, 0, min(n, 32<<10))
	last := int64(0)
	for i := uint64(0); i < n && d.err == nil; i++ {
		last += d.varint() * unit
		o.Micros = append(o.Micros, last)
	}
	return o
}

func (d *decoder) fail(message string) {
	if d.err == nil {
		d.err = errors.New(message)
	}
}

func (d *decoder) note(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) varint() int64 {
	if d.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(d.r)
	if err != nil {
		d.note(err)
	}
	return v
}

func (d *decoder) count(what string, limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(d.r)
	if err != nil {
		d.note(err)
		return 0
	}
	if v > limit {
		d.fail(what + " must be at most " + strconv.FormatUint(limit, 10) + ", but is " + strconv.FormatUint(v, 10))
		return 0
	}
	return v
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(d.r, buf); err != nil {
		d.note(err)
		return nil
	}
	return buf
}

// commonUnit returns the greatest common divisor of the values, at least 1.
func commonUnit(micros []int64) int64 {
	unit := int64(0)
	for _, v := range micros {
		for v != 0 {
			unit, v = v, unit%v
		}
	}
	if unit < 0 {
		unit = -unit
	}
	return max(unit, 1)
}

// ParseCSV reads a series as published: the header "ts,value", then one line a
// value with seconds since 1970 and a number with six decimals, on a regular
// grid. A file that [Original.WriteCSV] could not write again byte for byte is
// refused.
func ParseCSV(name string, data []byte) (Original, error) {
	o := Original{Name: name, FinalNewline: bytes.HasSuffix(data, []byte("\n"))}
	corrupt := func(line int, rule, value string) error {
		return schemas.Errorf(schemas.CodeInvalidData, "traces: %s line %d: %s, but is %q", name, line, rule, value)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	if string(lines[0]) != header {
		return o, corrupt(1, "header must be "+header, string(lines[0]))
	}
	if len(lines) < 3 {
		return o, schemas.Errorf(schemas.CodeInvalidData, "traces: %s: a series must have at least 2 values, but has %d", name, len(lines)-1)
	}
	for i, line := range lines[1:] {
		at, value, _ := bytes.Cut(line, []byte(","))
		sec, err := strconv.ParseInt(string(at), 10, 64)
		if err != nil {
			return o, corrupt(i+2, "ts must be whole seconds", string(at))
		}
		t := time.Unix(sec, 0).UTC()
		switch i {
		case 0:
			o.Start = t
		case 1:
			o.Step = t.Sub(o.Start)
		}
		if !t.Equal(o.Start.Add(time.Duration(i) * o.Step)) {
			return o, corrupt(i+2, "ts must be on the grid of the first two", string(at))
		}
		micros, ok := parseMicros(string(value))
		if !ok {
			return o, corrupt(i+2, "value must be a number with six decimals", string(value))
		}
		o.Micros = append(o.Micros, micros)
	}
	var again bytes.Buffer
	if err := o.WriteCSV(&again); err != nil || !bytes.Equal(again.Bytes(), data) {
		return o, schemas.Errorf(schemas.CodeInvalidData, "traces: %s: file cannot be written again byte for byte", name)
	}
	return o, nil
}

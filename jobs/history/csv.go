package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/self-scaling/self-scaling/schemas"
)

// maxLine is the longest line of a CSV file, in bytes. Nine columns need a
// tenth of a percent of it.
const maxLine = 1 << 20

// cancelRows is how many rows are read between two looks at the context.
const cancelRows = 1 << 14

// scanCSV calls yield for each row.
func scanCSV(ctx context.Context, name string, in input, yield func(*row) error) error {
	plain, done, err := decompress(name, in)
	if err != nil {
		return err
	}
	defer done()
	lines := &lineReader{name: name, r: bufio.NewReaderSize(plain, 1<<18)}
	header, err := lines.next()
	if err != nil {
		return err
	}
	header = bytes.TrimPrefix(header, []byte("\xef\xbb\xbf"))
	switch {
	case header == nil:
		return schemas.Errorf(schemas.CodeInvalidData, "%s: must have a header and rows, but is empty", name)
	case bytes.HasPrefix(header, []byte("\xff\xfe")) || bytes.HasPrefix(header, []byte("\xfe\xff")):
		return schemas.Errorf(schemas.CodeInvalidData, "%s: must be UTF-8, but begins with the byte order mark of UTF-16", name)
	}
	fields, err := split(header, nil)
	if err != nil {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: line %d: %w", name, lines.line, err)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f)
	}
	columns, err := layout(name, names)
	if err != nil {
		return err
	}
	var c clock
	r := newRow(name, "line")
	for n := 1; ; n++ {
		if n%cancelRows == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line, err := lines.next()
		if err != nil {
			return err
		}
		if line == nil {
			return nil
		}
		r.at = lines.line
		if fields, err = split(line, fields[:0]); err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: line %d: %w", name, lines.line, err)
		}
		if len(fields) != len(columns) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: line %d: must have the %d fields of the header, but has %d", name, lines.line, len(columns), len(fields))
		}
		for i, f := range fields {
			if err := r.set(columns[i], f, &c); err != nil {
				return r.errorf(columnNames[columns[i]], "%w", err)
			}
		}
		if err := yield(r); err != nil {
			return err
		}
	}
}

// set takes one field.
func (r *row) set(column int, f []byte, c *clock) (err error) {
	switch column {
	case timeColumn:
		r.minute, err = c.parse(f)
		return err
	case serviceColumn:
		r.service = f
		return nil
	case componentColumn:
		r.component = f
		return nil
	case namespaceColumn:
		r.namespace = f
		return nil
	}
	v, err := number(f)
	if err != nil {
		return err
	}
	if err := check(column, v); err != nil {
		return err
	}
	r.quantity(column, v)
	return nil
}

func (r *row) quantity(column int, v float64) {
	switch column {
	case cpuColumn:
		r.cpu = v
	case memoryColumn:
		r.memory = v
	case replicasColumn:
		r.replicas = v
	case cpuRequestColumn:
		r.cpuRequest = v
	case memoryRequestColumn:
		r.memoryRequest = v
	}
}

// decompress returns the plain text of a file that may be compressed.
func decompress(name string, in input) (plain io.Reader, done func(), err error) {
	head := make([]byte, 4)
	n, _ := in.ReadAt(head, 0)
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must be whole: gzip: %w", name, err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, schemas.Errorf(schemas.CodeInvalidData, "%s: must be whole: zstd: %w", name, err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

// lineReader reads lines without their ends, leaving out empty ones.
type lineReader struct {
	name string
	r    *bufio.Reader
	line int64  // number of the newest line, from 1
	long []byte // a line that the reader's buffer did not hold
}

// next returns the next line, valid until the call after, and nil at the end.
func (l *lineReader) next() ([]byte, error) {
	for {
		b, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			l.long = l.long[:0]
			for errors.Is(err, bufio.ErrBufferFull) && len(l.long) <= maxLine {
				l.long = append(l.long, b...)
				b, err = l.r.ReadSlice('\n')
			}
			l.long = append(l.long, b...)
			b = l.long
		}
		l.line++
		switch {
		case len(b) > maxLine:
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: line %d: must be at most %d bytes long", l.name, l.line, maxLine)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, readError(l.name, err)
		}
		ended := err != nil
		b = bytes.TrimSuffix(b, []byte("\n"))
		b = bytes.TrimSuffix(b, []byte("\r"))
		if len(b) > 0 {
			return b, nil
		}
		if ended {
			return nil, nil
		}
	}
}

// readError says whether a file could not be read or cannot be unpacked.
func readError(name string, err error) error {
	var path interface{ Timeout() bool } // what errors of the operating system have
	if errors.As(err, &path) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return schemas.Errorf(schemas.CodeUnavailable, "%s: %w", name, err)
	}
	return schemas.Errorf(schemas.CodeInvalidData, "%s: must be whole, but cannot be unpacked: %w", name, err)
}

// split appends the fields of a line to fields. They share the line's memory.
func split(line []byte, fields [][]byte) ([][]byte, error) {
	if bytes.IndexByte(line, '"') >= 0 {
		return splitQuoted(line, fields)
	}
	for {
		i := bytes.IndexByte(line, ',')
		if i < 0 {
			return append(fields, line), nil
		}
		fields = append(fields, line[:i:i])
		line = line[i+1:]
	}
}

// splitQuoted is split for lines with quotes, as RFC 4180 has them. A quoted
// field must end on its line: none of ours may hold a line break.
func splitQuoted(line []byte, fields [][]byte) ([][]byte, error) {
	for {
		if len(line) == 0 || line[0] != '"' {
			i := bytes.IndexByte(line, ',')
			field := line
			if i >= 0 {
				field = line[:i:i]
			}
			if bytes.IndexByte(field, '"') >= 0 {
				return nil, fmt.Errorf("a quote must stand around a whole field, but stands in %s", quote(field))
			}
			fields = append(fields, field)
			if i < 0 {
				return fields, nil
			}
			line = line[i+1:]
			continue
		}
		var field []byte
		rest := line[1:]
		for {
			i := bytes.IndexByte(rest, '"')
			if i < 0 {
				return nil, fmt.Errorf("a quoted field must end on its line, but %s does not", quote(line))
			}
			field = append(field, rest[:i]...)
			rest = rest[i+1:]
			if len(rest) == 0 || rest[0] != '"' {
				break
			}
			field = append(field, '"')
			rest = rest[1:]
		}
		fields = append(fields, field)
		if len(rest) == 0 {
			return fields, nil
		}
		if rest[0] != ',' {
			return nil, fmt.Errorf("a quoted field must be followed by a comma, but %s follows", quote(rest))
		}
		line = rest[1:]
	}
}

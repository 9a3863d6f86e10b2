package history

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// scanParquet calls yield for each row.
func scanParquet(ctx context.Context, name string, in input, yield func(*row) error) error {
	f, err := columnar.OpenForeign(name, in)
	if err != nil {
		return err
	}
	var header []string
	var all []int
	for i, c := range f.Columns() {
		// pandas adds its index where it is not told otherwise.
		if c.Name == "__index_level_0__" {
			continue
		}
		header = append(header, c.Name)
		all = append(all, i)
	}
	columns, err := layout(name, header)
	if err != nil {
		return err
	}
	for i, k := range columns {
		if got := f.Columns()[all[i]].Kind; !fits(k, got) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: column %s must be %s, but is %s", name, columnNames[k], wanted(k), kindNames[got])
		}
	}
	var c clock
	r := newRow(name, "row")
	return f.Scan(all, func(b *columnar.ForeignBatch) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range b.Rows {
			r.at = b.First + int64(i) + 1
			for n, k := range columns {
				if err := r.take(k, &b.Columns[n], i, &c); err != nil {
					return r.errorf(columnNames[k], "%w", err)
				}
			}
			if err := yield(r); err != nil {
				return err
			}
		}
		return nil
	})
}

var kindNames = map[columnar.Kind]string{columnar.Text: "text", columnar.Instant: "a timestamp", columnar.Real: "a number"}

// fits reports whether a column of ours can be read from a kind of theirs.
func fits(column int, kind columnar.Kind) bool {
	switch column {
	case timeColumn:
		return kind == columnar.Text || kind == columnar.Instant
	case serviceColumn, componentColumn, namespaceColumn:
		return kind == columnar.Text
	}
	return kind == columnar.Real
}

func wanted(column int) string {
	switch column {
	case timeColumn:
		return "a timestamp or text"
	case serviceColumn, componentColumn, namespaceColumn:
		return "text"
	}
	return "a number"
}

// take sets one column of row i.
func (r *row) take(column int, v *columnar.ForeignVector, i int, c *clock) error {
	switch {
	case v.Instants != nil:
		const minute = int64(time.Minute / time.Millisecond)
		ms := v.Instants[i]
		switch {
		case ms == columnar.Unknown:
			return fmt.Errorf("must be there, but is null")
		case ms == math.MinInt64 || ms != math.MaxInt64 && ms > maxInstant:
			return fmt.Errorf("must be of the years 1970 to 2199")
		case ms%minute != 0:
			return fmt.Errorf("must be a whole minute, but is %s", wholeMillisecond(ms))
		}
		r.minute = ms / minute
		return nil
	case v.Texts != nil:
		return r.set(column, v.Texts[i], c)
	}
	if err := check(column, v.Reals[i]); err != nil {
		return err
	}
	r.quantity(column, v.Reals[i])
	return nil
}

// maxInstant is the end of the year 2199, in milliseconds.
const maxInstant = 7258118400000

func wholeMillisecond(ms int64) string {
	if ms == math.MaxInt64 {
		return "a fraction of a millisecond"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

package columnar

import (
	"cmp"
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/schemas"
)

// Vector holds the values of one column. Which field is used depends on the
// column's kind; the others stay nil.
type Vector struct {
	// Ints holds whole numbers; null is [Unknown].
	Ints []int64
	// Reals holds [Real] values; null is NaN.
	Reals []float64
	// Flags holds [Flag] values.
	Flags []bool
	// Texts holds the different strings of a text column in order of first
	// appearance, and Index one number into it for each row.
	Texts []string
	Index []uint32
}

// Frame holds some rows of a table, one vector for each column of its schema.
type Frame []Vector

// NewFrame returns a frame of n rows to be filled in. Text columns start with
// the empty string as their only text.
func NewFrame(s *Schema, n int) Frame {
	f := make(Frame, len(s.Columns))
	for i, c := range s.Columns {
		f[i] = newVector(c, n)
	}
	return f
}

func newVector(c Column, n int) Vector {
	switch c.Kind {
	case Text:
		return Vector{Texts: []string{""}, Index: make([]uint32, n)}
	case Real:
		return Vector{Reals: make([]float64, n)}
	case Flag:
		return Vector{Flags: make([]bool, n)}
	}
	return Vector{Ints: make([]int64, n)}
}

func (v *Vector) len(k Kind) int {
	switch {
	case k == Text:
		return len(v.Index)
	case k == Real:
		return len(v.Reals)
	case k == Flag:
		return len(v.Flags)
	}
	return len(v.Ints)
}

// Rows returns the number of rows.
func (f Frame) Rows(s *Schema) int {
	if len(f) == 0 {
		return 0
	}
	return f[0].len(s.Columns[0].Kind)
}

// slice returns rows [from, to), sharing the frame's memory.
func (f Frame) slice(from, to int) Frame {
	out := make(Frame, len(f))
	for i, v := range f {
		out[i].Texts = v.Texts
		switch {
		case v.Index != nil:
			out[i].Index = v.Index[from:to]
		case v.Reals != nil:
			out[i].Reals = v.Reals[from:to]
		case v.Flags != nil:
			out[i].Flags = v.Flags[from:to]
		default:
			out[i].Ints = v.Ints[from:to]
		}
	}
	return out
}

// row returns a copy of one row.
func (f Frame) row(i int) Frame {
	out := f.slice(i, i+1)
	for k := range out {
		v := &out[k]
		v.Ints, v.Reals, v.Flags, v.Index = slices.Clone(v.Ints), slices.Clone(v.Reals), slices.Clone(v.Flags), slices.Clone(v.Index)
	}
	return out
}

// checkFrame reports the first value of the frame that breaks its column's rule, or
// the first row that is out of order. Name says which file; first is the number
// of the frame's first row in it.
func (s *Schema) checkFrame(name string, f Frame, first int64) error {
	if len(f) != len(s.Columns) {
		return schemas.Errorf(schemas.CodeInternal, "%s: a frame of %s must have %d columns, but has %d", name, s, len(s.Columns), len(f))
	}
	rows := f.Rows(s)
	for i, c := range s.Columns {
		v := &f[i]
		if n := v.len(c.Kind); n != rows {
			return schemas.Errorf(schemas.CodeInternal, "%s: column %s must have %d rows, but has %d", name, c.Name, rows, n)
		}
		switch {
		case c.Kind == Text:
			for row, x := range v.Index {
				if int(x) >= len(v.Texts) {
					return schemas.Errorf(schemas.CodeInternal, "%s: column %s, row %d: text number must be below %d, but is %d", name, c.Name, first+int64(row), len(v.Texts), x)
				}
			}
		case c.Kind == Real:
			for row, x := range v.Reals {
				if math.IsInf(x, 0) || math.IsNaN(x) && !c.Optional {
					return schemas.Errorf(schemas.CodeInvalidData, "%s: column %s, row %d: must be a finite number, but is %v", name, c.Name, first+int64(row), x)
				}
			}
		case c.Kind.isInteger():
			least, limit := int64(0), c.Kind.limit()
			if c.Optional {
				least = Unknown
			}
			for row, x := range v.Ints {
				if x < least || x > limit {
					return schemas.Errorf(schemas.CodeInvalidData, "%s: column %s, row %d: must be from 0 to %d, but is %d", name, c.Name, first+int64(row), limit, x)
				}
			}
		}
	}
	for row := 1; s.Key > 0 && row < rows; row++ {
		if s.compare(f, row-1, f, row) >= 0 {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: rows must ascend by %s without duplicates, but it does not come after the row before it", name, first+int64(row), s.Columns[s.Key-1].Name)
		}
	}
	return nil
}

// compare orders row i of a and row j of b by the key.
func (s *Schema) compare(a Frame, i int, b Frame, j int) int {
	for k := range s.Key {
		x, y := &a[k], &b[k]
		c := 0
		if s.Columns[k].Kind != Text {
			c = cmp.Compare(x.Ints[i], y.Ints[j])
		} else if &x.Texts[0] != &y.Texts[0] || x.Index[i] != y.Index[j] {
			c = cmp.Compare(x.Texts[x.Index[i]], y.Texts[y.Index[j]])
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

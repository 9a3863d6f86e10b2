package columnar

import "github.com/self-scaling/self-scaling/schemas"

// builder fills frames row by row, reusing one frame's memory.
type builder struct {
	schema *Schema
	f      Frame
	// numbers holds what each text of a column is numbered.
	numbers []map[string]uint32
	id      schemas.ComponentID // of the newest row
}

func newBuilder(s *Schema) *builder {
	b := &builder{schema: s, f: NewFrame(s, 0), numbers: make([]map[string]uint32, len(s.Columns))}
	b.reset()
	return b
}

// reset empties the frame.
func (b *builder) reset() {
	b.id = schemas.ComponentID{}
	for i := range b.f {
		v := &b.f[i]
		v.Ints, v.Reals, v.Flags, v.Index = v.Ints[:0], v.Reals[:0], v.Flags[:0], v.Index[:0]
		if b.schema.Columns[i].Kind == Text {
			// The writer may still hold the newest row's text.
			v.Texts = nil
			b.numbers[i] = map[string]uint32{}
		}
	}
}

func (b *builder) rows() int    { return b.f.Rows(b.schema) }
func (b *builder) frame() Frame { return b.f }

// text adds a value to a text column.
func (b *builder) text(column int, t string) {
	v := &b.f[column]
	n, ok := b.numbers[column][t]
	if !ok {
		n = uint32(len(v.Texts))
		v.Texts = append(v.Texts, t)
		b.numbers[column][t] = n
	}
	v.Index = append(v.Index, n)
}

// key adds the key columns of a row.
func (b *builder) key(id schemas.ComponentID, ms int64) {
	if b.rows() > 0 && id == b.id {
		for i := range keys - 1 {
			v := &b.f[i]
			v.Index = append(v.Index, v.Index[len(v.Index)-1])
		}
	} else {
		b.text(0, id.Namespace)
		b.text(1, id.Service)
		b.text(2, id.Component)
		b.id = id
	}
	b.f[3].Ints = append(b.f[3].Ints, ms)
}

// ints adds whole numbers to the columns from the given one on.
func (b *builder) ints(column int, values ...int64) {
	for i, x := range values {
		b.f[column+i].Ints = append(b.f[column+i].Ints, x)
	}
}

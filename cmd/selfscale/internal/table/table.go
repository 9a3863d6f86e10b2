// Package table writes tables for people: aligned columns, numbers to the
// right, no lines. What programs should read is in the JSON and Parquet files.
package table

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Align says to which side a column's cells are pushed.
type Align int

// The sides. Names go left, numbers right.
const (
	Left Align = iota
	Right
)

// Column is one column. A heading may have several lines, separated by line
// feeds.
type Column struct {
	Heading string
	Align   Align
}

// Table is a heading and rows of cells.
type Table struct {
	columns []Column
	rows    [][]string // a nil row is a rule
}

// New returns a table without rows.
func New(columns ...Column) *Table { return &Table{columns: columns} }

// Row adds a row. Cells that are missing at the end are empty; cells beyond the
// last column are not written.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.columns))
	copy(row, cells)
	t.rows = append(t.rows, row)
}

// Rule adds a line of dashes under the columns, as before a total.
func (t *Table) Rule() { t.rows = append(t.rows, nil) }

// gap separates two columns.
const gap = "  "

// WriteTo writes the table.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	headings := make([][]string, len(t.columns))
	lines := 0
	for i, c := range t.columns {
		headings[i] = strings.Split(c.Heading, "\n")
		lines = max(lines, len(headings[i]))
	}
	var all [][]string
	for line := range lines {
		row := make([]string, len(t.columns))
		for i, h := range headings {
			if skip := lines - len(h); line >= skip { // headings stand on the bottom line
				row[i] = h[line-skip]
			}
		}
		all = append(all, row)
	}
	all = append(all, t.rows...)

	widths := make([]int, len(t.columns))
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, c := range t.columns {
			if i > 0 {
				line.WriteString(gap)
			}
			if row == nil {
				line.WriteString(strings.Repeat("-", widths[i]))
				continue
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i]))
			if c.Align == Right {
				line.WriteString(pad + row[i])
			} else {
				line.WriteString(row[i] + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

package table_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/table"
)

func TestTable(t *testing.T) {
	tb := table.New(
		table.Column{Heading: "component"},
		table.Column{Heading: "floor\nnow", Align: table.Right},
		table.Column{Heading: "note"},
	)
	tb.Row("shop/cart", "12", "raised")
	tb.Row("shop/für-alle", "3")
	tb.Rule()
	tb.Row("total", "15", "", "beyond the last column")
	var got strings.Builder
	n, err := tb.WriteTo(&got)
	if err != nil || n != int64(got.Len()) {
		t.Errorf("WriteTo = %d, %v, want %d", n, err, got.Len())
	}
	want := strings.Join([]string{
		"               floor",
		"component        now  note",
		"shop/cart         12  raised",
		"shop/für-alle      3",
		"-------------  -----  ------",
		"total             15",
		"",
	}, "\n")
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestEmptyTableIsItsHeading(t *testing.T) {
	var got strings.Builder
	if _, err := table.New(table.Column{Heading: "a"}, table.Column{Heading: "b"}).WriteTo(&got); err != nil || got.String() != "a  b\n" {
		t.Errorf("table is %q, %v", got.String(), err)
	}
}

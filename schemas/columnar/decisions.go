package columnar

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// DecisionsSchema is the table of decisions. The columns before record are
// there to be queried; record is the whole decision as JSON, from which the
// same floor can be computed again.
var DecisionsSchema = &Schema{
	Name:    "decisions",
	Version: 1,
	Key:     keys,
	Columns: append(keyColumns(),
		Column{Name: "run", Kind: Text, Optional: true, Repeats: true},
		Column{Name: "mode", Kind: Text, Repeats: true},
		Column{Name: "previous_replicas", Kind: Count, Optional: true},
		Column{Name: "min_replicas", Kind: Count},
		Column{Name: "max_replicas", Kind: Count},
		Column{Name: "reason", Kind: Text, Repeats: true},
		Column{Name: "expires", Kind: Instant},
		Column{Name: "applied", Kind: Flag},
		Column{Name: "record", Kind: Text},
	),
}

// EncodeDecisions returns decisions as a Parquet file. No component may have
// two of the same instant.
func EncodeDecisions(decisions []schemas.Decision) ([]byte, error) {
	order := make([]*schemas.Decision, len(decisions))
	for i := range decisions {
		order[i] = &decisions[i]
	}
	slices.SortStableFunc(order, func(a, b *schemas.Decision) int {
		if c := a.Component.Compare(b.Component); c != 0 {
			return c
		}
		return a.Time.Compare(b.Time)
	})
	w, err := NewWriter(DecisionsSchema)
	if err != nil {
		return nil, err
	}
	b := newBuilder(DecisionsSchema)
	for _, d := range order {
		if err := d.Component.Validate(); err != nil {
			return nil, err
		}
		record, err := json.Marshal(d)
		if err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "decision for %s: %w", d.Component, err)
		}
		if b.rows() == GroupRows {
			if err := w.Append(b.frame()); err != nil {
				return nil, err
			}
			b.reset()
		}
		b.key(d.Component, d.Time.UnixMilli())
		previous := int64(Unknown)
		if d.PreviousReplicas != nil {
			previous = int64(*d.PreviousReplicas)
		}
		b.text(4, d.Run)
		b.text(5, string(d.Policy.Mode))
		b.ints(6, previous, int64(d.MinReplicas), int64(d.MaxReplicas))
		b.text(9, string(d.Reason))
		b.ints(10, d.Expires.UnixMilli())
		b.f[11].Flags = append(b.f[11].Flags, d.Applied)
		b.text(12, string(record))
	}
	if err := w.Append(b.frame()); err != nil {
		return nil, err
	}
	return w.Close(nil)
}

// DecodeDecisions reads what [EncodeDecisions] wrote, ordered by component and
// time. The columns must agree with the records. Members of a record that are no
// longer known are left out, since files are kept for good.
func DecodeDecisions(name string, data []byte) ([]schemas.Decision, error) {
	var out []schemas.Decision
	err := ScanDecisions(name, data, func(r DecisionRow) error {
		var d schemas.Decision
		if err := json.Unmarshal([]byte(r.Record), &d); err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: column record, row %d: %w", name, len(out), err)
		}
		if d.Component != r.Component || d.Time.UnixMilli() != r.Time.UnixMilli() || d.MinReplicas != r.MinReplicas {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: row %d: record must agree with its columns, but it is of %s at %s and theirs is %s at %s",
				name, len(out), d.Component, d.Time.Format(time.RFC3339), r.Component, r.Time.Format(time.RFC3339))
		}
		out = append(out, d)
		return nil
	})
	return out, err
}

// DecisionRow is a decision as the file holds it.
type DecisionRow struct {
	Component   schemas.ComponentID
	Time        time.Time // to the millisecond
	MinReplicas int32
	Reason      schemas.Reason
	// Record is the whole decision as JSON. It is not checked.
	Record string
}

// ScanDecisions calls yield with each row that [EncodeDecisions] wrote, ordered by
// component and time. An error that yield returns ends it.
func ScanDecisions(name string, data []byte, yield func(DecisionRow) error) error {
	r, err := Open(DecisionsSchema, name, data)
	if err != nil {
		return err
	}
	return r.All(func(f Frame) error {
		for i := range f.Rows(DecisionsSchema) {
			row := DecisionRow{
				Component: componentAt(f, i), Time: Time(f[3].Ints[i]), MinReplicas: int32(f[7].Ints[i]),
				Reason: schemas.Reason(f[9].Texts[f[9].Index[i]]), Record: f[12].Texts[f[12].Index[i]],
			}
			if err := yield(row); err != nil {
				return err
			}
		}
		return nil
	})
}

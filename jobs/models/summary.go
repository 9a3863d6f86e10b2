package models

import "github.com/self-scaling/self-scaling/schemas"

// Summary sums up the models of an entry of the line.
type Summary struct {
	CodeVersion string // of the program that trained the last shard
	Seed        uint64
	Networks    int // shards whose network was accepted
	Components  int
	Examples    int
	Steps       int
	// Loss and BankLoss are means over the shards that were judged, by the number
	// of examples; nil where none was.
	Loss     *float64
	BankLoss *float64
}

// Tally adds up the models of an entry, shard by shard. The zero value is empty.
type Tally struct {
	sum                    Summary
	components             map[schemas.ComponentID]bool
	loss, bankLoss, weight float64
}

// Add takes a shard's model in.
func (t *Tally) Add(m *schemas.Model) {
	t.sum.CodeVersion, t.sum.Seed = m.CodeVersion, m.Seed
	t.sum.Examples += m.Examples
	t.sum.Steps += m.Steps
	if m.WeightsSum != "" {
		t.sum.Networks++
	}
	if m.Loss != nil && m.BankLoss != nil {
		w := float64(max(1, m.Examples))
		t.loss, t.bankLoss, t.weight = t.loss+w**m.Loss, t.bankLoss+w**m.BankLoss, t.weight+w
	}
	if t.components == nil {
		t.components = map[schemas.ComponentID]bool{}
	}
	for i := range m.Scores {
		t.components[m.Scores[i].Component] = true
	}
}

// Summary returns the sums so far.
func (t *Tally) Summary() Summary {
	out := t.sum
	out.Components = len(t.components)
	if t.weight > 0 {
		loss, bankLoss := t.loss/t.weight, t.bankLoss/t.weight
		out.Loss, out.BankLoss = &loss, &bankLoss
	}
	return out
}

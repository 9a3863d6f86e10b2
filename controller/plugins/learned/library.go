package learned

import (
	"math"

	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// Library holds the accepted models, one a shard, and finds the one that learned
// from a component. It must not be changed while it is used.
type Library struct {
	shelves []*shelf
	scores  map[seriesKey]scored
}

// shelf is one model with what follows from its scores.
type shelf struct {
	model   *schemas.Model
	weights *network.Weights // nil where no network was accepted
	ratio   []float64        // per band, the typical loss of the network over the bank's
}

type seriesKey struct {
	component schemas.ComponentID
	resource  schemas.Resource
	statistic schemas.Statistic
}

type scored struct {
	shelf  *shelf
	errors map[string][]*schemas.BandError
	record []schemas.BandRecord
}

// NewLibrary returns a library without models.
func NewLibrary() *Library { return &Library{scores: map[seriesKey]scored{}} }

// Add takes in the model of one shard. Weights are nil where no network was
// accepted.
func (l *Library) Add(m *schemas.Model, weights *network.Weights) {
	s := &shelf{model: m, weights: weights, ratio: typicalRatios(m)}
	l.shelves = append(l.shelves, s)
	for _, sc := range m.Scores {
		l.scores[seriesKey{sc.Component, sc.Resource, sc.Statistic}] = scored{s, sc.Errors, sc.Record}
	}
}

// find returns the model that learned from a component, or else the first one:
// a network serves components that it has never seen. It returns nil where
// there is none.
func (l *Library) find(c schemas.ComponentID, r schemas.Resource) *shelf {
	if sc, ok := l.scores[seriesKey{c, r, schemas.Mean}]; ok {
		return sc.shelf
	}
	if len(l.shelves) > 0 {
		return l.shelves[0]
	}
	return nil
}

// typicalRatios returns, per band, the geometric mean over all series of the
// network's loss over the bank's, and 1 where nothing is known.
func typicalRatios(m *schemas.Model) []float64 {
	bands := schemas.Bands(m.Horizon)
	sum, n := make([]float64, len(bands)), make([]float64, len(bands))
	for _, sc := range m.Scores {
		for b := range bands {
			if r, count := lossRatio(sc.Errors, b); count > 0 {
				sum[b] += math.Log(r)
				n[b]++
			}
		}
	}
	ratio := make([]float64, len(bands))
	for b := range ratio {
		ratio[b] = 1
		if n[b] > 0 {
			ratio[b] = math.Exp(sum[b] / n[b])
		}
	}
	return ratio
}

// lossRatio returns the network's loss over the bank's in one band and on how
// many steps it was measured; 0 steps mean that it was not.
func lossRatio(errors map[string][]*schemas.BandError, band int) (ratio float64, count int) {
	net, bank := errors[schemas.Network], errors[schemas.Bank]
	if band >= len(net) || band >= len(bank) || net[band] == nil || bank[band] == nil {
		return 1, 0
	}
	// Both may be next to nothing on a flat series.
	const least, most = .25, 4.0
	switch n, b := net[band].Loss, bank[band].Loss; {
	case n == b:
		ratio = 1
	case b == 0:
		ratio = most
	default:
		ratio = max(least, min(most, n/b))
	}
	return ratio, net[band].Count
}

// ratioFor returns how the network's loss compares with the bank's for one series
// and band: as measured on the series, drawn towards what is typical of its
// shard by as much as the measurement is thin.
func (s *shelf) ratioFor(errors map[string][]*schemas.BandError, band int) float64 {
	const prior = 64 // steps
	typical := 1.0
	if band < len(s.ratio) {
		typical = s.ratio[band]
	}
	own, count := lossRatio(errors, band)
	w := float64(count) / float64(count+prior)
	return math.Exp(w*math.Log(own) + (1-w)*math.Log(typical))
}

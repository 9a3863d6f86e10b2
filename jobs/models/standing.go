package models

import (
	"maps"
	"math"
	"slices"

	"github.com/self-scaling/self-scaling/schemas"
)

// Standing is how one forecaster did over one band of the horizon on the newest
// day before its models were trained, over all series.
type Standing struct {
	Forecaster string
	Band       schemas.Band
	// RelLoss is the geometric mean over series of the forecaster's pinball loss
	// over seasonal naive's on the same steps, and RelMAE the same of the mean
	// absolute error: below 1 is better than repeating yesterday. A single series
	// counts for no more than a ratio of 16.
	RelLoss, RelMAE float64
	Series          int // with both errors
}

// Standings sums up the scores of a run's models, by forecaster and then by band.
// A forecaster that was tried on no series has none. Models of two runs were
// judged on different days, so that what can be compared is these ratios and not
// the errors themselves.
func Standings(trained []Trained) []Standing {
	sums := map[string]map[schemas.Band]*Standing{}
	for _, t := range trained {
		bands := schemas.Bands(t.Model.Horizon)
		for _, s := range t.Model.Scores {
			base := s.Errors[schemas.SeasonalNaive]
			for name, own := range s.Errors {
				for b, band := range bands {
					if b >= len(own) || b >= len(base) || own[b] == nil || base[b] == nil || base[b].Loss == 0 || base[b].MAE == 0 {
						continue
					}
					if sums[name] == nil {
						sums[name] = map[schemas.Band]*Standing{}
					}
					sum := sums[name][band]
					if sum == nil {
						sum = &Standing{Forecaster: name, Band: band}
						sums[name][band] = sum
					}
					sum.RelLoss += logRatio(own[b].Loss, base[b].Loss)
					sum.RelMAE += logRatio(own[b].MAE, base[b].MAE)
					sum.Series++
				}
			}
		}
	}
	var out []Standing
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		for _, band := range slices.SortedFunc(maps.Keys(sums[name]), func(a, b schemas.Band) int { return a.First - b.First }) {
			s := *sums[name][band]
			s.RelLoss, s.RelMAE = math.Exp(s.RelLoss/float64(s.Series)), math.Exp(s.RelMAE/float64(s.Series))
			out = append(out, s)
		}
	}
	return out
}

// logRatio returns log(a / b), b being above 0, cut to what a ratio of 4 has.
func logRatio(a, b float64) float64 {
	most := math.Log(4)
	return max(-most, min(most, math.Log(a/b)))
}

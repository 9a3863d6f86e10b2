package plugins

import (
	"context"
	"fmt"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

// SeasonalNaive forecasts what was used one day before, with the spread that
// days have had so far: [bank.SeasonalNaive].
type SeasonalNaive struct{}

var _ framework.ForecastPlugin = SeasonalNaive{}

func newSeasonalNaive(args []byte) (framework.Plugin, error) { return SeasonalNaive{}, noArgs(args) }

// Name returns [framework.Baseline].
func (SeasonalNaive) Name() string { return framework.Baseline }

// Forecast rejects a resource that has not been measured for a day, or so
// little that less than a quarter of the day's phases are known.
func (SeasonalNaive) Forecast(_ context.Context, _ *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Forecast, *framework.Status) {
	measured := c.Series[r].Measured()
	s := &measured
	day := schemas.StepsPerDay(s.Step)
	f, ok := bank.SeasonalNaive(s, day, s.Len(), steps, schemas.DefaultLevels())
	if !ok {
		return nil, rejected(schemas.InsufficientData, fmt.Sprintf("of %d buckets %d were measured; a day has %d", s.Len(), s.Valid(), day))
	}
	return f, nil
}

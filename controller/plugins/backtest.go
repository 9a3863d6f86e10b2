package plugins

import (
	"context"
	"math"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// BacktestName is the name of [Backtest].
const BacktestName = "Backtest"

// Backtest scores forecasters by how wrong they have been: 100 / (1 + e), where
// e is the error relative to the baseline that the forecasters left as
// [framework.BacktestErrors]. No error is 100, the baseline is 50, and twice
// its error is 33. A forecaster that was never put to the test gets 0: it must
// first show that it beats the baseline.
type Backtest struct{}

var _ framework.ScorePlugin = Backtest{}

func newBacktest(args []byte) (framework.Plugin, error) { return Backtest{}, noArgs(args) }

// Name returns [BacktestName].
func (Backtest) Name() string { return BacktestName }

// Score looks up the error of the forecaster that made f.
func (Backtest) Score(_ context.Context, state *framework.CycleState, _ *framework.Candidate, f *schemas.Forecast, band schemas.Band) (float64, *framework.Status) {
	if len(f.Forecasters) == 0 {
		return 0, framework.AsStatus(schemas.Errorf(schemas.CodeInternal, "%s %s forecast must name its forecaster", f.Component, f.Resource))
	}
	name := f.Forecasters[0]
	e, ok := framework.ReadBacktestErrors(state, f.Resource, name)[band]
	if !ok {
		if name != framework.Baseline {
			return framework.MinScore, nil
		}
		e = 1
	}
	if !(e >= 0) || math.IsInf(e, 0) {
		return 0, framework.AsStatus(schemas.Errorf(schemas.CodeInternal, "backtest error of %s on %s of %s must be finite and not negative, but is %v", name, f.Resource, f.Component, e))
	}
	return framework.MaxScore / (1 + e), nil
}

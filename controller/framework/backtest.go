package framework

import "github.com/self-scaling/self-scaling/schemas"

// Baseline is the name of the forecaster that every other one is measured
// against: it repeats what was used one day ago. A forecaster without a
// backtest is believed less than this one.
const Baseline = schemas.SeasonalNaive

// BacktestErrors says how wrong one forecaster has been about one resource of
// one component, for each band of [schemas.Bands] over the horizon of the run.
//
// A value is the forecaster's mean error over past origins whose outcome is
// known, divided by the error of [Baseline] over the same origins and steps: 1
// is as good as the baseline, 0.8 is a fifth better, 0 is perfect. The error
// must count under-prediction for more than over-prediction, as the pinball
// loss of the quantile that the floor is taken from does. Values are finite and
// not negative. A band that was not backtested is absent, never 0.
type BacktestErrors map[schemas.Band]float64

type backtestKey struct {
	resource   schemas.Resource
	forecaster string
}

// WriteBacktestErrors leaves the errors of a forecaster for the plugins that
// score. A forecaster calls it from its own Forecast, under its own name; it
// may also write those of others if it has them. The map must not be changed
// afterwards.
func WriteBacktestErrors(state *CycleState, r schemas.Resource, forecaster string, errors BacktestErrors) {
	state.Write(backtestKey{r, forecaster}, errors)
}

// ReadBacktestErrors returns what was left for a forecaster, nil where it has
// no backtest. The map must not be changed.
func ReadBacktestErrors(state *CycleState, r schemas.Resource, forecaster string) BacktestErrors {
	v, _ := state.Read(backtestKey{r, forecaster})
	errors, _ := v.(BacktestErrors)
	return errors
}

type gradeKey struct{ resource schemas.Resource }

// WriteGrade notes what the history of a resource allows. A filter that judges
// histories calls it for every resource; the decision records it.
func WriteGrade(state *CycleState, r schemas.Resource, g schemas.Grade) {
	state.Write(gradeKey{r}, g)
}

// ReadGrades returns what [WriteGrade] noted, nil where nothing was.
func ReadGrades(state *CycleState) map[schemas.Resource]schemas.Grade {
	var grades map[schemas.Resource]schemas.Grade
	for _, r := range schemas.Resources() {
		if v, ok := state.Read(gradeKey{r}); ok {
			if grades == nil {
				grades = make(map[schemas.Resource]schemas.Grade)
			}
			grades[r], _ = v.(schemas.Grade)
		}
	}
	return grades
}

type mixtureKey struct {
	resource   schemas.Resource
	forecaster string
}

// WriteMixtures notes what a forecaster that mixes others made of them for the next
// hour. It calls it from its own Forecast, under its own name; the decision records
// the mixture that was believed.
func WriteMixtures(state *CycleState, r schemas.Resource, forecaster string, mixtures []schemas.Mixture) {
	state.Write(mixtureKey{r, forecaster}, mixtures)
}

// ReadMixtures returns what [WriteMixtures] noted, nil where nothing was.
func ReadMixtures(state *CycleState, r schemas.Resource, forecaster string) []schemas.Mixture {
	v, _ := state.Read(mixtureKey{r, forecaster})
	mixtures, _ := v.([]schemas.Mixture)
	return mixtures
}

type modelKey string

// WriteModel notes the SHA-256 of the model that a forecaster used, in
// hexadecimal. A forecaster that has a model calls it from its own Forecast;
// the decision records the model of the forecaster that was believed.
func WriteModel(state *CycleState, forecaster, sha256 string) {
	state.Write(modelKey(forecaster), sha256)
}

// ReadModel returns the hash that [WriteModel] noted, "" where there is none.
func ReadModel(state *CycleState, forecaster string) string {
	v, _ := state.Read(modelKey(forecaster))
	hash, _ := v.(string)
	return hash
}

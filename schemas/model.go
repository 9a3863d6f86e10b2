package schemas

import (
	"maps"
	"time"
)

// Names of the forecasters, as profiles, scores and forecasts spell them.
const (
	SeasonalNaive = "SeasonalNaive"
	Bank          = "Bank"
	Network       = "Network"
	Hedge         = "Hedge"
)

// Model is what the trainer learned from one shard of a dataset.
type Model struct {
	// CodeVersion is the version of the program that trained it.
	CodeVersion string `json:"codeVersion"`
	// DatasetSum is the SHA-256 of the manifest of the data it learned from,
	// which begins at From and ends at To.
	DatasetSum string `json:"datasetSum,omitempty"`
	// CalendarSum is the SHA-256 of the calendars and time zones that it was
	// trained with, empty where there were none.
	CalendarSum string        `json:"calendarSum,omitempty"`
	From        time.Time     `json:"from"`
	To          time.Time     `json:"to"`
	Step        time.Duration `json:"step"`
	Period      int           `json:"period"`  // steps in a season
	Horizon     int           `json:"horizon"` // steps in a forecast
	Levels      []float64     `json:"levels"`
	Seed        uint64        `json:"seed"`

	// WeightsSum is the SHA-256 of the network's weights, empty where no network
	// was accepted. Verdict says why, or why not.
	WeightsSum string `json:"weightsSum,omitempty"`
	Verdict    string `json:"verdict"`
	Examples   int    `json:"examples"`
	Steps      int    `json:"steps"`
	// Loss is the mean pinball loss of the network's quantiles over the newest
	// day, which it was not trained on, and BankLoss that of the bank alone, both
	// in units of the bank's mean absolute error. Both are absent without examples.
	Loss     *float64 `json:"loss,omitempty"`
	BankLoss *float64 `json:"bankLoss,omitempty"`

	Scores []SeriesScore `json:"scores"`
}

// SeriesScore is how each forecaster did for one series on the newest day of
// its history, which none of them had seen.
type SeriesScore struct {
	Component ComponentID `json:"component"`
	Resource  Resource    `json:"resource"`
	Statistic Statistic   `json:"statistic"`
	// Errors holds, per forecaster, one error a band (see [Bands]). A band in
	// which a forecaster could not be tried is absent (null).
	Errors map[string][]*BandError `json:"errors"`
	// Record holds, per band, how the forecasters have done over the last days. It
	// is absent where they could not be compared.
	Record []BandRecord `json:"record,omitempty"`
}

// BandRecord is how the forecasters have done on one series over one band of the
// horizon, day after day, and what follows from it for their mixture.
type BandRecord struct {
	// Loss is each forecaster's pinball loss over the mean of all, the newest day
	// counting most.
	Loss map[string]float64 `json:"loss,omitempty"`
	// Days is the number of days that were compared, and Lost on how many of them,
	// up to the newest, the network was worse than the best of the others.
	Days int `json:"days"`
	Lost int `json:"lost"`
	// Lower and Upper are the logarithms of the factors that the spread below and
	// above the median is multiplied with, besides what the mixture adds while Days
	// are few.
	Lower float64 `json:"lower"`
	Upper float64 `json:"upper"`
	// Covered holds how many of Steps steps lay at or below the quantiles of 80, 90
	// and 95 % of the mixture, the newest day counting most.
	Covered [3]float64 `json:"covered"`
	Steps   float64    `json:"steps"`
}

// Clone returns a copy that shares nothing.
func (r *BandRecord) Clone() BandRecord {
	out := *r
	out.Loss = maps.Clone(r.Loss)
	return out
}

// BandError is one forecaster's error over one band of the horizon, in cores or
// bytes.
type BandError struct {
	// MAE is the mean absolute error of the median.
	MAE float64 `json:"mae"`
	// Loss is the mean pinball loss of the quantiles from the median upwards:
	// predicting too little costs more than predicting too much.
	Loss float64 `json:"loss"`
	// Count is the number of steps that were judged.
	Count int `json:"count"`
}

package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Model is what the trainer learned from one shard of a dataset.
type Model struct {
	Shard       string    `json:"shard"`
	Run         string    `json:"run" doc:"The run that trained it"`
	SHA256      string    `json:"sha256" doc:"SHA-256 of the model's record"`
	CodeVersion string    `json:"codeVersion" doc:"Version of the program that trained it"`
	DatasetSum  string    `json:"datasetSum,omitempty" doc:"SHA-256 of the manifest of the data it learned from"`
	From        time.Time `json:"from" doc:"Begin of that data"`
	To          time.Time `json:"to" doc:"End of that data"`
	Seed        uint64    `json:"seed"`
	WeightsSum  string    `json:"weightsSum,omitempty" doc:"SHA-256 of the network's weights; absent where no network was accepted"`
	Verdict     string    `json:"verdict" doc:"Why the network was accepted, or why not"`
	Examples    int       `json:"examples"`
	Loss        *float64  `json:"loss,omitempty" doc:"Mean pinball loss of the network over the newest day, which it was not trained on, in units of the bank's mean absolute error"`
	BankLoss    *float64  `json:"bankLoss,omitempty" doc:"The same of the bank alone"`
	Series      int       `json:"series" doc:"Series that it was judged on"`
}

// ModelList holds the models of one training, the current one unless another was
// asked for.
type ModelList struct {
	Number         uint64    `json:"number" doc:"Number of the entry in the line of accepted models; 0 where there is none yet"`
	Accepted       string    `json:"accepted,omitempty" doc:"The run that trained them"`
	RolledBackFrom string    `json:"rolledBackFrom,omitempty" doc:"The run whose models this entry took out of service; absent where a training made it"`
	Reason         string    `json:"reason,omitempty" doc:"Why they were rolled back"`
	Hold           bool      `json:"hold,omitempty" doc:"Trainings do not replace them"`
	Items          []Model   `json:"items" nullable:"false"`
	Until          time.Time `json:"until,omitzero" doc:"End of the data that they learned from"`
	Stale
}

// ModelEntry is an entry of the line of models: a training or a rollback that made
// models the current ones.
type ModelEntry struct {
	Number         uint64     `json:"number" doc:"Number of the entry in the line of accepted models"`
	Run            string     `json:"run" doc:"The run that trained them"`
	Current        bool       `json:"current" doc:"Forecasts are made with them"`
	From           time.Time  `json:"from" doc:"Begin of the data that they learned from"`
	To             time.Time  `json:"to" doc:"End of that data"`
	CodeVersion    string     `json:"codeVersion" doc:"Version of the program that trained them"`
	Seed           uint64     `json:"seed"`
	Shards         int        `json:"shards"`
	Networks       int        `json:"networks" doc:"Shards whose network was accepted"`
	Components     int        `json:"components" doc:"Components that they were judged on"`
	Examples       int        `json:"examples"`
	Steps          int        `json:"steps" doc:"Steps of the training"`
	Loss           *float64   `json:"loss,omitempty" doc:"Mean pinball loss of the networks over the newest day, which they were not trained on, in units of the bank's mean absolute error"`
	BankLoss       *float64   `json:"bankLoss,omitempty" doc:"The same of the bank alone"`
	RolledBackFrom string     `json:"rolledBackFrom,omitempty" doc:"The run whose models this entry took out of service; absent where a training made it"`
	Reason         string     `json:"reason,omitempty" doc:"Why they were rolled back"`
	At             *time.Time `json:"at,omitempty" doc:"When somebody asked for the rollback"`
	Hold           bool       `json:"hold,omitempty" doc:"Trainings do not replace them"`
	Damage         string     `json:"damage,omitempty" doc:"Why they cannot be used"`
}

// ModelLine is a page of the line of models, the newest entry first.
type ModelLine struct {
	Items []ModelEntry `json:"items" nullable:"false"`
	Next  string       `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
	Stale
}

// Rollback asks for earlier models to be the current ones again.
type Rollback struct {
	Model  string `json:"model" minLength:"1" maxLength:"100" doc:"The run that trained them, or the number of their entry" example:"train-20260310t000000z"`
	Reason string `json:"reason,omitempty" maxLength:"500" pattern:"^[^\\r\\n]*$" doc:"Why, in one line, for those who come later"`
	Hold   bool   `json:"hold,omitempty" doc:"Trainings do not replace them, until a rollback without hold"`
	DryRun bool   `json:"dryRun,omitempty" doc:"Say what would be done, and do nothing"`
}

// RolledBack says what a rollback did, or would do.
type RolledBack struct {
	Run     string `json:"run" doc:"The run that trained the models which are current now"`
	Before  string `json:"before" doc:"The run whose models were current"`
	Number  uint64 `json:"number" doc:"Number of the entry in the line of accepted models"`
	Hold    bool   `json:"hold" doc:"Trainings do not replace them"`
	Changed bool   `json:"changed" doc:"False where they were current already"`
	DryRun  bool   `json:"dryRun" doc:"Nothing was done"`
}

// Accuracy says how close the forecasts were, beside repeating the day before.
type Accuracy struct {
	Basis      string              `json:"basis" enum:"backtest,realised" doc:"backtest: on the newest day before a training, which it had not seen. realised: forecasts as they were served, against what happened"`
	Points     []AccuracyPoint     `json:"points" nullable:"false" doc:"Over time, ascending"`
	Components []ComponentAccuracy `json:"components" nullable:"false" doc:"Of the newest point, in the order of names"`
	Next       string              `json:"next,omitempty" doc:"Cursor of the next page of components; absent on the last"`
	Stale
}

// AccuracyPoint sums up one day or training.
type AccuracyPoint struct {
	Time   time.Time `json:"time"`
	Ratio  float64   `json:"ratio" doc:"Geometric mean over all series of the mean absolute error divided by that of seasonal naive; below 1 the forecasts were closer"`
	Series int       `json:"series" doc:"Series that were judged"`
}

// ComponentAccuracy is how close the forecasts of one series were.
type ComponentAccuracy struct {
	Component  ComponentID      `json:"component"`
	Resource   schemas.Resource `json:"resource" enum:"cpu,memory"`
	Forecaster string           `json:"forecaster" doc:"Whose forecast was believed"`
	MAE        float64          `json:"mae" doc:"Mean absolute error of the median, in cores or bytes"`
	Naive      float64          `json:"naive" doc:"The same of seasonal naive"`
}

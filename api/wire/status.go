package wire

import "time"

// Status says how the server and its data are.
type Status struct {
	Component string    `json:"component" example:"self-scaling"`
	Version   string    `json:"version"`
	Now       time.Time `json:"now" doc:"The server's clock"`
	Speed     float64   `json:"speed" doc:"How fast that clock runs: 1, except in demonstrations"`
	User      string    `json:"user,omitempty" doc:"Who is asking, where the server wants to know"`
	Write     bool      `json:"write" doc:"Who is asking may change policies and start runs"`
	Freshness Freshness `json:"freshness"`
	Store     Store     `json:"store"`
	// Components counts the components by the mode that holds for them.
	Components map[string]int `json:"components" nullable:"false" doc:"How many components there are, by mode"`
}

// Freshness is how far the data reaches. What was never there is absent.
type Freshness struct {
	Samples  *time.Time `json:"samples,omitempty" doc:"End of the newest bucket that was measured"`
	Forecast *time.Time `json:"forecast,omitempty" doc:"When forecasts were last made"`
	Model    *time.Time `json:"model,omitempty" doc:"End of the data that the current models learned from"`
}

// Store is how the store answers.
type Store struct {
	OK      bool       `json:"ok"`
	Since   *time.Time `json:"since,omitempty" doc:"Since when it has not answered; absent while it does"`
	Message string     `json:"message,omitempty"`
}

// Problem is an answer that says no, as RFC 9457 defines it.
type Problem struct {
	Type     string        `json:"type,omitempty" doc:"What kind of problem; about:blank where the status says it all"`
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Detail   string        `json:"detail,omitempty"`
	Instance string        `json:"instance,omitempty" doc:"The request-id, which the server's log has too"`
	Code     string        `json:"code,omitempty" doc:"A machine word, as invalid_config or conflict"`
	Errors   []ProblemItem `json:"errors,omitempty" doc:"Each single thing that is wrong"`
}

// ProblemItem is one thing that is wrong with a request.
type ProblemItem struct {
	Location string `json:"location,omitempty" doc:"Where, as in body.parameters.now"`
	Message  string `json:"message"`
	Value    any    `json:"value,omitempty"`
}

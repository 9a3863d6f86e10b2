package schemas

// Rung says how far a history reaches, and with it which forecasters may take
// part: those of a rung and of all below it.
type Rung int

// The rungs of the ladder of history.
const (
	// RungNone: less than a day, or too little of the last day: no forecast.
	RungNone Rung = iota
	// RungDay: yesterday is repeated, with the spread that days have had.
	RungDay
	// RungBank: from two days on, the bank's candidates can be tried out.
	RungBank
	// RungNetwork: from three days on, a trained network may correct the bank.
	RungNetwork
	// RungWeek: from eight days on, last week is a candidate that can be tried out.
	RungWeek
	// RungFull: from fourteen days on, nothing is missing.
	RungFull
)

var rungs = [...]string{"none", "day", "bank", "network", "week", "full"}

// String returns the rung's name.
func (r Rung) String() string {
	if r < 0 || int(r) >= len(rungs) {
		return "unknown"
	}
	return rungs[r]
}

// MarshalText returns the rung's name.
func (r Rung) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rung's name.
func (r *Rung) UnmarshalText(text []byte) error {
	for i, name := range rungs {
		if name == string(text) {
			*r = Rung(i)
			return nil
		}
	}
	return Errorf(CodeInvalidData, "rung must be one of %v, but is %q", rungs, text)
}

// Grade is what one series allows.
type Grade struct {
	Rung Rung `json:"rung"`
	// Days is how long ago the oldest measurement is, from the end of the series.
	Days float64 `json:"days"`
	// Valid is the share of the last week's buckets that were measured, or of as
	// many as there have been since the oldest measurement.
	Valid float64 `json:"valid"`
	// Stale says that the newest measurement is too old for what depends on the
	// last values.
	Stale bool `json:"stale,omitempty"`
	// Message says it in a sentence, and what comes next.
	Message string `json:"message"`
}

package schemas

import (
	"encoding/json"
	"time"
)

// Duration is a [time.Duration] that profiles and plugin arguments spell as
// "15m" or "24h".
type Duration time.Duration

// UnmarshalJSON reads a string that [time.ParseDuration] understands. A bare
// number is refused, because it does not say its unit.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return Errorf(CodeInvalidConfig, "a duration must be a string such as \"15m\", but is %s", data)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return Errorf(CodeInvalidConfig, "a duration must be a string such as \"15m\", but is %q", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes the duration as [time.Duration.String] does.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// String returns the duration as [time.Duration.String] does.
func (d Duration) String() string { return time.Duration(d).String() }

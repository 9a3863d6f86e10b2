// Package trainvalues tells the steps what operators have set for training: how
// much history is learned from, and how far is looked ahead. In a cluster both
// are entries of one ConfigMap, and every step has them as variables of its
// environment, which the kubelet fills in: no program needs a right to read them,
// and those that need no cluster stay small.
package trainvalues

import (
	"os"
	"strconv"

	"github.com/self-scaling/self-scaling/schemas"
)

// The variables, in days. One that is not set, or empty, leaves it to the program.
const (
	HistoryVariable = "TRAIN_HISTORY_DAYS"
	FutureVariable  = "TRAIN_FUTURE_DAYS"
)

// HistoryDays returns how many days of history count: what the flag says or,
// where that is 0, the variable, else the program's own default.
func HistoryDays(flag, fallback int) (int, error) {
	if flag != 0 {
		return flag, nil
	}
	return days(HistoryVariable, schemas.MaxHistoryDays, fallback)
}

// FutureDays returns how many days are looked ahead, 0 where nobody has said.
func FutureDays() (int, error) { return days(FutureVariable, schemas.MaxFutureDays, 0) }

func days(variable string, most, fallback int) (int, error) {
	text := os.Getenv(variable)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, schemas.Errorf(schemas.CodeInvalidConfig, "variable %s must be a whole number of days from 1 to %d, but is %q", variable, most, text)
	}
	return n, nil
}

package columnar

import (
	"math"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Unknown stands for null among whole numbers, none of which is ever negative.
const Unknown = -1

const (
	coreUnits   = 1e4 // units of CPU in a core
	bytesPerKiB = 1024
)

// Units converts a quantity in base units, cores or bytes, to whole stored
// units, rounding to the nearest. NaN becomes [Unknown].
func Units(r schemas.Resource, v float64) int64 {
	if math.IsNaN(v) {
		return Unknown
	}
	if r == schemas.Memory {
		return int64(math.Round(v / bytesPerKiB))
	}
	return int64(math.Round(v * coreUnits))
}

// Quantity converts whole stored units back to cores or bytes, and [Unknown] to
// NaN.
func Quantity(r schemas.Resource, units int64) float64 {
	if units < 0 {
		return math.NaN()
	}
	if r == schemas.Memory {
		return float64(units) * bytesPerKiB
	}
	return float64(units) / coreUnits
}

// Time converts a stored instant.
func Time(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

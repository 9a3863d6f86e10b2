package history

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/self-scaling/self-scaling/schemas"
)

// clock reads times. Most rows of a file have the day of the row before them, so
// that only hours and minutes are read anew.
type clock struct {
	day    [10]byte
	minute int64 // since 1970, of the day's beginning
}

// parse returns the minute that b names, since 1970 in UTC. The form
// 2006-01-02T15:04:05Z is read here, any other of RFC 3339 by package time.
func (c *clock) parse(b []byte) (minute int64, err error) {
	if len(b) == len("2006-01-02T15:04:05Z") && b[19] == 'Z' && (b[10] == 'T' || b[10] == ' ') && b[13] == ':' && b[16] == ':' {
		h, m, s := pair(b[11:]), pair(b[14:]), pair(b[17:])
		if h < 24 && m < 60 && s == 0 {
			if c.day != [10]byte(b[:10]) {
				day, err := time.Parse(time.DateOnly, string(b[:10]))
				if err != nil || day.Unix() < 0 {
					return 0, c.refuse(b)
				}
				c.day, c.minute = [10]byte(b[:10]), day.Unix()/60
			}
			return c.minute + int64(h)*60 + int64(m), nil
		}
	}
	s := string(b)
	if len(b) > 10 && b[10] == ' ' { // RFC 3339 allows it for readability
		s = s[:10] + "T" + s[11:]
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Unix() < 0 || t.Year() > 2199 {
		return 0, c.refuse(b)
	}
	if !t.Equal(t.Truncate(time.Minute)) {
		return 0, fmt.Errorf("must be a whole minute, but is %s", quote(b))
	}
	return t.Unix() / 60, nil
}

func (c *clock) refuse(b []byte) error {
	return fmt.Errorf("must be a time of the years 1970 to 2199 as 2006-01-02T15:04:05Z (RFC 3339, with its zone), but is %s", quote(b))
}

// pair returns the number that two digits make, and 100 or more for anything
// else.
func pair(b []byte) uint {
	hi, lo := uint(b[0])-'0', uint(b[1])-'0'
	if hi > 9 || lo > 9 {
		return 100
	}
	return hi*10 + lo
}

// powers of ten that a float64 holds exactly.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// number reads a decimal number; an empty field is NaN. Digits with at most 15
// of them are read here: they and the power of ten are exact, so that their
// quotient is the nearest float64. The rest is left to strconv.
func number(b []byte) (float64, error) {
	if len(b) == 0 {
		return math.NaN(), nil
	}
	if len(b) <= 16 {
		var mantissa uint64
		point := -1
		for i, c := range b {
			if d := c - '0'; d <= 9 {
				mantissa = mantissa*10 + uint64(d)
				continue
			}
			if c == '.' && point < 0 && len(b) > 1 {
				point = i
				continue
			}
			return slowNumber(b)
		}
		if point < 0 && len(b) == 16 {
			return slowNumber(b)
		}
		if point < 0 {
			return float64(mantissa), nil
		}
		return float64(mantissa) / powers[len(b)-1-point], nil
	}
	return slowNumber(b)
}

func slowNumber(b []byte) (float64, error) {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' {
			// Hexadecimal, underscores, infinities and NaN, all of which strconv
			// would take.
			switch strings.ToLower(string(b)) {
			case "nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity":
				return 0, fmt.Errorf("must be a finite number, but is %s", quote(b))
			}
			return 0, fmt.Errorf("must be a number, but is %s", quote(b))
		}
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if math.IsInf(v, 0) {
		return 0, fmt.Errorf("must be a finite number, but is %s", quote(b))
	}
	if err != nil {
		return 0, fmt.Errorf("must be a number, but is %s", quote(b))
	}
	return v, nil
}

// limits are the largest believable values of the columns that hold numbers.
var limits = [columnCount]float64{
	cpuColumn:           schemas.MaxCPU,
	memoryColumn:        schemas.MaxMemory,
	replicasColumn:      schemas.MaxReplicas,
	cpuRequestColumn:    schemas.MaxCPU,
	memoryRequestColumn: schemas.MaxMemory,
}

// check holds the range of a number that is known.
func check(column int, v float64) error {
	switch limit := limits[column]; {
	case v >= 0 && v <= limit && (column != replicasColumn || v == math.Trunc(v)):
		return nil
	case math.IsInf(v, 0):
		return fmt.Errorf("must be a finite number, but is %v", v)
	case v < 0:
		return fmt.Errorf("must not be negative, but is %v", v)
	case v > limit:
		return fmt.Errorf("must be at most %g, but is %v", limit, v)
	case math.IsNaN(v):
		return nil
	}
	return fmt.Errorf("must be a whole number, but is %v", v)
}

// quote shows a value of a file in an error: cut where it is long, and with what
// is not UTF-8 escaped.
func quote(b []byte) string {
	const most = 60
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	cut := b[:most]
	for len(cut) > 0 && !utf8.Valid(cut) && utf8.Valid(bytes.TrimRightFunc(cut, func(r rune) bool { return r == utf8.RuneError })) {
		cut = cut[:len(cut)-1]
	}
	return fmt.Sprintf("%q... (%d bytes)", cut, len(b))
}

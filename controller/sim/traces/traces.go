// Package traces holds sixteen real usage series of Kubernetes workloads, one
// value a minute for 8 to 16 days, which the demonstration and the benchmarks
// replay. They are the test data of the DSP predictor in the Go module
// github.com/gocrane/crane v0.11.0 (Apache-2.0); README.md tells where they
// come from and what is known about them.
//
// [Load] gives what a replay needs. [Originals] gives the series exactly as
// they were published: a test writes each of them out as CSV and holds the
// bytes to the SHA-256 checksums of the published files.
package traces

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

//go:generate go run ./generate

// Where the series come from.
const (
	Module  = "github.com/gocrane/crane"
	Version = "v0.11.0"
	// Sum is the module's checksum as go.sum spells it.
	Sum = "h1:V8qg8JmsMMfbnwy5V6e+QrNS7ibjfNhJzTB0zMfMss4="
	// Dir is the folder within the module.
	Dir = "pkg/prediction/dsp/test_data"
)

// crane holds the series as [Encode] writes them.
//
//go:embed crane.gz
var crane []byte

// Step is the distance between two values of a [Trace].
const Step = time.Minute

// Trace is one series with a value for every minute, without gaps.
type Trace struct {
	Name  string    // the published file's name without its ending
	Start time.Time // of the first minute, UTC
	// Values holds one value a minute. Their unit is not stated by the
	// publisher; README.md says what they look like.
	Values []float64
}

// Len returns the number of minutes.
func (t *Trace) Len() int { return len(t.Values) }

// End returns the end of the last minute.
func (t *Trace) End() time.Time { return t.Start.Add(time.Duration(len(t.Values)) * Step) }

// At returns the value of the minute that holds the instant at. It reports
// false before the first minute and after the last.
func (t *Trace) At(at time.Time) (float64, bool) {
	d := at.Sub(t.Start)
	if d < 0 || d >= time.Duration(len(t.Values))*Step {
		return 0, false
	}
	return t.Values[d/Step], true
}

// Load returns the sixteen series in the order of their file numbers. Where
// more than one value a minute was published (input15: four), a minute's value
// is their mean, and a minute that lacks some of them at either end is left
// out. The caller may change what it gets.
func Load() ([]Trace, error) {
	originals, err := Originals()
	if err != nil {
		return nil, err
	}
	traces := make([]Trace, 0, len(originals))
	for i := range originals {
		t, err := originals[i].perMinute()
		if err != nil {
			return nil, err
		}
		traces = append(traces, t)
	}
	return traces, nil
}

// Original is one series as published: fixed-point numbers on a regular grid.
type Original struct {
	Name  string
	Start time.Time // of the first value, UTC
	Step  time.Duration
	// Micros holds the values in millionths: the publisher writes six decimals.
	Micros []int64
	// FinalNewline says whether the file ends with a line feed.
	FinalNewline bool
}

// Originals returns the sixteen series as they were published.
func Originals() ([]Original, error) {
	z, err := gzip.NewReader(bytes.NewReader(crane))
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "traces: embedded series: %w", err)
	}
	return Decode(z)
}

// WriteCSV writes the series as the file it was published in, byte for byte.
func (o *Original) WriteCSV(w io.Writer) error {
	buf := make([]byte, 0, 64<<10)
	buf = append(buf, header...)
	for i, v := range o.Micros {
		buf = append(buf, '\n')
		buf = strconv.AppendInt(buf, o.Start.Add(time.Duration(i)*o.Step).Unix(), 10)
		buf = append(buf, ',')
		buf = appendMicros(buf, v)
		if len(buf) > cap(buf)-64 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if o.FinalNewline {
		buf = append(buf, '\n')
	}
	_, err := w.Write(buf)
	return err
}

// perMinute returns the means of the whole minutes.
func (o *Original) perMinute() (Trace, error) {
	if o.Step <= 0 || o.Step > Step || Step%o.Step != 0 || o.Start.Unix()%int64(o.Step/time.Second) != 0 {
		return Trace{}, schemas.Errorf(schemas.CodeCorrupt, "traces: %s: step must divide a minute and start on its grid, but is %s from %s", o.Name, o.Step, o.Start.Format(time.RFC3339))
	}
	n := int(Step / o.Step)
	skip := 0
	if into := o.Start.Sub(o.Start.Truncate(Step)); into > 0 {
		skip = int((Step - into) / o.Step)
	}
	t := Trace{
		Name:   o.Name,
		Start:  o.Start.Add(time.Duration(skip) * o.Step),
		Values: make([]float64, 0, len(o.Micros)/n),
	}
	for i := skip; i+n <= len(o.Micros); i += n {
		sum := int64(0)
		for _, v := range o.Micros[i : i+n] {
			sum += v
		}
		t.Values = append(t.Values, float64(sum)/float64(n)/1e6)
	}
	return t, nil
}

// appendMicros appends v/1e6 with six decimals.
func appendMicros(buf []byte, v int64) []byte {
	if v < 0 {
		buf = append(buf, '-')
	}
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	buf = strconv.AppendUint(buf, u/1e6, 10)
	frac := strconv.AppendUint(make([]byte, 0, 8), 1e6+u%1e6, 10)
	frac[0] = '.'
	return append(buf, frac...)
}

// parseMicros reads a number with exactly six decimals.
func parseMicros(s string) (int64, bool) {
	whole, frac, ok := bytes.Cut([]byte(s), []byte("."))
	if !ok || len(frac) != 6 || len(whole) == 0 {
		return 0, false
	}
	v, err := strconv.ParseInt(string(whole)+string(frac), 10, 64)
	if err != nil || v > math.MaxInt64/2 || v < math.MinInt64/2 {
		return 0, false
	}
	return v, true
}

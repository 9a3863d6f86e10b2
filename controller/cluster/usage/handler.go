package usage

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Path is where a program that samples serves its readings.
const Path = "/usage"

// Bounds of what one caller can ask of a [Handler].
const (
	// MaxBuckets is the longest time that one request may ask for.
	MaxBuckets = 4096
	// maxRequests are answered at a time; further ones are turned away.
	maxRequests = 4
	// writeTimeout is how long a caller may take to read an answer.
	writeTimeout = 30 * time.Second
)

// Handler serves what a sampler has read, one [schemas.Sample] in JSON a line,
// by bucket and component:
//
//	GET /usage?from=2026-03-09T12:00:00Z&to=2026-03-09T13:00:00Z&step=15m
//
// From and to are multiples of step, which must be the sampler's. Answers are
// 200, also where nothing is known of that time; 400 for a query that breaks a
// rule; 503 where the sampler cannot read ([Sampler.Samples]) or has too much to
// answer. The connection is cut where an answer cannot be ended, so that half of
// one is never taken for a whole.
func Handler(s *Sampler) http.Handler {
	free := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "method must be GET, but is "+r.Method, http.StatusMethodNotAllowed)
			return
		}
		from, to, step, err := parse(r.URL.RawQuery)
		if err != nil {
			refuse(w, err)
			return
		}
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests are being answered", http.StatusServiceUnavailable)
			return
		}
		// A server that has no deadlines is none of ours.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		out := bufio.NewWriterSize(w, 32<<10)
		lines := json.NewEncoder(out)
		w.Header().Set("Content-Type", "application/x-ndjson")
		begun := false
		err = s.Samples(r.Context(), from, to, step, func(x *schemas.Sample) error {
			begun = true
			return lines.Encode(x)
		})
		if err == nil {
			begun = true
			err = out.Flush()
		}
		switch {
		case err == nil:
		case begun:
			panic(http.ErrAbortHandler)
		default:
			refuse(w, err)
		}
	})
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch schemas.CodeOf(err) {
	case schemas.CodeInvalidConfig:
		code = http.StatusBadRequest
	case schemas.CodeUnavailable:
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

// query spells what [parse] reads.
func query(from, to time.Time, step time.Duration) string {
	return url.Values{
		"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)}, "step": {step.String()},
	}.Encode()
}

func parse(raw string) (from, to time.Time, step time.Duration, err error) {
	invalid := func(format string, args ...any) (time.Time, time.Time, time.Duration, error) {
		return time.Time{}, time.Time{}, 0, schemas.Errorf(schemas.CodeInvalidConfig, format, args...)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("query: %w", err)
	}
	for name, v := range values {
		if name != "from" && name != "to" && name != "step" {
			return invalid("query must have from, to and step, but has %q", name)
		}
		if len(v) != 1 {
			return invalid("%s must be given once, but is given %d times", name, len(v))
		}
	}
	if step, err = time.ParseDuration(values.Get("step")); err != nil {
		return invalid("step must be a duration such as 15m, but is %q", values.Get("step"))
	}
	if err := schemas.ValidateStep(step); err != nil {
		return invalid("%w", err)
	}
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"from", &from}, {"to", &to}} {
		text := values.Get(t.name)
		if *t.to, err = time.Parse(time.RFC3339, text); err != nil {
			return invalid("%s must be a time as 2006-01-02T15:04:05Z, but is %q", t.name, text)
		}
		*t.to = t.to.UTC()
		if !t.to.Equal(t.to.Truncate(step)) {
			return invalid("%s must be a multiple of %s, but is %q", t.name, step, text)
		}
	}
	if !from.Before(to) {
		return invalid("to must be after from, but is %q", values.Get("to"))
	}
	if n := to.Sub(from) / step; n > MaxBuckets {
		return invalid("from and to must be at most %d buckets apart, but are %d", MaxBuckets, n)
	}
	return from, to, step, nil
}

package artifact

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/self-scaling/self-scaling/schemas"
)

// An Opener opens the bucket that a URL names. It reports unknown query
// parameters and never puts a parameter's value or a user's name into an error.
type Opener func(ctx context.Context, u *url.URL) (Bucket, error)

// Drivers maps a URL's scheme to what opens it. A main lists the drivers that
// it links:
//
//	artifact.Drivers{"mem": membucket.Open, "file": filebucket.Open, "s3": s3bucket.Open}
type Drivers map[string]Opener

// Open opens the store that rawURL names, with one of the drivers, and proves by
// [Store.Probe] that it keeps the promises which commits rest on, unless the
// options make it read-only. Errors have CodeInvalidConfig where the URL, a
// permission or the server's abilities are wrong, and CodeUnavailable where the
// store does not answer.
func Open(ctx context.Context, rawURL string, drivers Drivers, opts Options) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's message quotes the URL, which may hold a password that
		// does not belong there.
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store URL cannot be parsed")
	}
	if u.User != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store URL must not hold a user or a password: credentials come from the environment, a file or the platform")
	}
	if u.Fragment != "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store URL must not have a fragment ('#')")
	}
	open, ok := drivers[u.Scheme]
	if !ok {
		known := slices.Sorted(maps.Keys(drivers))
		if u.Scheme == "" {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store URL must begin with one of %s", strings.Join(known, ":, ")+":")
		}
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "store URL must have one of the schemes %s, but has %q", strings.Join(known, ", "), u.Scheme)
	}
	bucket, err := open(ctx, u)
	if err != nil {
		return nil, err
	}
	s := New(bucket, opts)
	if opts.ReadOnly {
		return s, nil
	}
	if err := s.Probe(ctx); err != nil {
		bucket.Close() // the probe's error is the one to report
		return nil, err
	}
	return s, nil
}

// CheckQuery reports a query parameter of a store URL that is not among the
// known ones, or that is given twice. Values are not repeated in the error.
func CheckQuery(u *url.URL, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "query of the %s: store URL cannot be parsed", u.Scheme)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, schemas.Errorf(schemas.CodeInvalidConfig, "%s: store URL has no query parameters, but has %q", u.Scheme, name)
			}
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "%s: store URL has the query parameters %s, but not %q", u.Scheme, strings.Join(known, ", "), name)
		}
		if len(q[name]) > 1 {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "%s: store URL must have the query parameter %q once, but has it %d times", u.Scheme, name, len(q[name]))
		}
	}
	return q, nil
}

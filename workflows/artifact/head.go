package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/self-scaling/self-scaling/schemas"
)

// Head is one entry of a pipeline's line of heads: a manifest with a number. The
// highest valid number is what is current.
type Head struct {
	Format   int              `json:"format"`
	Pipeline schemas.Pipeline `json:"pipeline"`
	Number   uint64           `json:"number"` // from 1
	Run      string           `json:"run"`
	// Parent is the sum of the head that this one was built upon, "" for the
	// first.
	Parent string `json:"parent,omitempty"`
	// Recent names the newest heads below this one, oldest first, so that a run
	// that is repeated finds what it has done without reading them all.
	Recent   []RecentRun `json:"recent,omitempty"`
	Manifest Manifest    `json:"manifest"`
	// Sum is the SHA-256, in hexadecimal, of the head's bytes without this
	// member. The store sets and checks it.
	Sum string `json:"sum,omitempty"`
}

// RecentRun says which run made an earlier head.
type RecentRun struct {
	Run    string `json:"run"`
	Number uint64 `json:"number"`
}

// maxRecent is how many heads back a repeated run is recognised: a day of
// quarter hours.
const maxRecent = 96

// Key returns the key that the head stands under.
func (h Head) Key() string { return schemas.HeadKey(h.Pipeline, h.Number) }

// Input returns the reference to the head that a later manifest names it by.
func (h Head) Input() (Input, error) {
	_, data, err := encodeHead(h)
	return Input{Key: h.Key(), SHA256: sumOf(data)}, err
}

// InvalidHead tells of a head that a reader passed over.
type InvalidHead struct {
	Pipeline schemas.Pipeline
	Number   uint64
	Err      error
}

// Outcome says how [Store.Advance] ended.
type Outcome int

const (
	// Committed: the head that is returned was written by this call.
	Committed Outcome = iota
	// Repeated: this run had advanced the pipeline before; the head that it
	// made then is returned, and build was not called.
	Repeated
	// Superseded: what is current reaches further than what build returned, so
	// that nothing was written; the current head is returned. A run that is
	// late ends well with it.
	Superseded
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "Committed"
	case Repeated:
		return "Repeated"
	case Superseded:
		return "Superseded"
	}
	return "Unknown"
}

// AdvanceOption changes how [Store.Advance] works.
type AdvanceOption func(*advanceOptions)

type advanceOptions struct{ monotonic bool }

// Monotonic keeps a pipeline from going back in time: a manifest whose To is
// before that of the current one is superseded, not written. So a slow old run
// cannot replace a newer one's result.
func Monotonic() AdvanceOption { return func(o *advanceOptions) { o.monotonic = true } }

// Advance writes the next head of a pipeline. It calls build with the current
// head, nil where there is none, and writes what build returns under the next
// number; where somebody else was faster it starts anew from their head. Build
// may thus be called several times. It may store data files, and must have no
// other effect. Advance fills in the manifest's run where build leaves it empty.
//
// A run advances a pipeline once: if one of the last 96 heads was made by run,
// that head is returned with the outcome Repeated. Each lost round is another
// caller's success, so that Advance ends when the others do, or with ctx.
func (s *Store) Advance(ctx context.Context, p schemas.Pipeline, run string, build func(prev *Head) (Manifest, error), opts ...AdvanceOption) (Head, Outcome, error) {
	var o advanceOptions
	for _, opt := range opts {
		opt(&o)
	}
	if err := s.checkWritable(); err != nil {
		return Head{}, 0, err
	}
	if err := schemas.ValidateRunID(run); err != nil {
		return Head{}, 0, err
	}
	prev, number, err := s.current(ctx, p)
	if err != nil {
		return Head{}, 0, err
	}
	for {
		if prev != nil {
			if h, ok, err := s.headOf(ctx, prev, run); ok || err != nil {
				return h, Repeated, err
			}
		}
		m, err := build(prev)
		if err != nil {
			return Head{}, 0, err
		}
		if prev != nil && o.monotonic && m.To.Before(prev.Manifest.To) {
			return *prev, Superseded, nil
		}
		if m.Run == "" {
			m.Run = run
		}
		h, data, err := encodeHead(nextHead(p, number+1, run, prev, m))
		if err != nil {
			return Head{}, 0, err
		}
		existing, err := s.create(ctx, h.Key(), data)
		switch {
		case err == nil:
			return h, Committed, nil
		case !errors.Is(err, ErrExists):
			return Head{}, 0, fmt.Errorf("advance %s: %w", p, err)
		}
		// Somebody else has the number, and their head is the one to build upon.
		number++
		other, err := decodeHead(p, number, existing)
		switch {
		case err == nil:
			prev = &other
		case invalid(err):
			s.passOver(p, number, err)
		default:
			return Head{}, 0, err
		}
	}
}

// current returns the newest valid head, nil where there is none, and the
// highest number that is taken, 0 where none is.
func (s *Store) current(ctx context.Context, p schemas.Pipeline) (*Head, uint64, error) {
	numbers, err := s.headNumbers(ctx, p)
	if err != nil || len(numbers) == 0 {
		return nil, 0, err
	}
	h, err := s.firstValid(ctx, p, numbers, nil)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return h, numbers[0], err
}

func nextHead(p schemas.Pipeline, number uint64, run string, prev *Head, m Manifest) Head {
	h := Head{Pipeline: p, Number: number, Run: run, Manifest: m}
	if prev != nil {
		h.Parent = prev.Sum
		h.Recent = append(slices.Clone(prev.Recent), RecentRun{Run: prev.Run, Number: prev.Number})
		h.Recent = h.Recent[max(0, len(h.Recent)-(maxRecent-1)):]
	}
	return h
}

// headOf looks for the head that run made, among h and its recent ones.
func (s *Store) headOf(ctx context.Context, h *Head, run string) (Head, bool, error) {
	if h.Run == run {
		return *h, true, nil
	}
	for _, r := range slices.Backward(h.Recent) {
		if r.Run != run {
			continue
		}
		earlier, err := s.ReadHead(ctx, h.Pipeline, r.Number)
		if invalid(err) {
			// Its effect is in the heads above it, which were built upon it, but
			// nobody can say any more what it was: doing the work again is safe.
			return Head{}, false, nil
		}
		return earlier, err == nil, err
	}
	return Head{}, false, nil
}

// Latest returns the current head of a pipeline: the one with the highest number
// that is intact. It returns an error wrapping [ErrNotFound] where there is none.
// Each damaged head above it is reported to [Options.OnInvalidHead]. A store that
// does not answer is an error and never a reason to take an older head.
func (s *Store) Latest(ctx context.Context, p schemas.Pipeline) (Head, error) {
	return s.LatestValid(ctx, p, nil)
}

// LatestValid returns the head with the highest number that is intact and that
// valid accepts. Valid rejects a head with an error that wraps [ErrCorrupt] or
// [ErrNotFound] or has CodeInvalidData, and the next lower one is tried; any
// other error ends the search. [Store.VerifyHead] is one such function; a reader
// that decodes the files within its own does the work only once.
func (s *Store) LatestValid(ctx context.Context, p schemas.Pipeline, valid func(context.Context, Head) error) (Head, error) {
	numbers, err := s.headNumbers(ctx, p)
	if err != nil {
		return Head{}, err
	}
	h, err := s.firstValid(ctx, p, numbers, valid)
	if err != nil {
		return Head{}, err
	}
	return *h, nil
}

// VerifyHead reads every file of a head and returns the first error that
// [Store.GetFile] gives.
func (s *Store) VerifyHead(ctx context.Context, h Head) error {
	return s.VerifyFiles(ctx, h.Manifest)
}

// Heads yields the heads of a pipeline from the newest to the oldest. Damaged
// ones are reported to [Options.OnInvalidHead] and left out. An error ends the
// sequence.
func (s *Store) Heads(ctx context.Context, p schemas.Pipeline) iter.Seq2[Head, error] {
	return func(yield func(Head, error) bool) {
		numbers, err := s.headNumbers(ctx, p)
		if err != nil {
			yield(Head{}, err)
			return
		}
		for _, n := range numbers {
			h, err := s.ReadHead(ctx, p, n)
			if invalid(err) {
				s.passOver(p, n, err)
				continue
			}
			if !yield(h, err) || err != nil {
				return
			}
		}
	}
}

// ReadHead returns one head of a pipeline. It returns an error wrapping
// [ErrNotFound] where it does not exist and [ErrCorrupt] where it is damaged or
// belongs elsewhere.
func (s *Store) ReadHead(ctx context.Context, p schemas.Pipeline, number uint64) (Head, error) {
	key := schemas.HeadKey(p, number)
	data, err := s.bucket.Get(ctx, key)
	if err != nil {
		return Head{}, fmt.Errorf("read head: %w", err)
	}
	return decodeHead(p, number, data)
}

// headNumbers lists the numbers of a pipeline's heads, the highest first.
func (s *Store) headNumbers(ctx context.Context, p schemas.Pipeline) ([]uint64, error) {
	if !validSegment(string(p)) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "pipeline must be a single key segment, but is %q", p)
	}
	var numbers []uint64
	err := s.bucket.List(ctx, schemas.HeadPrefix(p), func(o ObjectInfo) bool {
		if n, ok := schemas.HeadNumber(p, o.Key); ok {
			numbers = append(numbers, n)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list heads of %s: %w", p, err)
	}
	slices.SortFunc(numbers, func(a, b uint64) int { return cmp.Compare(b, a) })
	return numbers, nil
}

func (s *Store) firstValid(ctx context.Context, p schemas.Pipeline, numbers []uint64, valid func(context.Context, Head) error) (*Head, error) {
	for _, n := range numbers {
		h, err := s.ReadHead(ctx, p, n)
		if err == nil && valid != nil {
			err = valid(ctx, h)
		}
		switch {
		case err == nil:
			return &h, nil
		case !invalid(err):
			return nil, err
		}
		s.passOver(p, n, err)
	}
	if len(numbers) > 0 {
		return nil, fmt.Errorf("pipeline %s has %d heads, but no valid one: %w", p, len(numbers), ErrNotFound)
	}
	return nil, fmt.Errorf("pipeline %s has no head: %w", p, ErrNotFound)
}

// invalid reports whether err says that an object cannot be used, as against
// that it cannot be reached.
func invalid(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound) || schemas.CodeOf(err) == schemas.CodeInvalidData
}

func (s *Store) passOver(p schemas.Pipeline, number uint64, err error) {
	s.opts.OnInvalidHead(InvalidHead{Pipeline: p, Number: number, Err: err})
}

// encodeHead returns the head in its canonical form and its bytes.
func encodeHead(h Head) (Head, []byte, error) {
	m, err := h.Manifest.canonical()
	if err != nil {
		return Head{}, nil, fmt.Errorf("head %s: %w", h.Key(), err)
	}
	if m.Run != h.Run {
		return Head{}, nil, schemas.Errorf(schemas.CodeInvalidData, "head %s of run %s must not hold a manifest of run %s", h.Key(), h.Run, m.Run)
	}
	h.Format = ManifestFormat
	h.Manifest = m
	h.Sum = ""
	data, sum, err := seal(h)
	if err != nil {
		return Head{}, nil, schemas.Errorf(schemas.CodeInvalidData, "head %s: %w", h.Key(), err)
	}
	h.Sum = sum
	return h, data, nil
}

func decodeHead(p schemas.Pipeline, number uint64, data []byte) (Head, error) {
	var h Head
	sum, err := unseal(data, &h)
	key := schemas.HeadKey(p, number)
	if err != nil {
		return Head{}, fmt.Errorf("head %s: %w", key, err)
	}
	if h.Pipeline != p || h.Number != number {
		return Head{}, fmt.Errorf("head %s must not stand under %s: %w", h.Key(), key, ErrCorrupt)
	}
	h.Sum = sum
	return h, nil
}

package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/self-scaling/self-scaling/schemas"
)

// ManifestFormat is the version of the manifest's and the head's form. Readers
// refuse any other.
const ManifestFormat = 1

// Manifest says what one step of one run made. It is what commits data files:
// they count from the moment it stands in the store. The same work gives the
// same bytes, so it holds no wall-clock time and nothing random.
type Manifest struct {
	Format int    `json:"format"`
	Kind   string `json:"kind"` // what was made, as "dataset"
	Run    string `json:"run"`
	Step   string `json:"step,omitempty"`
	Shard  string `json:"shard,omitempty"`
	Writer string `json:"writer"` // version of the program that wrote it
	// Inputs are the objects that the work was made from.
	Inputs []Input `json:"inputs,omitempty"`
	// Files are the data files that this manifest commits, in the order of
	// their keys.
	Files []File `json:"files,omitempty"`
	// From and To bound the times of all content: From included, To not. Zero
	// where the content has no times.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Labels carry small facts that readers need before they read a file.
	Labels map[string]string `json:"labels,omitempty"`
	// Sum is the SHA-256, in hexadecimal, of the manifest's bytes without this
	// member. The store sets and checks it.
	Sum string `json:"sum,omitempty"`
}

// Input refers to an object that something was made from.
type Input struct {
	Key    string `json:"key"`
	SHA256 string `json:"sha256"` // of the object's bytes, hexadecimal
}

// Key returns the key that the manifest is committed under.
func (m Manifest) Key() string { return schemas.ManifestKey(m.Run, m.Step, m.Shard) }

// Input returns the reference to the manifest that a later one names it by.
func (m Manifest) Input() (Input, error) {
	_, data, err := encodeManifest(m)
	return Input{Key: m.Key(), SHA256: sumOf(data)}, err
}

// CommitManifest writes a manifest under its key, which must be m.Key(), and
// returns it as it stands in the store: times in UTC, files and inputs ordered
// by key and without repetitions, with its sum. Committing the same content
// again succeeds. Where a manifest with other content stands under the key, it
// returns that one and an error wrapping [ErrConflict].
func (s *Store) CommitManifest(ctx context.Context, key string, m Manifest) (Manifest, error) {
	if err := s.checkWritable(); err != nil {
		return Manifest{}, err
	}
	if key != m.Key() {
		return Manifest{}, schemas.Errorf(schemas.CodeInvalidData, "manifest of run %q, step %q, shard %q must be committed under %s, but the key is %s", m.Run, m.Step, m.Shard, m.Key(), key)
	}
	m, data, err := encodeManifest(m)
	if err != nil {
		return Manifest{}, err
	}
	existing, err := s.create(ctx, key, data)
	switch {
	case errors.Is(err, ErrExists):
		other, err := decodeManifest(key, existing)
		if err != nil {
			return Manifest{}, err
		}
		return other, fmt.Errorf("commit manifest %s with sum %s, where one with sum %s stands: %w", key, m.Sum, other.Sum, ErrConflict)
	case err != nil:
		return Manifest{}, fmt.Errorf("commit manifest: %w", err)
	}
	return m, nil
}

// ReadManifest returns the manifest under a key. It returns an error wrapping
// [ErrNotFound] where none is committed and [ErrCorrupt] where what stands there
// is damaged or belongs elsewhere.
func (s *Store) ReadManifest(ctx context.Context, key string) (Manifest, error) {
	data, err := s.bucket.Get(ctx, key)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return decodeManifest(key, data)
}

// Manifests returns every manifest that a run has committed, in the order of
// their keys. One that is damaged is an error wrapping [ErrCorrupt].
func (s *Store) Manifests(ctx context.Context, run string) ([]Manifest, error) {
	if err := schemas.ValidateRunID(run); err != nil {
		return nil, err
	}
	return s.manifests(ctx, run, schemas.RunPrefix(run))
}

// StepManifests returns every manifest that one step of a run has committed, as
// [Store.Manifests] does.
func (s *Store) StepManifests(ctx context.Context, run, step string) ([]Manifest, error) {
	if err := schemas.ValidateRunID(run); err != nil {
		return nil, err
	}
	if !validSegment(step) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "step must be a single key segment, but is %q", step)
	}
	return s.manifests(ctx, run, schemas.StepPrefix(run, step))
}

func (s *Store) manifests(ctx context.Context, run, prefix string) ([]Manifest, error) {
	var keys []string
	err := s.bucket.List(ctx, prefix, func(o ObjectInfo) bool {
		keys = append(keys, o.Key)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list manifests of run %s: %w", run, err)
	}
	manifests := make([]Manifest, 0, len(keys))
	for _, key := range keys {
		m, err := s.ReadManifest(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue // swept since the listing
		}
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, m)
	}
	return manifests, nil
}

// encodeManifest returns the manifest in its canonical form and its bytes.
func encodeManifest(m Manifest) (Manifest, []byte, error) {
	m, err := m.canonical()
	if err != nil {
		return Manifest{}, nil, err
	}
	data, sum, err := seal(m)
	if err != nil {
		return Manifest{}, nil, schemas.Errorf(schemas.CodeInvalidData, "manifest %s: %w", m.Key(), err)
	}
	m.Sum = sum
	return m, data, nil
}

func decodeManifest(key string, data []byte) (Manifest, error) {
	var m Manifest
	sum, err := unseal(data, &m)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest %s: %w", key, err)
	}
	if m.Key() != key {
		return Manifest{}, fmt.Errorf("manifest %s must not stand under %s: %w", m.Key(), key, ErrCorrupt)
	}
	m.Sum = sum
	return m, nil
}

// canonical returns the one form of the manifest that is ever written: the order
// in which a step finished its files must not show in the bytes.
func (m Manifest) canonical() (Manifest, error) {
	m.Format = ManifestFormat
	m.Sum = ""
	m.From, m.To = m.From.UTC().Round(0), m.To.UTC().Round(0)
	m.Inputs = slices.Clone(m.Inputs)
	slices.SortFunc(m.Inputs, func(a, b Input) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.SHA256, b.SHA256))
	})
	m.Inputs = slices.Compact(m.Inputs)
	m.Files = slices.Clone(m.Files)
	for i := range m.Files {
		m.Files[i] = m.Files[i].utc()
	}
	slices.SortStableFunc(m.Files, func(a, b File) int { return strings.Compare(a.Key, b.Key) })
	m.Files = slices.Compact(m.Files)
	return m, m.validate()
}

func (m Manifest) validate() error {
	name := "manifest " + m.Key()
	if err := schemas.ValidateRunID(m.Run); err != nil {
		return err
	}
	if err := ValidateKey(m.Key()); err != nil {
		return err
	}
	// Each of these must come out of a key's segments as it went in, or two
	// manifests could share a key.
	for _, part := range []struct{ name, value string }{{"step", m.Step}, {"shard", m.Shard}} {
		if part.value != "" && !validSegment(part.value) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: %s must be a single key segment, but is %q", name, part.name, part.value)
		}
	}
	if m.Step == "" && m.Shard != "" {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: shard %q must have a step", name, m.Shard)
	}
	if m.Kind == "" {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: kind must not be empty", name)
	}
	if m.To.Before(m.From) {
		return schemas.Errorf(schemas.CodeInvalidData, "%s: to must not be before from (%s), but is %s", name, m.From.Format(time.RFC3339), m.To.Format(time.RFC3339))
	}
	for i, in := range m.Inputs {
		if err := ValidateKey(in.Key); err != nil {
			return err
		}
		if !validSum(in.SHA256) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: sha256 of input %s must be 64 hexadecimal digits, but is %q", name, in.Key, in.SHA256)
		}
		if i > 0 && in.Key == m.Inputs[i-1].Key {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: input %s must have one sha256, but has two", name, in.Key)
		}
	}
	for i, f := range m.Files {
		if err := f.validate(); err != nil {
			return err
		}
		if i > 0 && f.Key == m.Files[i-1].Key {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: file %s must be described once, but is described twice, differently", name, f.Key)
		}
	}
	// JSON would write U+FFFD in the place of what is not UTF-8, and the
	// manifest read back would not be the one that was committed.
	for k, v := range m.Labels {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: labels must be UTF-8, but %q is %q", name, k, v)
		}
	}
	for _, s := range []string{m.Kind, m.Writer} {
		if !utf8.ValidString(s) {
			return schemas.Errorf(schemas.CodeInvalidData, "%s: kind and writer must be UTF-8, but one is %q", name, s)
		}
	}
	return nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

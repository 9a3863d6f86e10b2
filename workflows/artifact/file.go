package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/schemas"
)

// File is one data file as a manifest names it.
type File struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the object's bytes, hexadecimal
	FileMeta
}

// FileMeta is what the writer knows of a file's content.
type FileMeta struct {
	Rows int64 `json:"rows"`
	// From and To bound the content's times: From included, To not. Zero where
	// the content has no times.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Schema names the content's format and its version, as "samples.v1".
	Schema string `json:"schema,omitempty"`
}

// Input returns the reference to the file that a later manifest names it by.
func (f File) Input() Input { return Input{Key: f.Key, SHA256: f.SHA256} }

func (f File) utc() File {
	f.From, f.To = f.From.UTC().Round(0), f.To.UTC().Round(0)
	return f
}

// PutFile stores a data file under [schemas.DataKey], which holds the SHA-256 of
// its bytes, and returns it as a manifest will name it. Nothing refers to it
// before a manifest does. Storing the same bytes again succeeds; it also mends
// the object if it was damaged, and makes it young again for [Store.Sweep].
//
// Kind and ext are single key segments, as "samples" and "parquet"; day is the
// UTC day that the content begins on.
func (s *Store) PutFile(ctx context.Context, kind string, day time.Time, ext string, data []byte, meta FileMeta) (File, error) {
	if err := s.checkWritable(); err != nil {
		return File{}, err
	}
	if !validSegment(kind) || !validSegment(ext) {
		return File{}, schemas.Errorf(schemas.CodeInvalidData, "kind and extension of a data file must be letters, digits, '-', '_', '=' and '.', but are %q and %q", kind, ext)
	}
	sum := sha256.Sum256(data)
	f := File{
		Bytes:    int64(len(data)),
		SHA256:   hex.EncodeToString(sum[:]),
		FileMeta: meta,
	}.utc()
	f.Key = schemas.DataKey(kind, day, f.SHA256, ext)
	if err := f.validate(); err != nil {
		return File{}, err
	}
	err := s.bucket.Create(ctx, f.Key, data)
	if errors.Is(err, ErrExists) {
		err = s.bucket.Put(ctx, f.Key, data)
	}
	if err != nil {
		return File{}, fmt.Errorf("put data file: %w", err)
	}
	return f, nil
}

// GetFile returns a data file's bytes. It returns an error wrapping
// [ErrNotFound] where the file is gone and [ErrCorrupt] where its size or its
// SHA-256 is not the promised one.
func (s *Store) GetFile(ctx context.Context, f File) ([]byte, error) {
	data, err := s.bucket.Get(ctx, f.Key)
	if err != nil {
		return nil, fmt.Errorf("get data file: %w", err)
	}
	if int64(len(data)) != f.Bytes {
		return nil, fmt.Errorf("data file %s must have %d bytes, but has %d: %w", f.Key, f.Bytes, len(data), ErrCorrupt)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
		return nil, fmt.Errorf("data file %s must have the SHA-256 %s, but has %s: %w", f.Key, f.SHA256, got, ErrCorrupt)
	}
	return data, nil
}

// Files lists the data files of one kind and UTC day, in the order of their keys,
// whether or not a manifest names them yet. What only a manifest tells of a file
// is not filled in; [Store.GetFile] takes them.
func (s *Store) Files(ctx context.Context, kind string, day time.Time) ([]File, error) {
	if !validSegment(kind) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "kind of a data file must be letters, digits, '-', '_', '=' and '.', but is %q", kind)
	}
	var files []File
	err := s.bucket.List(ctx, schemas.DataPrefix(kind, day), func(o ObjectInfo) bool {
		name, _, _ := strings.Cut(path.Base(o.Key), ".")
		if validSum(name) {
			files = append(files, File{Key: o.Key, Bytes: o.Size, SHA256: name})
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list data files: %w", err)
	}
	return files, nil
}

// verifyParallel is how many files are read at the same time; the reads wait
// for the network, and each holds one file in memory.
const verifyParallel = 4

// VerifyFiles reads every file of a manifest and returns the first error that
// [Store.GetFile] gives.
func (s *Store) VerifyFiles(ctx context.Context, m Manifest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyParallel)
	for _, f := range m.Files {
		g.Go(func() error {
			_, err := s.GetFile(ctx, f)
			return err
		})
	}
	return g.Wait()
}

func (f File) validate() error {
	if err := ValidateKey(f.Key); err != nil {
		return err
	}
	switch {
	case !validSum(f.SHA256):
		return schemas.Errorf(schemas.CodeInvalidData, "file %s: sha256 must be 64 hexadecimal digits, but is %q", f.Key, f.SHA256)
	case f.Bytes < 0:
		return schemas.Errorf(schemas.CodeInvalidData, "file %s: bytes must not be negative, but is %d", f.Key, f.Bytes)
	case f.Rows < 0:
		return schemas.Errorf(schemas.CodeInvalidData, "file %s: rows must not be negative, but is %d", f.Key, f.Rows)
	case f.To.Before(f.From):
		return schemas.Errorf(schemas.CodeInvalidData, "file %s: to must not be before from (%s), but is %s", f.Key, f.From.Format(time.RFC3339), f.To.Format(time.RFC3339))
	}
	return nil
}

func validSum(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

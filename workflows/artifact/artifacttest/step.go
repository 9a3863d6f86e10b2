package artifacttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Shape of [Run].
const (
	runShards = 2
	runFiles  = 3 // a shard
	runKept   = 4 * runShards * runFiles
)

// RunObjects is how many objects one [Run] adds.
const RunObjects = runShards*(runFiles+1) + 1

// Run does what the runs of the product do: it reads what is current, stores a
// few files of different sizes for each of its shards, commits a manifest a
// shard, and then advances a pipeline by what the shards have made. Runs are
// numbered from 0 and follow each other; one that is interrupted is begun anew,
// and one that is done can be repeated.
func Run(ctx context.Context, s *artifact.Store, number int) error {
	run, start := runID(number), runStart(number)
	current, err := s.LatestValid(ctx, schemas.SamplesHead, s.VerifyHead)
	if err != nil && !errors.Is(err, artifact.ErrNotFound) {
		return err
	}
	var inputs []artifact.Input
	if err == nil {
		in, err := current.Input()
		if err != nil {
			return err
		}
		inputs = []artifact.Input{in}
	}
	for shard := range runShards {
		random := rand.NewChaCha8([32]byte{byte(number), byte(number >> 8), byte(number >> 16), byte(shard)})
		m := artifact.Manifest{
			Kind: "samples", Run: run, Step: "collect", Shard: fmt.Sprintf("%04d", shard), Writer: "test",
			Inputs: inputs, From: start, To: start.Add(schemas.DefaultStep),
		}
		// What is committed is done: made again, it could come from newer inputs.
		_, err := s.ReadManifest(ctx, m.Key())
		if err == nil {
			continue
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			return err
		}
		for file := range runFiles {
			data := make([]byte, 100<<(4*file)+int(random.Uint64()%1000))
			random.Read(data)
			f, err := s.PutFile(ctx, "samples", start, "parquet", data, artifact.FileMeta{Rows: int64(len(data)), From: m.From, To: m.To, Schema: "samples.v1"})
			if err != nil {
				return err
			}
			m.Files = append(m.Files, f)
		}
		if _, err := s.CommitManifest(ctx, m.Key(), m); err != nil {
			return err
		}
	}
	manifests, err := s.Manifests(ctx, run)
	if err != nil {
		return err
	}
	_, _, err = s.Advance(ctx, schemas.SamplesHead, run, func(prev *artifact.Head) (artifact.Manifest, error) {
		m := artifact.Manifest{Kind: "samples", Writer: "test", From: start, To: start.Add(schemas.DefaultStep)}
		for _, part := range manifests {
			in, err := part.Input()
			if err != nil {
				return artifact.Manifest{}, err
			}
			m.Inputs = append(m.Inputs, in)
			m.Files = append(m.Files, part.Files...)
		}
		if prev != nil {
			files := slices.Clone(prev.Manifest.Files)
			slices.SortStableFunc(files, func(a, b artifact.File) int { return b.From.Compare(a.From) })
			m.Files = append(m.Files, files[:min(len(files), runKept)]...)
			m.From = m.Files[len(m.Files)-1].From
		}
		return m, nil
	}, artifact.Monotonic())
	return err
}

func runID(number int) string { return fmt.Sprintf("run-%06d", number) }

func runStart(number int) time.Time { return day.Add(time.Duration(number) * schemas.DefaultStep) }

// CheckStore reads every object below a prefix as a reader would, and reports the
// first that is not whole: a data file that is not what its key says, or a
// manifest or a head that is damaged or names a file that is not there. It may be
// called while others write.
func CheckStore(ctx context.Context, b artifact.Bucket, prefix string) error {
	var all []string
	if err := b.List(ctx, prefix, func(o artifact.ObjectInfo) bool { all = append(all, o.Key); return true }); err != nil {
		return err
	}
	s := artifact.New(b, artifact.Options{})
	for _, key := range all {
		if err := checkObject(ctx, b, s, key); err != nil {
			return err
		}
	}
	return nil
}

func checkObject(ctx context.Context, b artifact.Bucket, s *artifact.Store, key string) error {
	switch kind, rest, _ := strings.Cut(key, "/"); kind {
	case "data":
		data, err := b.Get(ctx, key)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		if name := hex.EncodeToString(sum[:]); !strings.HasPrefix(path.Base(key), name+".") {
			return fmt.Errorf("%s has %d bytes with the SHA-256 %s", key, len(data), name)
		}
		return nil
	case "runs":
		m, err := s.ReadManifest(ctx, key)
		if err != nil {
			return err
		}
		return s.VerifyFiles(ctx, m)
	case "heads":
		p, _, _ := strings.Cut(rest, "/")
		number, ok := schemas.HeadNumber(schemas.Pipeline(p), key)
		if !ok {
			return fmt.Errorf("%s is no head's key", key)
		}
		h, err := s.ReadHead(ctx, schemas.Pipeline(p), number)
		if err != nil {
			return err
		}
		return s.VerifyHead(ctx, h)
	}
	return fmt.Errorf("nobody wrote %s", key)
}

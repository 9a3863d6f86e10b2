package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// runs makes runs 0 to n-1.
func runs(ctx context.Context, b artifact.Bucket, n int) error {
	for i := range n {
		if err := artifacttest.Run(ctx, artifact.New(b, artifact.Options{}), i); err != nil {
			return err
		}
	}
	return nil
}

// A run of which one call fails, in whichever way, and that is then begun anew
// must end with the bytes of a run in which nothing failed.
func TestRunIsRepeatableAfterAnyFault(t *testing.T) {
	const n = 3
	undisturbed := membucket.New(nil)
	counter := artifacttest.NewFaults(undisturbed, -1, 0)
	if err := runs(t.Context(), counter, n); err != nil {
		t.Fatal(err)
	}
	want := artifacttest.Contents(t, undisturbed)
	if len(want) != n*artifacttest.RunObjects {
		t.Fatalf("%d runs made %d objects, want %d", n, len(want), n*artifacttest.RunObjects)
	}
	failed := 0
	for call := range counter.Calls() {
		for _, fault := range []artifacttest.Fault{artifacttest.FailBefore, artifacttest.FailAfter, artifacttest.CutBefore, artifacttest.CutAfter} {
			name := fmt.Sprintf("call %d of %d %s", call, counter.Calls(), fault)
			b := membucket.New(nil)
			if err := runs(t.Context(), artifacttest.NewFaults(b, call, fault), n); err != nil {
				failed++
				if schemas.CodeOf(err) != schemas.CodeUnavailable {
					t.Errorf("%s: error %v has code %s, want %s", name, err, schemas.CodeOf(err), schemas.CodeUnavailable)
				}
			}
			if err := artifacttest.CheckStore(t.Context(), b, ""); err != nil {
				t.Errorf("%s: a reader then found: %v", name, err)
			}
			if err := runs(t.Context(), b, n); err != nil {
				t.Fatalf("%s: begun anew: %v", name, err)
			}
			if diff := cmp.Diff(want, artifacttest.Contents(t, b)); diff != "" {
				t.Fatalf("%s: objects (-undisturbed +begun anew):\n%s", name, diff)
			}
		}
	}
	t.Logf("%d calls x 4 faults, of which %d made the run fail", counter.Calls(), failed)
}

// Whatever happens to the bytes of an object, its reader finds out, and a reader
// of the line of heads falls back to the last one that is whole.
func TestAnyDamageIsDetected(t *testing.T) {
	b := membucket.New(nil)
	if err := runs(t.Context(), b, 2); err != nil {
		t.Fatal(err)
	}
	contents := artifacttest.Contents(t, b)
	s := artifact.New(b, artifact.Options{})
	head, err := s.LatestValid(t.Context(), schemas.SamplesHead, s.VerifyHead)
	if err != nil {
		t.Fatal(err)
	}
	manifest := head.Manifest.Inputs[0].Key
	data := smallest(head.Manifest.Files)
	other, err := s.ReadHead(t.Context(), schemas.SamplesHead, 1)
	if err != nil {
		t.Fatal(err)
	}

	read := map[string]func() error{
		"head":      func() error { _, err := s.ReadHead(t.Context(), schemas.SamplesHead, head.Number); return err },
		"manifest":  func() error { _, err := s.ReadManifest(t.Context(), manifest); return err },
		"data file": func() error { _, err := s.GetFile(t.Context(), data); return err },
	}
	for _, object := range []struct{ name, key, other string }{
		{"head", head.Key(), other.Key()},
		{"manifest", manifest, head.Manifest.Inputs[1].Key},
		{"data file", data.Key, other.Manifest.Files[1].Key},
	} {
		whole := contents[object.key]
		broken := map[string]string{
			"swapped for another":      contents[object.other],
			"with a byte more":         whole + "\n",
			"with a byte before":       " " + whole,
			"emptied":                  "",
			"zeroed":                   strings.Repeat("\x00", len(whole)),
			"with two halves swapped":  whole[len(whole)/2:] + whole[:len(whole)/2],
			"with its end overwritten": whole[:len(whole)-80] + strings.Repeat("0", 80),
		}
		for i := range whole {
			broken[fmt.Sprintf("cut to %d bytes", i)] = whole[:i]
			for bit := range 8 {
				flipped := []byte(whole)
				flipped[i] ^= 1 << bit
				broken[fmt.Sprintf("with bit %d of byte %d turned", bit, i)] = string(flipped)
			}
		}
		for how, content := range broken {
			if err := b.Put(t.Context(), object.key, []byte(content)); err != nil {
				t.Fatal(err)
			}
			if err := read[object.name](); !errors.Is(err, artifact.ErrCorrupt) {
				t.Fatalf("%s %s: error is %v, want ErrCorrupt", object.name, how, err)
			}
		}
		t.Logf("%s: %d ways of damage", object.name, len(broken))
		if object.name != "manifest" {
			got, err := s.LatestValid(t.Context(), schemas.SamplesHead, s.VerifyHead)
			if err != nil || got.Number != 1 {
				t.Errorf("with a damaged %s the current head is %d (%v), want 1", object.name, got.Number, err)
			}
		}
		if err := b.Put(t.Context(), object.key, []byte(whole)); err != nil {
			t.Fatal(err)
		}
	}
}

func smallest(files []artifact.File) artifact.File {
	least := files[0]
	for _, f := range files {
		// Of the newest run only, so that the head before does not need it too.
		if f.From.After(least.From) || f.From.Equal(least.From) && f.Bytes < least.Bytes {
			least = f
		}
	}
	return least
}

// Old programs must not carry on from the head before as if one that a newer
// program wrote were damaged.
func TestAnotherFormatIsNotDamage(t *testing.T) {
	b := membucket.New(nil)
	if err := runs(t.Context(), b, 2); err != nil {
		t.Fatal(err)
	}
	newer := artifact.Sealed(`{"format":2,"something":"new"}`)
	if err := b.Put(t.Context(), schemas.HeadKey(schemas.SamplesHead, 2), newer); err != nil {
		t.Fatal(err)
	}
	s := artifact.New(b, artifact.Options{OnInvalidHead: func(h artifact.InvalidHead) { t.Errorf("head %d is passed over: %v", h.Number, h.Err) }})
	_, err := s.Latest(t.Context(), schemas.SamplesHead)
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "must have the format 1, but has 2") {
		t.Errorf("latest: error is %v with code %s, want one about the format", err, schemas.CodeOf(err))
	}
	if err := artifacttest.Run(t.Context(), s, 2); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("run: error is %v, want one about the format", err)
	}
}

func TestBadManifestsAreRefused(t *testing.T) {
	s := artifact.New(membucket.New(nil), artifact.Options{})
	sum := strings.Repeat("0", 64)
	for _, test := range []struct {
		name string
		edit func(*artifact.Manifest)
		want string
	}{
		{"no run", func(m *artifact.Manifest) { m.Run = "" }, "run-id must be 1 to 128 letters"},
		{"no kind", func(m *artifact.Manifest) { m.Kind = "" }, "kind must not be empty"},
		{"a step with a slash", func(m *artifact.Manifest) { m.Step = "a/b" }, `step must be a single key segment, but is "a/b"`},
		{"a step that climbs", func(m *artifact.Manifest) { m.Step = ".." }, "must be"},
		{"a shard without a step", func(m *artifact.Manifest) { m.Step = "" }, `shard "0001" must have a step`},
		{"times the wrong way round", func(m *artifact.Manifest) { m.From = m.To.Add(1) }, "to must not be before from"},
		{"an input without a hash", func(m *artifact.Manifest) { m.Inputs[0].SHA256 = "" }, "sha256 of input data/a must be 64 hexadecimal digits"},
		{"an input with two hashes", func(m *artifact.Manifest) {
			m.Inputs = append(m.Inputs, artifact.Input{Key: "data/a", SHA256: "1" + sum[1:]})
		}, "must have one sha256, but has two"},
		{"a file with a bad key", func(m *artifact.Manifest) { m.Files[0].Key = "../etc/passwd" }, "object key must be"},
		{"a file with a negative size", func(m *artifact.Manifest) { m.Files[0].Bytes = -1 }, "bytes must not be negative, but is -1"},
		{"a file with negative rows", func(m *artifact.Manifest) { m.Files[0].Rows = -1 }, "rows must not be negative, but is -1"},
		{"a file with a hash in capitals", func(m *artifact.Manifest) { m.Files[0].SHA256 = "A" + sum[1:] }, "sha256 must be 64 hexadecimal digits"},
		{"a file described twice", func(m *artifact.Manifest) { f := m.Files[0]; f.Rows++; m.Files = append(m.Files, f) }, "described twice, differently"},
		{"a label that is not UTF-8", func(m *artifact.Manifest) { m.Labels = map[string]string{"a": "\xff"} }, "labels must be UTF-8"},
		{"a year beyond the calendar", func(m *artifact.Manifest) { m.To = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "year"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := artifact.Manifest{
				Kind: "dataset", Run: "run-1", Step: "dataset", Shard: "0001", From: day, To: day,
				Inputs: []artifact.Input{{Key: "data/a", SHA256: sum}},
				Files:  []artifact.File{{Key: "data/b", SHA256: sum}},
			}
			test.edit(&m)
			_, err := s.CommitManifest(t.Context(), m.Key(), m)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want one with %q", err, test.want)
			}
			if code := schemas.CodeOf(err); code != schemas.CodeInvalidData && code != schemas.CodeInvalidConfig {
				t.Errorf("error has code %s", code)
			}
		})
	}
	m := artifact.Manifest{Kind: "dataset", Run: "run-1", Step: "dataset"}
	if _, err := s.CommitManifest(t.Context(), "runs/run-2/dataset/manifest.json", m); schemas.CodeOf(err) != schemas.CodeInvalidData {
		t.Errorf("commit under another key: error is %v", err)
	}
	_, _, err := s.Advance(t.Context(), schemas.SamplesHead, "run-1", func(*artifact.Head) (artifact.Manifest, error) {
		return artifact.Manifest{Kind: "samples", Run: "run-2"}, nil
	})
	if schemas.CodeOf(err) != schemas.CodeInvalidData {
		t.Errorf("advance with another run's manifest: error is %v", err)
	}
}

func TestReadOnlyStoreRefusesToWrite(t *testing.T) {
	b := membucket.New(nil)
	if err := runs(t.Context(), b, 1); err != nil {
		t.Fatal(err)
	}
	before := artifacttest.Contents(t, b)
	s := artifact.New(b, artifact.Options{ReadOnly: true})
	_, put := s.PutFile(t.Context(), "samples", day, "parquet", nil, artifact.FileMeta{})
	_, commit := s.CommitManifest(t.Context(), "runs/a/manifest.json", artifact.Manifest{Run: "a", Kind: "a"})
	_, _, advance := s.Advance(t.Context(), schemas.SamplesHead, "a", nil)
	_, sweep := s.Sweep(t.Context(), artifact.DefaultSweepOptions())
	for name, err := range map[string]error{"put": put, "commit": commit, "advance": advance, "sweep": sweep, "probe": s.Probe(t.Context())} {
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("%s: error is %v, want one with code %s", name, err, schemas.CodeInvalidConfig)
		}
	}
	if diff := cmp.Diff(before, artifacttest.Contents(t, b)); diff != "" {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
	dry := artifact.DefaultSweepOptions()
	dry.DryRun = true
	if _, err := s.Sweep(t.Context(), dry); err != nil {
		t.Errorf("dry run of a sweep: %v", err)
	}
}

// broken is a bucket that does not keep its promises.
type broken struct {
	artifact.Bucket
	create func(b artifact.Bucket, ctx context.Context, key string, data []byte) error
	hide   bool
}

func (b broken) Create(ctx context.Context, key string, data []byte) error {
	if b.create == nil {
		return b.Bucket.Create(ctx, key, data)
	}
	return b.create(b.Bucket, ctx, key, data)
}

func (b broken) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	if b.hide {
		return nil
	}
	return b.Bucket.List(ctx, prefix, yield)
}

func TestProbeRefusesAStoreThatBreaksItsPromises(t *testing.T) {
	var mu sync.Mutex
	for _, test := range []struct {
		name   string
		bucket broken
		code   schemas.Code
		want   string
	}{
		{
			"conditions are ignored",
			broken{create: func(b artifact.Bucket, ctx context.Context, key string, data []byte) error {
				return b.Put(ctx, key, data)
			}},
			schemas.CodeInvalidConfig, "ignores the condition of a conditional write",
		},
		{
			"conditions hold only for writers that come one after the other",
			broken{create: func(b artifact.Bucket, ctx context.Context, key string, data []byte) error {
				if strings.HasSuffix(key, "contested") {
					return b.Put(ctx, key, data)
				}
				return b.Create(ctx, key, data)
			}},
			schemas.CodeInvalidConfig, "lets 8 of 8 simultaneous conditional writes of one object succeed",
		},
		{
			"the winner's bytes are replaced by a loser's",
			broken{create: func(b artifact.Bucket, ctx context.Context, key string, data []byte) error {
				mu.Lock()
				defer mu.Unlock()
				err := b.Create(ctx, key, data)
				if errors.Is(err, artifact.ErrExists) {
					b.Put(ctx, key, data)
				}
				return err
			}},
			schemas.CodeInvalidConfig, "returns other bytes than were written",
		},
		{"new objects are not listed", broken{hide: true}, schemas.CodeInvalidConfig, "does not list an object that it has just stored"},
		{
			"nothing can be written",
			broken{create: func(artifact.Bucket, context.Context, string, []byte) error {
				return schemas.Errorf(schemas.CodeUnavailable, "the disk is full")
			}},
			schemas.CodeUnavailable, "the disk is full",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := membucket.New(nil)
			test.bucket.Bucket = b
			err := artifact.New(test.bucket, artifact.Options{}).Probe(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || schemas.CodeOf(err) != test.code {
				t.Errorf("error is %v with code %s, want one with %q and code %s", err, schemas.CodeOf(err), test.want, test.code)
			}
			if left := artifacttest.Contents(t, b); len(left) > 0 {
				t.Errorf("the probe left %v", left)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	drivers := artifact.Drivers{"mem": membucket.Open, "other": func(context.Context, *url.URL) (artifact.Bucket, error) {
		return broken{Bucket: membucket.New(nil), hide: true}, nil
	}}
	for _, test := range []struct{ name, url, want string }{
		{"no scheme", "/var/lib/store", "store URL must begin with one of mem:, other:"},
		{"an unknown scheme", "ftp://host/dir", `must have one of the schemes mem, other, but has "ftp"`},
		{"what is no URL", "s3://secret-user:secret@[::1", "store URL cannot be parsed"},
		{"a password", "mem://secret-user:secret@host", "must not hold a user or a password"},
		{"an unknown parameter", "mem:?token=secret", `has no query parameters, but has "token"`},
		{"a fragment", "mem:#secret", "must not have a fragment"},
		{"something behind mem:", "mem:secret", "must be just"},
		{"a store that fails the probe", "other:", "does not list an object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := artifact.Open(t.Context(), test.url, drivers, artifact.Options{})
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("error %v repeats a secret", err)
			}
		})
	}
	s, err := artifact.Open(t.Context(), "mem:", drivers, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := runs(t.Context(), s.Bucket(), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// The history of a pipeline is that of one register that counts: each advance
// returns the number after the one before it, and a reader never sees an older
// head than has been seen.
func TestHeadsAreLinearizable(t *testing.T) {
	type input struct{ advance bool }
	model := porcupine.Model{
		Init: func() any { return uint64(0) },
		Step: func(state, in, out any) (bool, any) {
			number := out.(uint64)
			if in.(input).advance {
				return number == state.(uint64)+1, number
			}
			return number == state.(uint64), state
		},
	}
	for seed := range uint64(20) {
		s := artifact.New(yielding{membucket.New(nil), rand.New(rand.NewPCG(seed, 0)), new(sync.Mutex)}, artifact.Options{})
		var mu sync.Mutex
		var history []porcupine.Operation
		var clients sync.WaitGroup
		begun := time.Now()
		for client := range 4 {
			clients.Go(func() {
				for i := range 12 {
					advance := (i+client)%3 != 0
					call := time.Since(begun).Nanoseconds()
					var h artifact.Head
					var err error
					if advance {
						h, _, err = s.Advance(t.Context(), schemas.SamplesHead, fmt.Sprintf("%d-%d", client, i), func(*artifact.Head) (artifact.Manifest, error) {
							return artifact.Manifest{Kind: "samples"}, nil
						})
					} else {
						h, err = s.Latest(t.Context(), schemas.SamplesHead)
					}
					if err != nil && !errors.Is(err, artifact.ErrNotFound) {
						t.Error(err)
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: input{advance}, Call: call, Output: h.Number, Return: time.Since(begun).Nanoseconds()})
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		if !porcupine.CheckOperations(model, history) {
			t.Fatalf("history of seed %d is not linearizable: %v", seed, history)
		}
	}
}

// yielding lets other goroutines run before a call, now and then.
type yielding struct {
	artifact.Bucket
	random *rand.Rand
	mu     *sync.Mutex
}

func (y yielding) pause() {
	y.mu.Lock()
	n := y.random.IntN(4)
	y.mu.Unlock()
	for range n {
		runtime.Gosched()
	}
}

func (y yielding) Get(ctx context.Context, key string) ([]byte, error) {
	y.pause()
	return y.Bucket.Get(ctx, key)
}

func (y yielding) Create(ctx context.Context, key string, data []byte) error {
	y.pause()
	return y.Bucket.Create(ctx, key, data)
}

// Bytes that anybody may have put into the store are read without a panic, and
// what is accepted is what would be written.
func FuzzReadManifest(f *testing.F) {
	b := membucket.New(nil)
	if err := runs(f.Context(), b, 1); err != nil {
		f.Fatal(err)
	}
	key := schemas.ManifestKey("run-000000", "collect", "0000")
	data, err := b.Get(f.Context(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"format":1,"kind":"a","run":"run-000000","step":"collect","shard":"0000","writer":""}`))
	f.Add([]byte(`{"format":1,"files":null,"from":"0000-01-01T00:00:00+23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := membucket.New(nil)
		for _, object := range [][]byte{data, artifact.Sealed(string(data))} {
			if err := b.Put(t.Context(), key, object); err != nil {
				t.Fatal(err)
			}
			s := artifact.New(b, artifact.Options{})
			m, err := s.ReadManifest(t.Context(), key)
			if err != nil {
				if code := schemas.CodeOf(err); code == schemas.CodeInternal {
					t.Errorf("error %v has no code", err)
				}
				continue
			}
			if m.Key() != key || len(m.Sum) != 64 {
				t.Errorf("manifest of %s with sum %q is read under %s", m.Key(), m.Sum, key)
			}
			if err := s.VerifyFiles(t.Context(), m); err != nil && schemas.CodeOf(err) == schemas.CodeInternal {
				t.Errorf("error %v has no code", err)
			}
		}
	})
}

func FuzzReadHead(f *testing.F) {
	b := membucket.New(nil)
	if err := runs(f.Context(), b, 2); err != nil {
		f.Fatal(err)
	}
	key := schemas.HeadKey(schemas.SamplesHead, 2)
	data, err := b.Get(f.Context(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.Replace(data, []byte(`"number":2`), []byte(`"number":3`), 1))
	f.Add([]byte(`{"format":1,"pipeline":"samples","number":2,"run":"x","recent":[{"run":"y","number":18446744073709551615}],"manifest":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, object := range [][]byte{data, artifact.Sealed(string(data))} {
			b := membucket.New(nil)
			if err := b.Put(t.Context(), key, object); err != nil {
				t.Fatal(err)
			}
			s := artifact.New(b, artifact.Options{})
			if h, err := s.Latest(t.Context(), schemas.SamplesHead); err == nil && h.Number != 2 {
				t.Errorf("head 2 is read as %d", h.Number)
			} else if err != nil && schemas.CodeOf(err) == schemas.CodeInternal {
				t.Errorf("error %v has no code", err)
			}
			// Whatever stands there, the pipeline can go on or says why not.
			_, _, err := s.Advance(t.Context(), schemas.SamplesHead, "y", func(*artifact.Head) (artifact.Manifest, error) {
				return artifact.Manifest{Kind: "samples"}, nil
			})
			if err != nil && schemas.CodeOf(err) == schemas.CodeInternal {
				t.Errorf("advance: error %v has no code", err)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	for _, u := range []string{"mem:", "file:///tmp", "s3://bucket/prefix?endpoint=localhost:9000&insecure=true", "mem:?%zz", "://"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		s, err := artifact.Open(t.Context(), rawURL, artifact.Drivers{"mem": membucket.Open}, artifact.Options{})
		if err == nil {
			s.Close()
		} else if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("error %v has code %s, want %s", err, schemas.CodeOf(err), schemas.CodeInvalidConfig)
		}
	})
}

package artifacttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// TestStore holds [artifact.Store] to its promises on a driver.
func TestStore(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, artifact.Bucket)
	}{
		{"the probe passes and leaves nothing behind", testProbe},
		{"a data file is stored once, under its hash", testFiles},
		{"a damaged data file is found out, and mended by storing it again", testDamagedFile},
		{"a manifest is committed once, and again with the same content", testManifests},
		{"a manifest with other content is a conflict that returns the committed one", testManifestConflict},
		{"heads count from 1 and name their parents", testHeads},
		{"a run advances a pipeline once", testRepeatedRun},
		{"a late run is superseded by a newer one", testSuperseded},
		{"8 x 50 simultaneous advances are all kept", testConcurrentAdvances},
		{"a reader falls back over damaged heads one by one", testFallback},
		{"a reader falls back over a head whose files are damaged", testFallbackFiles},
		{"a sweep keeps what is referred to, and what is young", testSweep},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func testProbe(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	for range 3 {
		must(t, s.Probe(t.Context()))
	}
	if got := keys(t, b, ""); len(got) > 0 {
		t.Errorf("the probe left %v", got)
	}
}

func testFiles(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	meta := artifact.FileMeta{Rows: 96, From: day, To: day.Add(24 * time.Hour), Schema: "samples.v1"}
	want := artifact.File{
		Key:      "data/samples/2026-03-01/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824.parquet",
		Bytes:    5,
		SHA256:   "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", // of "hello"
		FileMeta: meta,
	}
	// Stored by several at once and again later, as a repeated step would.
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for range 2 {
				got, err := s.PutFile(t.Context(), "samples", day.Add(3*time.Hour), "parquet", []byte("hello"), meta)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(want, got); diff != "" {
					return fmt.Errorf("file (-want +got):\n%s", diff)
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	if diff := cmp.Diff([]string{want.Key}, keys(t, b, "")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	got, err := s.GetFile(t.Context(), want)
	must(t, err)
	if string(got) != "hello" {
		t.Errorf("file's content is %q, want hello", got)
	}
	// Files of another kind and of another day are not listed.
	_, err = s.PutFile(t.Context(), "samples-2", day, "parquet", []byte("hello"), meta)
	must(t, err)
	_, err = s.PutFile(t.Context(), "samples", day.AddDate(0, 0, 1), "parquet", []byte("hello"), meta)
	must(t, err)
	listed, err := s.Files(t.Context(), "samples", day.Add(20*time.Hour))
	must(t, err)
	if diff := cmp.Diff([]artifact.File{{Key: want.Key, Bytes: want.Bytes, SHA256: want.SHA256}}, listed); diff != "" {
		t.Errorf("files of the day (-want +got):\n%s", diff)
	}
	must(t, b.Delete(t.Context(), want.Key))
	if _, err := s.GetFile(t.Context(), want); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("get of a file that is gone: error is %v, want ErrNotFound", err)
	}
}

func testDamagedFile(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	content := []byte("some rows of usage")
	put := func() artifact.File {
		f, err := s.PutFile(t.Context(), "samples", day, "parquet", content, artifact.FileMeta{})
		must(t, err)
		return f
	}
	f := put()
	flipped := bytes.Clone(content)
	flipped[3] ^= 1
	for name, damaged := range map[string][]byte{
		"truncated":    content[:len(content)-1],
		"empty":        nil,
		"longer":       append(bytes.Clone(content), 0),
		"a bit turned": flipped,
	} {
		must(t, b.Put(t.Context(), f.Key, damaged))
		if _, err := s.GetFile(t.Context(), f); !errors.Is(err, artifact.ErrCorrupt) || schemas.CodeOf(err) != schemas.CodeCorrupt {
			t.Errorf("%s: error is %v, want ErrCorrupt", name, err)
		}
		if diff := cmp.Diff(f, put()); diff != "" {
			t.Errorf("%s: file stored again (-want +got):\n%s", name, diff)
		}
		if got, err := s.GetFile(t.Context(), f); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: file is not mended: %q, %v", name, got, err)
		}
	}
}

// putFile stores a small file whose content is text.
func putFile(t testing.TB, s *artifact.Store, text string) artifact.File {
	t.Helper()
	f, err := s.PutFile(t.Context(), "samples", day, "txt", []byte(text), artifact.FileMeta{Rows: 1})
	must(t, err)
	return f
}

func testManifests(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	x, y := putFile(t, s, "x"), putFile(t, s, "y")
	m := artifact.Manifest{
		Kind: "dataset", Run: "run-1", Step: "dataset", Shard: "0003", Writer: "v1.2.3",
		Inputs: []artifact.Input{y.Input(), x.Input()},
		Files:  []artifact.File{y, x},
		From:   day, To: day.Add(time.Hour),
		Labels: map[string]string{"zone": "<ü>", "a": ""},
	}
	key := m.Key()
	if want := "runs/run-1/dataset/0003/manifest.json"; key != want {
		t.Fatalf("key is %s, want %s", key, want)
	}
	if _, err := s.ReadManifest(t.Context(), key); !errors.Is(err, artifact.ErrNotFound) {
		t.Fatalf("read of a manifest that is not committed: error is %v, want ErrNotFound", err)
	}
	committed, err := s.CommitManifest(t.Context(), key, m)
	must(t, err)
	bytesBefore, err := b.Get(t.Context(), key)
	must(t, err)

	// The same work done in another order, at another place.
	again := m
	again.Files = []artifact.File{x, y, x}
	again.Inputs = []artifact.Input{x.Input(), y.Input(), y.Input()}
	again.From = m.From.In(time.FixedZone("", 3600))
	got, err := s.CommitManifest(t.Context(), key, again)
	must(t, err)
	if diff := cmp.Diff(committed, got); diff != "" {
		t.Errorf("manifest committed again (-first +second):\n%s", diff)
	}
	bytesAfter, err := b.Get(t.Context(), key)
	must(t, err)
	if diff := cmp.Diff(string(bytesBefore), string(bytesAfter)); diff != "" {
		t.Errorf("bytes of the manifest committed again (-first +second):\n%s", diff)
	}
	got, err = s.ReadManifest(t.Context(), key)
	must(t, err)
	if diff := cmp.Diff(committed, got); diff != "" {
		t.Errorf("manifest (-committed +read):\n%s", diff)
	}

	m.Shard = "0001"
	_, err = s.CommitManifest(t.Context(), m.Key(), m)
	must(t, err)
	all, err := s.Manifests(t.Context(), "run-1")
	must(t, err)
	var shards []string
	for _, m := range all {
		shards = append(shards, m.Shard)
	}
	if diff := cmp.Diff([]string{"0001", "0003"}, shards); diff != "" {
		t.Errorf("shards of the run (-want +got):\n%s", diff)
	}
	// Another step of the run, whose name begins alike.
	m.Step, m.Shard = "dataset-2", ""
	_, err = s.CommitManifest(t.Context(), m.Key(), m)
	must(t, err)
	all, err = s.StepManifests(t.Context(), "run-1", "dataset")
	must(t, err)
	if len(all) != 2 || all[0].Shard != "0001" || all[1].Shard != "0003" {
		t.Errorf("step dataset has %d manifests, want those of the shards 0001 and 0003", len(all))
	}
	must(t, s.VerifyFiles(t.Context(), committed))
}

func testManifestConflict(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	m := artifact.Manifest{Kind: "dataset", Run: "run-1", Step: "dataset", Writer: "v1"}
	first, err := s.CommitManifest(t.Context(), m.Key(), m)
	must(t, err)
	m.Writer = "v2"
	existing, err := s.CommitManifest(t.Context(), m.Key(), m)
	if !errors.Is(err, artifact.ErrConflict) || schemas.CodeOf(err) != schemas.CodeConflict {
		t.Errorf("error is %v, want ErrConflict", err)
	}
	if diff := cmp.Diff(first, existing); diff != "" {
		t.Errorf("manifest returned with the conflict (-committed +returned):\n%s", diff)
	}

	// A run of which two attempts disagree, at the same time.
	var mu sync.Mutex
	var won, lost []artifact.Manifest
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			m := artifact.Manifest{Kind: "dataset", Run: "run-2", Step: "dataset", Writer: fmt.Sprint(i)}
			got, err := s.CommitManifest(t.Context(), m.Key(), m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, got)
			case errors.Is(err, artifact.ErrConflict):
				lost = append(lost, got)
			default:
				return err
			}
			return nil
		})
	}
	must(t, g.Wait())
	if len(won) != 1 || len(lost) != 7 {
		t.Fatalf("%d commits won and %d lost, want 1 and 7", len(won), len(lost))
	}
	for _, m := range lost {
		if diff := cmp.Diff(won[0], m); diff != "" {
			t.Errorf("manifest returned to a loser (-winner +got):\n%s", diff)
		}
	}
}

// advance advances the samples pipeline by a head that reaches to.
func advance(t testing.TB, s *artifact.Store, run string, to time.Time, files ...artifact.File) artifact.Head {
	t.Helper()
	h, outcome, err := s.Advance(t.Context(), schemas.SamplesHead, run, func(*artifact.Head) (artifact.Manifest, error) {
		return artifact.Manifest{Kind: "samples", From: day, To: to, Files: files}, nil
	})
	must(t, err)
	if outcome != artifact.Committed {
		t.Fatalf("advance of %s ended with %s, want Committed", run, outcome)
	}
	return h
}

func testHeads(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	if _, err := s.Latest(t.Context(), schemas.SamplesHead); !errors.Is(err, artifact.ErrNotFound) {
		t.Fatalf("latest of a pipeline without heads: error is %v, want ErrNotFound", err)
	}
	var parent string
	for i := uint64(1); i <= 3; i++ {
		h := advance(t, s, fmt.Sprintf("run-%d", i), day.Add(time.Duration(i)*time.Hour))
		if h.Number != i || h.Parent != parent || h.Manifest.Run != h.Run {
			t.Errorf("head is number %d with parent %q and run %s, want number %d with parent %q", h.Number, h.Parent, h.Manifest.Run, i, parent)
		}
		parent = h.Sum
		latest, err := s.Latest(t.Context(), schemas.SamplesHead)
		must(t, err)
		if diff := cmp.Diff(h, latest); diff != "" {
			t.Errorf("latest head (-advanced +read):\n%s", diff)
		}
	}
	var numbers []uint64
	for h, err := range s.Heads(t.Context(), schemas.SamplesHead) {
		must(t, err)
		numbers = append(numbers, h.Number)
	}
	if diff := cmp.Diff([]uint64{3, 2, 1}, numbers); diff != "" {
		t.Errorf("heads (-want +got):\n%s", diff)
	}
	// Pipelines do not see each other.
	if _, err := s.Latest(t.Context(), schemas.ModelsHead); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("latest of another pipeline: error is %v, want ErrNotFound", err)
	}
}

func testRepeatedRun(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	var made []artifact.Head
	for i := range 4 {
		made = append(made, advance(t, s, fmt.Sprintf("run-%d", i), day))
	}
	for _, want := range made {
		got, outcome, err := s.Advance(t.Context(), schemas.SamplesHead, want.Run, func(*artifact.Head) (artifact.Manifest, error) {
			t.Errorf("build is called for %s, which is done", want.Run)
			return artifact.Manifest{}, nil
		})
		must(t, err)
		if outcome != artifact.Repeated {
			t.Errorf("%s: outcome is %s, want Repeated", want.Run, outcome)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: head (-made +returned):\n%s", want.Run, diff)
		}
	}
	if got := len(keys(t, b, "heads/")); got != len(made) {
		t.Errorf("there are %d heads, want %d", got, len(made))
	}
}

func testSuperseded(t *testing.T, b artifact.Bucket) {
	s := artifact.New(b, artifact.Options{})
	try := func(run string, to time.Time, opts ...artifact.AdvanceOption) (artifact.Head, artifact.Outcome) {
		t.Helper()
		h, outcome, err := s.Advance(t.Context(), schemas.ForecastsHead, run, func(*artifact.Head) (artifact.Manifest, error) {
			return artifact.Manifest{Kind: "forecasts", From: day, To: to}, nil
		}, opts...)
		must(t, err)
		return h, outcome
	}
	newest, _ := try("newest", day.Add(2*time.Hour), artifact.Monotonic())
	got, outcome := try("late", day.Add(time.Hour), artifact.Monotonic())
	if outcome != artifact.Superseded {
		t.Errorf("outcome is %s, want Superseded", outcome)
	}
	if diff := cmp.Diff(newest, got); diff != "" {
		t.Errorf("head returned to the late run (-current +returned):\n%s", diff)
	}
	if _, outcome := try("equal", day.Add(2*time.Hour), artifact.Monotonic()); outcome != artifact.Committed {
		t.Errorf("a run that reaches as far ended with %s, want Committed", outcome)
	}
	if _, outcome := try("backfill", day.Add(time.Hour)); outcome != artifact.Committed {
		t.Errorf("a run that may go back ended with %s, want Committed", outcome)
	}
}

func testConcurrentAdvances(t *testing.T, b artifact.Bucket) {
	const writers, advances = 8, 50
	s := artifact.New(b, artifact.Options{})
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range advances {
				// Each counts on from the head before.
				run := fmt.Sprintf("w%d-%02d", w, i)
				_, outcome, err := s.Advance(t.Context(), schemas.SamplesHead, run, func(prev *artifact.Head) (artifact.Manifest, error) {
					n := 0
					if prev != nil {
						if _, err := fmt.Sscan(prev.Manifest.Labels["count"], &n); err != nil {
							return artifact.Manifest{}, err
						}
					}
					return artifact.Manifest{Kind: "samples", Labels: map[string]string{"count": fmt.Sprint(n + 1)}}, nil
				})
				if err != nil {
					return err
				}
				if outcome != artifact.Committed {
					return fmt.Errorf("%s ended with %s, want Committed", run, outcome)
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	latest, err := s.Latest(t.Context(), schemas.SamplesHead)
	must(t, err)
	if count := latest.Manifest.Labels["count"]; latest.Number != writers*advances || count != fmt.Sprint(writers*advances) {
		t.Errorf("after %d advances the head has number %d and the count %s", writers*advances, latest.Number, count)
	}
	child := latest
	for h, err := range s.Heads(t.Context(), schemas.SamplesHead) {
		must(t, err)
		if h.Number != child.Number && (h.Number != child.Number-1 || h.Sum != child.Parent) {
			t.Fatalf("head %d has the sum %s, but its successor %d names the parent %s", h.Number, h.Sum, child.Number, child.Parent)
		}
		child = h
	}
	if child.Number != 1 || child.Parent != "" {
		t.Errorf("the line of heads ends at number %d", child.Number)
	}
}

// damage turns a bit of an object.
func damage(t testing.TB, b artifact.Bucket, key string) {
	t.Helper()
	data, err := b.Get(t.Context(), key)
	must(t, err)
	data[len(data)/2] ^= 4
	must(t, b.Put(t.Context(), key, data))
}

// passedOver collects what a store tells of invalid heads.
type passedOver struct {
	mu      sync.Mutex
	numbers []uint64
	errs    []error
}

func (p *passedOver) add(h artifact.InvalidHead) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.numbers = append(p.numbers, h.Number)
	p.errs = append(p.errs, h.Err)
}

func testFallback(t *testing.T, b artifact.Bucket) {
	var passed passedOver
	s := artifact.New(b, artifact.Options{OnInvalidHead: passed.add})
	var made []artifact.Head
	for i := range 4 {
		made = append(made, advance(t, s, fmt.Sprintf("run-%d", i+1), day))
	}
	damage(t, b, made[3].Key())
	must(t, b.Put(t.Context(), made[2].Key(), nil))
	got, err := s.Latest(t.Context(), schemas.SamplesHead)
	must(t, err)
	if diff := cmp.Diff(made[1], got); diff != "" {
		t.Errorf("latest head (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{4, 3}, passed.numbers); diff != "" {
		t.Errorf("heads passed over (-want +got):\n%s", diff)
	}
	for _, err := range passed.errs {
		if !errors.Is(err, artifact.ErrCorrupt) {
			t.Errorf("head is passed over for %v, want ErrCorrupt", err)
		}
	}
	// What was lost with the damaged heads is made again, upon the last good one.
	next := advance(t, s, "run-4", day)
	if next.Number != 5 || next.Parent != made[1].Sum {
		t.Errorf("the next head has number %d and parent %s, want 5 and %s", next.Number, next.Parent, made[1].Sum)
	}
	for _, h := range append(made[:2:2], next) {
		must(t, b.Put(t.Context(), h.Key(), []byte("{}")))
	}
	if _, err := s.Latest(t.Context(), schemas.SamplesHead); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("latest where every head is damaged: error is %v, want ErrNotFound", err)
	}
}

func testFallbackFiles(t *testing.T, b artifact.Bucket) {
	var passed passedOver
	s := artifact.New(b, artifact.Options{OnInvalidHead: passed.add})
	good := advance(t, s, "good", day, putFile(t, s, "good"))
	gone := advance(t, s, "gone", day, putFile(t, s, "also good"), putFile(t, s, "gone"))
	bad := advance(t, s, "bad", day, putFile(t, s, "also good"), putFile(t, s, "bad"))
	for _, f := range gone.Manifest.Files {
		must(t, b.Delete(t.Context(), f.Key))
	}
	damage(t, b, bad.Manifest.Files[1].Key)
	got, err := s.LatestValid(t.Context(), schemas.SamplesHead, s.VerifyHead)
	must(t, err)
	if got.Number != good.Number {
		t.Errorf("latest head with good files is %d, want %d", got.Number, good.Number)
	}
	if diff := cmp.Diff([]uint64{bad.Number, gone.Number}, passed.numbers); diff != "" {
		t.Errorf("heads passed over (-want +got):\n%s", diff)
	}
	// A store that does not answer is no reason to fall back.
	silent := errors.New("no answer")
	_, err = s.LatestValid(t.Context(), schemas.SamplesHead, func(context.Context, artifact.Head) error { return silent })
	if !errors.Is(err, silent) {
		t.Errorf("error is %v, want that of the validation", err)
	}
}

func testSweep(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	s := artifact.New(b, artifact.Options{})
	commit := func(run string, files ...artifact.File) {
		m := artifact.Manifest{Kind: "dataset", Run: run, Step: "dataset", Files: files}
		_, err := s.CommitManifest(ctx, m.Key(), m)
		must(t, err)
	}
	var heads []artifact.Head
	shared := putFile(t, s, "shared")
	for i := range 5 {
		heads = append(heads, advance(t, s, fmt.Sprintf("run-%d", i), day, shared, putFile(t, s, fmt.Sprint("only in head ", i))))
	}
	commit("run-a", putFile(t, s, "of a run"))
	orphan := putFile(t, s, "of no manifest")
	must(t, b.Create(ctx, "elsewhere/x", []byte("not ours")))
	must(t, b.Create(ctx, "probe/killed/first", []byte("1")))
	before := Contents(t, b)

	options := artifact.SweepOptions{Heads: map[schemas.Pipeline]int{schemas.SamplesHead: 2}, Runs: 7 * 24 * time.Hour, Grace: 48 * time.Hour}
	sweepAt := func(age time.Duration, o artifact.SweepOptions) artifact.SweepReport {
		t.Helper()
		s := artifact.New(b, artifact.Options{Clock: clocktesting.NewFakePassiveClock(time.Now().Add(age))})
		report, err := s.Sweep(ctx, o)
		must(t, err)
		return report
	}

	// All is within the grace.
	if r := sweepAt(47*time.Hour, options); len(r.Deleted) > 0 {
		t.Errorf("a sweep within the grace deleted %v", r.Deleted)
	}
	// Then, of the five heads, two stay, and the run manifest is recent.
	dry := options
	dry.DryRun = true
	would := sweepAt(72*time.Hour, dry)
	if diff := cmp.Diff(before, Contents(t, b)); diff != "" {
		t.Fatalf("a dry run changed the store (-before +after):\n%s", diff)
	}
	did := sweepAt(72*time.Hour, options)
	if diff := cmp.Diff(would, did); diff != "" {
		t.Errorf("report (-dry run +sweep):\n%s", diff)
	}
	want := map[string]bool{orphan.Key: true, "probe/killed/first": true}
	for _, h := range heads[:3] {
		want[h.Key()] = true
		for _, f := range h.Manifest.Files {
			want[f.Key] = f.Key != shared.Key
		}
	}
	delete(want, shared.Key)
	got := make(map[string]bool)
	for _, key := range did.Deleted {
		got[key] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	latest, err := s.LatestValid(ctx, schemas.SamplesHead, s.VerifyHead)
	must(t, err)
	if latest.Number != 5 {
		t.Errorf("after the sweep the current head is %d, want 5", latest.Number)
	}
	if r := sweepAt(72*time.Hour, options); len(r.Deleted) > 0 {
		t.Errorf("a second sweep deleted %v", r.Deleted)
	}
	// At last the run manifest goes, with its file; the heads stay.
	if r := sweepAt(30*24*time.Hour, options); len(r.Deleted) != 2 {
		t.Errorf("after a month a sweep deleted %v, want the run manifest and its file", r.Deleted)
	}
	must(t, s.VerifyHead(ctx, latest))
	wantObject(t, b, "elsewhere/x", "not ours")
	// The next head counts on.
	if h := advance(t, s, "run-5", day); h.Number != 6 {
		t.Errorf("the next head has number %d, want 6", h.Number)
	}
}

// Contents returns all objects of a bucket.
func Contents(t testing.TB, b artifact.Bucket) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, key := range keys(t, b, "") {
		data, err := b.Get(t.Context(), key)
		must(t, err)
		all[key] = string(data)
	}
	return all
}

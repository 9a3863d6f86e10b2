// Package artifacttest says whether a driver is right. A driver's own test calls
//
//	artifacttest.TestBucket(t, open)
//	artifacttest.TestStore(t, open)
//
// and, where several processes may share its buckets, [TestKill]. The package
// also holds a [Faults] wrapper, which fails a bucket's calls on demand.
package artifacttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Open returns an empty bucket and closes it when the test ends.
type Open func(t testing.TB) artifact.Bucket

// TestBucket holds a driver to the contract of [artifact.Bucket].
func TestBucket(t *testing.T, open Open) {
	t.Run("an object is read back as it was written", func(t *testing.T) { testRoundTrip(t, open(t)) })
	t.Run("what does not exist is not found", func(t *testing.T) { testNotFound(t, open(t)) })
	t.Run("a second create is refused and changes nothing", func(t *testing.T) { testCreateTwice(t, open(t)) })
	t.Run("put writes whether the key exists or not", func(t *testing.T) { testPut(t, open(t)) })
	t.Run("a deleted key can be created again", func(t *testing.T) { testDelete(t, open(t)) })
	t.Run("a listing is in order, complete and stops when told to", func(t *testing.T) { testList(t, open(t)) })
	t.Run("a listing of more than a page is complete", func(t *testing.T) { testLongList(t, open(t)) })
	t.Run("a listing tells sizes and times", func(t *testing.T) { testListInfo(t, open(t)) })
	t.Run("a bad key is refused", func(t *testing.T) { testBadKeys(t, open(t)) })
	t.Run("a call with an ended context does nothing", func(t *testing.T) { testCancelled(t, open(t)) })
	t.Run("of 16 writers of a key exactly one wins, a thousand times", func(t *testing.T) { testRace(t, open(t), 1000, 16) })
	t.Run("a reader sees the old object or the new one, whole", func(t *testing.T) { testNothingTorn(t, open(t)) })
	t.Run("objects come and go beside each other", func(t *testing.T) { testComeAndGo(t, open(t)) })
	t.Run("any sequence of calls does what a map would do", func(t *testing.T) { testModel(t, open(t)) })
}

func testRoundTrip(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 6<<20+1) // more than a part of a multipart upload
	rand.NewChaCha8([32]byte{}).Read(large)
	for i, data := range [][]byte{{}, {0}, every, []byte("\r\n"), large} {
		key := fmt.Sprintf("data/%d", i)
		mine := bytes.Clone(data)
		if err := b.Create(ctx, key, mine); err != nil {
			t.Fatal(err)
		}
		clear(mine) // the caller's buffer is the caller's
		for range 2 {
			got, err := b.Get(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data) {
				t.Fatalf("object of %d bytes came back different, with %d bytes", len(data), len(got))
			}
			clear(got) // and what it was given too
		}
	}
}

func testNotFound(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	must(t, b.Create(ctx, "a/b", []byte("x")))
	// "a" is a folder where objects are files, and "a/b" a file.
	for _, key := range []string{"nothing", "a", "a/c", "a/b/c", "ab"} {
		_, err := b.Get(ctx, key)
		if !errors.Is(err, artifact.ErrNotFound) || schemas.CodeOf(err) != schemas.CodeNotFound {
			t.Errorf("get %s: error is %v with code %q, want ErrNotFound", key, err, schemas.CodeOf(err))
		}
	}
}

func testCreateTwice(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	must(t, b.Create(ctx, "heads/1", []byte("first")))
	for _, data := range []string{"second", "first", ""} {
		if err := b.Create(ctx, "heads/1", []byte(data)); !errors.Is(err, artifact.ErrExists) || schemas.CodeOf(err) != schemas.CodeConflict {
			t.Errorf("create of %q over an object: error is %v, want ErrExists", data, err)
		}
	}
	wantObject(t, b, "heads/1", "first")
}

func testPut(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	must(t, b.Put(ctx, "data/x", []byte("a longer first version")))
	wantObject(t, b, "data/x", "a longer first version")
	must(t, b.Put(ctx, "data/x", []byte("second")))
	wantObject(t, b, "data/x", "second")
	if err := b.Create(ctx, "data/x", []byte("third")); !errors.Is(err, artifact.ErrExists) {
		t.Errorf("create over an object that was put: error is %v, want ErrExists", err)
	}
}

func testDelete(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	must(t, b.Delete(ctx, "a/never"))
	for i := range 3 {
		data := fmt.Sprint("generation ", i)
		must(t, b.Create(ctx, "a/b/c", []byte(data)))
		wantObject(t, b, "a/b/c", data)
		must(t, b.Delete(ctx, "a/b/c"))
		must(t, b.Delete(ctx, "a/b/c"))
		if _, err := b.Get(ctx, "a/b/c"); !errors.Is(err, artifact.ErrNotFound) {
			t.Fatalf("get of a deleted object: error is %v, want ErrNotFound", err)
		}
		if got := keys(t, b, ""); len(got) > 0 {
			t.Fatalf("listing after the only object is deleted: %v, want none", got)
		}
	}
}

func testList(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	// '-' and '.' sort before '/', '0' and '=' behind it: a driver that walks
	// folders must not list them in the folders' order.
	all := []string{"a-b/x", "a.b/x", "a/b/c/d", "a/b-c", "a/b.c", "a/b0", "a0/x", "a=b", "aa", "b/x", "z"}
	slices.Sort(all)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(all)) {
		must(t, b.Create(ctx, all[i], []byte(all[i])))
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d", "a/b/c/d/", "b/", "b/x", "b/xy", "c", "z", "zz/", "../", ".tmp/", "/"} {
		var want []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if diff := cmp.Diff(want, keys(t, b, prefix)); diff != "" {
			t.Errorf("keys that begin with %q (-want +got):\n%s", prefix, diff)
		}
	}
	for n := 1; n <= len(all); n++ {
		var got []string
		must(t, b.List(ctx, "", func(o artifact.ObjectInfo) bool {
			got = append(got, o.Key)
			return len(got) < n
		}))
		if diff := cmp.Diff(all[:n], got); diff != "" {
			t.Errorf("listing that stops after %d (-want +got):\n%s", n, diff)
		}
	}
}

func testLongList(t *testing.T, b artifact.Bucket) {
	var want []string
	for i := range 1100 {
		want = append(want, fmt.Sprintf("heads/many/%04d", i))
	}
	var g errgroup.Group
	g.SetLimit(32)
	for _, key := range want {
		g.Go(func() error { return b.Create(t.Context(), key, nil) })
	}
	must(t, g.Wait())
	if diff := cmp.Diff(want, keys(t, b, "heads/many/")); diff != "" {
		t.Errorf("1,100 keys (-want +got):\n%s", diff)
	}
}

func testListInfo(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	must(t, b.Create(ctx, "data/five", []byte("12345")))
	must(t, b.Create(ctx, "data/none", nil))
	sizes := make(map[string]int64)
	must(t, b.List(ctx, "data/", func(o artifact.ObjectInfo) bool {
		sizes[o.Key] = o.Size
		// The store's clock may differ a little, and its times may be rounded.
		if age := time.Since(o.Modified); age < -time.Hour || age > time.Hour {
			t.Errorf("%s was modified at %s, want about now", o.Key, o.Modified)
		}
		return true
	}))
	if diff := cmp.Diff(map[string]int64{"data/five": 5, "data/none": 0}, sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
}

func testBadKeys(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".tmp/a", "a/.b",
		"a b", "a\\b", "a\x00b", "a\nb", "a%2fb", "ä", "a?b", "a*b", "a:b", "\xff",
		strings.Repeat("a", 256), strings.Repeat("abc/", 300) + "d",
	} {
		_, err := b.Get(ctx, key)
		for op, err := range map[string]error{"get": err, "create": b.Create(ctx, key, nil), "put": b.Put(ctx, key, nil), "delete": b.Delete(ctx, key)} {
			if schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("%s %q: error is %v, want one with code %s", op, key, err, schemas.CodeInvalidData)
			}
		}
	}
	if got := keys(t, b, ""); len(got) > 0 {
		t.Errorf("refused keys were written: %q", got)
	}
}

func testCancelled(t *testing.T, b artifact.Bucket) {
	must(t, b.Create(t.Context(), "a", []byte("x")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Get(ctx, "a")
	for op, err := range map[string]error{
		"get":    err,
		"create": b.Create(ctx, "b", nil),
		"put":    b.Put(ctx, "a", nil),
		"delete": b.Delete(ctx, "a"),
		"list":   b.List(ctx, "", func(artifact.ObjectInfo) bool { t.Error("list yields"); return true }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error is %v, want context.Canceled", op, err)
		}
	}
	if diff := cmp.Diff([]string{"a"}, keys(t, b, "")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	wantObject(t, b, "a", "x")
}

// testRace lets writers race for each of a number of keys.
func testRace(t *testing.T, b artifact.Bucket, n, writers int) {
	ctx := t.Context()
	wins := make([]atomic.Int32, n)
	winner := make([]atomic.Int32, n)
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range n {
				err := b.Create(ctx, fmt.Sprintf("heads/race/%04d", i), fmt.Appendf(nil, "key %d by writer %d", i, w))
				switch {
				case err == nil:
					wins[i].Add(1)
					winner[i].Store(int32(w))
				case !errors.Is(err, artifact.ErrExists):
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	for i := range n {
		if w := wins[i].Load(); w != 1 {
			t.Fatalf("key %d has %d winners, want 1", i, w)
		}
		wantObject(t, b, fmt.Sprintf("heads/race/%04d", i), fmt.Sprintf("key %d by writer %d", i, winner[i].Load()))
	}
}

func testNothingTorn(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	versions := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<18)}
	whole := func(data []byte) bool { return bytes.Equal(data, versions[0]) || bytes.Equal(data, versions[1]) }
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("data/%d", i%20)
				data, err := b.Get(ctx, key)
				switch {
				case errors.Is(err, artifact.ErrNotFound):
				case err != nil:
					t.Error(err)
				case !whole(data):
					t.Errorf("%s is read with %d bytes that were never written so", key, len(data))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var writers errgroup.Group
	for w := range 2 {
		writers.Go(func() error {
			for i := range 40 {
				key := fmt.Sprintf("data/%d", i%20)
				if i < 20 {
					if err := b.Create(ctx, key, versions[w]); err != nil && !errors.Is(err, artifact.ErrExists) {
						return err
					}
				} else if err := b.Put(ctx, key, versions[w]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, writers.Wait())
	close(done)
	readers.Wait()
}

// testComeAndGo has folders, where objects are files, become empty while others
// write into them.
func testComeAndGo(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	var g errgroup.Group
	for w := range 4 {
		g.Go(func() error {
			key := fmt.Sprintf("runs/a/b/%d", w)
			for i := range 50 {
				write := b.Create
				if i%2 == 1 {
					write = b.Put
				}
				if err := write(ctx, key, []byte(key)); err != nil {
					return err
				}
				if data, err := b.Get(ctx, key); err != nil || string(data) != key {
					return fmt.Errorf("get %s returns %q, %v", key, data, err)
				}
				if err := b.Delete(ctx, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	if got := keys(t, b, ""); len(got) > 0 {
		t.Errorf("objects are left: %v", got)
	}
}

func testModel(t *testing.T, b artifact.Bucket) {
	ctx := t.Context()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		prefix := fmt.Sprintf("round%d/", round)
		model := make(map[string]string)
		key := rapid.SampledFrom([]string{"a", "b", "c/d", "c/e", "c-d", "c.d/e"})
		value := rapid.StringN(0, 20, 40)
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				k, v := prefix+key.Draw(t, "key"), value.Draw(t, "value")
				err := b.Create(ctx, k, []byte(v))
				if _, exists := model[k]; exists != errors.Is(err, artifact.ErrExists) || !exists && err != nil {
					t.Fatalf("create %s, which exists (%t): %v", k, exists, err)
				} else if !exists {
					model[k] = v
				}
			},
			"put": func(t *rapid.T) {
				k, v := prefix+key.Draw(t, "key"), value.Draw(t, "value")
				if err := b.Put(ctx, k, []byte(v)); err != nil {
					t.Fatal(err)
				}
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				k := prefix + key.Draw(t, "key")
				if err := b.Delete(ctx, k); err != nil {
					t.Fatal(err)
				}
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := prefix + key.Draw(t, "key")
				data, err := b.Get(ctx, k)
				want, exists := model[k]
				if exists == errors.Is(err, artifact.ErrNotFound) || exists && err != nil || string(data) != want {
					t.Fatalf("get %s returns %q, %v; want %q (exists: %t)", k, data, err, want, exists)
				}
			},
			"list": func(t *rapid.T) {
				p := prefix + rapid.SampledFrom([]string{"", "c", "c/", "c."}).Draw(t, "prefix")
				want, got := make(map[string]int64), make(map[string]int64)
				for k, v := range model {
					if strings.HasPrefix(k, p) {
						want[k] = int64(len(v))
					}
				}
				if err := b.List(ctx, p, func(o artifact.ObjectInfo) bool { got[o.Key] = o.Size; return true }); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("keys that begin with %s, and sizes (-want +got):\n%s", p, diff)
				}
			},
		})
	})
}

// BenchmarkBucket measures a driver's calls on objects of several sizes.
func BenchmarkBucket(b *testing.B, open Open) {
	for _, size := range []int{1 << 10, 1 << 20} {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{1}).Read(data)
		name := fmt.Sprintf("%dKiB", size>>10)
		b.Run("Create/"+name, func(b *testing.B) {
			bucket := open(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := bucket.Create(b.Context(), fmt.Sprintf("data/%d/%d", i%8, i), data); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
		b.Run("Get/"+name, func(b *testing.B) {
			bucket := open(b)
			if err := bucket.Create(b.Context(), "data/x", data); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bucket.Get(b.Context(), "data/x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("List/1000", func(b *testing.B) {
		bucket := open(b)
		for i := range 1000 {
			if err := bucket.Create(b.Context(), fmt.Sprintf("heads/p/%04d", i), nil); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			n := 0
			if err := bucket.List(b.Context(), "heads/p/", func(artifact.ObjectInfo) bool { n++; return true }); err != nil || n != 1000 {
				b.Fatal(n, err)
			}
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantObject(t testing.TB, b artifact.Bucket, key, want string) {
	t.Helper()
	got, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Fatalf("object %s (-want +got):\n%s", key, diff)
	}
}

func keys(t testing.TB, b artifact.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	must(t, b.List(t.Context(), prefix, func(o artifact.ObjectInfo) bool {
		all = append(all, o.Key)
		return true
	}))
	return all
}

package outdir_test

import (
	"path/filepath"
	"testing"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

func TestAFolderOnItsWayIsABucket(t *testing.T) {
	artifacttest.TestBucket(t, func(tb testing.TB) artifact.Bucket {
		d, err := outdir.Open(filepath.Join(tb.TempDir(), "out"))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = d.Discard() })
		return d.Bucket("store")
	})
}

func TestACommittedBucketIsAStoreOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	d, err := outdir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := d.Bucket("store")
	for key, data := range map[string]string{"a/b": "old", "a/c": "gone"} {
		if err := b.Create(t.Context(), key, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(t.Context(), "a/b", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "a/c"); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	disk, err := filebucket.New(filepath.Join(path, "store"))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := disk.Get(t.Context(), "a/b"); err != nil || string(data) != "new" {
		t.Errorf("a/b is %q, %v; want what was put last", data, err)
	}
	var keys []string
	if err := disk.List(t.Context(), "", func(o artifact.ObjectInfo) bool { keys = append(keys, o.Key); return true }); err != nil || len(keys) != 1 {
		t.Errorf("the store has %v, %v; want a/b alone", keys, err)
	}
}

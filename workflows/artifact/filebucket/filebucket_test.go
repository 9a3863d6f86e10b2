package filebucket_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

func open(t testing.TB) artifact.Bucket { return openFolder(t, t.TempDir()) }

func openFolder(t testing.TB, folder string) *filebucket.Bucket {
	t.Helper()
	b, err := filebucket.New(folder)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T)      { artifacttest.TestBucket(t, open) }
func TestStore(t *testing.T)       { artifacttest.TestStore(t, open) }
func BenchmarkBucket(b *testing.B) { artifacttest.BenchmarkBucket(b, open) }

func TestOpen(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, url, want string }{
		{"a relative folder", "file:store", "must have the form file:///absolute/folder"},
		{"a relative folder with slashes", "file://store/x", "must have the form file:///absolute/folder"},
		{"no folder", "file:", "must have the form file:///absolute/folder"},
		{"a parameter", "file:///tmp?sync=false", `has no query parameters, but has "sync"`},
		{"a file", "file://" + file, "must be a folder"},
		{"a folder below a file", "file://" + file + "/x", "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = filebucket.Open(t.Context(), u)
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
	u := &url.URL{Scheme: "file", Path: filepath.Join(folder, "a folder", "that is not there")}
	b, err := filebucket.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "a"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("get from a folder that is not there: error is %v, want ErrNotFound", err)
	}
	if err := b.Create(t.Context(), "a", nil); err != nil {
		t.Errorf("create in a folder that is not there: %v", err)
	}
}

// files returns the paths of all files below a folder, temporary ones included.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLeftoversOfKilledWritersGo(t *testing.T) {
	folder := t.TempDir()
	b := openFolder(t, folder)
	if err := b.Create(t.Context(), "data/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"write-old": 2 * filebucket.TempAge, "write-young": filebucket.TempAge / 2} {
		path := filepath.Join(folder, ".tmp", name)
		if err := os.WriteFile(path, []byte("half an obj"), 0o400); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	b = openFolder(t, folder)
	if got := files(t, folder); len(got) != 2 || got[0] != ".tmp/write-young" || got[1] != "data/x" {
		t.Errorf("files after the next process has opened the store are %v, want the object and the young one", got)
	}
	if got := artifacttest.Contents(t, b); len(got) != 1 {
		t.Errorf("objects are %v, want only data/x", got)
	}
}

func TestFoldersThatBecomeEmptyGo(t *testing.T) {
	folder := t.TempDir()
	b := openFolder(t, folder)
	for _, key := range []string{"runs/a/b/c", "runs/a/d"} {
		if err := b.Create(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ delete, left string }{{"runs/a/b/c", "runs/a"}, {"runs/a/d", "."}} {
		if err := b.Delete(t.Context(), step.delete); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(folder, step.left))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 { // the other object, and in the end .tmp
			t.Errorf("after %s is deleted, folder %s has %d entries, want 1", step.delete, step.left, len(entries))
		}
	}
	if err := b.Create(t.Context(), "runs/a/b/c", nil); err != nil {
		t.Errorf("create where the folder is gone: %v", err)
	}
}

func TestFilesOfOthersAreNotObjects(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{".hidden", "lost+found/x", "with space", "ok"} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	got := artifacttest.Contents(t, openFolder(t, folder))
	if _, ok := got["ok"]; !ok || len(got) != 1 {
		t.Errorf("objects are %v, want ok alone", got)
	}
}

func TestFolderThatMayNotBeWritten(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	folder := t.TempDir()
	b := openFolder(t, folder)
	if err := b.Create(t.Context(), "data/x", nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{folder, filepath.Join(folder, ".tmp"), filepath.Join(folder, "data")} {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(dir, 0o700) })
	}
	for name, err := range map[string]error{"create": b.Create(t.Context(), "data/y", nil), "delete": b.Delete(t.Context(), "data/x")} {
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("%s: error is %v with code %s, want one with code %s", name, err, schemas.CodeOf(err), schemas.CodeInvalidConfig)
		}
	}
	if _, err := b.Get(t.Context(), "data/x"); err != nil {
		t.Errorf("get: %v", err)
	}
}

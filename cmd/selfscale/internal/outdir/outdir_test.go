package outdir_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/outdir"
	"github.com/self-scaling/self-scaling/schemas"
)

// tree returns all files below dir with their content, the manifest apart.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == outdir.Manifest {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// write runs one command that writes the given files.
func write(path string, files map[string]string) error {
	d, err := outdir.Open(path)
	if err != nil {
		return err
	}
	defer d.Discard()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := d.WriteFile(name, []byte(files[name])); err != nil {
			return err
		}
	}
	return d.Commit()
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestCommit(t *testing.T) {
	first := map[string]string{"summary.json": "1", "plots/a.svg": "1", "plots/b.svg": "1", "gone/deep/c": "1"}
	second := map[string]string{"summary.json": "2", "plots/a.svg": "2"}
	for _, tt := range []struct {
		name string
		// prepare makes what is there before. It gets the folder's path.
		prepare func(t *testing.T, dir string)
		write   map[string]string
		want    map[string]string
	}{
		{"a new folder appears", func(*testing.T, string) {}, first, first},
		{"an empty folder is filled", func(t *testing.T, dir string) {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}, first, first},
		{"a second run replaces the first and leaves nothing of it", func(t *testing.T, dir string) {
			if err := write(dir, first); err != nil {
				t.Fatal(err)
			}
		}, second, second},
		{"what others put beside it stays", func(t *testing.T, dir string) {
			if err := write(dir, first); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "gone", "notes.txt"), "mine")
		}, second, map[string]string{"summary.json": "2", "plots/a.svg": "2", "gone/notes.txt": "mine"}},
		{"what a killed run left in an empty folder does not stop the next", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, ".selfscale-partial-1", "summary.json"), "half")
		}, second, map[string]string{"summary.json": "2", "plots/a.svg": "2", ".selfscale-partial-1/summary.json": "half"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "out")
			tt.prepare(t, dir)
			if err := write(dir, tt.write); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if around := tree(t, filepath.Dir(dir)); len(around) != len(tt.want) {
				t.Errorf("beside the folder lies something: %v", slices.Sorted(maps.Keys(around)))
			}
			if _, err := os.Stat(filepath.Join(dir, "gone", "deep")); err == nil && tt.write["gone/deep/c"] == "" {
				t.Error("an empty folder of the first run is still there")
			}
		})
	}
}

func TestNothingIsWrittenWithoutCommit(t *testing.T) {
	parent := t.TempDir()
	for _, name := range []string{"new", "old"} {
		dir := filepath.Join(parent, name)
		if name == "old" {
			if err := write(dir, map[string]string{"a": "1"}); err != nil {
				t.Fatal(err)
			}
		}
		before := tree(t, parent)
		d, err := outdir.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.WriteFile("a", []byte("2")); err != nil {
			t.Fatal(err)
		}
		if err := d.Discard(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, tree(t, parent)); diff != "" {
			t.Errorf("%s folder (-before +after):\n%s", name, diff)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		files   map[string]string
		want    string // of the error, with DIR for the folder
	}{
		{"a folder with somebody else's files", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "thesis.tex"), "mine") },
			map[string]string{"a": "1"}, "output folder DIR must be new, empty or written by selfscale before, but holds thesis.tex: choose another one"},
		{"a file", func(t *testing.T, dir string) { put(t, dir, "mine") },
			map[string]string{"a": "1"}, "output folder DIR must be a folder, but is a file"},
		{"a folder below a file", func(t *testing.T, dir string) { put(t, filepath.Dir(dir), "mine") },
			map[string]string{"a": "1"}, "output folder DIR: "},
		{"somebody else's file at the place of ours", func(t *testing.T, dir string) {
			if err := write(dir, map[string]string{"a": "1"}); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "b"), "mine")
		}, map[string]string{"a": "2", "b": "2"}, "output file DIR/b must not exist, but does and was not written by selfscale: choose another folder or move it"},
		{"a list that is damaged", func(t *testing.T, dir string) { put(t, filepath.Join(dir, outdir.Manifest), "{") },
			map[string]string{"a": "1"}, "output folder DIR: .selfscale.json must be a list that selfscale wrote, but is not: choose another folder or remove it"},
		{"a list that points outside", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, outdir.Manifest), `{"writtenBy":"selfscale","files":["../x"]}`)
		}, map[string]string{"a": "1"}, `output folder DIR: .selfscale.json must list files within the folder, but lists "../x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "above", "out")
			tt.prepare(t, dir)
			before := tree(t, root)
			err := write(dir, tt.files)
			want := strings.ReplaceAll(tt.want, "DIR", dir)
			if err == nil || !strings.HasPrefix(err.Error(), want) || schemas.CodeOf(err) != schemas.CodeInvalidConfig {
				t.Errorf("error is %v (%s), want %s (%s)", err, schemas.CodeOf(err), want, schemas.CodeInvalidConfig)
			}
			if diff := cmp.Diff(before, tree(t, root)); diff != "" {
				t.Errorf("files changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestNamesStayWithinTheFolder(t *testing.T) {
	d, err := outdir.Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	if err := d.WriteFile("a", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../a", "/a", "", ".", "b/../../a", outdir.Manifest, "a"} {
		if err := d.WriteFile(name, nil); schemas.CodeOf(err) != schemas.CodeInternal {
			t.Errorf("WriteFile(%q) = %v, want an error with code %s", name, err, schemas.CodeInternal)
		}
	}
}

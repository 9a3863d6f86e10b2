// Package outdir writes a folder of results so that it is whole or not there.
//
// Files are written to a hidden folder beside their place and moved when all of
// them are complete. A folder that does not exist yet appears in one rename. In
// one that exists, files are renamed one by one; a list of what was written,
// [Manifest], lets the next run replace its own files and tells them from
// everybody else's, which it never touches.
//
// Against a loss of power nothing is promised: the command can be run again.
package outdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/self-scaling/self-scaling/schemas"
)

// Manifest is the file that lists what was written.
const Manifest = ".selfscale.json"

// partial begins the name of a folder that is not complete.
const partial = ".selfscale-partial-"

// manifest is the content of [Manifest].
type manifest struct {
	WrittenBy string   `json:"writtenBy"`
	Files     []string `json:"files"` // slash-separated, sorted
}

// Dir is a folder on its way. Its methods may be called from several
// goroutines, except for Commit and Discard.
type Dir struct {
	target  string // where the files go
	temp    string // where they are until then
	existed bool
	old     []string // files of the run before

	mu    sync.Mutex
	files map[string]bool // by slash-separated name
}

// Open prepares to write the folder path, which need not exist. It returns
// schemas.CodeInvalidConfig where path cannot become our folder: it is a file,
// it may not be written, or it holds something and no [Manifest] says that an
// earlier run wrote it.
func Open(path string) (*Dir, error) {
	if path == "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output folder must have a name, but is empty")
	}
	d := &Dir{target: filepath.Clean(path), files: map[string]bool{}}
	entries, err := os.ReadDir(d.target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(d.target), 0o777); err != nil {
			return nil, ioError(path, err)
		}
		d.temp, err = os.MkdirTemp(filepath.Dir(d.target), partial)
		if err != nil {
			return nil, ioError(path, err)
		}
		// MkdirTemp keeps others out, but this becomes the user's folder.
		if err := os.Chmod(d.temp, 0o755); err != nil {
			return nil, errors.Join(ioError(path, err), os.RemoveAll(d.temp))
		}
		return d, nil
	case err != nil:
		if info, statErr := os.Stat(d.target); statErr == nil && !info.IsDir() {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output folder %s must be a folder, but is a file", path)
		}
		return nil, ioError(path, err)
	}
	d.existed = true
	if d.old, err = readManifest(d.target); err != nil {
		return nil, err
	}
	if d.old == nil {
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), partial) {
				return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output folder %s must be new, empty or written by selfscale before, but holds %s: choose another one", path, e.Name())
			}
		}
	}
	// Within the folder, because it may be a file system of its own.
	if d.temp, err = os.MkdirTemp(d.target, partial); err != nil {
		return nil, ioError(path, err)
	}
	return d, nil
}

func readManifest(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, Manifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(dir, err)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil || m.WrittenBy != "selfscale" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output folder %s: %s must be a list that selfscale wrote, but is not: choose another folder or remove it", dir, Manifest)
	}
	for _, name := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output folder %s: %s must list files within the folder, but lists %q", dir, Manifest, name)
		}
	}
	return append([]string{}, m.Files...), nil
}

// Path returns the folder's final place.
func (d *Dir) Path() string { return d.target }

// Create opens a new file for writing. The name is slash-separated, within the
// folder and not used before; folders on the way are made. The file counts as
// written when it is closed without an error.
func (d *Dir) Create(name string) (io.WriteCloser, error) {
	local := filepath.FromSlash(name)
	if !filepath.IsLocal(local) || name == "." || name == Manifest {
		return nil, schemas.Errorf(schemas.CodeInternal, "output file must lie within its folder, but is %q", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] {
		return nil, schemas.Errorf(schemas.CodeInternal, "output file %q must be written once, but is written twice", name)
	}
	if slices.Contains(d.old, name) || !d.existed {
		// Ours to replace, or a folder that nobody else has seen.
	} else if _, err := os.Lstat(filepath.Join(d.target, local)); err == nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "output file %s must not exist, but does and was not written by selfscale: choose another folder or move it", filepath.Join(d.target, local))
	}
	path := filepath.Join(d.temp, local)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, ioError(d.target, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, ioError(d.target, err)
	}
	d.files[name] = true
	return &file{File: f, dir: d.target}, nil
}

// WriteFile writes a whole file, by the rules of Create.
func (d *Dir) WriteFile(name string, data []byte) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// remove takes a file back that Create has opened, once it is closed.
func (d *Dir) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.files[name] {
		return nil
	}
	delete(d.files, name)
	return ioError(d.target, os.Remove(filepath.Join(d.temp, filepath.FromSlash(name))))
}

// Commit puts all files in their place and removes those of an earlier run that
// this one has not written. All files must be closed.
func (d *Dir) Commit() error {
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	if !d.existed {
		if err := d.writeManifest(names); err != nil {
			return err
		}
		if err := os.Rename(d.temp, d.target); err != nil {
			return ioError(d.target, err)
		}
		d.temp = ""
		return nil
	}
	// First the list of both runs, so that a process that is killed half-way
	// leaves only files which the next one knows for its own.
	both := slices.Concat(names, d.old)
	slices.Sort(both)
	if err := d.publishManifest(slices.Compact(both)); err != nil {
		return err
	}
	for _, name := range names {
		local := filepath.FromSlash(name)
		to := filepath.Join(d.target, local)
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return ioError(d.target, err)
		}
		if err := os.Rename(filepath.Join(d.temp, local), to); err != nil {
			return ioError(d.target, err)
		}
	}
	for _, name := range d.old {
		if d.files[name] {
			continue
		}
		path := filepath.Join(d.target, filepath.FromSlash(name))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ioError(d.target, err)
		}
		// Folders that are empty now; Remove leaves the others alone.
		for parent := filepath.Dir(path); parent != d.target; parent = filepath.Dir(parent) {
			if os.Remove(parent) != nil {
				break
			}
		}
	}
	if err := d.publishManifest(names); err != nil {
		return err
	}
	return d.Discard()
}

// Discard removes what has not been committed. After Commit it does nothing.
func (d *Dir) Discard() error {
	if d.temp == "" {
		return nil
	}
	temp := d.temp
	d.temp = ""
	return os.RemoveAll(temp)
}

func (d *Dir) writeManifest(names []string) error {
	data, err := json.MarshalIndent(manifest{WrittenBy: "selfscale", Files: names}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.temp, Manifest), append(data, '\n'), 0o666); err != nil {
		return ioError(d.target, err)
	}
	return nil
}

func (d *Dir) publishManifest(names []string) error {
	if err := d.writeManifest(names); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(d.temp, Manifest), filepath.Join(d.target, Manifest)); err != nil {
		return ioError(d.target, err)
	}
	return nil
}

// file gives the errors of a file their code.
type file struct {
	*os.File
	dir string
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, ioError(f.dir, err)
}

func (f *file) Close() error { return ioError(f.dir, f.File.Close()) }

// ioError says which folder could not be written. What the user has to mend is
// a wrong configuration; all else, as a full disk, may work later.
func ioError(dir string, err error) error {
	if err == nil {
		return nil
	}
	code := schemas.CodeUnavailable
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
		code = schemas.CodeInvalidConfig
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) && strings.Contains(pathErr.Path, partial) {
		err = pathErr.Err // the hidden folder's name tells nobody anything
	}
	var linkErr *os.LinkError
	if errors.As(err, &linkErr) {
		err = fmt.Errorf("%s: %w", linkErr.New, linkErr.Err)
	}
	return schemas.Errorf(code, "output folder %s: %w", dir, err)
}

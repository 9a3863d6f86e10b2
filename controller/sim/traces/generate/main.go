// Command generate makes crane.gz and SHA256SUMS, the packed series of package
// traces and the checksums of the published files, from the Go module that
// publishes them. With -verify it only compares what it would write with what
// is there.
//
// It is run in the package's folder, as go generate does.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/self-scaling/self-scaling/controller/sim/traces"
)

func main() {
	verify := flag.Bool("verify", false, "compare with the files that are there and write nothing")
	flag.Parse()
	if err := run(*verify); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(verify bool) error {
	dir, err := download()
	if err != nil {
		return err
	}
	files, err := pack(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !verify {
			if err := os.WriteFile(f.name, f.data, 0o644); err != nil {
				return err
			}
			continue
		}
		have, err := os.ReadFile(f.name)
		if err != nil {
			return err
		}
		if !f.same(have, f.data) {
			return fmt.Errorf("%s must be what go generate makes of %s@%s, but differs", f.name, traces.Module, traces.Version)
		}
	}
	return nil
}

// download returns the module's folder in the module cache, with its checksum
// verified.
func download() (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", traces.Module+"@"+traces.Version)
	cmd.Dir = os.TempDir() // outside of any module: go.mod is none of its business
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s@%s: %w", traces.Module, traces.Version, err)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", err
	}
	if module.Sum != traces.Sum {
		return "", fmt.Errorf("%s@%s must have the checksum %s, but has %s", traces.Module, traces.Version, traces.Sum, module.Sum)
	}
	return module.Dir, nil
}

type file struct {
	name string
	data []byte
	same func(a, b []byte) bool
}

func pack(dir string) ([]file, error) {
	var series []traces.Original
	var sums bytes.Buffer
	for i := range 16 {
		name := fmt.Sprintf("input%d", i)
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(traces.Dir), name+".csv"))
		if err != nil {
			return nil, err
		}
		o, err := traces.ParseCSV(name, data)
		if err != nil {
			return nil, err
		}
		series = append(series, o)
		fmt.Fprintf(&sums, "%x  %s.csv\n", sha256.Sum256(data), name)
	}
	licence, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := traces.Encode(z, series); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return []file{
		// Another release of compress/gzip may choose other bytes for the same content.
		{"crane.gz", packed.Bytes(), sameContent},
		{"SHA256SUMS", sums.Bytes(), bytes.Equal},
		{"LICENSE", licence, bytes.Equal},
	}, nil
}

func sameContent(a, b []byte) bool {
	x, errX := gunzip(a)
	y, errY := gunzip(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = out.ReadFrom(z)
	return out.Bytes(), err
}

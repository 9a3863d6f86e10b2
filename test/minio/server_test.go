//go:build minio

package minio

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	minioclient "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// version is the server's last one. Its releases cannot be had through the module
// proxy by their names, only by the commit's.
const version = "v0.0.0-20260212201848-7aac2a2c5b7c"

// binary returns the path of the server's binary, and builds it where the cache
// has none.
func binary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "self-scaling", "bin", "minio-"+version)
	path := filepath.Join(dir, "minio")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	t.Logf("building MinIO %s into %s", version, dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// Built beside its place, and moved there whole.
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	args := []string{"go", "install", "github.com/minio/minio@" + version}
	if nice, err := exec.LookPath("nice"); err == nil {
		args = append([]string{nice, "-n", "15"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	// Outside our module; static, so that the test cluster can run it in a pod; as the
	// tests of .ci/run are built, so that what they have in common is compiled once.
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "CGO_ENABLED=0", "GOFLAGS=-trimpath -gcflags=all=-dwarf=false -ldflags=-w")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building MinIO: %v: %s", err, out)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(tmp, "minio"), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// server is a running MinIO.
type server struct {
	path, data, address string
	user, password      string
	cmd                 *exec.Cmd
	output              bytes.Buffer
}

// newServer starts a server that is stopped when the test ends, with a bucket
// named "store".
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{path: binary(t), data: t.TempDir(), address: freeAddress(t), user: rand.Text(), password: rand.Text()}
	s.start(t)
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("MinIO's output:\n%s", s.output.String())
		}
	})
	c, err := minioclient.New(s.address, &minioclient.Options{Creds: credentials.NewStaticV4(s.user, s.password, "")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "store", minioclient.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// start starts the server and waits until it is ready.
func (s *server) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(s.path, "server", "--quiet", "--address", s.address, "--console-address", freeAddress(t), s.data)
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.user, "MINIO_ROOT_PASSWORD="+s.password, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/minio/health/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			s.stop(syscall.SIGKILL)
			t.Fatalf("MinIO is not ready: %s", s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server and waits for its end.
func (s *server) stop(signal syscall.Signal) {
	s.cmd.Process.Signal(signal)
	s.cmd.Wait()
}

// url returns the URL of a store below a prefix.
func (s *server) url(prefix string) string {
	return fmt.Sprintf("s3://store/%s?endpoint=%s&insecure=true&timeout=20s", prefix, s.address)
}

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

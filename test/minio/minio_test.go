//go:build minio

package minio

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

var (
	kills    = flag.Int("kills", 40, "how many times a process is killed")
	restarts = flag.Int("restarts", 5, "how many times the server is killed")
)

var drivers = artifact.Drivers{"s3": s3bucket.Open}

func openAt(location string) (artifact.Bucket, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	return s3bucket.Open(context.Background(), u)
}

func TestMain(m *testing.M) { artifacttest.Main(m, openAt) }

// One server serves all tests, each below a prefix of its own.
func TestMinIO(t *testing.T) {
	server := newServer(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.user)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.password)

	var prefixes atomic.Int64
	prefix := func() string { return fmt.Sprint("p", prefixes.Add(1)) }
	open := func(t testing.TB) artifact.Bucket {
		b, err := openAt(server.url(prefix()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	t.Run("Bucket", func(t *testing.T) { artifacttest.TestBucket(t, open) })
	t.Run("Store", func(t *testing.T) { artifacttest.TestStore(t, open) })
	t.Run("Processes", func(t *testing.T) { artifacttest.TestProcesses(t, server.url(prefix()), openAt, 4, 250) })
	t.Run("Kill", func(t *testing.T) { artifacttest.TestKill(t, server.url(prefix()), openAt, *kills, 1) })
	t.Run("Open", func(t *testing.T) { testOpen(t, server) })
	t.Run("KillServer", func(t *testing.T) { testKillServer(t, server, server.url(prefix())) })
}

func testOpen(t *testing.T, server *server) {
	wantError := func(t *testing.T, location string, code schemas.Code, want string) {
		t.Helper()
		_, err := artifact.Open(t.Context(), location, drivers, artifact.Options{})
		if schemas.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error is %v with code %s, want one with %q and code %s", err, schemas.CodeOf(err), want, code)
		}
		if strings.Contains(fmt.Sprint(err), server.user) || strings.Contains(fmt.Sprint(err), server.password) {
			t.Errorf("error %v repeats a credential", err)
		}
	}
	t.Run("the probe passes", func(t *testing.T) {
		s, err := artifact.Open(t.Context(), server.url("open"), drivers, artifact.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	})
	t.Run("a bucket that does not exist", func(t *testing.T) {
		wantError(t, strings.Replace(server.url("open"), "store", "nobodys", 1), schemas.CodeInvalidConfig, "the bucket does not exist")
	})
	t.Run("TLS where the server speaks none", func(t *testing.T) {
		wantError(t, strings.Replace(server.url("open"), "insecure=true", "insecure=false", 1), schemas.CodeInvalidConfig, "insecure=true")
	})
	t.Run("a wrong secret", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
		wantError(t, server.url("open"), schemas.CodeInvalidConfig, "SignatureDoesNotMatch")
	})
	t.Run("an unknown access key", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "unknown")
		wantError(t, server.url("open"), schemas.CodeInvalidConfig, "InvalidAccessKeyId")
	})
}

// testKillServer kills the server while runs are made. A run that fails for it is
// begun anew, and all ends with the bytes of an undisturbed server.
func testKillServer(t *testing.T, server *server, location string) {
	const runs = 60
	b, err := openAt(location)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	done := make(chan int, runs) // how many are made
	again := 0
	go func() {
		defer close(done)
		for i := 0; i < runs && t.Context().Err() == nil; {
			err := artifacttest.Run(t.Context(), artifact.New(b, artifact.Options{}), i)
			switch {
			case err == nil:
				i++
				done <- i
			case schemas.CodeOf(err) == schemas.CodeUnavailable:
				again++
			default:
				t.Error(err)
				return
			}
		}
	}()
	killed := 0
	for made := range done {
		if killed < *restarts && made >= (killed+1)*runs/(*restarts+1) {
			server.stop(syscall.SIGKILL)
			killed++
			server.start(t)
		}
	}
	t.Logf("%d runs, %d of them begun anew, while the server was killed %d times", runs, again, *restarts)
	undisturbed := membucket.New(nil)
	for i := range runs {
		if err := artifacttest.Run(t.Context(), artifact.New(undisturbed, artifact.Options{}), i); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(artifacttest.Contents(t, undisturbed), artifacttest.Contents(t, b)); diff != "" {
		t.Errorf("objects (-undisturbed +got):\n%s", diff)
	}
}

package s3bucket_test

import (
	"io"
	"log"
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

// fakeServer starts an S3 server in this process, which keeps the protocol and
// nothing else: the suite also runs on a real server, in test/minio.
func fakeServer(t testing.TB) (address string) {
	backend := s3mem.New()
	if err := backend.CreateBucket("store"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return server.URL
}

func open(t testing.TB) artifact.Bucket {
	c := config(fakeServer(t))
	c.Prefix = "some/prefix"
	b, err := s3bucket.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

var discard = log.New(io.Discard, "", 0)

func TestBucket(t *testing.T)      { artifacttest.TestBucket(t, open) }
func BenchmarkBucket(b *testing.B) { artifacttest.BenchmarkBucket(b, open) }

func TestStore(t *testing.T) { artifacttest.TestStore(t, open) }

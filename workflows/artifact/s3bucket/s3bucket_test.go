package s3bucket_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

// open returns a bucket on an S3 server in this process, which keeps the
// protocol and nothing else: the suite also runs on a real server, in
// test/minio.
func open(t testing.TB) artifact.Bucket {
	backend := s3mem.New()
	if err := backend.CreateBucket("store"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	b, err := s3bucket.New(s3bucket.Config{
		Bucket:      "store",
		Prefix:      "some/prefix",
		Endpoint:    strings.TrimPrefix(server.URL, "http://"),
		Insecure:    true,
		Credentials: credentials.NewStaticV4("access", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBucket(t *testing.T)      { artifacttest.TestBucket(t, open) }
func BenchmarkBucket(b *testing.B) { artifacttest.BenchmarkBucket(b, open) }

func TestStore(t *testing.T) { artifacttest.TestStore(t, open) }

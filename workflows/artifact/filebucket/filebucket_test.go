package filebucket_test

import (
	"testing"

	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

func open(t testing.TB) artifact.Bucket {
	b, err := filebucket.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T)      { artifacttest.TestBucket(t, open) }
func BenchmarkBucket(b *testing.B) { artifacttest.BenchmarkBucket(b, open) }

func TestStore(t *testing.T) { artifacttest.TestStore(t, open) }

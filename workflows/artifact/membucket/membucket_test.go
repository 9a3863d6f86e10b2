package membucket_test

import (
	"testing"

	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

func open(testing.TB) artifact.Bucket { return membucket.New(nil) }

func TestBucket(t *testing.T)      { artifacttest.TestBucket(t, open) }
func BenchmarkBucket(b *testing.B) { artifacttest.BenchmarkBucket(b, open) }

func TestStore(t *testing.T) { artifacttest.TestStore(t, open) }

package filebucket_test

import (
	"flag"
	"testing"

	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

var kills = flag.Int("kills", 40, "how many times TestKill kills a process")

func openAt(folder string) (artifact.Bucket, error) { return filebucket.New(folder) }

func TestMain(m *testing.M) { artifacttest.Main(m, openAt) }

func TestKill(t *testing.T) { artifacttest.TestKill(t, t.TempDir(), openAt, *kills, 1) }

func TestProcesses(t *testing.T) { artifacttest.TestProcesses(t, t.TempDir(), openAt, 4, 250) }

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/self-scaling/self-scaling/cmd/internal/scripttest"
)

// The test binary is the program: scripts run it as inference.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"inference": main})
}

func TestScripts(t *testing.T) { scripttest.RunWithCluster(t) }

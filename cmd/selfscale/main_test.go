package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary is the program: scripts run it as selfscale.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"selfscale": main})
}

// The scripts read as a session at a terminal: testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}

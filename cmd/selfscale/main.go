// Command selfscale shows on real usage what predictive autoscaling does, and
// turns a user's own usage into forecasts, decisions and HPA manifests. It
// needs no cluster.
package main

import (
	"os"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
)

// version is set by the linker.
var version string

func main() {
	os.Exit(cli.Main(cli.Engine{}, version, os.Args[1:], os.Stdout, os.Stderr))
}

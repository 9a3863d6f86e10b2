package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
)

// versionLine is what the command and the flag print.
func versionLine(version string) string {
	return fmt.Sprintf("selfscale %s %s %s/%s\n", command.Version(version), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersion(version string, console Console) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "version prints the version of this program, of the Go release that built it, and its platform.",
		Example: "  selfscale version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(console.Out, versionLine(version))
			return err
		},
	}
}

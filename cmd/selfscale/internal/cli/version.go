package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/self-scaling/self-scaling/jobs"
)

func newVersion(version string, console Console) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "version prints the version of this program, of the Go release that built it, and its platform.",
		Example: "  selfscale version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(console.Out, "selfscale %s %s %s/%s\n", Version(version), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// Version returns the version that was set when the program was linked or,
// where none was, what the Go command noted: the module's version or the
// commit.
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	return jobs.Version()
}

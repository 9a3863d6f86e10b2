package jobs

import (
	"fmt"
	"log/slog"
	"os"
)

// progressFile is the variable in which Argo's executor names the file that it reads a
// step's progress from. It takes the last line, and passes over what is not N/M.
const progressFile = "ARGO_PROGRESS_FILE"

// progressTo returns what writes progress to a file. One that cannot be written costs
// the step nothing.
func progressTo(path string, log *slog.Logger) func(done, total int) {
	failed := false
	return func(done, total int) {
		if total <= 0 || done < 0 || done > total {
			return // Argo has no word for what is not known
		}
		err := os.WriteFile(path, fmt.Appendf(nil, "%d/%d\n", done, total), 0o644)
		if err != nil && !failed {
			log.Warn("progress was not written", "error", err)
		}
		failed = err != nil
	}
}

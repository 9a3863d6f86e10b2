package workflows

import (
	"context"
	"errors"

	"github.com/self-scaling/self-scaling/schemas"
)

// The exit codes of a job, as sysexits.h names them. 64 is never used: Argo's
// executor takes it for an error of its own.
const (
	ExitOK        = 0
	ExitData      = 65 // bad data: the same call gives the same answer
	ExitSoftware  = 70 // a bug of ours
	ExitTemporary = 75 // the same call may work later
	ExitConfig    = 78 // bad configuration
)

// ExitCode returns the exit code of a job that ended with err. An error that
// has a method ExitCode() int, as that of a child process has, says it itself;
// a negative one, which stands for a process that was killed, counts as
// temporary, and so does a deadline that passed.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		if code := coded.ExitCode(); code >= 0 {
			return code
		}
		return ExitTemporary
	}
	switch schemas.CodeOf(err) {
	case schemas.CodeUnavailable, schemas.CodeConflict:
		return ExitTemporary
	case schemas.CodeInvalidData, schemas.CodeCorrupt, schemas.CodeNotFound:
		return ExitData
	case schemas.CodeInvalidConfig:
		return ExitConfig
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ExitTemporary
	}
	return ExitSoftware
}

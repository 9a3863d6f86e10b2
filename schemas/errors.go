package schemas

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an [Error] is. Programs act on the code, never
// on the text.
type Code string

// The codes, and what the caller does about each.
const (
	// CodeInvalidData: an input cannot be trusted. Repeating the call gives the
	// same answer; somebody has to mend the data.
	CodeInvalidData Code = "invalid_data"
	// CodeInvalidConfig: a flag, a profile or a policy is wrong. Somebody has
	// to mend the configuration.
	CodeInvalidConfig Code = "invalid_config"
	// CodeUnavailable: a store, a server or a disk did not answer, or is full.
	// The same call may work later.
	CodeUnavailable Code = "unavailable"
	// CodeNotFound: the thing asked for is not there.
	CodeNotFound Code = "not_found"
	// CodeConflict: somebody else has written what this call wanted to write.
	CodeConflict Code = "conflict"
	// CodeCorrupt: a stored object is not what its manifest promised.
	CodeCorrupt Code = "corrupt"
	// CodeInternal: a bug of ours.
	CodeInternal Code = "internal"
)

// Error is a failure with a code for programs and one message for people. The
// message names the thing, the rule and the value, in that order.
type Error struct {
	Code Code
	Err  error
}

// Error returns the message.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error that carries the message.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error]. A %w verb wraps as in [fmt.Errorf].
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// WithCode gives err a code, unless err is nil.
func WithCode(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// CodeOf returns the code of the first [Error] in err's chain, "" for nil and
// [CodeInternal] where no link of the chain carries a code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

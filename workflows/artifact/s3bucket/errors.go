package s3bucket

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// temporary reports whether the same request may succeed a moment later.
func temporary(err error) bool {
	r, ok := answer(err)
	if !ok {
		return !misconfigured(err)
	}
	switch r.Code {
	case "ConditionalRequestConflict", "OperationAborted", "SlowDown", "Throttling", "RequestTimeout", "ExpiredToken":
		return true
	}
	switch r.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusInsufficientStorage:
		return false
	}
	return r.StatusCode >= 500
}

// denied reports whether the server says that a right is missing.
func denied(err error) bool {
	r, ok := answer(err)
	return ok && r.Code == "AccessDenied"
}

// answer returns the server's error, if err is one.
func answer(err error) (minio.ErrorResponse, bool) {
	var r minio.ErrorResponse
	ok := errors.As(err, &r) && r.StatusCode != 0
	return r, ok
}

// misconfigured reports whether a request failed for a reason that lies in the
// configuration, before there was any answer.
func misconfigured(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		header    tls.RecordHeaderError
		argument  minio.ErrorResponse // made by the client itself
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &header) ||
		errors.As(err, &argument) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// explain turns the error of the last attempt into the one that the caller sees.
func (c Config) explain(op, key string, err error) error {
	what := fmt.Sprintf("%s in s3 bucket %s at %s", strings.TrimSpace(op+" "+key), c.Bucket, c.Endpoint)
	r, ok := answer(err)
	if !ok {
		// What is left of the client's error repeats neither the request nor its
		// headers.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		if misconfigured(err) {
			hint := ""
			if strings.Contains(err.Error(), "HTTP response to HTTPS client") {
				hint = " (plain HTTP needs insecure=true)"
			}
			return schemas.Errorf(schemas.CodeInvalidConfig, "%s: %w%s", what, err, hint)
		}
		return schemas.Errorf(schemas.CodeUnavailable, "%s: %d attempts, the last: %w", what, c.Attempts, err)
	}
	told := fmt.Sprintf("%s: HTTP status %d, %s", what, r.StatusCode, printable(r.Code))
	switch {
	case r.Code == minio.NoSuchBucket:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s: the bucket does not exist", told)
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", op, key, artifact.ErrNotFound)
	case r.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%s %s: %w", op, key, artifact.ErrExists)
	case r.StatusCode == http.StatusInsufficientStorage || strings.Contains(r.Code, "StorageFull"):
		return schemas.Errorf(schemas.CodeUnavailable, "%s: the store is full", told)
	case temporary(err):
		return schemas.Errorf(schemas.CodeUnavailable, "%s, %d attempts", told, c.Attempts)
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s: the server refuses these credentials this request", told)
	case r.StatusCode == http.StatusNotImplemented:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s: the server lacks what the store needs, as conditional writes", told)
	}
	return schemas.Errorf(schemas.CodeInvalidConfig, "%s", told)
}

// printable cuts a server's error code to what an error code may be.
func printable(code string) string {
	code = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, code)
	if len(code) > 64 {
		code = code[:64] + "..."
	}
	if code == "" {
		return "no error code"
	}
	return code
}

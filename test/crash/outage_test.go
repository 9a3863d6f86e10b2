package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/workflows"
)

// The credentials that the programs are given, and must keep to themselves.
const accessKey, secretKey = "AKIAOUTAGE", "the-secret-of-outage"

// enough is far more time than any outage may take.
const enough = time.Minute

func TestAStoreThatDoesNotWorkIsToldInOneLine(t *testing.T) {
	refuse := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, r.Header.Get("Authorization"))
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc // nil: nobody listens
		code    int
		text    string
		stalls  bool // the server stops to make progress
	}{
		{"an error of its own", refuse(500, "InternalError"), workflows.ExitTemporary, "HTTP status 500, InternalError", false},
		{"too much to do", refuse(503, "SlowDown"), workflows.ExitTemporary, "HTTP status 503, SlowDown", false},
		{"no permission", refuse(403, "AccessDenied"), workflows.ExitConfig, "AccessDenied", false},
		{"no such bucket", refuse(404, "NoSuchBucket"), workflows.ExitConfig, "the bucket does not exist", false},
		{"no room", refuse(507, "XMinioStorageFull"), workflows.ExitTemporary, "the store is full", false},
		{"silence", func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not notice that the client leaves
			<-r.Context().Done()
		}, workflows.ExitTemporary, "no progress for 100ms", true},
		{"an answer that never ends", drip, workflows.ExitTemporary, "", true},
		{"a connection that is cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, workflows.ExitTemporary, "", false},
		{"nobody there", nil, workflows.ExitTemporary, "connection refused", false},
		{"no respect for conditions", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("ETag", `"0"`)
		}, workflows.ExitConfig, "ignores the condition of a conditional write", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := build(t)
			server := httptest.NewServer(tt.handler)
			t.Cleanup(server.Close)
			if tt.handler == nil {
				server.Close()
			}
			url := "s3://samples/prefix?insecure=true&endpoint=" + strings.TrimPrefix(server.URL, "http://")
			programs := names
			if tt.code == workflows.ExitTemporary {
				// It is tried again for ten seconds; one program stands for all.
				programs = []string{"inference"}
			}
			if tt.stalls {
				url += "&timeout=100ms"
			}
			for _, name := range programs {
				args := []string{"-store=" + url, "-run=outage-1", "-now=2024-03-10T00:00:00Z", "-log-level=error"}
				if name == "collector" {
					args = append(args, "-history="+p.history)
				}
				code, stderr := p.end(t, name, args)
				if code != tt.code {
					t.Errorf("%s ended with %d, want %d", name, code, tt.code)
				}
				if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, name+": ") || !strings.Contains(stderr, tt.text) {
					t.Errorf("%s said %q, want one line with %q", name, stderr, tt.text)
				}
				if strings.Contains(stderr, secretKey) || strings.Contains(stderr, accessKey) {
					t.Errorf("%s gave its credentials away: %q", name, stderr)
				}
			}
		})
	}
}

// drip sends an error a byte at a time, as long as somebody reads.
func drip(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(500)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

// end runs a program and returns its exit code and what it said.
func (p *programs) end(t *testing.T, name string, args []string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %s: %s", name, enough, &said)
	}
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

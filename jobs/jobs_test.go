package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var noon = time.Date(2024, 3, 9, 12, 0, 0, 0, time.UTC)

// program returns a program whose step is the given one.
func program(step jobs.Func) jobs.Program {
	return jobs.Program{
		Name: "step", Short: "do something", Long: "Something is done.",
		Drivers: artifact.Drivers{"mem": membucket.Open}, Clock: clocktesting.NewFakePassiveClock(noon), Step: step,
	}
}

func TestEveryEndOfAStepIsAnExitCodeAndALine(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
		line string
	}{
		{"done", nil, 0, ""},
		{"bad data", schemas.Errorf(schemas.CodeInvalidData, "cpu must not be negative, but is -1"), 65, "step: cpu must not be negative, but is -1\n"},
		{"a damaged object", fmt.Errorf("get data file: %w", artifact.ErrCorrupt), 65, "step: get data file: object is corrupt\n"},
		{"a missing object", fmt.Errorf("read head: %w", artifact.ErrNotFound), 65, "step: read head: object not found\n"},
		{"a store that does not answer", schemas.Errorf(schemas.CodeUnavailable, "store: 503"), 75, "step: store: 503\n"},
		{"a deadline", context.DeadlineExceeded, 75, "step: context deadline exceeded\n"},
		{"bad configuration", schemas.Errorf(schemas.CodeInvalidConfig, "profile names no such plugin"), 78, "step: profile names no such plugin\n"},
		{"an error of several lines", errors.New("one\n  two\n"), 70, "step: one; two\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			p := program(func(context.Context, jobs.Env) error { return tt.err })
			code := p.Run(t.Context(), []string{"-store", "mem:", "-run", "r"}, io.Discard, &stderr)
			if code != tt.code || stderr.String() != tt.line {
				t.Errorf("exit code %d with %q, want %d with %q", code, stderr.String(), tt.code, tt.line)
			}
		})
	}
}

func TestAPanicIsABugAndNotACrash(t *testing.T) {
	var stderr bytes.Buffer
	p := program(func(context.Context, jobs.Env) error { panic("index out of range") })
	code := p.Run(t.Context(), []string{"-store", "mem:", "-run", "r"}, io.Discard, &stderr)
	if code != 70 || !strings.HasSuffix(stderr.String(), "\nstep: step panicked: index out of range\n") || !strings.Contains(stderr.String(), "jobs_test.go") {
		t.Errorf("exit code %d with %q, want 70, the stack in the log and the line last", code, stderr.String())
	}
}

func TestAStepGetsItsEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want jobs.Env
	}{
		{"as little as there must be", []string{"-store", "mem:", "-run", "r"}, jobs.Env{Run: "r", Now: noon}},
		{"with all flags", []string{"--store=mem:", "--run=train-7", "-shard", "00003", "-now", "2024-03-10T01:00:00+01:00"},
			jobs.Env{Run: "train-7", Shard: "00003", Now: time.Date(2024, 3, 10, 0, 0, 0, 0, time.UTC)}},
		{"with flags that are set to nothing", []string{"-store=mem:", "-run=r", "-shard=", "--now=", "-shard-index="}, jobs.Env{Run: "r", Now: noon}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got jobs.Env
			p := program(func(_ context.Context, env jobs.Env) error { got = env; return nil })
			if code := p.Run(t.Context(), tt.args, io.Discard, io.Discard); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			if got.Store == nil || got.Log == nil || got.Version == "" {
				t.Errorf("store %v, log %v, version %q: want all of them", got.Store, got.Log, got.Version)
			}
			got.Store, got.Log, got.Version = nil, nil, ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAProgramKnowsTheVersionThatItsLinkerWasTold(t *testing.T) {
	var got string
	p := program(func(_ context.Context, env jobs.Env) error { got = env.Version; return nil })
	p.Linked = "v1.2.3"
	var stdout, stderr bytes.Buffer
	if code := p.Run(t.Context(), []string{"--version"}, &stdout, io.Discard); code != 0 || stdout.String() != "step v1.2.3\n" {
		t.Errorf("--version: exit code %d with %q, want step v1.2.3", code, stdout.String())
	}
	if code := p.Run(t.Context(), []string{"-store", "mem:", "-run", "r", "-log-level", "debug"}, io.Discard, &stderr); code != 0 || got != "v1.2.3" || !strings.Contains(stderr.String(), "version=v1.2.3") {
		t.Errorf("exit code %d, version %q, log %q; want v1.2.3", code, got, &stderr)
	}
}

func TestAStepHasFlagsOfItsOwn(t *testing.T) {
	var days int
	p := program(func(context.Context, jobs.Env) error { return nil })
	p.Flags = func(f *flag.FlagSet) { f.IntVar(&days, "days", 28, "`days` of history") }
	if code := p.Run(t.Context(), []string{"-store", "mem:", "-run", "r", "-days", "7"}, io.Discard, io.Discard); code != 0 || days != 7 {
		t.Errorf("exit code %d, days %d, want 0 and 7", code, days)
	}
	var stdout bytes.Buffer
	if code := p.Run(t.Context(), []string{"-h"}, &stdout, io.Discard); code != 0 || !strings.Contains(stdout.String(), "days of history (default 28)") {
		t.Errorf("help: exit code %d with %q, want the step's flag in it", code, stdout.String())
	}
}

func TestWrongCommandLinesNeverReachTheStep(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a value that is no number", []string{"-days", "x"}, `step: invalid value "x" for flag -days: parse error (step -help lists the flags)`},
		{"an argument that is no flag", []string{"-run", "r", "go"}, `step: arguments must be flags, but there is "go"`},
		{"no store", []string{"-run", "r"}, "step: flag -store must name the store"},
		{"an unknown log level", []string{"-log-level", "loud"}, `step: flag -log-level must be debug, info, warn or error, but is "loud"`},
		{"an unknown log format", []string{"-log-format", "xml"}, `step: flag -log-format must be text or json, but is "xml"`},
		{"a store that no driver opens", []string{"-run", "r", "-store", "s3://bucket"}, `step: store URL must have one of the schemes mem, but has "s3"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			p := program(func(context.Context, jobs.Env) error { t.Error("the step was called"); return nil })
			p.Flags = func(f *flag.FlagSet) { f.Int("days", 28, "") }
			if code := p.Run(t.Context(), tt.args, io.Discard, &stderr); code != 78 {
				t.Errorf("exit code %d, want 78", code)
			}
			if diff := cmp.Diff(tt.want+"\n", stderr.String()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgressIsAFileForArgo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "progress")
	t.Setenv("ARGO_PROGRESS_FILE", file)
	var stderr bytes.Buffer
	run := func() int {
		p := program(func(_ context.Context, env jobs.Env) error {
			for _, report := range [][2]int{{0, 8}, {3, 8}, {5, 0}, {9, 8}} { // the last two say nothing that Argo knows
				env.Report(report[0], report[1])
			}
			return nil
		})
		return p.Run(t.Context(), []string{"-store", "mem:", "-run", "r"}, io.Discard, &stderr)
	}
	code := run()
	data, err := os.ReadFile(file)
	if code != 0 || err != nil || string(data) != "3/8\n" || stderr.String() != "" {
		t.Errorf("exit code %d with %q; the file holds %q, %v, want 3/8", code, stderr.String(), data, err)
	}
	t.Setenv("ARGO_PROGRESS_FILE", filepath.Join(file, "not", "there"))
	if code := run(); code != 0 || strings.Count(stderr.String(), "progress was not written") != 1 {
		t.Errorf("exit code %d with %q where the file cannot be written, want 0 and one warning", code, stderr.String())
	}
	t.Setenv("ARGO_PROGRESS_FILE", "")
	if code := run(); code != 0 {
		t.Errorf("exit code %d without a file, want 0", code)
	}
}

func TestTheReasonOfTheEndIsTold(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	var stderr bytes.Buffer
	p := program(func(ctx context.Context, _ jobs.Env) error {
		stop(schemas.Errorf(schemas.CodeUnavailable, "stopped by signal terminated"))
		<-ctx.Done()
		return fmt.Errorf("list heads of samples: %w", ctx.Err())
	})
	if code := p.Run(ctx, []string{"-store", "mem:", "-run", "r"}, io.Discard, &stderr); code != 75 || stderr.String() != "step: stopped by signal terminated\n" {
		t.Errorf("exit code %d with %q, want 75 and the signal", code, stderr.String())
	}
}

// closing is a bucket that cannot be closed.
type closing struct{ artifact.Bucket }

func (closing) Close() error { return schemas.Errorf(schemas.CodeUnavailable, "disk full") }

func TestAStoreThatCannotBeClosedIsAFailure(t *testing.T) {
	p := program(func(context.Context, jobs.Env) error { return nil })
	p.Drivers = artifact.Drivers{"mem": func(context.Context, *url.URL) (artifact.Bucket, error) {
		return closing{membucket.New(clock.RealClock{})}, nil
	}}
	if code := p.Run(t.Context(), []string{"-store", "mem:", "-run", "r"}, io.Discard, io.Discard); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
}

func TestLogsAreReadableByMachines(t *testing.T) {
	var stderr bytes.Buffer
	p := program(func(_ context.Context, env jobs.Env) error {
		env.Log.Log(context.Background(), slog.LevelDebug, "not shown")
		env.Log.Info("samples merged", "rows", 4)
		return nil
	})
	p.Run(t.Context(), []string{"-store", "mem:", "-run", "r", "-shard", "1", "-log-format", "json"}, io.Discard, &stderr)
	_, rest, _ := strings.Cut(stderr.String(), `"level"`)
	if want := `:"INFO","msg":"samples merged","step":"step","run":"r","shard":"1","rows":4}` + "\n"; rest != want {
		t.Errorf("log %q, want %q at its end", stderr.String(), want)
	}
}

func TestAShardCanBeGivenByItsPlace(t *testing.T) {
	for _, tt := range []struct {
		name        string
		args        []string
		want, error string
	}{
		{"by name", []string{"-shard", "00001"}, "00001", ""},
		{"the second of three", []string{"-shards", "00000,00001,00002", "-shard-index", "1"}, "00001", ""},
		{"the first where no place is given", []string{"-shards", "00000,00001"}, "00000", ""},
		{"none", nil, "", ""},
		{"a place beyond the list", []string{"-shards", "00000", "-shard-index", "1"}, "", "step: flag -shard-index must be from 0 to 0, the last of -shards, but is 1\n"},
		{"a negative place", []string{"-shards", "00000", "-shard-index", "-1"}, "", "step: flag -shard-index must be from 0 to 0, the last of -shards, but is -1\n"},
		{"both ways", []string{"-shards", "00000", "-shard", "00000"}, "", "step: flags -shard and -shards must not be given together\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			var stderr bytes.Buffer
			code := program(func(_ context.Context, env jobs.Env) error { got = env.Shard; return nil }).
				Run(t.Context(), append([]string{"-store", "mem:", "-run", "r"}, tt.args...), io.Discard, &stderr)
			if got != tt.want || stderr.String() != tt.error || (code == 0) != (tt.error == "") {
				t.Errorf("shard %q, exit code %d, stderr %q, want %q and %q", got, code, stderr.String(), tt.want, tt.error)
			}
		})
	}
}

func TestAProbeOpensTheStoreAndRunsNothing(t *testing.T) {
	p := program(func(context.Context, jobs.Env) error { t.Error("the step was called"); return nil })
	var stdout bytes.Buffer
	if code := p.Run(t.Context(), []string{"-store", "mem:", "-probe"}, &stdout, io.Discard); code != 0 || stdout.String() != "step: the store can be used\n" {
		t.Errorf("exit code %d with %q, want 0 and a sentence", code, stdout.String())
	}
	p.Drivers = artifact.Drivers{"mem": func(context.Context, *url.URL) (artifact.Bucket, error) {
		return nil, schemas.Errorf(schemas.CodeUnavailable, "connection refused")
	}}
	if code := p.Run(t.Context(), []string{"-store", "mem:", "-probe"}, io.Discard, io.Discard); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
}

package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"

	"github.com/self-scaling/self-scaling/cmd/internal/command"
	"github.com/self-scaling/self-scaling/schemas"
)

// run is a program with one flag and a log.
func run(args []string, stdout, stderr io.Writer) int {
	err := func() error {
		var logs command.Log
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		logs.Register(flags)
		speed := flags.Int("speed", 1, "`times` as fast")
		if err := command.Parse(flags, "test: a program\n\nFlags:\n", args, stdout); err != nil {
			return err
		}
		if _, err := logs.Open(io.Discard); err != nil {
			return err
		}
		if *speed < 1 {
			return schemas.Errorf(schemas.CodeUnavailable, "first\n  second")
		}
		return nil
	}()
	return command.Exit("test", err, stderr)
}

func TestEnds(t *testing.T) {
	restoreDefault(t)
	for _, tt := range []struct {
		args         []string
		want, stderr string
		code         int
	}{
		{[]string{"-speed", "2"}, "", "", 0},
		{[]string{"-help"}, "test: a program\n\nFlags:\n", "", 0},
		{[]string{"-speed", "0"}, "", "test: first second\n", 75},
		{[]string{"-nonsense"}, "", "test: flag provided but not defined: -nonsense (-help lists the flags)\n", 78},
		{[]string{"now"}, "", `test: arguments must be flags, but there is "now" (-help lists them)` + "\n", 78},
		{[]string{"-log-format", "xml"}, "", `test: flag -log-format must be text or json, but is "xml"` + "\n", 78},
		{[]string{"-log-level", "loud"}, "", `test: flag -log-level must be debug, info, warn or error, but is "loud"` + "\n", 78},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := run(tt.args, &stdout, &stderr); code != tt.code || stderr.String() != tt.stderr || !strings.HasPrefix(stdout.String(), tt.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q", code, stdout.String(), stderr.String(), tt.code, tt.want, tt.stderr)
			}
		})
	}
}

// restoreDefault has the default log be what it was once the test ends.
func restoreDefault(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
}

func TestWhatLibrariesLogIsPartOfTheLog(t *testing.T) {
	restoreDefault(t)
	var first, second bytes.Buffer
	// klog has a logger of its own from before there is any log.
	early := klog.LoggerWithValues(klog.Background(), "reflector", "hpas")
	command.Adopt(slog.New(slog.NewJSONHandler(&first, nil)).With("run", "infer-1"))
	klog.ErrorS(errors.New("refused"), "Failed to watch", "type", "hpa")
	klog.InfoS("Elected", "lease", "controller")
	klog.Warningf("%d objects", 3)
	klog.Errorf("[%s] no answer", "hpas")
	klog.Info("first\nsecond")
	klog.V(4).Infof("nobody wants to know")
	early.Info("Watch ended", "reason", "timeout")
	klog.FromContext(context.Background()).WithName("leader").Info("Renewed")
	klog.Background().Info("Warning: v1 Endpoints is deprecated")
	early.V(4).Info("nobody wants to know")
	log.Print("http: TLS handshake error")

	command.Adopt(slog.New(slog.NewJSONHandler(&second, &slog.HandlerOptions{Level: slog.LevelError})))
	klog.InfoS("below the level")
	klog.ErrorS(nil, "of another log")

	want := []map[string]any{
		{"level": "ERROR", "msg": "Failed to watch", "type": "hpa", "err": "refused", "run": "infer-1"},
		{"level": "INFO", "msg": "Elected", "lease": "controller", "run": "infer-1"},
		{"level": "WARN", "msg": "3 objects", "run": "infer-1"},
		{"level": "ERROR", "msg": "[hpas] no answer", "run": "infer-1"},
		{"level": "INFO", "msg": "first\nsecond", "run": "infer-1"},
		{"level": "INFO", "msg": "Watch ended", "reflector": "hpas", "reason": "timeout", "run": "infer-1"},
		{"level": "INFO", "msg": "Renewed", "logger": "leader", "run": "infer-1"},
		{"level": "WARN", "msg": "v1 Endpoints is deprecated", "run": "infer-1"},
		{"level": "INFO", "msg": "http: TLS handshake error", "run": "infer-1"},
	}
	if diff := cmp.Diff(want, lines(t, &first)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]map[string]any{{"level": "ERROR", "msg": "of another log"}}, lines(t, &second)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// lines reads a log in JSON, without times.
func lines(t *testing.T, b *bytes.Buffer) []map[string]any {
	t.Helper()
	var out []map[string]any
	for d := json.NewDecoder(b); ; {
		var line map[string]any
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		delete(line, "time")
		out = append(out, line)
	}
}

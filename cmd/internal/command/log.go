package command

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/self-scaling/self-scaling/jobs"
)

// Log are the flags that say what is logged, as those of the steps do.
type Log struct{ format, level string }

// Register adds the flags.
func (l *Log) Register(flags *flag.FlagSet) {
	flags.StringVar(&l.format, "log-format", "text", "`form` of the log on standard error: text or json")
	flags.StringVar(&l.level, "log-level", "info", "least `level` to log: debug, info, warn or error")
}

// Open returns the log that the flags ask for, which is that of libraries too, see
// [Adopt].
func (l *Log) Open(w io.Writer) (*slog.Logger, error) {
	log, err := jobs.NewLogger(w, l.format, l.level)
	if err == nil {
		Adopt(log)
	}
	return log, err
}

// Adopt has what libraries log by themselves go to a program's log: by the standard
// library's loggers and, of all programs that import this package, by Kubernetes' klog.
func Adopt(log *slog.Logger) { slog.SetDefault(log) }

// klog's logger may be set only before anybody uses it, so that it is set once, to one
// that leads to whatever log is adopted later. What it is given as a text goes another
// way, because its logger knows no warnings.
func init() {
	klog.SetLoggerWithOptions(logr.FromSlogHandler(adopted{}), klog.ContextualLogger(true), klog.WriteKlogBuffer(logText))
}

// logText logs a line in klog's own form, "W0309 12:00:00.000000 1 file.go:7] text".
func logText(line []byte) {
	header, text, ok := bytes.Cut(line, []byte("] "))
	if !ok {
		header, text = nil, line
	}
	level := slog.LevelInfo
	if len(header) > 0 {
		switch header[0] {
		case 'W':
			level = slog.LevelWarn
		case 'E', 'F':
			level = slog.LevelError
		}
	}
	slog.Default().Log(context.Background(), level, strings.TrimRight(string(text), "\n"))
}

// adopted is the handler of the log that is the default when a line is logged.
type adopted struct {
	with []func(slog.Handler) slog.Handler // attributes and groups, in order
}

func (a adopted) handler() slog.Handler {
	h := slog.Default().Handler()
	for _, with := range a.with {
		h = with(h)
	}
	return h
}

// warned is how client-go begins what an API server has warned of, such as that a
// version of a resource is about to go; klog's structured calls have no level for it.
const warned = "Warning: "

// Enabled implements [slog.Handler]. What is logged as information may be a warning.
func (a adopted) Enabled(ctx context.Context, level slog.Level) bool {
	if level == slog.LevelInfo {
		level = slog.LevelWarn
	}
	return slog.Default().Handler().Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (a adopted) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo && strings.HasPrefix(r.Message, warned) {
		r.Level, r.Message = slog.LevelWarn, r.Message[len(warned):]
	}
	if !slog.Default().Handler().Enabled(ctx, r.Level) {
		return nil
	}
	return a.handler().Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (a adopted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return a.and(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (a adopted) WithGroup(name string) slog.Handler {
	return a.and(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (a adopted) and(with func(slog.Handler) slog.Handler) slog.Handler {
	return adopted{append(slices.Clip(a.with), with)}
}

package command

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"slices"

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
// that leads to whatever log is adopted later.
func init() { klog.SetSlogLogger(slog.New(adopted{})) }

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

// Enabled implements [slog.Handler].
func (a adopted) Enabled(ctx context.Context, level slog.Level) bool {
	return slog.Default().Handler().Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (a adopted) Handle(ctx context.Context, r slog.Record) error { return a.handler().Handle(ctx, r) }

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

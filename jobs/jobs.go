// Package jobs is the harness that a step of a pipeline runs in when it is a
// process of its own: it gives the step flags, a logger, signals, the store and
// one of the exit codes of package workflows.
//
// A main makes a [Program] and leaves with what [Program.Main] returns. The step
// itself is a [Func], which a test or another submitter calls without any of
// this.
package jobs

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Func is one step of a pipeline. It takes everything from its environment and
// leaves everything in the store, so that it may be stopped at any moment and
// run again with the same run-id.
type Func func(ctx context.Context, env Env) error

// Env is what a step works with.
type Env struct {
	Store *artifact.Store
	Log   *slog.Logger
	// Run is the run-id. A step that runs twice with one run-id makes the same
	// bytes.
	Run string
	// Shard is the part of a fan-out that this process is to do, "" where the
	// step is not fanned out.
	Shard string
	// Now is the instant of the run, UTC. Steps look at no other clock.
	Now time.Time
	// Version is that of the program, as manifests note it.
	Version string
	// Progress tells who looks on how much is done, in a unit of the step's own. It
	// may be nil; [Env.Report] minds that.
	Progress func(done, total int)
}

// Report tells how much of the step is done.
func (e *Env) Report(done, total int) {
	if e.Progress != nil {
		e.Progress(done, total)
	}
}

// Program is the process around one step.
type Program struct {
	Name  string // of the binary, as "collector"
	Short string // what it does, in one line
	// Linked is the version that the program's linker was told; where it is empty,
	// the build is asked, see [Version].
	Linked string
	// Long says what it reads and writes and how it is used. It stands above
	// the flags in the help.
	Long string
	// Drivers are the stores that the program can open.
	Drivers artifact.Drivers
	// Flags adds the step's own flags to the common ones; nil adds none.
	Flags func(*flag.FlagSet)
	// Step is called once the flags are read.
	Step Func
	// Clock is asked for the time where -now is not given; the real one where
	// nil.
	Clock clock.PassiveClock
}

// Main runs the program and returns its exit code. SIGTERM and interrupts end
// the step's context.
func (p Program) Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case s := <-signals:
			stop(schemas.Errorf(schemas.CodeUnavailable, "stopped by signal %s", s))
		case <-done:
		}
	}()
	return p.Run(ctx, args, stdout, stderr)
}

// Run is [Program.Main] without the signals. A failure is one line on stderr,
// beginning with the program's name.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := p.run(ctx, args, stdout, stderr)
	if err == nil {
		return workflows.ExitOK
	}
	// Where a signal ended the step, that is the reason, not the call that the
	// signal cut short.
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	fmt.Fprintf(stderr, "%s: %s\n", p.Name, oneLine(err.Error()))
	return workflows.ExitCode(err)
}

// oneLine puts the lines of a message, such as those of joined errors, behind
// each other.
func oneLine(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// options are the common flags.
type options struct {
	store, run, shard, shards, now, logFormat, logLevel string

	shardIndex     int
	probe, version bool
}

func (p Program) run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var o options
	flags := p.flagSet(&o)
	switch err := flags.Parse(given(args)); {
	case errors.Is(err, flag.ErrHelp):
		p.help(stdout, flags)
		return nil
	case err != nil:
		return schemas.Errorf(schemas.CodeInvalidConfig, "%w (%s -help lists the flags)", err, p.Name)
	case flags.NArg() > 0:
		return schemas.Errorf(schemas.CodeInvalidConfig, "arguments must be flags, but there is %q", flags.Arg(0))
	case o.version:
		fmt.Fprintln(stdout, p.Name, p.version())
		return nil
	}
	log, err := NewLogger(stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	if err := o.chooseShard(); err != nil {
		return err
	}
	env := Env{Log: log.With("step", p.Name, "run", o.run), Run: o.run, Shard: o.shard, Version: p.version()}
	if path := os.Getenv(progressFile); path != "" {
		env.Progress = progressTo(path, env.Log)
	}
	if o.shard != "" {
		env.Log = env.Log.With("shard", o.shard)
	}
	if env.Now, err = p.instant(o.now); err != nil {
		return err
	}
	if o.run == "" && !o.probe {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -run must name the run")
	}
	if err := schemas.ValidateRunID(o.run); err != nil && !o.probe {
		return err
	}
	if o.store == "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -store must name the store")
	}
	env.Store, err = artifact.Open(ctx, o.store, p.Drivers, artifact.Options{
		OnInvalidHead: func(h artifact.InvalidHead) {
			env.Log.Warn("head passed over", "pipeline", string(h.Pipeline), "number", h.Number, "error", h.Err)
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		if closing := env.Store.Close(); err == nil {
			err = closing
		}
	}()
	if o.probe {
		// Opening has proved all that there is to prove.
		fmt.Fprintln(stdout, p.Name+": the store can be used")
		return nil
	}
	env.Log.DebugContext(ctx, "step begins", "version", env.Version)
	return Call(ctx, p.Step, env)
}

func (p Program) version() string { return cmp.Or(p.Linked, Version()) }

// given drops flags that are set to nothing, as in -now=: who renders a command line for
// any run cannot leave an argument out, so that nothing is to mean not given.
func given(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return strings.HasPrefix(arg, "-") && strings.HasSuffix(arg, "=") && strings.Count(arg, "=") == 1
	})
}

// chooseShard sets the shard where it was given by its place in a list, which is
// all that the pods of an Indexed Job differ in.
func (o *options) chooseShard() error {
	if o.shards == "" {
		return nil
	}
	list := strings.Split(o.shards, ",")
	if o.shard != "" {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flags -shard and -shards must not be given together")
	}
	if o.shardIndex < 0 || o.shardIndex >= len(list) {
		return schemas.Errorf(schemas.CodeInvalidConfig, "flag -shard-index must be from 0 to %d, the last of -shards, but is %d", len(list)-1, o.shardIndex)
	}
	o.shard = list[o.shardIndex]
	return nil
}

// Call runs a step and turns a panic of it into an error with
// [schemas.CodeInternal], so that every end of a step is an exit code.
func Call(ctx context.Context, step Func, env Env) (err error) {
	defer func() {
		if r := recover(); r != nil {
			env.Log.Error("step panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = schemas.Errorf(schemas.CodeInternal, "step panicked: %v", r)
		}
	}()
	return step(ctx, env)
}

func (p Program) instant(now string) (time.Time, error) {
	if now == "" {
		if p.Clock == nil {
			return time.Now().UTC(), nil
		}
		return p.Clock.Now().UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, now)
	if err != nil {
		return time.Time{}, schemas.Errorf(schemas.CodeInvalidConfig, "flag -now must be a time as 2006-01-02T15:04:05Z, but is %q", now)
	}
	return t.UTC(), nil
}

func (p Program) flagSet(o *options) *flag.FlagSet {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the one line on stderr is ours
	flags.StringVar(&o.store, "store", "", "`URL` of the store: "+strings.Join(p.schemes(), ", "))
	flags.StringVar(&o.run, "run", "", "`id` of the run; repeating a run with the same id changes nothing")
	flags.StringVar(&o.shard, "shard", "", "`id` of the shard to work on, where the step is fanned out")
	flags.StringVar(&o.shards, "shards", "", "`ids` of all shards, with commas between them; -shard-index says which one")
	flags.IntVar(&o.shardIndex, "shard-index", 0, "`place` of the shard to work on in -shards, from 0")
	flags.BoolVar(&o.probe, "probe", false, "prove that the store can be used, and end")
	flags.StringVar(&o.now, "now", "", "`time` to take for now, as 2006-01-02T15:04:05Z (default: the clock)")
	flags.StringVar(&o.logFormat, "log-format", "text", "`form` of the log on standard error: text or json")
	flags.StringVar(&o.logLevel, "log-level", "info", "least `level` to log: debug, info, warn or error")
	flags.BoolVar(&o.version, "version", false, "print the version and end")
	if p.Flags != nil {
		p.Flags(flags)
	}
	return flags
}

// storeExamples show how each kind of store is named.
var storeExamples = map[string]string{
	"file": "file:///var/lib/self-scaling",
	"s3":   "s3://bucket/prefix?endpoint=minio:9000",
	"mem":  "mem:",
}

func (p Program) schemes() []string {
	var out []string
	for _, scheme := range slices.Sorted(maps.Keys(p.Drivers)) {
		if example, ok := storeExamples[scheme]; ok {
			scheme = example
		}
		out = append(out, scheme)
	}
	return out
}

func (p Program) help(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "%s: %s\n\n%s\n\nFlags:\n", p.Name, p.Short, strings.TrimSpace(p.Long))
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprintf(w, `
Exit codes:
  %d   done
  %d  bad data: the message names the file, the rule and the value
  %d  a bug
  %d  temporary: the same command may work later
  %d  bad configuration: the message names the flag, the rule and the value
`, workflows.ExitOK, workflows.ExitData, workflows.ExitSoftware, workflows.ExitTemporary, workflows.ExitConfig)
}

// NewLogger returns what writes a program's log in the form and from the level that
// its flags -log-format and -log-level name.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -log-level must be debug, info, warn or error, but is %q", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -log-format must be text or json, but is %q", format)
}

// Version returns the version of the running program: the module's where it was
// built as one, else the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}

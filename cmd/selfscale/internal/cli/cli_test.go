package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/schemas"
)

// The scripts run selfscale with an engine that prints the options it is given,
// or fails in the way that the folder to write asks for.
func TestMain(m *testing.M) {
	selfscale := func() {
		os.Exit(cli.Main(cli.Engine{
			Demo: func(ctx context.Context, o cli.DemoOptions, c cli.Console) error {
				switch o.Out {
				case "bad-data":
					return schemas.Errorf(schemas.CodeInvalidData, "usage.csv row 7: cpu must not be negative, but is -1")
				case "full-disk":
					return schemas.Errorf(schemas.CodeUnavailable, "output folder %s: no space left on device", o.Out)
				case "bug":
					return schemas.Errorf(schemas.CodeInternal, "there is a bug")
				case "interrupt":
					self, err := os.FindProcess(os.Getpid())
					if err != nil {
						return err
					}
					if err := self.Signal(os.Interrupt); err != nil {
						return err
					}
					<-ctx.Done()
					return ctx.Err()
				}
				return echo(o, c)
			},
			Run:      func(_ context.Context, o cli.RunOptions, c cli.Console) error { return echo(o, c) },
			Forecast: func(_ context.Context, o cli.ForecastOptions, c cli.Console) error { return echo(o, c) },
			History:  func(_ context.Context, o cli.HistoryOptions, c cli.Console) error { return echo(o, c) },
			Serve:    func(_ context.Context, o cli.ServeOptions, c cli.Console) error { return echo(o, c) },
			Remote: &cli.RemoteEngine{
				Names: func(_ context.Context, o cli.ServerOptions) ([]string, error) {
					return []string{"shop/cart", "of/" + o.Token}, nil
				},
				Services:  func(_ context.Context, o cli.ServicesOptions, c cli.Console) error { return echo(o, c) },
				Manage:    func(_ context.Context, o cli.ManageOptions, c cli.Console) error { return echo(o, c) },
				Start:     func(_ context.Context, o cli.StartOptions, c cli.Console) error { return echo(o, c) },
				Runs:      func(_ context.Context, o cli.RunsOptions, c cli.Console) error { return echo(o, c) },
				Decisions: func(_ context.Context, o cli.DecisionsOptions, c cli.Console) error { return echo(o, c) },
				Explain:   func(_ context.Context, o cli.ExplainOptions, c cli.Console) error { return echo(o, c) },
				Doctor:    func(_ context.Context, o cli.DoctorOptions, c cli.Console) error { return echo(o, c) },
			},
		}, "v1.2.3", os.Args[1:], os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){"selfscale": selfscale, cli.PluginName: selfscale})
}

func echo(options any, c cli.Console) error {
	e := json.NewEncoder(c.Out)
	e.SetIndent("", "  ")
	return e.Encode(options)
}

// exits runs a command and compares its exit code: exits 78 selfscale run.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = err.Error()
		if n, ok := err.(interface{ ExitCode() int }); ok {
			b, _ := json.Marshal(n.ExitCode())
			code = string(b)
		}
	}
	if code != args[0] {
		ts.Fatalf("%v ended with %s, want %s", args[1:], code, args[0])
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

// The test binary is the program: scripts run it as selfscale.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"selfscale": main})
}

// The scripts read as a session at a terminal: testdata/script. Besides the
// commands of testscript they have
//
//	exits CODE PROGRAM ARG...      run a program that must end with CODE
//	series FILE                    write three series in long format, one of them with gaps
//	hours FILE SERIES...           write hourly series in long format, each KIND-LENGTH
//	figures JSON CSV TABLE S W     three forms of one backtest of S series and W windows say the same
//	usage FILE                     write the twelve components, CSV or Parquet
//	nights FILE STORE N            train on the file's usage, the last N nights, into a store
//	decisions FILE N               N decisions, each of which can be computed again
//	manifests FOLDER N MAX         N autoscalers with bounds within 1 and MAX
//	truncate FILE                  cut a file in half
//	flip PATTERN                   change one bit in the middle of the one file that matches
//	interrupt PROGRAM ARG...       run a program, interrupt it while it works
//	serve ARG...                   run selfscale serve until the script ends; SELFSCALE_SERVER names it
//	quit                           interrupt selfscale serve and see it end well
//	until PATTERN PROGRAM ARG...   run a program again and again until what it prints matches
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "usage": writeUsage, "series": writeSeries, "hours": writeHours, "figures": figures, "nights": nights, "decisions": decisions, "manifests": manifests,
			"truncate": truncate, "flip": flip, "interrupt": interrupt,
			"serve": startServer, "quit": quitServer, "until": untilPrinted,
		},
		Setup: func(env *testscript.Env) error {
			root, err := filepath.Abs("../..")
			env.Setenv("SOURCE", root)
			return err
		},
	})
}

// writeSeries writes ten days in half hours of three series: a daily one, one
// with gaps, and one that is half as long.
func writeSeries(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: series file")
	}
	random := rand.New(rand.NewPCG(5, 5))
	var out strings.Builder
	out.WriteString("series,time,value\n")
	for _, name := range []string{"daily", "gaps", "short"} {
		for at := usageFrom; at.Before(usageFrom.AddDate(0, 0, 10)); at = at.Add(usageStep) {
			hour := at.Sub(usageFrom).Hours()
			if name == "gaps" && int(hour*2)%7 == 0 || name == "short" && hour < 120 {
				continue
			}
			fmt.Fprintf(&out, "%s,%s,%.4f\n", name, at.Format(time.RFC3339), 2+1.5*math.Sin(2*math.Pi*(hour-9)/24)+.1*random.Float64())
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out.String()), 0o644))
}

// nights collects and trains as an installation does, once at the end of each of
// the last days of a usage file.
func nights(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: nights file store n")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ctx := context.Background()
	file, err := history.Read(ctx, ts.MkAbs(args[0]), history.Options{})
	ts.Check(err)
	store, err := artifact.Open(ctx, "file://"+ts.MkAbs(args[1]), artifact.Drivers{"file": filebucket.Open}, artifact.Options{})
	ts.Check(err)
	defer store.Close()
	pipelines, err := embedded.New(embedded.Config{
		Store:     store,
		Collector: embedded.Always(collector.New(file, collector.Options{Step: file.Step, Backfill: samples.DefaultRetention})),
		Trainer:   trainer.Config{Options: trainer.DefaultOptions()},
		Inference: func(context.Context, jobs.Env) error { return nil },
		Version:   "v1",
	})
	ts.Check(err)
	defer pipelines.Close()
	for night := n - 1; night >= 0; night-- {
		at := usageTo.AddDate(0, 0, -night)
		for _, pipeline := range []string{"collect", "train"} {
			ts.Check(pipelines.Run(ctx, pipeline, at, nil))
		}
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [argument...]")
	}
	if code := exitCode(ts, ts.Exec(args[1], args[2:]...)); strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s ended with %d, want %s", args[1], code, args[0])
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	return exit.ExitCode()
}

func writeUsage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: usage file")
	}
	data, err := usageFile(args[0], usage())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o666))
}

func decisions(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: decisions file n")
	}
	n := 0
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		var d schemas.Decision
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		ts.Check(decoder.Decode(&d))
		floor, err := replicas.Recompute(&d)
		ts.Check(err)
		if floor != d.MinReplicas || d.Message == "" || d.Reason == "" {
			ts.Fatalf("decision about %s: computed again the floor is %d, reason %q, message %q; recorded is %d", d.Component, floor, d.Reason, d.Message, d.MinReplicas)
		}
		if !d.Reason.UsesForecast() && (d.Applied || d.MinReplicas != d.Policy.MinReplicas) {
			ts.Fatalf("decision about %s: %s must propose no floor, but proposes %d", d.Component, d.Reason, d.MinReplicas)
		}
	}
	ts.Check(lines.Err())
	if strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d decisions, want %s", args[0], n, args[1])
	}
}

func manifests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: manifests folder n max")
	}
	largest, err := strconv.Atoi(args[2])
	ts.Check(err)
	names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*", "*.yaml"))
	ts.Check(err)
	if strconv.Itoa(len(names)) != args[1] {
		ts.Fatalf("there are %d manifests, want %s: %v", len(names), args[1], names)
	}
	for _, name := range names {
		var hpa autoscalingv2.HorizontalPodAutoscaler
		data, err := os.ReadFile(name)
		ts.Check(err)
		ts.Check(yaml.UnmarshalStrict(data, &hpa))
		if hpa.APIVersion != "autoscaling/v2" || hpa.Kind != "HorizontalPodAutoscaler" || hpa.Spec.ScaleTargetRef.Name != hpa.Name {
			ts.Fatalf("%s is the %s %s %q for %q", name, hpa.APIVersion, hpa.Kind, hpa.Name, hpa.Spec.ScaleTargetRef.Name)
		}
		low, high := hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas
		if low == nil || *low < 1 || *low > high || int(high) != largest {
			ts.Fatalf("%s: bounds are %v and %d, want 1 <= minReplicas <= maxReplicas = %d", name, low, high, largest)
		}
	}
}

func truncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: truncate file")
	}
	name := ts.MkAbs(args[0])
	info, err := os.Stat(name)
	ts.Check(err)
	ts.Check(os.Truncate(name, info.Size()/2))
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip pattern")
	}
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%s must match one file, but matches %v", args[0], names)
	}
	data, err := os.ReadFile(names[0])
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(names[0], data, 0o666))
}

// interrupt waits until a program has begun to write its results, which it does
// to a hidden folder, and interrupts it.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: interrupt program [argument...]")
	}
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ts.Check(cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	var ended error
	for begun := false; !begun; {
		select {
		case ended = <-done:
			ts.Fatalf("%s ended before it could be interrupted: %v: %s", args[0], ended, &stderr)
		case <-look.C:
			found, err := filepath.Glob(filepath.Join(cmd.Dir, ".selfscale-partial-*"))
			ts.Check(err)
			begun = len(found) > 0
		}
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if code := exitCode(ts, <-done); code != 130 {
		ts.Fatalf("%s ended with %d, want 130: %s", args[0], code, &stderr)
	}
	if got, want := stderr.String(), "selfscale: interrupted; nothing was written\n"; !strings.HasSuffix(got, want) || strings.Count(got, "selfscale:") != 1 || stdout.Len() > 0 {
		// A slow machine is told of progress first.
		ts.Fatalf("stderr is %q and stdout %q, want it to end with %q and nothing", got, &stdout, want)
	}
}

// TestFilesThatCannotBeTrusted runs the command on every file that the reader of
// histories must refuse.
func TestFilesThatCannotBeTrusted(t *testing.T) {
	refused := map[string][]byte{}
	want := map[string]string{}
	archive, err := txtar.ParseFile("../../jobs/history/testdata/invalid.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		line, data, _ := strings.Cut(string(f.Data), "\n")
		name := strings.ReplaceAll(f.Name, " ", "-") + ".csv"
		refused[name] = []byte(data)
		want[name] = "selfscale: " + strings.ReplaceAll(line, "f.csv", name) + "\n"
	}
	names, err := filepath.Glob("../../jobs/history/testdata/refused/*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if refused[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if len(refused) < 45 {
		t.Fatalf("there are %d files, want all that the reader's own tests have", len(refused))
	}
	whole, err := usageParquet(usage())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 7, 100, len(whole) / 2, len(whole) - 8, len(whole) - 1} {
		refused["cut-at-"+strconv.Itoa(n)+".parquet"] = whole[:n]
	}
	t.Chdir(t.TempDir())
	for name, data := range refused {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(name, data, 0o666); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := cli.Main(engine(), "", []string{"run", "--history", name, "--out", "out"}, &stdout, &stderr)
			if code != workflows.ExitData || stdout.Len() > 0 {
				t.Errorf("exit code %d, stdout %q, want %d and nothing", code, &stdout, workflows.ExitData)
			}
			if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "selfscale: "+name+": ") {
				t.Errorf("stderr is %q, want one line about %s", got, name)
			} else if want[name] != "" && got != want[name] {
				t.Errorf("stderr is %q, want %q", got, want[name])
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
				t.Errorf("%v is left, want nothing (%v)", left, err)
			}
		})
	}
}

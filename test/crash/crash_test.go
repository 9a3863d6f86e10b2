package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

var (
	kills = flag.Int("kills", 10, "how many times a step is killed")
	seed  = flag.Uint64("seed", 1, "seed of the moments at which steps are killed")
)

// programs are the steps, as they are in a cluster.
type programs struct {
	bin     string // folder of the binaries
	history string // file of recorded usage
}

// step is one command of the pipelines.
type step struct {
	name string
	args []string
}

// full and the quarter of an hour after it: everything once, and then what runs
// most often, on a store that has heads already.
var (
	full    = []string{"-run=full-1", "-now=2024-03-10T00:00:00Z"}
	collect = []string{"-run=collect-2", "-now=2024-03-10T00:30:00Z"}
	infer   = []string{"-run=infer-2", "-now=2024-03-10T00:30:00Z"}
	retrain = []string{"-run=train-2", "-now=2024-03-10T00:30:00Z"}
)

// shards are those that the dataset of three components has.
var shards = []string{"00000", "00001"}

func (p *programs) steps() []step {
	train := func(run []string) []step {
		with := func(flags ...string) []string { return slices.Concat(run, flags) }
		steps := []step{{"dataset", with("-shard-size=2")}}
		for _, shard := range shards {
			steps = append(steps, step{"trainer", with("-epochs=2", "-shard="+shard)})
		}
		return append(steps, step{"trainer", with("-epochs=2", "-commit")})
	}
	history := "-history=" + p.history
	return slices.Concat(
		[]step{{"collector", append(slices.Clone(full), history)}}, train(full), []step{{"inference", full}},
		[]step{{"collector", append(slices.Clone(collect), history)}, {"inference", infer}}, train(retrain),
	)
}

func TestStepsThatAreKilledAndBegunAnewLeaveTheSameBytes(t *testing.T) {
	p := build(t)
	calm := newStore(t)
	took := make([]time.Duration, len(p.steps()))
	for i, s := range p.steps() {
		begun := time.Now()
		// One thread here and several below: how the work is spread must not
		// show either.
		p.run(t, calm, s, "GOMAXPROCS=1")
		took[i] = time.Since(begun)
	}
	want := calm.committed(t)
	for _, line := range []schemas.Pipeline{schemas.SamplesHead, schemas.ModelsHead, schemas.ForecastsHead} {
		if _, ok := want[schemas.HeadKey(line, 2)]; !ok {
			t.Fatalf("the undisturbed pipelines left no second head of %s", line)
		}
	}

	random := rand.New(rand.NewPCG(*seed, 0))
	var killed, midway, begunAnew, looks int
	byStep := map[string]int{}
	for killed < *kills {
		disturbed := newStore(t)
		r := startReader(t, disturbed.bucket)
		for i, s := range p.steps() {
			// Each step is killed up to four times, and must get over it.
			for range random.IntN(5) {
				if killed == *kills {
					break
				}
				before := len(disturbed.keys(t))
				if p.kill(t, disturbed, s, time.Duration(random.Int64N(int64(took[i])))) {
					killed++
					byStep[s.name]++
					if len(disturbed.keys(t)) > before {
						midway++
					}
				}
			}
			p.run(t, disturbed, s)
		}
		begunAnew++
		looks += r.stop()
		if diff := cmp.Diff(want, disturbed.committed(t)); diff != "" {
			t.Fatalf("after %d kills, objects (-undisturbed +killed and begun anew):\n%s", killed, diff)
		}
	}
	t.Logf("%d kills in %d runs of the pipelines, %v; %d of them left a step half done; the reader looked %d times", killed, begunAnew, byStep, midway, looks)
}

// bin is the folder of the binaries, which the first test that needs them
// builds.
var bin struct {
	sync.Once
	folder string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if bin.folder != "" {
		os.RemoveAll(bin.folder)
	}
	os.Exit(code)
}

// build compiles the programs and writes the history that they read.
func build(t *testing.T) *programs {
	t.Helper()
	bin.Do(func() {
		track(t)
		folder, err := os.MkdirTemp("", "steps-")
		if err != nil {
			t.Fatal(err)
		}
		bin.folder = folder
		args := []string{"build", "-o", folder + string(filepath.Separator)}
		for _, name := range names {
			args = append(args, module+"/cmd/"+name)
		}
		if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	})
	p := &programs{bin: bin.folder, history: filepath.Join(t.TempDir(), "usage.csv")}
	if err := os.WriteFile(p.history, usage(), 0o666); err != nil {
		t.Fatal(err)
	}
	return p
}

// names are the programs.
var names = []string{"collector", "dataset", "trainer", "inference"}

const module = "github.com/self-scaling/self-scaling"

// track looks at the source of the programs, so that go test runs this test
// again when some of it has changed.
func track(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}{{end}}", module+"/cmd/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := strings.Fields(string(out))
	if len(files) == 0 {
		t.Fatal("go list: the programs have no source")
	}
	for _, name := range files {
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
}

// usage is nine days and an hour of three components, one of them not measured
// for a day.
func usage() []byte {
	random := rand.New(rand.NewPCG(7, 7))
	var b bytes.Buffer
	b.WriteString("time,service,component,cpu,memory,replicas,cpu_request,memory_request\n")
	from := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	for at := from; at.Before(from.Add(9*24*time.Hour + time.Hour)); at = at.Add(30 * time.Minute) {
		hour := float64(at.Hour()) + float64(at.Minute())/60
		for i, component := range []string{"cart", "db", "web"} {
			if component == "db" && at.Day() == 5 {
				continue
			}
			cpu := float64(i+1) + .8*math.Sin(2*math.Pi*(hour-float64(i))/24) + .1*random.Float64()
			fmt.Fprintf(&b, "%s,shop,%s,%.4f,%.0f,%d,0.5,1073741824\n", at.Format(time.RFC3339), component, cpu, 1e9*(1+.2*cpu), i+2)
		}
	}
	return b.Bytes()
}

func (p *programs) command(ctx context.Context, to store, s step, env ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, s.name), slices.Concat(s.args, []string{"-store=file://" + to.folder, "-log-level=warn"})...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// run runs a step to its end, which must be a good and a silent one.
func (p *programs) run(t *testing.T, to store, s step, env ...string) {
	t.Helper()
	cmd, stderr := p.command(t.Context(), to, s, env...)
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %s: %v: %s", s.name, strings.Join(s.args, " "), err, stderr)
	}
}

// kill starts a step and kills it after a while. It reports false where the step
// was faster.
func (p *programs) kill(t *testing.T, to store, s step, after time.Duration) bool {
	t.Helper()
	cmd, stderr := p.command(t.Context(), to, s)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Signal(syscall.SIGKILL) })
	err := cmd.Wait()
	timer.Stop()
	if !cmd.ProcessState.Exited() {
		return true
	}
	if err != nil {
		t.Fatalf("%s %s: %v: %s", s.name, strings.Join(s.args, " "), err, stderr)
	}
	return false
}

// store is a folder that the programs share.
type store struct {
	folder string
	bucket artifact.Bucket
}

func newStore(t *testing.T) store {
	t.Helper()
	folder := t.TempDir()
	b, err := filebucket.New(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return store{folder, b}
}

func (s store) keys(t *testing.T) []string {
	t.Helper()
	var all []string
	if err := s.bucket.List(t.Context(), "", func(o artifact.ObjectInfo) bool { all = append(all, o.Key); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// committed returns the SHA-256 of every head, every manifest and every data
// file, by key. What is not named by a manifest is in it too: nothing must be
// left that the undisturbed programs would not have written. Only the probe with
// which a program proves the store at its start has names by chance.
func (s store) committed(t *testing.T) map[string]string {
	t.Helper()
	if err := check(t.Context(), s.bucket); err != nil {
		t.Fatalf("the store holds what is not whole: %v", err)
	}
	all := map[string]string{}
	for _, key := range s.keys(t) {
		if strings.HasPrefix(key, "probe/") {
			continue
		}
		data, err := s.bucket.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		all[key] = hex.EncodeToString(sum[:])
	}
	return all
}

// reader reads a store as the interface and the page do, while steps write and
// are killed.
type reader struct {
	wait   sync.WaitGroup
	cancel context.CancelFunc
	looks  int
}

func startReader(t *testing.T, b artifact.Bucket) *reader {
	t.Helper()
	r := &reader{}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	r.wait.Go(func() {
		for ctx.Err() == nil {
			if err := look(ctx, b); err != nil && ctx.Err() == nil {
				t.Errorf("a reader found: %v", err)
				return
			}
			r.looks++
			// The steps need the processors too.
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	})
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *reader) stop() int {
	r.cancel()
	r.wait.Wait()
	return r.looks
}

// check reads every object but those of probes.
func check(ctx context.Context, b artifact.Bucket) error {
	for _, prefix := range []string{"heads/", "runs/", "data/"} {
		if err := artifacttest.CheckStore(ctx, b, prefix); err != nil {
			return err
		}
	}
	return nil
}

// look reads every object, and what is current down to its values.
func look(ctx context.Context, b artifact.Bucket) error {
	if err := check(ctx, b); err != nil {
		return err
	}
	var invalid error
	s := artifact.New(b, artifact.Options{ReadOnly: true, OnInvalidHead: func(h artifact.InvalidHead) { invalid = h.Err }})
	snapshot, err := samples.New(s, samples.Options{}).Snapshot(ctx)
	switch {
	case err == nil:
		from, to := snapshot.Window(snapshot.Head.Manifest.To, 28)
		ids, err := snapshot.Components(ctx, from, to)
		if err != nil {
			return err
		}
		histories, err := snapshot.Histories(ctx, ids, from, to)
		if err != nil {
			return err
		}
		if len(histories) != 3 || len(snapshot.Lost()) > 0 {
			return fmt.Errorf("the samples are of %d components, with %d files lost, want 3 and 0", len(histories), len(snapshot.Lost()))
		}
	case !errors.Is(err, artifact.ErrNotFound):
		return err
	}
	if trained, _, err := models.Latest(ctx, s); err != nil && !errors.Is(err, artifact.ErrNotFound) {
		return err
	} else if err == nil && len(trained) != len(shards) {
		return fmt.Errorf("there are models of %d shards, want %d", len(trained), len(shards))
	}
	set, ok, err := forecasts.Latest(ctx, s)
	if err != nil {
		return err
	}
	if ok && (len(set.Decisions) != 3 || len(set.Forecasts) != 6) {
		return fmt.Errorf("there are %d decisions and %d forecasts, want 3 and 6", len(set.Decisions), len(set.Forecasts))
	}
	return invalid
}

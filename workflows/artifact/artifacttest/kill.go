package artifacttest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

// OpenAt opens the bucket at a location that several processes can share, such
// as a folder or a URL.
type OpenAt func(location string) (artifact.Bucket, error)

// The environment of a child process: what it shall do, and where.
const (
	childTask     = "SELFSCALING_TEST_CHILD"
	childLocation = "SELFSCALING_TEST_CHILD_LOCATION"
)

// Main is called by the TestMain of a package that uses [TestKill] or
// [TestProcesses], which start the test's own binary as child processes.
func Main(m *testing.M, open OpenAt) {
	task := os.Getenv(childTask)
	if task == "" {
		os.Exit(m.Run())
	}
	if err := child(task, os.Getenv(childLocation), open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(task, location string, open OpenAt) error {
	ctx := context.Background()
	b, err := open(location)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println("ready")
	var from, n int
	if _, err := fmt.Sscanf(task, "race %d", &n); err == nil {
		// All children begin at the same time.
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		for i := range n {
			err := b.Create(ctx, fmt.Sprintf("heads/race/%04d", i), fmt.Append(nil, os.Getpid()))
			switch {
			case err == nil:
				fmt.Println(i)
			case !errors.Is(err, artifact.ErrExists):
				return err
			}
		}
		return nil
	}
	if _, err := fmt.Sscanf(task, "runs %d %d", &from, &n); err != nil {
		return err
	}
	for i := from; i < from+n; i++ {
		if err := Run(ctx, artifact.New(b, artifact.Options{}), i); err != nil {
			return err
		}
		fmt.Println(i)
	}
	return nil
}

// process is a running child.
type process struct {
	*exec.Cmd
	lines  *bufio.Scanner
	stderr strings.Builder
}

func start(t *testing.T, location, task string) *process {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	p := &process{Cmd: exec.Command(self, "-test.run=^$")}
	p.Env = append(os.Environ(), childTask+"="+task, childLocation+"="+location)
	p.Stderr = &p.stderr
	stdout, err := p.StdoutPipe()
	must(t, err)
	p.lines = bufio.NewScanner(stdout)
	return p
}

// ready starts the child and waits until it has opened its bucket.
func (p *process) ready(t *testing.T) {
	t.Helper()
	must(t, p.Start())
	if !p.lines.Scan() || p.lines.Text() != "ready" {
		p.Wait()
		t.Fatalf("child did not start: %s", p.stderr.String())
	}
}

// numbers returns what the child has printed until it ended.
func (p *process) numbers(t *testing.T) []int {
	t.Helper()
	var all []int
	for p.lines.Scan() {
		var i int
		if _, err := fmt.Sscan(p.lines.Text(), &i); err == nil {
			all = append(all, i)
		}
	}
	return all
}

// TestProcesses lets several processes race for each of n keys.
func TestProcesses(t *testing.T, location string, open OpenAt, processes, n int) {
	children := make([]*process, processes)
	begin := make([]io.WriteCloser, processes)
	for i := range children {
		p := start(t, location, fmt.Sprintf("race %d", n))
		var err error
		begin[i], err = p.StdinPipe()
		must(t, err)
		p.ready(t)
		children[i] = p
	}
	for _, w := range begin {
		_, err := io.WriteString(w, "\n")
		must(t, err)
	}
	winner := make(map[int]int)
	for _, p := range children {
		for _, i := range p.numbers(t) {
			if pid, ok := winner[i]; ok {
				t.Errorf("key %d was won by process %d and by process %d", i, pid, p.Process.Pid)
			}
			winner[i] = p.Process.Pid
		}
		if err := p.Wait(); err != nil {
			t.Fatalf("child: %v: %s", err, p.stderr.String())
		}
	}
	if len(winner) != n {
		t.Errorf("%d of %d keys have a winner", len(winner), n)
	}
	b, err := open(location)
	must(t, err)
	defer b.Close()
	for i, pid := range winner {
		wantObject(t, b, fmt.Sprintf("heads/race/%04d", i), fmt.Sprint(pid))
	}
}

// TestKill kills processes that make [Run] after [Run] with SIGKILL, as many
// times as told, at random moments that the seed chooses, and has the next one
// begin with the run that was interrupted. Meanwhile a reader reads what is
// there, and must find nothing torn. In the end the bucket must hold the same
// bytes as if nobody had been killed.
func TestKill(t *testing.T, location string, open OpenAt, kills int, seed uint64) {
	b, err := open(location)
	must(t, err)
	defer b.Close()

	reader := startReader(t, b)
	defer reader.stop()

	// How long a run takes says which moments there are.
	begun := time.Now()
	next := reap(t, start(t, location, "runs 0 5"), 0, nil)
	duration := time.Since(begun) / 5

	random := rand.New(rand.NewPCG(seed, 0))
	left := make([]int, RunObjects+1) // by number of objects that the interrupted run had left
	for killed := 0; killed < kills; {
		p := start(t, location, fmt.Sprintf("runs %d 1000", next))
		delay := time.Duration(random.Int64N(int64(2 * duration)))
		next = reap(t, p, next, func() {
			time.Sleep(delay)
			p.Process.Kill()
		})
		killed++
		reader.run.Store(int64(next))
		left[len(keys(t, b, ""))-next*RunObjects]++
	}
	next = reap(t, start(t, location, fmt.Sprintf("runs %d 2", next)), next, nil)
	reader.stop()
	t.Logf("%d kills in %d runs of %s each; the reader looked %d times; kills by the number of objects (of %d) that the interrupted run had left: %v",
		kills, next, duration, reader.looks, RunObjects, left)

	must(t, CheckStore(t.Context(), b, ""))
	undisturbed := membucket.New(nil)
	for i := range next {
		must(t, Run(t.Context(), artifact.New(undisturbed, artifact.Options{}), i))
	}
	if diff := cmp.Diff(digests(t, undisturbed), digests(t, b)); diff != "" {
		t.Errorf("objects (-undisturbed +killed and begun anew):\n%s", diff)
	}
}

// reap waits for a child that makes the runs from next on, after it has had
// kill, if any, end it. It returns the first run that is not known to be done.
func reap(t *testing.T, p *process, next int, kill func()) int {
	t.Helper()
	p.ready(t)
	if kill != nil {
		kill()
	}
	for _, i := range p.numbers(t) {
		next = i + 1
	}
	err := p.Wait()
	if kill == nil && err != nil || kill != nil && (err == nil || p.ProcessState.Exited()) {
		t.Fatalf("child ended with %v, its last words: %s", p.ProcessState, p.stderr.String())
	}
	return next
}

// reader reads a bucket while others write.
type reader struct {
	run   atomic.Int64 // the run that is being made
	looks int
	stop  func()
}

func startReader(t *testing.T, b artifact.Bucket) *reader {
	r := &reader{}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			if err := r.look(ctx, b); err != nil && ctx.Err() == nil {
				t.Errorf("a reader found: %v", err)
				return
			}
			r.looks++
		}
	})
	r.stop = func() { cancel(); wait.Wait() }
	return r
}

// look reads what is current, and every object that is new.
func (r *reader) look(ctx context.Context, b artifact.Bucket) error {
	var invalid error
	s := artifact.New(b, artifact.Options{OnInvalidHead: func(h artifact.InvalidHead) { invalid = h.Err }})
	_, err := s.LatestValid(ctx, schemas.SamplesHead, s.VerifyHead)
	if invalid != nil {
		return invalid
	}
	if err != nil && !errors.Is(err, artifact.ErrNotFound) {
		return err
	}
	run := int(r.run.Load())
	for i := run; i < run+3; i++ {
		if err := CheckStore(ctx, b, schemas.RunPrefix(runID(i))); err != nil {
			return err
		}
	}
	return CheckStore(ctx, b, "data/samples/"+runStart(run).Format(time.DateOnly)+"/")
}

// digests returns the SHA-256 of every object.
func digests(t testing.TB, b artifact.Bucket) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, key := range keys(t, b, "") {
		data, err := b.Get(t.Context(), key)
		must(t, err)
		sum := sha256.Sum256(data)
		all[key] = hex.EncodeToString(sum[:])
	}
	return all
}

// Package local runs pipelines in this process: the submitter of embedded mode,
// of demonstrations and of tests. It walks the same [workflows.Pipeline] values
// that workflows/argo renders.
//
// It does not know the steps. A main hands it a map from job name to [Func];
// a fan-out's list of shards is what the step before it gave to
// [Args.SetShards].
//
// # What happens to a step
//
// Steps start as soon as the steps they require have succeeded, the shards of a
// fan-out side by side, at most Config.Parallelism at a time over all runs. A
// temporary failure (exit code 75, see [workflows.ExitCode]) is tried again
// after a backoff, up to the step's attempts. Any other failure, and a panic,
// is permanent: steps that require the failed one are omitted, its siblings and
// all other steps go on, and the run fails.
//
// # Runs that meet
//
// Submitting a run-id again returns the run it started. Runs of one pipeline
// wait for each other in the order of submission; where Config.MaxPending of
// them already wait, Submit returns schemas.CodeUnavailable.
//
// # What is kept
//
// Records live in memory, those of the newest Config.KeepRuns finished runs.
// Each change of a phase is also given to Config.Recorder. After a restart the
// same run-id runs again, which is safe: steps are idempotent by it.
package local

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Func runs one job to its end. It returns when ctx ends, and says through its
// error's code what became of it; [workflows.ExitCode] tells which error is
// worth another attempt. It must be idempotent: the same run, step and shard
// may be run again at any time.
type Func func(ctx context.Context, args Args) error

// Args is what a step's program is told.
type Args struct {
	RunID string
	Step  string
	Shard string // "" where the step does not fan out
	// Attempt counts from 1.
	Attempt int
	// Flags are the step's own flags and after them those of the run's parameters
	// that concern it, in the order of their names, as in -name=value.
	Flags []string
	// Trace is that of the run's [workflows.Request].
	Trace string
	// Progress tells how much is done. Total is 0 where it is not known.
	Progress func(done, total int)
	// SetShards names the shards over which later steps fan out. A step that
	// is fanned out over must call it, also with an empty list, before it
	// succeeds.
	SetShards func(shards []string)
}

// Recorder keeps records beyond this process.
type Recorder interface {
	// Record is called at each change of a run's or a step's phase, never for
	// two changes of one run at once, in their order. An error is logged and
	// the run goes on: a record is not a result.
	Record(ctx context.Context, r workflows.Run) error
}

// Config says what a [Submitter] works with. Jobs and Pipelines must be given;
// the zero values of all other fields work.
type Config struct {
	// Jobs maps job names to what runs them.
	Jobs map[string]Func
	// Pipelines are those that can be submitted. Each step's job must be in
	// Jobs.
	Pipelines []workflows.Pipeline
	// Parallelism is how many steps and shards run at once; 0 means one a CPU.
	Parallelism int
	// Backoff is the pause before a second attempt; it doubles for each further
	// one up to MaxBackoff. 0 means 10 s and 2 min.
	Backoff, MaxBackoff time.Duration
	// MaxPending is how many runs of one pipeline may wait; 0 means 16.
	MaxPending int
	// KeepRuns is how many finished runs are remembered; 0 means 1000.
	KeepRuns int
	Recorder Recorder
	Clock    clock.Clock  // nil means the real one
	Logger   *slog.Logger // nil means none
}

// Submitter implements [workflows.Submitter].
type Submitter struct {
	config    Config
	pipelines map[string]*workflows.Pipeline
	slots     chan struct{} // one token for each step that may run

	ctx    context.Context // of all runs; ended by Close
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	runs     map[string]*run
	order    []*run            // by submission, oldest first
	pending  map[string][]*run // per pipeline, those that wait
	occupied map[string]bool   // per pipeline, whether a run is under way
}

var _ workflows.Submitter = (*Submitter)(nil)

// New returns a submitter. It returns schemas.CodeInvalidConfig for a pipeline
// that is not valid or names a job that is not there. Close it after use.
func New(c Config) (*Submitter, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Parallelism", int64(c.Parallelism)}, {"Backoff", int64(c.Backoff)}, {"MaxBackoff", int64(c.MaxBackoff)},
		{"MaxPending", int64(c.MaxPending)}, {"KeepRuns", int64(c.KeepRuns)},
	} {
		if f.value < 0 {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "local submitter: %s must not be negative, but is %d", f.name, f.value)
		}
	}
	setDefault(&c.Parallelism, runtime.GOMAXPROCS(0))
	setDefault(&c.Backoff, 10*time.Second)
	setDefault(&c.MaxBackoff, 2*time.Minute)
	setDefault(&c.MaxPending, 16)
	setDefault(&c.KeepRuns, 1000)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Submitter{
		config:    c,
		pipelines: map[string]*workflows.Pipeline{},
		slots:     make(chan struct{}, c.Parallelism),
		runs:      map[string]*run{},
		pending:   map[string][]*run{},
		occupied:  map[string]bool{},
	}
	for _, p := range c.Pipelines {
		if err := p.Validate(); err != nil {
			return nil, err
		}
		if s.pipelines[p.Name] != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidConfig, "local submitter: pipeline names must be unique, but %q occurs twice", p.Name)
		}
		for i := range p.Steps {
			if job := p.Steps[i].JobName(); c.Jobs[job] == nil {
				return nil, schemas.Errorf(schemas.CodeInvalidConfig, "local submitter: pipeline %s: step %q needs the job %q, which is not among %v", p.Name, p.Steps[i].Name, job, slices.Sorted(maps.Keys(c.Jobs)))
			}
		}
		s.pipelines[p.Name] = &p
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Submit implements [workflows.Submitter].
func (s *Submitter) Submit(ctx context.Context, r workflows.Request) (workflows.Run, error) {
	if err := ctx.Err(); err != nil {
		return workflows.Run{}, err
	}
	p, parameters, err := r.Resolve(s.pipelines)
	if err != nil {
		return workflows.Run{}, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.runs[r.RunID]; old != nil {
		record := old.snapshot()
		if record.Pipeline != p.Name || !maps.Equal(record.Parameters, parameters) {
			return workflows.Run{}, schemas.Errorf(schemas.CodeConflict, "run %s: must be the request that was submitted before, pipeline %s with parameters %v, but is pipeline %s with parameters %v", r.RunID, record.Pipeline, record.Parameters, p.Name, parameters)
		}
		return record, nil
	}
	if s.closed {
		return workflows.Run{}, schemas.Errorf(schemas.CodeUnavailable, "run %s: the submitter is closed", r.RunID)
	}
	if n := len(s.pending[p.Name]); n >= s.config.MaxPending {
		return workflows.Run{}, schemas.Errorf(schemas.CodeUnavailable, "run %s: at most %d runs of pipeline %s may wait, and %d do", r.RunID, s.config.MaxPending, p.Name, n)
	}
	x := newRun(s, p, &r, parameters)
	s.runs[x.id] = x
	s.order = append(s.order, x)
	s.pending[p.Name] = append(s.pending[p.Name], x)
	record := x.snapshot()
	if !s.occupied[p.Name] {
		s.occupied[p.Name] = true
		s.loops.Go(func() { s.serve(p.Name) })
	}
	return record, nil
}

// serve walks the pending runs of one pipeline, one after the other, until none
// is left.
func (s *Submitter) serve(pipeline string) {
	for {
		s.mu.Lock()
		queue := s.pending[pipeline]
		if len(queue) == 0 {
			s.occupied[pipeline] = false
			s.mu.Unlock()
			return
		}
		x := queue[0]
		s.pending[pipeline] = queue[1:]
		s.mu.Unlock()

		x.walk()
		s.forget()
	}
}

// forget drops the records of the oldest finished runs beyond Config.KeepRuns.
func (s *Submitter) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	finished := 0
	for _, x := range s.order {
		if x.isDone() {
			finished++
		}
	}
	s.order = slices.DeleteFunc(s.order, func(x *run) bool {
		if finished <= s.config.KeepRuns || !x.isDone() {
			return false
		}
		finished--
		delete(s.runs, x.id)
		return true
	})
}

// Get implements [workflows.Submitter].
func (s *Submitter) Get(ctx context.Context, runID string) (workflows.Run, error) {
	x, err := s.find(runID)
	if err != nil {
		return workflows.Run{}, err
	}
	return x.snapshot(), ctx.Err()
}

// List implements [workflows.Submitter].
func (s *Submitter) List(ctx context.Context, o workflows.ListOptions) ([]workflows.Run, error) {
	s.mu.Lock()
	order := slices.Clone(s.order)
	s.mu.Unlock()
	var list []workflows.Run
	for _, x := range slices.Backward(order) {
		if o.Limit > 0 && len(list) == o.Limit {
			break
		}
		r := x.snapshot()
		if (o.Pipeline == "" || r.Pipeline == o.Pipeline) && (o.Phase == "" || r.Phase == o.Phase) {
			list = append(list, r)
		}
	}
	return list, ctx.Err()
}

// Stop implements [workflows.Submitter].
func (s *Submitter) Stop(_ context.Context, runID string) error {
	x, err := s.find(runID)
	if err != nil {
		return err
	}
	s.mu.Lock()
	queue := s.pending[x.pipeline.Name]
	waiting := slices.Index(queue, x)
	if waiting >= 0 {
		s.pending[x.pipeline.Name] = slices.Concat(queue[:waiting], queue[waiting+1:])
	}
	s.mu.Unlock()
	x.cancel()
	if waiting >= 0 {
		// Nobody will walk it any more. Its context has ended, so that this
		// walk starts nothing and only writes the record.
		x.walk()
		s.forget()
	}
	return nil
}

// Wait implements [workflows.Submitter].
func (s *Submitter) Wait(ctx context.Context, runID string) (workflows.Run, error) {
	x, err := s.find(runID)
	if err != nil {
		return workflows.Run{}, err
	}
	select {
	case <-x.done:
	case <-ctx.Done():
		if r := x.snapshot(); !r.Phase.Done() {
			return r, ctx.Err()
		}
	}
	return x.snapshot(), nil
}

// Close stops all runs and returns when the last of their steps has let go.
func (s *Submitter) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.loops.Wait()
	return nil
}

func (s *Submitter) find(runID string) (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.runs[runID]; x != nil {
		return x, nil
	}
	return nil, schemas.Errorf(schemas.CodeNotFound, "run %q: no such run", runID)
}

// Package controller is the loop that keeps an installation going: it finds components
// and tells operators what became of them, sees that pipelines run when they should,
// and takes floors back that nobody stands for any more.
//
// It works over interfaces ([Cluster], [workflows.Submitter], the store and a clock), so
// that a program decides what it runs on: a cluster with Argo, one with plain Jobs, or
// one process with a cluster in memory.
//
// # Tasks
//
// Each task takes turns of its own, with a limit of time, so that what hangs or fails in
// one does not hold up the others:
//
//	guard        every minute   floors that have expired, whose component is gone or no
//	                            longer in mode Auto are given back. It needs the cluster
//	                            alone: it works while Argo and the store do not.
//	components   every minute   a policy for each new service; the status of policies
//	store        every minute   what was decided, how accurate forecasts were
//	runs         every 30 s,    what runs have become; starting those that are due, see
//	             and when one   [Plan], the very first one, and trainings that no
//	             is due         schedule asks for, see [Training]
//	sweep        by schedule    what the store no longer keeps is deleted, see [Retention]
//
// # What survives
//
// Nothing is kept in memory that cannot be read again. A run's name follows from what
// it is started for, so that a controller that was killed at any moment, and the one that
// takes over from it, ask for the same run and not for a second one. Only one controller
// may run at a time for the counts to be right; two of them do no harm beyond that.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/controller/ledger"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Config says what a [Controller] works with. Cluster, Runs and Store must be given; the
// zero values of all other fields work.
type Config struct {
	Cluster Cluster
	Runs    workflows.Submitter
	// Pipelines are those that Runs knows. A parameter is given to a run only where
	// its pipeline has it.
	Pipelines []workflows.Pipeline
	// Store returns the store, or why there is none just now. It is asked at every turn
	// that needs the store.
	Store func(context.Context) (*artifact.Store, error)

	// Plans say which pipelines run when.
	Plans []Plan
	// Suspended, if not nil, names pipelines that nothing may be started of now, besides
	// those whose plan says so.
	Suspended func(context.Context) (map[string]bool, error)
	// Backfill is how far back the very first run looks, where the source of usage
	// knows the past; 0 leaves the beginning to the plans.
	Backfill time.Duration
	Training Training
	// Retention, if not nil, says what the store keeps; without, nothing is deleted.
	Retention *Retention

	// Notify, if not nil, is told of every change of state that an operator wants to
	// know of. It must not block.
	Notify  func(Notice)
	Metrics *Metrics // nil means ones that nobody reads
	// Version is that of the program, as records of runs note it.
	Version string

	// Interval is the time between two turns of the tasks guard, components and store;
	// 0 means a minute.
	Interval time.Duration
	Clock    clock.Clock  // nil means the real one
	Logger   *slog.Logger // nil means none
}

// Notice tells of a change of state.
type Notice struct {
	// Namespace and Service say which service it is about; both are empty where it is
	// about the installation.
	Namespace, Service string
	Warning            bool
	Reason             string // a word, as FloorExpired
	Message            string // a sentence
}

// Controller is the loop.
type Controller struct {
	config  Config
	metrics *Metrics
	tasks   []*task
	ledger  *ledger.Ledger

	mu    sync.Mutex
	facts facts // what the store said last
	// found is what the cluster held when it was last looked at, at foundAt.
	found   []Component
	foundAt time.Time
	states  map[schemas.ComponentID]State // as they were published last
	demand  *demand                       // a training that is asked for
}

// New returns a controller. It returns schemas.CodeInvalidConfig for a configuration
// that cannot work. Nothing happens until somebody calls [Controller.Run].
func New(c Config) (*Controller, error) {
	if c.Cluster == nil || c.Runs == nil || c.Store == nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "controller: a cluster, a submitter and a store must be given")
	}
	if c.Interval == 0 {
		c.Interval = time.Minute
	}
	if c.Training.Interval == 0 {
		c.Training.Interval = 6 * time.Hour
	}
	if c.Notify == nil {
		c.Notify = func(Notice) {}
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(0)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	known := map[string]bool{}
	for _, p := range c.Pipelines {
		known[p.Name] = true
	}
	for i := range c.Plans {
		if err := c.Plans[i].validate(known); err != nil {
			return nil, err
		}
	}
	x := &Controller{config: c, metrics: c.Metrics, ledger: ledger.New(), states: map[schemas.ComponentID]State{}}
	runs := newRuns(x)
	x.tasks = []*task{
		x.task("guard", c.Interval, x.guard),
		x.task("components", c.Interval, x.components),
		x.task("store", c.Interval, x.readStore),
		{name: "runs", every: runsInterval, timeout: time.Minute, turn: runs.turn},
	}
	if c.Retention != nil {
		if err := c.Retention.Validate(); err != nil {
			return nil, fmt.Errorf("retention: %w", err)
		}
		s := &sweeps{Controller: x}
		x.tasks = append(x.tasks, &task{name: "sweep", every: sweepInterval, timeout: sweepTimeout, turn: s.turn})
	}
	for _, t := range x.tasks {
		t.kicked = make(chan struct{}, 1)
	}
	return x, nil
}

// task makes a task of a turn that is taken at a fixed interval.
func (c *Controller) task(name string, every time.Duration, turn func(context.Context, time.Time) error) *task {
	return &task{name: name, every: every, timeout: every, turn: func(ctx context.Context, now time.Time) (time.Time, error) {
		return time.Time{}, turn(ctx, now)
	}}
}

// Run takes turns until ctx ends, and returns when the last turn has let go. A turn that
// is under way then is cut short: whoever runs next does it again.
func (c *Controller) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range c.tasks {
		all.Go(func() { c.loop(ctx, t) })
	}
	all.Wait()
}

// kick has a task take its next turn at once.
func (c *Controller) kick(name string) {
	for _, t := range c.tasks {
		if t.name == name {
			select {
			case t.kicked <- struct{}{}:
			default: // it is about to
			}
		}
	}
}

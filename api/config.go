package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/view"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Services knows which components there are and what their operators want. Errors
// with CodeUnavailable mean that the same call may work later.
type Services interface {
	// Components returns what is known of each component beside what lies in the
	// store: everything of a [wire.Component] but samplesUntil, forecastAt, decision
	// and policyVersion, which the server adds. They are in the order of their names.
	// It is called every few seconds and after each change, and so must be cheap.
	Components(ctx context.Context) ([]wire.Component, error)
	// Policies returns what was set for each service, in order.
	Policies(ctx context.Context) ([]ServicePolicy, error)
	// Policy returns what was set for one service, as it is now. It returns an error
	// with CodeNotFound where there is no such service.
	Policy(ctx context.Context, namespace, service string) (ServicePolicy, error)
	// Replace writes policies, all or none. It returns an error with CodeConflict
	// where one has changed since it was read, and with CodeInvalidConfig where what
	// would hold for a component breaks a rule.
	Replace(ctx context.Context, policies []ServicePolicy) error
	// Discover looks for components now instead of at the next turn.
	Discover(ctx context.Context) error
}

// ServicePolicy is what was set for a service.
type ServicePolicy struct {
	wire.ServicePolicy
	// Version is what [Services.Replace] compares. It means nothing to the server.
	Version string
}

// TrainValues say how much is learned from and how far is looked ahead, in days.
type TrainValues struct{ History, Future int }

// DefaultTrainValues are what the steps do where nobody has set any. The original began
// with 5 days of history and 1 ahead; what is answered here is what is done.
func DefaultTrainValues() TrainValues {
	return TrainValues{History: schemas.DefaultHistoryDays, Future: schemas.DefaultFutureDays}
}

// Validate returns an error with CodeInvalidConfig for values that cannot be.
func (v TrainValues) Validate() error {
	if v.History < 1 || v.History > schemas.MaxHistoryDays || v.Future < 1 || v.Future > schemas.MaxFutureDays {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s must be from 1 to %d and %s from 1 to %d days, but they are %d and %d",
			historyKey, schemas.MaxHistoryDays, futureKey, schemas.MaxFutureDays, v.History, v.Future)
	}
	return nil
}

// TrainValuesStore keeps the train values.
type TrainValuesStore interface {
	TrainValues(ctx context.Context) (TrainValues, error)
	// SetTrainValues returns an error with CodeInvalidConfig for values that cannot
	// be.
	SetTrainValues(ctx context.Context, v TrainValues) error
}

// Records knows what became of runs that the submitter no longer remembers.
type Records interface {
	// Get returns an error with CodeNotFound for a run that it does not know.
	Get(ctx context.Context, runID string) (workflows.Run, error)
	// List returns runs that were submitted before an instant, the newest first.
	List(ctx context.Context, before time.Time, o workflows.ListOptions) ([]workflows.Run, error)
}

// Limits bound what callers may ask of the server. The zero value of each field
// means its default; a negative one means no limit.
type Limits struct {
	// Reads and Writes are how many requests a second one subject may send for long:
	// a user or, where users are not asked for, an address. Twice as many may come at
	// once. 0 means 5000 and 50.
	Reads, Writes float64
	// Body is the largest request body in bytes; 0 means 1 MiB.
	Body int64
	// BodyTime is how long a body may take to come; 0 means 15 s.
	BodyTime time.Duration
	// Streams is how many event streams may be open at once; 0 means 256.
	Streams int
	// Wait is for how long a GET of the original's interface waits for its run; 0
	// means 4 hours.
	Wait time.Duration
}

// Config says what a [Server] works with. View, Services, TrainValues, Submitter and
// Pipelines must be given; the zero values of all other fields work.
type Config struct {
	View        *view.View
	Services    Services
	TrainValues TrainValuesStore
	Submitter   workflows.Submitter
	Pipelines   []workflows.Pipeline
	// Records, if not nil, is asked for runs that the submitter has forgotten.
	Records Records
	// Sweep, if not nil, deletes what the retention no longer keeps and returns how
	// many objects that were.
	Sweep func(ctx context.Context) (int, error)
	// Rollback, if not nil, makes earlier models the current ones again. From is the
	// number of the entry that the caller knows as the current one, 0 where they do not
	// say: it returns an error with CodeConflict where that is another.
	Rollback func(ctx context.Context, from uint64, r wire.Rollback) (wire.RolledBack, error)
	// Workflow, if not nil, returns the object that stands for a run.
	Workflow func(r *workflows.Run) *wire.Workflow
	// Access says who may do what; where nil, everybody may do everything.
	Access access.Reviewer
	// Page, if not nil, answers what is not the interface's.
	Page http.Handler
	// Hosts are the names that the server may be called by, "" for all. A server that
	// anybody may use from this machine names itself here, so that no foreign web
	// site can reach it under a name of its own.
	Hosts []string

	// Name is that of the installation; empty means self-scaling.
	Name    string
	Version string
	Limits  Limits
	// Refresh is how often the components are asked for; 0 means 15 s.
	Refresh time.Duration
	// Speed is how fast the clock runs; 0 means 1.
	Speed float64
	Clock clock.PassiveClock // nil means the real one
	// Metrics is where the metrics are registered; nil means nowhere.
	Metrics prometheus.Registerer
	Log     *slog.Logger // nil means none
}

func (c Config) complete() (Config, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"View", c.View == nil}, {"Services", c.Services == nil}, {"TrainValues", c.TrainValues == nil},
		{"Submitter", c.Submitter == nil}, {"Pipelines", len(c.Pipelines) == 0},
	} {
		if f.missing {
			return c, schemas.Errorf(schemas.CodeInvalidConfig, "api: %s must be given", f.name)
		}
	}
	setDefault(&c.Name, "self-scaling")
	setDefault(&c.Version, "unknown")
	setDefault(&c.Refresh, 15*time.Second)
	setDefault(&c.Speed, 1)
	setDefault(&c.Limits.Reads, 5000)
	setDefault(&c.Limits.Writes, 50)
	setDefault(&c.Limits.Body, 1<<20)
	setDefault(&c.Limits.BodyTime, 15*time.Second)
	setDefault(&c.Limits.Streams, 256)
	setDefault(&c.Limits.Wait, 4*time.Hour)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

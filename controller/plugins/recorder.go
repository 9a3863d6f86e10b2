package plugins

import (
	"context"
	"slices"
	"sync"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

// RecorderName is the name of [Recorder].
const RecorderName = "Recorder"

// Recorder collects the decisions of a run in the order in which they were
// bound. It is made by the program that reads it and passed to runtime.New.
type Recorder struct {
	mu        sync.Mutex
	decisions []schemas.Decision
}

var (
	_ framework.PostBindPlugin = (*Recorder)(nil)
	_ framework.RunStarter     = (*Recorder)(nil)
)

// Name returns [RecorderName].
func (*Recorder) Name() string { return RecorderName }

// StartRun forgets the decisions of the run before.
func (p *Recorder) StartRun(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decisions = nil
}

// PostBind keeps a copy of the decision.
func (p *Recorder) PostBind(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, d *schemas.Decision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decisions = append(p.decisions, *d)
}

// Decisions returns what the last run decided.
func (p *Recorder) Decisions() []schemas.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.decisions)
}

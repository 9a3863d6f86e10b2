package plugins

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

// Names of the Permit plugins.
const (
	NoConflictName = "NoConflict"
	CooldownName   = "Cooldown"
	MaxStepName    = "MaxStep"
	BudgetName     = "Budget"
	CapacityName   = "Capacity"
)

var (
	_ framework.PermitPlugin = NoConflict{}
	_ framework.PermitPlugin = (*Cooldown)(nil)
	_ framework.PermitPlugin = (*MaxStep)(nil)
	_ framework.PermitPlugin = (*Budget)(nil)
	_ framework.RunStarter   = (*Budget)(nil)
	_ framework.PermitPlugin = Capacity{}
)

// NoConflict rejects a component whose replicas somebody else sets: two
// autoscalers over one workload switch each other off.
type NoConflict struct{}

func newNoConflict(args []byte) (framework.Plugin, error) { return NoConflict{}, noArgs(args) }

// Name returns [NoConflictName].
func (NoConflict) Name() string { return NoConflictName }

// Permit reads the conflict that the cluster found.
func (NoConflict) Permit(_ context.Context, _ *framework.CycleState, c *framework.Candidate, _ *schemas.Decision) *framework.Status {
	if t := c.Target; t != nil && t.Conflict != "" {
		return rejected(schemas.TargetNotScalable, fmt.Sprintf("%s %s is left alone: %s", t.Kind, t.Name, t.Conflict))
	}
	return nil
}

// Cooldown keeps a floor for some time after it was changed.
type Cooldown struct {
	// Raise and Lower are how long a floor stays before it may be raised or
	// lowered: not at all and 10 minutes unless said otherwise, because a late
	// rise costs users and a late fall costs only replicas.
	Raise framework.Duration `json:"raise"`
	Lower framework.Duration `json:"lower"`
}

func newCooldown(args []byte) (framework.Plugin, error) {
	p := &Cooldown{Lower: framework.Duration(10 * time.Minute)}
	if err := framework.DecodeArgs(args, p); err != nil {
		return nil, err
	}
	if p.Raise < 0 || p.Lower < 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "raise and lower must not be negative, but are %s and %s", p.Raise, p.Lower)
	}
	return p, nil
}

// Name returns [CooldownName].
func (*Cooldown) Name() string { return CooldownName }

// Permit waits while the floor is too young.
func (p *Cooldown) Permit(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, d *schemas.Decision) *framework.Status {
	if d.PreviousSince == nil {
		return nil
	}
	need := time.Duration(p.Raise)
	switch d.Reason {
	case schemas.FloorRaised:
	case schemas.FloorLowered:
		need = time.Duration(p.Lower)
	default:
		return nil
	}
	if age := d.Time.Sub(*d.PreviousSince); age < need {
		return framework.NewStatus(framework.Wait, schemas.CoolingDown, fmt.Sprintf("the floor of %d was set %s ago; it stays for %s", *d.PreviousReplicas, age, need))
	}
	return nil
}

// MaxStep limits how far any floor may rise in one decision, whatever the
// component's own policy allows. Of the two limits the larger holds, so that
// small workloads may multiply and large ones grow by a share.
type MaxStep struct {
	// Replicas and Percent are the largest rise in pods and in percent of the
	// floor before; 0 means no such limit.
	Replicas int32 `json:"replicas"`
	Percent  int32 `json:"percent"`
}

func newMaxStep(args []byte) (framework.Plugin, error) {
	p := &MaxStep{}
	if err := framework.DecodeArgs(args, p); err != nil {
		return nil, err
	}
	if p.Replicas < 0 || p.Percent < 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "replicas and percent must not be negative, but are %d and %d", p.Replicas, p.Percent)
	}
	return p, nil
}

// Name returns [MaxStepName].
func (*MaxStep) Name() string { return MaxStepName }

// Permit cuts a rise to the limit.
func (p *MaxStep) Permit(_ context.Context, _ *framework.CycleState, _ *framework.Candidate, d *schemas.Decision) *framework.Status {
	base := d.Policy.MinReplicas
	if d.PreviousReplicas != nil {
		base = max(base, *d.PreviousReplicas)
	}
	var step int64
	switch {
	case p.Replicas == 0 && p.Percent == 0:
		return nil
	case p.Replicas > 0:
		step = int64(p.Replicas)
	}
	if p.Percent > 0 {
		step = max(step, int64(math.Ceil(float64(base)*float64(p.Percent)/100)))
	}
	if top := int64(base) + step; int64(d.MinReplicas) > top {
		replicas.Limit(d, MaxStepName, int32(top), "no floor may rise by more than "+p.String()+" at once")
	}
	return nil
}

// String spells the limits.
func (p *MaxStep) String() string {
	var limits []string
	if p.Replicas > 0 {
		limits = append(limits, replicas.Count(p.Replicas, "pod"))
	}
	if p.Percent > 0 {
		limits = append(limits, fmt.Sprintf("%d %%", p.Percent))
	}
	return strings.Join(limits, " or ")
}

// Budget limits how many floors change in one run, so that a bad model or a
// changed policy cannot move a whole cluster at once. Only components in mode
// Auto count.
type Budget struct {
	// Changes is how many floors may change in one run; 0 means no limit.
	Changes int `json:"changes"`

	mu   sync.Mutex
	used int
}

func newBudget(args []byte) (framework.Plugin, error) {
	p := &Budget{}
	if err := framework.DecodeArgs(args, p); err != nil {
		return nil, err
	}
	if p.Changes < 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "changes must not be negative, but is %d", p.Changes)
	}
	return p, nil
}

// Name returns [BudgetName].
func (*Budget) Name() string { return BudgetName }

// StartRun forgets the changes of the run before.
func (p *Budget) StartRun(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used = 0
}

// Permit waits once the budget is used up.
func (p *Budget) Permit(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	if p.Changes == 0 || c.Policy.Mode != schemas.Auto || d.Reason == schemas.FloorKept {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used >= p.Changes {
		return framework.NewStatus(framework.Wait, schemas.BudgetExhausted, fmt.Sprintf("%d floors have changed in this run; more must wait for the next", p.Changes))
	}
	p.used++
	return nil
}

// Capacity cuts a rise to what the cluster can hold: pods that stay pending
// serve nobody and may push others out.
type Capacity struct{}

func newCapacity(args []byte) (framework.Plugin, error) { return Capacity{}, noArgs(args) }

// Name returns [CapacityName].
func (Capacity) Name() string { return CapacityName }

// Permit reads how many more pods fit. It never goes below the pods that run
// and the operator's own minReplicas.
func (Capacity) Permit(_ context.Context, _ *framework.CycleState, c *framework.Candidate, d *schemas.Decision) *framework.Status {
	if c.Target == nil || c.Target.CapacityLeft == nil {
		return nil
	}
	left := max(0, *c.Target.CapacityLeft)
	top := max(int64(c.Target.CurrentReplicas)+int64(left), int64(c.Policy.MinReplicas), 1)
	if int64(d.MinReplicas) > top {
		replicas.Limit(d, CapacityName, int32(top), fmt.Sprintf("the cluster has room for %d more beside the %d that run", left, c.Target.CurrentReplicas))
	}
	return nil
}

package simulated

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// state is what a cluster is like when the process that simulates it comes back:
// the time, and what its operators set. What was measured and decided lies in the
// store.
type state struct {
	Now         time.Time                `json:"now"`
	Policies    []v1alpha1.ScalingPolicy `json:"policies"`
	TrainValues api.TrainValues          `json:"trainValues"`
}

// keepEvery is how often the time is kept. A process that is killed goes on from a
// moment before, whose runs it then finds done.
const keepEvery = 5 * time.Second

// restore makes the cluster what its file says, where there is one.
func (c *Cluster) restore() error {
	if c.file == "" {
		return nil
	}
	data, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return schemas.WithCode(schemas.CodeUnavailable, err)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return schemas.Errorf(schemas.CodeInvalidData, "state %s: %w", c.file, err)
	}
	end := fleet.ReplayEnd.AddDate(0, 0, 7*Repeats)
	if s.Now.Before(fleet.ReplayStart) || s.Now.After(end) || !s.Now.Equal(s.Now.Truncate(time.Minute)) {
		return schemas.Errorf(schemas.CodeInvalidData, "state %s: now must be a whole minute from %s to %s, but is %s",
			c.file, fleet.ReplayStart.Format(time.RFC3339), end.Format(time.RFC3339), s.Now.Format(time.RFC3339))
	}
	if err := s.TrainValues.Validate(); err != nil {
		return schemas.Errorf(schemas.CodeInvalidData, "state %s: %w", c.file, err)
	}
	for i := range s.Policies {
		p := &s.Policies[i]
		if err := c.check(p); err != nil {
			return schemas.Errorf(schemas.CodeInvalidData, "state %s: policy of %s: %w", c.file, p.Spec.Service, err)
		}
		if c.policies[p.Spec.Service] != nil {
			c.policies[p.Spec.Service] = p
		}
	}
	c.trainValues = s.TrainValues
	if err := c.sim.Step(s.Now); err != nil {
		return err
	}
	c.clock.SetTime(s.Now)
	return nil
}

// keepTime keeps the time besides what was set.
func (c *Cluster) keepTime() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep(c.policies, c.trainValues)
}

// keep writes what is set and the time, whole or not at all. The caller holds the
// lock.
func (c *Cluster) keep(policies map[string]*v1alpha1.ScalingPolicy, values api.TrainValues) error {
	if c.file == "" {
		return nil
	}
	s := state{Now: c.clock.Now().UTC(), TrainValues: values}
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		s.Policies = append(s.Policies, *policies[name])
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return schemas.WithCode(schemas.CodeInternal, err)
	}
	if err := write(c.file, append(data, '\n')); err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "state %s cannot be kept: %w", c.file, err)
	}
	return nil
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".state-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // gone already where all went well
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}

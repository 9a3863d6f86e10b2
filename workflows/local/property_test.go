package local_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
	"github.com/self-scaling/self-scaling/workflows/workflowstest"
)

// Whatever the graph and whatever fails: a step runs exactly if all that it
// requires has succeeded, only after it, and as often as its failures ask for.
func TestAnyGraphWithAnyFailures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "steps")
		p := workflows.Pipeline{Name: "p"}
		exits := map[string][]int{}
		for i := range n {
			step := workflows.Step{Name: fmt.Sprint("s", i), Attempts: rapid.IntRange(0, 3).Draw(t, "attempts")}
			for j := range i {
				if rapid.IntRange(0, 2).Draw(t, "depends") == 0 {
					step.DependsOn = append(step.DependsOn, fmt.Sprint("s", j))
				}
			}
			p.Steps = append(p.Steps, step)
			exits[step.Name] = rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 75, 75, 65}), 4, 4).Draw(t, "exits")
		}

		// What must become of each step, worked out one after the other.
		want := map[string]string{}
		succeeded := map[string]bool{}
		runPhase := workflows.Succeeded
		for i := range p.Steps {
			s := &p.Steps[i]
			ready := true
			for _, d := range s.Requires() {
				ready = ready && succeeded[d]
			}
			if !ready {
				want[s.Name] = "Omitted 0"
				continue
			}
			attempts := 1
			for exits[s.Name][attempts-1] == workflows.ExitTemporary && attempts < s.Attempts {
				attempts++
			}
			phase := workflows.Failed
			if exits[s.Name][attempts-1] == workflows.ExitOK {
				phase, succeeded[s.Name] = workflows.Succeeded, true
			} else {
				runPhase = workflows.Failed
			}
			want[s.Name] = fmt.Sprint(phase, " ", attempts)
		}

		var mu sync.Mutex
		ended := map[string]bool{}
		job := func(_ context.Context, a local.Args) error {
			mu.Lock()
			defer mu.Unlock()
			for i := range p.Steps {
				if p.Steps[i].Name != a.Step {
					continue
				}
				for _, d := range p.Steps[i].Requires() {
					if !ended[d] {
						t.Errorf("%s began before %s had succeeded", a.Step, d)
					}
				}
			}
			if code := exits[a.Step][a.Attempt-1]; code != workflows.ExitOK {
				return workflowstest.Exit(code)
			}
			ended[a.Step] = true
			return nil
		}
		s, err := local.New(local.Config{
			Jobs: jobs([]workflows.Pipeline{p}, job), Pipelines: []workflows.Pipeline{p}, Backoff: time.Nanosecond,
			Parallelism: rapid.IntRange(1, 4).Draw(t, "parallelism"),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Submit(context.Background(), workflows.Request{Pipeline: "p", RunID: "r"}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Wait(context.Background(), "r")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, record := range r.Steps {
			got[record.Step] = fmt.Sprint(record.Phase, " ", record.Attempts)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		if r.Phase != runPhase {
			t.Errorf("run is %s, want %s", r.Phase, runPhase)
		}
	})
}

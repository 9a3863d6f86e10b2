package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

func TestShippedPipelinesAreValid(t *testing.T) {
	got := map[string]string{}
	for _, p := range workflows.Pipelines() {
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		var order []string
		for i := range p.Steps {
			s := &p.Steps[i]
			name := s.Name
			if s.FanOut != "" {
				name += "*"
			}
			order = append(order, fmt.Sprintf("%s(%s)%v", name, s.JobName(), s.Requires()))
		}
		got[p.Name] = strings.Join(order, " ")
	}
	want := map[string]string{
		"collect": "collector(collector)[]",
		"train":   "dataset(dataset)[] trainer*(trainer)[dataset] commit(trainer)[trainer]",
		"infer":   "inference(inference)[]",
		"full":    "collector(collector)[] dataset(dataset)[collector] trainer*(trainer)[dataset] commit(trainer)[trainer] inference(inference)[commit]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of the steps (-want +got):\n%s", diff)
	}
}

func TestValidateNamesTheRuleThatIsBroken(t *testing.T) {
	step := func(name string) workflows.Step { return workflows.Step{Name: name} }
	for _, tt := range []struct {
		name string
		p    workflows.Pipeline
		want string
	}{
		{"a pipeline without a name", workflows.Pipeline{Steps: []workflows.Step{step("a")}},
			`pipeline: name must be 1 to 63 lower-case letters, digits and '-', but is ""`},
		{"a pipeline without steps", workflows.Pipeline{Name: "p"}, "pipeline p: must have at least one step"},
		{"a step's name that cannot be part of a Kubernetes name", workflows.Pipeline{Name: "p", Steps: []workflows.Step{step("a_b")}},
			`pipeline p: step 1: name must be 1 to 63 lower-case letters, digits and '-', but is "a_b"`},
		{"two steps of one name", workflows.Pipeline{Name: "p", Steps: []workflows.Step{step("a"), step("a")}},
			`pipeline p: step names must be unique, but "a" occurs twice`},
		{"a dependency that is not there", workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "a", DependsOn: []string{"b"}}}},
			`pipeline p: step "a" must refer to earlier steps, but refers to "b"`},
		{"a cycle", workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "a", DependsOn: []string{"b"}}, {Name: "b", DependsOn: []string{"a"}}}},
			`pipeline p: step "a" must refer to earlier steps, but refers to "b"`},
		{"a step that waits for itself", workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "a", DependsOn: []string{"a"}}}},
			`pipeline p: step "a" must refer to earlier steps, but refers to "a"`},
		{"a fan-out over a later step", workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "a", FanOut: "b"}, step("b")}},
			`pipeline p: step "a" must refer to earlier steps, but refers to "b"`},
		{"negative attempts", workflows.Pipeline{Name: "p", Steps: []workflows.Step{{Name: "a", Attempts: -1}}},
			`pipeline p: step "a": attempts must not be negative, but is -1`},
		{"two parameters of one name", workflows.Pipeline{Name: "p", Steps: []workflows.Step{step("a")}, Parameters: []workflows.Parameter{{Name: "n"}, {Name: "n"}}},
			`pipeline p: parameter must have a unique name of lower-case letters, digits and '-', but is "n"`},
		{"a parameter that no step is told of", workflows.Pipeline{Name: "p", Steps: []workflows.Step{step("a")}, Parameters: []workflows.Parameter{{Name: "n", Jobs: []string{"b"}}}},
			`pipeline p: parameter "n" must concern a step, but is for [b]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.p.Validate()
			if err == nil || err.Error() != tt.want || schemas.CodeOf(err) != schemas.CodeInvalidConfig {
				t.Errorf("Validate = %v (%s), want %s (%s)", err, schemas.CodeOf(err), tt.want, schemas.CodeInvalidConfig)
			}
		})
	}
}

func TestResolveFillsDefaultsAndRefusesTheUnknown(t *testing.T) {
	p := workflows.Pipeline{Name: "p", Parameters: []workflows.Parameter{{Name: "now"}, {Name: "scope", Default: "all"}, {Name: "days", Default: "28"}}}
	got, err := p.Resolve(map[string]string{"days": "7"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"scope": "all", "days": "7"}, got); diff != "" {
		t.Errorf("Resolve (-want +got):\n%s", diff)
	}
	if _, err := p.Resolve(map[string]string{"hours": "7"}); err == nil || err.Error() != `pipeline p: parameter must be one of [now scope days], but is "hours"` {
		t.Errorf("Resolve of an unknown parameter = %v", err)
	}
}

func TestAStepIsToldOfWhatConcernsIt(t *testing.T) {
	p := workflows.Full()
	values, err := p.Resolve(map[string]string{"now": "2026-01-01T00:00:00Z", "backfill": "336h"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		want := []string{"-now=2026-01-01T00:00:00Z"}
		if s.Name == "collector" {
			want = []string{"-backfill=336h", "-now=2026-01-01T00:00:00Z"}
		}
		if diff := cmp.Diff(want, p.Flags(s, values)); diff != "" {
			t.Errorf("flags of step %s (-want +got):\n%s", s.Name, diff)
		}
	}
}

func TestExitCodeTellsWhatIsWorthAnotherAttempt(t *testing.T) {
	killed := exec.CommandContext(t.Context(), "sh", "-c", "kill -KILL $$").Run()
	three := exec.CommandContext(t.Context(), "sh", "-c", "exit 3").Run()
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"success", nil, 0},
		{"a store that does not answer", schemas.Errorf(schemas.CodeUnavailable, "x"), 75},
		{"a wrapped code still counts", fmt.Errorf("load: %w", schemas.Errorf(schemas.CodeUnavailable, "x")), 75},
		{"somebody else was faster", schemas.Errorf(schemas.CodeConflict, "x"), 75},
		{"a deadline that passed", fmt.Errorf("get: %w", context.DeadlineExceeded), 75},
		{"a file that cannot be trusted", schemas.Errorf(schemas.CodeInvalidData, "x"), 65},
		{"a damaged object", schemas.Errorf(schemas.CodeCorrupt, "x"), 65},
		{"an input that is not there", schemas.Errorf(schemas.CodeNotFound, "x"), 65},
		{"a wrong flag", schemas.Errorf(schemas.CodeInvalidConfig, "x"), 78},
		{"an error without a code is a bug", errors.New("x"), 70},
		{"a child process says it itself", three, 3},
		{"a child process that was killed may live longer next time", killed, 75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := workflows.ExitCode(tt.err); got != tt.want {
				t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

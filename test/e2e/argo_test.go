//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// Whatever an operator does to runs with Argo's own tools, each run ends as it
// should and is committed once.
func TestArgo(t *testing.T) {
	t.Parallel()
	r := newRelease(t, newCluster(t))
	s := r.store(t)
	r.install(t, "controller.replicas=1", "api.enabled=false", "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true")
	end := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "seed", 10, end, series{"shop", "web", daily(.1, .4)}, series{"shop", "db", daily(.05, .1)})
	if got := commits(t, s, schemas.SamplesHead); !maps.Equal(got, map[string]int{"seed": 1}) {
		t.Fatalf("commits of samples are %v, want one of the run seed", got)
	}
	now := "now=" + end.Format(time.RFC3339)
	// one says that a run has committed models, and exactly once.
	one := func(t *testing.T, run string) {
		t.Helper()
		if n := commits(t, s, schemas.ModelsHead)[run]; n != 1 {
			t.Errorf("run %s has committed models %d times, want once", run, n)
		}
	}
	var first string
	if !t.Run("submit --from", func(t *testing.T) {
		first = r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-train", "--parameter=run-id=train-1", "--parameter="+now, "--output=name")
		r.ended(t, first, "Succeeded")
		one(t, "train-1")
		recorded(t, s, "train-1", workflows.Succeeded)
	}) {
		return
	}
	t.Run("resubmit makes nothing anew", func(t *testing.T) {
		before := manifests(t, s, "train-1")
		r.ended(t, r.argo(t, "resubmit", first, "--output=name"), "Succeeded")
		one(t, "train-1")
		if after := manifests(t, s, "train-1"); !slices.Equal(before, after) {
			t.Errorf("the run's manifests were %v and are now %v", before, after)
		}
	})
	t.Run("retry after the credentials were wrong", func(t *testing.T) {
		r.credentials(t, "s3://self-scaling/"+r.namespace+storeQuery, "wrong-wrong-wrong")
		defer r.mend(t)
		name := r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-train", "--parameter=run-id=train-2", "--parameter="+now, "--output=name")
		r.ended(t, name, "Failed")
		if n := commits(t, s, schemas.ModelsHead)["train-2"]; n != 0 {
			t.Errorf("a run that failed has committed models %d times", n)
		}
		r.mend(t)
		r.argo(t, "retry", name)
		r.ended(t, name, "Succeeded")
		one(t, "train-2")
		recorded(t, s, "train-2", workflows.Succeeded)
	})
	t.Run("resubmit --memoized goes on behind the steps that succeeded", func(t *testing.T) {
		// Named by nothing but its Workflow, and held between its first step and
		// its second.
		name := r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-train", "--parameter="+now, "--output=name")
		r.argo(t, "suspend", name)
		r.node(t, name, "dataset", "Succeeded")
		r.credentials(t, "s3://self-scaling/"+r.namespace+storeQuery, "wrong-wrong-wrong")
		defer r.mend(t)
		r.argo(t, "resume", name)
		r.ended(t, name, "Failed")
		r.mend(t)
		before := commits(t, s, schemas.ModelsHead)
		again := r.argo(t, "resubmit", "--memoized", name, "--output=name")
		r.ended(t, again, "Succeeded")
		r.node(t, again, "dataset", "Skipped")
		after := commits(t, s, schemas.ModelsHead)
		if n := after[name] + after[again]; n != 1 || len(after) != len(before)+1 {
			t.Errorf("models were committed by %v, and then by %v; want one commit more", before, after)
		}
	})
	t.Run("stop and terminate end a run that the store keeps waiting", func(t *testing.T) {
		r.credentials(t, "s3://self-scaling/"+r.namespace+"?endpoint=nowhere.argo:9000&insecure=true", storePassword)
		defer r.mend(t)
		for _, verb := range []string{"stop", "terminate"} {
			t.Run(verb, func(t *testing.T) {
				run := verb + "ped-1"
				name := r.submit(t, "infer", map[string]string{"run-id": run})
				r.node(t, name, "inference", "Running")
				r.api(t, "PUT", "workflows/"+r.namespace+"/"+name+"/"+verb, `{}`)
				r.ended(t, name, "Failed")
				if n := commits(t, s, schemas.ForecastsHead)[run]; n != 0 {
					t.Errorf("the run has committed %d times", n)
				}
			})
		}
	})
	t.Run("a page's form, the API, the command line and a schedule at the same time", func(t *testing.T) {
		const run = "infer-1"
		names := make([]string, 3)
		var started sync.WaitGroup
		for i, start := range []func() string{
			func() string { return r.submit(t, "infer", map[string]string{"run-id": run, "log-level": "debug"}) },
			func() string {
				return r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-infer", "--parameter=run-id="+run, "--output=name")
			},
			func() string {
				return r.argo(t, "submit", "--from=cronwf/"+r.name+"-infer", "--parameter=run-id="+run, "--output=name")
			},
		} {
			started.Go(func() { names[i] = start() })
		}
		started.Wait()
		for _, name := range names {
			r.ended(t, name, "Succeeded")
		}
		if n := commits(t, s, schemas.ForecastsHead)[run]; n != 1 {
			t.Errorf("run %s has committed %d times, want once", run, n)
		}
		t.Run("the API hands out what the steps logged", func(t *testing.T) {
			log := r.logs(t, names[0])
			if !strings.Contains(log, run) {
				t.Errorf("no line names the run:\n%s", log)
			}
		})
	})
	t.Run("a schedule is resumed and suspended", func(t *testing.T) {
		cron := "cronworkflow/" + r.name + "-infer"
		r.kubectl(t, "", "patch", cron, "--namespace="+r.namespace, "--type=merge", `--patch={"spec":{"schedules":["* * * * *"]}}`)
		r.api(t, "PUT", "cron-workflows/"+r.namespace+"/"+r.name+"-infer/resume", `{}`)
		var child string
		eventually(t, "the schedule starts a run", 3*time.Minute, func() error {
			// Those that were submitted from the schedule by hand have a run-id.
			out := r.get(t, "workflows", `{range .items[?(@.metadata.labels.workflows\.argoproj\.io/cron-workflow)]}{.metadata.name}={.spec.arguments.parameters[*].name}{"\n"}{end}`)
			for line := range strings.Lines(out) {
				if name, parameters, _ := strings.Cut(strings.TrimSpace(line), "="); !strings.Contains(parameters, "run-id") {
					child = name
					return nil
				}
			}
			return errors.New("none yet: " + out)
		})
		r.api(t, "PUT", "cron-workflows/"+r.namespace+"/"+r.name+"-infer/suspend", `{}`)
		if got := r.get(t, cron, "{.spec.suspend}"); got != "true" {
			t.Errorf("spec.suspend is %q, want true", got)
		}
		r.ended(t, child, "Succeeded")
		at := r.get(t, "workflow/"+child, `{.metadata.annotations.workflows\.argoproj\.io/scheduled-time}`)
		run := "infer-" + strings.NewReplacer(":", "", "+", "_").Replace(at)
		if n := commits(t, s, schemas.ForecastsHead)[run]; n != 1 {
			t.Errorf("run %s has committed %d times, want once: %v", run, n, commits(t, s, schemas.ForecastsHead))
		}
		r.argo(t, "resubmit", child, "--wait")
		if n := commits(t, s, schemas.ForecastsHead)[run]; n != 1 {
			t.Errorf("resubmitted, run %s has committed %d times, want once", run, n)
		}
	})
}

// recorded holds the record of a run, which its exit handler keeps, to a phase.
func recorded(t *testing.T, s *artifact.Store, run string, want workflows.Phase) {
	t.Helper()
	got, err := record.NewReader(s).Get(t.Context(), run)
	if err != nil || got.Phase != want {
		t.Errorf("the record of run %s says %q (error %v), want %s", run, got.Phase, err, want)
	}
}

// manifests lists what the steps of a run have committed. The record of its end is none
// of them: each time that the run ends has its own.
func manifests(t *testing.T, s *artifact.Store, run string) []string {
	t.Helper()
	all, err := s.Manifests(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	var sums []string
	for _, m := range all {
		if m.Step == record.StepName {
			continue
		}
		sums = append(sums, m.Step+"/"+m.Shard+"@"+m.Sum)
	}
	return sums
}

// mend gives the release its right store back.
func (r *release) mend(t *testing.T) {
	t.Helper()
	r.credentials(t, "s3://self-scaling/"+r.namespace+storeQuery, storePassword)
}

// argo runs Argo's command line.
func (r *release) argo(t *testing.T, command string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(r.must(t, "argo", append([]string{command, "--namespace=" + r.namespace}, args...)...))
}

// ended waits until a Workflow has the phase that it must end with.
func (r *release) ended(t *testing.T, name, phase string) {
	t.Helper()
	r.phase(t, r.namespace, "workflow/"+name, phase, 5*time.Minute)
}

// node waits until a node that a template made has a phase.
func (r *release) node(t *testing.T, workflow, template, phase string) {
	t.Helper()
	eventually(t, fmt.Sprintf("node %s of %s is %s", template, workflow, phase), 3*time.Minute, func() error {
		out, err := r.try(t.Context(), "", "get", "workflow", workflow, "--namespace="+r.namespace,
			`--output=jsonpath={range .status.nodes.*}{.templateName}={.phase} {end}`)
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(out), template+"="+phase) {
			return errors.New("nodes are " + out)
		}
		return nil
	})
}

// api asks the Argo server, as its page does, and returns the answer.
func (c cluster) api(t *testing.T, method, path, body string) string {
	t.Helper()
	verb := map[string]string{"GET": "get", "POST": "create", "PUT": "replace"}[method]
	args := []string{verb, "--raw=/api/v1/namespaces/argo/services/argo-server:2746/proxy/api/v1/" + path}
	if method != "GET" {
		args = append(args, "--filename=-")
	}
	return c.kubectl(t, body, args...)
}

// submit makes a run of a pipeline as the page's form does, and returns its name.
func (r *release) submit(t *testing.T, pipeline string, parameters map[string]string) string {
	t.Helper()
	var set []string
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		set = append(set, name+"="+parameters[name])
	}
	body, err := json.Marshal(map[string]any{
		"resourceKind": "WorkflowTemplate", "resourceName": r.name + "-" + pipeline,
		"submitOptions": map[string]any{"parameters": set},
	})
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Metadata struct{ Name string } }
	if err := json.Unmarshal([]byte(r.api(t, "POST", "workflows/"+r.namespace+"/submit", string(body))), &made); err != nil || made.Metadata.Name == "" {
		t.Fatalf("the Argo server made no Workflow: %v", err)
	}
	return made.Metadata.Name
}

// logs returns what all steps of a Workflow have logged, through the Argo server.
func (r *release) logs(t *testing.T, workflow string) string {
	t.Helper()
	return r.api(t, "GET", "workflows/"+r.namespace+"/"+workflow+"/log?logOptions.container=main", "")
}

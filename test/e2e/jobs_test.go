//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/batch"
)

// Where there is no Argo Workflows, plain Jobs do the same: on schedule, to the end,
// and once.
func TestJobs(t *testing.T) {
	t.Parallel()
	r := newRelease(t, newCluster(t))
	s := r.store(t)
	end := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "seed", 10, end, series{"shop", "web", daily(.1, .4)}, series{"shop", "db", daily(.05, .1)})
	before := r.everything(t)
	r.install(t, "engine=jobs", "api.enabled=false", "controller.replicas=1", "schedules.collect.suspend=true",
		"schedules.train.cron={*/2 * * * *}", "schedules.infer.cron={* * * * *}")
	for _, want := range []struct {
		head schemas.Pipeline
		runs int
	}{{schemas.ModelsHead, 1}, {schemas.ForecastsHead, 2}} {
		eventually(t, fmt.Sprintf("%d scheduled runs have committed %s", want.runs, want.head), 8*time.Minute, func() error {
			if got := commits(t, s, want.head); len(got) < want.runs {
				return fmt.Errorf("commits are %v", got)
			}
			return nil
		})
		for run, n := range commits(t, s, want.head) {
			if n != 1 {
				t.Errorf("run %s has committed %s %d times, want once", run, want.head, n)
			}
		}
	}
	if out := r.get(t, "workflows", "{.items[*].metadata.name}"); out != "" {
		t.Errorf("there are Workflows: %s", out)
	}
	r.uninstall(t, before)
}

// People start the same runs: by the REST interface and by the command line, which
// know nothing of what runs them.
func TestJobsByHand(t *testing.T) {
	t.Parallel()
	r := newRelease(t, newCluster(t))
	r.deploy(t, workload{name: "web", cpu: fmt.Sprint(requestCores), hpas: 1, load: "-base=.01 -peak=.01"})
	end := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "seed", 10, end, series{"shop", "web", daily(.04, .06)})
	before := r.everything(t)
	r.install(t, "engine=jobs", "controller.replicas=1", "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true",
		"training.onDemand=false")
	token := r.operator(t)
	address, rest := r.forward(t, r.namespace, "service/"+r.name+"-api", 80), r.rest(t, token)
	web := wire.ComponentID{Namespace: r.namespace, Service: "shop", Component: "web"}

	t.Run("train by the command line", func(t *testing.T) {
		out, err := r.selfscale(t, address, token, "train", "--wait", "--output=json")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var run wire.Run
		if err := json.Unmarshal([]byte(out), &run); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		r.jobsRan(t, &run)
		want := []string{fmt.Sprintf("%s current=true components=1", run.ID)}
		eventually(t, "the REST interface has the models", time.Minute, func() error {
			var line []string
			for e, err := range rest.ModelLine(t.Context(), client.Query{}) {
				if err != nil {
					return err
				}
				line = append(line, fmt.Sprintf("%s current=%t components=%d", e.Run, e.Current, e.Components))
			}
			if !slices.Equal(line, want) {
				return fmt.Errorf("the line of models is %q, want %q", line, want)
			}
			return nil
		})
	})
	t.Run("infer by the REST interface, twice with one key", func(t *testing.T) {
		for range 2 {
			started, err := rest.Start(t.Context(), wire.RunRequest{Pipeline: "infer"}, "e2e-infer")
			if err != nil {
				t.Fatal(err)
			}
			run, err := rest.Follow(t.Context(), started.ID, func(*wire.Run) {})
			if err != nil {
				t.Fatal(err)
			}
			r.jobsRan(t, run)
		}
		if got := commits(t, r.store(t), schemas.ForecastsHead); len(got) != 1 {
			t.Errorf("the runs %v have committed forecasts, want one", got)
		}
	})
	t.Run("the forecast is there, and the floor", func(t *testing.T) {
		eventually(t, "the REST interface has the forecast", time.Minute, func() error {
			f, err := rest.Forecast(t.Context(), web, schemas.CPU)
			if err == nil && len(f.Values) < schemas.DefaultHorizon {
				err = fmt.Errorf("it has %d steps", len(f.Values))
			}
			return err
		})
		floor := r.get(t, "hpa/web-0", "{.spec.minReplicas}")
		if floor == "1" {
			t.Fatalf("minReplicas is 1; %+v", r.status(t, "web"))
		}
		out, err := r.selfscale(t, address, token, "explain", r.namespace+"/shop/web")
		if want := fmt.Sprintf("%d %% (HorizontalPodAutoscaler/web-0)", utilization); err != nil || !strings.Contains(out, "The floor is "+floor+": it is in force") || !strings.Contains(out, want) {
			t.Errorf("explain tells neither of the floor %s nor of %s: %v\n%s", floor, want, err, out)
		}
		t.Logf("FIGURE plain Jobs, by REST: minReplicas is %s, at the %d %% that the autoscaler wants", floor, utilization)
	})
	t.Run("a run is stopped", func(t *testing.T) {
		started, err := rest.Start(t.Context(), wire.RunRequest{Pipeline: "full"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rest.Stop(t.Context(), started.ID); err != nil {
			t.Fatal(err)
		}
		run, err := rest.Follow(t.Context(), started.ID, func(*wire.Run) {})
		if err != nil || run.Phase != workflows.Stopped {
			t.Errorf("run %+v, %v; want it Stopped", run, err)
		}
	})
	if out := r.get(t, "workflows", "{.items[*].metadata.name}"); out != "" {
		t.Errorf("there are Workflows: %s", out)
	}
	before = append(before, "serviceaccount/operator") // which is ours
	r.uninstall(t, before)
	if got := r.get(t, "hpa/web-0", "{.spec.minReplicas}"); got != "1" {
		t.Errorf("minReplicas is %s after the uninstallation, want 1", got)
	}
}

// jobsRan fails the test unless a run has ended well, each of its steps in a Job that
// is complete.
func (r *release) jobsRan(t *testing.T, run *wire.Run) {
	t.Helper()
	if run.Phase != workflows.Succeeded {
		t.Fatalf("run %s is %s: %s", run.ID, run.Phase, run.Message)
	}
	steps := map[string]bool{}
	for _, s := range run.Steps {
		steps[s.Step] = true
	}
	var jobs struct {
		Items []struct {
			Metadata struct{ Labels map[string]string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	// As the submitter names the ConfigMap that stands for the run.
	list := r.kubectl(t, "", "get", "jobs", "--namespace="+r.namespace, "--selector="+batch.LabelRun+"="+workflows.ObjectName(run.ID, 24), "--output=json")
	if err := json.Unmarshal([]byte(list), &jobs); err != nil {
		t.Fatal(err)
	}
	var complete []string
	for _, j := range jobs.Items {
		for _, c := range j.Status.Conditions {
			if c.Type == "Complete" && c.Status == "True" {
				complete = append(complete, j.Metadata.Labels[batch.LabelStep])
			}
		}
	}
	for step := range steps {
		if !slices.Contains(complete, step) {
			t.Errorf("run %s: of its steps %v the Jobs of %v are complete", run.ID, steps, complete)
		}
	}
}

//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// Each part is killed while a run is in its midst. The run is committed once, nothing
// is stuck two minutes after the part is back, and meanwhile the user's autoscaler is
// as the user wrote it.
func TestFaults(t *testing.T) {
	c := newCluster(t)
	if !c.own {
		t.Skip("kills parts of the cluster: make cluster")
	}
	const stuck = 2 * time.Minute
	outage, err := time.ParseDuration(cmp.Or(os.Getenv("OUTAGE"), "10m"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRelease(t, c)
	r.deploy(t, workload{name: "web", cpu: "100m", hpas: 1, load: "-base=.09 -peak=.09 -peers=web"})
	r.install(t, "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true")
	end := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "seed", 10, end, series{"shop", "web", daily(.05, .1)}, series{"shop", "db", daily(.05, .1)})
	unharmed := r.watchHPA(t, "web-0")
	harness := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "../cluster"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cluster %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// kill deletes pods at once, as when their node dies.
	kill := func(t *testing.T, namespace, selector string) {
		t.Helper()
		c.kubectl(t, "", "delete", "pods", "--namespace="+namespace, "--selector="+selector, "--grace-period=0", "--force", "--wait=false")
	}
	// killProgram deletes all pods of one of our programs.
	killProgram := func(t *testing.T, program string) {
		t.Helper()
		kill(t, r.namespace, "app.kubernetes.io/component="+program+",app.kubernetes.io/instance="+r.name)
		r.kubectl(t, "", "rollout", "status", "deployment/"+r.name+"-"+program, "--namespace="+r.namespace, "--timeout=3m")
	}
	// A run is made with Argo's command line, but for the API's own.
	const ofAPI = "API"
	token := r.operator(t)
	request := wire.RunRequest{Pipeline: "train", Parameters: map[string]string{"now": end.Format(time.RFC3339)}}
	for _, fault := range []struct {
		name string
		// strike harms the run of a Workflow, and returns once the part is back.
		strike func(t *testing.T, workflow string)
	}{
		{"controller", func(t *testing.T, _ string) { killProgram(t, "controller") }},
		{ofAPI, func(t *testing.T, workflow string) {
			killProgram(t, "api")
			// A client that heard no answer asks again.
			run, err := r.rest(t, token).Start(t.Context(), request, ofAPI)
			if err != nil || run.Workflow == nil || run.Workflow.Name != workflow {
				t.Fatalf("asked again, the API has the run %+v (error %v), want that of Workflow %s", run, err, workflow)
			}
		}},
		{"Argo's controller", func(t *testing.T, _ string) {
			kill(t, "argo", "app=workflow-controller")
			c.kubectl(t, "", "rollout", "status", "deployment/workflow-controller", "--namespace=argo", "--timeout=3m")
		}},
		{"a trainer", func(t *testing.T, workflow string) {
			kill(t, r.namespace, "workflows.argoproj.io/workflow="+workflow+",self-scaling.github.io/step=trainer")
		}},
		{"kubelet", func(t *testing.T, _ string) {
			harness("kill", "kubelet")
			eventually(t, "the node is missed", 3*time.Minute, func() error {
				out, err := c.try(t.Context(), "", "get", "nodes", `--output=jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}`)
				if err == nil && out == "True" {
					err = errors.New("the node is Ready")
				}
				return err
			})
			harness("node")
		}},
		{"MinIO", func(t *testing.T, _ string) {
			service := func(app string) {
				c.kubectl(t, "", "patch", "service/minio", "--namespace=argo", "--type=merge", `--patch={"spec":{"selector":{"app":"`+app+`"}}}`)
			}
			defer service("minio")
			service("nobody")                                          // no connection finds it
			killProcess(t, "/bin/minio", "server", "--quiet", "/data") // none that is open goes on
			wait(t, outage)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			run := "fault-" + strings.ToLower(strings.Map(func(x rune) rune {
				if x == ' ' || x == '\'' {
					return '-'
				}
				return x
			}, fault.name))
			var name string
			if fault.name == ofAPI {
				made, err := r.rest(t, token).Start(t.Context(), request, ofAPI)
				if err != nil || made.Workflow == nil {
					t.Fatalf("the API has started %+v (error %v), want a Workflow", made, err)
				}
				run, name = made.ID, made.Workflow.Name
			} else {
				name = r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-train", "--parameter=run-id="+run, "--parameter=now="+end.Format(time.RFC3339), "--output=name")
			}
			r.node(t, name, "trainer", "Running")
			fault.strike(t, name)
			back := time.Now()
			var phase string
			eventually(t, "the run has ended", stuck, func() error {
				if phase = r.get(t, "workflow/"+name, "{.status.phase}"); phase != "Succeeded" && phase != "Failed" && phase != "Error" {
					return fmt.Errorf("phase is %q", phase)
				}
				return nil
			})
			t.Logf("FIGURE %s killed: the run is %s %.0f s after its return", fault.name, phase, time.Since(back).Seconds())
			if phase != "Succeeded" { // an outage longer than all retries: a person, or the schedule, runs it again
				r.ended(t, r.argo(t, "resubmit", name, "--output=name"), "Succeeded")
			}
			if told, err := r.rest(t, token).Run(t.Context(), run); err != nil || told.Phase != workflows.Succeeded {
				t.Errorf("the API tells of the run %+v (error %v), want one that has succeeded", told, err)
			}
			s := r.store(t) // with a new connection: the old one may have died as well
			if n := commits(t, s, schemas.ModelsHead)[run]; n != 1 {
				t.Errorf("run %s has committed models %d times, want once", run, n)
			}
			for head, err := range s.Heads(t.Context(), schemas.ModelsHead) {
				if err == nil {
					err = s.VerifyHead(t.Context(), head)
				}
				if err != nil {
					t.Errorf("a commit is torn: %v", err)
				}
			}
			unharmed(t)
		})
	}
}

// rest returns a client of the REST interface, by a connection of its own.
func (r *release) rest(t *testing.T, token string) *client.Client {
	t.Helper()
	c, err := client.New("http://"+r.forward(t, r.namespace, "service/"+r.name+"-api", 80), client.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// killProcess ends the process on this machine that was started as argv. Kubernetes
// starts it again, on the same volumes.
func killProcess(t *testing.T, argv ...string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err != nil || string(data) != strings.Join(argv, "\x00")+"\x00" {
			continue // of a process that has ended, or another one
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process was started as %q", argv)
}

// wait lets an outage last. It waits for time because time is what it needs.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}

// watchHPA looks at a user's autoscaler until the test ends. The function returned
// says what has been wrong with it so far.
func (r *release) watchHPA(t *testing.T, name string) (report func(*testing.T)) {
	t.Helper()
	spec := func(ctx context.Context) (string, error) {
		return r.try(ctx, "", "get", "hpa/"+name, "--namespace="+r.namespace,
			"--output=jsonpath={.spec.scaleTargetRef} {.spec.maxReplicas} {.spec.metrics} {.spec.behavior}")
	}
	want, err := spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wrong []string
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			got, err := spec(ctx)
			if err == nil && got != want {
				mu.Lock()
				wrong = append(wrong, fmt.Sprintf("at %s it was %s, want %s", time.Now().Format(time.TimeOnly), got, want))
				mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return func(t *testing.T) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if len(wrong) > 0 {
			t.Errorf("the user's autoscaler was harmed: %s", strings.Join(wrong, "; "))
		}
		wrong = nil
		eventually(t, "the user's autoscaler scales", 3*time.Minute, func() error {
			out, err := r.try(t.Context(), "", "get", "hpa/"+name, "--namespace="+r.namespace,
				`--output=jsonpath={.status.conditions[?(@.type=="ScalingActive")].status}`)
			if err == nil && out != "True" {
				err = errors.New("ScalingActive is " + out)
			}
			return err
		})
	}
}

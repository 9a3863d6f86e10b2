//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An operator who has kubectl: from a first look to a floor, and why it is there. What
// the commands start are Argo Workflows, as everything else that runs.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	r := newRelease(t, c)
	w := workload{name: "web", cpu: fmt.Sprint(requestCores), hpas: 1, load: "-base=.01 -peak=.01"}
	r.kubectl(t, w.manifest(), "apply", "--namespace="+r.namespace, "--filename=-")
	now := time.Now().UTC().Truncate(15 * time.Minute)
	r.seed(t, "past", 10, now, series{"shop", "web", daily(.04, .06)})
	r.install(t, "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true", "controller.replicas=1")
	token := r.operator(t)
	k := r.plugin(t)
	component := r.namespace + "/shop/web"

	t.Run("doctor finds nothing that keeps it from working", func(t *testing.T) {
		out := k.must(t, "doctor", "--namespace="+r.namespace, "--watch-namespaces="+r.namespace)
		if !strings.Contains(out, "found, 3 of them can be scaled") {
			t.Errorf("doctor does not count the component, the controller and the API:\n%s", out)
		}
	})
	t.Run("services", func(t *testing.T) {
		eventually(t, "the component is found", 2*time.Minute, func() error {
			out, err := k.run(t, "services", "--output=json")
			if err != nil {
				return err
			}
			if !strings.Contains(out, `"web"`) || !strings.Contains(out, `"Shadow"`) {
				return fmt.Errorf("services are %s", out)
			}
			return nil
		})
	})
	t.Run("train", func(t *testing.T) {
		r.succeeded(t, k.must(t, "train", "--wait", "--output=json"))
	})
	t.Run("infer, while nothing may be written", func(t *testing.T) {
		r.succeeded(t, k.must(t, "infer", "--wait", "--output=json"))
		if got := r.get(t, "hpa/web-0", "{.spec.minReplicas}"); got != "1" {
			t.Errorf("minReplicas is %s in mode Shadow, want 1", got)
		}
	})
	t.Run("manage, and infer", func(t *testing.T) {
		k.must(t, "manage", "shop", "--namespace="+r.namespace, "--mode=Auto")
		r.succeeded(t, k.must(t, "infer", "--wait", "--output=json"))
		eventually(t, "a floor is applied", 2*time.Minute, func() error {
			if got := r.get(t, "hpa/web-0", "{.spec.minReplicas}"); got == "1" {
				return fmt.Errorf("minReplicas is 1; %+v", r.status(t, "web"))
			}
			return nil
		})
	})
	t.Run("it says why", func(t *testing.T) {
		floor := r.get(t, "hpa/web-0", "{.spec.minReplicas}")
		if out := k.must(t, "explain", component); !strings.Contains(out, floor) {
			t.Errorf("explain does not name the floor %s:\n%s", floor, out)
		}
		for _, command := range []string{"forecast", "history", "decisions"} {
			args := []string{"--output=json"}
			if command != "decisions" {
				args = append(args, component)
			}
			if out := k.must(t, command, args...); !strings.Contains(out, `"time": "20`) {
				t.Errorf("%s tells of no instant:\n%.2000s", command, out)
			}
		}
	})
	t.Run("what the original's clients ask", func(t *testing.T) {
		address := r.forward(t, r.namespace, "service/"+r.name+"-api", 80)
		for path, want := range map[string]string{
			"/v1/services":     `"serviceComponents":[{"name":"web","managed":true`,
			"/v1/train-values": `"History_data":"28"`,
			"/v1/train":        `"Train module executed successfully"`,
			"/v1/inference":    `"Infence complete sucessfully"`,
			"/v1/health":       `{"status":"healthy"}`,
		} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("GET %s answers %d %s, want 200 with %s", path, response.StatusCode, body, want)
			}
		}
	})
}

// succeeded fails the test unless a command's answer is a run that is over and well, which
// is a Workflow of that name.
func (r *release) succeeded(t *testing.T, answer string) {
	t.Helper()
	var run struct {
		ID, Phase string
		Workflow  struct{ Name string }
	}
	if err := json.Unmarshal([]byte(answer), &run); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	if run.Phase != "Succeeded" {
		t.Fatalf("run %s is %s: %s", run.ID, run.Phase, answer)
	}
	if got := r.get(t, "workflow/"+run.Workflow.Name, "{.status.phase}"); got != "Succeeded" {
		t.Errorf("Workflow %q of run %s is %q, want Succeeded", run.Workflow.Name, run.ID, got)
	}
}

// A plugin is `kubectl selfscale`, for one installation.
type plugin struct {
	*release
	path string
}

// plugin puts the command line where kubectl looks for it.
func (r *release) plugin(t *testing.T) plugin {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(selfscaleBinary(t), filepath.Join(dir, "kubectl-selfscale")); err != nil {
		t.Fatal(err)
	}
	return plugin{r, dir + string(os.PathListSeparator) + os.Getenv("PATH")}
}

func (p plugin) run(t *testing.T, command string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"selfscale", command}, args...)
	if command != "doctor" { // which asks the cluster alone
		args = append(args, "--installed-in="+p.namespace, "--account="+p.namespace+"/operator")
	}
	return p.output(exec.CommandContext(t.Context(), p.programs["kubectl"], args...), "PATH="+p.path)
}

func (p plugin) must(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := p.run(t, command, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

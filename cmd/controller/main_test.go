package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/record"
)

// call runs the program and returns its exit code and what it printed.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	var err programlog.Buffer // libraries may go on logging to it
	code = Main(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestWrongCommandLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no store", []string{"-namespace", "n"}, "controller: flags -store and -namespace must be given\n"},
		{"an unknown flag", []string{"-speed", "2"}, "controller: flag provided but not defined: -speed (-help lists the flags)\n"},
		{"a command that is none", []string{"uninstall"}, `controller: arguments must be flags, but there is "uninstall" (-help lists them)` + "\n"},
		{"an unknown log format", []string{"-log-format", "xml"}, `controller: flag -log-format must be text or json, but is "xml"` + "\n"},
		{"labels that are none", []string{"restore", "-labels", "x"}, "controller: flag -labels: label preset must be"},
		{"nowhere to remove from", []string{"restore", "-remove", "main"}, "controller: flag -remove needs the flag -namespace\n"},
		{"too little time", []string{"restore", "-timeout", "0s"}, "controller: flag -timeout must be at least 1s, but is 0s\n"},
		{"no such installation", []string{"-store", "file:///nowhere", "-namespace", "n", "-config", "/nowhere.yaml"}, "controller: installation: open /nowhere.yaml"},
		{"a report of no run", []string{"report", "-store", "file:///tmp/x", "-status", "Succeeded"}, "controller: "},
		{"a parameter without a value", []string{"report", "-parameter", "now"}, "controller: invalid value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := call(t, tt.args...)
			if code != workflows.ExitConfig || !strings.HasPrefix(stderr, tt.want) {
				t.Errorf("exit code %d with %q, want %d with %q", code, stderr, workflows.ExitConfig, tt.want)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	for args, want := range map[string]string{"-help": "controller restore [flags]", "restore -help": "It can be repeated", "report -help": "-failures"} {
		if code, stdout, _ := call(t, strings.Fields(args)...); code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d with %q, want 0 and %q", args, code, stdout, want)
		}
	}
}

func TestAReportIsKept(t *testing.T) {
	url := "file://" + t.TempDir()
	began := time.Now()
	// The run failed and was retried; the handler of its second end was run again.
	for _, status := range []string{"Failed", "Succeeded", "Succeeded"} {
		code, _, stderr := call(t, "report", "-store", url, "-log-format", "json", "-log-level", "info", "-run", "train-7", "-pipeline", "train", "-status", status,
			"-submitted", "2026-03-09T12:00:00Z", "-parameter", "now=2026-03-09T12:00:00Z", "-parameter", "backfill=")
		if code != 0 {
			t.Fatalf("exit code %d with %q", code, stderr)
		}
	}
	store, err := artifact.Open(t.Context(), url, drivers, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := record.NewReader(store).Get(t.Context(), "train-7")
	if err != nil {
		t.Fatal(err)
	}
	if r.Phase != workflows.Succeeded || r.Pipeline != "train" || r.Finished.Before(began) || r.Finished.After(time.Now()) || len(r.Parameters) != 1 {
		t.Errorf("record %+v, want that of train, which succeeded just now", r)
	}
}

// connected makes a server the one that KUBECONFIG names.
func connected(t *testing.T, server *clustertest.Server) {
	t.Helper()
	kubeconfig := t.TempDir() + "/config"
	if err := os.WriteFile(kubeconfig, []byte(server.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
}

func TestRestoreGivesEverythingBack(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	connected(t, server)
	server.Load("self-scaling", `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
  annotations:
    self-scaling.github.io/component: default/shop/web
    self-scaling.github.io/floor: "7"
    self-scaling.github.io/user-min-replicas: "2"
    self-scaling.github.io/expires: "2099-01-01T00:00:00Z"
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 7, maxReplicas: 9}
`)
	for _, want := range []string{"controller: 1 floors were given back\n", "controller: 0 floors were given back\n"} {
		code, stdout, stderr := call(t, "restore")
		if code != 0 || stdout != want {
			t.Fatalf("exit code %d with %q and %q, want 0 with %q", code, stdout, stderr, want)
		}
	}
	hpa := server.Get("horizontalpodautoscalers", "default", "web")
	spec := hpa.Object["spec"].(map[string]any)
	if spec["minReplicas"] != int64(2) || len(hpa.GetAnnotations()) != 0 {
		t.Errorf("minReplicas is %v with annotations %v, want the user's 2 and none", spec["minReplicas"], hpa.GetAnnotations())
	}
	server.Load("self-scaling", `apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: main-controller, namespace: scaling}
`)
	for _, want := range []string{"1 objects were removed", "0 objects were removed"} {
		code, stdout, stderr := call(t, "restore", "-namespace", "scaling", "-remove", "main")
		if want = "controller: " + want + "\ncontroller: 0 floors were given back\n"; code != 0 || stdout != want {
			t.Fatalf("exit code %d with %q and %q, want 0 with %q", code, stdout, stderr, want)
		}
	}
}

func TestFloorsAreGivenBackThoughSomethingCannotBeRemoved(t *testing.T) {
	server := clustertest.New(t, clustertest.Kinds()...)
	connected(t, server)
	server.Deny("delete", "leases")
	code, stdout, stderr := call(t, "restore", "-namespace", "scaling", "-remove", "main")
	if code != workflows.ExitConfig || stdout != "controller: 0 floors were given back\n" || !strings.Contains(stderr, "0 objects were removed, but not all: delete lease main-controller") {
		t.Errorf("exit code %d with %q and %q, want %d, floors given back and the cause", code, stdout, stderr, workflows.ExitConfig)
	}
}

func TestASlotIsLeftToItsCronWorkflow(t *testing.T) {
	for _, engine := range []installation.Engine{installation.Argo, installation.Jobs} {
		i := &installation.Installation{Engine: engine, Schedules: installation.Schedules{
			Collect: &installation.Schedule{Enabled: true, Cron: []string{"*/15 * * * *"}},
			Infer:   &installation.Schedule{Enabled: true, Cron: []string{"*/15 * * * *"}, Suspend: true},
		}}
		all, err := plans(i)
		if err != nil || len(all) != 2 || all[1].After != "collect" || !all[1].Suspend {
			t.Fatalf("%+v, %v", all, err)
		}
		if waits := all[0].Grace > 0; waits != (engine == installation.Argo) {
			t.Errorf("engine %s: grace %s", engine, all[0].Grace)
		}
	}
}

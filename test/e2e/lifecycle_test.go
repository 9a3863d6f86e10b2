//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files of testdata anew")

// Install, test, upgrade, roll back, uninstall: what was there before is there after,
// and nothing else but the definition of ScalingPolicy, which the chart keeps.
func TestLifecycle(t *testing.T) {
	r := newRelease(t, newCluster(t))
	w := workload{name: "web", cpu: "100m", hpas: 1, load: "-base=.01 -peak=.01"}
	r.kubectl(t, w.manifest(), "apply", "--namespace="+r.namespace, "--filename=-")
	eventually(t, "the workload runs", 2*time.Minute, func() error {
		if r.replicas(t, "web") != 1 {
			return errors.New("no Ready pod")
		}
		return nil
	})
	before, spec := r.everything(t), r.specs(t)
	// With the definition, as nearly every user has it; several tests share one.
	r.install(t, "crds.enabled=true")
	for _, object := range []string{"workflowtemplate/" + r.name + "-train", "cronworkflow/" + r.name + "-infer"} {
		r.get(t, object, "{.metadata.name}")
	}
	t.Run("helm test", func(t *testing.T) {
		r.helm(t, "test", r.name, "--timeout=3m", "--logs")
	})
	t.Run("discovery makes a policy in mode Shadow", func(t *testing.T) {
		eventually(t, "the service shop has a policy", 3*time.Minute, func() error {
			out := r.get(t, "scalingpolicies", `{range .items[*]}{.spec.service}={.spec.mode}{" "}{end}`)
			if !regexp.MustCompile(`(^| )shop=(Shadow)?( |$)`).MatchString(out) {
				return errors.New("policies are " + out)
			}
			return nil
		})
	})
	rights := r.rights(t)
	t.Run("every account may do what is written, and no more", func(t *testing.T) {
		golden(t, "testdata/rights.txt", rights)
	})
	t.Run("upgrade", func(t *testing.T) {
		r.upgrade(t, "crds.enabled=true", "schedules.infer.cron={*/5 * * * *}")
		if got := r.get(t, "cronworkflow/"+r.name+"-infer", "{.spec.schedules[0]}"); got != "*/5 * * * *" {
			t.Errorf("schedule is %q after the upgrade", got)
		}
	})
	t.Run("rollback", func(t *testing.T) {
		r.helm(t, "rollback", r.name, "1", "--wait", "--timeout=5m")
		if got := r.get(t, "cronworkflow/"+r.name+"-infer", "{.spec.schedules[0]}"); got != "*/15 * * * *" {
			t.Errorf("schedule is %q after the rollback", got)
		}
	})
	// In the midst of a run.
	r.node(t, r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-train", "--output=name"), "dataset", "Running")
	r.uninstall(t, before)
	if got := r.specs(t); got != spec {
		t.Errorf("the workload's specs were\n%s\nand are now\n%s", spec, got)
	}
}

// uninstall does what the chart's manual says, after which there must be nothing that
// was not there before.
func (r *release) uninstall(t *testing.T, before []string) {
	t.Helper()
	r.helm(t, "uninstall", r.name, "--timeout=10m")
	eventually(t, "nothing is left behind", 2*time.Minute, func() error {
		for _, object := range r.everything(t) {
			if !slices.Contains(before, object) {
				return errors.New("there is still " + object)
			}
		}
		return nil
	})
}

// Kinds that Kubernetes makes by itself, and policies, which belong to the user.
var passing = regexp.MustCompile(`^(events|events\.events\.k8s\.io|endpoints|endpointslices\.discovery\.k8s\.io|pods|pods\.metrics\.k8s\.io|replicasets\.apps|controllerrevisions\.apps|scalingpolicies\.self-scaling\.github\.io)$`)

// everything lists all objects of the release's namespace, and those of no namespace
// that belong to the chart.
func (r *release) everything(t *testing.T) []string {
	t.Helper()
	var all []string
	for kind := range strings.FieldsSeq(r.kubectl(t, "", "api-resources", "--namespaced", "--verbs=list", "--output=name")) {
		if passing.MatchString(kind) {
			continue
		}
		// A kind may go while we look: other tests bring their own.
		out, err := r.try(t.Context(), "", "get", kind, "--namespace="+r.namespace, "--ignore-not-found", "--output=name")
		if err != nil && !strings.Contains(err.Error(), "the server doesn't have a resource type") {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(out)...)
	}
	all = append(all, strings.Fields(r.kubectl(t, "", "get", "pods", "--namespace="+r.namespace, "--selector=app.kubernetes.io/part-of=self-scaling", "--ignore-not-found", "--output=name"))...)
	for _, kind := range []string{"clusterroles", "clusterrolebindings", "validatingadmissionpolicies", "priorityclasses"} {
		out := r.kubectl(t, "", "get", kind, "--selector=app.kubernetes.io/part-of=self-scaling", "--ignore-not-found",
			`--output=jsonpath={range .items[?(@.metadata.annotations.meta\.helm\.sh/release-namespace=="`+r.namespace+`")]}{.kind}/{.metadata.name} {end}`)
		all = append(all, strings.Fields(out)...)
	}
	return all
}

// specs returns the specs of all workloads and autoscalers of the release's
// namespace, as the server has them.
func (r *release) specs(t *testing.T) string {
	t.Helper()
	kinds := []string{"deployments", "statefulsets", "hpa"}
	for _, extra := range []string{"scaledobjects.keda.sh", "verticalpodautoscalers.autoscaling.k8s.io"} {
		if _, err := r.try(t.Context(), "", "get", extra, "--namespace="+r.namespace); err == nil {
			kinds = append(kinds, extra)
		}
	}
	return r.get(t, strings.Join(kinds, ","), `{range .items[*]}{.kind}/{.metadata.name} {.metadata.annotations} {.spec}{"\n"}{end}`)
}

// rights tells what each account of the release may do beyond what everybody may.
func (r *release) rights(t *testing.T) string {
	t.Helper()
	list := func(account string) []string {
		out := r.kubectl(t, "", "auth", "can-i", "--list", "--no-headers", "--namespace="+r.namespace, "--as=system:serviceaccount:"+r.namespace+":"+account)
		var lines []string
		for line := range strings.Lines(out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		slices.Sort(lines)
		return lines
	}
	everybody := list("default")
	var b strings.Builder
	for account := range strings.FieldsSeq(r.get(t, "serviceaccounts", "{.items[*].metadata.name}")) {
		if account == "default" {
			continue
		}
		fmt.Fprintf(&b, "%s\n", account)
		for _, line := range list(account) {
			if !slices.Contains(everybody, line) {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
	}
	return b.String()
}

// golden compares a text with a file, which -rewrite writes.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has\n%s\nbut it is\n%s", path, want, got)
	}
}

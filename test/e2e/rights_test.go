//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// What each account may do on a real API server is what test/chart holds the chart to
// offline. Nothing of these releases runs: their accounts see all namespaces.
func TestRights(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for name, values := range map[string][]string{
		"default":    nil,
		"jobs":       {"engine=jobs"},
		"standalone": {"mode=standalone", "standalone.persistence.existingClaim=none"}, // so that its pod waits for ever
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden, err := os.ReadFile("../chart/testdata/rights/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			r := newRelease(t, c)
			args := []string{r.name, chart, "--no-hooks", "--set-json=watchNamespaces=[]"}
			for _, v := range append(values, "crds.enabled=false", "controller.replicas=0", "api.replicas=0",
				"schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true") {
				args = append(args, "--set="+v)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
				defer cancel()
				if _, err := r.run(ctx, "", "helm", "uninstall", r.name, "--namespace="+r.namespace, "--no-hooks", "--ignore-not-found", "--timeout=2m"); err != nil {
					t.Error(err)
				}
			})
			r.helm(t, "install", args...)
			want := rightsOf(string(golden))
			delete(want, r.name+"-restore") // comes and goes with the hooks
			for _, rights := range want {
				reduce(rights)
			}
			got := map[string]map[string]bool{}
			for account := range strings.FieldsSeq(r.get(t, "serviceaccounts", "{.items[*].metadata.name}")) {
				if account == "default" {
					continue
				}
				got[account] = map[string]bool{}
				for where, namespace := range map[string]string{"everywhere": "kube-public", "scaling": r.namespace} {
					for right := range r.allowed(t, account, namespace) {
						got[account][where+" "+right] = true
					}
				}
				reduce(got[account])
				if len(got[account]) == 0 && want[account] == nil {
					delete(got, account) // nothing is written of who may do nothing
				}
			}
			n := 0
			for _, account := range slices.Sorted(maps.Keys(union(want, got))) {
				for _, right := range slices.Sorted(maps.Keys(union(want[account], got[account]))) {
					n++
					switch {
					case !got[account][right]:
						t.Errorf("%s may not %s, which is written of it", account, right)
					case !want[account][right]:
						t.Errorf("%s may %s, which is not written of it", account, right)
					}
				}
			}
			t.Logf("FIGURE %s: %d rights of %d accounts on the cluster, held against %d in the golden file", name, n, len(got), count(want))
		})
	}
}

// reduce drops what holds in the namespace of the release because it holds everywhere.
func reduce(rights map[string]bool) {
	for right := range maps.Clone(rights) {
		if rest, ok := strings.CutPrefix(right, "everywhere "); ok {
			delete(rights, "scaling "+rest)
		}
	}
}

func count(all map[string]map[string]bool) (n int) {
	for _, rights := range all {
		n += len(rights)
	}
	return n
}

// union has the keys of both.
func union[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, b)
	return out
}

// rightsOf reads a golden file of test/chart, whose lines are as
//
//	account: everywhere: apps/deployments/scale: get,patch
//	account: scaling: core/configmaps named a,b: get
//
// and returns the rights of each account, one for each verb: where, a verb, a resource
// as kubectl spells it, and a name.
func rightsOf(text string) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ": ", 3)
		account, where := parts[0], parts[1]
		if out[account] == nil {
			out[account] = map[string]bool{}
		}
		if parts[2] == "ClusterRole system:auth-delegator" { // of Kubernetes itself
			out[account][where+" create tokenreviews.authentication.k8s.io"] = true
			out[account][where+" create subjectaccessreviews.authorization.k8s.io"] = true
			continue
		}
		i := strings.LastIndex(parts[2], ": ")
		what, names, _ := strings.Cut(parts[2][:i], " named ")
		group, resource, _ := strings.Cut(what, "/")
		resource, sub, isSub := strings.Cut(resource, "/")
		if group != "core" {
			resource += "." + group
		}
		if isSub {
			resource += "/" + sub
		}
		for verb := range strings.SplitSeq(parts[2][i+2:], ",") {
			for name := range strings.SplitSeq(names, ",") {
				out[account][strings.TrimSpace(fmt.Sprintf("%s %s %s %s", where, verb, resource, name))] = true
			}
		}
	}
	return out
}

// listed is a line of kubectl auth can-i --list: resources, names and verbs.
var listed = regexp.MustCompile(`^(\S*) +\[([^]]*)\] +\[([^]]*)\] +\[([^]]*)\]$`)

// allowed returns what an account of the release may do in a namespace beyond what
// everybody may, spelled as by [rightsOf] but for where.
func (r *release) allowed(t *testing.T, account, namespace string) map[string]bool {
	t.Helper()
	list := func(account string) map[string]bool {
		out := map[string]bool{}
		for line := range strings.Lines(r.kubectl(t, "", "auth", "can-i", "--list", "--no-headers", "--namespace="+namespace, "--as=system:serviceaccount:"+r.namespace+":"+account)) {
			m := listed.FindStringSubmatch(strings.TrimRight(line, " \n"))
			if m == nil {
				t.Fatalf("kubectl says %q of %s", line, account)
			}
			names := strings.Fields(m[3])
			if len(names) == 0 {
				names = []string{""}
			}
			for _, verb := range strings.Fields(m[4]) {
				for _, name := range names {
					out[strings.TrimSpace(fmt.Sprintf("%s %s %s", verb, m[1]+strings.Join(strings.Fields(m[2]), ","), name))] = true
				}
			}
		}
		return out
	}
	everybody := list("default")
	all := list(account)
	maps.DeleteFunc(all, func(right string, _ bool) bool { return everybody[right] })
	return all
}

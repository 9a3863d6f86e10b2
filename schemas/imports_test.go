package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Dependencies point one way. This file holds the arrows: who may import which
// of our packages, who may import a heavy library, and which binaries may link
// one. It asks go list, whose answer go test does not track, so run it with
// -count=1 after moving an import (make lint does).

const module = "github.com/self-scaling/self-scaling"

// ours says which of our packages a package may import. The rule with the
// longest matching prefix holds; a package without a rule is a violation. A
// pattern ending in /... stands for the package and all below it. Packages
// within one internal tree are one thing and may import each other.
var ours = map[string][]string{
	"schemas":          {},
	"schemas/columnar": {"schemas"},
	"schemas/v1alpha1": {"schemas"}, // the CRD

	"workflows":          {"schemas"},
	"workflows/artifact": {"schemas", "workflows/artifact/..."},
	"workflows/record":   {"schemas", "workflows", "workflows/artifact"},
	// The submitters know pipelines and no step.
	"workflows/local":         {"schemas", "workflows"},
	"workflows/argo":          {"schemas", "workflows", "workflows/change"},
	"workflows/batch":         {"schemas", "workflows", "workflows/change"},
	"workflows/change":        {},
	"workflows/workflowstest": {"schemas", "workflows"},

	"jobs": {"schemas", "workflows", "workflows/artifact"},
	// What several steps read or write: tables on the store, and history files.
	"jobs/samples":   {"schemas", "schemas/columnar", "workflows/artifact"},
	"jobs/datasets":  {"schemas", "schemas/columnar", "workflows/artifact"},
	"jobs/models":    {"schemas", "workflows/artifact", "jobs/trainer/network"},
	"jobs/forecasts": {"schemas", "schemas/columnar", "workflows/artifact"},
	"jobs/history":   {"schemas", "schemas/columnar"},
	// What is special about a day, for the trainer and for inference alike.
	"jobs/calendar": {"schemas", "jobs/trainer/orderstat"},
	// Steps never import each other: they meet in the store.
	"jobs/collector": {"schemas", "schemas/columnar", "workflows/artifact", "jobs", "jobs/samples", "jobs/history", "jobs/collector/..."},
	"jobs/dataset":   {"schemas", "schemas/columnar", "workflows/artifact", "jobs", "jobs/samples", "jobs/datasets", "jobs/dataset/..."},
	"jobs/trainer":   {"schemas", "jobs/calendar", "schemas/columnar", "workflows/artifact", "jobs", "jobs/samples", "jobs/datasets", "jobs/models", "jobs/trainer/..."},
	"jobs/inference": {"schemas", "workflows/artifact", "jobs", "jobs/samples", "jobs/models", "jobs/forecasts", "jobs/inference/...", "controller/framework", "controller/framework/runtime"},
	// What both the trainer and inference compute: no store, no Gorgonia.
	"jobs/trainer/orderstat":           {},
	"jobs/trainer/ladder":              {"schemas"},
	"jobs/trainer/bank":                {"schemas", "jobs/trainer/orderstat"},
	"jobs/trainer/network":             {"schemas", "jobs/trainer/orderstat", "jobs/trainer/bank"},
	"jobs/trainer/pretrained":          {"jobs/trainer/network"},
	"jobs/trainer/pretrained/generate": {"schemas", "jobs/trainer", "jobs/trainer/pretrained/madeup", "controller/sim/traces"},
	"jobs/trainer/pretrained/madeup":   {},
	"jobs/trainer/hedge":               {"schemas", "jobs/trainer/bank", "jobs/trainer/network"},
	"jobs/trainer/fit":                 {"schemas", "jobs/trainer/orderstat", "jobs/trainer/bank", "jobs/trainer/network"},

	// The loop, over interfaces: no client of a cluster.
	"controller":              {"schemas", "workflows", "workflows/artifact", "workflows/record", "jobs/forecasts", "controller/schedule", "controller/ledger"},
	"controller/schedule":     {"schemas"},                                                           // arithmetic only
	"controller/installation": {"schemas", "workflows", "workflows/artifact", "controller/schedule"}, // what a chart tells programs
	// What was forecast against what came, read from the store.
	"controller/ledger":            {"schemas", "schemas/columnar", "workflows/artifact", "jobs/samples", "jobs/forecasts", "jobs/models"},
	"controller/framework":         {"schemas"},
	"controller/framework/runtime": {"schemas", "controller/framework", "controller/replicas"},
	"controller/plugins":           {"schemas", "controller/framework/...", "controller/replicas", "controller/plugins/...", "jobs/trainer/bank", "jobs/trainer/ladder"},
	// The plugins that learn use the arithmetic of the trainer, not the step.
	"controller/plugins/learned": {"schemas", "controller/framework", "controller/framework/runtime", "jobs/trainer/ladder", "jobs/trainer/orderstat", "jobs/trainer/bank", "jobs/trainer/network", "jobs/trainer/hedge"},
	"controller/plugins/almanac": {"schemas", "controller/framework", "jobs/calendar"},
	"controller/replicas":        {"schemas"}, // arithmetic only
	"controller/cluster":         {"schemas", "schemas/v1alpha1", "controller/framework", "controller/plugins/manifest", "jobs/collector", "controller/cluster/..."},
	// The loop's view of a cluster.
	"controller/cluster/oversight": {"schemas", "schemas/v1alpha1", "controller", "controller/cluster/..."},
	"controller/sim":               {"schemas", "controller/framework", "controller/replicas", "jobs/collector", "controller/sim/..."},
	"controller/sim/hpa":           {}, // arithmetic only
	"controller/sim/traces":        {"schemas", "controller/sim/traces"},

	"api/listen":   {"schemas"},
	"api":          {"schemas", "workflows", "api/wire", "api/view", "api/access"},
	"api/apitest":  {"schemas", "schemas/columnar", "workflows/...", "jobs/...", "api/..."}, // a server with everything, for tests
	"api/access":   {"schemas", "api/access"},
	"api/rollback": {"workflows/artifact", "jobs/models", "api/wire"},
	"api/view":     {"schemas", "schemas/columnar", "workflows/artifact", "jobs/samples", "jobs/models", "jobs/forecasts", "api/wire"}, // what steps left in the store
	"api/wire":     {"schemas", "workflows"},                                                                                           // the shapes, for whoever calls the API

	// Mains, and what needs more than one package, choose implementations;
	// nothing imports them.
	"cmd":  {"..."},
	"test": {"..."},
}

// heavy says which of our packages may import a library that costs memory,
// build time or the freedom to change it later.
var heavy = map[string][]string{
	"gorgonia.org/":                        {"jobs/trainer/fit"},
	"github.com/apache/arrow/":             {"schemas/columnar/..."},
	"github.com/minio/":                    {"workflows/artifact/s3bucket", "test/..."},
	"github.com/argoproj/":                 {"workflows/argo", "test/..."},
	"k8s.io/client-go/":                    {"controller/cluster/...", "api/access/kubernetes", "workflows/argo", "workflows/batch", "test/..."},
	"k8s.io/metrics/":                      {"controller/cluster/...", "test/..."},
	"k8s.io/api/":                          {"controller/cluster/...", "controller/plugins/manifest", "controller/installation", "api/access/kubernetes", "cmd/...", "workflows/argo", "workflows/batch", "test/..."},
	"k8s.io/apimachinery/":                 {"schemas/v1alpha1", "controller/cluster/...", "api/access/kubernetes", "controller/plugins/manifest", "cmd/...", "workflows/argo", "workflows/batch", "workflows/change", "test/..."},
	"github.com/julienschmidt/httprouter/": {"api"},
	"github.com/danielgtaylor/huma/":       {"api"},
	"github.com/spf13/cobra/":              {"cmd/..."},
	"gonum.org/v1/plot/":                   {"cmd/selfscale/..."},
	"go.opentelemetry.io/":                 {"cmd/internal/tracing"},
	// What a handler needs to name the span that somebody else has begun.
	"go.opentelemetry.io/otel/trace/":     {"api", "cmd/internal/tracing"},
	"go.opentelemetry.io/otel/attribute/": {"api", "cmd/internal/tracing"},
}

// linked says which binaries may link a library, however deep the import lies.
var linked = map[string][]string{
	"gorgonia.org/gorgonia/": {"cmd/trainer", "cmd/selfscale"},
	"github.com/minio/":      {"cmd/collector", "cmd/dataset", "cmd/trainer", "cmd/inference", "cmd/controller", "cmd/api", "cmd/selfscale"},
	"k8s.io/client-go/":      {"cmd/collector", "cmd/inference", "cmd/controller", "cmd/api", "cmd/selfscale"},
	// The types of everything, see controller/cluster/clientset: not for the steps.
	"k8s.io/client-go/kubernetes/": {"cmd/controller", "cmd/api", "cmd/selfscale"},
	"github.com/argoproj/":         {"cmd/controller", "cmd/api"},
	"gonum.org/v1/plot/":           {"cmd/selfscale"},
	// Who starts runs, and the steps, which belong to the trace of their run.
	"go.opentelemetry.io/otel/exporters/": {"cmd/api", "cmd/selfscale", "cmd/controller", "cmd/collector", "cmd/dataset", "cmd/trainer", "cmd/inference"},
}

// pkg is what is used of go list's answer.
type pkg struct {
	ImportPath string
	Name       string
	Imports    []string
	Deps       []string
	Standard   bool
}

func TestImportsPointOneWay(t *testing.T) {
	for _, v := range violations(list(t)) {
		t.Error(v)
	}
}

func TestViolationsAreFound(t *testing.T) {
	const trainer, gorgonia, cobra = "jobs/trainer", "gorgonia.org/gorgonia", "github.com/spf13/cobra"
	for _, tt := range []struct {
		name    string
		from    pkg
		imports []string // ours are given without the module
		deps    []string
		want    []string
	}{
		{"schemas may import the standard library", pkg{ImportPath: "schemas"}, []string{"time"}, nil, nil},
		{"schemas must import nothing of ours", pkg{ImportPath: "schemas"}, []string{"workflows"}, nil,
			[]string{"schemas must not import workflows"}},
		{"steps must not import each other", pkg{ImportPath: "jobs/inference"}, []string{"jobs", trainer}, nil,
			[]string{"jobs/inference must not import jobs/trainer"}},
		{"a rule covers the packages below", pkg{ImportPath: "jobs/inference/forward"}, []string{trainer}, nil,
			[]string{"jobs/inference/forward must not import jobs/trainer"}},
		{"a prefix ends at a slash", pkg{ImportPath: "jobsuite"}, nil, nil,
			[]string{"jobsuite has no rule in schemas/imports_test.go"}},
		{"the local submitter must not know the steps", pkg{ImportPath: "workflows/local"}, []string{"workflows", "jobs/dataset"}, nil,
			[]string{"workflows/local must not import jobs/dataset"}},
		{"a main may import anything", pkg{ImportPath: "cmd/trainer", Name: "main"}, []string{trainer, "workflows/artifact/s3bucket", cobra}, nil, nil},
		{"nothing may import a main's folder", pkg{ImportPath: "api"}, []string{"cmd/selfscale/internal/plot"}, nil,
			[]string{"api must not import cmd/selfscale/internal/plot"}},
		{"inference must not import Gorgonia", pkg{ImportPath: "jobs/inference"}, []string{gorgonia}, nil,
			[]string{"jobs/inference must not import gorgonia.org/gorgonia"}},
		{"not even what the trainer computes may", pkg{ImportPath: "jobs/trainer/network"}, []string{gorgonia}, nil,
			[]string{"jobs/trainer/network must not import gorgonia.org/gorgonia"}},
		{"what fits the network may", pkg{ImportPath: "jobs/trainer/fit"}, []string{gorgonia}, nil, nil},
		{"a library's own packages count as the library", pkg{ImportPath: "workflows/artifact"}, []string{"github.com/minio/minio-go/v7/pkg/credentials"}, nil,
			[]string{"workflows/artifact must not import github.com/minio/minio-go/v7/pkg/credentials"}},
		{"inference must not even link Gorgonia", pkg{ImportPath: "cmd/inference", Name: "main"}, nil, []string{"gorgonia.org/gorgonia/ops/nn"},
			[]string{"cmd/inference must not link gorgonia.org/gorgonia/ops/nn"}},
		{"a step must not link what is larger than itself", pkg{ImportPath: "cmd/collector", Name: "main"}, nil, []string{"k8s.io/client-go/rest", "k8s.io/client-go/kubernetes/scheme"},
			[]string{"cmd/collector must not link k8s.io/client-go/kubernetes/scheme"}},
		{"the trainer may link it", pkg{ImportPath: "cmd/trainer", Name: "main"}, nil, []string{gorgonia}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.from
			p.ImportPath = module + "/" + p.ImportPath
			for _, path := range tt.imports {
				if !strings.Contains(path, ".") && path != "time" {
					path = module + "/" + path
				}
				p.Imports = append(p.Imports, path)
			}
			p.Deps = tt.deps
			if diff := cmp.Diff(tt.want, violations([]pkg{p})); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

// violations returns one sentence for each arrow that points the wrong way.
func violations(pkgs []pkg) []string {
	var found []string
	for _, p := range pkgs {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, ok := rule(from)
		if !ok {
			found = append(found, from+" has no rule in schemas/imports_test.go")
			continue
		}
		for _, path := range p.Imports {
			if to, isOurs := strings.CutPrefix(path, module+"/"); isOurs {
				if !matchesAny(allowed, to) && !sameInternal(from, to) {
					found = append(found, fmt.Sprintf("%s must not import %s", from, to))
				}
			} else if users, isHeavy := owner(heavy, path); isHeavy && !matchesAny(users, from) {
				found = append(found, fmt.Sprintf("%s must not import %s", from, path))
			}
		}
		if p.Name != "main" || !strings.HasPrefix(from, "cmd/") {
			continue
		}
		for _, path := range p.Deps {
			if users, isHeavy := owner(linked, path); isHeavy && !matchesAny(users, from) {
				found = append(found, fmt.Sprintf("%s must not link %s", from, path))
			}
		}
	}
	return found
}

// rule returns what a package may import, by the longest prefix in ours.
func rule(from string) ([]string, bool) {
	for p := from; p != "."; p = path.Dir(p) {
		if allowed, ok := ours[p]; ok {
			return allowed, true
		}
	}
	return nil, false
}

// owner returns the entry of a table whose library a path belongs to, of several
// the one with the longest name.
func owner(table map[string][]string, path string) ([]string, bool) {
	longest := ""
	for library := range table {
		if strings.HasPrefix(path+"/", library) && len(library) > len(longest) {
			longest = library
		}
	}
	return table[longest], longest != ""
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		tree, ok := strings.CutSuffix(pattern, "...")
		return pattern == path || ok && strings.HasPrefix(path+"/", tree)
	})
}

// sameInternal reports whether to lies in an internal folder that belongs to
// from's tree.
func sameInternal(from, to string) bool {
	tree, _, ok := strings.Cut(to, "/internal/")
	return ok && strings.HasPrefix(from+"/", tree+"/")
}

// list returns our packages.
func list(t *testing.T) []pkg {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not there to list packages")
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Imports,Deps,Standard", module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages, want the whole module", len(pkgs))
	}
	return pkgs
}

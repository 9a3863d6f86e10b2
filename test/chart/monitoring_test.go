package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/workflows/artifact/metered"
)

// collectors implement [prometheus.Registerer] by remembering what is registered.
type collectors []prometheus.Collector

func (c *collectors) Register(x prometheus.Collector) error {
	*c = append(*c, x)
	return nil
}

func (c *collectors) MustRegister(all ...prometheus.Collector) { *c = append(*c, all...) }

func (c *collectors) Unregister(prometheus.Collector) bool { return false }

// description is how client_golang spells one.
var description = regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: {([a-z,]*)}`)

// series returns the names of the metrics that our programs have, and the labels of
// each.
func series(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	all := &collectors{controller.NewMetrics(0)}
	apitest.New(t, nil, func(c *api.Config) { c.Metrics = all })
	metered.Drivers(nil, all)
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		for _, c := range *all {
			c.Describe(ch)
		}
	}()
	for d := range ch {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("description %s is not understood", d)
		}
		out[m[1]] = strings.Split(m[2], ",")
	}
	return out
}

// used matches a metric of ours with the labels that are asked of it, and those by
// which an aggregation groups.
var (
	used    = regexp.MustCompile(`\b(selfscaling_[a-z_]+)(?:{([^}]*)})?`)
	asked   = regexp.MustCompile(`\b([a-z]+)(?:=~|!~|!=|=)`)
	grouped = regexp.MustCompile(`by \(([a-z, ]+)\)`)
)

// checkExpression holds an expression to the metrics that there are.
func checkExpression(t *testing.T, where, expression string, known map[string][]string) {
	t.Helper()
	var have []string
	for _, m := range used.FindAllStringSubmatch(expression, -1) {
		name := m[1]
		if _, ok := known[name]; !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base := strings.TrimSuffix(name, suffix); known[base] != nil {
					name = base
					have = append(have, "le")
				}
			}
		}
		labels, ok := known[name]
		if !ok {
			t.Errorf("%s: metric %q is not one of ours", where, name)
			continue
		}
		have = append(have, labels...)
		for _, l := range asked.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("%s: metric %s has the labels %v, but not %q", where, name, labels, l[1])
			}
		}
	}
	for _, m := range grouped.FindAllStringSubmatch(expression, -1) {
		for _, l := range strings.Split(m[1], ", ") {
			if !slices.Contains(have, l) {
				t.Errorf("%s: there is no label %q to group by in %s", where, l, expression)
			}
		}
	}
}

func TestAlertsAndDashboardAskForMetricsThatThereAre(t *testing.T) {
	known := series(t)
	objects := mustRender(t, installations["everything on"])
	n := 0

	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert, Expr         string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	convert(t, find(t, objects, "PrometheusRule", "self-scaling"), &rules)
	readme, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Spec.Groups {
		for _, r := range g.Rules {
			n++
			checkExpression(t, "alert "+r.Alert, r.Expr, known)
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("alert %s has the severity %q and the annotations %v, want a severity, a summary and a description", r.Alert, r.Labels["severity"], r.Annotations)
			}
			if !strings.HasSuffix(r.Annotations["runbook_url"], "/charts/self-scaling/README.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("alert %s: runbook_url is %q, want the alert's heading in the chart's README.md", r.Alert, r.Annotations["runbook_url"])
			}
			if !strings.Contains(string(readme), "\n### "+r.Alert+"\n") {
				t.Errorf("alert %s has no heading in the chart's README.md", r.Alert)
			}
		}
	}

	text, _, err := unstructured.NestedString(find(t, objects, "ConfigMap", "self-scaling-dashboard").Object, "data", "self-scaling.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	for i, p := range dashboard.Panels {
		for _, target := range p.Targets {
			n++
			checkExpression(t, "panel "+p.Title, target.Expr, known)
		}
		for _, q := range dashboard.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if p.ID == q.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("the panels %q and %q lie on each other", p.Title, q.Title)
			}
		}
	}
	for _, v := range dashboard.Templating.List {
		checkExpression(t, "variable "+v.Name, v.Query, known)
	}
	if n < 20 {
		t.Errorf("only %d expressions were looked at", n)
	}
}

func convert(t *testing.T, o *unstructured.Unstructured, into any) {
	t.Helper()
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", id(o), err)
	}
}

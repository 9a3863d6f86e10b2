package chart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// others are values that are as good as the chart's own, for those of which no other is
// found by turning or counting up.
var others = map[string]string{
	"mode": "standalone", "engine": "jobs", "fullnameOverride": "other", "commonLabels": "{team: a}",
	"image.pullPolicy": "Always", "backfill": "24h", "store.url": "s3://other", "prometheus.url": "http://other:9090",
	"global.imagePullSecrets": "[other]", "discovery.labels": "[recommended]", "discovery.scalables": "[{group: a.example, resource: b}]",
	"watchNamespaces": "[other]", "calendars": "[{configMap: other}]", "timeZones": "[{zone: Europe/Madrid}]",
	"schedules.timezone": "Europe/Madrid", "networkPolicy.ingressFrom": "[{podSelector: {}}]",
	"api.service.type": "NodePort", "metrics.serviceMonitor.interval": "7s", "api.argoUI": "https://argo.example",
	"standalone.persistence.size": "7Gi", "tracing.endpoint": "http://other:4318",
	"ingress.hosts": "[other.example]", "ingress.tls": "[{secretName: other, hosts: [other.example]}]", "ingress.from": "[{podSelector: {}}]",
}

// otherByName are such values by the last part of their name.
var otherByName = map[string]string{
	"tag": "v7", "digest": "sha256:" + strings.Repeat("7", 64), "args": "[-other]", "nodeSelector": "{other: a}", "tolerations": "[{key: other, operator: Exists}]",
	"annotations": "{other: a}", "labels": "{other: a}", "cpu": "7m", "memory": "7Mi", "interval": "7h", "runs": "777h", "grace": "77h", "cron": `["7 7 * * *"]`,
}

// bases are what a value is changed in: one of them shows what it does.
var bases = []string{"", installations["everything on"], `{engine: jobs}`, `{mode: standalone, networkPolicy: {enabled: true}}`, `{prometheus: {url: "http://prometheus:9090"}, networkPolicy: {enabled: true}}`}

// leaves lists the values that have no values within.
func leaves(path string, value any, visit func(path string, value any)) {
	if fields, ok := value.(map[string]any); ok && len(fields) > 0 && path != "metrics.dashboard.labels" {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			leaves(strings.TrimPrefix(path+"."+name, "."), fields[name], visit)
		}
		return
	}
	visit(path, value)
}

// otherThan returns a value that is not the one given, in YAML.
func otherThan(t *testing.T, path string, value any) string {
	t.Helper()
	if v, ok := others[path]; ok {
		return v
	}
	switch v := value.(type) {
	case bool:
		return fmt.Sprint(!v)
	case float64:
		return fmt.Sprint(int64(v) + 1)
	}
	if v, ok := otherByName[path[strings.LastIndex(path, ".")+1:]]; ok {
		return v
	}
	if v, ok := value.([]any); ok && len(v) > 0 {
		if _, number := v[0].(float64); number {
			return "[7777]"
		}
	}
	if v, ok := value.(string); ok {
		return strings.Trim(strings.ToLower(v), "/") + "other"
	}
	t.Fatalf("values.%s: this test knows no other value than %v", path, value)
	return ""
}

// A value that changes nothing promises what it does not hold.
func TestEveryValueDoesSomething(t *testing.T) {
	// The rendering of a set of values, as text.
	text := func(values string) string {
		objects, notes, err := renderNow(t, release, namespace, values)
		if err != nil {
			return "refused: " + err.Error()
		}
		data, err := json.Marshal(objects)
		if err != nil {
			t.Fatal(err)
		}
		return string(data) + notes
	}
	before := map[string]string{}
	for _, base := range bases {
		before[base] = text(base)
	}
	n := 0
	leaves("", load(t).Values, func(path string, value any) {
		n++
		changed := otherThan(t, path, value)
		for _, base := range bases {
			var values map[string]any
			if err := yaml.Unmarshal([]byte(base), &values); err != nil {
				t.Fatal(err)
			}
			if values == nil {
				values = map[string]any{}
			}
			var other any
			if err := yaml.Unmarshal([]byte(changed), &other); err != nil {
				t.Fatalf("values.%s: %q: %v", path, changed, err)
			}
			names := strings.Split(path, ".")
			within := values
			for _, name := range names[:len(names)-1] {
				next, ok := within[name].(map[string]any)
				if !ok {
					next = map[string]any{}
					within[name] = next
				}
				within = next
			}
			within[names[len(names)-1]] = other
			data, err := yaml.Marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			after := text(string(data))
			if strings.HasPrefix(after, "refused: ") && strings.Contains(after, "don't meet the specifications") {
				t.Fatalf("values.%s: %s is refused: %s", path, changed, after)
			}
			if after != before[base] {
				return
			}
		}
		t.Errorf("values.%s: %s instead of %v changes nothing", path, changed, value)
	})
	if n < 150 {
		t.Errorf("only %d values were looked at", n)
	}
}

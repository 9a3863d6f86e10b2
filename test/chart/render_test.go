package chart_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	release   = "self-scaling"
	namespace = "scaling"
)

// Sets of values whose manifests must keep every rule.
var installations = map[string]string{
	"nothing given": ``,
	"everything on": `
controller: {priorityClassName: high, nodeSelector: {disk: ssd}, tolerations: [{key: a, operator: Exists}], args: ["-v=2"]}
calendars: [{ics: "BEGIN:VCALENDAR\nEND:VCALENDAR\n"}, {service: shop, kind: events, configMap: sales, key: autumn.ics}, {kind: holidays, configMap: holidays}]
timeZones: [{zone: Europe/Madrid}, {service: shop, zone: Asia/Tokyo}]
access: {audience: scaling.example.org}
api: {argoUI: "https://argo.example.org"}
networkPolicy: {enabled: true, ingressFrom: [{namespaceSelector: {}}]}
ingress: {enabled: true, className: nginx, annotations: {a.example/b: c}, hosts: [scaling.example.org], tls: [{secretName: scaling-tls, hosts: [scaling.example.org]}], from: [{namespaceSelector: {}}]}
tracing: {endpoint: "http://otel.observability:4318"}
metrics: {serviceMonitor: {enabled: true, labels: {team: a}}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}
global: {imageRegistry: mirror.example, imagePullSecrets: [pull]}
commonLabels: {team: a}
store: {url: "s3://b/p?endpoint=h:9000&ca=/etc/self-scaling/ca/ca.crt", existingCASecret: ca}
workflows: {nodeSelector: {disk: ssd}, tolerations: [{key: a, operator: Exists}], parallelism: 8}
`,
	"plain Jobs":       `{engine: jobs, store: {existingCASecret: ca}, calendars: [{kind: holidays, configMap: holidays}], timeZones: [{zone: Europe/Madrid}]}`,
	"standalone":       `{mode: standalone, calendars: [{kind: holidays, configMap: holidays}], timeZones: [{zone: Europe/Madrid}], access: {audience: scaling.example.org}, networkPolicy: {enabled: true}, ingress: {enabled: true, hosts: [a.example, b.example]}, tracing: {endpoint: "http://otel:4318"}, metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}}`,
	"two namespaces":   `{watchNamespaces: [shop, bank], discovery: {labels: [recommended, "team/app=team/part"], scalables: [{group: apps.kruise.io, resource: clonesets}]}}`,
	"accounts given":   `{collector: {serviceAccount: {name: mine}}, workflows: {serviceAccount: {name: mine}}, restore: {serviceAccount: {name: mine}}, rbac: {create: false}}`,
	"identity, no key": `{store: {credentials: false, url: "s3://b"}, collector: {serviceAccount: {annotations: {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}}}}`,
	"digests":          `{collector: {image: {digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}}`,
	"other schedules":  `{schedules: {timezone: Europe/Berlin, train: {cron: ["0 1 * * *", "0 13 * * *"], suspend: true}, collect: {enabled: false}}, workflows: {executorSecurityPatch: false}, fullnameOverride: a}`,
	"Prometheus":       `{prometheus: {url: "http://prometheus.monitoring:9090/x?y=z"}, backfill: 24h, controller: {enabled: false}, networkPolicy: {enabled: true, dns: false}}`,
	"nothing undone":   `{restore: {enabled: false}, tests: {enabled: false}, engine: jobs, prometheus: {url: "https://p"}}`,
	"no API":           `{api: {enabled: false}}`,
	"no CRD":           `{crds: {enabled: false}}`,
	"step settings":    `{trainer: {args: ["-epochs=3"], resources: {}, activeDeadlineSeconds: 7}, collector: {args: ["-retention=24h", "-backfill=1h"]}}`,
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render returns the manifests of a release as Helm makes them, and NOTES.txt.
func render(t *testing.T, values string) ([]*unstructured.Unstructured, string, error) {
	t.Helper()
	return renderAs(t, release, namespace, values)
}

// rendered remembers what has been rendered: most tests look at all installations.
var rendered = map[[3]string]rendering{}

type rendering struct {
	objects []*unstructured.Unstructured
	notes   string
	err     error
}

func renderAs(t *testing.T, release, namespace, values string) ([]*unstructured.Unstructured, string, error) {
	t.Helper()
	key := [3]string{release, namespace, values}
	r, ok := rendered[key]
	if !ok {
		r.objects, r.notes, r.err = renderNow(t, release, namespace, values)
		rendered[key] = r
	}
	var objects []*unstructured.Unstructured
	for _, o := range r.objects {
		objects = append(objects, o.DeepCopy())
	}
	return objects, r.notes, r.err
}

func renderNow(t *testing.T, release, namespace, values string) ([]*unstructured.Unstructured, string, error) {
	t.Helper()
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	c := load(t)
	capabilities := chartutil.DefaultCapabilities.Copy()
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	var objects []*unstructured.Unstructured
	notes := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			notes = files[name]
			continue
		}
		for reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(files[name]))); ; {
			doc, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var fields map[string]any
			// Strict: a key that stands twice is an error of the template.
			if err := yaml.UnmarshalStrict(doc, &fields); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			if len(bytes.TrimSpace(doc)) == 0 || len(fields) == 0 {
				continue
			}
			objects = append(objects, &unstructured.Unstructured{Object: fields})
		}
	}
	return objects, notes, nil
}

// each runs a test for the manifests of every installation.
func each(t *testing.T, test func(t *testing.T, objects []*unstructured.Unstructured)) {
	for _, name := range slices.Sorted(maps.Keys(installations)) {
		t.Run(name, func(t *testing.T) {
			objects, _, err := render(t, installations[name])
			if err != nil {
				t.Fatal(err)
			}
			test(t, objects)
		})
	}
}

func id(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

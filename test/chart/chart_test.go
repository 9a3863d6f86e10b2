package chart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	helmlint "helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestHelmLintHasNoComplaint(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(installations)) {
		t.Run(name, func(t *testing.T) {
			values := map[string]any{}
			if err := yaml.Unmarshal([]byte(installations[name]), &values); err != nil {
				t.Fatal(err)
			}
			for _, m := range helmlint.All(chartDir, values, namespace, true).Messages {
				if m.Severity > support.InfoSev {
					t.Error(m)
				}
			}
		})
	}
}

func TestValuesAreAcceptedOrRefused(t *testing.T) {
	for _, tt := range []struct {
		name, values string
		want         string // "" where the values are accepted
	}{
		{"nothing", ``, ""},
		{"a key that is misspelt", `{colector: {}}`, "colector"},
		{"a key within that is misspelt", `{schedules: {train: {crons: []}}}`, "crons"},
		{"a tag", `{image: {tag: v1.2.3}}`, ""},
		{"the tag latest", `{image: {tag: latest}}`, "tag"},
		{"the tag latest of one image", `{trainer: {image: {tag: latest}}}`, "tag"},
		{"a digest that is none", `{trainer: {image: {digest: abc}}}`, "digest"},
		{"an engine that is none", `{engine: cron}`, "engine"},
		{"a mode that is none", `{mode: local}`, "mode"},
		{"a schedule of two expressions", `{schedules: {train: {cron: ["0 1 * * *", "0 2 * * *"]}}}`, ""},
		{"a schedule that is no list", `{schedules: {train: {cron: "0 1 * * *"}}}`, "cron"},
		{"a schedule of six fields", `{schedules: {train: {cron: ["0 0 1 * * *"]}}}`, "cron"},
		{"no schedule at all", `{schedules: {train: {cron: []}}}`, "cron"},
		{"a URL with a password", `{store: {url: "s3://user:password@bucket"}}`, "url"},
		{"a URL of another scheme", `{store: {url: "http://bucket"}}`, "url"},
		{"no Secret", `{store: {existingSecret: ""}}`, "existingSecret"},
		{"a name of 37 characters", `{fullnameOverride: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}`, "fullnameOverride"},
		{"no parallelism", `{workflows: {parallelism: 0}}`, "parallelism"},
		{"a quantity that is none", `{trainer: {resources: {limits: {memory: much}}}}`, "memory"},
		{"an argument that is no flag", `{trainer: {args: [verbose]}}`, "args"},
		{"a namespace twice", `{watchNamespaces: [a, a]}`, "watchNamespaces"},
		{"jobs without the controller", `{engine: jobs, prometheus: {url: "http://p"}, controller: {enabled: false}}`, "engine jobs needs controller.enabled=true"},
		{"nobody who reads usage", `{controller: {enabled: false}}`, "controller.enabled=false needs prometheus.url"},
		{"Prometheus in the controller's place", `{controller: {enabled: false}, prometheus: {url: "http://prometheus:9090"}}`, ""},
		{"a URL of Prometheus with a password", `{prometheus: {url: "http://user:password@prometheus"}}`, "url"},
		{"a preset of labels that is none", `{discovery: {labels: [mine]}}`, "labels"},
		{"no labels at all", `{discovery: {labels: []}}`, "labels"},
		{"a pair of label keys", `{discovery: {labels: [recommended, team.example/app=team.example/part]}}`, ""},
		{"a backfill that is no duration", `{backfill: 4 weeks}`, "backfill"},
		{"a backfill of days", `{backfill: 28d}`, "backfill"},
		{"standalone and nothing else", `{mode: standalone}`, ""},
		{"the former opt-in to standalone", `{mode: standalone, standalone: {enabled: true}}`, "enabled"},
		{"no credentials and no URL", `{store: {credentials: false}}`, "store.url must be given"},
		{"a calendar from nowhere", `{calendars: [{kind: holidays}]}`, "calendars"},
		{"a calendar from two places", `{calendars: [{configMap: a, ics: "BEGIN:VCALENDAR"}]}`, "calendars"},
		{"a calendar's text that is none", `{calendars: [{ics: "2026-12-25"}]}`, "calendars"},
		{"a calendar of a kind that is none", `{calendars: [{configMap: a, kind: birthdays}]}`, "kind"},
		{"a key without a ConfigMap", `{calendars: [{ics: "BEGIN:VCALENDAR", key: a}]}`, "calendars"},
		{"a time zone without a name", `{timeZones: [{service: shop}]}`, "zone"},
		{"two time zones for all", `{timeZones: [{zone: Europe/Madrid}, {zone: Asia/Tokyo}]}`, "timeZones must give one zone for all other services, but gives Europe/Madrid and another"},
		{"a way in without a name", `{ingress: {enabled: true}}`, "ingress.hosts must name at least one host"},
		{"a way in to nothing", `{ingress: {enabled: true, hosts: [a.example]}, api: {enabled: false}}`, "ingress.enabled needs api.enabled=true"},
		{"a way in to a standalone pod", `{mode: standalone, ingress: {enabled: true, hosts: [a.example]}, api: {enabled: false}}`, ""},
		{"a host that is a URL", `{ingress: {enabled: true, hosts: ["https://a.example"]}}`, "hosts"},
		{"a certificate for nobody", `{ingress: {tls: [{secretName: a}]}}`, "tls"},
		{"an annotation that is no text", `{ingress: {annotations: {a: 1}}}`, "annotations"},
		{"a collector of traces with a password", `{tracing: {endpoint: "http://user:password@otel:4318"}}`, "endpoint"},
		{"a collector of traces that speaks gRPC", `{tracing: {endpoint: "otel:4317"}}`, "endpoint"},
		{"an audience with a space", `{access: {audience: "a b"}}`, "audience"},
		{"globals of a chart above", `{global: {theirs: 1}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := render(t, tt.values)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("render = %v, want %q", err, tt.want)
			}
		})
	}
}

// Every value that is documented must be known to the schema, and the other way
// round.
func TestTheSchemaKnowsExactlyTheValues(t *testing.T) {
	c := load(t)
	var schema map[string]any
	if err := json.Unmarshal(c.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	defs := schema["$defs"].(map[string]any)
	var compare func(path string, value any, s map[string]any)
	compare = func(path string, value any, s map[string]any) {
		if ref, ok := s["$ref"].(string); ok {
			s = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		properties, _ := s["properties"].(map[string]any)
		fields, ok := value.(map[string]any)
		if !ok || properties == nil {
			return
		}
		if s["additionalProperties"] != false && path != ".global" {
			t.Errorf("values%s: the schema lets in what it does not know", path)
		}
		got, want := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(properties))
		if path == ".trainer.resources" || strings.HasSuffix(path, ".resources") {
			return // what is not set there has no key
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("values%s (-schema +values.yaml):\n%s", path, diff)
		}
		for name, v := range fields {
			if p, ok := properties[name].(map[string]any); ok {
				compare(path+"."+name, v, p)
			}
		}
	}
	compare("", c.Values, schema)
}

// types are what each kind must decode into without a field left over.
var types = map[string]func() any{
	"ServiceAccount":           func() any { return &corev1.ServiceAccount{} },
	"ConfigMap":                func() any { return &corev1.ConfigMap{} },
	"Service":                  func() any { return &corev1.Service{} },
	"Pod":                      func() any { return &corev1.Pod{} },
	"Role":                     func() any { return &rbacv1.Role{} },
	"RoleBinding":              func() any { return &rbacv1.RoleBinding{} },
	"ClusterRole":              func() any { return &rbacv1.ClusterRole{} },
	"ClusterRoleBinding":       func() any { return &rbacv1.ClusterRoleBinding{} },
	"Deployment":               func() any { return &appsv1.Deployment{} },
	"StatefulSet":              func() any { return &appsv1.StatefulSet{} },
	"Job":                      func() any { return &batchv1.Job{} },
	"NetworkPolicy":            func() any { return &networkingv1.NetworkPolicy{} },
	"Ingress":                  func() any { return &networkingv1.Ingress{} },
	"PodDisruptionBudget":      func() any { return &policyv1.PodDisruptionBudget{} },
	"CustomResourceDefinition": func() any { return &apiextensionsv1.CustomResourceDefinition{} },
	"WorkflowTemplate":         func() any { return &wfv1.WorkflowTemplate{} },
	"CronWorkflow":             func() any { return &wfv1.CronWorkflow{} },
	// Prometheus' own types are not linked.
	"ServiceMonitor": func() any { return &map[string]any{} },
	"PrometheusRule": func() any { return &map[string]any{} },
}

func TestManifestsFitTheirTypes(t *testing.T) {
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		seen := map[string]bool{}
		for _, o := range objects {
			key := o.GetNamespace() + "/" + id(o)
			if seen[key] {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
			make, ok := types[o.GetKind()]
			if !ok {
				t.Errorf("%s has no type in this test", id(o))
				continue
			}
			data, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(data, make()); err != nil {
				t.Errorf("%s: %v", id(o), err)
			}
		}
	})
}

// pods returns the pods that an object leads to, by name. Those of Workflows have
// Argo's own containers in them and the patch for these applied.
func pods(t *testing.T, o *unstructured.Unstructured) map[string]corev1.PodTemplateSpec {
	t.Helper()
	decode := func(into any) {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
			t.Fatalf("%s: %v", id(o), err)
		}
	}
	switch o.GetKind() {
	case "Pod":
		var p corev1.Pod
		decode(&p)
		return map[string]corev1.PodTemplateSpec{id(o): {ObjectMeta: p.ObjectMeta, Spec: p.Spec}}
	case "Deployment":
		var d appsv1.Deployment
		decode(&d)
		return map[string]corev1.PodTemplateSpec{id(o): d.Spec.Template}
	case "StatefulSet":
		var s appsv1.StatefulSet
		decode(&s)
		return map[string]corev1.PodTemplateSpec{id(o): s.Spec.Template}
	case "Job":
		var j batchv1.Job
		decode(&j)
		return map[string]corev1.PodTemplateSpec{id(o): j.Spec.Template}
	case "WorkflowTemplate":
		var w wfv1.WorkflowTemplate
		decode(&w)
		out := map[string]corev1.PodTemplateSpec{}
		for _, template := range w.Spec.Templates {
			if template.Container == nil {
				continue
			}
			c := *template.Container
			c.Name = "main"
			spec := corev1.PodSpec{
				ServiceAccountName: template.ServiceAccountName, SecurityContext: w.Spec.SecurityContext, Volumes: w.Spec.Volumes,
				InitContainers: []corev1.Container{{Name: "init", Image: "argoexec:v3"}},
				Containers:     []corev1.Container{c, {Name: "wait", Image: "argoexec:v3"}},
			}
			if w.Spec.PodSpecPatch != "" {
				before, err := json.Marshal(spec)
				if err != nil {
					t.Fatal(err)
				}
				after, err := strategicpatch.StrategicMergePatch(before, []byte(w.Spec.PodSpecPatch), corev1.PodSpec{})
				if err != nil {
					t.Fatalf("%s: podSpecPatch: %v", id(o), err)
				}
				spec = corev1.PodSpec{}
				if err := json.Unmarshal(after, &spec); err != nil {
					t.Fatal(err)
				}
				if len(spec.Containers) != 2 || len(spec.InitContainers) != 1 {
					t.Errorf("%s: podSpecPatch adds containers", id(o))
				}
			}
			out[id(o)+" "+template.Name] = corev1.PodTemplateSpec{Spec: spec}
		}
		return out
	}
	return nil
}

func TestEveryPodKeepsTheStandardRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	n := 0
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		for _, o := range objects {
			for name, pod := range pods(t, o) {
				n++
				// Without the patch it is Argo's controller that sees to its own
				// containers.
				if patch, _, _ := unstructured.NestedString(o.Object, "spec", "podSpecPatch"); patch == "" && o.GetKind() == "WorkflowTemplate" {
					pod.Spec.InitContainers, pod.Spec.Containers = nil, pod.Spec.Containers[:1]
				}
				for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
					if !result.Allowed {
						t.Errorf("%s: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
					}
				}
			}
		}
	})
	if n < 50 {
		t.Errorf("only %d pods were looked at", n)
	}
}

func TestEveryContainerKeepsTheRules(t *testing.T) {
	named := regexp.MustCompile(`^[a-z0-9.-]+(/[a-z0-9._-]+)+(:[A-Za-z0-9][\w.-]*|@sha256:[0-9a-f]{64})$`)
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		for _, o := range objects {
			for name, pod := range pods(t, o) {
				if pod.Spec.ServiceAccountName == "" {
					t.Errorf("%s uses the namespace's default account", name)
				}
				for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
					if c.Name == "init" || c.Name == "wait" {
						continue // Argo's
					}
					if !named.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
						t.Errorf("%s: image %q must have a registry and a tag or digest, and not the tag latest", name, c.Image)
					}
					if len(c.Command) == 0 {
						t.Errorf("%s has no command", name)
					}
					if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
						t.Errorf("%s may write to its image", name)
					}
					if o.GetKind() != "WorkflowTemplate" && (c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero()) {
						t.Errorf("%s has no memory request and limit", name)
					}
					for _, arg := range c.Args {
						if strings.Contains(arg, "AWS_") {
							t.Errorf("%s: argument %q names a credential", name, arg)
						}
					}
					if o.GetKind() == "Deployment" || o.GetKind() == "StatefulSet" {
						if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil {
							t.Errorf("%s lacks a probe", name)
						}
					}
				}
			}
		}
	})
}

func TestReferencesLeadSomewhere(t *testing.T) {
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		have := map[string]bool{"ServiceAccount mine": true, "ClusterRole system:auth-delegator": true}
		for _, o := range objects {
			have[id(o)] = true
		}
		want := func(from, to string) {
			if !have[to] {
				t.Errorf("%s refers to %s, which is not there", from, to)
			}
		}
		for _, o := range objects {
			switch o.GetKind() {
			case "RoleBinding", "ClusterRoleBinding":
				ref := o.Object["roleRef"].(map[string]any)
				want(id(o), ref["kind"].(string)+" "+ref["name"].(string))
				for _, s := range o.Object["subjects"].([]any) {
					want(id(o), "ServiceAccount "+s.(map[string]any)["name"].(string))
				}
			case "CronWorkflow":
				name, _, _ := unstructured.NestedString(o.Object, "spec", "workflowSpec", "workflowTemplateRef", "name")
				want(id(o), "WorkflowTemplate "+name)
			case "WorkflowTemplate":
				name, _, _ := unstructured.NestedString(o.Object, "spec", "serviceAccountName")
				want(id(o), "ServiceAccount "+name)
			}
			for name, pod := range pods(t, o) {
				want(name, "ServiceAccount "+pod.Spec.ServiceAccountName)
				for _, v := range pod.Spec.Volumes {
					if v.ConfigMap != nil && (v.ConfigMap.Optional == nil || !*v.ConfigMap.Optional) {
						want(name, "ConfigMap "+v.ConfigMap.Name)
					}
				}
			}
		}
	})
}

// rights returns what each account may do, one line a rule, sorted.
func rights(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, o := range objects {
		if o.GetKind() == "Role" || o.GetKind() == "ClusterRole" {
			var r rbacv1.ClusterRole
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &r); err != nil {
				t.Fatal(err)
			}
			rules[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = r.Rules
		}
	}
	var lines []string
	for _, o := range objects {
		if o.GetKind() != "RoleBinding" && o.GetKind() != "ClusterRoleBinding" {
			continue
		}
		var b rbacv1.ClusterRoleBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &b); err != nil {
			t.Fatal(err)
		}
		where := o.GetNamespace()
		if where == "" {
			where = "everywhere"
		}
		role, ok := rules[b.RoleRef.Kind+" "+o.GetNamespace()+"/"+b.RoleRef.Name]
		if !ok {
			lines = append(lines, fmt.Sprintf("%s: %s: ClusterRole %s", b.Subjects[0].Name, where, b.RoleRef.Name))
		}
		for _, rule := range role {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					if group == "" {
						group = "core"
					}
					if len(rule.ResourceNames) > 0 {
						resource += " named " + strings.Join(rule.ResourceNames, ",")
					}
					lines = append(lines, fmt.Sprintf("%s: %s: %s/%s: %s", b.Subjects[0].Name, where, group, resource, strings.Join(rule.Verbs, ",")))
				}
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func TestRightsAreHeldByGoldenFiles(t *testing.T) {
	for _, tt := range []struct{ installation, file string }{
		{"nothing given", "default"}, {"no API", "no-api"}, {"everything on", "everything"}, {"plain Jobs", "jobs"}, {"two namespaces", "namespaces"}, {"standalone", "standalone"},
	} {
		t.Run(tt.installation, func(t *testing.T) {
			objects, _, err := render(t, installations[tt.installation])
			if err != nil {
				t.Fatal(err)
			}
			hold(t, filepath.Join("testdata", "rights", tt.file+".txt"), rights(t, objects))
		})
	}
}

func TestWhoHasPrometheusReadsNoUsageByItself(t *testing.T) {
	for _, values := range []string{"mode: cluster", "engine: jobs", "mode: standalone"} {
		for _, url := range []string{"", "http://prometheus:9090"} {
			objects := mustRender(t, fmt.Sprintf("%s\nprometheus: {url: %q}", values, url))
			if got := strings.Contains(rights(t, objects), "metrics.k8s.io"); got != (url == "") {
				t.Errorf("with %q and Prometheus at %q somebody may read the metrics API: %v", values, url, got)
			}
		}
	}
}

func TestNobodyMayDoEverything(t *testing.T) {
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		for line := range strings.Lines(rights(t, objects)) {
			_, right, _ := strings.Cut(strings.TrimSpace(line), ": ")
			where, what, _ := strings.Cut(right, ": ")
			if strings.Contains(what, "*") || strings.Contains(what, "cluster-admin") || strings.Contains(what, "secrets") ||
				strings.Contains(what, "core/pods: ") && strings.Contains(what, "create") || where == "everywhere" && strings.Contains(what, "batch/") {
				t.Errorf("%q is more than anybody needs", line)
			}
		}
	})
}

func TestNotesSayWhatToDoNext(t *testing.T) {
	for _, tt := range []struct {
		values string
		want   []string
	}{
		{``, []string{
			"create secret generic self-scaling-s3", "helm -n scaling test self-scaling", "workflowtemplate/self-scaling-full", "train: 5 0 * * * (Etc/UTC)",
			"Usage is read once a minute", "kubectl get scalingpolicies --all-namespaces", "Uninstalling gives every floor back and leaves the CustomResourceDefinition of ScalingPolicy with all policies, and what is in the store.",
		}},
		{`{access: {audience: ours}, rbac: {userRoles: {aggregate: false}}}`, []string{
			"kubectl -n scaling port-forward service/self-scaling-api 8080:80", "create token ACCOUNT --audience=ours", "The rights are in the ClusterRoles\nscaling-self-scaling-view and scaling-self-scaling-edit"}},
		{`{schedules: {train: {suspend: true}}, crds: {keep: false}, watchNamespaces: [shop]}`, []string{"train: off", "kubectl get scalingpolicies -n shop", "leaves what is in the store."}},
		{`{prometheus: {url: "http://prometheus:9090"}, controller: {enabled: false}, restore: {enabled: false}, tests: {enabled: false}}`, []string{
			"Usage comes from http://prometheus:9090, and of the past 672h", "The controller is off", "Floors stay as they are"}},
		{`{engine: jobs}`, []string{"Runs start by themselves"}},
		{installations["standalone"], []string{"rollout status statefulset self-scaling-standalone", "port-forward service/self-scaling-standalone 8080:80", "leaves the CustomResourceDefinition of ScalingPolicy with all policies, and the volume."}},
	} {
		_, notes, err := render(t, tt.values)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(notes, want) {
				t.Errorf("notes for %q lack %q:\n%s", tt.values, want, notes)
			}
		}
	}
}

func TestTheDefinitionStaysWhereItIsToldTo(t *testing.T) {
	for values, want := range map[string]string{``: "keep", `{crds: {keep: false}}`: ""} {
		objects, _, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		crd := find(t, objects, "CustomResourceDefinition", "scalingpolicies.self-scaling.github.io")
		if got := crd.GetAnnotations()["helm.sh/resource-policy"]; got != want {
			t.Errorf("with %q the policy is %q, want %q", values, got, want)
		}
	}
}

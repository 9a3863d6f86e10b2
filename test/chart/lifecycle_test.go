package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
)

// What happens to a release after it is installed: it is upgraded, rolled back and
// uninstalled.

const (
	hookAnnotation   = "helm.sh/hook"
	weightAnnotation = "helm.sh/hook-weight"
	deleteAnnotation = "helm.sh/hook-delete-policy"
)

// decode fills in a typed object.
func decode[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		t.Fatalf("%s: %v", id(o), err)
	}
	return into
}

// Kubernetes refuses a change of a selector, so that an upgrade, or the way back, would
// have to delete what it changes.
func TestSelectorsAreTheSameForEveryVersionAndAllValues(t *testing.T) {
	want := func(component string) map[string]string {
		return map[string]string{"app.kubernetes.io/part-of": "self-scaling", "app.kubernetes.io/instance": "self-scaling", "app.kubernetes.io/component": component}
	}
	for _, name := range []string{"nothing given", "everything on", "standalone", "plain Jobs"} {
		t.Run(name, func(t *testing.T) {
			for _, o := range mustRender(t, installations[name]) {
				var selector, template map[string]string
				switch o.GetKind() {
				case "Deployment":
					d := decode[appsv1.Deployment](t, o)
					selector, template = d.Spec.Selector.MatchLabels, d.Spec.Template.Labels
				case "StatefulSet":
					s := decode[appsv1.StatefulSet](t, o)
					selector, template = s.Spec.Selector.MatchLabels, s.Spec.Template.Labels
					for _, c := range s.Spec.VolumeClaimTemplates {
						if len(c.Labels) != 0 {
							t.Errorf("%s: the claim has the labels %v, which an upgrade could not change", id(o), c.Labels)
						}
					}
				default:
					continue
				}
				component := strings.TrimPrefix(o.GetName(), "self-scaling-")
				if diff := cmp.Diff(want(component), selector); diff != "" {
					t.Errorf("%s: selector (-want +got):\n%s", id(o), diff)
				}
				if !labels.SelectorFromSet(selector).Matches(labels.Set(template)) {
					t.Errorf("%s: the selector %v does not match the pods' labels %v", id(o), selector, template)
				}
			}
		})
	}
}

// Whatever else a release leaves, it leaves nobody's autoscaler changed: see what undoes
// the floors, and that it needs nothing that is gone by then.
func TestUninstallingGivesFloorsBackBeforeAndAfterTheRestGoes(t *testing.T) {
	for name, values := range installations {
		t.Run(name, func(t *testing.T) {
			objects := mustRender(t, values)
			hooks := map[string]*unstructured.Unstructured{}
			for _, o := range objects {
				if o.GetLabels()["app.kubernetes.io/component"] == "restore" {
					hooks[id(o)] = o
				}
			}
			if strings.Contains(values, "restore: {enabled: false}") {
				if len(hooks) != 0 {
					t.Errorf("there are the hooks %v, want none", slices.Sorted(maps.Keys(hooks)))
				}
				return
			}
			var account string
			weight := func(o *unstructured.Unstructured) int {
				w, err := strconv.Atoi(o.GetAnnotations()[weightAnnotation])
				if err != nil {
					t.Errorf("%s: weight: %v", id(o), err)
				}
				return w
			}
			for job, when := range map[string]string{"restore": "pre-delete", "remove": "post-delete"} {
				i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
					return o.GetKind() == "Job" && strings.HasSuffix(o.GetName(), "-"+job)
				})
				if i < 0 {
					t.Fatalf("there is no Job %s", job)
				}
				o := objects[i]
				j := decode[batchv1.Job](t, o)
				pod := j.Spec.Template.Spec
				account = pod.ServiceAccountName
				c := pod.Containers[0]
				if diff := cmp.Diff([]string{"/bin/controller"}, c.Command); diff != "" || c.Args[0] != "restore" {
					t.Errorf("the hook runs %v %v, want the controller's restore", c.Command, c.Args)
				}
				// A standalone installation makes nothing but its floors.
				removes := slices.ContainsFunc(c.Args, func(arg string) bool { return strings.HasPrefix(arg, "-remove=") })
				if want := job == "remove" && !strings.Contains(values, "mode: standalone"); removes != want {
					t.Errorf("%s: removes what the programs have made: %t, want %t", id(o), removes, want)
				}
				if j.Spec.ActiveDeadlineSeconds == nil || j.Spec.BackoffLimit == nil {
					t.Errorf("the hook has the deadline %v and the limit %v, want both", j.Spec.ActiveDeadlineSeconds, j.Spec.BackoffLimit)
				}
				if len(pod.Volumes) != 0 || len(c.Env) != 0 {
					t.Errorf("the hook needs the volumes %v and the variables %v, which may be gone", pod.Volumes, c.Env)
				}
				if got := o.GetAnnotations()[hookAnnotation]; got != when || weight(o) != 0 {
					t.Errorf("%s is the hook %q of weight %d, want %q of 0", id(o), got, weight(o), when)
				}
			}
			for _, h := range hooks {
				a := h.GetAnnotations()
				if !strings.Contains(a[hookAnnotation], "post-delete") && h.GetKind() != "Job" || a[deleteAnnotation] != "before-hook-creation,hook-succeeded" {
					t.Errorf("%s: annotations %v, want those of a hook that goes again", id(h), a)
				}
				if h.GetKind() != "Job" && weight(h) >= 0 {
					t.Errorf("%s has the weight %d, which comes after the Jobs that need it", id(h), weight(h))
				}
			}
			if !strings.Contains(values, "create: false") {
				want := "ServiceAccount " + account
				if hooks[want] == nil {
					t.Errorf("the hook's own objects are %v, want %s among them", slices.Sorted(maps.Keys(hooks)), want)
				}
			}
		})
	}
}

// Helm orders what it installs by kind; only a hook comes at another time. So that
// nothing else can be a hook by mistake, they are all named here.
func TestOnlyTestsAndRestoringAreHooks(t *testing.T) {
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		for _, o := range objects {
			hook := o.GetAnnotations()[hookAnnotation]
			component := o.GetLabels()["app.kubernetes.io/component"]
			want := map[string][]string{"test": {"test"}, "restore": {"pre-delete", "post-delete", "pre-delete,post-delete"}}[component]
			if want == nil {
				want = []string{""}
			}
			if !slices.Contains(want, hook) {
				t.Errorf("%s of %s is the hook %q, want one of %q", id(o), component, hook, want)
			}
		}
	})
}

// The names of all objects, so that two releases in two namespaces, or in one, do not
// meet: all but the definition of policies bear the release's name or namespace.
func TestTwoReleasesDoNotMeet(t *testing.T) {
	for _, values := range []string{`{crds: {enabled: false}}`, `{crds: {enabled: false}, watchNamespaces: [shop]}`, `{crds: {enabled: false}, engine: jobs}`, `{crds: {enabled: false}, mode: standalone}`} {
		seen := map[string]string{}
		for _, r := range []struct{ name, namespace string }{{"a", "one"}, {"b", "one"}, {"a", "two"}} {
			objects, _, err := renderAs(t, r.name, r.namespace, values)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				key := fmt.Sprintf("%s/%s", o.GetNamespace(), id(o))
				if other, ok := seen[key]; ok {
					t.Errorf("%s is of both %s and %s", key, other, r)
				}
				seen[key] = fmt.Sprint(r)
			}
		}
	}
}

// there is a cluster that holds one CustomResourceDefinition, for lookup.
type there struct{ client dynamic.Interface }

func (c there) GetClientFor(string, string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return c.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}), false, nil
}

func TestADefinitionThatIsSomebodyElsesIsLeftAlone(t *testing.T) {
	const crd = "scalingpolicies.self-scaling.github.io"
	for _, tt := range []struct {
		name        string
		annotations map[string]string // nil where there is none
		values      string
		owned       bool
		notes       string
	}{
		{"none is there", nil, ``, true, "leaves the CustomResourceDefinition"},
		{"its own of before", map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}, ``, true, "leaves the CustomResourceDefinition"},
		{"its own, not to be kept", map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}, `{crds: {keep: false}}`, true, "leaves what is in the store"},
		{"another release's", map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "elsewhere"}, ``, false, "is another release's, or nobody's"},
		{"nobody's", map[string]string{}, ``, false, "kubectl apply --server-side"},
		{"nobody's, and not wanted", map[string]string{}, `{crds: {enabled: false}}`, false, "leaves the CustomResourceDefinition"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
			if tt.annotations != nil {
				o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}}
				o.SetName(crd)
				o.SetAnnotations(tt.annotations)
				if err := client.Tracker().Add(o); err != nil {
					t.Fatal(err)
				}
			}
			given, err := chartutil.ReadValues([]byte(tt.values))
			if err != nil {
				t.Fatal(err)
			}
			c := load(t)
			all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: namespace}, chartutil.DefaultCapabilities)
			if err != nil {
				t.Fatal(err)
			}
			files, err := engine.RenderWithClientProvider(c, all, there{client})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(files["self-scaling/templates/crds.yaml"], crd); got != tt.owned {
				t.Errorf("the definition is the release's: %v, want %v", got, tt.owned)
			}
			if notes := files["self-scaling/templates/NOTES.txt"]; !strings.Contains(notes, tt.notes) {
				t.Errorf("notes lack %q:\n%s", tt.notes, notes)
			}
		})
	}
}

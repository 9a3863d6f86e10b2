package rights_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/self-scaling/self-scaling/controller/cluster/rights"
	"github.com/self-scaling/self-scaling/schemas"
)

// server is an API server that has some resources and answers every question with what
// allows says.
func server(allows func(authorizationv1.ResourceAttributes) bool, served ...string) *fake.Clientset {
	client := fake.NewClientset()
	lists := map[string]*metav1.APIResourceList{}
	discovery := client.Discovery().(*fakediscovery.FakeDiscovery)
	for _, s := range served { // as apps/v1:deployments/scale
		version, resource, _ := strings.Cut(s, ":")
		if lists[version] == nil {
			lists[version] = &metav1.APIResourceList{GroupVersion: version}
			discovery.Resources = append(discovery.Resources, lists[version])
		}
		lists[version].APIResources = append(lists[version].APIResources, metav1.APIResource{Name: resource})
	}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a ktesting.Action) (bool, runtime.Object, error) {
		review := a.(ktesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = allows(*review.Spec.ResourceAttributes)
		return true, review, nil
	})
	return client
}

func parse(t *testing.T, grants ...string) []rights.Grant {
	t.Helper()
	var out []rights.Grant
	for _, s := range grants {
		g, err := rights.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

func TestWhatAnAccountLacksIsSaidInWords(t *testing.T) {
	everything := []string{"v1:pods", "v1:configmaps", "apps/v1:deployments", "apps/v1:deployments/scale", "argoproj.io/v1alpha1:workflows"}
	for _, tt := range []struct {
		name   string
		grants []string
		served []string
		allows func(authorizationv1.ResourceAttributes) bool
		want   rights.Report
	}{
		{"nothing", []string{`=[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]`}, everything, nil, rights.Report{Checked: 2}},
		{"a verb", []string{`=[{"apiGroups":["apps"],"resources":["deployments","deployments/scale"],"verbs":["get","patch"]}]`}, everything,
			func(a authorizationv1.ResourceAttributes) bool { return a.Verb != "patch" || a.Subresource == "" },
			rights.Report{Checked: 4, Denied: []string{"patch deployments.apps/scale in all namespaces"}}},
		{"a right in one of two namespaces", []string{`shop=[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]`, `bank=[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]`}, everything,
			func(a authorizationv1.ResourceAttributes) bool { return a.Namespace == "shop" },
			rights.Report{Checked: 2, Denied: []string{"list pods in namespace bank"}}},
		{"an object by its name", []string{`scaling=[{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["train-values"],"verbs":["patch"]}]`}, everything,
			func(a authorizationv1.ResourceAttributes) bool { return a.Name != "train-values" },
			rights.Report{Checked: 1, Denied: []string{"patch configmaps train-values in namespace scaling"}}},
		{"a resource that the server does not have", []string{`scaling=[{"apiGroups":["argoproj.io"],"resources":["workflows","workflowtaskresults"],"verbs":["create"]}]`}, everything, nil,
			rights.Report{Checked: 2, Absent: []string{"argoproj.io/workflowtaskresults"}}},
		{"a group that the server does not have", []string{`=[{"apiGroups":["metrics.k8s.io"],"resources":["pods"],"verbs":["list"]}]`}, everything, nil,
			rights.Report{Checked: 1, Absent: []string{"metrics.k8s.io/pods"}}},
		{"what a cluster may have or not", []string{`=[{"apiGroups":["keda.sh"],"resources":["scaledobjects"],"verbs":["list"]},{"apiGroups":["autoscaling.k8s.io"],"resources":["verticalpodautoscalers"],"verbs":["list"]}]`}, everything, nil,
			rights.Report{Checked: 2}},
		{"the same twice", []string{`=[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]},{"apiGroups":[""],"resources":["pods"],"verbs":["list","get"]}]`}, everything, nil, rights.Report{Checked: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.allows == nil {
				tt.allows = func(authorizationv1.ResourceAttributes) bool { return true }
			}
			got, err := rights.Check(t.Context(), server(tt.allows, tt.served...), parse(t, tt.grants...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsNoFinding(t *testing.T) {
	client := server(func(authorizationv1.ResourceAttributes) bool { return true }, "v1:pods")
	client.PrependReactor("create", "selfsubjectaccessreviews", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := rights.Check(t.Context(), client, parse(t, `=[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]`))
	if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(err.Error(), "ask for the right to list pods in all namespaces") {
		t.Errorf("Check = %v, want %s that names the question", err, schemas.CodeUnavailable)
	}
}

func TestWhatIsNoGrantIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no rules", "scaling", "grant must be a namespace, '=' and the rules of a Role as JSON"},
		{"rules that are no list", `scaling={"verbs":[]}`, `grant in namespace "scaling": rules of a Role`},
		{"a field that rules do not have", `=[{"apigroup":[""]}]`, "unknown field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rights.Parse(tt.text); schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v, want %s with %q", err, schemas.CodeInvalidConfig, tt.want)
			}
		})
	}
}

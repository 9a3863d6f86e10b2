package doctor_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/doctor"
)

var now = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

var argo = []clustertest.Kind{
	{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"},
	{APIVersion: "argoproj.io/v1alpha1", Kind: "WorkflowTemplate", Resource: "workflowtemplates"},
	{APIVersion: "argoproj.io/v1alpha1", Kind: "CronWorkflow", Resource: "cronworkflows"},
	{APIVersion: "argoproj.io/v1alpha1", Kind: "WorkflowTaskResult", Resource: "workflowtaskresults"},
}

const whole = `apiVersion: v1
kind: Secret
metadata: {name: self-scaling-s3, namespace: release}
data: {STORE_URL: eA==, AWS_ACCESS_KEY_ID: eA==, AWS_SECRET_ACCESS_KEY: eA==}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: workflow-controller, namespace: argo}
status: {readyReplicas: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: self-scaling-controller, namespace: release, labels: {app.kubernetes.io/part-of: self-scaling}}
status: {readyReplicas: 2}
---
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: self-scaling-infer, namespace: release, creationTimestamp: "2026-03-01T00:00:00Z", labels: {app.kubernetes.io/part-of: self-scaling}}
spec: {suspend: false}
status: {lastScheduledTime: "2026-03-09T11:45:00Z"}
---
apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: {name: web-a, namespace: shop}
---
apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop, namespace: shop}
spec: {service: shop, mode: Auto}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, uid: web}
spec:
  replicas: 0
  selector: {matchLabels: {app.kubernetes.io/name: web}}
  template:
    metadata: {labels: {app.kubernetes.io/name: web}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 100m}}}]}
`

// examine returns the findings that are not ok, as "check verdict: message; remedy".
func examine(t *testing.T, kinds []clustertest.Kind, documents string, fail func(method, path string) *apierrors.StatusError) (ok int, rest []string) {
	t.Helper()
	server := clustertest.New(t, kinds...)
	server.Load("kubectl", documents)
	server.Fail = fail
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	err = doctor.Examine(t.Context(), client, doctor.Options{Namespace: "release", Now: now}, func(f doctor.Finding) {
		if f.Verdict == doctor.OK {
			ok++
			return
		}
		rest = append(rest, f.Check+" "+string(f.Verdict)+": "+f.Message+"; "+f.Remedy)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok, rest
}

func kinds() []clustertest.Kind {
	return append(append(clustertest.Kinds(), argo...), clustertest.Kind{APIVersion: "v1", Kind: "Secret", Resource: "secrets"})
}

// withAPI are the kinds of a cluster in which somebody asks for the API. Nobody has any
// right in it: an API server in memory leaves what a review asks unanswered.
func withAPI() []clustertest.Kind {
	return append(kinds(), clustertest.Kind{APIVersion: "v1", Kind: "Service", Resource: "services"},
		clustertest.Kind{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview", Resource: "selfsubjectaccessreviews"})
}

const api = `
---
apiVersion: v1
kind: Service
metadata:
  name: self-scaling-api
  namespace: release
  labels: {app.kubernetes.io/part-of: self-scaling, app.kubernetes.io/component: api}
spec:
  selector: {app.kubernetes.io/component: api}
  ports: [{name: http, port: 80, targetPort: http}]
`

const apiPod = `---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: release, labels: {app.kubernetes.io/component: api}}
spec: {containers: [{name: api, ports: [{name: http, containerPort: 8080}]}]}
status: {conditions: [{type: Ready, status: "True"}]}
`

func TestAWholeInstallationHasNoFindings(t *testing.T) {
	ok, rest := examine(t, kinds(), whole, nil)
	if diff := cmp.Diff([]string(nil), rest); diff != "" || ok != 10 {
		t.Errorf("%d checks are ok, want 10; the rest (-want +got):\n%s", ok, diff)
	}
}

func TestEveryLackIsNamedWithARemedy(t *testing.T) {
	without := func(kind string) string {
		var kept []string
		for _, doc := range strings.Split(whole, "\n---\n") {
			if !strings.Contains(doc, "kind: "+kind+"\n") {
				kept = append(kept, doc)
			}
		}
		return strings.Join(kept, "\n---\n")
	}
	for _, tt := range []struct {
		name      string
		kinds     []clustertest.Kind
		documents string
		want      []string // parts of the one finding
	}{
		{"no metrics of any pod", kinds(), without("PodMetrics"), []string{"metrics API warning:", "metrics-server"}},
		{"no Argo", append(clustertest.Kinds(), clustertest.Kind{APIVersion: "v1", Kind: "Secret", Resource: "secrets"}), without("CronWorkflow"),
			[]string{"Argo Workflows warning:", "does not serve workflows", "engine=jobs"}},
		{"Argo's resources without its controller", kinds(), strings.Replace(whole, "name: workflow-controller", "name: other", 1),
			[]string{"Argo Workflows warning:", "no Deployment workflow-controller"}},
		{"Argo's controller is down", kinds(), strings.Replace(whole, "status: {readyReplicas: 1}", "status: {}", 1),
			[]string{"Argo Workflows failure:", "argo/workflow-controller has no Ready pod", "describe deployment"}},
		{"no Secret", kinds(), without("Secret"), []string{"store credentials failure:", "no Secret release/self-scaling-s3", "create secret generic"}},
		{"a Secret without an entry", kinds(), strings.Replace(whole, "AWS_SECRET_ACCESS_KEY: eA==", "other: eA==", 1),
			[]string{"store credentials failure:", "lacks AWS_SECRET_ACCESS_KEY"}},
		{"the controller is down", kinds(), strings.Replace(whole, "status: {readyReplicas: 2}", "status: {}", 1),
			[]string{"installation failure:", "release/self-scaling-controller has no Ready pod"}},
		{"an API without a pod", withAPI(), whole + api, []string{"API failure:", "service release/self-scaling-api: none of its 0 pods is Ready", "get endpointslices,pods"}},
		{"an API that may not be reached", withAPI(), whole + api + apiPod, []string{"API warning:", "you may not forward ports", "create pods/portforward in namespace release"}},
		{"a schedule is suspended", kinds(), strings.Replace(whole, "suspend: false", "suspend: true", 1),
			[]string{"schedules warning:", "self-scaling-infer is suspended", "argo cron resume"}},
		{"a schedule stands still", kinds(), strings.Replace(whole, "2026-03-09T11:45:00Z", "2026-03-05T11:45:00Z", 1),
			[]string{"schedules failure:", "has not run since 2026-03-05T11:45:00Z"}},
		{"a policy that cannot be read", kinds(), strings.Replace(whole, "service: shop", "service: [shop]", 1),
			[]string{"ScalingPolicy failure:", "shop/shop", "kubectl edit"}},
		{"pods without requests", kinds(), strings.Replace(whole, "requests: {cpu: 100m}", "requests: {}", 1),
			[]string{"components warning: 1 found, 0 of them", "shop/web/web: its pods request neither cpu nor memory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, rest := examine(t, tt.kinds, tt.documents, nil)
			if len(rest) != 1 {
				t.Fatalf("%d findings, want 1: %q", len(rest), rest)
			}
			for _, part := range tt.want {
				if !strings.Contains(rest[0], part) {
					t.Errorf("finding is %q, want one with %q", rest[0], part)
				}
			}
		})
	}
}

func TestAServerThatIsAwayIsOneFinding(t *testing.T) {
	ok, rest := examine(t, kinds(), whole, func(string, string) *apierrors.StatusError {
		return apierrors.NewServiceUnavailable("down for maintenance")
	})
	if ok != 0 || len(rest) != 1 || !strings.Contains(rest[0], "Kubernetes failure: the API server does not answer") {
		t.Errorf("%d ok, findings %q; want the API server alone", ok, rest)
	}
}

func TestWhatMayNotBeReadIsNotGuessed(t *testing.T) {
	_, rest := examine(t, kinds(), whole, func(method, path string) *apierrors.StatusError {
		if method == http.MethodGet && strings.Contains(path, "/secrets/") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "self-scaling-s3", nil)
		}
		return nil
	})
	if len(rest) != 1 || !strings.HasPrefix(rest[0], "store credentials unknown:") || !strings.Contains(rest[0], "who may read") {
		t.Errorf("findings %q, want one that says that it is unknown", rest)
	}
}

package clusterservices_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/internal/clusterservices"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/schemas"
)

// workload is a Deployment of one component with a pod and an HPA.
func workload(service, component string) string {
	labels := fmt.Sprintf("{app: %[2]s, service: %[1]s, app.kubernetes.io/servicecomponent: %[2]s}", service, component)
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[2]s, namespace: prod, uid: %[2]s}
spec:
  replicas: 3
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: %[3]s}
    spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: %[2]s-0, namespace: prod, labels: %[3]s, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: %[2]s, uid: x, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
status: {phase: Running}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %[2]s, namespace: prod}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: %[2]s}, minReplicas: 2, maxReplicas: 8}
---
`, service, component, labels)
}

const policies = `apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop, namespace: prod}
spec:
  service: shop
  mode: Shadow
  ofALaterVersion: {kept: true}
  components:
  - {name: web, quantile: 90, leadTime: 90s}
`

func open(t *testing.T, documents ...string) (*clustertest.Server, *clusterservices.Services, *clocktesting.FakePassiveClock) {
	t.Helper()
	server := clustertest.New(t, clustertest.Kinds()...)
	server.Load("kubectl", strings.Join(documents, "\n---\n"))
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC))
	return server, clusterservices.New(client, "self-scaling", clusterservices.Options{Clock: clock}), clock
}

func ptr[T any](v T) *T { return &v }

func TestComponentsAreThoseOfTheCluster(t *testing.T) {
	_, s, _ := open(t, workload("shop", "web"), workload("pay", "api"), policies)
	got, err := s.Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	policy := schemas.DefaultPolicy()
	policy.MinReplicas, policy.MaxReplicas = 2, 8
	want := wire.Component{
		ID: wire.ComponentID{Namespace: "prod", Service: "pay", Component: "api"}, Policy: wire.NewPolicy(&policy),
		Target:     &wire.Target{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "api", Scalable: true},
		Autoscaler: "HorizontalPodAutoscaler/api", CurrentReplicas: ptr(int32(3)), Requests: map[string]float64{"cpu": 0.25},
	}
	if len(got) != 2 {
		t.Fatalf("there are %d components, want 2: %+v", len(got), got)
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("component (-want +got):\n%s", diff)
	}
	if p := got[1].Policy; p.Quantile != 0.9 || p.LeadTime != "1m30s" || p.Mode != schemas.Shadow {
		t.Errorf("shop/web has the policy %+v", p)
	}
}

func TestWorkloadsAreReadNowAndThen(t *testing.T) {
	server, s, clock := open(t, workload("shop", "web"))
	read := func() (requests, components int) {
		before := server.Requests()
		got, err := s.Components(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return server.Requests() - before, len(got)
	}
	first, _ := read()
	if again, _ := read(); again >= first || again > 2 {
		t.Errorf("asking again made %d requests, the first time %d", again, first)
	}
	server.Load("kubectl", workload("pay", "api"))
	if _, n := read(); n != 1 {
		t.Errorf("there are %d components before a minute is over", n)
	}
	clock.SetTime(clock.Now().Add(time.Minute))
	if _, n := read(); n != 2 {
		t.Errorf("there are %d components after a minute, want 2", n)
	}
}

func TestDiscoverFindsServicesNow(t *testing.T) {
	server, s, _ := open(t, workload("shop", "web"))
	if _, err := s.Components(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Load("kubectl", workload("pay", "api"))
	if err := s.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(server.List("scalingpolicies")); got != 2 {
		t.Errorf("there are %d policies, want one for each service", got)
	}
	if got, err := s.Components(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("there are %d components (%v)", len(got), err)
	}
}

func TestPolicyIsChangedInPlace(t *testing.T) {
	server, s, _ := open(t, workload("shop", "web"), workload("shop", "db"), policies)
	p, err := s.Policy(t.Context(), "prod", "shop")
	if err != nil {
		t.Fatal(err)
	}
	want := wire.ServicePolicy{
		Namespace: "prod", Service: "shop", Settings: wire.Settings{Mode: ptr(schemas.Shadow)},
		Components: map[string]wire.Settings{"web": {Quantile: ptr(int32(90)), LeadTime: ptr("1m30s")}},
	}
	if diff := cmp.Diff(want, p.ServicePolicy); diff != "" {
		t.Fatalf("policy (-want +got):\n%s", diff)
	}
	p.Settings.Mode = ptr(schemas.Auto)
	p.Components = map[string]wire.Settings{"db": {MinReplicas: ptr(int32(3))}, "web": {Mode: ptr(schemas.Off), Hold: ptr("10m")}}
	if err := s.Replace(t.Context(), []api.ServicePolicy{p}); err != nil {
		t.Fatal(err)
	}
	spec := server.Get("scalingpolicies", "prod", "shop").Object["spec"]
	wantSpec := map[string]any{
		"service": "shop", "mode": "Auto", "ofALaterVersion": map[string]any{"kept": true},
		"components": []any{
			map[string]any{"name": "web", "mode": "Off", "hold": "10m0s"},
			map[string]any{"name": "db", "minReplicas": int64(3)},
		},
	}
	if diff := cmp.Diff(wantSpec, spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if err := s.Replace(t.Context(), []api.ServicePolicy{p}); schemas.CodeOf(err) != schemas.CodeConflict {
		t.Errorf("a change of what is no longer there: %v", err)
	}
	got, err := s.Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Policy.MinReplicas != 3 || got[0].Policy.Mode != schemas.Auto || got[1].Policy.Mode != schemas.Off {
		t.Errorf("policies are %+v and %+v", got[0].Policy, got[1].Policy)
	}
}

func TestPolicyThatIsNotThereYetIsMade(t *testing.T) {
	server, s, _ := open(t, workload("Shop_1", "web"))
	all, err := s.Policies(t.Context())
	if err != nil || len(all) != 1 || all[0].Version != "" {
		t.Fatalf("policies are %+v (%v)", all, err)
	}
	all[0].Settings.Mode = ptr(schemas.Auto)
	if err := s.Replace(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	made := server.List("scalingpolicies")
	if len(made) != 1 || !strings.HasPrefix(made[0].GetName(), "shop-1-") {
		t.Fatalf("made are %v", made)
	}
	if err := s.Replace(t.Context(), all); schemas.CodeOf(err) != schemas.CodeConflict {
		t.Errorf("making it again: %v", err)
	}
}

func TestReplaceIsForAllOrNone(t *testing.T) {
	other := strings.NewReplacer("shop", "pay", "web", "api").Replace(policies)
	for _, tt := range []struct {
		name   string
		refuse int // the how manieth write is refused, dry runs included; 0 for none
		change func(p *api.ServicePolicy)
		code   schemas.Code
	}{
		{"a policy that the API server does not take", 2, nil, schemas.CodeInvalidConfig},
		{"an API server that refuses in the midst", 4, nil, schemas.CodeInvalidConfig},
		{"bounds that are not in order", 0, func(p *api.ServicePolicy) {
			p.Settings.MinReplicas, p.Settings.MaxReplicas = ptr(int32(6)), ptr(int32(4))
		}, schemas.CodeInvalidConfig},
		{"a duration that is none", 0, func(p *api.ServicePolicy) { p.Settings.Hold = ptr("soon") }, schemas.CodeInvalidConfig},
		{"another version", 0, func(p *api.ServicePolicy) { p.Version = "1" }, schemas.CodeConflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, s, _ := open(t, workload("shop", "web"), workload("pay", "api"), policies, other)
			all, err := s.Policies(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range all {
				all[i].Settings.Mode = ptr(schemas.Auto)
			}
			if tt.change != nil {
				tt.change(&all[1])
			}
			writes := 0
			server.Fail = func(method, path string) *apierrors.StatusError {
				if method != http.MethodPatch {
					return nil
				}
				if writes++; writes == tt.refuse {
					return apierrors.NewBadRequest("no")
				}
				return nil
			}
			err = s.Replace(t.Context(), all)
			if schemas.CodeOf(err) != tt.code {
				t.Errorf("returned %v, want %s", err, tt.code)
			}
			for _, o := range server.List("scalingpolicies") {
				spec := o.Object["spec"].(map[string]any)
				if spec["mode"] != "Shadow" {
					t.Errorf("%s has mode %v, want what it was", o.GetName(), spec["mode"])
				}
			}
		})
	}
}

func TestPolicyThatCannotBeCarriedOut(t *testing.T) {
	broken := strings.Replace(policies, "quantile: 90", "minReplicas: 9, maxReplicas: 3", 1)
	_, s, _ := open(t, workload("shop", "web"), broken)
	got, err := s.Components(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Policy.Mode != schemas.Shadow || !strings.Contains(got[0].PolicyError, "maxReplicas") {
		t.Errorf("component is %+v", got[0])
	}
}

func TestTrainValues(t *testing.T) {
	_, s, _ := open(t)
	if got, err := s.TrainValues(t.Context()); err != nil || got != (api.TrainValues{History: 28, Future: 1}) {
		t.Errorf("at first: %+v (%v)", got, err)
	}
	if err := s.SetTrainValues(t.Context(), api.TrainValues{History: 7, Future: 2}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.TrainValues(t.Context()); err != nil || got != (api.TrainValues{History: 7, Future: 2}) {
		t.Errorf("then: %+v (%v)", got, err)
	}
	if err := s.SetTrainValues(t.Context(), api.TrainValues{History: 1000, Future: 2}); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("too much: %v", err)
	}
}

func TestOutage(t *testing.T) {
	server, s, clock := open(t, workload("shop", "web"), policies)
	server.Refuse(http.StatusServiceUnavailable)
	_, err1 := s.Components(t.Context())
	_, err2 := s.Policies(t.Context())
	_, err3 := s.Policy(t.Context(), "prod", "shop")
	err4 := s.Replace(t.Context(), nil)
	err5 := s.Discover(t.Context())
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if schemas.CodeOf(err) != schemas.CodeUnavailable {
			t.Errorf("call %d returned %v", i+1, err)
		}
	}
	server.Mend()
	clock.SetTime(clock.Now().Add(time.Hour))
	if got, err := s.Components(t.Context()); err != nil || !slices.ContainsFunc(got, func(c wire.Component) bool { return c.ID.Component == "web" }) {
		t.Errorf("afterwards: %v (%v)", got, err)
	}
}

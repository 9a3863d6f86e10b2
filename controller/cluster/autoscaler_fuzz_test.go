package cluster

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/self-scaling/self-scaling/schemas"
)

// Whatever objects other people's controllers and webhooks leave in a cluster,
// reading them neither panics nor gives a number that no workload can have.
func FuzzAutoscaler(f *testing.F) {
	for _, seed := range []string{
		`{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"minReplicas":2,"maxReplicas":8,"metrics":[{"type":"Resource","resource":{"name":"cpu"}}]}}`,
		`{"metadata":{"annotations":{"self-scaling.github.io/floor":"5","self-scaling.github.io/user-min-replicas":"-9"}},"spec":{"scaleTargetRef":{"name":"web"},"minReplicas":5,"minReplicaCount":5}}`,
		`{"metadata":{"annotations":{"self-scaling.github.io/floor":"99999999999"},"ownerReferences":[{"kind":"ScaledObject","controller":true}],"managedFields":[{"manager":"argocd","fieldsV1":{"f:spec":{"f:minReplicas":{}}}}]},"spec":{"minReplicas":1e3}}`,
		`{"spec":{"targetRef":{"kind":"Deployment","name":"web"},"updatePolicy":{"updateMode":7},"resourcePolicy":{"containerPolicies":[null,{"controlledResources":["cpu",3]}]}}}`,
		`{"spec":{"triggers":[{"type":"cpu"},"x",{"resource":{"name":4}}],"scaleTargetRef":["web"]}}`,
		`{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":99999}}},{"type":"Resource","resource":[]}],"triggers":[{"type":"cpu","metricType":"Utilization","metadata":{"value":"-1"}},{"type":"memory","metricType":"Utilization","metadata":[]}]}}`,
		`{"spec":null,"metadata":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, resource := range []schema.GroupVersionResource{HPAResource, ScaledObjectResource, VPAResource} {
			var o unstructured.Unstructured
			if err := o.UnmarshalJSON(append([]byte(nil), data...)); err != nil {
				o.Object = nil
				if err := o.UnmarshalJSON([]byte(`{"apiVersion":"x/v1","kind":"X",` + string(data[min(1, len(data)):]))); err != nil {
					return
				}
			}
			s := &Autoscalers{byTarget: map[Ref][]*Autoscaler{}, vpas: map[Ref][]*unstructured.Unstructured{}}
			s.Add(resource, &o)
			target := Ref{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
			s.Owner(target, schemas.Requests{schemas.CPU: 1})
			for _, a := range s.All() {
				s.Owner(a.Target(), nil)
				if b := a.Bounds(); b.Min < 0 || b.Max < 0 || b.Max > schemas.MaxReplicas {
					t.Errorf("bounds %+v of %s", b, data)
				}
				for r, u := range a.Utilization(schemas.Requests{schemas.CPU: 1}) {
					if r != schemas.CPU && r != schemas.Memory || !(u > 0) || u > schemas.MaxUtilization {
						t.Errorf("%s utilization %v of %s", r, u, data)
					}
				}
			}
		}
	})
}

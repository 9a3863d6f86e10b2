package catalog_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/catalog"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

func deployment(service, name string) string {
	return strings.NewReplacer("SERVICE", service, "NAME", name).Replace(`apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, uid: uid-NAME}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME, service: SERVICE, app.kubernetes.io/servicecomponent: NAME}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 500m}}}]}
---
`)
}

func load(t *testing.T, kinds []clustertest.Kind, documents string) (*catalog.Catalog, string, error) {
	t.Helper()
	server := clustertest.New(t, kinds...)
	server.Load("kubectl", documents)
	client, err := cluster.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	c, err := catalog.Load(t.Context(), client, cluster.Scope{}, []string{"classic", "default"}, slog.New(slog.NewTextHandler(&log, nil)))
	return c, log.String(), err
}

func id(service, name string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: service, Component: name}
}

func TestWhatIsKnownOfAComponent(t *testing.T) {
	c, log, err := load(t, clustertest.Kinds(), deployment("shop", "web")+deployment("shop", "api")+deployment("bank", "teller")+deployment("old", "relic")+deployment("odd", "ball")+`
apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop, uid: policy}
spec: {service: shop, mode: Auto, components: [{name: web, profile: classic, maxReplicas: 3}, {name: api, minReplicas: 11}]}
---
apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: later}
spec: {service: odd, mode: Auto, maxReplicas: [1, 2]}
---
apiVersion: self-scaling.github.io/v1alpha1
kind: ScalingPolicy
metadata: {name: old}
spec: {service: old, mode: Auto, profile: fast}
`)
	if err != nil {
		t.Fatal(err)
	}
	describe := func(id schemas.ComponentID) string {
		p, target := c.Policy(id), c.Target(id)
		out := fmt.Sprintf("%s %d..%d, %s/%s", p.Mode, p.MinReplicas, p.MaxReplicas, target.Kind, target.Name)
		if s := c.Profile(id); s != "" {
			out += ", profile " + s
		}
		if r := c.Requests(id); r != nil {
			out += fmt.Sprintf(", requests %v", r[schemas.CPU])
		}
		if a := c.About(id); a != nil {
			out += fmt.Sprintf(", Events at %s/%s", a.Kind, a.Name)
		}
		if s := c.GiveBack(id); s != "" {
			out += ", give back: " + s
		}
		if err := c.Problem(id); err != nil {
			out += ", problem: " + err.Error()
		}
		return out
	}
	var got []string
	for _, id := range []schemas.ComponentID{id("shop", "web"), id("shop", "api"), id("bank", "teller"), id("old", "relic"), id("odd", "ball"), id("shop", "gone")} {
		line, _, _ := strings.Cut(id.String()+": "+describe(id), " Go struct field") // which its library words as it likes
		got = append(got, line)
	}
	want := []string{
		"default/shop/web: Auto 1..3, Deployment/web, profile classic, requests 0.5, Events at ScalingPolicy/shop",
		"default/shop/api: Shadow 1..10, Deployment/api, requests 0.5, Events at ScalingPolicy/shop, problem: ScalingPolicy default/shop: component api: maxReplicas must be from minReplicas (11) to 100000, but is 10",
		"default/bank/teller: Shadow 1..10, Deployment/teller, requests 0.5, Events at Deployment/teller, give back: the mode is Shadow",
		`default/old/relic: Shadow 1..10, Deployment/relic, requests 0.5, Events at ScalingPolicy/old, problem: ScalingPolicy default/old: component relic: profile must be one of classic, default, but is "fast"`,
		"default/odd/ball: Shadow 1..10, Deployment/ball, requests 0.5, Events at Deployment/ball, problem: ScalingPolicy default/later: json: cannot unmarshal array into",
		"default/shop/gone: Shadow 1..10, component/default/shop/gone, Events at ScalingPolicy/shop, give back: it is not in the cluster, or not in the namespaces that are watched",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("catalog (-want +got):\n%s", diff)
	}
	for _, want := range []string{"policy=default/later", "component=default/shop/api", "component=default/old/relic"} {
		if !strings.Contains(log, want) {
			t.Errorf("log %s, want %s in it", log, want)
		}
	}
	filter := c.Filter()
	for name, want := range map[string]framework.Code{"web": framework.Success, "api": framework.Rejected} {
		st := filter.Filter(t.Context(), nil, &framework.Candidate{Component: id("shop", name)})
		if st.Code() != want || want == framework.Rejected && st.Reason() != schemas.InvalidPolicy {
			t.Errorf("filter of %s: %s %s, want %s", name, st.Code(), st.Reason(), want)
		}
	}
}

func TestAClusterWithoutTheDefinitionSaysWhatToInstall(t *testing.T) {
	kinds := slices.DeleteFunc(clustertest.Kinds(), func(k clustertest.Kind) bool { return k.Kind == "ScalingPolicy" })
	_, _, err := load(t, kinds, "")
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), "scalingpolicies.self-scaling.github.io, but does not: install the CustomResourceDefinition") {
		t.Errorf("error %v, want one of the configuration that names the resource", err)
	}
}

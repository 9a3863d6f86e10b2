package manifest_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write the manifests into testdata")

var web = schemas.ComponentID{Namespace: "shop", Service: "web", Component: "api"}

func decision(edit ...func(*framework.Candidate, *schemas.Decision)) (*framework.Candidate, *schemas.Decision) {
	c := &framework.Candidate{Component: web, Policy: schemas.DefaultPolicy(), Requests: schemas.Requests{schemas.CPU: 1, schemas.Memory: 1 << 30}}
	d := &schemas.Decision{Component: web, Policy: c.Policy, MinReplicas: 4, MaxReplicas: 10, Reason: schemas.FloorRaised,
		Message: "cpu is forecast to reach 2.6 cores in the peak of the bucket at 2026-03-02 09:15:00Z"}
	for _, e := range edit {
		e(c, d)
	}
	return c, d
}

func TestManifests(t *testing.T) {
	for _, tt := range []struct {
		name string // also the file in testdata
		edit func(*framework.Candidate, *schemas.Decision)
	}{
		{"cpu-and-memory", func(*framework.Candidate, *schemas.Decision) {}},
		// What a peak may use is no target of the autoscaler, which looks at means.
		{"cpu-and-memory", func(_ *framework.Candidate, d *schemas.Decision) {
			d.Demands = []schemas.Demand{
				{Resource: schemas.CPU, Statistic: schemas.Mean, Utilization: 0.7},
				{Resource: schemas.CPU, Statistic: schemas.Peak, Utilization: 1},
			}
		}},
		{"cpu-only", func(c *framework.Candidate, _ *schemas.Decision) { delete(c.Requests, schemas.Memory) }},
		{"classic", func(_ *framework.Candidate, d *schemas.Decision) {
			d.Formula, d.MaxReplicas = schemas.FormulaClassic, 7
			d.Demands = []schemas.Demand{{Resource: schemas.CPU, Statistic: schemas.Mean, Utilization: 0.75}, {Resource: schemas.Memory, Statistic: schemas.Mean, Utilization: 0.75}}
		}},
		{"stateful-set", func(c *framework.Candidate, _ *schemas.Decision) {
			c.Target = &framework.Target{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "database", Scalable: true}
		}},
		{"no-cluster", func(c *framework.Candidate, _ *schemas.Decision) {
			c.Component = schemas.ComponentID{Service: "Shop_1", Component: "Cart.v2"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hpa, err := manifest.HPA(decision(tt.edit))
			if err != nil {
				t.Fatal(err)
			}
			got, err := manifest.Encode(hpa)
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + tt.name + ".yaml"
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func TestWhatHasNoManifest(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*framework.Candidate, *schemas.Decision)
		want string
	}{
		{"a component that requests nothing", func(c *framework.Candidate, _ *schemas.Decision) { c.Requests = nil }, "shop/web/api must request cpu or memory"},
		{"a namespace that Kubernetes would refuse", func(c *framework.Candidate, _ *schemas.Decision) { c.Component.Namespace = "Shop" }, `but is "Shop"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifest.HPA(decision(tt.edit))
			if schemas.CodeOf(err) != schemas.CodeInvalidData || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("HPA error = %v, want one with code %s that says %q", err, schemas.CodeInvalidData, tt.want)
			}
		})
	}
}

func TestNamesAreSafeAndApart(t *testing.T) {
	for _, tt := range []struct{ name, service, component, want string }{
		{"a plain name is the two words", "web", "api", "web-api"},
		{"a component may have a hyphen", "web", "api-v2", "web-api-v2"},
		{"a service with one gets a hash, because a-b/c and a/b-c would meet", "web-api", "v2", "web-api-v2-e54431ba"},
		{"capitals and other signs are replaced, and hashed", "Web", "api_v2.1", "web-api-v2-1-b4f02674"},
		{"a long name is cut, and hashed", strings.Repeat("a", 63), strings.Repeat("b", 63), strings.Repeat("a", 54) + "-278079d6"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := manifest.Name(schemas.ComponentID{Service: tt.service, Component: tt.component}); got != tt.want {
				t.Errorf("Name = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBinderWritesOnlyWhatComesFromAForecast(t *testing.T) {
	full := errors.New("disk full")
	for _, tt := range []struct {
		name   string
		reason schemas.Reason
		err    error
		want   framework.Code
		wrote  int
	}{
		{"a raised floor", schemas.FloorRaised, nil, framework.Success, 1},
		{"a floor that was kept", schemas.FloorKept, nil, framework.Success, 1},
		{"too little history", schemas.InsufficientData, nil, framework.Skip, 0},
		{"a floor that cools down", schemas.CoolingDown, nil, framework.Skip, 0},
		{"a full disk", schemas.FloorRaised, full, framework.Error, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrote := 0
			b := manifest.New(func(id schemas.ComponentID, hpa *autoscalingv2.HorizontalPodAutoscaler) error {
				wrote++
				if id != web || *hpa.Spec.MinReplicas != 4 {
					t.Errorf("wrote %d for %s, want 4 for %s", *hpa.Spec.MinReplicas, id, web)
				}
				return tt.err
			})
			c, d := decision()
			d.Reason = tt.reason
			st := b.Bind(t.Context(), framework.NewCycleState(), c, d)
			if st.Code() != tt.want || wrote != tt.wrote || !errors.Is(st.Err(), tt.err) {
				t.Errorf("status = %s (%v) after %d writes, want %s after %d", st.Code(), st.Err(), wrote, tt.want, tt.wrote)
			}
		})
	}
}

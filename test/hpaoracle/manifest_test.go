package hpaoracle

import (
	"math/rand/v2"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install" // conversions and defaults
	"k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/schemas"
)

// TestManifestsPassTheValidationOfTheServer sends manifests of components with
// any permitted name through what an API server does with an object: strict
// decoding, defaulting and validation. It also holds their names apart.
func TestManifestsPassTheValidationOfTheServer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const letters = "abcXYZ019"
	name := func() string {
		var b strings.Builder
		n := 1 + rng.IntN(63)
		if rng.IntN(2) == 0 {
			n = 1 + rng.IntN(4)
		}
		for i := range n {
			set := letters
			if i > 0 && i < n-1 {
				set += "-_.-_.-_."
			}
			b.WriteByte(set[rng.IntN(len(set))])
		}
		return b.String()
	}
	seen := make(map[string]schemas.ComponentID)
	for range 5000 {
		id := schemas.ComponentID{Namespace: "shop", Service: name(), Component: name()}
		if err := id.Validate(); err != nil {
			t.Fatal(err)
		}
		p := schemas.DefaultPolicy()
		p.CPUUtilization = 0.01 + rng.Float64()*3
		c := &framework.Candidate{Component: id, Policy: p, Requests: schemas.Requests{schemas.CPU: 1}}
		if rng.IntN(2) == 0 {
			c.Requests = schemas.Requests{schemas.CPU: 1, schemas.Memory: 1 << 30}
		}
		lowest := int32(1 + rng.IntN(20))
		d := &schemas.Decision{Component: id, Policy: p, MinReplicas: lowest, MaxReplicas: lowest + int32(rng.IntN(20)), Reason: schemas.FloorRaised, Message: "cpu is forecast to reach 3 cores"}
		made, err := manifest.HPA(c, d)
		if err != nil {
			t.Fatal(err)
		}
		data, err := manifest.Encode(made)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[made.Name]; taken && other != id {
			t.Errorf("%s and %s have one name, %s", id, other, made.Name)
		}
		seen[made.Name] = id

		var read autoscalingv2.HorizontalPodAutoscaler
		if err := yaml.UnmarshalStrict(data, &read); err != nil {
			t.Fatalf("%s: %v\n%s", id, err, data)
		}
		legacyscheme.Scheme.Default(&read)
		var internal autoscaling.HorizontalPodAutoscaler
		if err := legacyscheme.Scheme.Convert(&read, &internal, nil); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if errs := validation.ValidateHorizontalPodAutoscaler(&internal, validation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}); len(errs) > 0 {
			t.Fatalf("%s: %v\n%s", id, errs.ToAggregate(), data)
		}
	}
	t.Logf("%d names", len(seen))
}

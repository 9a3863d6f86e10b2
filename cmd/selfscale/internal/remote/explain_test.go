package remote

import (
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// Who reads a floor must see whose share of a request it was computed with.
func TestAnExplanationSaysWhereATargetComesFrom(t *testing.T) {
	at := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	for from, want := range map[string]string{
		"HorizontalPodAutoscaler/web": "ceil(that / (0.25 cores x 60 % (HorizontalPodAutoscaler/web))) = 5 replicas",
		schemas.FromPolicy:            "ceil(that / (0.25 cores x 60 % (policy))) = 5 replicas",
		schemas.FromDefault:           "ceil(that / (0.25 cores x 60 %)) = 5 replicas",
		"":                            "ceil(that / (0.25 cores x 60 %)) = 5 replicas", // a record from before it was noted
	} {
		var b strings.Builder
		err := tell(&b, &wire.Component{
			ID: wire.ComponentID{Namespace: "prod", Service: "shop", Component: "web"}, Policy: wire.Policy{Mode: schemas.Auto}, Autoscaler: "HorizontalPodAutoscaler/web",
			Decision: &wire.Decision{
				Time: at, Run: "infer-1", From: at, To: at.Add(17 * time.Minute), MinReplicas: 5, Reason: schemas.FloorRaised, Message: "why", Expires: at.Add(time.Hour), Applied: true,
				Demands: []wire.Demand{{Resource: schemas.CPU, Statistic: schemas.Mean, Level: .5, Usage: .7, Bucket: at, Request: .25, Utilization: .6, UtilizationFrom: from, Replicas: 5}},
			},
		})
		if err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("from %q: %v\n%s\nwant %q in it", from, err, &b, want)
		}
	}
}

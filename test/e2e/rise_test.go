//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Three components have been rising every day at one time. Their history is given to
// an installation that knows nothing yet, minutes before they rise again. Beside them
// is a fourth that only its own HorizontalPodAutoscaler scales.
//
// What is compressed: the HPA controller of the test cluster looks every 5 s instead
// of 15, and decisions are made every minute instead of every quarter of an hour, by
// the chart's values.
func TestRise(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if !c.own {
		t.Skip("needs a Prometheus that the cluster's pods reach: make cluster")
	}
	const (
		base, peak = .01, .07
		limit      = 5 * time.Minute // from helm install to the first floor
	)
	needed := int(math.Ceil(peak / (requestCores * utilization / 100)))
	rise := time.Now().UTC().Add(9 * time.Minute).Truncate(time.Minute)
	names := []string{"web", "db", "mail"}
	r := newRelease(t, c)
	var workloads []workload
	var past []series
	for i, name := range append(names, "reactive") {
		// The policy does not say how much of a request may be used: the autoscaler does.
		w := workload{name: name, cpu: fmt.Sprint(requestCores), hpas: 1,
			load: fmt.Sprintf("-base=%g -peak=%g -at=%s -for=35m -start=10s -peers=%s", base, peak, rise.Format(time.TimeOnly), name)}
		if name == "reactive" {
			w.policy = `mode: "Off"`
		}
		workloads = append(workloads, w)
		noise := rand.New(rand.NewPCG(1, uint64(i)))
		past = append(past, series{"shop", name, func(at time.Time) float64 {
			cores := base
			// Longer than two buckets, so that one lies within it wherever it begins.
			if since := (at.Sub(rise)%(24*time.Hour) + 24*time.Hour) % (24 * time.Hour); since < 35*time.Minute {
				cores = peak
			}
			return cores * (1 + .05*noise.NormFloat64())
		}})
	}
	url := r.prometheus(t, 10, past...)
	r.deploy(t, workloads...)
	for _, w := range workloads {
		eventually(t, w.name+" has a Ready pod", 2*time.Minute, func() error {
			if r.replicas(t, w.name) < 1 {
				return fmt.Errorf("none")
			}
			return nil
		})
	}
	installed := time.Now()
	r.install(t, "prometheus.url="+url, "backfill=240h", "controller.replicas=1", "api.enabled=false",
		"schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.cron={* * * * *}")
	full := r.argo(t, "submit", "--from=workflowtemplate/"+r.name+"-full", "--output=name")
	var took time.Duration
	for _, name := range names {
		eventually(t, "a floor is applied to "+name, 8*time.Minute-time.Since(installed), func() error {
			if got := r.get(t, "hpa/"+name+"-0", "{.spec.minReplicas}"); got == "1" {
				return fmt.Errorf("minReplicas is %s; %+v", got, r.status(t, name))
			}
			if took == 0 {
				took = time.Since(installed)
			}
			return nil
		})
	}
	t.Logf("FIGURE from helm install to the first applied floor, with 10 days of history: %.0f s", took.Seconds())
	if took > limit {
		t.Errorf("the first floor came %s after helm install, want at most %s", took.Round(time.Second), limit)
	}
	r.ended(t, full, "Succeeded")
	ready := map[string]int{}
	eventually(t, "pods are Ready for the rise", time.Until(rise), func() error {
		for _, name := range names {
			if ready[name] = r.replicas(t, name); ready[name] < needed {
				return fmt.Errorf("%s has %d Ready pods of %d; %+v", name, ready[name], needed, r.status(t, name))
			}
		}
		return nil
	})
	t.Logf("FIGURE all %d components had the %d pods that the rise needs Ready %.0f s before it: %v", len(names), needed, time.Until(rise).Seconds(), ready)
	// To the very moment of the rise.
	eventually(t, "the time of the rise", time.Until(rise)+time.Minute, func() error {
		if now := time.Now(); now.Before(rise) {
			return fmt.Errorf("it is %s", now.UTC().Format(time.TimeOnly))
		}
		return nil
	})
	for _, name := range names {
		if n := r.replicas(t, name); n < needed {
			t.Errorf("when its load rises %s has %d Ready pods, want at least %d", name, n, needed)
		}
	}
	if n := r.replicas(t, "reactive"); n >= needed {
		t.Errorf("the component that is scaled by its HPA alone has %d Ready pods when the load rises: the test proves nothing", n)
	}
	eventually(t, "the HPA alone has scaled", 5*time.Minute, func() error {
		if n := r.replicas(t, "reactive"); n < needed {
			return fmt.Errorf("%d Ready pods of %d", n, needed)
		}
		return nil
	})
	t.Logf("FIGURE the HPA alone had them Ready %.0f s after the rise", time.Since(rise).Seconds())
	for _, name := range names {
		if n := r.replicas(t, name); n < needed {
			t.Errorf("in the rise %s has %d Ready pods, want at least %d", name, n, needed)
		}
	}
}

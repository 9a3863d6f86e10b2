package hpaoracle

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"

	"github.com/self-scaling/self-scaling/controller/sim/hpa"
)

// fixedMetrics is a metrics pipeline that knows resource metrics only.
type fixedMetrics struct {
	metrics.MetricsClient
	get func(cpu bool, selector labels.Selector) metrics.PodMetricsInfo
}

func (m fixedMetrics) GetResourceMetric(_ context.Context, resource corev1.ResourceName, _ string, selector labels.Selector, _ string) (metrics.PodMetricsInfo, time.Time, error) {
	info := m.get(resource == corev1.ResourceCPU, selector)
	if len(info) == 0 {
		return nil, time.Time{}, errors.New("no metrics returned from resource metrics API")
	}
	return info, time.Now(), nil
}

// tolerances sets both unexported fields of the calculator's type, which only
// the controller itself could do otherwise.
func tolerances(v float64) podautoscaler.Tolerances {
	var t podautoscaler.Tolerances
	*(*[2]float64)(unsafe.Pointer(&t)) = [2]float64{v, v}
	return t
}

// TestDesiredIsWhatTheReplicaCalculatorSays compares one metric's answer on
// random sets of pods: missing metrics, pods that are pending, failed, deleted,
// not Ready or without any condition, and requests that are missing or 0.
func TestDesiredIsWhatTheReplicaCalculatorSays(t *testing.T) {
	const cases = 20_000
	cfg := hpa.DefaultConfig()
	scaled, failed := 0, 0
	// In a bubble the calculator's own clock stands still.
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for seed := range uint64(cases) {
			rng := rand.New(rand.NewPCG(seed, 1))
			usage := rng.Float64() * 2
			pods := make([]*pod, rng.IntN(14))
			store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			for i := range pods {
				pods[i] = randomPod(rng, podName("web", i), now, usage)
				if rng.IntN(100) == 0 {
					pods[i].spoil(rng)
				}
				if err := store.Add(pods[i].object("web")); err != nil {
					t.Fatal(err)
				}
			}
			if rng.IntN(20) == 0 { // nobody requests anything
				for _, p := range pods {
					p.cpu.Request = 0
					if err := store.Update(p.object("web")); err != nil {
						t.Fatal(err)
					}
				}
			}
			target := hpa.Target{CPU: rng.IntN(3) > 0, Utilization: int32(20 + rng.IntN(130))}
			current := int32(rng.IntN(20))

			calculator := podautoscaler.NewReplicaCalculator(
				fixedMetrics{get: func(cpu bool, _ labels.Selector) metrics.PodMetricsInfo { return metricsOf(pods, cpu) }},
				corelisters.NewPodLister(store), cfg.CPUInitializationPeriod, cfg.InitialReadinessDelay)
			want, wantUtilization, _, _, wantErr := calculator.GetResourceReplicas(t.Context(), current, target.Utilization,
				resourceName(target.CPU), tolerances(cfg.Tolerance), namespace, labels.Everything(), "")
			got, utilization, err := hpa.Desired(&cfg, now, target, current, states(pods), readings(pods, target.CPU))

			if (err != nil) != (wantErr != nil) || err == nil && (got != want || utilization != wantUtilization) {
				t.Errorf("seed %d: Desired = %d at %d %% (%v), the calculator says %d at %d %% (%v)", seed, got, utilization, err, want, wantUtilization, wantErr)
			}
			if err != nil {
				failed++
			} else if got != current {
				scaled++
			}
		}
	})
	if scaled < cases/4 || failed < cases/100 {
		t.Errorf("%d of %d cases scale and %d fail: the cases do not cover what they should", scaled, cases, failed)
	}
	t.Logf("%d cases, %d scale, %d have no answer", cases, scaled, failed)
}

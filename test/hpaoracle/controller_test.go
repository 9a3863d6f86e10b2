package hpaoracle

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"

	"github.com/self-scaling/self-scaling/controller/sim/hpa"
)

// workload is one autoscaler with its pods, once as the controller of
// Kubernetes drives it and once as ours would.
type workload struct {
	name     string
	rng      *rand.Rand
	spec     hpa.Spec
	state    hpa.State
	pods     []*pod
	born     int
	replicas int32 // as the controller has set it
	expected int32 // as ours would have
	syncs    int
	changes  int
	phase    float64
}

// next lets the world move on to the sync at an instant: pods come and go to
// match the replicas, grow Ready, lose their metrics; the load drifts.
func (w *workload) next(now time.Time, store cache.Indexer) error {
	for len(w.pods) > int(w.replicas) {
		i := len(w.pods) - 1
		if err := store.Delete(w.pods[i].object(w.name)); err != nil {
			return err
		}
		w.pods = w.pods[:i]
	}
	for len(w.pods) < int(w.replicas) {
		w.born++
		p := &pod{name: podName(w.name, w.born), state: hpa.Pod{Started: now, Transition: now, Ready: hpa.NotReady}}
		if w.rng.IntN(10) == 0 {
			p.state.Phase, p.state.Started, p.state.Ready = hpa.Pending, time.Time{}, hpa.NoCondition
		}
		w.pods = append(w.pods, p)
	}
	load := 12 + 10*math.Sin(float64(w.syncs)/17+w.phase) + 6*w.rng.Float64()
	share := load / float64(max(1, len(w.pods)))
	blackout := w.rng.IntN(25) == 0
	for i, p := range w.pods {
		switch {
		case p.state.Phase == hpa.Pending && w.rng.IntN(2) == 0:
			p.state = hpa.Pod{Started: now, Transition: now, Ready: hpa.NotReady}
		case p.state.Phase == hpa.Running && p.state.Ready != hpa.Ready && w.rng.IntN(4) == 0,
			p.state.Phase == hpa.Running && p.state.Ready == hpa.Ready && w.rng.IntN(60) == 0:
			p.state.Ready = hpa.Ready + hpa.NotReady - p.state.Ready
			p.state.Transition = now
		case w.rng.IntN(300) == 0:
			p.state.Phase, p.deleting = hpa.Gone, w.rng.IntN(2) == 0
		case p.state.Phase == hpa.Gone:
			// Replaced at the next look.
			if err := store.Delete(p.object(w.name)); err != nil {
				return err
			}
			w.born++
			w.pods[i] = &pod{name: podName(w.name, w.born), state: hpa.Pod{Started: now, Transition: now, Ready: hpa.NotReady}}
			p = w.pods[i]
		}
		reading := func(request int64) hpa.Reading {
			r := hpa.Reading{Request: request}
			if !blackout && w.rng.IntN(30) > 0 && !p.state.Started.After(now.Add(-30*time.Second)) {
				r.Known, r.Timestamp, r.Window = true, now.Add(-time.Duration(w.rng.IntN(40))*time.Second), 15*time.Second
				r.Value = int64(share * float64(request) * (0.9 + 0.2*w.rng.Float64()))
			}
			return r
		}
		p.cpu, p.mem = reading(1000), reading(2<<30*1000)
		if w.rng.IntN(2000) == 0 {
			p.spoil(w.rng)
		}
		if err := store.Update(p.object(w.name)); err != nil {
			return err
		}
	}
	return nil
}

// TestSyncIsWhatTheControllerDoes runs the controller of Kubernetes itself, in
// time that is simulated, over many workloads at once, and compares what it sets
// at every sync with ours: bounds that move, both kinds of limits, windows,
// policies, two metrics, missing metrics and pods in every state.
func TestSyncIsWhatTheControllerDoes(t *testing.T) {
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil // they log, and sleep to log less
	klog.SetLogger(logr.Discard())
	t.Cleanup(func() {
		utilruntime.ErrorHandlers = handlers
		klog.ClearLogger()
	})
	// Each controller costs the square of its workloads, so that there are many
	// small ones.
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runController(t, seed, 25, 15*time.Second, time.Hour) })
		})
	}
}

func runController(t *testing.T, seed uint64, count int, period, length time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := hpa.DefaultConfig()
	all := make(map[string]*workload)
	var objects []runtime.Object
	for i := range count {
		w := &workload{name: fmt.Sprintf("web%d", i), rng: rand.New(rand.NewPCG(seed, uint64(i))), phase: float64(i)}
		w.spec = randomSpec(w.rng)
		w.replicas = w.spec.MinReplicas + int32(w.rng.IntN(int(w.spec.MaxReplicas-w.spec.MinReplicas)+1))
		w.expected = w.replicas
		all[w.name] = w
		objects = append(objects, object(w.name, &w.spec))
	}
	client := fake.NewClientset(objects...)
	// The status and the events are nobody's input here.
	drop := func(action clienttesting.Action) (bool, runtime.Object, error) {
		if u, ok := action.(clienttesting.UpdateAction); ok {
			return true, u.GetObject(), nil
		}
		return true, &corev1.Event{}, nil
	}
	client.PrependReactor("update", "horizontalpodautoscalers", drop)
	client.PrependReactor("*", "events", drop)

	// Any resync period but 0, which would make an informer wait on a channel
	// that is not of the bubble.
	factory := informers.NewSharedInformerFactory(client, 24*time.Hour)
	pods := factory.Core().V1().Pods()
	hpas := factory.Autoscaling().V2().HorizontalPodAutoscalers()

	scales := &scalefake.FakeScaleClient{}
	scales.AddReactor("get", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		w := all[action.(clienttesting.GetAction).GetName()]
		now := time.Now()
		if w.replicas != w.expected {
			t.Errorf("%s, sync %d: Kubernetes set %d replicas, ours %d (bounds %d to %d, behavior %+v)", w.name, w.syncs, w.replicas, w.expected, w.spec.MinReplicas, w.spec.MaxReplicas, w.spec.Behavior)
		}
		if err := w.next(now, pods.Informer().GetIndexer()); err != nil {
			t.Error(err)
		}
		w.syncs++
		given := make([][]hpa.Reading, len(w.spec.Targets))
		for i, target := range w.spec.Targets {
			given[i] = readings(w.pods, target.CPU)
		}
		w.expected, _ = w.state.Sync(&cfg, now, &w.spec, w.replicas, states(w.pods), given)
		scale := &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Name: w.name, Namespace: namespace},
			Spec:       autoscalingv1.ScaleSpec{Replicas: w.replicas},
			Status:     autoscalingv1.ScaleStatus{Replicas: w.replicas, Selector: "app=" + w.name},
		}
		if w.rng.IntN(40) == 0 { // somebody moves the bounds; the next sync sees it
			w.spec.MinReplicas = int32(1 + w.rng.IntN(20))
			w.spec.MaxReplicas = w.spec.MinReplicas + int32(w.rng.IntN(40))
			resource := schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
			if err := client.Tracker().Update(resource, object(w.name, &w.spec), namespace); err != nil {
				t.Error(err)
			}
		}
		return true, scale, nil
	})
	scales.AddReactor("update", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		scale := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
		w := all[scale.Name]
		w.replicas = scale.Spec.Replicas
		w.changes++
		return true, scale, nil
	})
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "apps", Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)

	controller := podautoscaler.NewHorizontalController(ctx, client.CoreV1(), scales, client.AutoscalingV2(), mapper,
		fixedMetrics{get: func(cpu bool, selector labels.Selector) metrics.PodMetricsInfo {
			name, _ := selector.RequiresExactMatch("app")
			return metricsOf(all[name].pods, cpu)
		}},
		hpas, pods, period, cfg.DownscaleStabilization, cfg.Tolerance, cfg.CPUInitializationPeriod, cfg.InitialReadinessDelay)
	factory.Start(ctx.Done())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		controller.Run(ctx, 1)
	}()
	time.Sleep(length)
	synctest.Wait()
	cancel()
	<-stopped
	factory.Shutdown()

	syncs, changes := 0, 0
	for _, w := range all {
		if want := int(length/period) - 2; w.syncs < want {
			t.Errorf("%s was synced %d times, want at least %d", w.name, w.syncs, want)
		}
		syncs += w.syncs
		changes += w.changes
	}
	if changes < syncs/20 {
		t.Errorf("%d of %d syncs changed the replicas: the workloads are too calm to tell", changes, syncs)
	}
	t.Logf("%d syncs of %d workloads, %d changes", syncs, count, changes)
}

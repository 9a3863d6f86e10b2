package watch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/watch"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
	"github.com/self-scaling/self-scaling/test/programlog"
)

var noon = time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*watch.Cache
	t      *testing.T
	server *clustertest.Server
	clock  *clocktesting.FakePassiveClock
	said   *programlog.Buffer
	stop   func() // ends the run and returns when it has ended
}

// open returns a copy of a cluster that has these kinds and holds one autoscaler and one
// policy.
func open(t *testing.T, kinds []clustertest.Kind, namespaces ...string) *fixture {
	f := &fixture{t: t, server: clustertest.New(t, kinds...), clock: clocktesting.NewFakePassiveClock(noon), said: &programlog.Buffer{}}
	client, err := cluster.NewClient(f.server.Config())
	if err != nil {
		t.Fatal(err)
	}
	f.Cache = watch.New(client, watch.Options{Namespaces: namespaces, Clock: f.clock, Log: slog.New(slog.NewTextHandler(f.said, nil))})
	f.autoscaler("default", "web", 2)
	f.policy("shop", "mode: Auto")
	return f
}

func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	f.stop = func() { cancel(); running.Wait() }
	f.t.Cleanup(f.stop)
}

func (f *fixture) autoscaler(namespace, name string, least int) {
	f.server.Load("kubectl", fmt.Sprintf(`apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: %s, namespace: %s}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}, minReplicas: %[3]d, maxReplicas: 9}
status: {currentReplicas: 3}`, name, namespace, least))
}

func (f *fixture) policy(name, spec string) {
	f.server.Load("kubectl", fmt.Sprintf("apiVersion: self-scaling.github.io/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: %[1]s, generation: 3}\nspec: {service: %[1]s, %[2]s}", name, spec))
}

// seen is what the copy shows, in words; empty where it shows nothing.
func (f *fixture) seen() string {
	scalers, ok := f.Autoscalers()
	policies, unreadable, known := f.Policies()
	if !ok || !known {
		return ""
	}
	var out []string
	for _, a := range scalers.All() {
		least, _ := a.Live()
		out = append(out, fmt.Sprintf("%s=%d", a, least))
	}
	for key, p := range policies {
		out = append(out, fmt.Sprintf("%s:%s", key.Service, p.Spec.Mode))
	}
	for name := range unreadable {
		out = append(out, "unreadable:"+name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// until waits for what the copy is to show.
func (f *fixture) until(want string) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); f.seen() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("the copy shows %q, want %q; %s", f.seen(), want, f.said)
		}
	}
}

const both = "HorizontalPodAutoscaler/web=2 shop:Auto"

func TestACopyFollowsItsCluster(t *testing.T) {
	f := open(t, clustertest.Kinds())
	if got := f.seen(); got != "" {
		t.Errorf("before it runs the copy shows %q", got)
	}
	f.run()
	f.until(both)
	f.autoscaler("default", "web", 4)
	f.autoscaler("other", "db", 1)
	f.policy("pay", "maxReplicas: many")
	f.until("HorizontalPodAutoscaler/db=1 HorizontalPodAutoscaler/web=4 shop:Auto unreadable:default/pay")
	f.server.Delete("horizontalpodautoscalers", "other", "db")
	f.server.Delete("scalingpolicies", "default", "pay")
	f.until("HorizontalPodAutoscaler/web=4 shop:Auto")

	asked := f.server.Requests()
	for range 100 {
		f.seen()
	}
	if n := f.server.Requests() - asked; n > 4 { // a watch each may have been renewed
		t.Errorf("a hundred looks cost %d requests, want none", n)
	}
}

func TestNamespacesThatAreNotWatchedAreNotSeen(t *testing.T) {
	f := open(t, clustertest.Kinds(), "default", "shop")
	f.autoscaler("other", "db", 1)
	f.autoscaler("shop", "cart", 1)
	f.run()
	f.until("HorizontalPodAutoscaler/cart=1 " + both)
	f.autoscaler("other", "db", 3)
	f.autoscaler("shop", "cart", 3)
	f.until("HorizontalPodAutoscaler/cart=3 " + both)
}

func TestAClusterMayLackKEDAAndVerticalAutoscalers(t *testing.T) {
	f := open(t, slices.DeleteFunc(clustertest.Kinds(), func(k clustertest.Kind) bool {
		return k.Resource == "scaledobjects" || k.Resource == "verticalpodautoscalers"
	}))
	f.run()
	f.until(both)
	f.autoscaler("default", "web", 3)
	f.until("HorizontalPodAutoscaler/web=3 shop:Auto")
}

func TestAWatchThatEndsIsTakenUpAgain(t *testing.T) {
	f := open(t, clustertest.Kinds())
	f.run()
	f.until(both)
	f.server.EndWatches()
	f.server.Delete("scalingpolicies", "default", "shop")
	f.autoscaler("default", "web", 5)
	f.until("HorizontalPodAutoscaler/web=5")
}

func TestACopyOfWhichNothingIsHeardIsNotShown(t *testing.T) {
	f := open(t, clustertest.Kinds())
	f.run()
	f.until(both)
	f.autoscaler("default", "web", 3) // that it is seen shows that the watch has begun
	f.until("HorizontalPodAutoscaler/web=3 shop:Auto")
	f.clock.SetTime(noon.Add(watch.Lag))
	f.until("HorizontalPodAutoscaler/web=3 shop:Auto")
	f.server.HoldWatches()
	f.clock.SetTime(noon.Add(3 * watch.Lag))
	f.until("")
	f.server.ResumeWatches()
	// Each change is a sign of the table that it is in.
	f.autoscaler("default", "web", 7)
	f.policy("pay", "mode: Shadow")
	f.server.Load("kubectl", "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: q}\nspec: {scaleTargetRef: {name: q}, minReplicaCount: 1}")
	f.server.Load("kubectl", "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: q}\nspec: {}")
	f.until("HorizontalPodAutoscaler/web=7 ScaledObject/q=1 pay:Shadow shop:Auto")
}

func TestWithoutTheRightToWatchThereIsNoCopy(t *testing.T) {
	f := open(t, clustertest.Kinds())
	f.server.Deny("watch", "horizontalpodautoscalers")
	f.run()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		_, _, known := f.Policies()
		if known && strings.Contains(f.said.String(), "no right to watch") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("policies are known: %t; it says %q", known, f.said)
		}
	}
	f.stop() // what is to be said has been said
	if n := strings.Count(f.said.String(), "no right to watch"); n != 1 || !strings.Contains(f.said.String(), "resource=horizontalpodautoscalers") {
		t.Errorf("it says %d times %q, want once for the autoscalers", n, f.said)
	}
	if _, ok := f.Autoscalers(); ok {
		t.Error("there is a copy of the autoscalers")
	}
}

// A controller that leads once more must not see what was so in its last term.
func TestARunBeginsAnew(t *testing.T) {
	f := open(t, clustertest.Kinds())
	f.run()
	f.until(both)
	f.stop()
	if got := f.seen(); got != "" {
		t.Errorf("after its run the copy shows %q", got)
	}
	f.autoscaler("default", "web", 6)
	f.run()
	f.until("HorizontalPodAutoscaler/web=6 shop:Auto")
}

func TestWhatIsWrittenIntoAPolicyIsNotWrittenIntoTheCopy(t *testing.T) {
	f := open(t, clustertest.Kinds())
	f.run()
	f.until(both)
	policies, _, _ := f.Policies()
	for _, p := range policies {
		p.Status = v1alpha1.ScalingPolicyStatus{Summary: "1/1"}
	}
	again, _, _ := f.Policies()
	for _, p := range again {
		if p.Status.Summary != "" {
			t.Errorf("the copy has the summary %q", p.Status.Summary)
		}
	}
}

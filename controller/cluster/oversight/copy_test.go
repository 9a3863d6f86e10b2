package oversight_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/schemas"
)

// minReplicas is the number in an autoscaler of the server.
func (f *fixture) minReplicas(name string) int64 {
	f.t.Helper()
	o := f.server.Get("horizontalpodautoscalers", "default", name)
	if o == nil {
		f.t.Fatalf("there is no autoscaler %s", name)
	}
	n, _, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicas")
	return n
}

func everything(schemas.ComponentID) bool { return true }
func nothing(schemas.ComponentID) bool    { return false }

func TestACopySparesTheAPIServer(t *testing.T) {
	f := start(t, workload("shop", "web", floorUntil("web", noon.Add(time.Hour)))+policy("shop", "mode: Auto"))
	want := f.discover()
	f.keepCopy()
	count := func() (n int) {
		for _, r := range []string{"horizontalpodautoscalers", "scaledobjects", "verticalpodautoscalers", "scalingpolicies"} {
			n += f.server.Lists(r)
		}
		return n
	}
	// The copy of the policies may be there later than that of the autoscalers.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		before := count()
		got := f.discover()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("components (-listed +copied):\n%s", diff)
		}
		if count() == before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a look lists what there is a copy of")
		}
	}
	// What is to be done is done as without a copy.
	got, err := f.Tend(t.Context(), noon.Add(2*time.Hour), everything)
	if diff := cmp.Diff(controller.Tended{Expired: []schemas.ComponentID{id("web")}}, got); err != nil || diff != "" {
		t.Errorf("tended, %v (-want +got):\n%s", err, diff)
	}
	if n := f.minReplicas("web"); n != 2 {
		t.Errorf("minReplicas is %d, want the user's 2", n)
	}
}

// A copy may not know yet what a user has just done. Nothing is written that would undo
// it.
func TestACopyThatLagsUndoesNothing(t *testing.T) {
	floor := workload("shop", "web", floorUntil("web", noon.Add(time.Hour)))
	for _, tt := range []struct {
		name, documents string
		user            func(*fixture)
		now             time.Time
		keep            func(schemas.ComponentID) bool // as the loop saw it in the copy
		want            int64                          // minReplicas
		tended          controller.Tended
	}{
		{"a service that was switched on again keeps its floor", floor + policy("shop", `mode: "Off"`),
			func(f *fixture) { f.server.Load("kubectl", policy("shop", "mode: Auto")) }, noon, nothing, 5, controller.Tended{}},
		{"one that was not gives it back", floor + policy("shop", `mode: "Off"`),
			func(*fixture) {}, noon, nothing, 2, controller.Tended{Released: []schemas.ComponentID{id("web")}}},
		{"one whose policy went is in mode Shadow, and gives it back", floor + policy("shop", `mode: "Off"`),
			func(f *fixture) { f.server.Delete("scalingpolicies", "default", "shop") }, noon, nothing, 2, controller.Tended{Released: []schemas.ComponentID{id("web")}}},
		{"a floor that a run has renewed is not taken for one that has expired", floor + policy("shop", "mode: Auto"),
			func(f *fixture) {
				f.server.Load("self-scaling", strings.Split(workload("shop", "web", floorUntil("web", noon.Add(3*time.Hour))), "\n---\n")[3])
			}, noon.Add(2 * time.Hour), everything, 5, controller.Tended{}},
		{"a floor that is gone is not given back again", floor + policy("shop", "mode: Auto"),
			func(f *fixture) {
				f.server.Delete("horizontalpodautoscalers", "default", "web")
				f.server.Load("kubectl", strings.Replace(strings.Split(workload("shop", "web", ""), "\n---\n")[3], "minReplicas: 5", "minReplicas: 4", 1))
			}, noon.Add(2 * time.Hour), everything, 4, controller.Tended{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, tt.documents)
			f.keepCopy()
			f.discover()
			f.server.HoldWatches()
			tt.user(f)
			got, err := f.Tend(t.Context(), tt.now, tt.keep)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.tended, got); diff != "" {
				t.Errorf("tended (-want +got):\n%s", diff)
			}
			if n := f.minReplicas("web"); n != tt.want {
				t.Errorf("minReplicas is %d, want %d", n, tt.want)
			}
		})
	}
}

// The copy does not know the policy that a user has just made, under a name of their own.
func TestACopyThatLagsMakesNoSecondPolicy(t *testing.T) {
	f := start(t, workload("shop", "web", ""))
	f.keepCopy()
	f.server.HoldWatches()
	f.server.Load("kubectl", strings.Replace(policy("shop", "mode: Auto"), "name: shop", "name: mine", 1))
	if found := f.discover(); len(found) != 1 || found[0].Mode != schemas.Auto {
		t.Errorf("components are %+v, want one in mode Auto", found)
	}
	if n := len(f.server.List("scalingpolicies")); n != 1 {
		t.Errorf("there are %d policies, want the user's alone", n)
	}
}

// What cannot be read is not known to be unwanted.
func TestPoliciesThatCannotBeReadTakeNoFloor(t *testing.T) {
	f := start(t, workload("shop", "web", floorUntil("web", noon.Add(time.Hour)))+policy("shop", `mode: "Off"`))
	f.discover()
	f.server.Break("list", "scalingpolicies")
	if got, err := f.Tend(t.Context(), noon, nothing); err != nil || len(got.Released) > 0 {
		t.Errorf("tended %+v, %v, want nothing given back", got, err)
	}
	f.server.Mend()
	if got, err := f.Tend(t.Context(), noon, nothing); err != nil || len(got.Released) != 1 {
		t.Errorf("tended %+v, %v, want one given back", got, err)
	}
}

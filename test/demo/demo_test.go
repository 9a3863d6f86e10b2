//go:build demo

package demo

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
)

// What is promised, on two cores.
const (
	maxUnderProvisioned = 0.25             // of the reactive run's minutes
	maxReplicaHours     = 1.2              // of the reactive run's
	maxTime             = 60 * time.Second // on cores idle otherwise
	cores               = 2
	maxMemory           = 512 << 20 // bytes
	minComponents       = 12
)

type outcome struct {
	UnderProvisionedMinutes float64 `json:"underProvisionedMinutes"`
	ReplicaHours            float64 `json:"replicaHours"`
}

type summary struct {
	Components []struct {
		Service   string   `json:"service"`
		Component string   `json:"component"`
		RelMAE    *float64 `json:"relMAE"`
		Reactive  outcome  `json:"reactive"`
		Selfscale outcome  `json:"selfscale"`
	} `json:"components"`
	Total struct {
		Reactive  outcome `json:"reactive"`
		Selfscale outcome `json:"selfscale"`
	} `json:"total"`
}

func TestDemoKeepsItsPromises(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "selfscale")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/self-scaling/self-scaling/cmd/selfscale").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "out")
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--out", dir)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(cores))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	t.Logf("selfscale demo\n%s", out)
	if err != nil {
		t.Fatalf("selfscale demo: %v", err)
	}

	data, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s summary
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatalf("summary.json: %v", err)
	}

	if n := len(s.Components); n < minComponents {
		t.Errorf("%d components were replayed, want at least %d", n, minComponents)
	}
	var sum struct{ reactive, selfscale outcome }
	for _, c := range s.Components {
		sum.reactive.add(c.Reactive)
		sum.selfscale.add(c.Selfscale)
		relMAE := "unknown"
		if c.RelMAE != nil {
			b, _ := json.Marshal(*c.RelMAE)
			relMAE = string(b)
		}
		verdict := ""
		if c.Selfscale.UnderProvisionedMinutes > c.Reactive.UnderProvisionedMinutes {
			verdict = "  WORSE"
		}
		t.Logf("%-28s relMAE %-8s under-provisioned %6.0f -> %6.0f min  replica-hours %9.1f -> %9.1f%s", c.Service+"/"+c.Component, relMAE,
			c.Reactive.UnderProvisionedMinutes, c.Selfscale.UnderProvisionedMinutes, c.Reactive.ReplicaHours, c.Selfscale.ReplicaHours, verdict)
	}
	if !sum.reactive.near(s.Total.Reactive) || !sum.selfscale.near(s.Total.Selfscale) {
		t.Errorf("totals are %+v, want the sums of the components, %+v", s.Total, sum)
	}

	reactive, selfscale := s.Total.Reactive, s.Total.Selfscale
	if reactive.UnderProvisionedMinutes <= 0 || reactive.ReplicaHours <= 0 {
		t.Fatalf("the reactive run is %+v, want a run that lacks pods at times", reactive)
	}
	under := selfscale.UnderProvisionedMinutes / reactive.UnderProvisionedMinutes
	hours := selfscale.ReplicaHours / reactive.ReplicaHours
	t.Logf("under-provisioned minutes %.3f of the reactive run's (at most %.2f), replica-hours %.3f (at most %.2f)", under, maxUnderProvisioned, hours, maxReplicaHours)
	if under > maxUnderProvisioned {
		t.Errorf("under-provisioned minutes are %.3f of the reactive run's, want at most %.2f", under, maxUnderProvisioned)
	}
	// Where forecasts were no better than repeating yesterday, the network and
	// the bank under it would have learned nothing.
	relMAE := s.avgRelMAE()
	t.Logf("forecast error %.3f of seasonal naive's, the geometric mean of the components", relMAE)
	if !(relMAE < 1) {
		t.Errorf("forecast error is %.3f of seasonal naive's, want less than 1", relMAE)
	}
	if hours > maxReplicaHours {
		t.Errorf("replica-hours are %.3f of the reactive run's, want at most %.2f", hours, maxReplicaHours)
	}

	// A machine that is busy with something else is no reason to fail, so that
	// only the processors' time is held to what was promised.
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	t.Logf("took %.1f s and %.1f s of processors' time (at most %s on %d idle cores)", took.Seconds(), used.Seconds(), maxTime, cores)
	if used > cores*maxTime {
		t.Errorf("took %.1f s of processors' time, want at most %s on each of %d cores", used.Seconds(), maxTime, cores)
	}
	if peak, ok := peakMemory(cmd.ProcessState); ok {
		t.Logf("used up to %d MiB (at most %d)", peak>>20, maxMemory>>20)
		if peak > maxMemory {
			t.Errorf("used up to %d MiB, want at most %d", peak>>20, maxMemory>>20)
		}
	} else {
		t.Logf("peak memory is not known on %s", runtime.GOOS)
	}

	ids := make([]schemas.ComponentID, 0, len(s.Components))
	for _, c := range s.Components {
		ids = append(ids, schemas.ComponentID{Service: c.Service, Component: c.Component})
	}
	t.Run("summary.json has the keys that are promised", func(t *testing.T) { checkShape(t, data) })
	t.Run("each component has a plot that opens", func(t *testing.T) { checkPlots(t, dir, ids) })
	t.Run("each component has a forecast of the next day", func(t *testing.T) { checkForecasts(t, dir, ids) })
	t.Run("each component has a manifest that Kubernetes knows", func(t *testing.T) { checkManifests(t, dir, ids) })
}

// avgRelMAE is the geometric mean of the components' relative errors, which is
// the mean for ratios: twice as good here and half as good there is as good.
func (s *summary) avgRelMAE() float64 {
	sum, n := 0.0, 0
	for _, c := range s.Components {
		if c.RelMAE != nil {
			sum += math.Log(*c.RelMAE)
			n++
		}
	}
	return math.Exp(sum / float64(n))
}

// checkShape compares every key of the summary, and the kind of its value.
func checkShape(t *testing.T, data []byte) {
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	run := map[string]any{"underProvisionedMinutes": "number", "replicaHours": "number"}
	component := map[string]any{"service": "string", "component": "string", "relMAE": "number", "reactive": run, "selfscale": run}
	want := map[string]any{"total": map[string]any{"reactive": run, "selfscale": run}}
	list, _ := got["components"].([]any)
	wantList := make([]any, len(list))
	for i := range wantList {
		wantList[i] = component
	}
	want["components"] = wantList
	if diff := cmp.Diff(any(want), shape(got)); diff != "" {
		t.Errorf("shape (-want +got):\n%s", diff)
	}
}

// shape puts the kind of each value in the place of the value.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = shape(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = shape(x)
		}
		return out
	case float64:
		return "number"
	case string:
		return "string"
	}
	return v
}

func checkPlots(t *testing.T, dir string, ids []schemas.ComponentID) {
	for _, id := range ids {
		name := filepath.Join(dir, "plots", id.Service, id.Component+".cpu")
		img, err := png.Decode(bytes.NewReader(read(t, name+".png")))
		if err != nil {
			t.Errorf("%s.png: %v", name, err)
		} else if size := img.Bounds().Size(); size.X < 400 || size.Y < 200 {
			t.Errorf("%s.png has %v pixels, want enough to see something", name, size)
		}
		if err := checkSVG(read(t, name+".svg")); err != nil {
			t.Errorf("%s.svg: %v", name, err)
		}
	}
}

// checkSVG reads a whole document and the numbers in its paths.
func checkSVG(data []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(data))
	var root string
	paths := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if root == "" {
			root = element.Name.Local
		}
		for _, a := range element.Attr {
			if a.Name.Local != "d" {
				continue
			}
			paths++
			if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
				return fmt.Errorf("path %q has no number", a.Value)
			}
		}
	}
	if root != "svg" || paths < 4 {
		return fmt.Errorf("the document is a %q with %d paths, want an svg with usage, forecast, floor and replicas", root, paths)
	}
	return nil
}

func checkForecasts(t *testing.T, dir string, ids []schemas.ComponentID) {
	name := filepath.Join(dir, "forecasts", "forecasts.parquet")
	forecasts, err := columnar.DecodeForecasts(name, read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	var got []schemas.ComponentID
	for _, f := range forecasts {
		if f.Resource == schemas.CPU {
			got = append(got, f.Component)
		}
		if f.Steps() != 96 || f.Step != 15*time.Minute {
			t.Errorf("the %s forecast of %s has %d steps of %s, want 96 of 15m", f.Resource, f.Component, f.Steps(), f.Step)
		}
		for i := range f.Steps() {
			if low, high := f.At(i, .1), f.At(i, .9); !(low >= 0 && low <= high) || math.IsInf(high, 0) {
				t.Errorf("step %d of the %s forecast of %s is from %v to %v, want ordered quantiles", i, f.Resource, f.Component, low, high)
			}
		}
	}
	slices.SortFunc(got, schemas.ComponentID.Compare)
	want := slices.SortedFunc(slices.Values(ids), schemas.ComponentID.Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components with a CPU forecast (-want +got):\n%s", diff)
	}
}

func checkManifests(t *testing.T, dir string, ids []schemas.ComponentID) {
	for _, id := range ids {
		name := filepath.Join(dir, "manifests", id.Service, id.Component+".yaml")
		var hpa autoscalingv2.HorizontalPodAutoscaler
		if err := yaml.UnmarshalStrict(read(t, name), &hpa); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if hpa.APIVersion != "autoscaling/v2" || hpa.Kind != "HorizontalPodAutoscaler" || hpa.Name == "" || hpa.Spec.ScaleTargetRef.Name == "" {
			t.Errorf("%s is the %s %s %q for %q, want a named HorizontalPodAutoscaler of autoscaling/v2 with a target", name, hpa.APIVersion, hpa.Kind, hpa.Name, hpa.Spec.ScaleTargetRef.Name)
		}
		if low := hpa.Spec.MinReplicas; low == nil || *low < 1 || *low > hpa.Spec.MaxReplicas {
			t.Errorf("%s: minReplicas %v must be from 1 to maxReplicas, %d", name, low, hpa.Spec.MaxReplicas)
		}
		if len(hpa.Spec.Metrics) == 0 {
			t.Errorf("%s has no metrics to scale by", name)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return data
}

func (o *outcome) add(x outcome) {
	o.UnderProvisionedMinutes += x.UnderProvisionedMinutes
	o.ReplicaHours += x.ReplicaHours
}

// near allows for the rounding of sums.
func (o outcome) near(x outcome) bool {
	close := func(a, b float64) bool { return a-b < 1e-6*(1+a) && b-a < 1e-6*(1+a) }
	return close(o.UnderProvisionedMinutes, x.UnderProvisionedMinutes) && close(o.ReplicaHours, x.ReplicaHours)
}

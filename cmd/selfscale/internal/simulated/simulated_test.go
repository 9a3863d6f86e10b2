package simulated_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/fleet"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/simulated"
	"github.com/self-scaling/self-scaling/schemas"
)

var first = schemas.ComponentID{Service: "crane", Component: "input0"}

func open(t *testing.T, file string) *simulated.Cluster {
	t.Helper()
	c, err := simulated.New(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// set changes the mode of a component.
func set(t *testing.T, c *simulated.Cluster, mode schemas.Mode) error {
	t.Helper()
	s := simulated.Services{Cluster: c}
	p, err := s.Policy(t.Context(), "", first.Service)
	if err != nil {
		t.Fatal(err)
	}
	p.Components[first.Component] = wire.Settings{Mode: &mode}
	return s.Replace(t.Context(), []api.ServicePolicy{p})
}

func TestServicesBeginInAuto(t *testing.T) {
	c := open(t, "")
	all, err := simulated.Services{Cluster: c}.Components(t.Context())
	if err != nil || len(all) != 16 {
		t.Fatalf("%d components (%v), want 16", len(all), err)
	}
	for _, x := range all {
		if x.Policy.Mode != schemas.Auto || x.CurrentReplicas == nil || x.Target == nil {
			t.Errorf("%v is in mode %s, want Auto, with replicas and a target", x.ID, x.Policy.Mode)
		}
	}
}

func TestReplace(t *testing.T) {
	c := open(t, "")
	s := simulated.Services{Cluster: c}
	if err := set(t, c, schemas.Off); err != nil {
		t.Fatal(err)
	}
	if p := c.Policy(first); p.Mode != schemas.Off {
		t.Errorf("the mode is %s, want Off", p.Mode)
	}
	if p := c.Policy(schemas.ComponentID{Service: "crane", Component: "input1"}); p.Mode != schemas.Auto {
		t.Errorf("the mode of another is %s, want Auto still", p.Mode)
	}
	read, err := s.Policy(t.Context(), "", "crane")
	if err != nil {
		t.Fatal(err)
	}
	old, wrong, elsewhere := read, read, read
	old.Version = "1"
	none := int32(-1)
	wrong.Components = map[string]wire.Settings{first.Component: {MinReplicas: &none}}
	elsewhere.Namespace = "shop"
	for _, tt := range []struct {
		name     string
		policies []api.ServicePolicy
		want     schemas.Code
	}{
		{"a policy that has changed since", []api.ServicePolicy{old}, schemas.CodeConflict},
		{"one that cannot be", []api.ServicePolicy{wrong}, schemas.CodeInvalidConfig},
		{"one of a service that is not there", []api.ServicePolicy{elsewhere}, schemas.CodeNotFound},
		{"all or none", []api.ServicePolicy{read, elsewhere}, schemas.CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Replace(t.Context(), tt.policies); schemas.CodeOf(err) != tt.want {
				t.Errorf("error %v (%s), want %s", err, schemas.CodeOf(err), tt.want)
			}
			if now, err := s.Policy(t.Context(), "", "crane"); err != nil || now.Version != read.Version {
				t.Errorf("version %s (%v), want %s still", now.Version, err, read.Version)
			}
		})
	}
}

func TestWhatIsSetIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "demo.json")
	c := open(t, file)
	if err := set(t, c, schemas.Shadow); err != nil {
		t.Fatal(err)
	}
	if err := (simulated.TrainValues{Cluster: c}).SetTrainValues(t.Context(), api.TrainValues{History: 9, Future: 2}); err != nil {
		t.Fatal(err)
	}
	// The clock runs until it is told to stop, and its time is kept.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, 60_000) }()
	for c.Clock().Now().Before(fleet.ReplayStart.Add(10 * time.Minute)) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	now := c.Clock().Now()

	again := open(t, file)
	if p := again.Policy(first); p.Mode != schemas.Shadow {
		t.Errorf("the mode is %s, want Shadow", p.Mode)
	}
	if v, err := (simulated.TrainValues{Cluster: again}).TrainValues(t.Context()); err != nil || v != (api.TrainValues{History: 9, Future: 2}) {
		t.Errorf("train values %+v (%v), want those that were set", v, err)
	}
	if !again.Clock().Now().Equal(now) || !again.Source().Now().Equal(now) {
		t.Errorf("it is %s, want %s", again.Clock().Now(), now)
	}
	// Somebody who read the policy before must read it again only where it changed.
	if err := set(t, again, schemas.Auto); err != nil {
		t.Error(err)
	}
}

func TestStateThatCannotBe(t *testing.T) {
	for _, tt := range []struct{ name, state, want string }{
		{"no JSON", `{`, "unexpected end of JSON input"},
		{"another time", `{"now": "2030-01-01T00:00:00Z", "trainValues": {"History": 1, "Future": 1}}`, "now must be a whole minute from 2021-10-16T00:00:00Z"},
		{"no train values", `{"now": "2021-10-17T00:00:00Z"}`, "History_data must be from 1 to 365"},
		{"a policy that cannot be", `{"now": "2021-10-17T00:00:00Z", "trainValues": {"History": 1, "Future": 1}, "policies": [{"spec": {"service": "crane", "minReplicas": -1}}]}`, "policy of crane: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "demo.json")
			if err := os.WriteFile(file, []byte(tt.state), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := simulated.New(file)
			if err == nil || !strings.HasPrefix(err.Error(), "state "+file+": ") || !strings.Contains(err.Error(), tt.want) || schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAChangeThatCannotBeKeptIsNone(t *testing.T) {
	dir := t.TempDir()
	c := open(t, filepath.Join(dir, "folder", "demo.json"))
	if err := os.WriteFile(filepath.Join(dir, "folder"), nil, 0o600); err != nil { // a file where a folder must be
		t.Fatal(err)
	}
	if err := set(t, c, schemas.Off); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("error %v, want that it cannot be kept", err)
	}
	if p := c.Policy(first); p.Mode != schemas.Auto {
		t.Errorf("the mode is %s, want Auto still", p.Mode)
	}
}

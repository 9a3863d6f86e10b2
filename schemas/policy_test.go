package schemas_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

func TestAPolicyIsReadBackAsItWasWritten(t *testing.T) {
	want := schemas.DefaultPolicy()
	want.Hold, want.MaxStep = 10*time.Minute, 3
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"leadTime":"2m0s"`) {
		t.Errorf("durations must be text, but the policy is %s", data)
	}
	var got schemas.Policy
	if err := json.Unmarshal(data, &got); err != nil || got != want {
		t.Errorf("read back %+v, %v; want %+v", got, err, want)
	}
}

func TestWhatAPolicyLeavesOpenKeepsItsDefault(t *testing.T) {
	got, err := schemas.ParsePolicy([]byte(`{"mode":"Auto","leadTime":"90s"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := schemas.DefaultPolicy()
	want.Mode, want.LeadTime = schemas.Auto, 90*time.Second
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAPolicyThatCannotBeReadNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"leadTime":"soon"}`:   `"soon"`,
		`{"leedTime":"90s"}`:    "leedTime",
		`{"minReplicas":"two"}`: "minReplicas",
		`{"cpuUtilizationFrom":"HorizontalPodAutoscaler/web"}`: "where a utilization comes from must not be set",
	} {
		if _, err := schemas.ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that names %s", text, err, want)
		}
	}
}

func TestPolicyRules(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*schemas.Policy)
		want string // part of the message, "" where the policy is valid
	}{
		"the default is valid":             {func(*schemas.Policy) {}, ""},
		"an unknown mode":                  {func(p *schemas.Policy) { p.Mode = "On" }, `mode must be Off, Shadow or Auto, but is "On"`},
		"a floor of nothing":               {func(p *schemas.Policy) { p.MinReplicas = 0 }, "minReplicas must be from 1"},
		"bounds the wrong way round":       {func(p *schemas.Policy) { p.MinReplicas, p.MaxReplicas = 5, 4 }, "maxReplicas must be from minReplicas (5)"},
		"a utilisation of nothing":         {func(p *schemas.Policy) { p.CPUUtilization = 0 }, "cpuUtilization must be above 0"},
		"a quantile that never is reached": {func(p *schemas.Policy) { p.Quantile = 1 }, "quantile must be above 0 and below 1"},
		"a lead time before now":           {func(p *schemas.Policy) { p.LeadTime = -time.Second }, "leadTime must be from 0s to 24h"},
		"a step down as a step up":         {func(p *schemas.Policy) { p.MaxStep = -1 }, "maxStep must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			p := schemas.DefaultPolicy()
			tt.edit(&p)
			err := p.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || schemas.CodeOf(err) != schemas.CodeInvalidConfig):
				t.Errorf("error %v (%s), want %q", err, schemas.CodeOf(err), tt.want)
			}
		})
	}
}

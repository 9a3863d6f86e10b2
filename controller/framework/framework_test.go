package framework_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestStatus(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name    string
		status  *framework.Status
		code    framework.Code
		reason  schemas.Reason
		message string
		err     error
	}{
		{"nil is success", nil, framework.Success, "", "", nil},
		{"an error is a PluginError", framework.AsStatus(broken), framework.Error, schemas.PluginError, "broken", broken},
		{"no error is nil", framework.AsStatus(nil), framework.Success, "", "", nil},
		{"a no has a reason", framework.NewStatus(framework.Rejected, schemas.StaleSamples, "old"), framework.Rejected, schemas.StaleSamples, "old", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.status
			if s.Code() != tt.code || s.Reason() != tt.reason || s.Message() != tt.message || !errors.Is(s.Err(), tt.err) || s.IsSuccess() != (tt.code == framework.Success) {
				t.Errorf("status = %s %q %q %v", s.Code(), s.Reason(), s.Message(), s.Err())
			}
			noted := s.WithPlugin("P")
			if s.Plugin() != "" {
				t.Error("WithPlugin must leave the status as it is, because a plugin may share one")
			}
			if s != nil && noted.Plugin() != "P" || s == nil && noted != nil {
				t.Errorf("noted plugin = %q", noted.Plugin())
			}
		})
	}
}

func TestCycleStateCarriesWhatPluginsLeave(t *testing.T) {
	state := framework.NewCycleState()
	band := schemas.Band{First: 1, Last: 4}
	if got := framework.ReadBacktestErrors(state, schemas.CPU, "Bank"); got != nil {
		t.Errorf("errors before any were written = %v", got)
	}
	if got := framework.ReadModel(state, "Bank"); got != "" {
		t.Errorf("model before any was written = %q", got)
	}
	framework.WriteBacktestErrors(state, schemas.CPU, "Bank", framework.BacktestErrors{band: 0.8})
	framework.WriteModel(state, "Network", "c0ffee")
	if diff := cmp.Diff(framework.BacktestErrors{band: 0.8}, framework.ReadBacktestErrors(state, schemas.CPU, "Bank")); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if got := framework.ReadBacktestErrors(state, schemas.Memory, "Bank"); got != nil {
		t.Errorf("errors of another resource = %v", got)
	}
	if framework.ReadModel(state, "Network") != "c0ffee" || framework.ReadModel(state, "Bank") != "" {
		t.Error("a model belongs to its forecaster")
	}
}

func TestWhatIsLargeIsGoneAfterTheForecastCycle(t *testing.T) {
	state := framework.NewCycleState()
	state.Write("small", 1)
	state.WriteWorking("large", 2)
	if v, ok := state.Read("large"); !ok || v != 2 {
		t.Errorf("large is %v, %v within the cycle, want 2", v, ok)
	}
	state.EndForecastCycle()
	if _, ok := state.Read("large"); ok {
		t.Error("large is still there after the cycle")
	}
	if v, ok := state.Read("small"); !ok || v != 1 {
		t.Errorf("small is %v, %v after the cycle, want 1", v, ok)
	}
}

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		json, want string
		refused    bool
	}{
		{`"15m"`, "15m0s", false},
		{`"1h30m"`, "1h30m0s", false},
		{`"0s"`, "0s", false},
		{`15`, "", true},
		{`"15"`, "", true},
		{`"tomorrow"`, "", true},
		{`{}`, "", true},
	} {
		t.Run(tt.json, func(t *testing.T) {
			var d framework.Duration
			err := json.Unmarshal([]byte(tt.json), &d)
			if (err != nil) != tt.refused {
				t.Fatalf("error = %v, want one: %t", err, tt.refused)
			}
			if tt.refused {
				return
			}
			again, err := json.Marshal(d)
			if err != nil || d.String() != tt.want || string(again) != `"`+tt.want+`"` {
				t.Errorf("%s = %s, written as %s (%v)", tt.json, d, again, err)
			}
		})
	}
}

func TestDecodeArgsKeepsTheDefaults(t *testing.T) {
	type args struct {
		Wait  framework.Duration `json:"wait"`
		Count int                `json:"count"`
		inner int
	}
	for _, tt := range []struct {
		name, json string
		want       args
		refused    string
	}{
		{"no arguments keep all defaults", "", args{framework.Duration(time.Minute), 3, 0}, ""},
		{"an empty map too", "{}", args{framework.Duration(time.Minute), 3, 0}, ""},
		{"what is given replaces its default", `{"count": 5}`, args{framework.Duration(time.Minute), 5, 0}, ""},
		{"an unknown name lists the known", `{"counts": 5}`, args{}, `unknown argument "counts"; known are: wait, count`},
		{"a name in other capitals is unknown", `{"Count": 5}`, args{}, `unknown argument "Count"`},
		{"a wrong kind is named", `{"count": "many"}`, args{}, `argument "count" must be of type int, but is a string`},
		{"a list is no map", `[1]`, args{}, "arguments must be a map of names and values, but are [1]"},
		{"two maps are not one", `{} {}`, args{}, "arguments must be a map of names and values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := args{Wait: framework.Duration(time.Minute), Count: 3}
			err := framework.DecodeArgs([]byte(tt.json), &got)
			if tt.refused != "" {
				if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("error = %v, want one with code %s that says %q", err, schemas.CodeInvalidConfig, tt.refused)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("DecodeArgs = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

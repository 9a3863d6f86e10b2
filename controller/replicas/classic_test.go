package replicas_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

// The numbers are those that the original system gave for a request of 250
// millicores and 256 MiB.
func TestClassicGivesTheOriginalsNumbers(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		cpu, memory               int64
		cpuRequest, memoryRequest int64
		wantMin, wantMax          int32
		nothingIsWritten          bool
	}{
		{name: "no forecast", cpuRequest: 250, memoryRequest: 256, wantMin: 1, wantMax: 4},
		{name: "one core and 100 MiB", cpu: 1000, memory: 100, cpuRequest: 250, memoryRequest: 256, wantMin: 6, wantMax: 9},
		{name: "188 millicores are one pod", cpu: 188, cpuRequest: 250, memoryRequest: 256, wantMin: 1, wantMax: 4},
		{name: "189 millicores are two", cpu: 189, cpuRequest: 250, memoryRequest: 256, wantMin: 2, wantMax: 5},
		{name: "five cores end at the cap", cpu: 5000, cpuRequest: 250, memoryRequest: 256, wantMin: 10, wantMax: 13},
		{name: "2000 MiB end at the cap", memory: 2000, cpuRequest: 250, memoryRequest: 256, wantMin: 10, wantMax: 13},
		{name: "nothing requested", cpu: 5000, wantMin: 1, wantMax: 1, nothingIsWritten: true},
		{name: "only CPU requested", cpu: 1000, memory: 9999, cpuRequest: 250, wantMin: 6, wantMax: 9},
		{name: "a request of a whole core", cpu: 1000, cpuRequest: 1000, memoryRequest: 256, wantMin: 2, wantMax: 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			low, high, ok := replicas.Classic(tt.cpu, tt.memory, tt.cpuRequest, tt.memoryRequest)
			if low != tt.wantMin || high != tt.wantMax || ok == tt.nothingIsWritten {
				t.Errorf("Classic = %d..%d, %t; want %d..%d, %t", low, high, ok, tt.wantMin, tt.wantMax, !tt.nothingIsWritten)
			}
		})
	}
}

func TestClassicPlan(t *testing.T) {
	const mib = 1 << 20
	requests := schemas.Requests{schemas.CPU: 0.25, schemas.Memory: 256 * mib}
	for _, tt := range []struct {
		name             string
		now              time.Time
		requests         schemas.Requests
		forecasts        forecasts
		wantMin, wantMax int32
		reason           schemas.Reason
	}{
		{"the median of the bucket in progress decides", now.Add(7 * time.Minute), requests,
			forecasts{schemas.CPU: forecast(schemas.CPU, 1, 5), schemas.Memory: forecast(schemas.Memory, 100*mib, 2000*mib)},
			6, 9, schemas.FloorRaised},
		{"at the border the bucket that begins counts", now.Add(15 * time.Minute), requests,
			forecasts{schemas.CPU: forecast(schemas.CPU, 1, 0.188)},
			1, 4, schemas.FloorLowered},
		{"the cap of ten is the formula's own", now, requests,
			forecasts{schemas.CPU: forecast(schemas.CPU, 5)},
			10, 13, schemas.FloorRaised},
		{"0.29 cores are 290 millicores", now, schemas.Requests{schemas.CPU: 0.289},
			forecasts{schemas.CPU: forecast(schemas.CPU, 0.29)},
			2, 5, schemas.FloorKept},
		{"without a forecast the operator's own bounds hold", now, requests, nil,
			2, 8, schemas.NoForecast},
		{"without requests the operator's own bounds hold", now, nil,
			forecasts{schemas.CPU: forecast(schemas.CPU, 5)},
			2, 8, schemas.NoRequests},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := policy(func(p *schemas.Policy) { p.MinReplicas, p.MaxReplicas = 2, 8 })
			d := replicas.Plan(replicas.Input{
				Component: web, Now: tt.now, Interval: 15 * time.Minute, Policy: p,
				Formula: schemas.FormulaClassic, Requests: tt.requests, Forecasts: tt.forecasts,
			})
			if d.MinReplicas != tt.wantMin || d.MaxReplicas != tt.wantMax || d.Reason != tt.reason {
				t.Errorf("decision = %d..%d (%s: %s), want %d..%d (%s)", d.MinReplicas, d.MaxReplicas, d.Reason, d.Message, tt.wantMin, tt.wantMax, tt.reason)
			}
			recompute(t, d)
		})
	}
}

// Plan and Classic are one formula.
func TestPropertyClassicPlanIsTheClassicFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cpu := rapid.Int64Range(0, 20000).Draw(t, "cpu")
		memory := rapid.Int64Range(0, 20000).Draw(t, "memory")
		cpuRequest := rapid.Int64Range(1, 4000).Draw(t, "cpu request")
		memoryRequest := rapid.Int64Range(1, 8000).Draw(t, "memory request")
		low, high, _ := replicas.Classic(cpu, memory, cpuRequest, memoryRequest)
		d := replicas.Plan(replicas.Input{
			Component: web, Now: now, Interval: 15 * time.Minute, Policy: policy(), Formula: schemas.FormulaClassic,
			Requests: schemas.Requests{schemas.CPU: float64(cpuRequest) / 1000, schemas.Memory: float64(memoryRequest << 20)},
			Forecasts: forecasts{
				schemas.CPU:    flat(schemas.CPU, float64(cpu)/1000),
				schemas.Memory: flat(schemas.Memory, float64(memory<<20)),
			},
		})
		if d.MinReplicas != low || d.MaxReplicas != high {
			t.Fatalf("Plan = %d..%d, Classic = %d..%d", d.MinReplicas, d.MaxReplicas, low, high)
		}
	})
}

package replicas

import (
	"math"

	"github.com/self-scaling/self-scaling/schemas"
)

// The constants of the original system's formula.
const (
	classicUtilization = 0.75
	classicCap         = 10 // highest minReplicas
	classicSpan        = 3  // maxReplicas above minReplicas
	classicLevel       = 0.5
	classicClampCap    = "ClassicCap"
)

// Classic computes minReplicas and maxReplicas as the original system does,
// from whole millicores and MiB:
//
//	min = min(10, max(int(cpu/(cpuRequest+1)/0.75), int(memory/(memoryRequest+1)/0.75)) + 1)
//	max = min + 3
//
// where cpu and memory are the total usage forecast for the quarter hour in
// progress, 0 where there is no forecast, and the requests are those of one
// pod. It reports false, and then the original writes nothing, where neither
// resource is requested. With only one of them requested the original stops
// with an error; here the other one counts for nothing.
func Classic(cpu, memory, cpuRequest, memoryRequest int64) (minReplicas, maxReplicas int32, ok bool) {
	if cpuRequest <= 0 && memoryRequest <= 0 {
		return 1, 1, false
	}
	n := int32(1)
	if cpuRequest > 0 {
		n = max(n, classicPods(cpu, cpuRequest))
	}
	if memoryRequest > 0 {
		n = max(n, classicPods(memory, memoryRequest))
	}
	n = min(n, classicCap)
	return n, n + classicSpan, true
}

// classicPods is int(usage/(request+1)/0.75)+1, which is at least 1: the
// divisions one after the other, because that is where its rounding lies.
func classicPods(usage, request int64) int32 {
	n := float64(max(0, usage)) / float64(request+1) / classicUtilization
	if n >= schemas.MaxReplicas {
		return schemas.MaxReplicas
	}
	return int32(n) + 1
}

// classicDemand cuts cores and bytes to the original's whole millicores and
// MiB.
func classicDemand(r schemas.Resource, usage, request float64) int32 {
	return classicPods(classicUnits(r, usage), classicUnits(r, request))
}

func classicUnits(r schemas.Resource, v float64) int64 {
	if r == schemas.Memory {
		return int64(v / (1 << 20))
	}
	// Cores as decimal fractions are not exact in binary: 0.29 cores are 290
	// millicores and not 289.
	return int64(math.Floor(v*1000*(1+1e-12) + 1e-9))
}

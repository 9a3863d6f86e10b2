package wire

import (
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Forecast is what one component will use of one resource, as quantiles for each
// bucket from origin on.
type Forecast struct {
	Component   ComponentID      `json:"component"`
	Resource    schemas.Resource `json:"resource" enum:"cpu,memory"`
	Unit        string           `json:"unit" enum:"cores,bytes" doc:"Unit of values and peaks"`
	Run         string           `json:"run" doc:"The run that made it"`
	Time        time.Time        `json:"time" doc:"The instant that it was made for"`
	Origin      time.Time        `json:"origin" doc:"Start of the first bucket that is forecast. Nothing measured from then on was seen"`
	Step        string           `json:"step" doc:"Length of a bucket" example:"15m0s"`
	StepSeconds int              `json:"stepSeconds" doc:"The same in seconds" example:"900"`
	Levels      []float64        `json:"levels" nullable:"false" doc:"The quantiles' levels, ascending"`
	Values      [][]float64      `json:"values" nullable:"false" doc:"Per bucket, the quantiles of its mean, one for each level"`
	Peaks       [][]float64      `json:"peaks,omitempty" doc:"Per bucket, for the first hours, the quantiles of its highest reading; absent where only means were ever measured"`
	Forecasters []string         `json:"forecasters,omitempty" doc:"Who made which part: steps 1 to 4, 5 to 16 and the rest"`
	Stale
}

// History is what one component used, bucket after bucket.
type History struct {
	Component   ComponentID `json:"component"`
	From        time.Time   `json:"from" doc:"Start of the first bucket that was asked for"`
	To          time.Time   `json:"to" doc:"End of the last"`
	Step        string      `json:"step" doc:"Length of a bucket" example:"15m0s"`
	StepSeconds int         `json:"stepSeconds" example:"900"`
	Buckets     []Bucket    `json:"buckets" nullable:"false" doc:"Those in which anything was measured, ascending. A missing bucket is missing, never zero"`
	Lost        bool        `json:"lost,omitempty" doc:"Some samples could not be read, because a file is damaged"`
	Stale
}

// Bucket is what one component used in one bucket, in total over its pods.
type Bucket struct {
	Start         time.Time `json:"start"`
	CPU           *Usage    `json:"cpu,omitempty" doc:"In cores; absent where it was not measured"`
	Memory        *Usage    `json:"memory,omitempty" doc:"In bytes; absent where it was not measured"`
	Replicas      *int32    `json:"replicas,omitempty" doc:"Pods at the end of the bucket"`
	CPURequest    *float64  `json:"cpuRequest,omitempty" doc:"Cores that one pod requested"`
	MemoryRequest *float64  `json:"memoryRequest,omitempty" doc:"Bytes that one pod requested"`
}

// Usage is what was measured of one resource.
type Usage struct {
	Mean  float64 `json:"mean"`
	Max   float64 `json:"max" doc:"The highest single reading"`
	Count int32   `json:"count" doc:"Readings in the bucket"`
}

// NewBucket returns a sample as it travels.
func NewBucket(s *schemas.Sample) Bucket {
	b := Bucket{Start: s.Start, Replicas: s.Replicas, CPURequest: s.CPURequest, MemoryRequest: s.MemoryRequest}
	if s.CPU != nil {
		b.CPU = &Usage{s.CPU.Mean, s.CPU.Max, s.CPU.Count}
	}
	if s.Memory != nil {
		b.Memory = &Usage{s.Memory.Mean, s.Memory.Max, s.Memory.Count}
	}
	return b
}

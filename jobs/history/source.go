package history

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Samples gives the buckets of [from, to) to add, component by component, as the
// collector's source. Replicas and requests come with the bucket in which they
// were last known. Step must be that of the file.
func (f *File) Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	if step != f.Step {
		return schemas.Errorf(schemas.CodeInvalidConfig, "%s: step must be that of its buckets, %s, but is %s", f.Name, f.Step, step)
	}
	minutes := int64(step / time.Minute)
	first, end := from.Unix()/60/minutes, to.Unix()/60/minutes
	for _, c := range f.components {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := int64(max(len(c.cpu.count), len(c.memory.count)))
		for _, k := range []known{c.replicas, c.cpuRequest, c.memoryRequest} {
			if k.value == k.value {
				n = max(n, k.bucket-c.first+1)
			}
		}
		for b := max(first, c.first); b < min(end, c.first+n); b++ {
			s := schemas.Sample{Component: c.id, Start: minuteTime(b * minutes), CPU: c.cpu.at(b - c.first), Memory: c.memory.at(b - c.first)}
			if v := c.replicas; v.bucket == b && v.value == v.value {
				n := int32(v.value)
				s.Replicas = &n
			}
			if v := c.cpuRequest; v.bucket == b && v.value == v.value {
				s.CPURequest = &v.value
			}
			if v := c.memoryRequest; v.bucket == b && v.value == v.value {
				s.MemoryRequest = &v.value
			}
			if s.CPU == nil && s.Memory == nil && s.Replicas == nil && s.CPURequest == nil && s.MemoryRequest == nil {
				continue
			}
			if err := add(&s); err != nil {
				return err
			}
		}
	}
	return nil
}

// at returns the usage in bucket i, nil where there was no reading.
func (u *usage) at(i int64) *schemas.Usage {
	if i >= int64(len(u.count)) || u.count[i] == 0 {
		return nil
	}
	return &schemas.Usage{Mean: u.mean[i], Max: u.max[i], Count: int32(u.count[i])}
}

package history

import (
	"context"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// Samples gives the buckets of [from, to) to add, component by component, as the
// collector's source. Replicas and requests come with every bucket that has a
// row which knows them. Step must be that of the file.
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
		// Copies, which the passes below cut down.
		replicas, cpuRequest, memoryRequest := c.replicas, c.cpuRequest, c.memoryRequest
		n = max(n, replicas.end()-c.first, cpuRequest.end()-c.first, memoryRequest.end()-c.first)
		for b := max(first, c.first); b < min(end, c.first+n); b++ {
			s := schemas.Sample{
				Component: c.id, Start: minuteTime(b * minutes), CPU: c.cpu.at(b - c.first), Memory: c.memory.at(b - c.first),
				CPURequest: cpuRequest.at(b), MemoryRequest: memoryRequest.at(b),
			}
			if v := replicas.at(b); v != nil {
				n := int32(*v)
				s.Replicas = &n
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
	return &schemas.Usage{Mean: u.mean[i], Max: u.highest(int(i)), Count: int32(u.count[i])}
}

package history

import (
	"math"
	"slices"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// gatherer puts rows into buckets while they are read. The distance of rows is
// known only at the end; buckets are filled as if it were no longer than them,
// and where it was, each held one row at most and they are made longer then.
type gatherer struct {
	name       string
	bucket     int64 // length of a bucket, in minutes
	components map[string]*component
	order      []*component
	last       *component // of the row before
	key        []byte
	rows       int64
	first, end int64 // oldest minute, newest minute
	// divisor divides the minute of every row.
	divisor int64
}

// component is what was gathered of one component.
type component struct {
	id schemas.ComponentID
	// namespace, service and name are the bytes that rows are compared with.
	namespace, service, name string
	// follower is the component whose row came after the newest one of this: in
	// files sorted by time, it mostly comes after the next one too.
	follower *component

	first       int64 // bucket number of index 0, since 1970
	minute      int64 // of the newest row
	cpu, memory usage
	distances   distances

	replicas, cpuRequest, memoryRequest levels
}

// levels are the values of what seldom changes, oldest first.
type levels []level

// level is a value that every bucket from first to last, both included, has.
type level struct {
	value       float64
	first, last int32 // bucket numbers since 1970
}

// usage is what was gathered of one resource. While rows are read, mean holds
// sums. Max is nil as long as no bucket has two readings: each is its own maximum then.
type usage struct {
	mean, max []float64
	count     []uint8
}

func newGatherer(name string, step time.Duration) *gatherer {
	return &gatherer{name: name, bucket: int64(step / time.Minute), components: map[string]*component{}}
}

// add takes a row.
func (g *gatherer) add(r *row) error {
	c, err := g.find(r)
	if err != nil {
		return err
	}
	bucket := r.minute / g.bucket
	if c.minute < 0 {
		c.first = bucket
	} else {
		distance := r.minute - c.minute
		if distance <= 0 {
			was := time.Unix(c.minute*60, 0).UTC().Format(time.RFC3339)
			if distance == 0 {
				return r.errorf("time", "rows of %s must not repeat a time, but %s comes twice", c.id, was)
			}
			return r.errorf("time", "rows of %s must be in order of time, but %s comes after %s", c.id, r.instant(), was)
		}
		c.distances.add(distance)
	}
	c.minute = r.minute
	if g.rows == 0 {
		g.first, g.end, g.divisor = r.minute, r.minute, r.minute
	}
	g.rows++
	g.first, g.end = min(g.first, r.minute), max(g.end, r.minute)
	if g.end-g.first > int64(maxSpan/time.Minute) {
		return r.errorf("time", "the file must cover at most %d days, but %s is further than that from another row", maxSpan/(24*time.Hour), r.instant())
	}
	if g.divisor == 0 || r.minute%g.divisor != 0 {
		g.divisor = gcd(g.divisor, r.minute)
	}
	i := int(bucket - c.first)
	c.cpu.add(i, r.cpu)
	c.memory.add(i, r.memory)
	c.replicas.set(r.replicas, bucket)
	c.cpuRequest.set(r.cpuRequest, bucket)
	c.memoryRequest.set(r.memoryRequest, bucket)
	return nil
}

// set takes the value of a row whose bucket is not before the newest one. The
// newest row of a bucket counts.
func (l *levels) set(v float64, bucket int64) {
	if v != v {
		return
	}
	b := int32(bucket)
	if n := len(*l); n > 0 {
		newest := &(*l)[n-1]
		switch {
		case newest.value == v && b <= newest.last+1:
			newest.last = b
			return
		case newest.last == b && newest.first == b:
			newest.value = v
			return
		case newest.last == b:
			newest.last--
		}
	}
	*l = append(*l, level{v, b, b})
}

// newest returns the value that was known last, NaN where none was.
func (l levels) newest() float64 {
	if len(l) == 0 {
		return math.NaN()
	}
	return l[len(l)-1].value
}

// end returns the bucket after the newest one with a value, 0 where there is
// none.
func (l levels) end() int64 {
	if len(l) == 0 {
		return 0
	}
	return int64(l[len(l)-1].last) + 1
}

// at returns the value of a bucket, nil where it has none. It leaves out the
// levels before the bucket, so that one pass over ascending buckets sees each
// level once.
func (l *levels) at(bucket int64) *float64 {
	for len(*l) > 0 && int64((*l)[0].last) < bucket {
		*l = (*l)[1:]
	}
	if len(*l) == 0 || int64((*l)[0].first) > bucket {
		return nil
	}
	return &(*l)[0].value
}

// find returns the row's component.
func (g *gatherer) find(r *row) (*component, error) {
	if last := g.last; last != nil {
		if last.is(r) {
			return last, nil
		}
		if next := last.follower; next != nil && next.is(r) {
			g.last = next
			return next, nil
		}
	}
	g.key = append(g.key[:0], r.namespace...)
	g.key = append(g.key, 0)
	g.key = append(g.key, r.service...)
	g.key = append(g.key, 0)
	g.key = append(g.key, r.component...)
	c := g.components[string(g.key)]
	if c == nil {
		id := r.id()
		if err := id.Validate(); err != nil {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "%s: %s %d: %w", r.file, r.where, r.at, err)
		}
		c = &component{id: id, namespace: id.Namespace, service: id.Service, name: id.Component, minute: -1}
		g.components[string(g.key)] = c
		g.order = append(g.order, c)
	}
	if g.last != nil {
		g.last.follower = c
	}
	g.last = c
	return c, nil
}

// is reports whether a row is of this component.
func (c *component) is(r *row) bool {
	return string(r.component) == c.name && string(r.service) == c.service && string(r.namespace) == c.namespace
}

// add takes a reading of bucket i, which is not before the newest one.
func (u *usage) add(i int, v float64) {
	if v != v {
		return
	}
	for len(u.count) <= i {
		u.mean = append(u.mean, 0)
		u.count = append(u.count, 0)
		if u.max != nil {
			u.max = append(u.max, math.NaN())
		}
	}
	if u.count[i] > 0 && u.max == nil {
		u.max = slices.Clone(u.mean)
	}
	u.mean[i] += v
	if u.max != nil && (u.count[i] == 0 || v > u.max[i]) {
		u.max[i] = v
	}
	u.count[i]++
}

// average turns sums into means.
func (u *usage) average() {
	for i, count := range u.count {
		switch {
		case count == 0:
			u.mean[i] = math.NaN()
		case u.max != nil:
			// Rounding must not lift the mean above the maximum.
			u.mean[i] = min(u.mean[i]/float64(count), u.max[i])
		}
	}
}

// highest returns the highest reading of bucket i, which has one.
func (u *usage) highest(i int) float64 {
	if u.max == nil {
		return u.mean[i]
	}
	return u.max[i]
}

// distances keeps the shortest distance between two rows of a component, and
// which distances came many times in a row.
type distances struct {
	shortest     int64
	newest, runs int64
	// longest holds how often in a row the distances that came most came.
	longest [4]struct{ distance, runs int64 }
}

func (d *distances) add(distance int64) {
	if d.shortest == 0 || distance < d.shortest {
		d.shortest = distance
	}
	if distance != d.newest {
		d.newest, d.runs = distance, 0
	}
	d.runs++
	if d.runs < mixedRuns {
		return
	}
	slot := 0
	for i := range d.longest {
		if d.longest[i].distance == distance {
			slot = i
			break
		}
		if d.longest[i].runs < d.longest[slot].runs {
			slot = i
		}
	}
	if d.longest[slot].distance == distance || d.longest[slot].runs < d.runs {
		d.longest[slot].distance, d.longest[slot].runs = distance, max(d.runs, d.longest[slot].runs)
	}
}

// Rows that are missing here and there are gaps, and half of them missing is a
// thin component. But the same distance, at least mixedFactor times the file's,
// mixedRuns times in a row, is another step.
const (
	mixedRuns   = 8
	mixedFactor = 3
)

// file returns the result. Where a row is off the grid it returns the grid's
// step in minutes with the error.
func (g *gatherer) file() (f *File, off int64, err error) {
	if g.rows == 0 {
		return nil, 0, schemas.Errorf(schemas.CodeInvalidData, "%s: must have rows, but has a header only", g.name)
	}
	rowStep, off, err := g.rowStep()
	if err != nil {
		return nil, off, err
	}
	step := max(rowStep, g.bucket)
	slices.SortFunc(g.order, func(a, b *component) int { return a.id.Compare(b.id) })
	f = &File{
		Name: g.name, Rows: g.rows,
		RowStep: time.Duration(rowStep) * time.Minute, Step: time.Duration(step) * time.Minute,
		From: minuteTime(g.first / step * step), To: minuteTime((g.end/step + 1) * step),
		components: g.order,
	}
	for _, c := range g.order {
		if step > g.bucket {
			c.lengthen(g.bucket, step)
		}
		c.cpu.average()
		c.memory.average()
	}
	return f, 0, nil
}

func minuteTime(m int64) time.Time { return time.Unix(m*60, 0).UTC() }

// rowStep returns the distance of the file's rows, in minutes.
func (g *gatherer) rowStep() (step, off int64, err error) {
	var finest *component
	for _, c := range g.order {
		if d := c.distances.shortest; d > 0 && (step == 0 || d < step) {
			step, finest = d, c
		}
	}
	if step == 0 { // no component has two rows
		return g.bucket, 0, nil
	}
	if err := schemas.ValidateStep(time.Duration(step) * time.Minute); err != nil {
		return 0, 0, schemas.Errorf(schemas.CodeInvalidData, "%s: the distance between rows of a component must be 1 to 60 whole minutes that divide a day, but the shortest, of %s, is %s", g.name, finest.id, time.Duration(step)*time.Minute)
	}
	if g.divisor%step != 0 {
		return 0, step, schemas.Errorf(schemas.CodeInvalidData, "%s: times must be multiples of %s", g.name, time.Duration(step)*time.Minute)
	}
	for _, c := range g.order {
		for _, l := range c.distances.longest {
			if l.runs >= mixedRuns && l.distance >= mixedFactor*step {
				return 0, 0, schemas.Errorf(schemas.CodeInvalidData, "%s: steps must not be mixed, but rows of %s are %s apart %d times in a row, and those of %s %s",
					g.name, c.id, time.Duration(l.distance)*time.Minute, l.runs, finest.id, time.Duration(step)*time.Minute)
			}
		}
	}
	return step, 0, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// lengthen moves the readings from buckets of one length to longer ones. Rows
// are at least the longer length apart and on its grid, so that each bucket of
// either length holds one at most.
func (c *component) lengthen(from, to int64) {
	// A row at minute m lies in bucket m/from; of the minutes of that bucket,
	// only one is a multiple of to.
	long := func(bucket int64) int64 { return (bucket*from + from - 1) / to }
	first := long(c.first)
	for _, u := range []*usage{&c.cpu, &c.memory} {
		var out usage
		for i, n := range u.count {
			if n > 0 {
				out.add(int(long(c.first+int64(i))-first), u.mean[i])
			}
		}
		*u = out
	}
	c.first = first
	for _, l := range []*levels{&c.replicas, &c.cpuRequest, &c.memoryRequest} {
		var out levels
		for _, level := range *l {
			for b := level.first; b <= level.last; b++ {
				out.set(level.value, long(int64(b)))
			}
		}
		*l = out
	}
}

// history returns the component's series, which end with the bucket before end.
func (c *component) history(step, end int64) schemas.History {
	h := schemas.History{Component: c.id, Series: map[schemas.Resource]*schemas.Series{}, Requests: schemas.Requests{}}
	for _, r := range schemas.Resources() {
		u := c.usage(r)
		if len(u.count) == 0 {
			continue
		}
		s := &schemas.Series{
			Component: c.id, Resource: r, Start: minuteTime(c.first * step), Step: time.Duration(step) * time.Minute,
			Mean: make([]float64, end-c.first), Max: make([]float64, end-c.first),
		}
		for i := range s.Mean {
			s.Mean[i], s.Max[i] = math.NaN(), math.NaN()
			if i < len(u.count) && u.count[i] > 0 {
				s.Mean[i], s.Max[i] = u.mean[i], u.highest(i)
			}
		}
		h.Series[r] = s
	}
	if v := c.replicas.newest(); v == v {
		n := int32(v)
		h.Replicas = &n
	}
	// A request of nothing is none: a share of it could not be in use.
	if v := c.cpuRequest.newest(); v > 0 {
		h.Requests[schemas.CPU] = v
	}
	if v := c.memoryRequest.newest(); v > 0 {
		h.Requests[schemas.Memory] = v
	}
	return h
}

func (c *component) usage(r schemas.Resource) *usage {
	if r == schemas.Memory {
		return &c.memory
	}
	return &c.cpu
}

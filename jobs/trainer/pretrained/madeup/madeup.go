// Package madeup makes up the usage of components that do not exist, as training
// data that belongs to nobody and as fleets of any size to measure with.
package madeup

import (
	"math"
	"math/rand/v2"
)

// Day is the number of steps of a day.
const Day = 96

// rhythms are the numbers of steps after which a job may run again. Some do not
// divide the day, as five hours do not.
var rhythms = [...]int{Day, Day, Day, Day / 2, Day / 4, 4, 8, 7 * Day, 6, 10, 20, 28, 40}

// Usage returns days of usage of an imagined component. What kind it is, a shop
// with busy hours, a queue, a nightly job, a leak, is drawn from the seed, and so
// are all of its sizes.
func Usage(seed uint64, days int) []float64 {
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	between := func(a, b float64) float64 { return a + (b-a)*r.Float64() }
	chance := func(p float64) bool { return r.Float64() < p }

	profile := func() []float64 { // of a day, around 0
		p := make([]float64, Day)
		for k := range 1 + r.IntN(5) {
			size, phase := between(.2, 1)/float64(k+1), between(0, 2*math.Pi)
			for i := range p {
				p[i] += size * math.Cos(2*math.Pi*float64(k+1)*float64(i)/Day+phase)
			}
		}
		return p
	}
	weekday, weekend := profile(), profile()
	rhythm := between(0, 1.2)
	if chance(.25) {
		rhythm = 0 // no rhythm of a day at all
	}
	quiet := 1.0 // level of the weekend
	if chance(.5) {
		quiet = between(.2, 1)
	}
	if chance(.7) {
		weekend = weekday
	}
	first := r.IntN(7)      // weekday of the first day
	hour := r.IntN(Day)     // time of the first step
	walk := 0.0             // logarithm of a level that wanders
	wander := 0.0           // how far it does in a step
	back := between(0, .03) // and how fast it comes back
	if chance(.7) {
		wander = math.Exp(between(math.Log(.002), math.Log(.1)))
	}
	noise, memory := math.Exp(between(math.Log(.005), math.Log(.6))), between(0, .95)
	if chance(.4) {
		memory = 0
	}
	shifts := 0.0 // chance of a new level at a step
	if chance(.3) {
		shifts = between(.1, .5) / Day
	}
	type job struct {
		every, at, lasts int
		size             float64
	}
	var work []job
	for chance(.35) && len(work) < 3 {
		every := rhythms[r.IntN(len(rhythms))]
		work = append(work, job{every, r.IntN(every), 1 + r.IntN(1+every/8), between(.3, 4)})
	}
	bursts, burst := 0.0, 0.0
	if chance(.4) {
		bursts = between(.05, 2) / Day
	}
	growth, leak := 0.0, 0.0 // of memory, until a restart
	if chance(.1) {
		growth = between(.001, .02)
	}
	counts := chance(.12)
	rate := between(.05, 3)
	level, shift, drift := math.Exp(between(-3, 6)), 0.0, 0.0
	coarse := 0.0
	if chance(.4) {
		coarse = level * math.Pow(10, -float64(1+r.IntN(3)))
	}
	if chance(.06) {
		rhythm, noise, wander, counts = 0, 0, 0, false // flat but for what happens
	}
	restless := chance(.5) // noise grows with usage
	y := make([]float64, days*Day)
	for i := range y {
		t := i + hour
		d := (t/Day + first) % 7
		shape := weekday[t%Day]
		busy := 1.0
		if d >= 5 {
			shape, busy = weekend[t%Day], quiet
		}
		walk = (1-back)*walk + wander*r.NormFloat64()
		if chance(shifts) {
			shift = between(-1, 1)
		}
		drift = memory*drift + math.Sqrt(1-memory*memory)*r.NormFloat64()
		v := busy * math.Exp(rhythm*shape+walk+shift)
		if restless {
			v *= math.Exp(noise * drift)
		} else {
			v += noise * drift
		}
		for _, j := range work {
			if (t-j.at)%j.every < j.lasts && t >= j.at {
				v += j.size
			}
		}
		if chance(bursts) {
			burst = between(1, 8)
		}
		v += burst
		burst *= .6
		if growth > 0 {
			if leak += growth; chance(leak / 400) {
				leak = 0
			}
			v += leak
		}
		if counts {
			v = poisson(r, rate*max(0, v)) / rate
		}
		v = level * max(0, v)
		if coarse > 0 {
			v = math.Round(v/coarse) * coarse
		}
		y[i] = v
	}
	return y
}

// poisson draws a count with the given mean (Knuth).
func poisson(r *rand.Rand, mean float64) float64 {
	if mean > 30 {
		return math.Round(max(0, mean+math.Sqrt(mean)*r.NormFloat64()))
	}
	limit, p, n := math.Exp(-mean), 1.0, 0
	for p *= r.Float64(); p > limit; p *= r.Float64() {
		n++
	}
	return float64(n)
}

package fit

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/gorgonia"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

var levels = schemas.DefaultLevels()

// lesson returns examples in which the candidate that the bank believes in is
// right where the first feature is above zero, and another one where it is below:
// something to be learned.
func lesson(n int, seed uint64) *Rows {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &Rows{}
	for range n {
		x := make([]float32, network.NumFeatures)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		// The bank believes in the second candidate, and a little in the third.
		for c := range bank.Count {
			x[c] = 3
		}
		x[1], x[2] = 0, .2
		sign := float32(1)
		if rng.IntN(2) == 0 {
			sign = -1
		}
		x[bank.Count] = sign
		r.Features = append(r.Features, x...)
		differences := make([]float32, bank.Count)
		for c := range differences {
			differences[c] = float32(rng.NormFloat64())
		}
		differences[5] = float32(math.NaN())
		r.Differences = append(r.Differences, differences...)
		for _, l := range levels {
			r.Offsets = append(r.Offsets, float32(l-.5))
		}
		actual := differences[1]
		if sign < 0 {
			actual = differences[2]
		}
		r.Actual = append(r.Actual, actual+float32(.1*rng.NormFloat64()))
		r.Weight = append(r.Weight, 1)
	}
	return r
}

func options() Options {
	return Options{Hidden: 8, Batch: 64, Epochs: 8, LearningRate: 2e-2, Seeds: 2, Seed: 1}
}

func TestTrainingLearnsWhatTheBankDoesNotSee(t *testing.T) {
	res, err := Train(t.Context(), lesson(4096, 1), lesson(512, 2), levels, nil, options())
	if err != nil {
		t.Fatal(err)
	}
	if !(res.Loss < .5*res.BankLoss) {
		t.Errorf("loss %.4f, want less than half of the bank's %.4f", res.Loss, res.BankLoss)
	}
	if err := res.Weights.Validate(); err != nil {
		t.Error(err)
	}
}

func TestWhatCountsForLittleTeachesLittle(t *testing.T) {
	// Twice as many examples teach the opposite.
	train := lesson(1024, 1)
	wrong := lesson(2048, 3)
	for i := range wrong.Actual {
		wrong.Actual[i], wrong.Weight[i] = -wrong.Actual[i]-5, .01
	}
	train.Append(wrong)
	res, err := Train(t.Context(), train, lesson(512, 2), levels, nil, options())
	if err != nil {
		t.Fatal(err)
	}
	if !(res.Loss < .5*res.BankLoss) {
		t.Errorf("loss %.4f, want less than half of the bank's %.4f", res.Loss, res.BankLoss)
	}
	for i := range train.Weight {
		train.Weight[i] = 1
	}
	if res, err = Train(t.Context(), train, lesson(512, 2), levels, nil, options()); err != nil {
		t.Fatal(err)
	}
	if res.Loss < .5*res.BankLoss {
		t.Errorf("loss %.4f where all count alike, of the bank's %.4f: the lesson is too easy to show anything", res.Loss, res.BankLoss)
	}
}

func TestALossDoesNotDependOnTheProcessors(t *testing.T) {
	rows := lesson(3*lossBlock+17, 1)
	w := network.New(levels, 4, rand.New(rand.NewPCG(1, 1)).NormFloat64)
	all := Loss(w, levels, rows)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if one := Loss(w, levels, rows); one != all {
		t.Errorf("loss %v with one processor, %v with all", one, all)
	}
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	train, validate := lesson(512, 1), lesson(64, 2)
	var first []byte
	for i := range 2 {
		res, err := Train(t.Context(), train, validate, levels, nil, options())
		if err != nil {
			t.Fatal(err)
		}
		data, err := res.Weights.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = data
		} else if diff := cmp.Diff(first, data); diff != "" {
			t.Error("two trainings with one seed gave different weights")
		}
	}
	o := options()
	o.Seed = 2
	res, err := Train(t.Context(), train, validate, levels, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := res.Weights.Encode(); cmp.Equal(first, data) {
		t.Error("another seed gave the same weights")
	}
}

func TestNothingToLearnKeepsTheStartingPoint(t *testing.T) {
	// What happens has nothing to do with the features, and the validation
	// examples are the bank's own quantiles to the letter.
	noise := lesson(256, 1)
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range noise.Actual {
		noise.Actual[i] = float32(50 * rng.NormFloat64())
	}
	exact := lesson(64, 2)
	clear(exact.Offsets)
	clear(exact.Differences)
	clear(exact.Actual)
	res, err := Train(t.Context(), noise, exact, levels, nil, options())
	if err != nil {
		t.Fatal(err)
	}
	if res.Loss > res.BankLoss {
		t.Errorf("loss %v is above the bank's %v", res.Loss, res.BankLoss)
	}
}

func TestForwardEqualsGorgonia(t *testing.T) {
	const rows = 48
	rng := rand.New(rand.NewPCG(5, 5))
	w := network.New(levels, 8, rng.NormFloat64)
	for _, p := range w.Parts() {
		for j := range p.Data {
			p.Data[j] = float32(.05 * rng.NormFloat64())
		}
	}
	m, err := newMachine(w, rows)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	examples := lesson(rows, 3)
	index := make([]int, rows)
	for i := range index {
		index[i] = i
	}
	m.load(examples, index)
	var got gorgonia.Value
	m.results = append(m.results, gorgonia.Read(m.output, &got))
	m.restart()
	if err := m.run(); err != nil {
		t.Fatal(err)
	}
	want, offsets := make([]float64, len(levels)), make([]float64, len(levels))
	var pass network.Pass
	pass.Load(w)
	for i := range rows {
		x := examples.Features[i*network.NumFeatures : (i+1)*network.NumFeatures]
		for j, v := range examples.Offsets[i*len(levels) : (i+1)*len(levels)] {
			offsets[j] = float64(v)
		}
		network.Quantiles(pass.Forward(x), x, examples.Differences[i*bank.Count:(i+1)*bank.Count], levels, offsets, want)
		middle, _ := network.Center(levels, offsets) // what load takes off
		for j := range levels {
			v := got.Data().([]float32)[j*rows+i]
			if d := math.Abs(float64(v) + middle - want[j]); d > 1e-5*max(1, math.Abs(want[j])) {
				t.Fatalf("level %v of example %d is %v here and %v in Gorgonia", levels[j], i, want[j], float64(v)+middle)
			}
		}
	}
}

func TestTrainingStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := options()
	o.Progress = func(epoch, _ int, _ float64) {
		if epoch == 2 {
			cancel()
		}
	}
	if _, err := Train(ctx, lesson(512, 1), lesson(64, 2), levels, nil, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

func TestBadExamplesAreRefused(t *testing.T) {
	poisoned := lesson(256, 1)
	poisoned.Actual[17] = float32(math.NaN())
	for name, train := range map[string]*Rows{"none": {}, "one is NaN": poisoned} {
		t.Run(name, func(t *testing.T) {
			_, err := Train(t.Context(), train, lesson(64, 2), levels, nil, options())
			if schemas.CodeOf(err) != schemas.CodeInvalidData {
				t.Errorf("error %v, want invalid data", err)
			}
		})
	}
}

// BenchmarkStep is one optimiser step of the network that production trains.
func BenchmarkStep(b *testing.B) {
	o := DefaultOptions()
	rng := rand.New(rand.NewPCG(1, 1))
	m, err := newMachine(network.New(levels, o.Hidden, rng.NormFloat64), o.Batch)
	if err != nil {
		b.Fatal(err)
	}
	defer m.close()
	rows := lesson(o.Batch, 1)
	index := make([]int, o.Batch)
	for i := range index {
		index[i] = i
	}
	b.ReportAllocs()
	for b.Loop() {
		m.load(rows, index)
		if err := m.step(1e-3); err != nil {
			b.Fatal(err)
		}
	}
}

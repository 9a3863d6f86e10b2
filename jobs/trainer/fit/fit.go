// Package fit trains the weights of jobs/trainer/network with Gorgonia. It is
// the only package that links Gorgonia.
package fit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// Rows are examples: for each, a feature vector, what the candidates of the bank
// say, the bank's residual quantiles, and what really happened, all as
// differences from the bank's forecast in units of [network.Window.Scale]. Each
// has a weight: what it counts for beside the others.
type Rows struct {
	Features    []float32 // n x network.NumFeatures
	Differences []float32 // n x bank.Count, NaN where a candidate has no forecast
	Offsets     []float32 // n x levels
	Actual      []float32 // n
	Weight      []float32 // n, each above 0
}

// Len returns the number of examples.
func (r *Rows) Len() int { return len(r.Actual) }

// Append adds the examples of another.
func (r *Rows) Append(other *Rows) {
	r.Features = append(r.Features, other.Features...)
	r.Differences = append(r.Differences, other.Differences...)
	r.Offsets = append(r.Offsets, other.Offsets...)
	r.Actual = append(r.Actual, other.Actual...)
	r.Weight = append(r.Weight, other.Weight...)
}

// Grow makes room for n more examples at once.
func (r *Rows) Grow(n, levels int) {
	r.Features = slices.Grow(r.Features, n*network.NumFeatures)
	r.Differences = slices.Grow(r.Differences, n*bank.Count)
	r.Offsets = slices.Grow(r.Offsets, n*levels)
	r.Actual = slices.Grow(r.Actual, n)
	r.Weight = slices.Grow(r.Weight, n)
}

// Reset forgets the examples and keeps their memory.
func (r *Rows) Reset() {
	r.Features, r.Differences, r.Offsets, r.Actual, r.Weight = r.Features[:0], r.Differences[:0], r.Offsets[:0], r.Actual[:0], r.Weight[:0]
}

// Options say how to train. [DefaultOptions] has values that work.
type Options struct {
	Hidden int // units of the hidden layer
	Batch  int // examples of one optimiser step
	Epochs int // passes over the examples, at most
	// LearningRate is that of Adam where training begins anew, TuningRate where it
	// goes on from a network. Both fall to zero as a cosine.
	LearningRate, TuningRate float64
	Seeds                    int    // networks that are trained, and whose mean is taken
	Seed                     uint64 // of the first of them
	// Progress, if not nil, is called after each epoch of each network with the
	// validation loss, by one goroutine at a time.
	Progress func(epoch, epochs int, loss float64)
}

// DefaultOptions returns the options that production uses.
func DefaultOptions() Options {
	return Options{Hidden: 8, Batch: 512, Epochs: 2, LearningRate: 3e-3, TuningRate: 1e-3, Seeds: 3, Seed: 1}
}

// Result is a trained network beside what it was measured against.
type Result struct {
	Weights *network.Weights
	// Loss is the weighted mean of the pinball loss on the validation examples, in
	// units of the bank's mean absolute error, and InitialLoss that of the network it went on
	// from. BankLoss is that of the bank's own quantiles on the same examples.
	Loss, InitialLoss, BankLoss float64
	Steps                       int // optimiser steps
}

// Train fits a network to the examples train by minimising the pinball loss of
// its quantiles (Koenker and Bassett, "Regression Quantiles", 1978) with Adam,
// and returns the weights of the epoch that did best on the examples validate.
// It does so for several seeds and takes the mean of their networks: those that
// begin anew stand side by side, those that go on from the same initial weights
// stay near enough to each other for the mean of their weights.
// The network it starts from is initial, or one that answers exactly as the
// bank does where initial is nil; that starting point is also what it returns
// where no epoch improved on it.
//
// The same examples, options and initial weights give the same weights.
func Train(ctx context.Context, train, validate *Rows, levels []float64, initial *network.Weights, o Options) (*Result, error) {
	if train.Len() == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "training needs at least 1 example, but has none")
	}
	res := &Result{BankLoss: Loss(nil, levels, validate), InitialLoss: Loss(initial, levels, validate)}
	seeds := max(1, o.Seeds)
	trained, steps := make([]*network.Weights, seeds), make([]int, seeds)
	var mu sync.Mutex
	epochs := 0
	done := func(loss float64) {
		mu.Lock()
		defer mu.Unlock()
		if epochs++; o.Progress != nil {
			o.Progress(epochs, seeds*o.Epochs, loss)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for k := range seeds {
		g.Go(func() (err error) {
			trained[k], steps[k], err = train1(ctx, train, validate, levels, initial, res.InitialLoss, o, k, done)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, n := range steps {
		res.Steps += n
	}
	if initial == nil {
		res.Weights = network.Join(trained...)
	} else {
		res.Weights = network.Mean(trained...)
	}
	res.Loss, res.Weights = shrink(res.Weights, initial, levels, validate)
	return res, nil
}

// train1 trains the k-th network and returns the weights of its best epoch, which
// may be the initial ones, whose loss is least.
func train1(ctx context.Context, train, validate *Rows, levels []float64, initial *network.Weights, least float64, o Options, k int, done func(loss float64)) (*network.Weights, int, error) {
	rng := rand.New(rand.NewPCG(o.Seed+uint64(k), 0x5e1f5ca1e))
	w, highest := initial, o.TuningRate
	if w == nil {
		w, highest = network.New(levels, o.Hidden, rng.NormFloat64), o.LearningRate
	}
	w = w.Clone()
	m, err := newMachine(w, min(o.Batch, train.Len()))
	if err != nil {
		return nil, 0, fmt.Errorf("build the training graph: %w", err)
	}
	defer m.close()
	perEpoch := train.Len() / m.batch
	order := make([]int, train.Len())
	for i := range order {
		order[i] = i
	}
	best := w.Clone()
	total, steps := perEpoch*o.Epochs, 0
	for range o.Epochs {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for b := range perEpoch {
			if err := ctx.Err(); err != nil {
				return nil, 0, err
			}
			rate := highest * .5 * (1 + math.Cos(math.Pi*float64(steps)/float64(total)))
			m.load(train, order[b*m.batch:(b+1)*m.batch])
			if err := m.step(rate); err != nil {
				return nil, 0, fmt.Errorf("training step %d: %w", steps, err)
			}
			steps++
		}
		m.save(w)
		loss := Loss(w, levels, validate)
		if loss < least {
			least, best = loss, w.Clone()
		}
		done(loss)
	}
	return best, steps, nil
}

// shrink returns the network drawn towards the one that it went on from, or
// towards the bank, by the share of a few that does best on the validation
// examples, and the loss with it. A network that is right about the direction
// but has learned the size of a step from too few series is kept this way,
// instead of being thrown away or believed too much.
func shrink(w, initial *network.Weights, levels []float64, validate *Rows) (float64, *network.Weights) {
	if validate.Len() == 0 {
		return math.NaN(), w
	}
	if initial == nil {
		initial = w.Clone()
		for _, part := range []*network.Matrix{&initial.Direct, &initial.Bias, &initial.Output} {
			clear(part.Data)
		}
	}
	least, best := math.Inf(1), w
	for _, share := range []float32{1, .75, .5, .25, 0} {
		c := w.Clone()
		parts, towards := c.Parts(), initial.Parts()
		for i := range parts {
			for j, v := range towards[i].Data {
				parts[i].Data[j] = v + share*(parts[i].Data[j]-v)
			}
		}
		if loss := Loss(c, levels, validate); loss < least {
			least, best = loss, c
		}
	}
	return least, best
}

// lossBlock is how many examples are summed up by themselves, so that the sum does
// not depend on the number of processors.
const lossBlock = 2048

// Loss is the mean pinball loss over the levels of the quantiles that a network
// gives for the examples, each by its weight, or that the bank alone gives where w
// is nil. It is NaN without examples.
func Loss(w *network.Weights, levels []float64, r *Rows) float64 {
	n, q := r.Len(), len(levels)
	if n == 0 {
		return math.NaN()
	}
	sums := make([]float64, (n+lossBlock-1)/lossBlock)
	workers := min(runtime.GOMAXPROCS(0), len(sums))
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for b := k; b < len(sums); b += workers {
				sums[b] = lossOf(w, levels, r, b*lossBlock, min(n, (b+1)*lossBlock))
			}
		})
	}
	wg.Wait()
	sum, weight := 0.0, 0.0
	for _, s := range sums {
		sum += s
	}
	for _, v := range r.Weight {
		weight += float64(v)
	}
	return sum / weight / float64(q)
}

// lossOf is the weighted sum of the loss over the examples [first, last) and the
// levels.
func lossOf(w *network.Weights, levels []float64, r *Rows, first, last int) float64 {
	q := len(levels)
	row, offsets := make([]float64, q), make([]float64, q)
	var pass network.Pass
	if w != nil {
		pass.Load(w)
	}
	sum := 0.0
	for i := first; i < last; i++ {
		for j, v := range r.Offsets[i*q : (i+1)*q] {
			offsets[j] = float64(v)
		}
		copy(row, offsets)
		if w != nil {
			x := r.Features[i*network.NumFeatures : (i+1)*network.NumFeatures]
			network.Quantiles(pass.Forward(x), x, r.Differences[i*bank.Count:(i+1)*bank.Count], levels, offsets, row)
		}
		y, loss := float64(r.Actual[i]), 0.0
		for j, l := range levels {
			e := y - row[j]
			loss += max(l*e, (l-1)*e)
		}
		sum += float64(r.Weight[i]) * loss
	}
	return sum
}

// weightDecay draws weights towards zero, or towards those that training goes on
// from, by that share of the learning rate in each step (Loshchilov and Hutter,
// "Decoupled Weight Decay Regularization", 2019), so that what the examples do
// not ask for is not learned.
const weightDecay = 0.1

// machine is the static graph of one training step: the network, its loss and
// its gradients, for a fixed number of examples. An example is a column, and all
// matrices of the network are transposed, so that the innermost loop of each product
// goes over the examples, not over the few outputs.
type machine struct {
	batch, q int
	levels   []float64
	graph    *gorgonia.ExprGraph
	results  gorgonia.Nodes // what a step needs of the graph
	vm       gorgonia.VM
	output   *gorgonia.Node
	inputs   []input
	weights  gorgonia.Nodes
	home     [][]float32 // what weight decay draws towards
	adam     []moments
	steps    int
	offsets  []float64 // of one example
}

// input is a matrix that is filled anew for each step, with a column for each
// example.
type input struct {
	node  *gorgonia.Node
	value *tensor.Dense
	data  []float32
}

// The inputs, by index.
const (
	inFeatures = iota
	inPrior    // logarithms of the bank's weights
	inDifferences
	inLower // offsets from the median's, of the levels below it
	inUpper // of the others
	inSpread
	inActual
	inWeight
)

// builder makes nodes and remembers the first error.
type builder struct {
	graph *gorgonia.ExprGraph
	err   error
}

func (b *builder) keep(n *gorgonia.Node, err error) *gorgonia.Node {
	if b.err == nil {
		b.err = err
	}
	return n
}

func (b *builder) two(op func(a, b *gorgonia.Node) (*gorgonia.Node, error), x, y *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.keep(op(x, y))
}

func (b *builder) one(op func(*gorgonia.Node) (*gorgonia.Node, error), x *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.keep(op(x))
}

func (b *builder) mul(x, y *gorgonia.Node) *gorgonia.Node { return b.two(gorgonia.Mul, x, y) }
func (b *builder) add(x, y *gorgonia.Node) *gorgonia.Node { return b.two(gorgonia.Add, x, y) }
func (b *builder) times(x, y *gorgonia.Node) *gorgonia.Node {
	return b.two(func(x, y *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.HadamardProd(x, y) }, x, y)
}
func (b *builder) over(x, y *gorgonia.Node) *gorgonia.Node {
	return b.two(func(x, y *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.HadamardDiv(x, y) }, x, y)
}

// matrix makes a node with the values given.
func (b *builder) matrix(name string, rows, cols int, data []float32) (*gorgonia.Node, *tensor.Dense) {
	value := tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(data))
	return gorgonia.NewMatrix(b.graph, tensor.Float32, gorgonia.WithShape(rows, cols), gorgonia.WithName(name), gorgonia.WithValue(value)), value
}

func (b *builder) constant(name string, rows, cols int, value func(i, j int) float32) *gorgonia.Node {
	data := make([]float32, rows*cols)
	for i := range rows {
		for j := range cols {
			data[i*cols+j] = value(i, j)
		}
	}
	n, _ := b.matrix(name, rows, cols, data)
	return n
}

func one(int, int) float32 { return 1 }

// building is held while a graph is made: Gorgonia's constants, into which it writes
// while it differentiates, are shared by all graphs.
var building sync.Mutex

func newMachine(w *network.Weights, batch int) (*machine, error) {
	building.Lock()
	defer building.Unlock()
	q := len(w.Levels)
	m := &machine{batch: batch, q: q, levels: w.Levels, graph: gorgonia.NewGraph(), offsets: make([]float64, q)}
	b := &builder{graph: m.graph}
	for _, in := range []struct {
		name string
		rows int
	}{
		{"features", network.NumFeatures}, {"prior", bank.Count}, {"differences", bank.Count},
		{"lower", q}, {"upper", q}, {"spread", 1}, {"actual", q}, {"weight", q},
	} {
		data := make([]float32, in.rows*batch)
		node, value := b.matrix(in.name, in.rows, batch, data)
		m.inputs = append(m.inputs, input{node, value, data})
	}
	in := func(k int) *gorgonia.Node { return m.inputs[k].node }
	parts := map[string]*gorgonia.Node{}
	for _, p := range w.Parts() {
		data := make([]float32, len(p.Data))
		transpose(data, p.Data, p.Rows, p.Cols)
		n, _ := b.matrix(p.Name, p.Cols, p.Rows, data)
		parts[p.Name] = n
		m.weights = append(m.weights, n)
		m.home = append(m.home, slices.Clone(data))
	}

	// A bias enters as a product with a row of ones, and a row is spread over a
	// matrix as a product with a column of ones: plain matrix products both ways,
	// which need no broadcast. So are rows picked, with a matrix of which the product
	// leaves the zeros out.
	ones := b.constant("ones", 1, batch, one)
	overCandidates, overLevels := b.constant("over candidates", 1, bank.Count, one), b.constant("over levels", q, 1, one)
	pick := func(name string, rows, first int) *gorgonia.Node {
		return b.constant(name, rows, network.NumOutputs, func(i, j int) float32 {
			if j == first+i {
				return 1
			}
			return 0
		})
	}
	hidden := b.one(gorgonia.Rectify, b.add(b.mul(parts["hidden"], in(inFeatures)), b.mul(parts["hidden-bias"], ones)))
	z := b.add(b.add(b.mul(parts["direct"], in(inFeatures)), b.mul(parts["bias"], ones)), b.mul(parts["output"], hidden))
	// The weighted mean of the candidates: weights are proportional to these powers.
	power := b.one(gorgonia.Exp, b.add(b.mul(pick("gates", bank.Count, 0), z), in(inPrior)))
	point := b.over(b.mul(overCandidates, b.times(power, in(inDifferences))), b.mul(overCandidates, power))
	point = b.add(point, b.times(in(inSpread), b.mul(pick("shift", 1, bank.Count+2), z)))
	lower := b.mul(overLevels, b.one(gorgonia.Exp, b.mul(pick("below", 1, bank.Count), z)))
	upper := b.mul(overLevels, b.one(gorgonia.Exp, b.mul(pick("above", 1, bank.Count+1), z)))
	quantile := b.add(b.mul(overLevels, point), b.add(b.times(in(inLower), lower), b.times(in(inUpper), upper)))
	m.output = quantile

	// Pinball loss of e = actual - quantile: 0.5|e| + (tau-0.5) e.
	tau := b.constant("tau", q, batch, func(i, _ int) float32 { return float32(w.Levels[i] - .5) })
	half := b.constant("half", q, batch, func(int, int) float32 { return .5 })
	e := b.two(gorgonia.Sub, in(inActual), quantile)
	loss := b.times(in(inWeight), b.add(b.times(half, b.one(gorgonia.Abs, e)), b.times(tau, e)))
	mean := b.one(func(n *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Mean(n) }, loss)
	if b.err != nil {
		return nil, b.err
	}
	gradients, err := gorgonia.Grad(mean, m.weights...)
	if err != nil {
		return nil, err
	}
	m.results = append(gradients, mean)
	m.restart()
	for _, h := range m.home {
		m.adam = append(m.adam, moments{make([]float32, len(h)), make([]float32, len(h))})
	}
	return m, nil
}

// restart makes the machine that runs what the results need of the graph as it is
// now. The rest is left out: Gorgonia also differentiates with respect to what is
// given, such as the features.
func (m *machine) restart() {
	m.vm = gorgonia.NewTapeMachine(m.graph.SubgraphRoots(m.results...), gorgonia.BindDualValues(m.weights...))
}

// transpose writes a matrix of rows by cols to a matrix of cols by rows.
func transpose(to, from []float32, rows, cols int) {
	for i := range rows {
		for j := range cols {
			to[j*rows+i] = from[i*cols+j]
		}
	}
}

// A single outlier must not own the gradient of its batch.
const farOut = 30

// tile is how many examples are copied together: what they take of a row is one cache
// line.
const tile = 16

// load copies the examples of the given indices into the graph's inputs.
func (m *machine) load(r *Rows, index []int) {
	for first := 0; first < len(index); first += tile {
		m.loadTile(r, first, index[first:min(len(index), first+tile)])
	}
}

// loadTile is load for the columns from the first on.
func (m *machine) loadTile(r *Rows, first int, index []int) {
	f, c, q := network.NumFeatures, bank.Count, m.q
	row := func(input, j int) []float32 { return m.inputs[input].data[j*m.batch+first:][:len(index)] }
	for j := range f {
		to := row(inFeatures, j)
		for i, k := range index {
			to[i] = r.Features[k*f+j]
		}
	}
	for j := range c {
		prior, difference := row(inPrior, j), row(inDifferences, j)
		for i, k := range index {
			d, p := r.Differences[k*c+j], -bank.Exponent*r.Features[k*f+j]
			if d != d { // counts for nothing
				d, p = 0, -60
			}
			prior[i], difference[i] = p, max(-farOut, min(farOut, d))
		}
	}
	var middles [tile]float64
	spread := row(inSpread, 0)
	for i, k := range index {
		for j, v := range r.Offsets[k*q : (k+1)*q] {
			m.offsets[j] = float64(v)
		}
		middle, s := network.Center(m.levels, m.offsets)
		middles[i], spread[i] = middle, float32(s)
	}
	for j, l := range m.levels {
		side, other := row(inLower, j), row(inUpper, j)
		if l >= .5 {
			side, other = other, side
		}
		clear(other)
		actual, weight := row(inActual, j), row(inWeight, j)
		for i, k := range index {
			side[i] = float32(float64(r.Offsets[k*q+j]) - middles[i])
			actual[i] = max(-farOut, min(farOut, r.Actual[k]-float32(middles[i])))
			weight[i] = r.Weight[k]
		}
	}
}

// run takes the loaded examples through the graph, forwards and backwards.
func (m *machine) run() error {
	for _, in := range m.inputs {
		if err := gorgonia.Let(in.node, in.value); err != nil {
			return err
		}
	}
	return m.vm.RunAll()
}

// moments are Adam's running means of a gradient and of its square.
type moments struct{ mean, square []float32 }

// step runs the graph and applies Adam (Kingma and Ba, "Adam: A Method for
// Stochastic Optimization", 2015).
func (m *machine) step(rate float64) error {
	if err := m.run(); err != nil {
		return err
	}
	m.steps++
	const beta1, beta2, epsilon = .9, .999, 1e-8
	c1, c2 := 1-math.Pow(beta1, float64(m.steps)), 1-math.Pow(beta2, float64(m.steps))
	scale, root := float32(rate/c1), float32(1/c2)
	for k, n := range m.weights {
		value, err := n.Grad()
		if err != nil {
			return err
		}
		grad, w, a := value.Data().([]float32), n.Value().Data().([]float32), m.adam[k]
		for i, g := range grad {
			if g-g != 0 {
				return schemas.Errorf(schemas.CodeInvalidData, "gradient %d of %s must be finite, but is %v", i, n.Name(), g)
			}
			a.mean[i] += (1 - beta1) * (g - a.mean[i])
			a.square[i] += (1 - beta2) * (g*g - a.square[i])
			w[i] -= scale*a.mean[i]/(float32(math.Sqrt(float64(a.square[i]*root)))+epsilon) + float32(rate*weightDecay)*(w[i]-m.home[k][i])
			grad[i] = 0
		}
	}
	m.vm.Reset()
	return nil
}

// save copies the graph's weights into w.
func (m *machine) save(w *network.Weights) {
	for i, p := range w.Parts() {
		transpose(p.Data, m.weights[i].Value().Data().([]float32), p.Cols, p.Rows)
	}
}

func (m *machine) close() { _ = m.vm.Close() }

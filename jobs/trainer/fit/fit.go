// Package fit trains the weights of jobs/trainer/network with Gorgonia. It is
// the only package that links Gorgonia.
package fit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
)

// Rows are examples: for each, a feature vector, the bank's residual quantiles
// and what really happened, both as differences from the anchor in units of the
// scale (see [network.Step]).
type Rows struct {
	Features []float32 // n x network.NumFeatures
	Offsets  []float32 // n x levels
	Actual   []float32 // n
}

// Len returns the number of examples.
func (r *Rows) Len() int { return len(r.Actual) }

// Options say how to train. [DefaultOptions] has values that work.
type Options struct {
	Hidden       []int   // units of each hidden layer
	Batch        int     // examples of one optimiser step
	Epochs       int     // passes over the examples, at most
	LearningRate float64 // of Adam, falling to zero as a cosine
	Seed         uint64
	// Progress, if not nil, is called after each epoch with the validation loss.
	Progress func(epoch, epochs int, loss float64)
}

// DefaultOptions returns the options that production uses.
func DefaultOptions() Options {
	return Options{Hidden: []int{32, 32}, Batch: 384, Epochs: 6, LearningRate: 3e-3, Seed: 1}
}

// Result is a trained network beside what it was measured against.
type Result struct {
	Weights *network.Weights
	// Loss is the mean pinball loss on the validation examples, in units of the
	// bank's mean absolute error. BankLoss is that of the bank's own quantiles on
	// the same examples.
	Loss, BankLoss float64
	Steps          int // optimiser steps
}

// Train fits a network to the examples train by minimising the pinball loss of
// its quantiles (Koenker and Bassett, "Regression Quantiles", 1978) with Adam,
// and returns the weights of the epoch that did best on the examples validate.
// The network it starts from is initial, or one that answers exactly as the
// bank does where initial is nil; that starting point is also what it returns
// where no epoch improved on it.
//
// The same examples, options and initial weights give the same weights.
func Train(ctx context.Context, train, validate *Rows, levels []float64, initial *network.Weights, o Options) (*Result, error) {
	if train.Len() == 0 {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "training needs at least 1 example, but has none")
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x5e1f5ca1e))
	w := initial
	if w == nil {
		w = network.New(levels, o.Hidden, rng.NormFloat64)
	}
	w = w.Clone()
	m, err := newMachine(w, min(o.Batch, train.Len()))
	if err != nil {
		return nil, fmt.Errorf("build the training graph: %w", err)
	}
	defer m.close()

	res := &Result{Weights: w.Clone(), BankLoss: Loss(nil, levels, validate)}
	res.Loss = Loss(w, levels, validate)
	perEpoch := train.Len() / m.batch
	order := make([]int, train.Len())
	for i := range order {
		order[i] = i
	}
	total := perEpoch * o.Epochs
	for epoch := range o.Epochs {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for b := range perEpoch {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			rate := o.LearningRate * .5 * (1 + math.Cos(math.Pi*float64(res.Steps)/float64(total)))
			m.load(train, order[b*m.batch:(b+1)*m.batch])
			if err := m.step(rate); err != nil {
				return nil, fmt.Errorf("training step %d: %w", res.Steps, err)
			}
			res.Steps++
		}
		m.save(w)
		loss, best := shrink(w, levels, validate)
		if loss < res.Loss {
			res.Loss, res.Weights = loss, best
		}
		if o.Progress != nil {
			o.Progress(epoch+1, o.Epochs, loss)
		}
	}
	return res, nil
}

// shrink returns the network with its corrections drawn towards none, by the
// factor of a few that does best on the validation examples, and the loss with
// it. A network that is right about the direction but has learned the size of
// its corrections from too few series is kept this way, instead of being thrown
// away or believed too much.
func shrink(w *network.Weights, levels []float64, validate *Rows) (float64, *network.Weights) {
	least, best := math.Inf(1), w
	for _, factor := range []float32{1, .75, .5, .25} {
		c := w.Clone()
		last := &c.Layers[len(c.Layers)-1]
		for i := range last.Weight {
			last.Weight[i] *= factor
		}
		for i := range last.Bias {
			last.Bias[i] *= factor
		}
		if loss := Loss(c, levels, validate); loss < least {
			least, best = loss, c
		}
	}
	return least, best
}

// Loss is the mean pinball loss over the levels of the quantiles that a network
// gives for the examples, or that the bank alone gives where w is nil. It is NaN
// without examples.
func Loss(w *network.Weights, levels []float64, r *Rows) float64 {
	n, q := r.Len(), len(levels)
	if n == 0 {
		return math.NaN()
	}
	const chunk = 512
	out := make([]float32, chunk*q)
	var scratch []float32
	row := make([]float64, q)
	sum := 0.0
	for from := 0; from < n; from += chunk {
		rows := min(chunk, n-from)
		if w != nil {
			scratch = w.Forward(r.Features[from*network.NumFeatures:(from+rows)*network.NumFeatures], rows, out, scratch)
		}
		for i := range rows {
			copyRow(row, r.Offsets[(from+i)*q:], out[i*q:], w != nil)
			y := float64(r.Actual[from+i])
			for j, l := range levels {
				e := y - row[j]
				sum += max(l*e, (l-1)*e)
			}
		}
	}
	return sum / float64(n*q)
}

func copyRow(row []float64, offsets, correction []float32, corrected bool) {
	for j := range row {
		row[j] = float64(offsets[j])
		if corrected {
			row[j] += float64(correction[j])
		}
	}
}

// weightDecay draws weights towards zero in proportion, so that what the
// examples do not ask for is not learned.
const weightDecay = 1e-3

// machine is the static graph of one training step: the network, its loss and
// its gradients, for a fixed number of rows.
type machine struct {
	batch   int
	q       int
	graph   *gorgonia.ExprGraph
	vm      gorgonia.VM
	output  *gorgonia.Node
	x, c, y *gorgonia.Node
	xv      []float32
	cv      []float32
	yv      []float32
	xt      *tensor.Dense
	ct      *tensor.Dense
	yt      *tensor.Dense
	weights gorgonia.Nodes
	grads   []gorgonia.ValueGrad
	solver  gorgonia.Solver
}

func newMachine(w *network.Weights, batch int) (*machine, error) {
	q := len(w.Levels)
	m := &machine{batch: batch, q: q, graph: gorgonia.NewGraph()}
	g := m.graph
	m.xv = make([]float32, batch*network.NumFeatures)
	m.cv = make([]float32, batch*q)
	m.yv = make([]float32, batch*q)
	m.xt = tensor.New(tensor.WithShape(batch, network.NumFeatures), tensor.WithBacking(m.xv))
	m.ct = tensor.New(tensor.WithShape(batch, q), tensor.WithBacking(m.cv))
	m.yt = tensor.New(tensor.WithShape(batch, q), tensor.WithBacking(m.yv))
	m.x = gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(batch, network.NumFeatures), gorgonia.WithName("x"), gorgonia.WithValue(m.xt))
	m.c = gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(batch, q), gorgonia.WithName("offsets"), gorgonia.WithValue(m.ct))
	m.y = gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(batch, q), gorgonia.WithName("actual"), gorgonia.WithValue(m.yt))
	ones := constant(g, "ones", batch, 1, func(int, int) float32 { return 1 })
	tau := constant(g, "tau", batch, q, func(_, j int) float32 { return float32(w.Levels[j] - .5) })
	half := constant(g, "half", batch, q, func(int, int) float32 { return .5 })

	h := m.x
	for i, l := range w.Layers {
		weight := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(l.In, l.Out), gorgonia.WithName(fmt.Sprintf("w%d", i)),
			gorgonia.WithValue(tensor.New(tensor.WithShape(l.In, l.Out), tensor.WithBacking(append([]float32(nil), l.Weight...)))))
		bias := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(1, l.Out), gorgonia.WithName(fmt.Sprintf("b%d", i)),
			gorgonia.WithValue(tensor.New(tensor.WithShape(1, l.Out), tensor.WithBacking(append([]float32(nil), l.Bias...)))))
		m.weights = append(m.weights, weight, bias)
		product, err := gorgonia.Mul(h, weight)
		if err != nil {
			return nil, err
		}
		// The bias enters as a product with a column of ones, which is a plain
		// matrix product both ways and needs no broadcast.
		spread, err := gorgonia.Mul(ones, bias)
		if err != nil {
			return nil, err
		}
		if h, err = gorgonia.Add(product, spread); err != nil {
			return nil, err
		}
		if i < len(w.Layers)-1 {
			if h, err = gorgonia.Rectify(h); err != nil {
				return nil, err
			}
		}
	}
	// Pinball loss of e = actual - quantile: 0.5|e| + (tau-0.5) e.
	loss, err := func() (*gorgonia.Node, error) {
		quantile, err := gorgonia.Add(h, m.c)
		if err != nil {
			return nil, err
		}
		e, err := gorgonia.Sub(m.y, quantile)
		if err != nil {
			return nil, err
		}
		abs, err := gorgonia.Abs(e)
		if err != nil {
			return nil, err
		}
		symmetric, err := gorgonia.HadamardProd(half, abs)
		if err != nil {
			return nil, err
		}
		tilt, err := gorgonia.HadamardProd(tau, e)
		if err != nil {
			return nil, err
		}
		sum, err := gorgonia.Add(symmetric, tilt)
		if err != nil {
			return nil, err
		}
		return gorgonia.Mean(sum)
	}()
	if err != nil {
		return nil, err
	}
	if _, err := gorgonia.Grad(loss, m.weights...); err != nil {
		return nil, err
	}
	m.output = h
	m.restart()
	m.grads = gorgonia.NodesToValueGrads(m.weights)
	m.solver = gorgonia.NewAdamSolver(gorgonia.WithL2Reg(weightDecay))
	return m, nil
}

// restart makes the machine that runs the graph as it is now.
func (m *machine) restart() {
	m.vm = gorgonia.NewTapeMachine(m.graph, gorgonia.BindDualValues(m.weights...))
}

func constant(g *gorgonia.ExprGraph, name string, rows, cols int, value func(i, j int) float32) *gorgonia.Node {
	v := make([]float32, rows*cols)
	for i := range rows {
		for j := range cols {
			v[i*cols+j] = value(i, j)
		}
	}
	return gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(rows, cols), gorgonia.WithName(name),
		gorgonia.WithValue(tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(v))))
}

// load copies the examples of the given indices into the graph's inputs.
func (m *machine) load(r *Rows, index []int) {
	f, q := network.NumFeatures, m.q
	for i, k := range index {
		copy(m.xv[i*f:(i+1)*f], r.Features[k*f:(k+1)*f])
		copy(m.cv[i*q:(i+1)*q], r.Offsets[k*q:(k+1)*q])
		for j := range q {
			m.yv[i*q+j] = r.Actual[k]
		}
	}
}

// run takes the loaded examples through the graph, forwards and backwards.
func (m *machine) run() error {
	for _, in := range []struct {
		node  *gorgonia.Node
		value *tensor.Dense
	}{{m.x, m.xt}, {m.c, m.ct}, {m.y, m.yt}} {
		if err := gorgonia.Let(in.node, in.value); err != nil {
			return err
		}
	}
	return m.vm.RunAll()
}

// step runs the graph and applies Adam (Kingma and Ba, "Adam: A Method for
// Stochastic Optimization", 2015).
func (m *machine) step(rate float64) error {
	if err := m.run(); err != nil {
		return err
	}
	for _, n := range m.weights {
		grad, err := n.Grad()
		if err != nil {
			return err
		}
		for i, v := range grad.Data().([]float32) {
			if v != v || math.IsInf(float64(v), 0) {
				return schemas.Errorf(schemas.CodeInvalidData, "gradient %d of %s must be finite, but is %v", i, n.Name(), v)
			}
		}
	}
	gorgonia.WithLearnRate(rate)(m.solver)
	if err := m.solver.Step(m.grads); err != nil {
		return err
	}
	m.vm.Reset()
	return nil
}

// save copies the graph's weights into w.
func (m *machine) save(w *network.Weights) {
	for i := range w.Layers {
		copy(w.Layers[i].Weight, m.weights[2*i].Value().Data().([]float32))
		copy(w.Layers[i].Bias, m.weights[2*i+1].Value().Data().([]float32))
	}
}

func (m *machine) close() { _ = m.vm.Close() }

// Package network is the trained half of the forecast: one small quantile
// network for all components together. It does not predict usage itself. It
// looks at what the candidates of jobs/trainer/bank say, at how well each did of
// late and at how the last days went, and says how far each candidate is to be
// believed, and how sure the result is: weights that add up to 1, two factors for
// the spread of the bank's residuals and a shift in units of that spread. So its
// forecast always lies among those of the candidates, whatever series it is shown
// (Montero-Manso et al., "FFORMA: Feature-based forecast model averaging", 2020,
// weigh whole methods in this manner). A network of zeros is the bank itself, so
// training can only start from it.
//
// This package holds the features and the forward pass and links no tensor
// library; jobs/trainer/fit trains the weights with Gorgonia.
package network

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlpodyssey/safetensors"

	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/schemas"
)

// FeatureSet names the meaning of the inputs and outputs. Weights trained on
// another set cannot be used.
const FeatureSet = "bank-gate-2"

// NumOutputs is the length of an output: for each candidate what is added to the
// logarithm of the bank's weight, the logarithms of the factors for the spread
// below and above the median, and the shift.
const NumOutputs = bank.Count + 3

// Matrix is row-major.
type Matrix struct {
	Rows, Cols int
	Data       []float32
}

func newMatrix(rows, cols int) Matrix { return Matrix{rows, cols, make([]float32, rows*cols)} }

// Weights are a trained network: the inputs lead to the outputs directly, and
// once more through a layer of rectified units:
//
//	output = x Direct + Bias + rectify(x Hidden + HiddenBias) Output
type Weights struct {
	Levels     []float64
	Direct     Matrix // NumFeatures x NumOutputs
	Bias       Matrix // 1 x NumOutputs
	Hidden     Matrix // NumFeatures x units
	HiddenBias Matrix // 1 x units
	Output     Matrix // units x NumOutputs
}

// New returns weights of zeros, and of the given number of hidden units that are
// drawn from a seeded source (He et al., "Delving Deep into Rectifiers", 2015)
// but lead nowhere yet.
func New(levels []float64, hidden int, normal func() float64) *Weights {
	w := &Weights{
		Levels: slices.Clone(levels), Direct: newMatrix(NumFeatures, NumOutputs), Bias: newMatrix(1, NumOutputs),
		Hidden: newMatrix(NumFeatures, hidden), HiddenBias: newMatrix(1, hidden), Output: newMatrix(hidden, NumOutputs),
	}
	for i := range w.Hidden.Data {
		w.Hidden.Data[i] = float32(normal() * math.Sqrt(2/float64(NumFeatures)))
	}
	return w
}

// Parts returns the matrices by name, in a fixed order.
func (w *Weights) Parts() []Part {
	return []Part{
		{"direct", &w.Direct}, {"bias", &w.Bias}, {"hidden", &w.Hidden}, {"hidden-bias", &w.HiddenBias}, {"output", &w.Output},
	}
}

// Part is one matrix of a network.
type Part struct {
	Name string
	*Matrix
}

// Clone returns a deep copy.
func (w *Weights) Clone() *Weights {
	out := *w
	out.Levels = slices.Clone(w.Levels)
	for _, p := range out.Parts() {
		p.Data = slices.Clone(p.Data)
	}
	return &out
}

// Join returns the network whose output is the mean of those given, which must
// have the same levels: the mean of what leads directly, and all hidden units
// side by side.
func Join(all ...*Weights) *Weights {
	units := 0
	for _, w := range all {
		units += w.Hidden.Cols
	}
	share := 1 / float32(len(all))
	out := New(all[0].Levels, units, func() float64 { return 0 })
	first := 0
	for _, w := range all {
		for i, v := range w.Direct.Data {
			out.Direct.Data[i] += share * v
		}
		for i, v := range w.Bias.Data {
			out.Bias.Data[i] += share * v
		}
		n := w.Hidden.Cols
		for i := range NumFeatures {
			copy(out.Hidden.Data[i*units+first:], w.Hidden.Data[i*n:(i+1)*n])
		}
		copy(out.HiddenBias.Data[first:], w.HiddenBias.Data)
		for i, v := range w.Output.Data {
			out.Output.Data[first*NumOutputs+i] = share * v
		}
		first += n
	}
	return out
}

// Mean returns the network whose weights are the means of those given, which must
// have the same shape.
func Mean(all ...*Weights) *Weights {
	out := all[0].Clone()
	for i, p := range out.Parts() {
		for j := range p.Data {
			sum := 0.0
			for _, w := range all {
				sum += float64(w.Parts()[i].Data[j])
			}
			p.Data[j] = float32(sum / float64(len(all)))
		}
	}
	return out
}

// Pass is a network made ready for forward passes, and the memory for them, to be used
// again with the next network.
type Pass struct {
	weights *Weights
	// steps holds what leads from the features of a step to the outputs and the hidden
	// units, side by side: eight features at a time, for each of these units the eight
	// weights in a row, and then those of the features that are left.
	steps       []float32
	shared, sum []float32 // of the outputs and the hidden units
	active      []int     // hidden units
}

// Load makes a network ready, which must not be changed while passes are made.
func (p *Pass) Load(w *Weights) {
	units := NumOutputs + w.Hidden.Cols
	p.weights = w
	p.steps = slices.Grow(p.steps[:0], numOfStep*units)[:numOfStep*units]
	p.shared = slices.Grow(p.shared[:0], units)[:units]
	p.sum = slices.Grow(p.sum[:0], units)[:units]
	at := p.steps
	for first := 0; first < numOfStep; first += packed {
		rows := min(packed, numOfStep-first)
		for _, m := range [...]*Matrix{&w.Direct, &w.Hidden} {
			block := m.Data[(numOfBand+first)*m.Cols:]
			for j := range m.Cols {
				for i := range rows {
					at[i] = block[i*m.Cols+j]
				}
				at = at[rows:]
			}
		}
	}
}

// packed is how many features of a step are multiplied at a time.
const packed = 8

// Forward computes the output (NumOutputs values) of one feature vector. The next
// call overwrites it.
func (p *Pass) Forward(x []float32) []float32 {
	p.begin(x[:numOfBand])
	return p.finish((*[numOfStep]float32)(x[numOfBand:]))
}

// begin computes the half of the first products that the steps of a band share.
func (p *Pass) begin(x []float32) {
	out, hidden := p.shared[:NumOutputs], p.shared[NumOutputs:]
	copy(out, p.weights.Bias.Data)
	copy(hidden, p.weights.HiddenBias.Data)
	multiply(x, p.weights.Direct.Data, out)
	multiply(x, p.weights.Hidden.Data, hidden)
}

// finish computes the output from the shared half and the features of a step.
func (p *Pass) finish(x *[numOfStep]float32) []float32 {
	sum := p.sum
	copy(sum, p.shared)
	block := p.steps
	for k := 0; k < numOfStep-packed+1; k += packed {
		x0, x1, x2, x3, x4, x5, x6, x7 := x[k], x[k+1], x[k+2], x[k+3], x[k+4], x[k+5], x[k+6], x[k+7]
		for j, v := range sum {
			w := (*[packed]float32)(block[packed*j:])
			sum[j] = v + (((x0*w[0] + x1*w[1]) + (x2*w[2] + x3*w[3])) + ((x4*w[4] + x5*w[5]) + (x6*w[6] + x7*w[7])))
		}
		block = block[packed*len(sum):]
	}
	const left = numOfStep % packed
	last := (*[left]float32)(x[numOfStep-left:])
	for j, v := range sum {
		for i, w := range (*[left]float32)(block[left*j:]) {
			v += last[i] * w
		}
		sum[j] = v
	}
	p.rectify()
	return sum[:NumOutputs]
}

// rectify adds to the outputs what the rectified hidden units lead to.
// Only those above zero, about half, lead on.
func (p *Pass) rectify() {
	const n = NumOutputs
	matrix, hidden := p.weights.Output.Data, p.sum[n:]
	p.active = p.active[:0]
	for i, v := range hidden {
		if v > 0 || v != v {
			p.active = append(p.active, i)
		}
	}
	out := (*[n]float32)(p.sum)
	active := p.active
	for ; len(active) >= 4; active = active[4:] {
		a, b, c, d := active[0], active[1], active[2], active[3]
		x0, x1, x2, x3 := hidden[a], hidden[b], hidden[c], hidden[d]
		r0, r1, r2, r3 := (*[n]float32)(matrix[a*n:]), (*[n]float32)(matrix[b*n:]), (*[n]float32)(matrix[c*n:]), (*[n]float32)(matrix[d*n:])
		for j := range out {
			out[j] += (x0*r0[j] + x1*r1[j]) + (x2*r2[j] + x3*r3[j])
		}
	}
	for _, i := range active {
		x, r := hidden[i], (*[n]float32)(matrix[i*n:])
		for j := range out {
			out[j] += x * r[j]
		}
	}
}

// multiply adds the product of a row vector and a matrix to out.
func multiply(x, matrix, out []float32) {
	n := len(out)
	// Eight rows at a time, and then four, so that out is read and written less often.
	for ; len(x) >= 8; x, matrix = x[8:], matrix[8*n:] {
		x0, x1, x2, x3, x4, x5, x6, x7 := x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
		r0, r1, r2, r3 := matrix[:n], matrix[n:][:n], matrix[2*n:][:n], matrix[3*n:][:n]
		r4, r5, r6, r7 := matrix[4*n:][:n], matrix[5*n:][:n], matrix[6*n:][:n], matrix[7*n:][:n]
		for j := range out {
			out[j] += ((x0*r0[j] + x1*r1[j]) + (x2*r2[j] + x3*r3[j])) + ((x4*r4[j] + x5*r5[j]) + (x6*r6[j] + x7*r7[j]))
		}
	}
	for ; len(x) >= 4; x, matrix = x[4:], matrix[4*n:] {
		x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
		r0, r1, r2, r3 := matrix[:n], matrix[n:][:n], matrix[2*n:][:n], matrix[3*n:][:n]
		for j := range out {
			out[j] += (x0*r0[j] + x1*r1[j]) + (x2*r2[j] + x3*r3[j])
		}
	}
	for i, v := range x {
		for j, w := range matrix[i*n:][:n] {
			out[j] += v * w
		}
	}
}

// Validate reports weights that must not be used: of another shape, or not
// finite.
func (w *Weights) Validate() error {
	units := w.Hidden.Cols
	for i, shape := range [][2]int{{NumFeatures, NumOutputs}, {1, NumOutputs}, {NumFeatures, units}, {1, units}, {units, NumOutputs}} {
		p := w.Parts()[i]
		if p.Rows != shape[0] || p.Cols != shape[1] || len(p.Data) != p.Rows*p.Cols {
			return schemas.Errorf(schemas.CodeInvalidData, "network part %q must be %d x %d, but is %d x %d with %d values", p.Name, shape[0], shape[1], p.Rows, p.Cols, len(p.Data))
		}
		for _, v := range p.Data {
			if v-v != 0 {
				return schemas.Errorf(schemas.CodeInvalidData, "network part %q must have finite weights, but has %v", p.Name, v)
			}
		}
	}
	return nil
}

// tensor is one array of a safetensors file.
type tensor struct {
	shape []uint64
	data  []byte
}

func (t tensor) DType() safetensors.DType { return safetensors.F32 }
func (t tensor) Shape() []uint64          { return t.shape }
func (t tensor) Data() []byte             { return t.data }
func (t tensor) DataLen() uint64          { return uint64(len(t.data)) }

func float32Bytes(v []float32) []byte {
	var b bytes.Buffer
	b.Grow(4 * len(v))
	_ = binary.Write(&b, binary.LittleEndian, v) // a bytes.Buffer takes every write
	return b.Bytes()
}

// Encode writes the weights as a safetensors file. Equal weights give equal
// bytes.
func (w *Weights) Encode() ([]byte, error) {
	data := map[string]tensor{}
	for _, p := range w.Parts() {
		data[p.Name] = tensor{[]uint64{uint64(p.Rows), uint64(p.Cols)}, float32Bytes(p.Data)}
	}
	levels := make([]string, len(w.Levels))
	for i, l := range w.Levels {
		levels[i] = strconv.FormatFloat(l, 'g', -1, 64)
	}
	// One entry only: the library writes the entries in the order of a map.
	return safetensors.Serialize(data, map[string]string{"self-scaling": FeatureSet + ";" + strings.Join(levels, ",")})
}

// Decode reads what [Weights.Encode] wrote. It returns an error with the code
// invalid_data where the file is not that.
func Decode(data []byte) (*Weights, error) {
	n, meta, err := safetensors.ReadMetadata(data)
	if err != nil || n > uint64(len(data)) {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights must be a safetensors file: %v", err)
	}
	file, err := safetensors.Deserialize(data)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights must be a safetensors file: %w", err)
	}
	set, list, _ := strings.Cut(meta.Metadata()["self-scaling"], ";")
	if set != FeatureSet {
		return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights must be for the features %q, but are for %q", FeatureSet, set)
	}
	w := &Weights{}
	for _, s := range strings.Split(list, ",") {
		l, err := strconv.ParseFloat(s, 64)
		if err != nil || !(l > 0 && l < 1) {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights: levels must be between 0 and 1, but one is %q", s)
		}
		w.Levels = append(w.Levels, l)
	}
	for _, p := range w.Parts() {
		t, ok := file.Tensor(p.Name)
		if !ok || t.DType() != safetensors.F32 || len(t.Shape()) != 2 || t.Shape()[0] > maxSide || t.Shape()[1] > maxSide {
			return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights: %q must be a float32 matrix of at most %d x %d", p.Name, maxSide, maxSide)
		}
		p.Rows, p.Cols, p.Data = int(t.Shape()[0]), int(t.Shape()[1]), floats(t.Data())
	}
	return w, w.Validate()
}

// maxSide bounds a matrix that is read.
const maxSide = 1 << 12

func floats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// Package network is the trained half of the forecast: one small quantile
// network for all components together. It does not predict usage itself. It
// looks at what the candidates of jobs/trainer/bank say, at how well each did of
// late and at how the last hours went, and predicts how far the bank's weighted
// forecast will be off, as quantiles. A network whose last layer is zero is the
// bank itself, so training can only start from it.
//
// This package holds the features and the forward pass and links no tensor
// library; jobs/trainer/fit trains the weights with Gorgonia.
package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nlpodyssey/safetensors"

	"github.com/self-scaling/self-scaling/schemas"
)

// FeatureSet names the meaning of the inputs. Weights trained on another set
// cannot be used.
const FeatureSet = "bank-correction-1"

// Layer is a dense layer: Out = In x Weight + Bias, row-major.
type Layer struct {
	In, Out int
	Weight  []float32 // In x Out
	Bias    []float32 // Out
}

// Weights are a trained network: dense layers with rectified units between
// them, the last one linear with one output a quantile level.
type Weights struct {
	Levels []float64
	Layers []Layer
}

// New returns weights of the given hidden sizes, drawn from a seeded source
// (He et al., "Delving Deep into Rectifiers", 2015), with a last layer of
// zeros.
func New(levels []float64, hidden []int, normal func() float64) *Weights {
	w := &Weights{Levels: slices.Clone(levels)}
	sizes := append(append([]int{NumFeatures}, hidden...), len(levels))
	for i := 1; i < len(sizes); i++ {
		l := Layer{In: sizes[i-1], Out: sizes[i], Weight: make([]float32, sizes[i-1]*sizes[i]), Bias: make([]float32, sizes[i])}
		if i < len(sizes)-1 {
			std := math.Sqrt(2 / float64(l.In))
			for j := range l.Weight {
				l.Weight[j] = float32(normal() * std)
			}
		}
		w.Layers = append(w.Layers, l)
	}
	return w
}

// Clone returns a deep copy.
func (w *Weights) Clone() *Weights {
	out := &Weights{Levels: slices.Clone(w.Levels)}
	for _, l := range w.Layers {
		l.Weight, l.Bias = slices.Clone(l.Weight), slices.Clone(l.Bias)
		out.Layers = append(out.Layers, l)
	}
	return out
}

// Forward computes the outputs of rows feature vectors, row-major, into out
// (rows x len(Levels)). Scratch is reused between calls and may start nil; the
// returned slice is the scratch for the next call.
func (w *Weights) Forward(x []float32, rows int, out, scratch []float32) []float32 {
	widest := 0
	for _, l := range w.Layers {
		widest = max(widest, l.Out)
	}
	if cap(scratch) < 2*rows*widest {
		scratch = make([]float32, 2*rows*widest)
	}
	scratch = scratch[:2*rows*widest]
	in := x
	for i := range w.Layers {
		l := &w.Layers[i]
		last := i == len(w.Layers)-1
		dst := scratch[(i%2)*rows*widest:][:rows*l.Out]
		if last {
			dst = out[:rows*l.Out]
		}
		for r := range rows {
			l.apply(in[r*l.In:(r+1)*l.In], dst[r*l.Out:(r+1)*l.Out], !last)
		}
		in = dst
	}
	return scratch
}

func (l *Layer) apply(in, out []float32, rectify bool) {
	copy(out, l.Bias)
	n := l.Out
	for i, v := range in {
		if v == 0 {
			continue
		}
		row := l.Weight[i*n : i*n+n]
		for j, w := range row {
			out[j] += v * w
		}
	}
	if rectify {
		for j, v := range out {
			if v < 0 {
				out[j] = 0
			}
		}
	}
}

// Validate reports weights that must not be used: of another shape, or not
// finite.
func (w *Weights) Validate() error {
	if len(w.Layers) == 0 || w.Layers[0].In != NumFeatures || w.Layers[len(w.Layers)-1].Out != len(w.Levels) {
		return schemas.Errorf(schemas.CodeInvalidData, "network must lead from %d features to %d quantiles", NumFeatures, len(w.Levels))
	}
	for i, l := range w.Layers {
		if len(l.Weight) != l.In*l.Out || len(l.Bias) != l.Out || i > 0 && l.In != w.Layers[i-1].Out {
			return schemas.Errorf(schemas.CodeInvalidData, "network layer %d must be %d x %d after a layer of the same width, but has %d weights and %d biases", i, l.In, l.Out, len(l.Weight), len(l.Bias))
		}
		for _, v := range l.Weight {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return schemas.Errorf(schemas.CodeInvalidData, "network layer %d must have finite weights, but has %v", i, v)
			}
		}
		for _, v := range l.Bias {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return schemas.Errorf(schemas.CodeInvalidData, "network layer %d must have finite biases, but has %v", i, v)
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
	for i, l := range w.Layers {
		data[fmt.Sprintf("layer%d.weight", i)] = tensor{[]uint64{uint64(l.In), uint64(l.Out)}, float32Bytes(l.Weight)}
		data[fmt.Sprintf("layer%d.bias", i)] = tensor{[]uint64{uint64(l.Out)}, float32Bytes(l.Bias)}
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
	for i := 0; ; i++ {
		weight, ok := file.Tensor(fmt.Sprintf("layer%d.weight", i))
		if !ok {
			break
		}
		bias, ok := file.Tensor(fmt.Sprintf("layer%d.bias", i))
		if shape := weight.Shape(); ok && len(shape) == 2 && weight.DType() == safetensors.F32 && bias.DType() == safetensors.F32 {
			w.Layers = append(w.Layers, Layer{In: int(shape[0]), Out: int(shape[1]), Weight: floats(weight.Data()), Bias: floats(bias.Data())})
			continue
		}
		return nil, schemas.Errorf(schemas.CodeInvalidData, "network weights: layer %d must have a float32 matrix and a float32 bias", i)
	}
	return w, w.Validate()
}

func floats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// Package pretrained holds the weights of a network that training starts from,
// and that forecasts until a cluster has a model of its own. The README beside it
// says from which series and with which command they were made.
package pretrained

import (
	_ "embed"
	"sync"

	"github.com/self-scaling/self-scaling/jobs/trainer/network"
)

//go:generate go run ./generate

//go:embed weights.safetensors
var file []byte

// Encoded returns the weights as a safetensors file.
func Encoded() []byte { return file }

// Weights returns the weights. They must not be changed.
var Weights = sync.OnceValue(func() *network.Weights {
	w, err := network.Decode(file)
	if err != nil {
		// The file is part of the program: TestTheWeightsThatShipAreValid holds it.
		panic(err)
	}
	return w
})

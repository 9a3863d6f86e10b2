// Generate makes weights.safetensors: it trains a network on series that it makes
// up and on the first half of the series in controller/sim/traces, of which
// everything that is replayed or measured elsewhere is the second half.
//
//	go generate ./jobs/trainer/pretrained
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained/madeup"
	"github.com/self-scaling/self-scaling/schemas"
)

const (
	file   = "weights.safetensors"
	madeUp = 900 // series
	days   = 24  // of each
	hidden = 5   // units of each of the networks that are joined
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	histories, err := real()
	if err != nil {
		return err
	}
	for i := range madeUp {
		histories = append(histories, history("made-up-"+strconv.Itoa(i), madeup.Usage(uint64(i), days)))
	}
	o := trainer.DefaultOptions()
	o.Scratch, o.Windows, o.TotalWindows, o.Examples = true, 20, 1<<15, 1<<18
	o.Fit.Hidden, o.Fit.Epochs = hidden, 12
	o.Fit.Progress = func(epoch, epochs int, loss float64) { fmt.Printf("%d/%d: loss %.4f\n", epoch, epochs, loss) }
	m, weights, err := trainer.Train(ctx, histories, o)
	if err != nil {
		return err
	}
	fmt.Println(m.Verdict)
	if weights == nil {
		return schemas.Errorf(schemas.CodeInternal, "no network was accepted")
	}
	data, err := weights.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func history(name string, y []float64) schemas.History {
	s := &schemas.Series{
		Component: schemas.ComponentID{Service: "pretraining", Component: name}, Resource: schemas.Memory,
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: schemas.DefaultStep, Mean: y,
	}
	return schemas.History{Component: s.Component, Series: map[schemas.Resource]*schemas.Series{s.Resource: s}}
}

// real returns the first half of each of the traces, as means and as peaks of
// quarter hours.
func real() ([]schemas.History, error) {
	all, err := traces.Load()
	if err != nil {
		return nil, err
	}
	const minutes = 15
	var histories []schemas.History
	for i := range all {
		half := all[i].Values[:all[i].Len()/2]
		var means, peaks []float64
		for ; len(half) >= minutes; half = half[minutes:] {
			sum, most := 0.0, 0.0
			for _, v := range half[:minutes] {
				sum += v
				most = max(most, v)
			}
			means, peaks = append(means, sum/minutes), append(peaks, most)
		}
		name := all[i].Name
		histories = append(histories, history(name+"-mean", means), history(name+"-peak", peaks))
	}
	return histories, nil
}

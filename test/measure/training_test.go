//go:build measure

package measure

import (
	"flag"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained/madeup"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/footprint"
)

var components = flag.Int("components", 1000, "components of the fleet whose training is measured")

// fleet returns n components with days of cores and bytes each, none of which the
// weights that ship were made from.
func fleet(n, days int) []schemas.History {
	const unseen = 1 << 20 // seeds below it made the weights that ship
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	histories := make([]schemas.History, n)
	var wg sync.WaitGroup
	for k := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := k; i < n; i += runtime.GOMAXPROCS(0) {
				h := schemas.History{Component: schemas.ComponentID{Service: "made-up", Component: fmt.Sprintf("c%05d", i)}, Series: map[schemas.Resource]*schemas.Series{}}
				for r, resource := range schemas.Resources() {
					h.Series[resource] = &schemas.Series{
						Component: h.Component, Resource: resource, Start: start, Step: schemas.DefaultStep,
						Mean: madeup.Usage(uint64(unseen+2*i+r), days),
					}
				}
				histories[i] = h
			}
		})
	}
	wg.Wait()
	return histories
}

// train trains a fleet in so many shards, each with the share of the windows that
// the trainer gives a shard of its size.
func train(t *testing.T, histories []schemas.History, shards int) []models.Trained {
	t.Helper()
	var all []models.Trained
	for part := range slices.Chunk(histories, (len(histories)+shards-1)/shards) {
		m, w, err := trainer.Train(t.Context(), part, trainer.DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, models.Trained{Model: m, Weights: w})
	}
	return all
}

// TestTraining prints what the first training of a fleet takes, and a night's
// after it, which goes on from its records.
func TestTraining(t *testing.T) {
	histories := fleet(*components, 28)
	before, began := footprint.Used(t), time.Now()
	first := train(t, histories, 1)[0]
	after := footprint.Used(t)
	t.Logf("%d components, 2 metrics, 28 days: %s on the clock, %s of processor, peak memory %d MiB with the data; %d examples; %s",
		*components, time.Since(began).Round(10*time.Millisecond), (after.Processor - before.Processor).Round(10*time.Millisecond), after.Peak>>20, first.Model.Examples, first.Model.Verdict)
	o := trainer.DefaultOptions()
	o.Initial, o.Before = first.Weights, first.Model
	before, began = footprint.Used(t), time.Now()
	if _, _, err := trainer.Train(t.Context(), histories, o); err != nil {
		t.Fatal(err)
	}
	after = footprint.Used(t)
	t.Logf("a night later: %s on the clock, %s of processor, peak memory %d MiB",
		time.Since(began).Round(10*time.Millisecond), (after.Processor - before.Processor).Round(10*time.Millisecond), after.Peak>>20)
}

// TestCostGrowsLinearly prints what a component costs in fleets of several sizes.
// How much that is depends on the machine; that the largest fleet pays no more for
// a component than twice the smallest does not.
func TestCostGrowsLinearly(t *testing.T) {
	var each []time.Duration
	for _, n := range []int{250, 500, 1000, 2000} {
		histories := fleet(n, 28)
		began := footprint.Used(t)
		train(t, histories, 1)
		took := footprint.Used(t).Processor - began.Processor
		each = append(each, took/time.Duration(n))
		t.Logf("%4d components: %s of processor, %s each", n, took.Round(10*time.Millisecond), each[len(each)-1].Round(10*time.Microsecond))
	}
	if each[len(each)-1] > 2*each[0] {
		t.Errorf("a component of the largest fleet costs %s, of the smallest %s", each[len(each)-1], each[0])
	}
}

// TestShardsLoseNoAccuracy holds the forecasts of a fleet that was trained in
// shards to those of one that was trained whole, on the day that none has seen.
func TestShardsLoseNoAccuracy(t *testing.T) {
	histories := fleet(*components, 28)
	want := loss(train(t, histories, 1))
	for _, shards := range []int{2, 4, 8, 16} {
		trained := train(t, histories, shards)
		got := loss(trained)
		t.Logf("%d shards: loss %.4f of seasonal naive's, whole %.4f: %+.2f %%", shards, got, want, 100*(got/want-1))
		if !(got <= 1.01*want) {
			t.Errorf("in %d shards the loss is %.4f of seasonal naive's, more than 1 %% above the %.4f of one", shards, got, want)
		}
	}
}

// loss is the geometric mean over series and bands of the network's loss, relative
// to seasonal naive.
func loss(trained []models.Trained) float64 {
	sum, n := 0.0, 0.0
	for _, s := range models.Standings(trained) {
		if s.Forecaster == schemas.Network {
			sum += float64(s.Series) * math.Log(s.RelLoss)
			n += float64(s.Series)
		}
	}
	return math.Exp(sum / n)
}

package embedded_test

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/self-scaling/self-scaling/cmd/internal/standard"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/embedded"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/inference"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/jobs/trainer/bank"
	"github.com/self-scaling/self-scaling/jobs/trainer/hedge"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

// changed is the midnight from which usage is another.
var changed = time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)

// drifting is a service that is used each day as on the day before, but for a little.
// For the week after it has changed every other day is another.
type drifting struct{}

func (drifting) cpu(t time.Time) float64 {
	level := 2.0
	if since := int(t.Sub(changed).Hours() / 24); !t.Before(changed) {
		level = 12
		if since < 7 && since%2 == 1 {
			level = 20
		}
	}
	shape := 1 + .5*math.Sin(2*math.Pi*t.Sub(changed).Hours()/24)
	for day := t; day.After(changed.AddDate(0, 0, -12)); day = day.AddDate(0, 0, -1) {
		shape += .02 * rand.New(rand.NewPCG(uint64(day.Unix()), 1)).NormFloat64()
	}
	return level * shape
}

func (d drifting) Samples(_ context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	request := .5
	for t := from; t.Before(to); t = t.Add(step) {
		v := d.cpu(t)
		s := schemas.Sample{Component: schemas.ComponentID{Service: "shop", Component: "web"}, Start: t, CPU: &schemas.Usage{Mean: v, Max: 1.2 * v, Count: 15}, CPURequest: &request}
		if err := add(&s); err != nil {
			return err
		}
	}
	return nil
}

// yesterday is a network that believes in nothing but what was used a day ago.
func yesterday() *network.Weights {
	w := network.New(schemas.DefaultLevels(), 1, func() float64 { return 0 })
	w.Bias.Data[bank.Yesterday] = 100
	return w
}

// installation is one that has run for ten days, and whose network was accepted.
type installation struct {
	*testing.T
	store     *artifact.Store
	pipelines *embedded.Pipelines
	usage     *schemas.Series // as the newest run of inference saw it
}

func newInstallation(t *testing.T) *installation {
	i := &installation{T: t, store: artifact.New(membucket.New(nil), artifact.Options{})}
	m := &schemas.Model{From: changed.AddDate(0, 0, -10), To: changed.AddDate(0, 0, -2), Step: schemas.DefaultStep, Horizon: schemas.DefaultHorizon, Levels: schemas.DefaultLevels(), Verdict: "accepted"}
	if _, err := models.Write(t.Context(), i.store, "train-0", "test", models.Trained{Shard: "00000", Model: m, Weights: yesterday()}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := models.Accept(t.Context(), i.store, "train-0", "test", []string{"00000"}); err != nil {
		t.Fatal(err)
	}
	profile, err := plugins.Profile(plugins.DefaultProfile)
	if err != nil {
		t.Fatal(err)
	}
	options := trainer.DefaultOptions()
	options.Windows = 1 // too few examples to learn from: the network stays what it is
	i.pipelines, err = embedded.New(embedded.Config{
		Store:     i.store,
		Collector: embedded.Always(collector.New(drifting{}, collector.Options{Backfill: 10 * 24 * time.Hour})),
		Trainer:   trainer.Config{Options: options},
		Inference: inference.New(inference.Config{
			Framework: standard.Framework(profile, 0, manifest.New(func(schemas.ComponentID, *autoscalingv2.HorizontalPodAutoscaler) error { return nil })),
			Catalog:   func(context.Context) (inference.Catalog, error) { return standard.OnePolicy(shadow()), nil },
			Decided:   func(r *runtime.Result) { i.usage = r.Candidate.Series[schemas.CPU] },
		}),
		Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.pipelines.Close)
	return i
}

func shadow() schemas.Policy {
	p := schemas.DefaultPolicy()
	p.MaxReplicas = 100
	return p
}

// night collects the day before a midnight, trains and forecasts.
func (i *installation) night(midnight time.Time) {
	i.Helper()
	for _, pipeline := range []string{"collect", "train", "infer"} {
		if err := i.pipelines.Run(i.Context(), pipeline, midnight, nil); err != nil {
			i.Fatalf("%s of %s: %v", pipeline, midnight, err)
		}
	}
}

// scores returns what the newest model says about the means of CPU, and then about
// their peaks.
func (i *installation) scores() []schemas.SeriesScore {
	i.Helper()
	trained, _, err := models.Latest(i.Context(), i.store)
	if err != nil {
		i.Fatal(err)
	}
	scores := trained[0].Model.Scores
	if len(scores) != 2 || scores[0].Statistic != schemas.Mean || scores[1].Statistic != schemas.Peak {
		i.Fatalf("the model has %d scores, want one of the means and one of the peaks", len(scores))
	}
	return scores
}

// kept returns the forecast and the decision that a run has kept.
func (i *installation) kept() (*schemas.Forecast, schemas.Decision) {
	i.Helper()
	set, ok, err := forecasts.Latest(i.Context(), i.store)
	if err != nil || !ok || len(set.Forecasts) != 1 || len(set.Decisions) != 1 {
		i.Fatalf("%d forecasts and %d decisions: %v", len(set.Forecasts), len(set.Decisions), err)
	}
	return set.Forecasts[0], set.Decisions[0]
}

// without returns the mixture of seasonal naive and the bank alone.
func (i *installation) without() *schemas.Forecast {
	s := i.usage
	levels, period := schemas.DefaultLevels(), schemas.StepsPerDay(s.Step)
	mixed := func(s *schemas.Series, steps int, record []schemas.BandRecord) *schemas.Forecast {
		h := bank.NewHistory(s.Mean, period, s.Len()-8*period)
		w, ok := network.NewWindow(h, s, period, s.Len(), steps, levels)
		if !ok {
			i.Fatal("the bank has no forecast")
		}
		var t hedge.Trial
		t.Bank, _ = network.NewForecaster(levels).Forecast(w, s, steps, nil)
		t.Naive, _ = bank.SeasonalNaive(s, period, s.Len(), steps, levels)
		return hedge.Mix(t, record, nil)
	}
	scores := i.scores()
	f := mixed(s, schemas.DefaultHorizon, scores[0].Record)
	peaks, _ := network.Peaks(s)
	f.Peaks = mixed(peaks, network.PeakHorizon, scores[1].Record).Values
	return f
}

// lost says whether the network was clearly the worse one of the newest day in the
// next hours, which the trainer judges apart from the guard.
func lost(s schemas.SeriesScore) bool {
	loss := func(name string) float64 { return s.Errors[name][0].Loss }
	return loss(schemas.Network) > 1.05*min(loss(schemas.Bank), loss(schemas.SeasonalNaive))
}

// TestANetworkThatLosesForThreeNightsIsLeftOutUntilItWins goes from samples to what is
// served, night after night, while usage is, for a week, nothing like the day before,
// and then like it again.
func TestANetworkThatLosesForThreeNightsIsLeftOutUntilItWins(t *testing.T) {
	i := newInstallation(t)
	for night := 0; night <= 9; night++ {
		i.night(changed.AddDate(0, 0, night))
		loses := night >= 1 && night <= 7
		out := night >= 3 && night <= 7
		for _, s := range i.scores() {
			if lost(s) != loses {
				t.Errorf("night %d, %s: the network has lost the day: %v, want %v", night, s.Statistic, !loses, loses)
			}
		}
		served, d := i.kept()
		if len(d.Mixtures) != 2 {
			t.Fatalf("night %d: the decision names the mixtures %+v, want one of the means and one of the peaks", night, d.Mixtures)
		}
		for _, m := range d.Mixtures {
			if w := m.Weights[schemas.Network]; out != (w == 0) || out != (m.Lost >= 3) {
				t.Errorf("night %d, %s: the network counts for %v after losing %d days in a row; left out should be %v", night, m.Statistic, w, m.Lost, out)
			}
		}
		const says = "Network is left out until it wins a day again, because it was the worse one on the last "
		if strings.Contains(d.Message, says) != out {
			t.Errorf("night %d: the decision says %q; that the network is left out should be said: %v", night, d.Message, out)
		}
		without := i.without()
		steps := 4 // of the next hour
		if night == 9 {
			steps = network.PeakHorizon // the bank has been tried on two days for the next hour, and repeats yesterday there as the network does
		}
		n := steps * len(served.Levels)
		for of, rows := range map[schemas.Statistic][2][]float64{
			schemas.Mean: {served.Values[:n], without.Values[:n]}, schemas.Peak: {served.Peaks[:n], without.Peaks[:n]},
		} {
			diff := cmp.Diff(rows[1], rows[0], cmpopts.EquateApprox(0, 1e-4)) // kept to a ten thousandth
			if out != (diff == "") {
				t.Errorf("night %d, %s: the network left out should be %v; served is (-without the network +served):\n%s", night, of, out, diff)
			}
		}
	}
}

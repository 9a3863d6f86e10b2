package ledger_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/controller/ledger"
	"github.com/self-scaling/self-scaling/jobs/forecasts"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/jobs/trainer/ladder"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

const (
	step = schemas.DefaultStep
	day  = 24 * time.Hour
)

var noon = time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)

func component(name string) schemas.ComponentID {
	return schemas.ComponentID{Namespace: "default", Service: "shop", Component: name}
}

// usage is what a component uses in the bucket that starts at t; NaN where it was not
// measured.
type usage func(t time.Time) float64

func flat(v float64) usage { return func(time.Time) float64 { return v } }

// daily goes up and down between 1 and 3 in a day.
func daily(t time.Time) float64 { return 2 + math.Sin(2*math.Pi*t.Sub(noon).Hours()/24) }

// growing is twice of it a day later, so that the day before says little.
func growing(t time.Time) float64 { return daily(t) * math.Pow(2, t.Sub(noon).Hours()/24) }

func (u usage) since(from time.Time) usage {
	return func(t time.Time) float64 {
		if t.Before(from) {
			return math.NaN()
		}
		return u(t)
	}
}

func (u usage) times(f float64) usage { return func(t time.Time) float64 { return f * u(t) } }

// world is a store that is written as the steps of a pipeline write it.
type world struct {
	testing.TB
	bucket *artifacttest.Faults
	store  *artifact.Store
	runs   int
}

func newWorld(t testing.TB) *world {
	b := artifacttest.NewFaults(membucket.New(nil), -1, 0)
	return &world{t, b, artifact.New(b, artifact.Options{}), 0}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) run() string { w.runs++; return fmt.Sprint("run-", w.runs) }

// collect adds the samples of the buckets that start within [from, to).
func (w *world) collect(cpu map[string]usage, from, to time.Time) {
	w.Helper()
	table := samples.New(w.store, samples.Options{})
	stage := table.Stage(w.run())
	set := columnar.NewSamples(step)
	for name, u := range cpu {
		for t := from; t.Before(to); t = t.Add(step) {
			if v := u(t); v == v {
				w.must(set.Add(&schemas.Sample{Component: component(name), Start: t, CPU: &schemas.Usage{Mean: v, Max: v, Count: 15}}))
			}
		}
	}
	w.must(stage.Add(context.Background(), set))
	m, err := stage.Commit(context.Background())
	w.must(err)
	_, err = table.Merge(context.Background(), m, to)
	w.must(err)
}

// forecast keeps the forecasts that are made at an instant: the median of each bucket
// is what says tells.
func (w *world) forecast(says map[string]usage, at time.Time) {
	w.Helper()
	s := forecasts.Set{Run: w.run(), Now: at, DataUntil: at}
	for name, u := range says {
		f := &schemas.Forecast{Component: component(name), Resource: schemas.CPU, Origin: at, Step: step, Levels: []float64{.5, .9}}
		for i := range 40 {
			v := u(f.Time(i))
			f.Values = append(f.Values, v, v)
		}
		s.Forecasts = append(s.Forecasts, f)
	}
	_, _, err := forecasts.Write(context.Background(), w.store, "test", s, nil)
	w.must(err)
}

// train accepts models that have seen what came before an instant.
func (w *world) train(until time.Time) {
	w.Helper()
	run := w.run()
	_, _, err := w.store.Advance(context.Background(), schemas.ModelsHead, run, func(*artifact.Head) (artifact.Manifest, error) {
		return artifact.Manifest{Kind: "models", Run: run, From: until.Add(-28 * day), To: until}, nil
	})
	w.must(err)
}

// update reads until there is nothing left to read.
func (w *world) update(l *ledger.Ledger, now time.Time) *ledger.Ledger {
	w.Helper()
	for range 1000 {
		changed, err := l.Update(context.Background(), w.store, now)
		w.must(err)
		if !changed {
			return l
		}
	}
	w.Fatal("there is always something left to read")
	return nil
}

func names(ids []schemas.ComponentID) (out []string) {
	for _, id := range ids {
		out = append(out, id.Component)
	}
	return out
}

func TestAccuracy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		came  usage
		said  usage
		every time.Duration // between two forecasts
		want  int32         // -1 where it cannot be judged
	}{
		{"all as it was said", daily, daily, 4 * step, 100},
		{"a tenth too much", flat(2), flat(2.2), 4 * step, 90},
		{"a tenth too little", flat(2), flat(1.8), 4 * step, 90},
		{"more wrong than there was usage", flat(1), flat(5), 4 * step, 0},
		{"nothing used", flat(0), flat(0), 4 * step, -1},
		{"one forecast an hour serves the hour", flat(2), flat(2.2), time.Hour, 90},
		{"of a bucket that was not measured nothing is known", usage(daily).since(noon.Add(-3 * time.Hour)), daily, step, 100},
		{"three buckets are too few", usage(daily).since(noon.Add(-3 * step)), daily, step, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.collect(map[string]usage{"web": tt.came, "db": flat(1)}, noon.Add(-2*day), noon)
			for at := noon.Add(-30 * time.Hour); !at.After(noon); at = at.Add(tt.every) {
				w.forecast(map[string]usage{"web": tt.said}, at)
			}
			accuracy := w.update(ledger.New(), noon).Accuracy()
			got, ok := accuracy[component("web")][schemas.CPU]
			if !ok {
				got = -1
			}
			if got != tt.want {
				t.Errorf("accuracy is %d, want %d", got, tt.want)
			}
			if accuracy[component("db")] != nil {
				t.Error("a component without a forecast has an accuracy")
			}
		})
	}
}

func TestTheNewestForecastBeforeABucketCounts(t *testing.T) {
	w := newWorld(t)
	l := ledger.New()
	for at := noon.Add(-day); !at.After(noon); at = at.Add(step) {
		w.collect(map[string]usage{"web": flat(2)}, at.Add(-step), at)
		// Right about the next bucket and wrong about all that follow.
		w.forecast(map[string]usage{"web": func(t time.Time) float64 {
			if t.Equal(at) {
				return 2
			}
			return 4
		}}, at)
		w.update(l, at)
	}
	if got := l.Accuracy()[component("web")][schemas.CPU]; got != 100 {
		t.Errorf("accuracy is %d, want 100", got)
	}
}

func TestOneCallReadsAFewForecasts(t *testing.T) {
	w := newWorld(t)
	w.collect(map[string]usage{"web": daily}, noon.Add(-5*day), noon)
	for at := noon.Add(-4 * day); !at.After(noon); at = at.Add(step) {
		w.forecast(map[string]usage{"web": daily}, at)
	}
	l := ledger.New()
	calls, updates := w.bucket.Calls(), 0
	for changed := true; changed; updates++ {
		var err error
		before := w.bucket.Calls()
		if changed, err = l.Update(t.Context(), w.store, noon); err != nil {
			t.Fatal(err)
		}
		// Three listings and heads, six days of samples, and of up to three forecasts
		// the head and the file.
		if n := w.bucket.Calls() - before; n > 6+6+2*3 {
			t.Errorf("call %d made %d calls of the store", updates+1, n)
		}
	}
	if updates < 20 || updates > 30 {
		t.Errorf("%d calls read two days of forecasts, one an hour and two a call; want some 25", updates)
	}
	t.Logf("%d calls of the store in %d updates", w.bucket.Calls()-calls, updates)
	before := w.bucket.Calls()
	if _, err := l.Update(t.Context(), w.store, noon); err != nil {
		t.Fatal(err)
	}
	if n := w.bucket.Calls() - before; n > 6 {
		t.Errorf("a call with nothing new made %d calls of the store, want no more than six", n)
	}
}

func TestDrift(t *testing.T) {
	for _, tt := range []struct {
		name       string
		came, said usage
		want       ledger.Drift
	}{
		{"forecasts as the day before are not worse than it", daily, daily, ledger.Drift{Judged: 1}},
		{"forecasts that know of growth are better", growing, growing, ledger.Drift{Judged: 1}},
		{"forecasts far off where the day before is right", daily, usage(daily).times(1.5), ledger.Drift{Judged: 1, Drifting: 1, Example: component("web")}},
		{"forecasts a little off where the day before is right", daily, usage(daily).times(1.01), ledger.Drift{Judged: 1}},
		{"forecasts off where the day before is as far off", growing, usage(growing).times(.5), ledger.Drift{Judged: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.collect(map[string]usage{"web": tt.came}, noon.Add(-5*day), noon)
			l := ledger.New()
			for at := noon.Add(-3 * day); !at.After(noon); at = at.Add(time.Hour) {
				w.forecast(map[string]usage{"web": tt.said}, at)
				_, err := l.Update(t.Context(), w.store, noon)
				w.must(err)
			}
			if diff := cmp.Diff(tt.want, l.Drift()); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDriftHoldsUntilForecastsAreBetterThanTheDayBefore(t *testing.T) {
	w := newWorld(t)
	said := 1.5
	l := ledger.New()
	drifting := func() int { return l.Drift().Drifting }
	w.collect(map[string]usage{"web": daily}, noon.Add(-5*day), noon)
	at := noon
	pass := func(hours int) {
		for end := at.Add(time.Duration(hours) * time.Hour); at.Before(end); {
			w.forecast(map[string]usage{"web": usage(daily).times(said)}, at)
			w.collect(map[string]usage{"web": daily}, at, at.Add(step))
			at = at.Add(step)
			w.update(l, at)
		}
	}
	pass(10) // the first forecasts are judged eight hours after they were made
	if drifting() != 0 {
		t.Error("it drifts after two hours that can be judged")
	}
	pass(5)
	if drifting() != 1 {
		t.Error("it does not drift after seven hours that can be judged")
	}
	w.train(at)
	w.update(l, at)
	if d := l.Drift(); d.Judged != 0 || d.Drifting != 0 {
		t.Errorf("forecasts made before the training are held against it: %+v", d)
	}
	said = 1
	pass(15)
	if d := l.Drift(); d.Judged != 1 || d.Drifting != 0 {
		t.Errorf("after good forecasts: %+v", d)
	}
}

func TestLearnable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since time.Duration // before noon
		model time.Duration // before noon; 0 for none
		holes bool
		want  bool
	}{
		{"three days and no model", 3 * day, 0, false, true},
		{"less than three days", 3*day - step, 0, false, false},
		{"three days, and less when the models were trained", 3*day + 2*time.Hour, 12 * time.Hour, false, true},
		{"three days when the models were trained", 4 * day, 12 * time.Hour, false, false},
		{"there for ever", 40 * day, 12 * time.Hour, false, false},
		{"there for ever, and models from long ago", 40 * day, 6 * day, false, false},
		{"most of it not measured", 3*day + 2*time.Hour, 12 * time.Hour, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			u := usage(daily).since(noon.Add(-tt.since))
			if tt.holes {
				whole := u
				u = func(t time.Time) float64 {
					if t.Hour()%3 == 0 {
						return math.NaN()
					}
					return whole(t)
				}
			}
			w.collect(map[string]usage{"web": u}, noon.Add(-20*day), noon)
			if tt.model > 0 {
				w.train(noon.Add(-tt.model))
			}
			l := ledger.New()
			if from, until := l.Measured(); !from.IsZero() || !until.IsZero() {
				t.Errorf("measured are %s to %s before the first look", from, until)
			}
			got := w.update(l, noon).Learnable(noon)
			if (len(got) == 1) != tt.want {
				t.Errorf("learnable are %v, want %t", names(got), tt.want)
			}
			if from, until := l.Measured(); !tt.holes && !until.Equal(noon) || !from.Before(until) {
				t.Errorf("measured are %s to %s, want until %s", from, until, noon)
			}
		})
	}
}

// A component counts as learnable from the rung of the ladder on that the network needs.
func TestLearnableIsWhatTheLadderSays(t *testing.T) {
	for _, buckets := range []int{200, 287, 288, 300, 384} {
		for _, missing := range []int{0, 71, 72, 73, 150} { // of each 288
			w := newWorld(t)
			keep := func(t time.Time) bool {
				age := int(noon.Sub(t)/step) - 1
				return age < buckets && (age == buckets-1 || age < 288-missing || age >= 288)
			}
			w.collect(map[string]usage{"web": func(t time.Time) float64 {
				if keep(t) {
					return 1
				}
				return math.NaN()
			}}, noon.Add(-6*day), noon)
			s := &schemas.Series{Resource: schemas.CPU, Start: noon.Add(-6 * day), Step: step}
			for at := s.Start; at.Before(noon); at = at.Add(step) {
				v := math.NaN()
				if keep(at) {
					v = 1
				}
				s.Mean = append(s.Mean, v)
			}
			if buckets > 288 && missing > 0 {
				continue // the ladder looks at a week, this package at three days
			}
			got := len(w.update(ledger.New(), noon).Learnable(noon)) == 1
			if want := ladder.Judge(s, 0, noon).Rung >= schemas.RungNetwork; got != want {
				t.Errorf("%d buckets less %d: learnable is %t, and the ladder says %t", buckets, missing, got, want)
			}
		}
	}
}

func TestModelsThatAreHeldAreSeen(t *testing.T) {
	w := newWorld(t)
	w.collect(map[string]usage{"web": daily}, noon.Add(-4*day), noon)
	w.train(noon.Add(-day))
	l := w.update(ledger.New(), noon)
	if l.Held() {
		t.Error("models are held that nobody holds")
	}
	_, _, err := w.store.Advance(t.Context(), schemas.ModelsHead, w.run(), func(prev *artifact.Head) (artifact.Manifest, error) {
		m := prev.Manifest
		m.Run, m.Labels = "", map[string]string{"hold": "true"}
		return m, nil
	})
	w.must(err)
	if !w.update(l, noon).Held() {
		t.Error("models are not held that somebody holds")
	}
}

func TestAComponentBecomesLearnableAndLearned(t *testing.T) {
	w := newWorld(t)
	l := ledger.New()
	u := map[string]usage{"web": daily, "new": usage(daily).since(noon.Add(-2 * day))}
	w.collect(u, noon.Add(-10*day), noon)
	w.train(noon.Add(-12 * time.Hour))
	var learnable []string
	for at := noon; at.Before(noon.Add(2 * day)); at = at.Add(time.Hour) {
		end := at.Add(time.Hour)
		w.collect(u, at, end)
		if ids := w.update(l, end).Learnable(end); len(ids) > 0 {
			learnable = append(learnable, fmt.Sprint(names(ids), " after ", end.Sub(noon)))
			w.train(end)
		}
	}
	if diff := cmp.Diff([]string{"[new] after 24h0m0s"}, learnable); diff != "" {
		t.Errorf("learnable (-want +got):\n%s", diff)
	}
}

func TestAComponentThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t)
	l := ledger.New()
	w.collect(map[string]usage{"web": daily, "old": daily}, noon.Add(-4*day), noon)
	w.update(l, noon)
	w.collect(map[string]usage{"web": daily}, noon, noon.Add(4*day))
	if got := names(w.update(l, noon.Add(4*day)).Learnable(noon.Add(4 * day))); len(got) != 1 || got[0] != "web" {
		t.Errorf("learnable are %v, want web", got)
	}
}

func TestHistoryThatIsFilledUpIsSeen(t *testing.T) {
	w := newWorld(t)
	l := ledger.New()
	w.collect(map[string]usage{"web": daily}, noon.Add(-time.Hour), noon)
	if got := w.update(l, noon).Learnable(noon); got != nil {
		t.Fatalf("learnable are %v", got)
	}
	w.collect(map[string]usage{"web": daily}, noon.Add(-10*day), noon.Add(-time.Hour))
	if got := names(w.update(l, noon).Learnable(noon)); len(got) != 1 {
		t.Errorf("learnable are %v, want web", got)
	}
}

func TestAStoreThatFailsIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.collect(map[string]usage{"web": flat(2)}, noon.Add(-4*day), noon)
	w.train(noon.Add(-day))
	for at := noon.Add(-12 * time.Hour); !at.After(noon); at = at.Add(time.Hour) {
		w.forecast(map[string]usage{"web": flat(2.2)}, at)
	}
	calls := 0
	for i := 0; ; i += 5 {
		faulty := artifacttest.NewFaults(w.bucket, i, 0)
		store := artifact.New(faulty, artifact.Options{})
		l := ledger.New()
		failed := 0
		for range 20 {
			if _, err := l.Update(t.Context(), store, noon); err != nil {
				if schemas.CodeOf(err) != schemas.CodeUnavailable {
					t.Errorf("call %d fails: %v", i, err)
				}
				failed++
			}
		}
		if got := l.Accuracy()[component("web")][schemas.CPU]; got != 90 {
			t.Errorf("call %d of the store fails: accuracy is %d, want 90", i, got)
		}
		if failed == 0 {
			calls = i
			break
		}
	}
	if calls < 20 {
		t.Errorf("only %d calls were made to fail", calls)
	}
}

func TestAForecastThatIsDamagedIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.collect(map[string]usage{"web": flat(2)}, noon.Add(-4*day), noon)
	l := ledger.New()
	for at := noon.Add(-6 * time.Hour); !at.After(noon); at = at.Add(step) {
		w.forecast(map[string]usage{"web": flat(2.2)}, at)
	}
	head, err := w.store.ReadHead(t.Context(), schemas.ForecastsHead, 21)
	w.must(err)
	w.must(w.bucket.Put(t.Context(), head.Manifest.Files[0].Key, []byte("damaged")))
	if got := w.update(l, noon).Accuracy()[component("web")][schemas.CPU]; got != 90 {
		t.Errorf("accuracy is %d, want 90", got)
	}
}

func BenchmarkUpdate(b *testing.B) {
	const n = 1000
	w := newWorld(b)
	cpu := map[string]usage{}
	for i := range n {
		cpu[fmt.Sprintf("c%04d", i)] = daily
	}
	w.collect(cpu, noon.Add(-4*day), noon)
	l := ledger.New()
	w.forecast(cpu, noon)
	w.update(l, noon)
	b.ReportAllocs()
	at := noon
	for b.Loop() {
		b.StopTimer()
		w.collect(cpu, at, at.Add(step))
		at = at.Add(step)
		w.forecast(cpu, at)
		b.StartTimer()
		if _, err := l.Update(context.Background(), w.store, at); err != nil {
			b.Fatal(err)
		}
		l.Accuracy()
		l.Drift()
		l.Learnable(at)
	}
}

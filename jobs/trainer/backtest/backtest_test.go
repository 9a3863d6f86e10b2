package backtest_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/self-scaling/self-scaling/jobs/trainer/backtest"
	"github.com/self-scaling/self-scaling/schemas"
)

func series(y ...float64) *schemas.Series {
	return &schemas.Series{
		Component: schemas.ComponentID{Service: "series", Component: "0"}, Resource: schemas.Memory,
		Start: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), Step: time.Hour, Mean: y,
	}
}

// wave is a daily sine with noise, in hours.
func wave(days int, noise float64) *schemas.Series {
	rng := rand.New(rand.NewPCG(3, 4))
	y := make([]float64, days*24)
	for i := range y {
		y[i] = 10 + 4*math.Sin(2*math.Pi*float64(i)/24) + noise*rng.NormFloat64()
	}
	return series(y...)
}

// constant answers one number, whatever the past.
type constant struct {
	name  string
	value float64
}

func (c constant) Name() string { return c.name }

func (c constant) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	f := schemas.NewForecast(past, steps, schemas.DefaultLevels())
	for i := range f.Values {
		f.Values[i] = c.value
	}
	return f, true
}

func TestMetricsAreThoseComputedByHand(t *testing.T) {
	// Season 2. The history differs from that two steps before by 2 throughout, so
	// that one unit of MASE is 2.
	s := series(1, 2, 3, 4, 5, 6, 7, 8, 10, 20)
	o := backtest.Options{Season: 2, Horizon: 2, Origins: 1}
	windows, train := o.Windows([]*schemas.Series{s})
	if diff := cmp.Diff([]backtest.Window{{Series: 0, At: 8}}, windows); diff != "" || train[0] != 8 {
		t.Fatalf("windows (-want +got):\n%s\ntrain up to %v, want 8", diff, train)
	}
	models := []backtest.Model{backtest.Naive{}, backtest.SeasonalNaive{Label: backtest.SeasonalNaiveName, Season: 2}, constant{"nine", 9}}
	r, err := backtest.Run(t.Context(), []*schemas.Series{s}, windows, models, o)
	if err != nil {
		t.Fatal(err)
	}
	// |10-9| + |20-9| = 12, of two steps 6, over the scale 2.
	m := r.Total("nine")
	want := map[string]float64{
		"MASE": 3, "SMAPE": 100 * (2*1./19 + 2*11./29) / 2,
		// Every decile is 9, so that the losses are l*1 and l*11 with l from .1 to .9.
		"WQL": 2 * 4.5 * 12 / 9 / 30, "Cover80": 0,
	}
	got := map[string]float64{"MASE": m.MASE, "SMAPE": m.SMAPE, "WQL": m.WQL, "Cover80": m.Cover80}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	// Naive says 8 and 8: 2 and 12, or 3.5 units.
	if naive := r.Total(backtest.NaiveName); math.Abs(naive.MASE-3.5) > 1e-9 {
		t.Errorf("MASE of naive %v, want 3.5", naive.MASE)
	}
	if rel := r.Total("nine").RelLast; math.Abs(rel-(3+.005)/(3.5+.005)) > 1e-9 {
		t.Errorf("relative to the last value %v", rel)
	}
	if self := r.Total(backtest.SeasonalNaiveName); math.Abs(self.RelMAE-1) > 1e-12 || self.WorsePercent != 0 {
		t.Errorf("seasonal naive against itself: %+v", self)
	}
}

func TestModelsOnADailyWave(t *testing.T) {
	all := []*schemas.Series{wave(20, .3), wave(17, .3)}
	o := backtest.Options{Season: 24, Horizon: 24, History: 14 * 24, Origins: 4}
	windows, _ := o.Windows(all)
	models := []backtest.Model{
		backtest.Naive{}, backtest.Naive2{Season: 24}, backtest.SeasonalNaive{Label: backtest.SeasonalNaiveName, Season: 24},
		backtest.HoltWinters{Season: 24}, backtest.DayMedian{Season: 24}, backtest.Recipe{Season: 24},
	}
	r, err := backtest.Run(t.Context(), all, windows, models, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Series() != 2 || r.Windows() != len(windows) || r.LeftOut() != 0 {
		t.Errorf("%d series, %d windows, %d left out", r.Series(), r.Windows(), r.LeftOut())
	}
	naive := r.Total(backtest.NaiveName)
	if !(naive.RelMAE > 3) {
		t.Errorf("the last value has relative error %v on a wave, want far more than yesterday", naive.RelMAE)
	}
	// Anything that averages over days beats repeating one of them on noise.
	for _, name := range []string{"day-median", "original-recipe", "holt-winters"} {
		m := r.Total(name)
		if !(m.RelMAE < 1) || !(m.SQLRel < 1) {
			t.Errorf("%s has relative error %.3f and quantile loss %.3f on noise around a wave, want below 1", name, m.RelMAE, m.SQLRel)
		}
		if !(m.Cover90 > .75 && m.Cover90 <= 1) {
			t.Errorf("%s covers %.3f at 90 %%", name, m.Cover90)
		}
	}
	if second := r.Total(backtest.Naive2Name); math.Abs(second.OWA-1) > 1e-12 || !(second.MASE < naive.MASE/2) {
		t.Errorf("naive2: OWA %v, MASE %v; want 1 and far below naive's %v", second.OWA, second.MASE, naive.MASE)
	}
}

func TestAWindowSeesOnlyWhatLiesBeforeIt(t *testing.T) {
	s := wave(10, .3)
	o := backtest.Options{Season: 24, Horizon: 24, History: 5 * 24, Origins: 3}
	windows, train := o.Windows([]*schemas.Series{s})
	spy := &spy{}
	if _, err := backtest.Run(t.Context(), []*schemas.Series{s}, windows, []backtest.Model{spy}, o); err != nil {
		t.Fatal(err)
	}
	if len(windows) != 3 {
		t.Fatalf("%d windows, want 3", len(windows))
	}
	for _, w := range windows {
		if w.At < train[0] {
			t.Errorf("window at %d lies before %d, up to which may be trained", w.At, train[0])
		}
	}
	if spy.longest != 5*24 {
		t.Errorf("a model saw %d steps, want the history of %d", spy.longest, 5*24)
	}
}

// spy notes how much of the past it is shown.
type spy struct {
	mu      sync.Mutex
	longest int
}

func (*spy) Name() string { return "spy" }

func (s *spy) Forecast(past *schemas.Series, steps int) (*schemas.Forecast, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, past.Len(), cap(past.Mean))
	return nil, false
}

func TestSilenceCountsAsTheLastValue(t *testing.T) {
	s := wave(10, .3)
	o := backtest.Options{Season: 24, Horizon: 24, Origins: 2}
	windows, _ := o.Windows([]*schemas.Series{s})
	r, err := backtest.Run(t.Context(), []*schemas.Series{s}, windows, []backtest.Model{backtest.Naive{}, &spy{}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := r.Total(backtest.NaiveName).MASE, r.Total("spy").MASE; a != b {
		t.Errorf("silence has MASE %v, the last value %v", b, a)
	}
}

func TestConstantHistoryIsLeftOut(t *testing.T) {
	flat := make([]float64, 240)
	for i := range flat {
		flat[i] = 5
	}
	flat[239] = 100
	all := []*schemas.Series{series(flat...), wave(10, .3)}
	o := backtest.Options{Season: 24, Horizon: 24, Origins: 1}
	windows, _ := o.Windows(all)
	r, err := backtest.Run(t.Context(), all, windows, []backtest.Model{backtest.Naive{}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Windows() != 1 || r.LeftOut() != 1 {
		t.Errorf("%d windows, %d left out; want 1 and 1", r.Windows(), r.LeftOut())
	}
}

func TestUnequalLengthsAndSeriesThatAreTooShort(t *testing.T) {
	all := []*schemas.Series{wave(30, .1), wave(3, .1), wave(1, .1)}
	o := backtest.Options{Season: 24, Horizon: 24, History: 14 * 24, Origins: 3}
	windows, _ := o.Windows(all)
	per := map[int]int{}
	for _, w := range windows {
		per[w.Series]++
	}
	if diff := cmp.Diff(map[int]int{0: 3, 1: 1}, per); diff != "" {
		t.Errorf("windows per series (-want +got):\n%s", diff)
	}
}

func TestTheReportAsJSONHasNullsAndNoNaN(t *testing.T) {
	s := wave(10, .3)
	o := backtest.Options{Season: 24, Horizon: 24, Origins: 1}
	windows, _ := o.Windows([]*schemas.Series{s})
	// Without naive2 there is no OWA.
	r, err := backtest.Run(t.Context(), []*schemas.Series{s}, windows, []backtest.Model{backtest.Naive{}, backtest.SeasonalNaive{Label: backtest.SeasonalNaiveName, Season: 24}}, o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Models []struct {
			Name     string              `json:"name"`
			MASE     *float64            `json:"mase"`
			OWA      *float64            `json:"owa"`
			Coverage map[string]*float64 `json:"coverage"`
			Bands    map[string]struct {
				RelMAE *float64 `json:"relMAE"`
			} `json:"bands"`
		} `json:"models"`
		Series, Windows int
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	m := got.Models[0]
	if m.Name != backtest.NaiveName || m.MASE == nil || m.OWA != nil || m.Coverage["95"] == nil || m.Bands["1-4"].RelMAE == nil || m.Bands["17-24"].RelMAE == nil {
		t.Errorf("report %s", data)
	}
}

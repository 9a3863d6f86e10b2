package models_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

var day = time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)

// story is a store in which a training has run every night.
type story struct {
	*testing.T
	bucket artifact.Bucket
	store  *artifact.Store
}

func newStory(t *testing.T, nights int) *story {
	b := membucket.New(clock.RealClock{})
	s := &story{T: t, bucket: b, store: artifact.New(b, artifact.Options{})}
	for night := 1; night <= nights; night++ {
		s.train(night)
		s.accept(night)
	}
	return s
}

func run(night int) string { return fmt.Sprintf("train-%d", night) }

// train keeps the models of two shards, which tell the nights apart by their
// weights.
func (s *story) train(night int) {
	s.Helper()
	for _, shard := range []string{"00000", "00001"} {
		w := network.New(schemas.DefaultLevels(), 8, func() float64 { return float64(night) })
		m := &schemas.Model{CodeVersion: "v1", From: day, To: day.AddDate(0, 0, night), Horizon: 96, Levels: w.Levels, Seed: 1, Verdict: "accepted"}
		if _, err := models.Write(s.Context(), s.store, run(night), "v1", models.Trained{Shard: shard, Model: m, Weights: w}, nil); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *story) accept(night int) artifact.Outcome {
	s.Helper()
	_, outcome, err := models.Accept(s.Context(), s.store, run(night), "v1", []string{"00000", "00001"})
	if err != nil {
		s.Fatal(err)
	}
	return outcome
}

func (s *story) roll(to string, hold bool) (models.Record, artifact.Outcome) {
	s.Helper()
	target, err := models.Find(s.Context(), s.store, to)
	if err != nil {
		s.Fatal(err)
	}
	rolled, err := models.Roll(s.Context(), s.store, "v1", models.Rollback{To: target, Reason: "too low", At: day, Hold: hold})
	if err != nil {
		s.Fatal(err)
	}
	return rolled.After, map[bool]artifact.Outcome{true: artifact.Committed, false: artifact.Repeated}[rolled.Changed]
}

// wantNight checks which night's models inference would load now.
func (s *story) wantNight(night int) {
	s.Helper()
	trained, head, err := models.Latest(s.Context(), s.store)
	if err != nil {
		s.Fatal(err)
	}
	if got := models.RecordOf(head).Run; got != run(night) {
		s.Errorf("current models are of %s, want %s", got, run(night))
	}
	for _, t := range trained {
		if want := day.AddDate(0, 0, night); !t.Model.To.Equal(want) || t.Weights == nil {
			s.Errorf("shard %s learned until %s, want %s, with weights", t.Shard, t.Model.To, want)
		}
	}
	if len(trained) != 2 {
		s.Errorf("%d shards, want 2", len(trained))
	}
}

func TestARollbackIsANewRecordThatNamesAnOlderModel(t *testing.T) {
	s := newStory(t, 3)
	s.wantNight(3)
	r, outcome := s.roll("train-1", false)
	if outcome != artifact.Committed || r.Head.Number != 4 || r.Run != "train-1" || r.RolledBackFrom != "train-3" || r.Reason != "too low" || !r.At.Equal(day) {
		t.Errorf("rollback is %s, %+v", outcome, r)
	}
	s.wantNight(1)

	// Given twice, the command changes nothing.
	if r, outcome := s.roll("train-1", false); outcome != artifact.Repeated || r.Head.Number != 4 {
		t.Errorf("the same again is %s, record %d; want Repeated, 4", outcome, r.Head.Number)
	}
	// Nor does the run that was rolled back, should it be repeated.
	if outcome := s.accept(3); outcome != artifact.Repeated {
		t.Errorf("accepting the run again is %s, want Repeated", outcome)
	}
	s.wantNight(1)

	// It can itself be rolled back.
	s.roll("train-3", false)
	s.wantNight(3)
	if got, want := note(t, s), "goes on from run train-3, to which the models were rolled back from run train-1 (too low)"; got != want {
		t.Errorf("note is %q, want %q", got, want)
	}

	// The next training takes over, and nothing special is said from then on.
	s.train(4)
	if outcome := s.accept(4); outcome != artifact.Committed {
		t.Errorf("the next training is %s, want Committed", outcome)
	}
	s.wantNight(4)
	if got := note(t, s); got != "" {
		t.Errorf("note is %q, want none", got)
	}
}

func note(t *testing.T, s *story) string {
	t.Helper()
	r, err := models.Find(t.Context(), s.store, models.Current)
	if err != nil {
		t.Fatal(err)
	}
	return r.Note()
}

func TestAHeldModelStaysUntilItIsLetGo(t *testing.T) {
	s := newStory(t, 2)
	s.roll("train-1", true)
	s.train(3)
	if outcome := s.accept(3); outcome != artifact.Superseded {
		t.Errorf("a training beside a held model is %s, want Superseded", outcome)
	}
	s.wantNight(1)
	if _, outcome := s.roll("train-1", false); outcome != artifact.Committed {
		t.Errorf("letting go is %s, want Committed", outcome)
	}
	s.wantNight(1)
	if outcome := s.accept(3); outcome != artifact.Committed {
		t.Errorf("then the training is %s, want Committed", outcome)
	}
	s.wantNight(3)
}

// Who has seen another record than the newest is told so, and nothing is done.
func TestARollbackIsOfTheRecordThatWasSeen(t *testing.T) {
	s := newStory(t, 3)
	old, err := models.Find(t.Context(), s.store, "train-1")
	if err != nil {
		t.Fatal(err)
	}
	ask := models.Rollback{To: old, At: day, From: 2}
	if _, err := models.Roll(t.Context(), s.store, "v1", ask); schemas.CodeOf(err) != schemas.CodeConflict || !strings.Contains(err.Error(), "record 2 of the models must be the newest, but 3 is") {
		t.Errorf("error %v, want a conflict", err)
	}
	s.wantNight(3)
	ask.From, ask.DryRun = 3, true
	if got, err := models.Roll(t.Context(), s.store, "v1", ask); err != nil || !got.Changed || got.After.Head.Number != 4 || got.After.Run != "train-1" || got.Before.Run != "train-3" {
		t.Errorf("what would be done is %+v, %v", got, err)
	}
	s.wantNight(3)
	ask.DryRun = false
	if got, err := models.Roll(t.Context(), s.store, "v1", ask); err != nil || !got.Changed || got.After.Head.Number != 4 {
		t.Errorf("what was done is %+v, %v", got, err)
	}
	s.wantNight(1)
}

func TestAModelThatIsDamagedIsNotRolledBackTo(t *testing.T) {
	s := newStory(t, 3)
	old, err := models.Find(t.Context(), s.store, "train-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range old.Head.Manifest.Files {
		if err := s.bucket.Delete(t.Context(), f.Key); err != nil {
			t.Fatal(err)
		}
	}
	_, err = models.Roll(t.Context(), s.store, "v1", models.Rollback{To: old, At: day})
	if !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "train-1") {
		t.Errorf("error is %v, want that the models of train-1 are gone", err)
	}
	s.wantNight(3)
}

func TestDamagedModelsArePassedOverForThoseBefore(t *testing.T) {
	s := newStory(t, 2)
	if err := s.bucket.Delete(t.Context(), schemas.ManifestKey("train-2", models.StepName, "00001")); err != nil {
		t.Fatal(err)
	}
	s.wantNight(1)
}

func TestFind(t *testing.T) {
	s := newStory(t, 3)
	s.roll("train-2", false) // record 4
	for _, tt := range []struct {
		name   string
		number uint64 // 0: none
	}{
		{models.Current, 4}, {"train-1", 1}, {"3", 3}, {"train-3", 3},
		{"train-2", 4}, // the newest that names it
		{"2", 2}, {"train-9", 0}, {"9", 0}, {"", 0}, {"-1", 0},
	} {
		r, err := models.Find(t.Context(), s.store, tt.name)
		switch {
		case tt.number == 0 && schemas.CodeOf(err) != schemas.CodeInvalidConfig:
			t.Errorf("Find(%q) = record %d, %v; want none", tt.name, r.Head.Number, err)
		case tt.number > 0 && (err != nil || r.Head.Number != tt.number):
			t.Errorf("Find(%q) = record %d, %v; want %d", tt.name, r.Head.Number, err, tt.number)
		}
	}
}

func TestOldModelsCanBeRolledBackToAfterASweep(t *testing.T) {
	s := newStory(t, 3)
	later := artifact.New(s.bucket, artifact.Options{Clock: clocktesting.NewFakePassiveClock(time.Now().AddDate(0, 0, 20))})
	if _, err := later.Sweep(t.Context(), artifact.DefaultSweepOptions()); err != nil {
		t.Fatal(err)
	}
	s.roll("train-1", false)
	s.wantNight(1)
}

func TestStandingsAreRatiosToSeasonalNaive(t *testing.T) {
	errs := func(loss float64) []*schemas.BandError {
		return []*schemas.BandError{{MAE: 2 * loss, Loss: loss, Count: 4}, nil}
	}
	scored := func(naive, bank float64) schemas.SeriesScore {
		return schemas.SeriesScore{Errors: map[string][]*schemas.BandError{schemas.SeasonalNaive: errs(naive), schemas.Bank: errs(bank)}}
	}
	got := models.Standings([]models.Trained{
		{Model: &schemas.Model{Horizon: 16, Scores: []schemas.SeriesScore{scored(4, 1), scored(0, 0)}}},
		{Model: &schemas.Model{Horizon: 16, Scores: []schemas.SeriesScore{scored(1, 1), {Errors: map[string][]*schemas.BandError{schemas.Bank: errs(9)}}}}},
	})
	want := []models.Standing{
		{Forecaster: schemas.Bank, Band: schemas.Band{First: 1, Last: 4}, RelLoss: .5, RelMAE: .5, Series: 2},
		{Forecaster: schemas.SeasonalNaive, Band: schemas.Band{First: 1, Last: 4}, RelLoss: 1, RelMAE: 1, Series: 2},
	}
	if fmt.Sprintf("%.9v", got) != fmt.Sprintf("%.9v", want) {
		t.Errorf("standings are %+v, want %+v", got, want)
	}
}

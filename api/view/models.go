package view

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// trained is what one training learned, without the weights.
type trained struct {
	number   uint64
	until    time.Time
	list     []byte // wire.ModelList as JSON
	accuracy []wire.ComponentAccuracy
}

// Number returns the number of the head, 0 for none.
func (t *trained) Number() uint64 {
	if t == nil {
		return 0
	}
	return t.number
}

func (v *View) loadModels(ctx context.Context, head artifact.Head) (*trained, error) {
	list, accuracy, err := v.readModels(ctx, head)
	if err != nil {
		return nil, err
	}
	t := &trained{number: head.Number, until: head.Manifest.To.UTC(), accuracy: accuracy}
	t.list, err = json.Marshal(list)
	return t, err
}

func (v *View) readModels(ctx context.Context, head artifact.Head) (wire.ModelList, []wire.ComponentAccuracy, error) {
	entry := models.RecordOf(head)
	list := wire.ModelList{
		Number: head.Number, Accepted: entry.Run, RolledBackFrom: entry.RolledBackFrom, Reason: entry.Reason, Hold: entry.Hold,
		Until: head.Manifest.To.UTC(), Items: []wire.Model{},
	}
	var accuracy []wire.ComponentAccuracy
	err := models.Scan(ctx, v.store, head, func(r models.Shard) error {
		m := r.Model
		list.Items = append(list.Items, wire.Model{
			Shard: r.ID, Run: r.Run, SHA256: r.SHA256, CodeVersion: m.CodeVersion, DatasetSum: m.DatasetSum,
			From: m.From, To: m.To, Seed: m.Seed, WeightsSum: m.WeightsSum, Verdict: m.Verdict, Examples: m.Examples,
			Loss: m.Loss, BankLoss: m.BankLoss, Series: len(m.Scores),
		})
		for i := range m.Scores {
			if a, ok := v.judge(&m.Scores[i]); ok {
				accuracy = append(accuracy, a)
			}
		}
		return nil
	})
	slices.SortFunc(list.Items, func(a, b wire.Model) int { return cmp.Compare(a.Shard, b.Shard) })
	slices.SortFunc(accuracy, compareAccuracy)
	return list, slices.Clip(accuracy), err
}

func compareAccuracy(a, b wire.ComponentAccuracy) int {
	return cmp.Or(schemas.ComponentID(a.Component).Compare(schemas.ComponentID(b.Component)), cmp.Compare(a.Resource, b.Resource))
}

// judge returns how close the forecaster came that the score believes in, over the
// first hour, which floors are made of, beside seasonal naive.
func (v *View) judge(s *schemas.SeriesScore) (wire.ComponentAccuracy, bool) {
	if s.Statistic != schemas.Mean {
		return wire.ComponentAccuracy{}, false
	}
	naive := firstBand(s.Errors[schemas.SeasonalNaive])
	if naive == nil {
		return wire.ComponentAccuracy{}, false
	}
	id := v.names.name(v.names.number(s.Component)) // shares its strings
	a := wire.ComponentAccuracy{Component: wire.ComponentID(id), Resource: s.Resource, Naive: naive.MAE, MAE: naive.MAE, Forecaster: schemas.SeasonalNaive}
	least := naive.Loss
	for _, name := range []string{schemas.Bank, schemas.Network} {
		if e := firstBand(s.Errors[name]); e != nil && e.Loss <= least {
			least, a.MAE, a.Forecaster = e.Loss, e.MAE, name
		}
	}
	return a, true
}

func firstBand(errs []*schemas.BandError) *schemas.BandError {
	if len(errs) == 0 || errs[0] == nil || errs[0].Count == 0 {
		return nil
	}
	return errs[0]
}

// point sums up a training. It reports false where no series can be compared.
func point(at time.Time, all []wire.ComponentAccuracy) (wire.AccuracyPoint, bool) {
	var logs float64
	p := wire.AccuracyPoint{Time: at}
	for _, a := range all {
		// An error of 0 has no place in a geometric mean; constant series have it.
		if a.MAE > 0 && a.Naive > 0 {
			logs += math.Log(a.MAE / a.Naive)
			p.Series++
		}
	}
	if p.Series == 0 {
		return p, false
	}
	p.Ratio = math.Exp(logs / float64(p.Series))
	return p, true
}

// Models returns the models that a head accepted, a [wire.ModelList]: the current
// one where number is 0. It reports false where there is none, or no such head.
func (v *View) Models(ctx context.Context, number uint64) (Answer, bool, error) {
	t := v.current.Load().models
	if t != nil && (number == 0 || number == t.number) {
		return Answer{t.list, t.number}, true, nil
	}
	if t == nil || number > t.number {
		return Answer{}, false, nil
	}
	head, err := v.asked.ReadHead(ctx, schemas.ModelsHead, number)
	if err == nil {
		var list wire.ModelList
		if list, _, err = v.readModels(ctx, head); err == nil {
			body, err := json.Marshal(list)
			return Answer{body, number}, true, err
		}
	}
	if schemas.CodeOf(err) == schemas.CodeNotFound {
		return Answer{}, false, nil
	}
	return Answer{}, false, err
}

// ModelEntry returns an entry of the line of models as it travels.
func ModelEntry(r models.Record, s models.Summary) wire.ModelEntry {
	e := wire.ModelEntry{
		Number: r.Head.Number, Run: r.Run, From: r.Head.Manifest.From.UTC(), To: r.Head.Manifest.To.UTC(), CodeVersion: cmp.Or(s.CodeVersion, r.Head.Manifest.Writer),
		Seed: s.Seed, Shards: len(r.Head.Manifest.Inputs), Networks: s.Networks, Components: s.Components, Examples: s.Examples, Steps: s.Steps,
		Loss: s.Loss, BankLoss: s.BankLoss, RolledBackFrom: r.RolledBackFrom, Reason: r.Reason, Hold: r.Hold,
	}
	if !r.At.IsZero() {
		at := r.At
		e.At = &at
	}
	return e
}

// keptEntries bounds the entries of the line of models that are remembered.
const keptEntries = 1000

// modelLine remembers entries of the line of models that can be used: they never
// change, and each is read from as many files as it has shards.
type modelLine struct {
	mu      sync.Mutex
	entries map[uint64]wire.ModelEntry
}

func (l *modelLine) get(n uint64) (wire.ModelEntry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[n]
	return e, ok
}

func (l *modelLine) set(e wire.ModelEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil || len(l.entries) >= keptEntries {
		l.entries = map[uint64]wire.ModelEntry{}
	}
	l.entries[e.Number] = e
}

// ModelLine returns entries of the line of models, the newest first: at most limit,
// below a number, 0 for all. Heads that are damaged are left out; entries whose models
// are say so. Next is below what the next page begins, 0 where there is none.
func (v *View) ModelLine(ctx context.Context, below uint64, limit int) (entries []wire.ModelEntry, next uint64, err error) {
	current := v.current.Load().models.Number()
	top := current
	for { // what is newer cannot be used, or was not there a moment ago
		_, err := v.asked.ReadHead(ctx, schemas.ModelsHead, top+1)
		if err != nil && schemas.CodeOf(err) != schemas.CodeCorrupt {
			break
		}
		top++
	}
	if below > 0 {
		top = min(top, below-1)
	}
	for n := top; n > 0; n-- {
		if len(entries) == limit {
			return entries, n + 1, nil
		}
		e, ok := v.line.get(n)
		if !ok {
			e, err = v.modelEntry(ctx, n)
			switch code := schemas.CodeOf(err); {
			case code == schemas.CodeNotFound:
				return entries, 0, nil // what lies below has been swept
			case code == schemas.CodeCorrupt:
				continue
			case err != nil:
				return nil, 0, err
			}
		}
		e.Current = n == current
		entries = append(entries, e)
	}
	return entries, 0, nil
}

// modelEntry reads an entry. What it returns an error for is the head alone, or that
// the store does not answer.
func (v *View) modelEntry(ctx context.Context, n uint64) (wire.ModelEntry, error) {
	head, err := v.asked.ReadHead(ctx, schemas.ModelsHead, n)
	if err != nil {
		return wire.ModelEntry{}, err
	}
	var tally models.Tally
	err = models.Scan(ctx, v.asked, head, func(s models.Shard) error {
		tally.Add(s.Model)
		return nil
	})
	e := ModelEntry(models.RecordOf(head), tally.Summary())
	switch {
	case err == nil:
		v.line.set(e)
	case schemas.CodeOf(err) == schemas.CodeUnavailable || ctx.Err() != nil:
		return wire.ModelEntry{}, err
	default: // what was added up before is not all
		e = ModelEntry(models.RecordOf(head), models.Summary{})
		e.Damage = err.Error()
	}
	return e, nil
}

// keptPoints is how many trainings back accuracy is shown.
const keptPoints = 60

// accuracyPoints are the points of the newest trainings, one for each end of what was
// learned from. Older ones are read in the
// background, one at each refresh.
type accuracyPoints struct {
	mu     sync.Mutex
	points map[uint64]*wire.AccuracyPoint // by head; nil where there is none to show
	oldest bool                           // what lies below has been swept
}

func (a *accuracyPoints) list() []wire.AccuracyPoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Of trainings on the same data the newest counts, as of any that is repeated.
	newest := map[int64]uint64{}
	for n, p := range a.points {
		if p != nil {
			newest[p.Time.UnixMilli()] = max(n, newest[p.Time.UnixMilli()])
		}
	}
	out := make([]wire.AccuracyPoint, 0, len(newest))
	for _, n := range newest {
		out = append(out, *a.points[n])
	}
	slices.SortFunc(out, func(a, b wire.AccuracyPoint) int { return a.Time.Compare(b.Time) })
	return out
}

func (a *accuracyPoints) known(n uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.points[n]
	return ok
}

func (a *accuracyPoints) set(n uint64, at time.Time, all []wire.ComponentAccuracy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.points == nil {
		a.points = map[uint64]*wire.AccuracyPoint{}
	}
	a.points[n] = nil
	if p, ok := point(at, all); ok {
		a.points[n] = &p
	}
	for old := range a.points {
		if old+keptPoints <= n {
			delete(a.points, old)
		}
	}
}

// fill adds the point of the current training and one of those before.
func (a *accuracyPoints) fill(ctx context.Context, v *View, t *trained) {
	if t == nil {
		return
	}
	if !a.known(t.number) {
		a.set(t.number, t.until, t.accuracy)
		return
	}
	for n := t.number - 1; n > 0 && n+keptPoints > t.number && !a.oldest; n-- {
		if a.known(n) {
			continue
		}
		head, err := v.store.ReadHead(ctx, schemas.ModelsHead, n)
		if err == nil {
			var all []wire.ComponentAccuracy
			if _, all, err = v.readModels(ctx, head); err == nil {
				a.set(n, head.Manifest.To.UTC(), all)
				return
			}
		}
		switch {
		case schemas.CodeOf(err) == schemas.CodeUnavailable || ctx.Err() != nil:
		case schemas.CodeOf(err) == schemas.CodeNotFound:
			a.oldest = true
		default:
			a.set(n, time.Time{}, nil)
		}
		return
	}
}

// Series returns how many series the current models were judged on, 0 where there
// are none.
func (v *View) Series() int {
	if t := v.current.Load().models; t != nil {
		return len(t.accuracy)
	}
	return 0
}

package trainer_test

import (
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/datasets"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/jobs/trainer"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

// end is where the histories of component end.
var end = time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)

// nightly is a store in which a dataset of three shards lies for each run.
type nightly struct {
	*testing.T
	store *artifact.Store
	order []string // in which the shards are trained
}

func newNightly(t *testing.T, order ...string) *nightly {
	return &nightly{t, artifact.New(membucket.New(clock.RealClock{}), artifact.Options{}), order}
}

// dataset commits shards of two components each, as the step before the trainer
// does.
func (n *nightly) dataset(run string) {
	n.Helper()
	const days = 9
	from := end.AddDate(0, 0, -days)
	var shards []string
	for i, names := range [][]string{{"billing", "cart"}, {"login", "mail"}, {"search", "web"}} {
		w, err := columnar.NewDatasetWriter(from, schemas.DefaultStep, days*day)
		n.check(err)
		for _, name := range names {
			h := component(name, days, lagging)
			n.check(w.Add(&h))
		}
		data, err := w.Close()
		n.check(err)
		meta := artifact.FileMeta{Rows: 1, From: from, To: end, Schema: columnar.DatasetSchema.String()}
		f, err := n.store.PutFile(n.Context(), "dataset", from, "parquet", data, meta)
		n.check(err)
		n.commit(artifact.Manifest{Kind: "dataset", Run: run, Step: datasets.StepName, Shard: schemas.ShardID(i), Files: []artifact.File{f}, From: from, To: end})
		shards = append(shards, `"`+schemas.ShardID(i)+`"`)
	}
	n.commit(artifact.Manifest{Kind: "dataset", Run: run, Step: datasets.StepName, From: from, To: end, Labels: map[string]string{"shards": "[" + strings.Join(shards, ",") + "]"}})
}

func (n *nightly) commit(m artifact.Manifest) {
	n.Helper()
	_, err := n.store.CommitManifest(n.Context(), m.Key(), m)
	n.check(err)
}

func (n *nightly) check(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// night trains all shards of a run and accepts them.
func (n *nightly) night(run string) artifact.Head {
	n.Helper()
	n.dataset(run)
	o := options()
	env := jobs.Env{Store: n.store, Log: slog.New(slog.DiscardHandler), Run: run, Now: end, Version: "v1"}
	for _, shard := range n.order {
		env := env
		env.Shard = shard
		n.check(trainer.New(trainer.Config{Options: o})(n.Context(), env))
	}
	n.check(trainer.New(trainer.Config{Options: o, Commit: true})(n.Context(), env))
	_, head, err := models.Latest(n.Context(), n.store)
	n.check(err)
	return head
}

// TestTheSameDatasetAndSeedGiveTheSameFiles compares the content-addressed files
// of whole trainings: models, with their scores and data hashes, and weights.
func TestTheSameDatasetAndSeedGiveTheSameFiles(t *testing.T) {
	forwards := []string{"00000", "00001", "00002"}
	backwards := slices.Clone(forwards)
	slices.Reverse(backwards)
	want := newNightly(t, forwards...).night("train-1")
	weights := 0
	for _, f := range want.Manifest.Files {
		if strings.HasSuffix(f.Key, ".safetensors") {
			weights++
		}
	}
	if weights == 0 {
		t.Fatal("no network was accepted, so that there is nothing to compare")
	}
	for _, tt := range []struct {
		name       string
		order      []string
		processors int
	}{
		{"another run in another store", forwards, 0},
		{"the shards in another order", backwards, 0},
		{"on one processor", forwards, 1},
		{"on four processors", forwards, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.processors > 0 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(tt.processors))
			}
			got := newNightly(t, tt.order...).night("train-1")
			if diff := cmp.Diff(want.Manifest.Files, got.Manifest.Files); diff != "" {
				t.Errorf("files differ (-first +this):\n%s", diff)
			}
		})
	}
	t.Run("another seed gives other weights", func(t *testing.T) {
		// From nothing, because one that learns nothing better ends where it began.
		first, o := options(), options()
		first.Scratch, o.Scratch = true, true
		o.Fit.Seed++
		_, a, err := trainer.Train(t.Context(), fleet(), first)
		if err != nil {
			t.Fatal(err)
		}
		_, b, err := trainer.Train(t.Context(), fleet(), o)
		if err != nil {
			t.Fatal(err)
		}
		if cmp.Equal(a, b) {
			t.Error("two seeds gave the same weights")
		}
	})
}

func TestARecordSaysWhatItWasMadeFrom(t *testing.T) {
	n := newNightly(t, "00000", "00001", "00002")
	head := n.night("train-1")
	trained, err := models.Read(t.Context(), n.store, head)
	n.check(err)
	for _, tr := range trained {
		data, err := datasets.Manifest(t.Context(), n.store, "train-1", tr.Shard)
		n.check(err)
		m := tr.Model
		if m.DatasetSum != data.Sum || m.CodeVersion != "v1" || m.Seed != 1 || !m.To.Equal(end) || len(m.Scores) == 0 {
			t.Errorf("shard %s: the record is of data %s, code %s, seed %d, until %s, with %d scores", tr.Shard, m.DatasetSum, m.CodeVersion, m.Seed, m.To, len(m.Scores))
		}
	}
}

func TestTheTrainingAfterARollbackSaysSo(t *testing.T) {
	n := newNightly(t, "00000", "00001", "00002")
	n.night("train-1")
	n.night("train-2")
	to, err := models.Find(t.Context(), n.store, "train-1")
	n.check(err)
	_, err = models.Roll(t.Context(), n.store, "v1", models.Rollback{To: to, At: end, Reason: "too low"})
	n.check(err)
	trained, err := models.Read(t.Context(), n.store, n.night("train-3"))
	n.check(err)
	for _, tr := range trained {
		if want := "goes on from run train-1, to which the models were rolled back from run train-2 (too low)"; tr.Weights != nil && !strings.Contains(tr.Model.Verdict, want) {
			t.Errorf("verdict of shard %s is %q, want that it %s", tr.Shard, tr.Model.Verdict, want)
		}
	}
}

func TestATrainingBesideAHeldModelIsKeptAndNotUsed(t *testing.T) {
	n := newNightly(t, "00000", "00001", "00002")
	n.night("train-1")
	n.night("train-2")
	to, err := models.Find(t.Context(), n.store, "train-1")
	n.check(err)
	_, err = models.Roll(t.Context(), n.store, "v1", models.Rollback{To: to, At: end, Hold: true})
	n.check(err)
	if r := models.RecordOf(n.night("train-3")); r.Run != "train-1" {
		t.Errorf("current is %s, want the held train-1", r.Run)
	}
	for _, shard := range n.order {
		if written, err := models.Written(t.Context(), n.store, "train-3", shard); err != nil || !written {
			t.Errorf("shard %s of the training was not kept: %v", shard, err)
		}
	}
}

// Package dataset is the step between the table of samples and the trainer: it
// cuts the last weeks of every component into dense series on one grid, and the
// components into shards that can be trained side by side.
//
// What it writes is read by package datasets. The list of shard ids, from which a
// pipeline fans out, may be written to a file besides.
package dataset

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/jobs/datasets"
	"github.com/self-scaling/self-scaling/jobs/samples"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

const (
	kind = "dataset"
	ext  = "parquet"
)

// Defaults of [Options].
const (
	DefaultDays      = schemas.DefaultHistoryDays
	DefaultShardSize = 1024
)

// Options say what a dataset holds. The zero value works.
type Options struct {
	// Days is how many days of history the series have; [DefaultDays] where 0.
	// Where the table is younger, they have as many as it has.
	Days int
	// ShardSize is how many components a shard has at most; [DefaultShardSize]
	// where 0. Components are assigned in order of their names, so that equal
	// tables give equal shards.
	ShardSize int
	// ShardsFile is where the list of shard ids is written, as a JSON array; ""
	// where nobody asks for it.
	ShardsFile string
	// RunFile is where the run-id is written that the shards are kept under; ""
	// where nobody asks for it.
	RunFile string
}

func (o Options) validate() error {
	if o.Days < 0 || o.Days > 800 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "days must be from 1 to 800, but is %d", o.Days)
	}
	if o.ShardSize < 0 {
		return schemas.Errorf(schemas.CodeInvalidConfig, "shard size must be at least 1, but is %d", o.ShardSize)
	}
	return nil
}

// New returns the step.
func New(opts Options) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error {
		shards, err := Build(ctx, opts, env)
		if err != nil {
			return err
		}
		if shards == nil {
			shards = []string{}
		}
		list, err := json.Marshal(shards)
		if err != nil {
			return schemas.WithCode(schemas.CodeInternal, err)
		}
		if err := tell("run-id", opts.RunFile, []byte(env.Run)); err != nil {
			return err
		}
		return tell("list of shards", opts.ShardsFile, append(list, '\n'))
	}
}

// Build makes the dataset of a run and returns the ids of its shards. A run that
// is repeated returns what it made before.
func Build(ctx context.Context, opts Options, env jobs.Env) ([]string, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts.Days, opts.ShardSize = cmp.Or(opts.Days, DefaultDays), cmp.Or(opts.ShardSize, DefaultShardSize)
	if shards, err := datasets.Shards(ctx, env.Store, env.Run); schemas.CodeOf(err) != schemas.CodeNotFound {
		return shards, err
	}
	b := builder{store: env.Store, run: env.Run, version: env.Version}
	if err := b.plan(ctx, env.Now, opts.Days); err != nil {
		return nil, err
	}
	snapshot := b.snapshot
	ids, err := snapshot.Components(ctx, b.from, b.to)
	if err != nil {
		return nil, err
	}
	var shards []string
	for _, part := range passes(ids, opts.ShardSize, int(b.to.Sub(b.from)/snapshot.Step())) {
		histories, err := snapshot.Histories(ctx, part, b.from, b.to)
		if err != nil {
			return nil, err
		}
		for shard := range slices.Chunk(histories, opts.ShardSize) {
			id := schemas.ShardID(len(shards))
			if err := b.write(ctx, id, shard); err != nil {
				return nil, err
			}
			shards = append(shards, id)
		}
	}
	for _, f := range snapshot.Lost() {
		env.Log.Warn("samples are missing from the dataset, because their file is damaged or gone", "file", f.Key)
	}
	if err := b.commit(ctx, shards, len(ids), len(snapshot.Lost())); err != nil {
		return nil, err
	}
	env.Log.Info("dataset built", "components", len(ids), "shards", len(shards), "from", b.from, "to", b.to)
	return shards, nil
}

// passBytes is how much the series of one pass over the table may take. Several
// shards are made in one pass, because each reads all files anew.
const passBytes = 256 << 20

// passes cuts the components into parts of whole shards.
func passes(ids []schemas.ComponentID, shardSize, buckets int) [][]schemas.ComponentID {
	perComponent := 32 * buckets // means and maxima of two resources
	shards := max(1, passBytes/max(1, perComponent*shardSize))
	var out [][]schemas.ComponentID
	for part := range slices.Chunk(ids, shards*shardSize) {
		out = append(out, part)
	}
	return out
}

// builder writes the shards of one run.
type builder struct {
	store        *artifact.Store
	run, version string
	snapshot     *samples.Snapshot
	input        artifact.Input
	from, to     time.Time
}

// plan fixes what the dataset is made from, before any of it is written: which
// head of the table, and which window. A run that is killed and started again
// finds its plan and makes the same bytes, although the table has moved on.
func (b *builder) plan(ctx context.Context, now time.Time, days int) error {
	table := samples.New(b.store, samples.Options{})
	plan, err := b.store.ReadManifest(ctx, schemas.ManifestKey(b.run, datasets.StepName, planShard))
	switch {
	case schemas.CodeOf(err) == schemas.CodeNotFound:
		if b.snapshot, err = table.Snapshot(ctx); err != nil {
			return err
		}
		if plan, err = b.newPlan(ctx, now, days); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		number, err := strconv.ParseUint(plan.Labels["head"], 10, 64)
		if err != nil {
			return schemas.Errorf(schemas.CodeCorrupt, "manifest %s: label head must be a number, but is %q", plan.Key(), plan.Labels["head"])
		}
		head, err := b.store.ReadHead(ctx, schemas.SamplesHead, number)
		if err != nil {
			return err
		}
		if b.snapshot, err = table.At(head); err != nil {
			return err
		}
	}
	b.from, b.to = plan.From, plan.To
	b.input, err = b.snapshot.Head.Input()
	return err
}

// planShard is where the plan stands among the manifests of a run. No shard has
// such an id.
const planShard = "plan"

func (b *builder) newPlan(ctx context.Context, now time.Time, days int) (artifact.Manifest, error) {
	head := b.snapshot.Head
	b.from, b.to = b.snapshot.Window(now, days)
	if first := head.Manifest.From; b.from.Before(first) {
		b.from = first
	}
	if !b.from.Before(b.to) {
		return artifact.Manifest{}, schemas.Errorf(schemas.CodeNotFound, "dataset: the table of samples must have a whole bucket before %s, but begins at %s", now.Format(time.RFC3339), head.Manifest.From.Format(time.RFC3339))
	}
	var err error
	if b.input, err = head.Input(); err != nil {
		return artifact.Manifest{}, err
	}
	m := b.manifest(planShard)
	m.Labels["head"] = strconv.FormatUint(head.Number, 10)
	return b.store.CommitManifest(ctx, m.Key(), m)
}

// write stores one shard and commits its manifest.
func (b *builder) write(ctx context.Context, shard string, histories []schemas.History) error {
	step := b.snapshot.Step()
	w, err := columnar.NewDatasetWriter(b.from, step, int(b.to.Sub(b.from)/step))
	if err != nil {
		return err
	}
	valid := map[schemas.Resource]int{}
	for i := range histories {
		h := &histories[i]
		if err := w.Add(h); err != nil {
			return err
		}
		for r, s := range h.Series {
			valid[r] += s.Valid()
		}
	}
	data, err := w.Close()
	if err != nil {
		return err
	}
	buckets := len(histories) * int(b.to.Sub(b.from)/step)
	f, err := b.store.PutFile(ctx, kind, b.from, ext, data, artifact.FileMeta{
		Rows: int64(buckets), From: b.from, To: b.to, Schema: columnar.DatasetSchema.String(),
	})
	if err != nil {
		return err
	}
	m := b.manifest(shard)
	m.Files = []artifact.File{f}
	m.Labels["components"] = strconv.Itoa(len(histories))
	m.Labels["first"] = histories[0].Component.String()
	m.Labels["last"] = histories[len(histories)-1].Component.String()
	for _, r := range schemas.Resources() {
		m.Labels["valid_fraction_"+string(r)] = strconv.FormatFloat(float64(valid[r])/float64(buckets), 'f', 4, 64)
	}
	_, err = b.store.CommitManifest(ctx, m.Key(), m)
	return err
}

// commit ends the run: from now on its shards are complete.
func (b *builder) commit(ctx context.Context, shards []string, components, lost int) error {
	list, err := json.Marshal(shards)
	if err != nil {
		return schemas.WithCode(schemas.CodeInternal, err)
	}
	m := b.manifest("")
	m.Labels["shards"] = string(list)
	m.Labels["components"] = strconv.Itoa(components)
	m.Labels["lost_files"] = strconv.Itoa(lost)
	_, err = b.store.CommitManifest(ctx, m.Key(), m)
	return err
}

func (b *builder) manifest(shard string) artifact.Manifest {
	return artifact.Manifest{
		Kind: kind, Run: b.run, Step: datasets.StepName, Shard: shard, Writer: b.version,
		Inputs: []artifact.Input{b.input}, From: b.from, To: b.to,
		Labels: map[string]string{"step": b.snapshot.Step().String()},
	}
}

// tell writes a fact for whoever fans out over the shards, whole or not at all. Nobody
// asks for it where the path is empty.
func tell(what, path string, data []byte) error {
	if path == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".dataset-*")
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "%s: %w", what, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.Write(data)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "%s: %w", what, fmt.Errorf("write %s: %w", path, err))
	}
	return nil
}

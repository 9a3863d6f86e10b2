// Package models keeps what the trainer learned. Each shard of a training run
// commits its model and the weights of its network under the run; one last step
// moves the head of the pipeline [schemas.ModelsHead] to all shards at once, so
// that inference never mixes the shards of two runs.
package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/self-scaling/self-scaling/jobs/trainer/network"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// StepName is the step under whose name models are committed.
const StepName = "trainer"

const (
	modelKind   = "models"
	modelSchema = "model.v1"
	modelExt    = "json"
	// Weights are kept beside their model, in the same manifest.
	weightsSchema = "weights.safetensors"
	weightsExt    = "safetensors"
	shardsLabel   = "shards" // of a head: how many shards there are
)

// Trained is one shard's model with the weights of its network, nil where none
// was accepted.
type Trained struct {
	Shard   string
	Model   *schemas.Model
	Weights *network.Weights
}

// Write commits a shard's model under its run. Writing the same again succeeds.
func Write(ctx context.Context, store *artifact.Store, run, version string, t Trained, inputs []artifact.Input) (artifact.Manifest, error) {
	m := artifact.Manifest{
		Kind: modelKind, Run: run, Step: StepName, Shard: t.Shard, Writer: version, Inputs: inputs,
		From: t.Model.From, To: t.Model.To, Labels: map[string]string{"verdict": t.Model.Verdict},
	}
	data, err := json.Marshal(t.Model)
	if err != nil {
		return artifact.Manifest{}, fmt.Errorf("encode model of shard %s: %w", t.Shard, err)
	}
	meta := artifact.FileMeta{Rows: int64(len(t.Model.Scores)), From: t.Model.From, To: t.Model.To, Schema: modelSchema}
	file, err := store.PutFile(ctx, modelKind, t.Model.To, modelExt, data, meta)
	if err != nil {
		return artifact.Manifest{}, err
	}
	m.Files = append(m.Files, file)
	if t.Weights != nil {
		if data, err = t.Weights.Encode(); err != nil {
			return artifact.Manifest{}, fmt.Errorf("encode weights of shard %s: %w", t.Shard, err)
		}
		meta := artifact.FileMeta{Rows: 1, From: t.Model.From, To: t.Model.To, Schema: weightsSchema}
		if file, err = store.PutFile(ctx, modelKind, t.Model.To, weightsExt, data, meta); err != nil {
			return artifact.Manifest{}, err
		}
		m.Files = append(m.Files, file)
	}
	return store.CommitManifest(ctx, m.Key(), m)
}

// Written reports whether a shard of a run has its model already.
func Written(ctx context.Context, store *artifact.Store, run, shard string) (bool, error) {
	_, err := store.ReadManifest(ctx, schemas.ManifestKey(run, StepName, shard))
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Accept makes the models of all shards of a run the current ones. A shard that
// has no model yet is an error with [schemas.CodeUnavailable]. A run that
// learned from older data than the current models is superseded, and so is every
// run while a person holds older models ([Rollback]); neither is an error.
func Accept(ctx context.Context, store *artifact.Store, run, version string, shards []string) (artifact.Head, artifact.Outcome, error) {
	var holder artifact.Head
	head, outcome, err := store.Advance(ctx, schemas.ModelsHead, run, func(prev *artifact.Head) (artifact.Manifest, error) {
		if prev != nil && RecordOf(*prev).Hold {
			holder = *prev
			return artifact.Manifest{}, errHeld
		}
		all := artifact.Manifest{Kind: modelKind, Run: run, Writer: version, Labels: map[string]string{}}
		for _, shard := range shards {
			m, err := store.ReadManifest(ctx, schemas.ManifestKey(run, StepName, shard))
			if errors.Is(err, artifact.ErrNotFound) {
				return artifact.Manifest{}, schemas.Errorf(schemas.CodeUnavailable, "run %s: shard %s has no model yet", run, shard)
			}
			if err != nil {
				return artifact.Manifest{}, err
			}
			in, err := m.Input()
			if err != nil {
				return artifact.Manifest{}, err
			}
			all.Inputs = append(all.Inputs, in)
			all.Files = append(all.Files, m.Files...)
			if all.From.IsZero() || !m.From.IsZero() && m.From.Before(all.From) {
				all.From = m.From
			}
			if m.To.After(all.To) {
				all.To = m.To
			}
		}
		all.Labels[shardsLabel] = fmt.Sprint(len(shards))
		return all, nil
	}, artifact.Monotonic())
	if errors.Is(err, errHeld) {
		return holder, artifact.Superseded, nil
	}
	return head, outcome, err
}

// errHeld ends the search for the next number where a person holds older models.
var errHeld = errors.New("older models are held")

// Latest returns the current models, one a shard, with the head that names
// them. It returns an error wrapping [artifact.ErrNotFound] where none has been
// accepted yet. A head that is damaged, or whose models are, is passed over for
// the one before.
func Latest(ctx context.Context, store *artifact.Store) (trained []Trained, head artifact.Head, err error) {
	head, err = store.LatestValid(ctx, schemas.ModelsHead, func(ctx context.Context, h artifact.Head) (err error) {
		trained, err = Read(ctx, store, h)
		return err
	})
	if err != nil {
		return nil, artifact.Head{}, err
	}
	return trained, head, nil
}

// Read returns the models that a head names.
func Read(ctx context.Context, store *artifact.Store, head artifact.Head) ([]Trained, error) {
	var all []Trained
	for _, in := range head.Manifest.Inputs {
		m, err := store.ReadManifest(ctx, in.Key)
		if err != nil {
			return nil, err
		}
		t, err := read(ctx, store, m)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func read(ctx context.Context, store *artifact.Store, m artifact.Manifest) (Trained, error) {
	t := Trained{Shard: m.Shard}
	for _, f := range m.Files {
		data, err := store.GetFile(ctx, f)
		if err != nil {
			return Trained{}, err
		}
		switch f.Schema {
		case modelSchema:
			t.Model = &schemas.Model{}
			if err := json.Unmarshal(data, t.Model); err != nil {
				return Trained{}, fmt.Errorf("%s must be a model: %v: %w", f.Key, err, artifact.ErrCorrupt)
			}
		case weightsSchema:
			if t.Weights, err = network.Decode(data); err != nil {
				return Trained{}, fmt.Errorf("%s: %v: %w", f.Key, err, artifact.ErrCorrupt)
			}
		}
	}
	if t.Model == nil {
		return Trained{}, fmt.Errorf("manifest %s must name a model, but names %d files without one: %w", m.Key(), len(m.Files), artifact.ErrCorrupt)
	}
	return t, nil
}

// Shard is one shard's model without its weights.
type Shard struct {
	ID string
	// Run trained it, which need not be the run that accepted it.
	Run string
	// SHA256 is that of the model's file.
	SHA256 string
	Model  *schemas.Model
}

// Scan calls yield with each model that a head names, in the order of the shards,
// and holds one at a time. An error that yield returns ends it.
func Scan(ctx context.Context, store *artifact.Store, head artifact.Head, yield func(Shard) error) error {
	for _, in := range head.Manifest.Inputs {
		m, err := store.ReadManifest(ctx, in.Key)
		if err != nil {
			return err
		}
		for _, f := range m.Files {
			if f.Schema != modelSchema {
				continue
			}
			data, err := store.GetFile(ctx, f)
			if err != nil {
				return err
			}
			r := Shard{ID: m.Shard, Run: m.Run, SHA256: f.SHA256, Model: &schemas.Model{}}
			if err := json.Unmarshal(data, r.Model); err != nil {
				return schemas.Errorf(schemas.CodeCorrupt, "%s must be a model: %w", f.Key, err)
			}
			if err := yield(r); err != nil {
				return err
			}
		}
	}
	return nil
}

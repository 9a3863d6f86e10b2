// Package datasets reads what the step dataset has made, for the trainer.
//
// A shard is a Parquet file and a manifest under the run, whose labels say what
// is in it. The list of shard ids, from which a pipeline fans out, stands in the
// manifest of the step itself: once that is there, the dataset is complete.
package datasets

import (
	"context"
	"encoding/json"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/schemas/columnar"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// StepName is the step under whose name manifests stand.
const StepName = "dataset"

// Shards returns the ids of a run's shards in order. It returns an error wrapping
// [artifact.ErrNotFound] where the run has not finished its dataset.
func Shards(ctx context.Context, store *artifact.Store, run string) ([]string, error) {
	m, err := store.ReadManifest(ctx, schemas.ManifestKey(run, StepName, ""))
	if err != nil {
		return nil, err
	}
	var shards []string
	if err := json.Unmarshal([]byte(m.Labels["shards"]), &shards); err != nil {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "manifest %s: label shards must be a list, but is %q", m.Key(), m.Labels["shards"])
	}
	return shards, nil
}

// Read returns one shard of a run, ordered by component: series that all cover
// the whole window, with NaN where nothing was measured, and the requests and
// replicas that were last known. It returns an error wrapping
// [artifact.ErrNotFound] where the run has no such shard.
func Read(ctx context.Context, store *artifact.Store, run, shard string) ([]schemas.History, error) {
	m, err := Manifest(ctx, store, run, shard)
	if err != nil {
		return nil, err
	}
	if len(m.Files) != 1 {
		return nil, schemas.Errorf(schemas.CodeCorrupt, "manifest %s: must name one file, but names %d", m.Key(), len(m.Files))
	}
	data, err := store.GetFile(ctx, m.Files[0])
	if err != nil {
		return nil, err
	}
	return columnar.DecodeDataset(m.Files[0].Key, data)
}

// Manifest returns the manifest of one shard, which what is learned from it
// names as its input.
func Manifest(ctx context.Context, store *artifact.Store, run, shard string) (artifact.Manifest, error) {
	if shard == "" {
		return artifact.Manifest{}, schemas.Errorf(schemas.CodeInvalidConfig, "shard must be named")
	}
	return store.ReadManifest(ctx, schemas.ManifestKey(run, StepName, shard))
}

package schemas

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Object keys. Every key of the store is made here and nowhere else.
//
//	heads/<pipeline>/<number>.json             what is current; write-once, the highest valid number wins
//	runs/<run>/<step>/<shard>/manifest.json    what one step of one run made; write-once
//	data/<kind>/<day>/<sha256>.<ext>           content-addressed data; write-once
//	probe/<nonce>/...                          the start-up probe's own, deleted again

// Pipeline names a line of heads.
type Pipeline string

// The lines of heads. Each has one kind of content.
const (
	SamplesHead   Pipeline = "samples"   // every live sample file
	ModelsHead    Pipeline = "models"    // accepted models
	ForecastsHead Pipeline = "forecasts" // forecasts and decisions of one inference run
)

// HeadPrefix is where the heads of a pipeline lie.
func HeadPrefix(p Pipeline) string { return "heads/" + string(p) + "/" }

// HeadKey is the key of one head. The number has 20 digits, so that keys sort
// as numbers do.
func HeadKey(p Pipeline, number uint64) string {
	return fmt.Sprintf("%s%020d.json", HeadPrefix(p), number)
}

// HeadNumber reads the number out of a head's key.
func HeadNumber(p Pipeline, key string) (uint64, bool) {
	name, ok := strings.CutPrefix(key, HeadPrefix(p))
	if !ok || len(name) != 25 || !strings.HasSuffix(name, ".json") {
		return 0, false
	}
	var n uint64
	for _, c := range name[:20] {
		if c < '0' || c > '9' || n > (1<<64-10)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// RunPrefix is where everything that one run made is recorded.
func RunPrefix(run string) string { return "runs/" + run + "/" }

// StepPrefix is where everything that one step of one run made is recorded.
func StepPrefix(run, step string) string { return RunPrefix(run) + step + "/" }

// ManifestKey is the key of what one step of one run made for one shard.
func ManifestKey(run, step, shard string) string {
	return path.Join("runs", run, step, shard, "manifest.json")
}

// DataPrefix is where the data files of one kind and UTC day lie.
func DataPrefix(kind string, day time.Time) string {
	return "data/" + kind + "/" + day.UTC().Format(time.DateOnly) + "/"
}

// DataKey is the key of a data file. Day is the UTC day that the file's content
// begins on; sum is the SHA-256 of its bytes in hexadecimal.
func DataKey(kind string, day time.Time, sum, ext string) string {
	return DataPrefix(kind, day) + sum + "." + ext
}

// ValidateRunID holds the rule for a run-id: 1 to 128 letters, digits, '-', '_'
// and '.', beginning with a letter or a digit, so that it can be part of a key.
func ValidateRunID(run string) error {
	ok := len(run) > 0 && len(run) <= 128 && run[0] != '.' && run[0] != '-' && run[0] != '_'
	for i := range len(run) {
		c := run[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return Errorf(CodeInvalidConfig, "run-id must be 1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or a digit, but is %q", run)
	}
	return nil
}

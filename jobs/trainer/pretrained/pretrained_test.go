package pretrained_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/jobs/trainer/pretrained"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestTheWeightsThatShipAreValid(t *testing.T) {
	w := pretrained.Weights()
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schemas.DefaultLevels(), w.Levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	data, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pretrained.Encoded(), data); diff != "" {
		t.Error("the file is not what the weights are written as")
	}
}

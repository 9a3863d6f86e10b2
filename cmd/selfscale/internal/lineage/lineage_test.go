package lineage_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/lineage"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
)

// An installation goes back as a store does, and says the same.
func TestAnInstallationRollsBack(t *testing.T) {
	ids := []schemas.ComponentID{apitest.Shop("web")}
	w := apitest.New(t, ids)
	for i, run := range []string{"train-1", "train-2"} {
		apitest.Models(t, w.Store, ids, apitest.Now.AddDate(0, 0, i-2), run)
	}
	w.Refresh(t)
	run := lineage.Rollback("v1", time.Now)
	for _, tt := range []struct {
		name  string
		o     cli.RollbackOptions
		want  string
		holds string // the run whose models hold then
	}{
		{"what would be done", cli.RollbackOptions{Model: "train-1", DryRun: true}, "the models of train-1 would be current from the next inference run on, instead of those of train-2 (record 3)", "train-2"},
		{"going back", cli.RollbackOptions{Model: "train-1", Hold: true, Reason: "too low"}, "the models of train-1 are current from the next inference run on, instead of those of train-2 (record 3); trainings do not take over until", "train-1"},
		{"the same again", cli.RollbackOptions{Model: "train-1", Hold: true}, "the models of train-1 are current already; nothing was changed\n", "train-1"},
		{"forward, for a program", cli.RollbackOptions{Model: "2", ModelsOptions: cli.ModelsOptions{Output: cli.JSONOutput}}, `"run": "train-2"`, "train-2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Server.Server = w.HTTP.URL
			var out strings.Builder
			if err := run(t.Context(), tt.o, cli.Console{Out: &out, Log: io.Discard}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("it says %q, want %q", out.String(), tt.want)
			}
			now, err := models.Find(t.Context(), w.Store, models.Current)
			if err != nil || now.Run != tt.holds {
				t.Errorf("then the models of %s hold (%v), want those of %s", now.Run, err, tt.holds)
			}
		})
	}
	err := run(t.Context(), cli.RollbackOptions{Model: "train-9", Server: cli.ServerOptions{Server: w.HTTP.URL}}, cli.Console{Out: io.Discard, Log: io.Discard})
	if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), `but is "train-9"`) {
		t.Errorf("error %v, want one that names the model", err)
	}
}

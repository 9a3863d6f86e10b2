package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// modelsTag is the ETag of the newest entry in the line of models, and of any other.
func modelsTag(number uint64) string { return "m" + strconv.FormatUint(number, 10) }

// entryOf returns the number in a tag that [modelsTag] has made, with what an answer
// that is stale adds to it. It reports false for any other text.
func entryOf(tag string) (uint64, bool) {
	tag, quoted := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"m`)
	digits, _, _ := strings.Cut(strings.TrimSuffix(tag, `"`), "-")
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, quoted && err == nil
}

func (s *Server) addModels(api huma.API) {
	huma.Register(api, s.operation(http.MethodPost, "/v1/models/rollback", "roll-models-back", "Make earlier models the current ones again, from the next inference on",
		route{verb: access.Update, resource: "models"}, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge,
	), s.rollBack)
}

type rollbackInput struct {
	IfMatch string `header:"If-Match" doc:"ETag of the models that the rollback was thought out for, as GET /v1/models has it"`
	Body    wire.Rollback
}

type rollbackOutput struct {
	ETag string `header:"ETag" doc:"Changes when the current models do"`
	Body wire.RolledBack
}

func (s *Server) rollBack(ctx context.Context, in *rollbackInput) (*rollbackOutput, error) {
	what := "to " + in.Body.Model
	for _, x := range []struct {
		said bool
		word string
	}{{in.Body.Hold, "hold"}, {in.Body.DryRun, "dry run"}, {in.Body.Reason != "", in.Body.Reason}} {
		if x.said {
			what += ", " + x.word
		}
	}
	infoOf(ctx).what = what
	if s.config.Rollback == nil {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "the models of this installation cannot be rolled back here"))
	}
	from := uint64(0)
	if in.IfMatch != "" && in.IfMatch != "*" {
		var ok bool
		if from, ok = entryOf(in.IfMatch); !ok || from == 0 {
			return nil, fail(ctx, newProblem(http.StatusPreconditionFailed, schemas.CodeConflict, fmt.Sprintf("If-Match must be the ETag of GET /v1/models, but is %.40q", in.IfMatch)))
		}
	}
	done, err := s.config.Rollback(ctx, from, in.Body)
	switch {
	case from != 0 && schemas.CodeOf(err) == schemas.CodeConflict:
		return nil, fail(ctx, newProblem(http.StatusPreconditionFailed, schemas.CodeConflict, err.Error()))
	case err != nil:
		return nil, fail(ctx, err)
	}
	number := done.Number
	if done.DryRun && done.Changed {
		number-- // what would be its successor is not there
	}
	if done.Changed && !done.DryRun {
		// Who looks next is to see it. Where it cannot be read just now, they will later.
		_ = s.config.View.Refresh(ctx)
	}
	return &rollbackOutput{`"` + modelsTag(number) + `"`, done}, nil
}

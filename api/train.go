package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// train runs the training, or waits for the one that is under way, and says how it
// ended.
func (s *Server) train(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	if err := s.ready(r.Context()); err != nil {
		s.tell(w, r, err)
		return
	}
	if len(s.catalog.load().components) == 0 && len(s.config.View.Components()) == 0 {
		say(w, http.StatusBadRequest, msgNoComponents)
		return
	}
	run, ok := s.runNow(w, r, workflows.Train().Name)
	if !ok {
		return
	}
	s.sayEnd(w, run, s.trained(r.Context(), &run))
}

// trained says how a training ended. What a run has learned is in the store, and not
// in its phase.
func (s *Server) trained(ctx context.Context, run *workflows.Run) saying {
	if run.Phase == workflows.Succeeded {
		// A store that does not answer has been reported; the run has succeeded.
		if err := s.config.View.Refresh(ctx); err == nil && s.config.View.Series() == 0 {
			return saying{http.StatusBadRequest, msgInsufficientData}
		}
		return saying{http.StatusOK, msgTrained}
	}
	if step := failedStep(run); step != nil && step.Step == workflows.DatasetJob && exitOf(step) == workflows.ExitData {
		return saying{http.StatusBadRequest, msgInsufficientData}
	}
	return saying{failureStatus(run), msgTrainFailed}
}

// inference forecasts and decides.
func (s *Server) inference(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	run, ok := s.runNow(w, r, workflows.Infer().Name)
	if !ok {
		return
	}
	end := saying{http.StatusOK, msgInferred}
	if run.Phase != workflows.Succeeded {
		end = saying{failureStatus(&run), msgInferenceError}
	} else if err := s.config.View.Refresh(r.Context()); err != nil {
		s.config.Log.Warn("what a run made cannot be read yet", "run", run.ID, "error", err)
	}
	s.sayEnd(w, run, end)
}

// inferOne is the oldest version's way to forecast for one component. Forecasts are
// made for all at once.
func (s *Server) inferOne(w http.ResponseWriter, r *http.Request, ps httprouter.Params) {
	err := s.ready(r.Context())
	if err == nil && len(s.catalog.load().namespaces(ps[0].Value, ps[1].Value)) == 0 {
		err = &saying{http.StatusNotFound, msgUnknownNames + ps[0].Value + "/" + ps[1].Value}
	}
	if err != nil {
		s.tell(w, r, err)
		return
	}
	s.inference(w, r, ps)
}

// postInference is the oldest version's way to have components managed.
func (s *Server) postInference(w http.ResponseWriter, r *http.Request, ps httprouter.Params) {
	var body struct {
		Enabler    *string   `json:"enabler"`
		Components *[]string `json:"components"`
	}
	var raw json.RawMessage
	err := readBody(w, r, &raw, msgErrorInBody)
	if err == nil && (json.Unmarshal(raw, &body) != nil || body.Enabler == nil || body.Components == nil || len(*body.Components) == 0) {
		err = badRequest(msgErrorInBody)
	}
	if err == nil {
		want := wish{name: *body.Enabler, managed: true, components: []flagged{}}
		for _, name := range *body.Components {
			want.components = append(want.components, flagged{name, true})
		}
		err = s.fulfil(r.Context(), []wish{want})
	}
	if err != nil {
		s.tell(w, r, err)
		return
	}
	say(w, http.StatusOK, msgInferAdded)
}

// runNow runs a pipeline and returns its record once it has ended. It reports false
// where it has answered already: because the caller does not want to wait, or
// cannot, or nothing could be started.
func (s *Server) runNow(w http.ResponseWriter, r *http.Request, pipeline string) (workflows.Run, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Limits.Wait)
	defer cancel()
	run, err := s.startOrJoin(ctx, pipeline)
	if err != nil {
		s.tell(w, r, err)
		return run, false
	}
	infoOf(r.Context()).run = run.ID
	location := "/v1/runs/" + run.ID
	w.Header().Set("Content-Location", location)
	if asynchronous(r.Header) {
		w.Header().Set("Location", location)
		w.Header().Set("Preference-Applied", "respond-async")
		say(w, http.StatusAccepted, msgStillRunning+location)
		return run, false
	}
	run, err = s.config.Submitter.Wait(ctx, run.ID)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
			err = &saying{http.StatusServiceUnavailable, msgStillRunning + location}
		}
		s.tell(w, r, err)
		return run, false
	}
	s.runs.forget()
	return run, true
}

// startOrJoin returns the run of a pipeline that is under way, or starts one. A
// pipeline's runs do not overlap: one more would wait and then do the same again.
func (s *Server) startOrJoin(ctx context.Context, pipeline string) (workflows.Run, error) {
	for _, phase := range []workflows.Phase{workflows.Running, workflows.Pending} {
		runs, err := s.config.Submitter.List(ctx, workflows.ListOptions{Pipeline: pipeline, Phase: phase, Limit: 1})
		if err != nil {
			return workflows.Run{}, err
		}
		if len(runs) > 0 {
			return runs[0], nil
		}
	}
	// Requests of one second, whichever server they come to, start one run.
	now := s.config.Clock.Now().UTC()
	return s.submit(ctx, workflows.Request{Pipeline: pipeline, RunID: pipeline + "-rest-" + strings.ToLower(now.Format(idTime))})
}

func (s *Server) sayEnd(w http.ResponseWriter, run workflows.Run, end saying) {
	if end.status >= 500 {
		s.config.Log.Warn("run failed", "run", run.ID, "phase", string(run.Phase), "message", run.Message)
	}
	say(w, end.status, end.text)
}

// asynchronous reports whether the caller does not want to wait (RFC 7240).
func asynchronous(h http.Header) bool {
	for _, line := range h.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// failedStep returns the first step that failed, nil for none.
func failedStep(run *workflows.Run) *workflows.StepRecord {
	for i := range run.Steps {
		if run.Steps[i].Phase == workflows.Failed {
			return &run.Steps[i]
		}
	}
	return nil
}

func exitOf(s *workflows.StepRecord) int {
	if s.ExitCode == nil {
		return -1
	}
	return *s.ExitCode
}

// failureStatus tells a run that may succeed later from one that will not.
func failureStatus(run *workflows.Run) int {
	if step := failedStep(run); run.Phase == workflows.Stopped || step != nil && exitOf(step) == workflows.ExitTemporary {
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// submit asks for a run, for now unless it says otherwise.
func (s *Server) submit(ctx context.Context, r workflows.Request) (workflows.Run, error) {
	p := s.pipeline(r.Pipeline)
	if p == nil {
		return workflows.Run{}, schemas.Errorf(schemas.CodeInvalidConfig, "pipeline must be one of %s, but is %q", strings.Join(s.pipelineNames(), ", "), r.Pipeline)
	}
	run, err := s.config.Submitter.Submit(ctx, s.complete(p, r))
	if err == nil {
		s.metrics.runs.WithLabelValues(p.Name).Inc()
		s.runs.forget()
	}
	return run, err
}

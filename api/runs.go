package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
)

// idTime is how an instant is spelled within a run-id.
const idTime = "20060102t150405z"

// nowParameter is the parameter that every pipeline has.
const nowParameter = "now"

func (s *Server) addRuns(api huma.API) {
	get, create, del := route{verb: access.Get, resource: "runs"}, route{verb: access.Create, resource: "runs"}, route{verb: access.Delete, resource: "runs"}
	accepted := func(op huma.Operation) huma.Operation {
		op.DefaultStatus = http.StatusAccepted
		return op
	}
	huma.Register(api, accepted(s.operation(http.MethodPost, "/v1/runs", "create-run", "Start a run", create, http.StatusConflict, http.StatusRequestEntityTooLarge)), s.createRun)
	huma.Register(api, s.operation(http.MethodGet, "/v1/runs", "list-runs", "The runs, the newest first", get), s.listRuns)
	huma.Register(api, s.operation(http.MethodGet, "/v1/runs/{id}", "get-run", "One run", get, http.StatusNotFound), s.getRun)
	huma.Register(api, accepted(s.operation(http.MethodDelete, "/v1/runs/{id}", "stop-run", "Stop a run", del, http.StatusNotFound)), s.stopRun)
	huma.Register(api, accepted(s.operation(http.MethodPost, "/v1/runs/{id}/retry", "retry-run", "Run again what did not succeed, under a new id", create, http.StatusNotFound, http.StatusConflict)), s.retryRun)
	s.addEvents(api)
}

type runOutput struct {
	Location   string `header:"Location" doc:"Path of the run"`
	RetryAfter string `header:"Retry-After" doc:"Seconds after which it is worth looking again; absent once the run is done"`
	Body       wire.Run
}

func (s *Server) runOutput(ctx context.Context, r *workflows.Run) *runOutput {
	infoOf(ctx).run = r.ID
	out := &runOutput{Location: "/v1/runs/" + r.ID, Body: s.wireRun(r)}
	if !r.Phase.Done() {
		out.RetryAfter = "2"
	}
	return out
}

// wireRun returns a run as it travels, with the object that stands for it.
func (s *Server) wireRun(r *workflows.Run) wire.Run {
	w := wire.NewRun(r)
	if s.config.Workflow != nil {
		w.Workflow = s.config.Workflow(r)
	}
	return w
}

type createRunInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Asking again with the same key and body gives the run that the first request started"`
	Body           wire.RunRequest
}

func (s *Server) createRun(ctx context.Context, in *createRunInput) (*runOutput, error) {
	request := workflows.Request{Pipeline: in.Body.Pipeline, Parameters: in.Body.Parameters}
	now := s.config.Clock.Now().UTC()
	if in.IdempotencyKey == "" {
		var b [3]byte
		rand.Read(b[:]) // never fails
		request.RunID = request.Pipeline + "-rest-" + now.Format(idTime) + "-" + hex.EncodeToString(b[:])
		if s.pipeline(request.Pipeline) == nil {
			request.RunID = "unknown" // the submission says what is wrong
		}
		run, err := s.submit(ctx, request)
		if err != nil {
			return nil, fail(ctx, err)
		}
		return s.runOutput(ctx, &run), nil
	}
	// The key of one user is not that of another.
	sum := sha256.Sum256([]byte(infoOf(ctx).user.Name + "\x00" + in.IdempotencyKey))
	request.RunID = "key-" + hex.EncodeToString(sum[:16])
	run, err := s.submitOnce(ctx, request)
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.runOutput(ctx, &run), nil
}

// submitOnce asks for a run unless there is one of its id. That one is returned where
// it was asked for in the same words: the instant that the server itself filled in
// then is not among them.
func (s *Server) submitOnce(ctx context.Context, r workflows.Request) (workflows.Run, error) {
	for {
		run, err := s.config.Submitter.Get(ctx, r.RunID)
		if err == nil {
			return run, s.sameRequest(&run, r)
		}
		if schemas.CodeOf(err) != schemas.CodeNotFound {
			return run, err
		}
		run, err = s.submit(ctx, r)
		if schemas.CodeOf(err) != schemas.CodeConflict {
			return run, err
		}
		// Another request with the key was faster, with another instant.
		if run, err := s.config.Submitter.Get(ctx, r.RunID); schemas.CodeOf(err) != schemas.CodeNotFound {
			if err != nil {
				return run, err
			}
			return run, s.sameRequest(&run, r)
		}
	}
}

func (s *Server) sameRequest(run *workflows.Run, r workflows.Request) error {
	given := maps.Clone(run.Parameters)
	if _, asked := r.Parameters[nowParameter]; !asked {
		delete(given, nowParameter)
	}
	if p := s.pipeline(r.Pipeline); p != nil && run.Pipeline == r.Pipeline {
		wanted, err := p.Resolve(r.Parameters)
		if err != nil {
			return err
		}
		if maps.Equal(given, wanted) {
			return nil
		}
	}
	return newProblem(http.StatusUnprocessableEntity, schemas.CodeConflict, "the Idempotency-Key was used before, for another request")
}

// complete fills in the instant of a run, so that all of its steps have the same.
func (s *Server) complete(p *workflows.Pipeline, r workflows.Request) workflows.Request {
	if _, ok := r.Parameters[nowParameter]; ok || !slices.ContainsFunc(p.Parameters, func(x workflows.Parameter) bool { return x.Name == nowParameter }) {
		return r
	}
	parameters := maps.Clone(r.Parameters)
	if parameters == nil {
		parameters = map[string]string{}
	}
	parameters[nowParameter] = s.config.Clock.Now().UTC().Truncate(time.Second).Format(time.RFC3339)
	r.Parameters = parameters
	return r
}

type runPath struct {
	ID string `path:"id" maxLength:"128"`
}

// run returns the record of a run, wherever it is kept.
func (s *Server) run(ctx context.Context, id string) (workflows.Run, error) {
	if err := schemas.ValidateRunID(id); err != nil {
		return workflows.Run{}, schemas.Errorf(schemas.CodeNotFound, "run %.130q: no such run", id)
	}
	run, err := s.config.Submitter.Get(ctx, id)
	if schemas.CodeOf(err) == schemas.CodeNotFound && s.config.Records != nil {
		return s.config.Records.Get(ctx, id)
	}
	return run, err
}

func (s *Server) getRun(ctx context.Context, in *runPath) (*runOutput, error) {
	infoOf(ctx).run = in.ID
	run, err := s.run(ctx, in.ID)
	if err != nil {
		return nil, fail(ctx, err)
	}
	out := s.runOutput(ctx, &run)
	out.Location = ""
	return out, nil
}

func (s *Server) stopRun(ctx context.Context, in *runPath) (*runOutput, error) {
	infoOf(ctx).run = in.ID
	run, err := s.run(ctx, in.ID)
	if err == nil && !run.Phase.Done() {
		if err = s.config.Submitter.Stop(ctx, in.ID); err == nil {
			s.runs.forget()
			run, err = s.run(ctx, in.ID)
		}
	}
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.runOutput(ctx, &run), nil
}

// again matches the id of a run that is itself a retry.
var again = regexp.MustCompile(`^(.*)-r([1-9][0-9]{0,3})$`)

// retryOf returns the id under which a run is tried again. It follows from the run's
// own, so that two who ask for it get one run.
func retryOf(id string) string {
	n := 1
	if m := again.FindStringSubmatch(id); m != nil {
		before, err := strconv.Atoi(m[2])
		if err == nil {
			id, n = m[1], before+1
		}
	}
	next := "-r" + strconv.Itoa(n)
	return id[:min(len(id), 128-len(next))] + next
}

func (s *Server) retryRun(ctx context.Context, in *runPath) (*runOutput, error) {
	infoOf(ctx).run = in.ID
	run, err := s.run(ctx, in.ID)
	if err != nil {
		return nil, fail(ctx, err)
	}
	if !run.Phase.Done() || run.Phase == workflows.Succeeded {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeConflict, "run %s: only one that has failed or was stopped can be tried again, but it is %s", run.ID, run.Phase))
	}
	next, err := s.submitOnce(ctx, workflows.Request{Pipeline: run.Pipeline, RunID: retryOf(run.ID), Parameters: run.Parameters})
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.runOutput(ctx, &next), nil
}

type listRunsInput struct {
	Pipeline string          `query:"pipeline" maxLength:"63"`
	Phase    workflows.Phase `query:"phase" enum:"Pending,Running,Succeeded,Failed,Stopped"`
	wire.Page
}

type listRunsOutput struct{ Body wire.RunList }

// runPlace is where a page of runs ended.
type runPlace struct {
	Submitted time.Time `json:"t"`
	ID        string    `json:"id"`
}

func (s *Server) listRuns(ctx context.Context, in *listRunsInput) (*listRunsOutput, error) {
	asked := question("runs", in.Pipeline, string(in.Phase))
	var after runPlace
	if err := decodeCursor(in.Cursor, asked, &after); err != nil {
		return nil, fail(ctx, err)
	}
	all, err := s.runs.list(ctx)
	if err != nil {
		return nil, fail(ctx, err)
	}
	out := &listRunsOutput{wire.RunList{Items: []wire.Run{}}}
	for i := range all {
		r := &all[i]
		if in.Cursor != "" && !isAfter(r, after) {
			continue
		}
		if in.Pipeline != "" && r.Pipeline != in.Pipeline || in.Phase != "" && r.Phase != in.Phase {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			last := &out.Body.Items[in.Limit-1]
			out.Body.Next = encodeCursor(asked, runPlace{last.Submitted, last.ID})
			break
		}
		w := s.wireRun(r)
		w.Steps = nil
		out.Body.Items = append(out.Body.Items, w)
	}
	return out, nil
}

// isAfter reports whether a run comes after a place in a list that has the newest
// first.
func isAfter(r *workflows.Run, at runPlace) bool {
	if !r.Submitted.Equal(at.Submitted) {
		return r.Submitted.Before(at.Submitted)
	}
	return r.ID > at.ID
}

// sortRuns puts the newest first, in an order that does not depend on who lists them.
func sortRuns(runs []workflows.Run) {
	slices.SortFunc(runs, func(a, b workflows.Run) int {
		if c := b.Submitted.Compare(a.Submitted); c != 0 {
			return c
		}
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
}

// runList remembers the list of runs for a moment, because each listing asks the
// cluster for everything.
type runList struct {
	server *Server

	mu    sync.Mutex
	runs  []workflows.Run
	until time.Time // zero where the list has to be read anew
}

// fresh is how long the list of runs is believed.
const fresh = 2 * time.Second

func (l *runList) list(ctx context.Context) ([]workflows.Run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.runs, nil
	}
	runs, err := l.server.config.Submitter.List(ctx, workflows.ListOptions{})
	if err != nil {
		return nil, err
	}
	if records := l.server.config.Records; records != nil {
		older, err := records.List(ctx, l.server.config.Clock.Now(), workflows.ListOptions{Limit: keptRuns})
		if err != nil {
			// What the submitter remembers is worth showing without them.
			l.server.config.Log.Warn("the records of earlier runs cannot be read", "error", err)
		}
		known := make(map[string]bool, len(runs))
		for i := range runs {
			known[runs[i].ID] = true
		}
		for i := range older {
			if !known[older[i].ID] {
				runs = append(runs, older[i])
			}
		}
	}
	sortRuns(runs)
	l.runs, l.until = runs, time.Now().Add(fresh)
	return runs, nil
}

// keptRuns bounds how many records of earlier runs are listed.
const keptRuns = 2000

// forget makes the next listing a new one.
func (l *runList) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

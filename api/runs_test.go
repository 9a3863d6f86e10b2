package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/local"
)

// held is a step that goes on until it is let go or told to end.
func held() (step local.Func, release func()) {
	gate := make(chan struct{})
	return func(ctx context.Context, _ local.Args) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, sync.OnceFunc(func() { close(gate) })
}

func startRun(t *testing.T, w *apitest.World, body string, header ...string) answer {
	t.Helper()
	h := map[string]string{"Content-Type": "application/json"}
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return do(t, w, call{"POST", "/v1/runs", h, body})
}

// ended waits for a run's end.
func ended(t *testing.T, w *apitest.World, id string) workflows.Run {
	t.Helper()
	run, err := w.Submitter.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestRunFromStartToEnd(t *testing.T) {
	w := newShop(t)
	step, release := held()
	w.Step(workflows.InferenceJob, step)
	created := startRun(t, w, `{"pipeline":"infer"}`)
	run := decode[wire.Run](t, created, 202)
	if run.Pipeline != "infer" || run.Phase.Done() || run.Parameters["now"] != "2026-03-09T12:00:00Z" || run.Progress.Total != 1 || !strings.HasPrefix(run.ID, "infer-rest-20260309t120000z-") {
		t.Errorf("run is %+v", run)
	}
	if got := created.header.Get("Location"); got != "/v1/runs/"+run.ID || created.header.Get("Retry-After") == "" {
		t.Errorf("location is %q, retry after %q", got, created.header.Get("Retry-After"))
	}
	list := read[wire.RunList](t, w, "/v1/runs?pipeline=infer")
	if len(list.Items) != 1 || list.Items[0].ID != run.ID || list.Items[0].Steps != nil {
		t.Errorf("list is %+v", list)
	}
	release()
	ended(t, w, run.ID)
	got := read[wire.Run](t, w, "/v1/runs/"+run.ID)
	if got.Phase != workflows.Succeeded || got.Progress != (wire.Progress{Done: 1, Total: 1}) || got.Finished == nil || len(got.Steps) != 1 || *got.Steps[0].ExitCode != 0 {
		t.Errorf("run is %+v", got)
	}
}

func TestRunThatIsStoppedAndTriedAgain(t *testing.T) {
	w := newShop(t)
	step, release := held()
	defer release()
	w.Step(workflows.InferenceJob, step)
	id := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`), 202).ID
	if got := do(t, w, call{method: "POST", path: "/v1/runs/" + id + "/retry"}); got.status != 409 {
		t.Errorf("a retry of a run that is under way: %d %s", got.status, got.body)
	}
	if got := do(t, w, call{method: "DELETE", path: "/v1/runs/" + id}); got.status != 202 {
		t.Errorf("stop: %d %s", got.status, got.body)
	}
	if run := ended(t, w, id); run.Phase != workflows.Stopped {
		t.Errorf("phase is %s", run.Phase)
	}
	if got := do(t, w, call{method: "DELETE", path: "/v1/runs/" + id}); got.status != 202 {
		t.Errorf("stopping what is done: %d %s", got.status, got.body)
	}
	w.Step(workflows.InferenceJob, nil)
	again := do(t, w, call{method: "POST", path: "/v1/runs/" + id + "/retry"})
	run := decode[wire.Run](t, again, 202)
	if run.ID != id+"-r1" || run.Parameters["now"] != "2026-03-09T12:00:00Z" || again.header.Get("Location") != "/v1/runs/"+id+"-r1" {
		t.Errorf("retry is %+v at %q", run, again.header.Get("Location"))
	}
	if twice := decode[wire.Run](t, do(t, w, call{method: "POST", path: "/v1/runs/" + id + "/retry"}), 202); twice.ID != run.ID {
		t.Errorf("asking again for the retry gives %s", twice.ID)
	}
	ended(t, w, run.ID)
	if got := do(t, w, call{method: "POST", path: "/v1/runs/" + run.ID + "/retry"}); got.status != 409 {
		t.Errorf("a retry of a run that has succeeded: %d", got.status)
	}
}

func TestRunsThatCannotBe(t *testing.T) {
	w := newShop(t)
	for body, status := range map[string]int{
		`{"pipeline":"fly"}`: 422, `{}`: 422, `{"pipeline":"infer","when":"now"}`: 422, `{"pipeline":"infer","parameters":{"speed":"1"}}`: 422,
		`{"pipeline":1}`: 422, `[]`: 422, `{`: 400, ``: 400,
	} {
		if got := startRun(t, w, body); got.status != status {
			t.Errorf("%s is answered with %d %s, want %d", body, got.status, got.body, status)
		}
	}
	for _, path := range []string{"/v1/runs/nothing", "/v1/runs/no%20run", "/v1/runs/" + strings.Repeat("a", 128)} {
		for _, method := range []string{"GET", "DELETE"} {
			if got := do(t, w, call{method: method, path: path}); got.status != 404 {
				t.Errorf("%s %s is answered with %d %s", method, path, got.status, got.body)
			}
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newShop(t)
	first := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`, "Idempotency-Key", "k1"), 202)
	w.Clock.SetTime(apitest.Now.Add(time.Hour))
	if again := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`, "Idempotency-Key", "k1"), 202); again.ID != first.ID {
		t.Errorf("the same again is run %s, want %s", again.ID, first.ID)
	}
	if other := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`, "Idempotency-Key", "k2"), 202); other.ID == first.ID {
		t.Error("another key gives the same run")
	}
	for _, body := range []string{`{"pipeline":"train"}`, `{"pipeline":"infer","parameters":{"now":"2026-03-09T13:00:00Z"}}`, `{"pipeline":"fly"}`} {
		if got := startRun(t, w, body, "Idempotency-Key", "k1"); got.status != 422 {
			t.Errorf("%s with a key that was used is answered with %d", body, got.status)
		}
	}
}

// TestThousandDuplicates sends one request a thousand times, fifty at a time, to
// servers that come and go before one submitter.
func TestThousandDuplicates(t *testing.T) {
	free := func(c *api.Config) { c.Limits.Writes = -1 }
	w := newShop(t, free)
	var mu sync.Mutex
	ids := map[string]int{}
	var group sync.WaitGroup
	calls := make(chan int)
	for range 50 {
		group.Go(func() {
			for i := range calls {
				r, err := http.NewRequest("POST", w.HTTP.URL+"/v1/runs", strings.NewReader(`{"pipeline":"train"}`))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Idempotency-Key", "nightly")
				// A server of its own now and then: one that has just been started knows
				// nothing of the others.
				server := http.Handler(w.Server)
				if i%100 == 0 {
					server, err = api.New(api.Config{View: w.View, Services: w.Services, TrainValues: w.Services, Submitter: w.Submitter, Pipelines: workflows.Pipelines(), Clock: w.Clock, Limits: api.Limits{Writes: -1}})
					if err != nil {
						t.Error(err)
						return
					}
				}
				recorder := newRecorder()
				server.ServeHTTP(recorder, r)
				var run wire.Run
				if err := json.Unmarshal(recorder.body.Bytes(), &run); err != nil || recorder.status != 202 {
					t.Errorf("answered with %d %s (%v)", recorder.status, recorder.body.String(), err)
				}
				mu.Lock()
				ids[run.ID]++
				w.Clock.SetTime(apitest.Now.Add(time.Duration(i) * time.Second))
				mu.Unlock()
			}
		})
	}
	for i := range 1000 {
		calls <- i
	}
	close(calls)
	group.Wait()
	runs, err := w.Submitter.List(t.Context(), workflows.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) != 1 || len(runs) != 1 {
		t.Errorf("a thousand requests gave %d ids and %d runs, want one: %v", len(ids), len(runs), ids)
	}
}

func TestRunsComeInPages(t *testing.T) {
	w := newShop(t)
	var want []string
	for i := range 7 {
		w.Clock.SetTime(apitest.Now.Add(time.Duration(i) * time.Minute))
		id := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`), 202).ID
		want = append([]string{id}, want...)
		ended(t, w, id)
	}
	for _, limit := range []int{1, 3, 7, 100} {
		var got []string
		for cursor := ""; ; {
			list := read[wire.RunList](t, w, fmt.Sprintf("/v1/runs?limit=%d&cursor=%s", limit, cursor))
			for _, r := range list.Items {
				got = append(got, r.ID)
			}
			if cursor = list.Next; cursor == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d at a time (-want +got):\n%s", limit, diff)
		}
	}
	for query, n := range map[string]int{"phase=Succeeded": 7, "phase=Failed": 0, "pipeline=train": 0} {
		if list := read[wire.RunList](t, w, "/v1/runs?"+query); len(list.Items) != n {
			t.Errorf("%s lists %d runs, want %d", query, len(list.Items), n)
		}
	}
}

// records are runs that the submitter has forgotten.
type records []workflows.Run

func (r records) Get(_ context.Context, id string) (workflows.Run, error) {
	for _, run := range r {
		if run.ID == id {
			return run, nil
		}
	}
	return workflows.Run{}, schemas.Errorf(schemas.CodeNotFound, "run %q: no record", id)
}

func (r records) List(context.Context, time.Time, workflows.ListOptions) ([]workflows.Run, error) {
	return r, nil
}

func TestRunsThatTheSubmitterHasForgotten(t *testing.T) {
	finished := apitest.Now.Add(-time.Hour)
	w := newShop(t, func(c *api.Config) {
		c.Records = records{{ID: "train-20260308", Pipeline: "train", Phase: workflows.Failed, Submitted: finished.Add(-time.Minute), Finished: &finished, Parameters: map[string]string{"now": "2026-03-08T00:05:00Z"}}}
	})
	if got := read[wire.Run](t, w, "/v1/runs/train-20260308"); got.Phase != workflows.Failed {
		t.Errorf("run is %+v", got)
	}
	if got := read[wire.RunList](t, w, "/v1/runs"); len(got.Items) != 1 {
		t.Errorf("runs are %+v", got)
	}
	if got := decode[wire.Run](t, do(t, w, call{method: "POST", path: "/v1/runs/train-20260308/retry"}), 202); got.ID != "train-20260308-r1" || got.Parameters["now"] != "2026-03-08T00:05:00Z" {
		t.Errorf("the retry is %+v", got)
	}
}

func TestRunLinksToItsWorkflow(t *testing.T) {
	w := newShop(t, func(c *api.Config) {
		c.Workflow = func(r *workflows.Run) *wire.Workflow {
			return &wire.Workflow{Namespace: "self-scaling", Name: workflows.ObjectName(r.ID, 40), UIURL: "https://argo.example/workflows/self-scaling/x"}
		}
	})
	if run := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`), 202); run.Workflow == nil || run.Workflow.Namespace != "self-scaling" || run.Workflow.UIURL == "" {
		t.Errorf("workflow is %+v", run.Workflow)
	}
}

func TestPipelines(t *testing.T) {
	var names []string
	for _, p := range read[wire.PipelineList](t, newShop(t), "/v1/pipelines").Items {
		names = append(names, p.Name)
		if len(p.Steps) == 0 || p.Description == "" || len(p.Parameters) == 0 {
			t.Errorf("pipeline is %+v", p)
		}
	}
	if diff := cmp.Diff([]string{"collect", "train", "infer", "full"}, names); diff != "" {
		t.Errorf("pipelines (-want +got):\n%s", diff)
	}
}

// stream opens the events of a run.
func stream(t *testing.T, w *apitest.World, id, last string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.HTTP.URL+"/v1/runs/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	s := bufio.NewScanner(response.Body)
	s.Split(func(data []byte, end bool) (int, []byte, error) {
		if i := strings.Index(string(data), "\n\n"); i >= 0 {
			return i + 2, data[:i], nil
		}
		if end && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	return response, s
}

// next returns the next event's id and run.
func next(t *testing.T, s *bufio.Scanner) (string, wire.Run) {
	t.Helper()
	for s.Scan() {
		var id string
		var run wire.Run
		for line := range strings.SplitSeq(s.Text(), "\n") {
			switch name, value, _ := strings.Cut(line, ": "); name {
			case "id":
				id = value
			case "event":
				if value != "run" {
					t.Errorf("event is %q", value)
				}
			case "data":
				if err := json.Unmarshal([]byte(value), &run); err != nil {
					t.Errorf("%v: %s", err, value)
				}
			}
		}
		if id != "" {
			return id, run
		}
	}
	return "", wire.Run{}
}

func TestEventsFollowARun(t *testing.T) {
	w := newShop(t)
	step, release := held()
	defer release()
	w.Step(workflows.InferenceJob, step)
	id := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`), 202).ID
	response, events := stream(t, w, id, "")
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("answered with %d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	seen, run := next(t, events)
	if run.ID != id || run.Phase.Done() {
		t.Errorf("the first event is %+v", run)
	}
	// Somebody else comes back who has seen this, and another who has not.
	_, back := stream(t, w, id, seen)
	_, fresh := stream(t, w, id, "")
	if _, run := next(t, fresh); run.ID != id {
		t.Errorf("a newcomer sees %+v", run)
	}
	release()
	for name, s := range map[string]*bufio.Scanner{"the first": events, "who came back": back, "the newcomer": fresh} {
		last := wire.Run{}
		for {
			id, run := next(t, s)
			if id == "" {
				break
			}
			if id == seen && name == "who came back" {
				t.Errorf("%s is told again what it has seen", name)
			}
			last = run
		}
		if last.Phase != workflows.Succeeded {
			t.Errorf("%s: the last event is %+v", name, last)
		}
	}
	// Who has seen the end gets nothing more.
	_, all := stream(t, w, id, "")
	end, _ := next(t, all)
	if response, _ := stream(t, w, id, end); response.StatusCode != 204 {
		t.Errorf("after the end: %d", response.StatusCode)
	}
	if response, _ := stream(t, w, "nothing", ""); response.StatusCode != 404 {
		t.Errorf("events of no run: %d", response.StatusCode)
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Limits.Streams = 2 })
	step, release := held()
	defer release()
	w.Step(workflows.InferenceJob, step)
	id := decode[wire.Run](t, startRun(t, w, `{"pipeline":"infer"}`), 202).ID
	first, _ := stream(t, w, id, "")
	stream(t, w, id, "")
	if third, _ := stream(t, w, id, ""); third.StatusCode != 503 {
		t.Errorf("a third stream is answered with %d", third.StatusCode)
	}
	first.Body.Close()
	for {
		again, _ := stream(t, w, id, "")
		if again.StatusCode == 200 {
			return
		}
		again.Body.Close()
	}
}

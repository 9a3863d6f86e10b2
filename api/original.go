package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/schemas"
)

// The original's interface, at the paths it had in its last version and in the
// ones before. Its answers are bare JSON strings, see messages.go; only what it
// knew nothing of, tokens and limits, is answered by problems.
//
// Where this differs from what its programs did, its documentation or plain
// honesty asks for it:
//
//   - a run that fails is not answered by 200;
//   - a body is applied as a whole or not at all, and names that are not known are
//     reported;
//   - "managed": false stops every component of the service, also those that the
//     body does not list.

func (s *Server) addOriginal(api huma.API) {
	reads := func(resource string) route { return route{verb: access.Get, resource: resource} }
	updates := func(resource string) route { return route{verb: access.Update, resource: resource} }
	runs := route{verb: access.Create, resource: "runs", unlimited: true}
	for _, r := range []struct {
		method  string
		paths   []string
		route   route
		handler httprouter.Handle
	}{
		{http.MethodGet, []string{"/version", "/v1/version"}, route{}, s.getVersion},
		{http.MethodGet, []string{"/v1/health"}, route{}, s.getHealth},
		{http.MethodGet, []string{"/v1/api-export"}, route{}, s.sendDescription(jsonType, func(d *descriptions) []byte { return d.v30 })},
		{http.MethodGet, []string{"/v1/services"}, reads("services"), s.getServices("services")},
		{http.MethodPost, []string{"/v1/services"}, updates("services"), s.postServices("services")},
		{http.MethodGet, []string{"/v1/enablers"}, reads("services"), s.getServices("enablers")},
		{http.MethodPost, []string{"/v1/enablers"}, updates("services"), s.postServices("enablers")},
		{http.MethodGet, []string{"/enablers"}, reads("services"), s.getEnablers},
		{http.MethodGet, []string{"/v1/train-values", "/train-values"}, reads("trainvalues"), s.getTrainValues},
		{http.MethodPost, []string{"/v1/train-values", "/train-values"}, updates("trainvalues"), s.postTrainValues},
		{http.MethodGet, []string{"/v1/train", "/train"}, runs, s.train},
		{http.MethodPost, []string{"/v1/train"}, runs, s.train},
		{http.MethodGet, []string{"/v1/inference"}, runs, s.inference},
		{http.MethodPost, []string{"/v1/inference"}, runs, s.inference},
		{http.MethodGet, []string{"/inference/{enabler}/{component}", "/v1/inference/{enabler}/{component}"}, runs, s.inferOne},
		{http.MethodPost, []string{"/inference/{enabler}/{component}"}, updates("services"), s.postInference},
		{http.MethodGet, []string{"/v1/addServices", "/v1/addEnablers"}, updates("services"), s.addServices},
		{http.MethodPost, []string{"/v1/deleteData"}, route{verb: access.Delete, resource: "data", unlimited: true}, s.deleteData},
	} {
		for _, path := range r.paths {
			rt := r.route
			rt.method, rt.pattern = r.method, path
			s.handle(rt, r.handler)
			s.describeOriginal(api, r.method, path)
		}
	}
}

// say answers with a value as JSON, as the original did: a line.
func say(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // strings, numbers and maps of them can be encoded
		status, data = http.StatusInternalServerError, []byte(`"`+msgUnavailable+`"`)
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // who has left needs no answer
}

// tell answers with the text for an error.
func (s *Server) tell(w http.ResponseWriter, r *http.Request, err error) {
	var said *saying
	if errors.As(err, &said) {
		say(w, said.status, said.text)
		return
	}
	i := infoOf(r.Context())
	switch code := schemas.CodeOf(err); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), code == schemas.CodeUnavailable, code == schemas.CodeConflict:
		i.err = err
		w.Header().Set("Retry-After", "5")
		say(w, http.StatusServiceUnavailable, msgUnavailable)
	case code == schemas.CodeInvalidConfig, code == schemas.CodeInvalidData, code == schemas.CodeNotFound:
		say(w, http.StatusBadRequest, msgNotPossible+err.Error())
	default:
		i.err = err
		say(w, http.StatusInternalServerError, msgUnavailable)
	}
}

// saying is an answer of the original's that is not a success.
type saying struct {
	status int
	text   string
}

func (s *saying) Error() string { return s.text }

func badRequest(text string) error { return &saying{http.StatusBadRequest, text} }

// readBody decodes a request's body, which must be one JSON value. Broken says what
// is answered to one that is not JSON.
func readBody(w http.ResponseWriter, r *http.Request, to any, broken string) error {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := parameters["charset"]; err != nil || media != jsonType || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &saying{http.StatusNotAcceptable, msgContentType}
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &saying{http.StatusRequestEntityTooLarge, broken}
		}
		return badRequest(broken)
	}
	// What follows may take longer than the body was allowed to.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return badRequest(broken)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest(broken)
	}
	return nil
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
	say(w, http.StatusOK, struct {
		Component string `json:"component"`
		Service   string `json:"service"`
		Version   string `json:"version"`
	}{s.config.Name, s.config.Name, s.config.Version})
}

func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
	status, word := http.StatusOK, statusHealthy
	if s.staleSince() != nil || s.config.View.State().Seen.IsZero() || !s.catalog.load().seen {
		status, word = http.StatusServiceUnavailable, statusUnhealthy
	}
	say(w, status, struct {
		Status string `json:"status"`
	}{word})
}

// flagged is something with a name that is managed or not.
type flagged struct {
	Name    string `json:"name"`
	Managed bool   `json:"managed"`
}

// listed is a service as the original's interface shows it. Its documentation calls
// the components serviceComponents and its programs components: both are there.
type listed struct {
	flagged
	Namespace         string     `json:"namespace,omitempty"`
	ServiceComponents *[]flagged `json:"serviceComponents,omitempty"`
	Components        []flagged  `json:"components"`
}

// getServices answers under the key services, or enablers as the original did
// before.
func (s *Server) getServices(key string) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
		if err := s.ready(r.Context()); err != nil {
			s.tell(w, r, err)
			return
		}
		out := []listed{}
		for _, service := range s.catalog.load().services() {
			l := listed{flagged: flagged{service.name, service.managed}, Namespace: service.namespace, Components: []flagged{}}
			for _, c := range service.components {
				l.Components = append(l.Components, flagged{c.ID.Component, c.Policy.Mode == schemas.Auto})
			}
			if key == "services" {
				l.ServiceComponents = &l.Components
			}
			out = append(out, l)
		}
		s.sayTagged(w, r, map[string][]listed{key: out})
	}
}

// getEnablers answers as the oldest version did.
func (s *Server) getEnablers(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	if err := s.ready(r.Context()); err != nil {
		s.tell(w, r, err)
		return
	}
	type enabler struct {
		Enabler    string   `json:"enabler"`
		Components []string `json:"components"`
	}
	out := []enabler{}
	for _, service := range s.catalog.load().services() {
		e := enabler{service.name, []string{}}
		for _, c := range service.components {
			e.Components = append(e.Components, c.ID.Component)
		}
		out = append(out, e)
	}
	say(w, http.StatusOK, out)
}

// ready returns an error while nothing has been read yet.
func (s *Server) ready(ctx context.Context) error {
	if s.catalog.load().seen {
		return nil
	}
	if err := s.catalog.refresh(ctx, s.config.Clock.Now()); err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "the components have not been read yet: %w", err)
	}
	return nil
}

// sayTagged answers with a value and an ETag of its bytes.
func (s *Server) sayTagged(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.tell(w, r, schemas.WithCode(schemas.CodeInternal, err))
		return
	}
	tag := tagOf(data)
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	s.markStale(h)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", jsonType)
	_, _ = w.Write(append(data, '\n'))
}

// tagOf returns the ETag of some bytes.
func tagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// matches reports whether a list of ETags, as in If-Match and If-None-Match, has a
// given one.
func matches(list, tag string) bool {
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}

// postServices changes which services and components are managed.
func (s *Server) postServices(key string) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
		var body map[string]json.RawMessage
		err := readBody(w, r, &body, msgInvalidJSON)
		var wanted []wish
		if err == nil {
			entries, ok := body[key]
			if !ok { // either name will do on either path
				entries = body["services"]
			}
			wanted, err = readWishes(entries)
		}
		if err == nil {
			err = s.fulfil(r.Context(), wanted)
		}
		if err != nil {
			s.tell(w, r, err)
			return
		}
		say(w, http.StatusOK, msgServicesUpdated)
	}
}

// wish is what a body wants of one service.
type wish struct {
	namespace, name string
	managed         bool
	// components is nil where the body says nothing of them: then all are meant.
	components []flagged
}

// readWishes reads the services of a body.
func readWishes(data json.RawMessage) ([]wish, error) {
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil || len(entries) == 0 {
		return nil, badRequest(msgInvalidJSON)
	}
	var out []wish
	for _, e := range entries {
		f, err := readFlagged(e)
		if err != nil {
			return nil, err
		}
		w := wish{name: f.Name, managed: f.Managed}
		if raw, ok := e["namespace"]; ok {
			if err := json.Unmarshal(raw, &w.namespace); err != nil {
				return nil, badRequest(msgInvalidJSON)
			}
		}
		for _, key := range []string{"serviceComponents", "components"} {
			raw, ok := e[key]
			if !ok {
				continue
			}
			var components []map[string]json.RawMessage
			if err := json.Unmarshal(raw, &components); err != nil || components == nil {
				return nil, badRequest(msgInvalidJSON)
			}
			if w.components == nil {
				w.components = []flagged{}
			}
			for _, c := range components {
				f, err := readFlagged(c)
				if err != nil {
					return nil, err
				}
				// A client that sends back what it was sent says everything twice.
				if !slices.Contains(w.components, f) {
					w.components = append(w.components, f)
				}
			}
		}
		out = append(out, w)
	}
	return out, nil
}

func readFlagged(e map[string]json.RawMessage) (flagged, error) {
	var f flagged
	if err := json.Unmarshal(e["name"], &f.Name); err != nil || f.Name == "" {
		return f, badRequest(msgInvalidJSON)
	}
	switch string(e["managed"]) {
	case "true":
		f.Managed = true
	case "false":
	default:
		return f, badRequest(msgManagedBoolean)
	}
	return f, nil
}

// The train values, as the original spells them.
const (
	futureKey  = "Future_data"
	historyKey = "History_data"
)

func (s *Server) getTrainValues(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	v, err := s.config.TrainValues.TrainValues(r.Context())
	if err != nil {
		s.tell(w, r, err)
		return
	}
	s.sayTagged(w, r, map[string]string{futureKey: strconv.Itoa(v.Future), historyKey: strconv.Itoa(v.History)})
}

func (s *Server) postTrainValues(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	var body map[string]any
	err := readBody(w, r, &body, msgErrorInBody)
	var v TrainValues
	if err == nil {
		v, err = readTrainValues(body)
	}
	if err == nil {
		infoOf(r.Context()).what = "history " + strconv.Itoa(v.History) + " days, future " + strconv.Itoa(v.Future) + " days"
		err = s.config.TrainValues.SetTrainValues(r.Context(), v)
	}
	if err != nil {
		s.tell(w, r, err)
		return
	}
	say(w, http.StatusOK, msgTrainValuesChanged)
}

// readTrainValues reads both values, each a string or a number.
func readTrainValues(body map[string]any) (v TrainValues, err error) {
	for _, f := range []struct {
		key string
		to  *int
	}{{historyKey, &v.History}, {futureKey, &v.Future}} {
		raw, ok := body[f.key]
		if !ok {
			return v, badRequest(msgErrorInBody)
		}
		var text string
		switch raw := raw.(type) {
		case string:
			text = raw
		case json.Number:
			text = raw.String()
		}
		if *f.to, err = strconv.Atoi(text); err != nil || *f.to < 1 || text[0] == '+' {
			return v, badRequest(msgPositiveNumbers)
		}
	}
	return v, nil
}

func (s *Server) addServices(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	err := s.config.Services.Discover(r.Context())
	if err == nil {
		err = s.catalog.refresh(r.Context(), s.config.Clock.Now())
	}
	if err != nil {
		s.tell(w, r, err)
		return
	}
	say(w, http.StatusOK, msgServicesAdded)
}

// deleteData deletes what the retention no longer keeps, and answers with a number
// as the original did: how many objects that were.
func (s *Server) deleteData(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	n := 0
	if s.config.Sweep != nil {
		var err error
		if n, err = s.config.Sweep(r.Context()); err != nil {
			s.tell(w, r, err)
			return
		}
	}
	infoOf(r.Context()).what = strconv.Itoa(n) + " objects"
	say(w, http.StatusOK, n)
}

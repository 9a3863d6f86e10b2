package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"

	"github.com/self-scaling/self-scaling/schemas"
)

// bearerScheme is the name of the way to say who one is.
const bearerScheme = "bearer"

// descriptions are the interface in OpenAPI, encoded.
type descriptions struct{ v31, v30 []byte }

// describe completes the description and encodes it.
func (s *Server) describe(api huma.API) (*descriptions, error) {
	o := api.OpenAPI()
	o.Info.Title = "self-scaling"
	o.Info.Description = "Predictive autoscaling for Kubernetes. Operations tagged original are those of the system that self-scaling replaces, with its answers; the others are ours."
	o.Info.License = &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}
	o.Servers = []*huma.Server{{URL: "/"}}
	o.Tags = []*huma.Tag{
		{Name: "original", Description: "The interface of the original system"},
		{Name: "modern", Description: "Runs, forecasts, history, decisions, models and policies"},
	}
	o.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearerScheme: {Type: "http", Scheme: "bearer", Description: "A Kubernetes token, where the installation asks for one"},
	}
	var d descriptions
	var err error
	if d.v31, err = json.Marshal(o); err == nil {
		d.v30, err = o.Downgrade()
	}
	return &d, schemas.WithCode(schemas.CodeInternal, err)
}

// sendDescription answers with one of the descriptions.
func (s *Server) sendDescription(media string, which func(*descriptions) []byte) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
		d, err := s.descriptions()
		if err != nil {
			sendProblem(w, r, err)
			return
		}
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(which(d)) // who has left needs no answer
	}
}

// documentErrors adds what every operation can answer with besides.
func documentErrors(api huma.API, op *huma.Operation) {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	for _, status := range op.Errors {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
	}
}

// text is the schema of an answer that is one of some texts.
func text(texts ...string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, t := range texts {
		s.Enum = append(s.Enum, t)
	}
	return s
}

func object(required []string, properties map[string]*huma.Schema) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: required}
}

func array(of *huma.Schema) *huma.Schema { return &huma.Schema{Type: huma.TypeArray, Items: of} }

// originalDoc describes one operation of the original's interface.
type originalDoc struct {
	summary   string
	body      *huma.Schema
	responses map[int]*huma.Schema
}

func (s *Server) originals() map[string]originalDoc {
	str, boolean := &huma.Schema{Type: huma.TypeString}, &huma.Schema{Type: huma.TypeBoolean}
	number := &huma.Schema{Type: huma.TypeInteger}
	flag := object([]string{"name", "managed"}, map[string]*huma.Schema{"name": str, "managed": boolean})
	service := object([]string{"name", "managed"}, map[string]*huma.Schema{
		"name": str, "managed": boolean, "namespace": str, "serviceComponents": array(flag), "components": array(flag),
	})
	services := func(key string) *huma.Schema {
		return object([]string{key}, map[string]*huma.Schema{key: array(service)})
	}
	value := &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString, Pattern: "^[0-9]+$"}, {Type: huma.TypeInteger}}}
	values := func(v *huma.Schema) *huma.Schema {
		return object([]string{futureKey, historyKey}, map[string]*huma.Schema{futureKey: v, historyKey: v})
	}
	postServices := originalDoc{"Change which services and components are managed: Auto and Off", services("services"), map[int]*huma.Schema{
		200: text(msgServicesUpdated), 400: str, 406: text(msgContentType), 413: text(msgInvalidJSON), 500: text(msgUnavailable), 503: text(msgUnavailable),
	}}
	getServices := func(key string) originalDoc {
		return originalDoc{"The services and their components", nil, map[int]*huma.Schema{200: services(key), 304: nil, 500: text(msgUnavailable), 503: text(msgUnavailable)}}
	}
	train := originalDoc{"Train, and wait for the end unless Prefer: respond-async is given", nil, map[int]*huma.Schema{
		200: text(msgTrained), 202: str, 400: str, 500: text(msgTrainFailed, msgUnavailable), 503: str,
	}}
	infer := originalDoc{"Forecast and decide, and wait for the end unless Prefer: respond-async is given", nil, map[int]*huma.Schema{
		200: text(msgInferred), 202: str, 400: str, 404: str, 500: text(msgInferenceError, msgUnavailable), 503: str,
	}}
	version := originalDoc{"The version", nil, map[int]*huma.Schema{200: object([]string{"component", "version"}, map[string]*huma.Schema{"component": str, "service": str, "version": str})}}
	getValues := originalDoc{"How many days are learned from, and how many forecast: " + strconv.Itoa(schemas.DefaultHistoryDays) + " and " + strconv.Itoa(schemas.DefaultFutureDays) + " where nobody has set others", nil, map[int]*huma.Schema{200: values(str), 304: nil, 400: str, 500: text(msgUnavailable), 503: text(msgUnavailable)}}
	postValues := originalDoc{"Change the train values", values(value), map[int]*huma.Schema{
		200: text(msgTrainValuesChanged), 400: str, 406: text(msgContentType), 413: text(msgErrorInBody), 500: text(msgUnavailable), 503: text(msgUnavailable),
	}}
	add := originalDoc{"Look for services now", nil, map[int]*huma.Schema{200: text(msgServicesAdded), 400: str, 500: text(msgUnavailable), 503: text(msgUnavailable)}}
	enabler := object([]string{"enabler", "components"}, map[string]*huma.Schema{"enabler": str, "components": array(str)})
	postInfer := originalDoc{"Have components managed", enabler, map[int]*huma.Schema{200: text(msgInferAdded), 400: str, 406: text(msgContentType), 413: text(msgErrorInBody), 500: text(msgUnavailable), 503: text(msgUnavailable)}}
	postEnablers := postServices
	postEnablers.body = services("enablers")
	return map[string]originalDoc{
		"GET /version":    version,
		"GET /v1/version": version,
		"GET /v1/health": {"Whether everything answers", nil, map[int]*huma.Schema{
			200: object([]string{"status"}, map[string]*huma.Schema{"status": text(statusHealthy)}),
			503: object([]string{"status"}, map[string]*huma.Schema{"status": text(statusUnhealthy)}),
		}},
		"GET /v1/api-export":                      {"This description, as OpenAPI 3.0", nil, map[int]*huma.Schema{200: {Type: huma.TypeObject, AdditionalProperties: true}}},
		"GET /v1/services":                        getServices("services"),
		"POST /v1/services":                       postServices,
		"GET /v1/enablers":                        getServices("enablers"),
		"POST /v1/enablers":                       postEnablers,
		"GET /enablers":                           {"The services by the oldest version's names", nil, map[int]*huma.Schema{200: array(enabler), 500: text(msgUnavailable), 503: text(msgUnavailable)}},
		"GET /v1/train-values":                    getValues,
		"POST /v1/train-values":                   postValues,
		"GET /train-values":                       getValues,
		"POST /train-values":                      postValues,
		"GET /v1/train":                           train,
		"GET /train":                              train,
		"POST /v1/train":                          train,
		"GET /v1/inference":                       infer,
		"POST /v1/inference":                      infer,
		"GET /v1/addServices":                     add,
		"GET /v1/addEnablers":                     add,
		"POST /v1/deleteData":                     {"Delete what the retention no longer keeps", nil, map[int]*huma.Schema{200: number, 500: text(msgUnavailable), 503: text(msgUnavailable)}},
		"GET /inference/{enabler}/{component}":    infer,
		"GET /v1/inference/{enabler}/{component}": infer,
		"POST /inference/{enabler}/{component}":   postInfer,
	}
}

// describeOriginal adds one operation of the original's interface to the
// description.
func (s *Server) describeOriginal(api huma.API, method, path string) {
	doc, ok := s.originals()[method+" "+path]
	if !ok {
		panic("api: " + method + " " + path + " is not described") // New is called by every test
	}
	op := &huma.Operation{
		Method: method, Path: path, Summary: doc.summary, Tags: []string{"original"},
		OperationID: strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(path),
		Responses:   map[string]*huma.Response{},
		Errors:      []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests},
		Security:    []map[string][]string{{bearerScheme: {}}, {}},
	}
	documentErrors(api, op)
	op.Errors = nil
	for _, name := range segments(path) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for status, schema := range doc.responses {
		r := &huma.Response{Description: http.StatusText(status)}
		if schema != nil {
			r.Content = map[string]*huma.MediaType{jsonType: {Schema: schema}}
		}
		if status >= 500 { // of the guard, when nobody can say who asks
			r.Content[problemType] = &huma.MediaType{Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")}
		}
		op.Responses[strconv.Itoa(status)] = r
	}
	if doc.body != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: doc.body}}}
	}
	api.OpenAPI().AddOperation(op)
}

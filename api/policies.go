package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// mergeType is the media type of JSON merge patches (RFC 7396).
const mergeType = "application/merge-patch+json"

func (s *Server) addPolicies(api huma.API) {
	get, update := route{verb: access.Get, resource: "policies"}, route{verb: access.Update, resource: "policies"}
	const ofService, ofComponent = "/v1/policies/{namespace}/{service}", "/v1/policies/{namespace}/{service}/{component}"
	huma.Register(api, s.operation(http.MethodGet, ofService, "get-service-policy", "What was set for a service", get, http.StatusNotFound), s.getServicePolicy)
	huma.Register(api, s.operation(http.MethodGet, ofComponent, "get-component-policy", "What was set for a component, and what holds for it", get, http.StatusNotFound), s.getComponentPolicy)
	patch := func(path, id, summary string) huma.Operation {
		return s.operation(http.MethodPatch, path, id, summary, update, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge)
	}
	huma.Register(api, patch(ofService, "patch-service-policy", "Change what is set for a service"), s.patchServicePolicy)
	huma.Register(api, patch(ofComponent, "patch-component-policy", "Change what is set for a component"), s.patchComponentPolicy)
	// The body is read by merge, because a struct cannot tell null from what is not
	// there. What it may hold is said here.
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.SettingsPatch](), true, "")
	for _, path := range []string{ofService, ofComponent} {
		api.OpenAPI().Paths[path].Patch.RequestBody = &huma.RequestBody{
			Required:    true,
			Description: "A JSON merge patch: a member that is null is unset, one that is not there stays",
			Content:     map[string]*huma.MediaType{mergeType: {Schema: schema}, jsonType: {Schema: schema}},
		}
	}
}

// PolicyPatch is a change of a policy. Its name is exported for huma alone.
type PolicyPatch struct {
	IfMatch     string `header:"If-Match" doc:"ETag of the policy that the change was thought out for"`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte
}

type servicePolicyOutput struct {
	ETag string `header:"ETag" doc:"Changes when the policy does"`
	Body wire.ServicePolicy
}

type componentPolicyOutput struct {
	ETag string `header:"ETag" doc:"Changes when what is set for the component or its service does"`
	Body wire.ComponentPolicy
}

// serviceTag and componentTag are the ETags of policies. They follow from what was
// set, so that a change of something else, such as another component of the service,
// does not stand in the way.
func serviceTag(p *wire.ServicePolicy) string { return tagJSON(p.Settings, p.Components) }

func componentTag(p *wire.ServicePolicy, component string) string {
	return tagJSON(p.Settings, p.Components[component])
}

func tagJSON(parts ...any) string {
	data, err := json.Marshal(parts)
	if err != nil {
		panic(err) // settings can be encoded
	}
	return tagOf(data)
}

// serviceOf returns the path of a component's service.
func serviceOf(p wire.ComponentPath) wire.ServicePath {
	return wire.ServicePath{Namespace: p.Namespace, Service: p.Service}
}

// policyOf returns what was set for the service of a path, as it is now.
func (s *Server) policyOf(ctx context.Context, p wire.ServicePath) (ServicePolicy, error) {
	if p.Namespace == noNamespace {
		p.Namespace = ""
	}
	policy, err := s.config.Services.Policy(ctx, p.Namespace, p.Service)
	policy.Components = maps.Clone(policy.Components)
	if policy.Components == nil {
		policy.Components = map[string]wire.Settings{}
	}
	return policy, err
}

func (s *Server) getServicePolicy(ctx context.Context, in *wire.ServicePath) (*servicePolicyOutput, error) {
	p, err := s.policyOf(ctx, *in)
	if err != nil {
		return nil, fail(ctx, err)
	}
	return &servicePolicyOutput{serviceTag(&p.ServicePolicy), p.ServicePolicy}, nil
}

func (s *Server) getComponentPolicy(ctx context.Context, in *wire.ComponentPath) (*componentPolicyOutput, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fail(ctx, err)
	}
	p, err := s.policyOf(ctx, serviceOf(*in))
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.componentPolicy(ctx, &p, in.Component)
}

func (s *Server) componentPolicy(ctx context.Context, p *ServicePolicy, component string) (*componentPolicyOutput, error) {
	id := schemas.ComponentID{Namespace: p.Namespace, Service: p.Service, Component: component}
	c, ok := s.catalog.load().find(id)
	if !ok {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "component %q: there is none", id))
	}
	return &componentPolicyOutput{componentTag(&p.ServicePolicy, component), wire.ComponentPolicy{
		ID: c.ID, Settings: p.Components[component], Service: p.Settings, Policy: c.Policy,
	}}, nil
}

type patchServiceInput struct {
	wire.ServicePath
	PolicyPatch
}

func (s *Server) patchServicePolicy(ctx context.Context, in *patchServiceInput) (*servicePolicyOutput, error) {
	var out ServicePolicy
	err := s.patch(ctx, in.ServicePath, &in.PolicyPatch, serviceTag, func(p *ServicePolicy, merge func(wire.Settings) (wire.Settings, error)) (err error) {
		p.Settings, err = merge(p.Settings)
		out = *p
		return err
	})
	if err != nil {
		return nil, fail(ctx, err)
	}
	return &servicePolicyOutput{serviceTag(&out.ServicePolicy), out.ServicePolicy}, nil
}

type patchComponentInput struct {
	wire.ComponentPath
	PolicyPatch
}

func (s *Server) patchComponentPolicy(ctx context.Context, in *patchComponentInput) (*componentPolicyOutput, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fail(ctx, err)
	}
	namespace := in.Namespace
	if namespace == noNamespace {
		namespace = ""
	}
	id := schemas.ComponentID{Namespace: namespace, Service: in.Service, Component: in.Component}
	if _, ok := s.catalog.load().find(id); !ok {
		return nil, fail(ctx, schemas.Errorf(schemas.CodeNotFound, "component %q: there is none", id))
	}
	var out ServicePolicy
	tag := func(p *wire.ServicePolicy) string { return componentTag(p, in.Component) }
	err := s.patch(ctx, serviceOf(in.ComponentPath), &in.PolicyPatch, tag, func(p *ServicePolicy, merge func(wire.Settings) (wire.Settings, error)) error {
		c, err := merge(p.Components[in.Component])
		p.Components[in.Component] = c
		if c == (wire.Settings{}) {
			delete(p.Components, in.Component)
		}
		out = *p
		return err
	})
	if err != nil {
		return nil, fail(ctx, err)
	}
	return s.componentPolicy(ctx, &out, in.Component)
}

// patch carries out a merge patch of a policy, again where somebody else was faster.
func (s *Server) patch(ctx context.Context, path wire.ServicePath, in *PolicyPatch, tag func(*wire.ServicePolicy) string, edit func(*ServicePolicy, func(wire.Settings) (wire.Settings, error)) error) error {
	media, _, _ := strings.Cut(in.ContentType, ";")
	if media = strings.TrimSpace(media); media != "" && media != mergeType && media != jsonType {
		return newProblem(http.StatusUnsupportedMediaType, "", "a change must be "+mergeType+" or "+jsonType)
	}
	infoOf(ctx).what = string(in.RawBody[:min(len(in.RawBody), 1000)])
	return s.change(ctx, func() ([]ServicePolicy, error) {
		p, err := s.policyOf(ctx, path)
		if err != nil {
			return nil, err
		}
		if in.IfMatch != "" && !matches(in.IfMatch, tag(&p.ServicePolicy)) {
			return nil, newProblem(http.StatusPreconditionFailed, schemas.CodeConflict, "somebody else has changed the policy meanwhile: look at it again")
		}
		before := tag(&p.ServicePolicy)
		if err := edit(&p, func(to wire.Settings) (wire.Settings, error) { return merge(to, in.RawBody) }); err != nil {
			return nil, err
		}
		if tag(&p.ServicePolicy) == before {
			return nil, nil
		}
		return []ServicePolicy{p}, nil
	})
}

// merge applies a merge patch to settings.
func merge(to wire.Settings, patch []byte) (wire.Settings, error) {
	p := newProblem(http.StatusUnprocessableEntity, schemas.CodeInvalidConfig, "the change is not valid")
	refuse := func(name, message string) {
		p.Errors = append(p.Errors, wire.ProblemItem{Location: strings.TrimSuffix("body."+name, "."), Message: message})
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil || members == nil {
		return to, newProblem(http.StatusBadRequest, schemas.CodeInvalidConfig, "a change must be a JSON object")
	}
	v := reflect.ValueOf(&to).Elem()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = v.Field(i)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		f, ok := fields[name]
		if !ok {
			refuse(name, "there is no such setting")
			continue
		}
		f.SetZero()
		if bytes.Equal(members[name], []byte("null")) {
			continue
		}
		value := reflect.New(f.Type().Elem())
		if err := json.Unmarshal(members[name], value.Interface()); err != nil {
			refuse(name, "must be a "+kindOf(f.Type().Elem())+", or null")
			continue
		}
		f.Set(value)
	}
	checkSettings(&to, refuse)
	if len(p.Errors) > 0 {
		return to, p
	}
	return to, nil
}

func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.String {
		return "string"
	}
	return "whole number"
}

// checkSettings holds the rules for each setting by itself. What holds between them
// is checked where they are kept.
func checkSettings(s *wire.Settings, refuse func(name, message string)) {
	for _, f := range []struct {
		name     string
		value    *int32
		min, max int32
	}{
		{"minReplicas", s.MinReplicas, 1, schemas.MaxReplicas}, {"maxReplicas", s.MaxReplicas, 1, schemas.MaxReplicas},
		{"cpuUtilization", s.CPUUtilization, 1, 1000}, {"memoryUtilization", s.MemoryUtilization, 1, 1000}, {"peakUtilization", s.PeakUtilization, 1, 1000},
		{"quantile", s.Quantile, 1, 99}, {"maxStep", s.MaxStep, 0, schemas.MaxReplicas},
	} {
		if f.value != nil && (*f.value < f.min || *f.value > f.max) {
			refuse(f.name, fmt.Sprintf("must be from %d to %d, but is %d", f.min, f.max, *f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value *string
	}{{"leadTime", s.LeadTime}, {"hold", s.Hold}} {
		if f.value == nil {
			continue
		}
		if d, err := time.ParseDuration(*f.value); err != nil || d < 0 || d > 24*time.Hour {
			refuse(f.name, "must be a duration from 0s to 24h, as 90s, but is "+fmt.Sprintf("%.40q", *f.value))
		}
	}
	if s.Mode != nil && *s.Mode != schemas.Off && *s.Mode != schemas.Shadow && *s.Mode != schemas.Auto {
		refuse("mode", "must be Off, Shadow or Auto, but is "+fmt.Sprintf("%.40q", *s.Mode))
	}
	if s.Profile != nil && len(*s.Profile) > 63 {
		refuse("profile", "must have at most 63 characters")
	}
}

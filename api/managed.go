package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// attempts is how often a change is made anew on top of somebody else's.
const attempts = 5

// fulfil changes the policies as a body of the original's interface wants it, all of
// them or none.
func (s *Server) fulfil(ctx context.Context, wanted []wish) error {
	var said []string
	for _, w := range wanted {
		said = append(said, fmt.Sprintf("%s managed %t", w.name, w.managed))
	}
	infoOf(ctx).what = strings.Join(said, ", ")
	err := s.change(ctx, func() ([]ServicePolicy, error) {
		if err := s.catalog.refresh(ctx, s.config.Clock.Now()); err != nil {
			return nil, err
		}
		return s.wished(s.catalog.load(), wanted)
	})
	return err
}

// change replaces policies by what make makes of them, again where somebody else was
// faster.
func (s *Server) change(ctx context.Context, make func() ([]ServicePolicy, error)) error {
	for attempt := 1; ; attempt++ {
		policies, err := make()
		if err != nil {
			return err
		}
		if len(policies) > 0 {
			err = s.config.Services.Replace(ctx, policies)
		}
		if err == nil {
			s.refreshCatalog(ctx)
			return nil
		}
		if schemas.CodeOf(err) != schemas.CodeConflict || attempt == attempts {
			return err
		}
	}
}

// wished returns the policies that change, as they are to be.
func (s *Server) wished(k *known, wanted []wish) ([]ServicePolicy, error) {
	services := k.services()
	changed := map[[2]string]*ServicePolicy{}
	var unknown []string
	for _, w := range wanted {
		var found []*service
		for i := range services {
			if services[i].name == w.name && (w.namespace == "" || services[i].namespace == w.namespace) {
				found = append(found, &services[i])
			}
		}
		if len(found) > 1 {
			// The original knew one namespace only.
			i := slices.IndexFunc(found, func(s *service) bool { return s.namespace == "default" || s.namespace == "" })
			if i < 0 {
				var names []string
				for _, s := range found {
					names = append(names, s.namespace)
				}
				return nil, badRequest(msgAmbiguous + w.name + " in " + strings.Join(names, ", "))
			}
			found = found[i : i+1]
		}
		if len(found) == 0 {
			unknown = append(unknown, w.name)
			continue
		}
		names := make([]string, 0, len(found[0].components))
		for _, c := range found[0].components {
			names = append(names, c.ID.Component)
		}
		for _, c := range w.components {
			if !slices.Contains(names, c.Name) {
				unknown = append(unknown, w.name+"/"+c.Name)
			}
		}
		key := [2]string{found[0].namespace, found[0].name}
		p := changed[key]
		if p == nil {
			p = k.policy(key[0], key[1])
			changed[key] = p
		}
		manage(&p.ServicePolicy, names, w)
	}
	if len(unknown) > 0 {
		return nil, badRequest(msgUnknownNames + strings.Join(unknown, ", "))
	}
	var out []ServicePolicy
	for _, key := range slices.SortedFunc(maps.Keys(changed), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		out = append(out, *changed[key])
	}
	return out, nil
}

// policy returns a copy of what was set for a service, which can be changed.
func (k *known) policy(namespace, name string) *ServicePolicy {
	p := ServicePolicy{ServicePolicy: wire.ServicePolicy{Namespace: namespace, Service: name}}
	for i := range k.policies {
		if k.policies[i].Namespace == namespace && k.policies[i].Service == name {
			p = k.policies[i]
		}
	}
	p.Components = maps.Clone(p.Components)
	if p.Components == nil {
		p.Components = map[string]wire.Settings{}
	}
	return &p
}

// modeOf returns the mode that holds for a component by what was set.
func modeOf(p *wire.ServicePolicy, component string) schemas.Mode {
	if m := p.Components[component].Mode; m != nil {
		return *m
	}
	if p.Settings.Mode != nil {
		return *p.Settings.Mode
	}
	return schemas.DefaultPolicy().Mode
}

// manage carries out one wish. Names are the components that the service has.
//
// What is not managed may be in Shadow as well as Off, and a client that sends back
// what it was sent must change neither: false changes only what is managed, and a
// service that is not stays as it is altogether, which is what the original did.
func manage(p *wire.ServicePolicy, names []string, w wish) {
	set := func(component string, m schemas.Mode) {
		c := p.Components[component]
		c.Mode = &m
		p.Components[component] = c
	}
	auto, off := schemas.Auto, schemas.Off
	before := map[string]schemas.Mode{}
	managed := p.Settings.Mode != nil && *p.Settings.Mode == auto
	for _, name := range names {
		before[name] = modeOf(p, name)
		managed = managed || before[name] == auto
	}
	switch {
	case !w.managed && !managed:
	case !w.managed:
		p.Settings.Mode = &off
		for name, c := range p.Components {
			if c.Mode != nil && *c.Mode == auto {
				set(name, off)
			}
		}
	case w.components == nil:
		p.Settings.Mode = &auto
		for name, c := range p.Components {
			c.Mode = nil
			p.Components[name] = c
		}
	default:
		if !managed {
			// The service being on turns on none of its components by itself.
			for _, name := range names {
				set(name, before[name])
			}
			p.Settings.Mode = &auto
		}
		for _, c := range w.components {
			switch {
			case c.Managed:
				set(c.Name, auto)
			case before[c.Name] == auto:
				set(c.Name, off)
			}
		}
	}
	for name, c := range p.Components {
		if c == (wire.Settings{}) {
			delete(p.Components, name)
		}
	}
}

package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// catalog holds the components and policies as they were last seen.
type catalog struct {
	services Services

	refreshing sync.Mutex
	current    atomic.Pointer[known]
	since      atomic.Pointer[time.Time] // when the services were first found not to answer
}

// known is what was seen at one moment.
type known struct {
	components []component
	byName     []int32 // their places, in the order of service and component
	policies   []ServicePolicy
	modes      map[string]int // components by mode
	seen       bool           // false until the services have answered once
}

// component is one component with its JSON, which is made when it is first asked
// for.
type component struct {
	wire.Component
	json atomic.Pointer[[]byte]
}

func newCatalog(s Services) *catalog {
	c := &catalog{services: s}
	c.current.Store(&known{})
	return c
}

func (c *catalog) load() *known { return c.current.Load() }

// refresh asks the services. What was seen before stays where they do not answer.
func (c *catalog) refresh(ctx context.Context, now time.Time) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	components, err1 := c.services.Components(ctx)
	policies, err2 := c.services.Policies(ctx)
	if err := errors.Join(err1, err2); err != nil {
		if c.since.Load() == nil && ctx.Err() == nil {
			c.since.Store(&now)
		}
		return err
	}
	c.since.Store(nil)
	byService := make(map[[2]string]*ServicePolicy, len(policies))
	for i := range policies {
		byService[[2]string{policies[i].Namespace, policies[i].Service}] = &policies[i]
	}
	k := &known{components: make([]component, len(components)), policies: policies, modes: map[string]int{}, seen: true}
	for i := range components {
		k.components[i].Component = components[i]
		id := components[i].ID
		if p := byService[[2]string{id.Namespace, id.Service}]; p != nil {
			k.components[i].PolicyVersion = componentTag(&p.ServicePolicy, id.Component)
		}
		k.modes[string(components[i].Policy.Mode)]++
	}
	k.byName = make([]int32, len(components))
	for i := range k.byName {
		k.byName[i] = int32(i)
	}
	slices.SortFunc(k.byName, func(a, b int32) int {
		x, y := &k.components[a].ID, &k.components[b].ID
		return cmp.Or(compareNames(x, y.Service, y.Component), cmp.Compare(a, b))
	})
	c.current.Store(k)
	return nil
}

// compareNames compares a component's names, but for the namespace, with others.
func compareNames(id *wire.ComponentID, service, component string) int {
	return cmp.Or(cmp.Compare(id.Service, service), cmp.Compare(id.Component, component))
}

// find returns a component.
func (k *known) find(id schemas.ComponentID) (*component, bool) {
	i := sort.Search(len(k.components), func(i int) bool { return schemas.ComponentID(k.components[i].ID).Compare(id) >= 0 })
	if i < len(k.components) && schemas.ComponentID(k.components[i].ID) == id {
		return &k.components[i], true
	}
	return nil, false
}

// namespaces returns where a component of a service is.
func (k *known) namespaces(service, name string) (out []string) {
	at := func(i int) *wire.ComponentID { return &k.components[k.byName[i]].ID }
	from := sort.Search(len(k.byName), func(i int) bool { return compareNames(at(i), service, name) >= 0 })
	for i := from; i < len(k.byName) && compareNames(at(i), service, name) == 0; i++ {
		out = append(out, at(i).Namespace)
	}
	return out
}

// encoded returns the component as JSON.
func (c *component) encoded() ([]byte, error) {
	if data := c.json.Load(); data != nil {
		return *data, nil
	}
	data, err := json.Marshal(&c.Component)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInternal, "component %v: %w", c.ID, err)
	}
	c.json.Store(&data)
	return data, nil
}

// service is one service with its components, as the original's interface shows
// them.
type service struct {
	namespace, name string
	managed         bool // its own mode, or that of a component, is Auto
	components      []*component
}

// services returns the services in order: those with components or a policy.
func (k *known) services() []service {
	var out []service
	index := map[[2]string]int{}
	at := func(namespace, name string) *service {
		key := [2]string{namespace, name}
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, service{namespace: namespace, name: name})
		}
		return &out[i]
	}
	for i := range k.components {
		c := &k.components[i]
		s := at(c.ID.Namespace, c.ID.Service)
		s.components = append(s.components, c)
		s.managed = s.managed || c.Policy.Mode == schemas.Auto
	}
	for i := range k.policies {
		p := &k.policies[i]
		s := at(p.Namespace, p.Service)
		s.managed = s.managed || p.Settings.Mode != nil && *p.Settings.Mode == schemas.Auto
	}
	slices.SortStableFunc(out, func(a, b service) int {
		return schemas.ComponentID{Namespace: a.namespace, Service: a.name}.Compare(schemas.ComponentID{Namespace: b.namespace, Service: b.name})
	})
	return out
}

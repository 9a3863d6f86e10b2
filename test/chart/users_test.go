package chart_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/apitest"
)

// What people may do who use an installation.

// aggregated begins the labels by which a role becomes part of a cluster's own.
const aggregated = "rbac.authorization.k8s.io/aggregate-to-"

// userRoles returns the roles that are for people.
func userRoles(t *testing.T, objects []*unstructured.Unstructured) map[string]*rbacv1.ClusterRole {
	t.Helper()
	out := map[string]*rbacv1.ClusterRole{}
	for _, o := range objects {
		if c := o.GetLabels()["app.kubernetes.io/component"]; c == "view" || c == "edit" {
			out[c] = decode[rbacv1.ClusterRole](t, o)
		}
	}
	return out
}

func TestWhatPeopleMayDoIsHeldByAGoldenFile(t *testing.T) {
	var lines []string
	for name, role := range userRoles(t, mustRender(t, "")) {
		for label, value := range role.Labels {
			if to, ok := strings.CutPrefix(label, aggregated); ok {
				lines = append(lines, fmt.Sprintf("%s: aggregated to %s: %s", name, to, value))
			}
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				lines = append(lines, fmt.Sprintf("%s: %s/%s: %s", name, rule.APIGroups[0], resource, strings.Join(rule.Verbs, ",")))
			}
		}
	}
	slices.Sort(lines)
	hold(t, filepath.Join("testdata", "rights", "users.txt"), strings.Join(lines, "\n")+"\n")
}

func TestRolesForPeople(t *testing.T) {
	for _, tt := range []struct {
		values           string
		roles, aggregate bool
	}{
		{``, true, true},
		{`{mode: standalone}`, true, true},
		{`{watchNamespaces: [shop]}`, true, true},
		{`{api: {enabled: false}}`, true, true}, // there are still the policies
		{`{rbac: {userRoles: {aggregate: false}}}`, true, false},
		{`{rbac: {userRoles: {enabled: false}}}`, false, false},
		{`{rbac: {create: false}}`, false, false},
	} {
		objects := mustRender(t, tt.values)
		roles := userRoles(t, objects)
		if got := len(roles) == 2; got != tt.roles || !got && len(roles) > 0 {
			t.Errorf("with %q there are the roles %v, want two: %v", tt.values, slices.Sorted(maps.Keys(roles)), tt.roles)
		}
		for name, role := range roles {
			var to []string
			for label := range role.Labels {
				if cluster, ok := strings.CutPrefix(label, aggregated); ok {
					to = append(to, cluster)
				}
			}
			slices.Sort(to)
			want := map[string][]string{"view": {"admin", "edit", "view"}, "edit": {"admin", "edit"}}[name]
			if !tt.aggregate {
				want = nil
			}
			if diff := cmp.Diff(want, to); diff != "" {
				t.Errorf("with %q, the role %s is aggregated to (-want +got):\n%s", tt.values, name, diff)
			}
			for _, o := range objects {
				ref, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
				if ref == role.Name {
					t.Errorf("with %q, %s binds the role %s to one of ours", tt.values, id(o), name)
				}
			}
		}
	}
}

// recorder is a reviewer who knows everybody, allows nothing and remembers what for.
type recorder struct {
	mu      sync.Mutex
	actions map[string]bool // by resource and verb
}

func (a *recorder) Review(context.Context, string) (access.User, error) {
	return access.User{Name: "somebody"}, nil
}

func (a *recorder) Allows(_ context.Context, _ access.User, action access.Action) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.actions[action.Resource+": "+action.Verb] = true
	return false, nil
}

func TestRolesForPeopleAllowWhatTheInterfaceAsksFor(t *testing.T) {
	reviewer := &recorder{actions: map[string]bool{}}
	server := apitest.New(t, nil, func(c *api.Config) { c.Access = reviewer }).Server
	call := func(method, path string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		r.Header.Set("Authorization", "Bearer token")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w.Result()
	}
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(call(http.MethodGet, "/openapi.json").Body).Decode(&description); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range description.Paths {
		for method := range methods {
			n++
			call(strings.ToUpper(method), regexp.MustCompile(`{[^}]*}`).ReplaceAllString(path, "x"))
		}
	}
	if n < 40 {
		t.Errorf("only %d routes were asked", n)
	}
	for name, changes := range map[string]bool{"view": false, "edit": true} {
		var want, got []string
		for action := range reviewer.actions {
			if _, verb, _ := strings.Cut(action, ": "); verb == access.Get || changes {
				want = append(want, action)
			}
		}
		for _, rule := range userRoles(t, mustRender(t, ""))[name].Rules {
			for _, resource := range rule.Resources {
				if strings.HasPrefix(resource, "scalingpolicies") {
					continue // the cluster's own
				}
				for _, verb := range rule.Verbs {
					got = append(got, resource+": "+verb)
				}
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("role %s (-asked for +allowed):\n%s", name, diff)
		}
	}
}

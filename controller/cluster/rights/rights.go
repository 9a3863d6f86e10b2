// Package rights compares what an account may do in a cluster with what it was meant to
// be given, and the resources that it was meant for with those that there are. A chart's
// test asks it, where somebody else may have made the Roles.
package rights

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// Grant is what an account was meant to be given in one namespace or, where that is
// empty, in all of them.
type Grant struct {
	Namespace string
	Rules     []rbacv1.PolicyRule
}

// Parse reads a grant as NAMESPACE=RULES, in which RULES are those of a Role, as JSON. It
// returns schemas.CodeInvalidConfig for what is none.
func Parse(s string) (Grant, error) {
	namespace, rules, ok := strings.Cut(s, "=")
	g := Grant{Namespace: namespace}
	if !ok {
		return g, schemas.Errorf(schemas.CodeInvalidConfig, "grant must be a namespace, '=' and the rules of a Role as JSON, but is %q", s)
	}
	d := json.NewDecoder(strings.NewReader(rules))
	d.DisallowUnknownFields()
	if err := d.Decode(&g.Rules); err != nil {
		return g, schemas.Errorf(schemas.CodeInvalidConfig, "grant in namespace %q: rules of a Role: %w", namespace, err)
	}
	return g, nil
}

// optional are resources that a cluster may have or not: what they belong to is minded
// where it is there.
var optional = map[string]bool{
	"keda.sh/scaledobjects":                     true,
	"autoscaling.k8s.io/verticalpodautoscalers": true,
	"argoproj.io/rollouts":                      true,
}

// Report is the outcome of a comparison.
type Report struct {
	// Checked is how many rights were asked about.
	Checked int
	// Denied are the rights that the account lacks, in words, in order.
	Denied []string
	// Absent are the resources that the API server does not have, but for optional
	// ones, as group/resource, in order.
	Absent []string
}

// Check asks the API server about every right of the grants, in the name of the account
// that the client has. It returns schemas.CodeUnavailable where the server does not
// answer.
func Check(ctx context.Context, client kubernetes.Interface, grants []Grant) (Report, error) {
	var r Report
	served, err := resources(client, grants)
	if err != nil {
		return r, err
	}
	seen := map[authorizationv1.ResourceAttributes]bool{}
	absent := map[string]bool{}
	for _, g := range grants {
		for _, rule := range g.Rules {
			for _, a := range attributes(g.Namespace, rule) {
				if seen[a] {
					continue
				}
				seen[a] = true
				if name := a.Group + "/" + a.Resource; !served[name+slash(a.Subresource)] && !optional[name] {
					absent[name+slash(a.Subresource)] = true
				}
				review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
					&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a}}, metav1.CreateOptions{})
				if err != nil {
					return r, cluster.Error("ask for the right to "+words(a), err)
				}
				if r.Checked++; !review.Status.Allowed {
					r.Denied = append(r.Denied, words(a))
				}
			}
		}
	}
	for name := range absent {
		r.Absent = append(r.Absent, strings.TrimPrefix(name, "/"))
	}
	slices.Sort(r.Denied)
	slices.Sort(r.Absent)
	return r, nil
}

// attributes are the single rights that a rule gives.
func attributes(namespace string, rule rbacv1.PolicyRule) []authorizationv1.ResourceAttributes {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var out []authorizationv1.ResourceAttributes
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, sub, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					out = append(out, authorizationv1.ResourceAttributes{
						Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name,
					})
				}
			}
		}
	}
	return out
}

// words says what a right is.
func words(a authorizationv1.ResourceAttributes) string {
	s := a.Verb + " " + a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	s += slash(a.Subresource)
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.Namespace == "" {
		return s + " in all namespaces"
	}
	return s + " in namespace " + a.Namespace
}

func slash(sub string) string {
	if sub == "" {
		return ""
	}
	return "/" + sub
}

// resources returns what the API server has, in any version, of the groups that grants
// name, as group/resource or group/resource/subresource. A group whose own server does
// not answer has nothing just now.
func resources(client kubernetes.Interface, grants []Grant) (map[string]bool, error) {
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		return nil, cluster.Error("list API groups", err)
	}
	named := map[string]bool{}
	for _, g := range grants {
		for _, rule := range g.Rules {
			for _, group := range rule.APIGroups {
				named[group] = true
			}
		}
	}
	served := map[string]bool{}
	for _, g := range groups.Groups {
		if !named[g.Name] {
			continue
		}
		for _, v := range g.Versions {
			list, err := client.Discovery().ServerResourcesForGroupVersion(v.GroupVersion)
			if err != nil {
				continue
			}
			for _, r := range list.APIResources {
				served[g.Name+"/"+r.Name] = true
			}
		}
	}
	return served, nil
}

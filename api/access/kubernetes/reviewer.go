// Package kubernetes asks a cluster who a token stands for, by TokenReviews bound to
// audiences, and what they may do, by a SubjectAccessReview on resources of the group
// of package access.
package kubernetes

import (
	"context"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/schemas"
)

// Reviewer implements [access.Reviewer]. It needs create on tokenreviews and
// subjectaccessreviews, as the ClusterRole system:auth-delegator gives them.
type Reviewer struct {
	client    dynamic.Interface
	audiences []string
}

var _ access.Reviewer = (*Reviewer)(nil)

// New returns a reviewer. A token must be made for the audience. Where that is "", it may
// be made for the API server, as that of a kubeconfig and of kubectl create token are, or
// for [access.Audience].
func New(client dynamic.Interface, audience string) *Reviewer {
	if audience == "" {
		return &Reviewer{client, []string{apiServer, access.Audience}}
	}
	return &Reviewer{client, []string{audience}}
}

// apiServer stands for the audience of the API server, whatever that is: a review that
// names none is about it.
const apiServer = ""

// Review implements [access.Reviewer].
func (r *Reviewer) Review(ctx context.Context, token string) (access.User, error) {
	// One review cannot ask for all: it would have to name the API server's audience.
	for _, audience := range r.audiences {
		if u, ok, err := r.review(ctx, token, audience); ok || err != nil {
			return u, err
		}
	}
	return access.User{}, access.ErrUnauthenticated
}

// review returns who a token stands for, false where it is not made for the audience.
func (r *Reviewer) review(ctx context.Context, token, audience string) (access.User, bool, error) {
	got := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token},
	}
	if audience != apiServer {
		got.Spec.Audiences = []string{audience}
	}
	if err := r.ask(ctx, authenticationv1.SchemeGroupVersion.WithResource("tokenreviews"), got); err != nil {
		return access.User{}, false, schemas.Errorf(schemas.CodeUnavailable, "review a token: %w", err)
	}
	// An authenticator that does not know audiences leaves them out, so that the
	// token could be anybody's.
	if !got.Status.Authenticated || audience != apiServer && !slices.Contains(got.Status.Audiences, audience) {
		return access.User{}, false, nil
	}
	u := got.Status.User
	user := access.User{Name: u.Username, UID: u.UID, Groups: u.Groups}
	for name, values := range u.Extra {
		if user.Extra == nil {
			user.Extra = map[string][]string{}
		}
		user.Extra[name] = values
	}
	return user, true, nil
}

// Allows implements [access.Reviewer].
func (r *Reviewer) Allows(ctx context.Context, u access.User, a access.Action) (bool, error) {
	got := &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: u.Name, UID: u.UID, Groups: u.Groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: access.Group, Version: "*", Resource: a.Resource, Verb: a.Verb, Namespace: a.Namespace,
			},
		},
	}
	for name, values := range u.Extra {
		if got.Spec.Extra == nil {
			got.Spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		got.Spec.Extra[name] = values
	}
	if err := r.ask(ctx, authorizationv1.SchemeGroupVersion.WithResource("subjectaccessreviews"), got); err != nil {
		return false, schemas.Errorf(schemas.CodeUnavailable, "review a right: %w", err)
	}
	return got.Status.Allowed && !got.Status.Denied, nil
}

// ask has the API server fill in a review's status.
func (r *Reviewer) ask(ctx context.Context, resource schema.GroupVersionResource, review any) error {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(review)
	if err != nil {
		return err
	}
	delete(object, "status")
	got, err := r.client.Resource(resource).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, review)
}

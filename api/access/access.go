// Package access says who asks, and whether they may. It knows no cluster: a
// [Reviewer] does, and [Cache] keeps what it said for a while.
package access

import (
	"context"

	"github.com/self-scaling/self-scaling/schemas"
)

// Group is the API group of the resources that rights are given on. None of them
// exists in the cluster but for the policies: a Role names them all the same.
const Group = "self-scaling.github.io"

// Audience is whom a token may be made for that is meant for the API and for nothing
// else, so that whoever gets hold of it cannot use it against the cluster.
const Audience = "self-scaling"

// User is who a token stands for.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// The verbs. They are those of Kubernetes.
const (
	Get    = "get"    // read one thing, or a list of them
	Create = "create" // start a run
	Update = "update" // change a policy or a setting
	Delete = "delete" // stop a run, delete old data
)

// Action is what somebody wants to do.
type Action struct {
	Verb string
	// Resource is a name in the plural within [Group], as "runs".
	Resource string
	// Namespace is that of the component, "" where the action is about all.
	Namespace string
}

// The errors that callers tell apart with errors.Is.
var (
	// ErrUnauthenticated is returned for a token that stands for nobody: unknown,
	// expired or made for another audience.
	ErrUnauthenticated = schemas.Errorf(schemas.CodeInvalidConfig, "the token is not valid here")
	// ErrBusy is returned where so many unknown tokens come in that they are not
	// looked at any more.
	ErrBusy = schemas.Errorf(schemas.CodeUnavailable, "too many unknown tokens at once")
)

// Reviewer knows users and their rights. An error with [schemas.CodeUnavailable]
// means that nobody can say just now; then nothing is allowed.
type Reviewer interface {
	// Review returns who a token stands for, or an error wrapping
	// [ErrUnauthenticated].
	Review(ctx context.Context, token string) (User, error)
	// Allows reports whether a user may do something.
	Allows(ctx context.Context, u User, a Action) (bool, error)
}

// Package connect opens the way to an installation's API that the flags of a command
// say: a URL, or through the API server of a cluster.
package connect

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/controller/cluster/reach"
	"github.com/self-scaling/self-scaling/schemas"
)

// Connection is a client of an installation. Close it after use.
type Connection struct {
	*client.Client
	way io.Closer // nil where there is nothing to end
}

// Close ends the connection.
func (c *Connection) Close() error {
	if c.way == nil {
		return nil
	}
	return c.way.Close()
}

// Open returns a connection. At a URL it makes no request.
func Open(ctx context.Context, o cli.ServerOptions) (*Connection, error) {
	if o.Server == "" {
		return through(ctx, o)
	}
	c, err := client.New(o.Server, client.Options{Token: o.Token})
	if err != nil {
		return nil, err
	}
	return &Connection{Client: c}, nil
}

// inCluster is the URL of an API behind a forwarded port. The name is never looked up.
const inCluster = "http://localhost"

// through reaches an installation through the API server of a cluster.
func through(ctx context.Context, o cli.ServerOptions) (*Connection, error) {
	config, _, err := cluster.Config(o.Cluster.Kubeconfig, o.Cluster.Context)
	if err != nil {
		return nil, err
	}
	known, err := cluster.NewClient(config)
	if err != nil {
		return nil, err
	}
	all, err := clientset.For(known)
	if err != nil {
		return nil, err
	}
	target, err := reach.Find(ctx, all, o.Cluster.Namespace)
	if err != nil {
		return nil, err
	}
	token := o.Token
	switch namespace, name, account := strings.Cut(o.Account, "/"); {
	case token != "":
	case account:
		token, err = reach.AccountToken(ctx, all, namespace, name)
	default:
		token, err = reach.Bearer(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	way := target.Forward(config)
	c, err := client.New(inCluster, client.Options{Token: token, Transport: way})
	if err == nil && token == "" {
		err = welcome(ctx, c, target)
	}
	if err != nil {
		way.Close()
		return nil, err
	}
	return &Connection{c, way}, nil
}

// welcome says what to do where an API wants a token and there is none.
func welcome(ctx context.Context, c *client.Client, target *reach.Target) error {
	_, err := c.Status(ctx)
	if p := client.ProblemOf(err); p != nil && p.Status == http.StatusUnauthorized {
		return schemas.Errorf(schemas.CodeInvalidConfig, "the API %s wants a token, and the kubeconfig's user has none (a client certificate says nothing to it): "+
			"name a service account whose rights you may use with --account namespace/name, or give a --token", target)
	}
	return err
}

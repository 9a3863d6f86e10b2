// Package connect opens the way to an installation's API that the flags of a command
// say.
package connect

import (
	"context"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
)

// Connection is a client of an installation. Close it after use.
type Connection struct {
	*client.Client
}

// Close ends the connection.
func (c *Connection) Close() error { return nil }

// Open returns a connection. It makes no request.
func Open(_ context.Context, o cli.ServerOptions) (*Connection, error) {
	c, err := client.New(o.Server, client.Options{Token: o.Token})
	if err != nil {
		return nil, err
	}
	return &Connection{c}, nil
}

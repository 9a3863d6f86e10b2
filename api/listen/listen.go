// Package listen answers requests over a listener until it is to end, within limits
// that keep a caller from holding on to a connection, and with a certificate that is
// read again when it changes.
package listen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// grace is how long a server waits for the requests under way when it is to end.
const grace = 20 * time.Second

// On is how a server is reached.
type On struct {
	// Listener takes the connections.
	Listener net.Listener
	// Certificate, if not nil, is shown to callers, who then must use TLS.
	Certificate *Certificate
	Log         *slog.Logger // nil means none
}

// Serve answers requests by a handler until ctx ends, and then lets those that are
// under way end. It bounds what a caller may hold on to: the size and the time of a
// request's header, idle connections and, where the handler says nothing else, the
// time of an answer.
func Serve(ctx context.Context, h http.Handler, l On) error {
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	// What waits, event streams and runs that somebody waits for, ends at once.
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(l.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	failed := make(chan error, 1)
	go func() {
		if l.Certificate != nil {
			s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: l.Certificate.Get}
			failed <- s.ServeTLS(l.Listener, "", "")
			return
		}
		failed <- s.Serve(l.Listener)
	}()
	select {
	case err := <-failed:
		return schemas.WithCode(schemas.CodeUnavailable, err)
	case <-ctx.Done():
	}
	end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.Close() // who is still there has had their time
	}
	return nil
}

// Certificate is a certificate in two files that somebody renews. It is read again
// when they have changed.
type Certificate struct {
	certFile, keyFile string
	every             time.Duration
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]time.Time // when the files were changed that current was read from
	looked  time.Time
}

// NewCertificate reads a certificate and its key, both PEM. It returns an error with
// CodeInvalidConfig where they cannot be read, or do not belong together.
func NewCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, every: 10 * time.Second, log: log}
	if err := c.load(); err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "certificate: %w", err)
	}
	return c, nil
}

// Get returns the certificate. Where the files are renewed only in part, or wrongly,
// the one before goes on.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= c.every {
		c.looked = now
		if changed, err := c.changed(); err == nil && changed != c.read {
			if err := c.load(); err != nil {
				c.log.Warn("the renewed certificate cannot be used; the one before goes on", "error", err)
			}
		}
	}
	return c.current, nil
}

func (c *Certificate) changed() (at [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return at, err
		}
		at[i] = info.ModTime()
	}
	return at, nil
}

func (c *Certificate) load() error {
	at, err := c.changed()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.read = &pair, at
	return nil
}

package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/self-scaling/self-scaling/schemas"
)

// Forwarder carries HTTP to an API through the API server, over one connection that all
// requests share. No port is opened on this machine. Close it after use.
type Forwarder struct {
	http.RoundTripper
	target *Target
	config *rest.Config
	web    *http.Transport

	mu     sync.Mutex
	tunnel httpstream.Connection // nil before the first request and after it broke
	port   int                   // of the pod at its other end
	next   int                   // number of the next connection through it
}

// Forward returns a way to the target for a user's configuration. It makes no request.
func (t *Target) Forward(config *rest.Config) *Forwarder {
	f := &Forwarder{target: t, config: rest.CopyConfig(config)}
	f.web = &http.Transport{DialContext: f.dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}
	f.RoundTripper = f.web
	return f
}

// Close ends all requests and the connection.
func (f *Forwarder) Close() error {
	f.web.CloseIdleConnections()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tunnel == nil {
		return nil
	}
	tunnel := f.tunnel
	f.tunnel = nil
	return tunnel.Close()
}

// errBroken says that a tunnel's other end has gone.
var errBroken = errors.New("the connection broke")

// dial opens a connection to the pod's port through the tunnel.
func (f *Forwarder) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	type opened struct {
		conn net.Conn
		err  error
	}
	// What opens a tunnel knows no context.
	done := make(chan opened, 1)
	go func() {
		conn, err := f.open(ctx)
		done <- opened{conn, err}
	}()
	select {
	case o := <-done:
		return o.conn, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				o.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func (f *Forwarder) open(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tunnel != nil {
		if c, err := f.connect(); err == nil {
			return c, nil
		}
		// The pod or the API server has gone since: there may be others.
	}
	if err := f.dig(ctx); err != nil {
		return nil, err
	}
	return f.connect()
}

// connect opens a connection through the tunnel, and gives the tunnel up where that
// fails. The caller holds the lock.
func (f *Forwarder) connect() (net.Conn, error) {
	header := http.Header{}
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	header.Set(corev1.PortHeader, strconv.Itoa(f.port))
	header.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(f.next))
	f.next++
	failures, err := stream(f.tunnel, header)
	var data httpstream.Stream
	if err == nil {
		_ = failures.Close() // nothing is written to it
		header.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err = stream(f.tunnel, header)
	}
	if err != nil {
		f.tunnel.Close()
		f.tunnel = nil
		return nil, schemas.Errorf(schemas.CodeUnavailable, "forward to %s: %w", f.target, err)
	}
	c := &conn{Stream: data, failures: failures, tunnel: f.tunnel, heard: make(chan struct{})}
	go c.listen()
	return c, nil
}

// stream opens a stream, and does not wait for an answer from a tunnel that has broken.
func stream(tunnel httpstream.Connection, header http.Header) (httpstream.Stream, error) {
	type opened struct {
		stream httpstream.Stream
		err    error
	}
	done := make(chan opened, 1)
	header = header.Clone()
	go func() {
		s, err := tunnel.CreateStream(header)
		done <- opened{s, err}
	}()
	select {
	case o := <-done:
		return o.stream, o.err
	case <-tunnel.CloseChan():
		return nil, errBroken
	}
}

// dig opens the tunnel to a Ready pod: over a web socket, as kubectl does, or where a
// server knows none, as before that. The caller holds the lock.
func (f *Forwarder) dig(ctx context.Context) error {
	pod, port, err := f.target.Pod(ctx)
	if err != nil {
		return err
	}
	at, err := f.address(pod)
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(f.config)
	if err != nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "forward to %s: %w", f.target, err)
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	socket, err := portforward.NewSPDYOverWebsocketDialer(at, f.config)
	if err != nil {
		return schemas.Errorf(schemas.CodeInvalidConfig, "forward to %s: %w", f.target, err)
	}
	dialer := portforward.NewFallbackDialer(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	tunnel, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return schemas.Errorf(schemas.CodeUnavailable, "forward to pod %s/%s: %w", f.target.Namespace, pod, err)
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		tunnel.Close()
		return schemas.Errorf(schemas.CodeUnavailable, "forward to pod %s/%s: the server speaks %q, want %q", f.target.Namespace, pod, protocol, portforward.PortForwardProtocolV1Name)
	}
	f.tunnel, f.port = tunnel, port
	return nil
}

func (f *Forwarder) address(pod string) (*url.URL, error) {
	host, _, err := rest.DefaultServerUrlFor(f.config)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "cluster %s: %w", f.config.Host, err)
	}
	return host.JoinPath("api/v1/namespaces", f.target.Namespace, "pods", pod, "portforward"), nil
}

// conn is a connection through a tunnel. It has no deadlines: requests end with their
// contexts.
type conn struct {
	httpstream.Stream
	failures httpstream.Stream
	tunnel   httpstream.Connection
	closing  sync.Once

	heard chan struct{} // closed once failure is known
	fail  error
}

// listen waits for what the other end has to say about a connection that failed.
func (c *conn) listen() {
	text, err := io.ReadAll(io.LimitReader(c.failures, 4<<10))
	if err == nil && len(text) > 0 {
		c.fail = schemas.Errorf(schemas.CodeUnavailable, "forward: %s", strings.TrimSpace(string(text)))
	}
	close(c.heard)
	if c.fail != nil {
		_ = c.Stream.Reset()
	}
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if n == 0 && err != nil {
		select {
		case <-c.heard:
			if c.fail != nil {
				err = c.fail
			}
		default:
		}
	}
	return n, err
}

// Close implements [net.Conn]: both ends stop at once.
func (c *conn) Close() error {
	c.closing.Do(func() {
		_ = c.Stream.Reset()
		_ = c.failures.Reset()
		c.tunnel.RemoveStreams(c.Stream, c.failures)
	})
	return nil
}

// tunnelled is the address of both ends.
type tunnelled struct{}

func (tunnelled) Network() string { return "portforward" }
func (tunnelled) String() string  { return "portforward" }

// LocalAddr implements [net.Conn].
func (*conn) LocalAddr() net.Addr { return tunnelled{} }

// RemoteAddr implements [net.Conn].
func (*conn) RemoteAddr() net.Addr { return tunnelled{} }

// SetDeadline implements [net.Conn].
func (*conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.Conn].
func (*conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.Conn].
func (*conn) SetWriteDeadline(time.Time) error { return nil }

var (
	_ net.Conn     = (*conn)(nil)
	_ fmt.Stringer = (*Target)(nil)
)

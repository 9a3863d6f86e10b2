package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/listen"
	"github.com/self-scaling/self-scaling/workflows"
)

// served is a world's server behind [listen.Serve], at an address of its own.
func served(t *testing.T, w *apitest.World) (address string, end func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- listen.Serve(ctx, w.Server, listen.On{Listener: listener}) }()
	end = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { end() })
	return listener.Addr().String(), end
}

// raw sends text over a connection of its own and returns the answer.
func raw(t *testing.T, address, text string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return response
}

// TestBodiesThatDoNotCome announces bodies and does not send them.
func TestBodiesThatDoNotCome(t *testing.T) {
	w := newShop(t, func(c *api.Config) { c.Limits.BodyTime = 20 * time.Millisecond })
	address, _ := served(t, w)
	for _, route := range []string{"POST /v1/services", "POST /v1/train-values", "POST /inference/shop/web", "POST /v1/runs", "PATCH /v1/policies/prod/shop/web"} {
		for name, body := range map[string]string{"nothing": "Content-Length: 100\r\n\r\n", "a part": "Content-Length: 100\r\n\r\n{", "chunks without end": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			got := raw(t, address, route+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+body)
			if got.StatusCode != http.StatusRequestTimeout && got.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, of which %s comes, is answered with %d", route, name, got.StatusCode)
			}
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	address, _ := served(t, newShop(t))
	got := raw(t, address, "GET /v1/runs HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
	if got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header is answered with %d", got.StatusCode)
	}
}

// TestServerThatIsToEnd has somebody wait for a run while the server is told to end.
func TestServerThatIsToEnd(t *testing.T) {
	w := newShop(t)
	step, release := held()
	defer release()
	w.Step(workflows.InferenceJob, step)
	address, end := served(t, w)
	answered := make(chan error, 1)
	go func() {
		response, err := http.Get("http://" + address + "/v1/inference")
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusServiceUnavailable {
				err = fmt.Errorf("status is %d", response.StatusCode)
			}
		}
		answered <- err
	}()
	for {
		runs, err := w.Submitter.List(t.Context(), workflows.ListOptions{Phase: workflows.Running})
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) == 1 {
			break
		}
	}
	if err := end(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("who was waiting: %v", err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	} else if operation := (*net.OpError)(nil); !errors.As(err, &operation) {
		t.Error(err)
	}
}

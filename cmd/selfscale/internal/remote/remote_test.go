package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/remote"
	"github.com/self-scaling/self-scaling/schemas"
)

// ask runs a command against a server that has one answer for each method and path.
func ask(t *testing.T, answers map[string]string, command func(*cli.RemoteEngine, cli.ServerOptions, cli.Console) error) (string, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"detail": "there is no %s"}`, r.URL.Path)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/events") {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	var out bytes.Buffer
	err := command(remote.Engine(), cli.ServerOptions{Server: server.URL, Output: cli.TableOutput},
		cli.Console{Out: &out, Log: io.Discard, Progress: progress.New(io.Discard, false, clock.RealClock{})})
	return out.String(), err
}

func services(e *cli.RemoteEngine, o cli.ServerOptions, c cli.Console) error {
	return e.Services(context.Background(), cli.ServicesOptions{ServerOptions: o}, c)
}

func TestServices(t *testing.T) {
	got, err := ask(t, map[string]string{"GET /v1/components": `{"items": []}`}, services)
	if err != nil || !strings.Contains(got, "selfscale doctor") {
		t.Errorf("%q (%v), want what to do where there are none", got, err)
	}
	// What is not known is not zero.
	got, err = ask(t, map[string]string{"GET /v1/components": `{"items": [{"id": {"namespace": "shop", "service": "cart", "component": "web"}, "policy": {"mode": "Shadow"}}]}`}, services)
	if err != nil || strings.Join(strings.Fields(strings.Split(got, "\n")[1]), " ") != "shop/cart/web Shadow - - - - -" {
		t.Errorf("%q (%v), want a line of what is not known", got, err)
	}
}

func TestManage(t *testing.T) {
	answers := map[string]string{
		"GET /v1/policies/shop/cart":   `{}`,
		"PATCH /v1/policies/shop/cart": `{"namespace": "shop", "service": "cart", "settings": {"mode": "Auto"}, "components": {"web": {"mode": "Off"}, "db": {"mode": "Auto"}, "job": {}}}`,
	}
	got, err := ask(t, answers, func(e *cli.RemoteEngine, o cli.ServerOptions, c cli.Console) error {
		return e.Manage(context.Background(), cli.ManageOptions{ServerOptions: o, Namespace: "shop", Service: "cart", Mode: schemas.Auto}, c)
	})
	if want := "service shop/cart is in mode Auto; 1 of its components has a mode of its own\n"; err != nil || got != want {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
}

func TestAWaitEndsAsTheRunDoes(t *testing.T) {
	for _, tt := range []struct {
		name, end string
		code      schemas.Code // "" for none
	}{
		{"success", `{"id": "infer-1", "phase": "Succeeded"}`, ""},
		{"failure", `{"id": "infer-1", "phase": "Failed", "message": "no samples"}`, schemas.CodeUnavailable},
		{"a stop", `{"id": "infer-1", "phase": "Stopped"}`, schemas.CodeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ask(t, map[string]string{
				"POST /v1/runs":               `{"id": "infer-1", "phase": "Pending"}`,
				"GET /v1/runs/infer-1/events": "event: run\ndata: {\"id\": \"infer-1\", \"phase\": \"Running\"}\n\nevent: run\ndata: " + tt.end + "\n\n",
			}, func(e *cli.RemoteEngine, o cli.ServerOptions, c cli.Console) error {
				return e.Start(context.Background(), cli.StartOptions{ServerOptions: o, Pipeline: "infer", Wait: true}, c)
			})
			if !strings.HasPrefix(got, "infer-1  ") || (err == nil) != (tt.code == "") || err != nil && schemas.CodeOf(err) != tt.code {
				t.Errorf("%q, error %v (%s), want %q", got, err, schemas.CodeOf(err), tt.code)
			}
		})
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := ask(t, map[string]string{
		"POST /v1/runs":               `{"id": "infer-1", "phase": "Pending"}`,
		"GET /v1/runs/infer-1/events": "event: run\ndata: {\"id\": \"infer-1\", \"phase\": \"Running\"}\n\n",
	}, func(e *cli.RemoteEngine, o cli.ServerOptions, c cli.Console) error {
		cancel()
		return e.Start(ctx, cli.StartOptions{ServerOptions: o, Pipeline: "infer", Wait: true}, c)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

func TestExplain(t *testing.T) {
	got, err := ask(t, map[string]string{"GET /v1/components/shop/cart/web": `{
		"id": {"namespace": "shop", "service": "cart", "component": "web"}, "policy": {"mode": "Auto"}, "target": {"kind": "Deployment", "name": "web"},
		"decision": {"time": "2026-01-02T03:00:00Z", "run": "infer-1", "profile": "classic", "reason": "FloorRaised", "message": "more is coming", "minReplicas": 6, "applied": true,
			"from": "2026-01-02T03:00:00Z", "to": "2026-01-02T03:17:00Z", "expires": "2026-01-02T03:32:00Z",
			"demands": [{"resource": "cpu", "statistic": "mean", "level": 0.5, "usage": 1, "bucket": "2026-01-02T03:00:00Z", "request": 0.25, "utilization": 0.7, "replicas": 6}],
			"clamps": [{"name": "MaxReplicas", "before": 9, "after": 6, "message": "maxReplicas is 6"}]}}`},
		func(e *cli.RemoteEngine, o cli.ServerOptions, c cli.Console) error {
			return e.Explain(context.Background(), cli.ExplainOptions{ServerOptions: o, Component: schemas.ComponentID{Namespace: "shop", Service: "cart", Component: "web"}}, c)
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"shop/cart/web is in mode Auto and runs as Deployment/web.\n",
		"Decided 2026-01-02 03:00 UTC by run infer-1 with profile classic: FloorRaised. more is coming\n",
		"cpu    mean  quantile 0.50 is 1 core at 03:00; ceil(that / (0.25 cores x 70 %)) = 6 replicas\n",
		"MaxReplicas    9 -> 6  maxReplicas is 6\n",
		"The floor is 6: it is in force until 2026-01-02 03:32 UTC, unless it is renewed.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
}

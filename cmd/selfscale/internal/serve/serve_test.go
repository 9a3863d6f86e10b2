package serve_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/utils/clock"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/access/accesstest"
	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/progress"
	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/serve"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/programlog"
)

// start runs a demonstration until the test ends, or until stop, which returns what
// Run did.
func start(t *testing.T, o cli.ServeOptions) (url string, said *programlog.Buffer, stop func() error) {
	t.Helper()
	o.Demo, o.Auth, o.Speed = true, cli.AuthNone, 900
	return run(t, o)
}

// run runs what the options say in the same way.
func run(t *testing.T, o cli.ServeOptions) (url string, said *programlog.Buffer, stop func() error) {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	said = &programlog.Buffer{}
	ended := make(chan error, 1)
	go func() {
		err := serve.Run(ctx, o, cli.Console{Out: w, Log: said, Progress: progress.New(io.Discard, false, clock.RealClock{})}, "v1")
		w.CloseWithError(io.ErrUnexpectedEOF)
		ended <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("it does not listen: %v: %s", stop(), said)
	}
	go io.Copy(io.Discard, r)
	_, address, _ := strings.Cut(line, "http://")
	address, _, ok := strings.Cut(address, "/")
	if !ok {
		t.Fatalf("it says %q, want where it is", line)
	}
	return "http://" + address, said, stop
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestServeADemonstration(t *testing.T) {
	url, said, stop := start(t, cli.ServeOptions{LogFormat: cli.JSONOutput})
	if status, body := get(t, url+"/", ""); status != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("the page is answered with %d and %d bytes", status, len(body))
	}
	// A web site that has its name lead here must not be able to do anything.
	if status, _ := get(t, url+"/v1/services", "evil.example"); status != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name is answered with %d, want %d", status, http.StatusMisdirectedRequest)
	}
	api, err := client.New(url, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	status, err := api.Status(t.Context())
	if err != nil || status.Version != "v1" || status.Speed != 900 || !status.Write || status.Components["Auto"] != 16 {
		t.Errorf("status %+v (%v), want sixteen components in Auto at 900 times the speed", status, err)
	}
	// What was measured before is there at once.
	if status.Freshness.Samples == nil {
		t.Error("nothing has been measured yet")
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v, want nothing", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(said.String()), "\n") {
		if line != "" && !strings.HasPrefix(line, `{"time":`) {
			t.Errorf("it logged %q, want JSON", line)
		}
	}
}

// Where the environment says where to, requests and the steps of runs are traced.
func TestServeIsTraced(t *testing.T) {
	var mu sync.Mutex
	var sent strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sent.Write(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
	url, _, stop := start(t, cli.ServeOptions{})
	if status, body := get(t, url+"/v1/inference", ""); status != http.StatusOK {
		t.Errorf("inference is answered with %d %s", status, body)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"GET /v1/inference", "step inference", "selfscaling.run"} {
		if !strings.Contains(sent.String(), want) {
			t.Errorf("what was sent lacks %q", want)
		}
	}
}

func TestServeWithoutAFolderLeavesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	_, _, stop := start(t, cli.ServeOptions{})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v), want nothing", left, err)
	}
}

// A process that comes back to its folder goes on where it was.
func TestServeGoesOn(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	url, _, stop := start(t, cli.ServeOptions{Data: data})
	api, err := client.New(url, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.SetService(t.Context(), "", "crane", map[string]any{"mode": schemas.Off}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	url, _, _ = start(t, cli.ServeOptions{Data: data})
	if api, err = client.New(url, client.Options{}); err != nil {
		t.Fatal(err)
	}
	after, err := api.Status(t.Context())
	if err != nil || after.Components["Off"] != 16 || after.Now.Before(before.Now) {
		t.Errorf("status %+v (%v), want all Off and a clock that goes on from %s", after, err, before.Now)
	}
}

func TestAnAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, o := range map[string]cli.ServeOptions{
		"--listen":         {Listen: taken.Addr().String()},
		"--metrics-listen": {Listen: "127.0.0.1:0", MetricsListen: taken.Addr().String()},
	} {
		o.Demo, o.Speed, o.Auth = true, 900, cli.AuthNone
		err := serve.Run(t.Context(), o, cli.Console{Out: io.Discard, Log: io.Discard, Progress: progress.New(io.Discard, false, clock.RealClock{})}, "v1")
		if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("error %v, want one about %s", err, name)
		}
	}
}

func TestACancelledStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := serve.Run(ctx, cli.ServeOptions{Demo: true, Speed: 900, Auth: cli.AuthNone, Listen: "127.0.0.1:0"},
		cli.Console{Out: io.Discard, Log: io.Discard, Progress: progress.New(io.Discard, false, clock.RealClock{})}, "v1")
	if err != nil && ctx.Err() == nil {
		t.Errorf("error %v, want none but that of the context", err)
	}
}

func TestServeReadsCalendarsBeforeItBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(accesstest.New(t).Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]cli.ServeOptions{
		"must hold a file *.ics": {Calendars: []string{"shop=holidays:" + t.TempDir()}},
		"of the IANA database":   {Zones: []string{"Madrid"}},
	} {
		o.Data, o.Listen, o.Auth, o.Kubeconfig = t.TempDir(), "127.0.0.1:0", cli.AuthNone, path
		err := serve.Run(t.Context(), o, cli.Console{Out: io.Discard, Log: io.Discard, Progress: progress.New(io.Discard, false, clock.RealClock{})}, "v1")
		if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v: error %v, want one about %q", o.Calendars, o.Zones, err, want)
		}
	}
}

// What a token is made for is asked the same way as the program api does.
func TestServeLetsInTokensByTheirAudience(t *testing.T) {
	cluster := accesstest.New(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(cluster.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster.Grant(accesstest.Right{User: "alice", Verb: access.Get})
	for _, tt := range accesstest.Doors {
		t.Run(tt.Name, func(t *testing.T) {
			cluster.Know("token", accesstest.Token{User: access.User{Name: "alice"}, Audiences: tt.Audiences})
			url, _, _ := run(t, cli.ServeOptions{
				Data: t.TempDir(), ClusterOptions: cli.ClusterOptions{Kubeconfig: path}, Auth: cli.AuthKubernetes, Audience: tt.Flag,
			})
			api, err := client.New(url, client.Options{Token: "token"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = api.Status(t.Context())
			if p := client.ProblemOf(err); tt.Open && err != nil || !tt.Open && (p == nil || p.Status != http.StatusUnauthorized) {
				t.Errorf("the token is answered with %v, want that it is let in: %v", err, tt.Open)
			}
		})
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/api/access/accesstest"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/controller/cluster/clustertest"
	"github.com/self-scaling/self-scaling/controller/cluster/reach"
	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/test/programlog"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/filebucket"
)

const workload = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: prod, uid: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}}
    spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: prod, labels: {app: web, service: shop, app.kubernetes.io/servicecomponent: web}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: x, controller: true}]}
spec: {containers: [{name: a, resources: {requests: {cpu: 250m}}}]}
status: {phase: Running}
`

const installationFile = `name: self-scaling
engine: argo
schedules: {}
training: {}
`

// started is a program that runs.
type started struct {
	api, metrics string // addresses
	log          *programlog.Buffer
	end          func() error
}

var addresses = regexp.MustCompile(`"address":"([^"]+)","metrics":"([^"]+)"`)

func start(t *testing.T, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &started{log: &programlog.Buffer{}}
	done := make(chan error, 1)
	args = append([]string{"-listen", "127.0.0.1:0", "-metrics-listen", "127.0.0.1:0", "-log-format", "json", "-namespace", "self-scaling", "-cache", t.TempDir()}, args...)
	go func() { done <- run(ctx, args, io.Discard, p.log) }()
	p.end = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { p.end() })
	for {
		if m := addresses.FindStringSubmatch(p.log.String()); m != nil {
			p.api, p.metrics = m[1], m[2]
			return p
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("the program ended: %v\n%s", err, p.log)
		case <-time.After(time.Millisecond):
		}
	}
}

// installed is a store with data, and an installation.yaml.
func installed(t *testing.T) (storeURL, config string) {
	t.Helper()
	dir := t.TempDir()
	storeURL = "file://" + filepath.Join(dir, "store")
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o755); err != nil {
		t.Fatal(err)
	}
	store, err := artifact.Open(t.Context(), storeURL, artifact.Drivers{"file": filebucket.Open}, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := []schemas.ComponentID{apitest.Shop("web")}
	apitest.Samples(t, store, ids, apitest.Now, 1)
	apitest.Forecasts(t, store, ids, apitest.Now)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "installation.yaml")
	if err := os.WriteFile(config, []byte(installationFile), 0o644); err != nil {
		t.Fatal(err)
	}
	return storeURL, config
}

func newCluster(t *testing.T) *clustertest.Server {
	t.Helper()
	kinds := append(clustertest.Kinds(), clustertest.Kind{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Resource: "workflows"})
	server := clustertest.New(t, kinds...)
	server.Load("kubectl", workload)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(server.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	return server
}

func (p *started) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// ready waits until the program has read everything once.
func (p *started) ready(t *testing.T) {
	t.Helper()
	for {
		if status, _ := p.do(t, "GET", "/v1/health", ""); status == 200 {
			return
		}
	}
}

func TestProgramAnswersForAnInstallation(t *testing.T) {
	cluster := newCluster(t)
	store, config := installed(t)
	p := start(t, "-store", store, "-config", config, "-auth", "none", "-argo-ui", "https://argo.example.org")
	p.ready(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/livez", "", 200, "ok"},
		{"GET", "/readyz", "", 200, "ok"},
		{"GET", "/v1/addServices", "", 200, `"Services added or updated sucesfully"`},
		{"GET", "/v1/services", "", 200, `{"services":[{"name":"shop","managed":false,"namespace":"prod","serviceComponents":[{"name":"web","managed":false}]`},
		{"POST", "/v1/services", `{"services":[{"name":"shop","managed":true,"serviceComponents":[{"name":"web","managed":true}]}]}`, 200, `"services managed updates sucessfully"`},
		{"GET", "/v1/components/shop/web", "", 200, `"mode":"Auto"`},
		{"GET", "/v1/forecasts/shop/web", "", 200, `"unit":"cores"`},
		{"GET", "/v1/history/shop/web?from=2026-03-09T00:00:00Z&to=2026-03-09T12:00:00Z", "", 200, `"count":15`},
		{"GET", "/v1/decisions", "", 200, `"minReplicas":3`},
		{"POST", "/v1/train-values", `{"Future_data":"2","History_data":"7"}`, 200, `"Train values changed"`},
		{"GET", "/v1/train-values", "", 200, `{"Future_data":"2","History_data":"7"}`},
		{"POST", "/v1/runs", `{"pipeline":"infer"}`, 202, `"uiUrl":"https://argo.example.org/workflows/self-scaling/run-infer-rest-`},
		{"GET", "/v1/runs", "", 200, `"pipeline":"infer"`},
		{"POST", "/v1/deleteData", "", 200, "0"},
		{"GET", "/", "", 200, "<!doctype html"},
	} {
		if status, body := p.do(t, tt.method, tt.path, tt.body); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s is answered with %d %.500s, want %d %s", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
	if got := cluster.Get("scalingpolicies", "prod", "shop").Object["spec"].(map[string]any)["mode"]; got != "Auto" {
		t.Errorf("the policy's mode is %v, want Auto", got)
	}
	if got := len(cluster.List("workflows")); got != 1 {
		t.Errorf("there are %d Workflows, want 1", got)
	}
	response, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`selfscaling_http_request_duration_seconds_count{code="200",method="GET",route="/v1/components/{service}/{component}"} 1`,
		`selfscaling_api_components{mode="Auto"} 1`, `selfscaling_api_runs_submitted_total{pipeline="infer"} 1`,
		`selfscaling_objectstore_operation_duration_seconds_count{op="get",result="ok"}`, `selfscaling_build_info{goversion="go1.`,
		`selfscaling_data_timestamp_seconds{kind="forecasts"} 1.7730576e+09`, `selfscaling_api_stale_seconds 0`,
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if err := p.end(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	for _, want := range []string{`"msg":"audit"`, `"what":"shop managed true"`, `-auth none`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, p.log)
		}
	}
}

func TestProgramForJobs(t *testing.T) {
	newCluster(t)
	store, config := installed(t)
	var jobs strings.Builder
	for _, name := range []string{workflows.CollectorJob, workflows.DatasetJob, workflows.TrainerJob, workflows.InferenceJob} {
		fmt.Fprintf(&jobs, "  %s: {image: example.org/%s:1}\n", name, name)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(installationFile, "argo", "jobs", 1)+"jobs:\n"+jobs.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-store", store, "-config", config, "-auth", "none")
	p.ready(t)
	if status, body := p.do(t, "POST", "/v1/runs", `{"pipeline":"infer"}`); status != 202 || !strings.Contains(body, `"workflow":{"namespace":"self-scaling","name":"run-infer-rest`) {
		t.Errorf("a run is answered with %d %s", status, body)
	}
}

func TestProgramStartsWithoutAStore(t *testing.T) {
	server := newCluster(t)
	_, config := installed(t)
	// Nobody listens there.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	p := start(t, "-store", "s3://bucket/prefix?insecure=true&endpoint="+nobody, "-config", config, "-auth", "none")
	for {
		if status, _ := p.do(t, "GET", "/readyz", ""); status == 200 {
			break
		}
	}
	if status, body := p.do(t, "GET", "/v1/services", ""); status != 200 || !strings.Contains(body, "shop") {
		t.Errorf("services are answered with %d %s", status, body)
	}
	server.Refuse(http.StatusServiceUnavailable)
	if status, _ := p.do(t, "GET", "/livez", ""); status != 200 {
		t.Errorf("livez is %d", status)
	}
	if status, body := p.do(t, "POST", "/v1/train-values", `{"Future_data":1,"History_data":5}`); status != 503 {
		t.Errorf("a change without a cluster is answered with %d %s", status, body)
	}
}

// certificate writes a new certificate and its key.
func certificate(t *testing.T, dir, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

func TestProgramSpeaksTLS(t *testing.T) {
	newCluster(t)
	store, config := installed(t)
	cert, key, pool := certificate(t, t.TempDir(), "first")
	p := start(t, "-store", store, "-config", config, "-tls-cert", cert, "-tls-key", key)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	response, err := client.Get("https://" + p.api + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", response.StatusCode)
	}
}

// What a token is made for is asked the same way as selfscale serve does.
func TestProgramLetsInTokensByTheirAudience(t *testing.T) {
	cluster := accesstest.New(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(cluster.Kubeconfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	cluster.Grant(accesstest.Right{User: "alice", Verb: access.Get})
	store, config := installed(t)
	for _, tt := range accesstest.Doors {
		t.Run(tt.Name, func(t *testing.T) {
			cluster.Know("token", accesstest.Token{User: access.User{Name: "alice"}, Audiences: tt.Audiences})
			p := start(t, "-store", store, "-config", config, "-audience", tt.Flag)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.api+"/v1/status", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer token")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[tt.Open]; response.StatusCode != want {
				t.Errorf("the token is answered with %d, want %d", response.StatusCode, want)
			}
		})
	}
	if reach.Audience != access.Audience {
		t.Errorf("tokens are made for %q, and %q is asked for", reach.Audience, access.Audience)
	}
}

func TestProgramSaysWhatIsWrong(t *testing.T) {
	_, config := installed(t)
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"-namespace", "x"}, "flag -store must name the store", 78},
		{[]string{"-store", "file:///tmp"}, "flag -namespace must name the namespace", 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-auth", "ldap"}, `flag -auth must be kubernetes or none, but is "ldap"`, 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-auth", "none", "-audience", "a"}, "flag -audience goes with -auth kubernetes", 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-tls-cert", "a"}, "must be given together", 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-tls-cert", "a", "-tls-key", "b"}, "certificate: ", 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-listen", "nowhere"}, "flag -listen: ", 78},
		{[]string{"-store", "file:///tmp", "-namespace", "x", "-listen", "127.0.0.1:0", "-metrics-listen", "127.0.0.1:0", "-config", "/nonexistent"}, "installation: ", 78},
		{[]string{"-store", "ftp://x", "-namespace", "x", "-listen", "127.0.0.1:0", "-metrics-listen", "127.0.0.1:0", "-config", config}, "schemes", 78},
		{[]string{"-log-level", "loud"}, "flag -log-level", 78},
		{[]string{"extra"}, `arguments must be flags, but there is "extra"`, 78},
		{[]string{"-speed"}, "(-help lists the flags)", 78},
	} {
		var stderr programlog.Buffer // libraries may go on logging to it
		newCluster(t)
		if code := program(tt.args, io.Discard, &stderr); code != tt.code || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v ends with %d and %q, want %d and %q", tt.args, code, stderr.String(), tt.code, tt.want)
		}
	}
	var stdout bytes.Buffer
	if code := program([]string{"-help"}, &stdout, io.Discard); code != 0 || !strings.Contains(stdout.String(), "-tls-cert") {
		t.Errorf("-help ends with %d and %q", code, stdout.String())
	}
	stdout.Reset()
	if code := program([]string{"-version"}, &stdout, io.Discard); code != 0 || !strings.HasPrefix(stdout.String(), "api ") {
		t.Errorf("-version ends with %d and %q", code, stdout.String())
	}
}

// TestThousandDuplicatesAcrossRestarts sends one request a thousand times, fifty at a
// time, by clients that try again where there is no answer, while the program is ended
// and started anew. What stands for the run is in the cluster, and there is one.
func TestThousandDuplicatesAcrossRestarts(t *testing.T) {
	const requests, clients, restarts = 1000, 50, 5
	cluster := newCluster(t)
	store, config := installed(t)
	listen := "127.0.0.1:0"
	launch := func() *started {
		return start(t, "-store", store, "-config", config, "-auth", "none", "-rate-writes", "-1", "-listen", listen)
	}
	p := launch()
	listen = p.api // from now on the same
	var mu sync.Mutex
	ids, broken := map[string]int{}, 0
	turns := make(chan struct{}, requests) // those that have been answered, for who restarts
	calls := make(chan int)
	once := func() (id string, err error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listen+"/v1/runs", strings.NewReader(`{"pipeline":"train"}`))
		if err != nil {
			return "", err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "nightly")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		var run struct{ ID string }
		if err := json.NewDecoder(response.Body).Decode(&run); err != nil {
			return "", err
		}
		if response.StatusCode != http.StatusAccepted {
			return "", fmt.Errorf("status %d", response.StatusCode)
		}
		return run.ID, nil
	}
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range calls {
				for t.Context().Err() == nil {
					id, err := once()
					mu.Lock()
					if err != nil {
						broken++
					} else {
						ids[id]++
					}
					mu.Unlock()
					if err == nil {
						turns <- struct{}{}
						break
					}
				}
			}
		})
	}
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		for range restarts {
			for range requests / (restarts + 1) {
				<-turns
			}
			if err := p.end(); err != nil {
				t.Errorf("the program ended with %v", err)
			}
			p = launch()
		}
	}()
	for i := range requests {
		calls <- i
	}
	close(calls)
	group.Wait()
	<-restarted
	if n := len(cluster.List("workflows")); n != 1 || len(ids) != 1 {
		t.Errorf("there are %d Workflows and %d ids, want one: %v", n, len(ids), ids)
	}
	for id, n := range ids {
		if n != requests {
			t.Errorf("run %s was answered with %d times, want %d", id, n, requests)
		}
	}
	t.Logf("%d attempts were broken off or refused", broken)
}

func TestProgramSendsTraces(t *testing.T) {
	var sent atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			sent.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	newCluster(t)
	store, config := installed(t)
	p := start(t, "-store", store, "-config", config, "-auth", "none", "-log-level", "debug")
	p.ready(t)
	if status, _ := p.do(t, "GET", "/v1/status", ""); status != 200 {
		t.Errorf("status is %d", status)
	}
	if err := p.end(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if sent.Load() == 0 {
		t.Error("no traces were sent")
	}
	if !strings.Contains(p.log.String(), `"trace":"`) {
		t.Errorf("the log does not name the traces:\n%s", p.log)
	}
}

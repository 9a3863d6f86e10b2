package s3bucket_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"go.uber.org/goleak"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

func TestMain(m *testing.M) {
	minio.DefaultRetryUnit = time.Millisecond // the client's own pause after a failure
	goleak.VerifyTestMain(m)
}

const (
	accessKey = "AKIASECRETACCESSKEY"
	secretKey = "verysecretkey"
)

// config is of a bucket on a server at address, that is impatient.
func config(address string) s3bucket.Config {
	return s3bucket.Config{
		Bucket:      "store",
		Endpoint:    strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "https://"),
		Insecure:    !strings.HasPrefix(address, "https://"),
		Timeout:     10 * time.Second,
		Attempts:    3,
		Backoff:     time.Microsecond,
		Credentials: credentials.NewStaticV4(accessKey, secretKey, ""),
	}
}

func newBucket(t *testing.T, c s3bucket.Config) *s3bucket.Bucket {
	t.Helper()
	b, err := s3bucket.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// calls makes each of a bucket's calls.
func calls(b artifact.Bucket) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := b.Get(ctx, "data/x"); return err },
		"create": func(ctx context.Context) error { return b.Create(ctx, "data/x", []byte("x")) },
		"put":    func(ctx context.Context) error { return b.Put(ctx, "data/x", []byte("x")) },
		"delete": func(ctx context.Context) error { return b.Delete(ctx, "data/x") },
		"list": func(ctx context.Context) error {
			return b.List(ctx, "data/", func(artifact.ObjectInfo) bool { return true })
		},
	}
}

func wantError(t *testing.T, call string, err error, code schemas.Code, text string) {
	t.Helper()
	if schemas.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: error is %v with code %s, want one with %q and code %s", call, err, schemas.CodeOf(err), text, code)
	}
	for _, secret := range []string{accessKey, secretKey, "<Message>", "told in confidence"} {
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: error %v repeats %q", call, err, secret)
		}
	}
}

func TestServerErrors(t *testing.T) {
	for _, test := range []struct {
		name     string
		status   int
		code     string // of the answer's XML; none, if empty
		want     schemas.Code
		text     string
		attempts int32
	}{
		{"credentials without the right", 403, "AccessDenied", schemas.CodeInvalidConfig, "HTTP status 403, AccessDenied: the server refuses these credentials", 4}, // deniedAttempts
		{"a wrong secret", 403, "SignatureDoesNotMatch", schemas.CodeInvalidConfig, "HTTP status 403, SignatureDoesNotMatch", 1},
		{"an unknown access key", 403, "InvalidAccessKeyId", schemas.CodeInvalidConfig, "HTTP status 403, InvalidAccessKeyId", 1},
		{"an expired token", 400, "ExpiredToken", schemas.CodeUnavailable, "ExpiredToken, 3 attempts", 3},
		{"a bucket that does not exist", 404, "NoSuchBucket", schemas.CodeInvalidConfig, "the bucket does not exist", 1},
		{"a bucket elsewhere", 301, "PermanentRedirect", schemas.CodeInvalidConfig, "HTTP status 301, PermanentRedirect", 1},
		{"an internal error", 500, "InternalError", schemas.CodeUnavailable, "HTTP status 500, InternalError, 3 attempts", 3},
		{"an overloaded server", 503, "SlowDown", schemas.CodeUnavailable, "HTTP status 503, SlowDown, 3 attempts", 3},
		{"too many requests", 429, "TooManyRequests", schemas.CodeUnavailable, "HTTP status 429", 3},
		{"writers that keep colliding", 409, "ConditionalRequestConflict", schemas.CodeUnavailable, "ConditionalRequestConflict, 3 attempts", 3},
		{"a gateway without a server", 502, "", schemas.CodeUnavailable, "HTTP status 502", 3},
		{"a server that lacks a feature", 501, "NotImplemented", schemas.CodeInvalidConfig, "lacks what the store needs", 1},
		{"a full server", 507, "XMinioStorageFull", schemas.CodeUnavailable, "the store is full", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(test.status)
				if test.code != "" && r.Method != http.MethodHead {
					fmt.Fprintf(w, "<Error><Code>%s</Code><Message>told in confidence: %s</Message></Error>", test.code, r.Header.Get("Authorization"))
				}
			}))
			defer server.Close()
			b := newBucket(t, config(server.URL))
			for name, call := range calls(b) {
				requests.Store(0)
				wantError(t, name, call(t.Context()), test.want, test.text)
				if n := requests.Load(); n != test.attempts {
					t.Errorf("%s: %d requests, want %d", name, n, test.attempts)
				}
			}
		})
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		server := httptest.NewServer(nil)
		server.Close()
		for name, call := range calls(newBucket(t, config(server.URL))) {
			wantError(t, name, call(t.Context()), schemas.CodeUnavailable, "connection refused")
		}
	})
	t.Run("connections are cut", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer server.Close()
		for name, call := range calls(newBucket(t, config(server.URL))) {
			wantError(t, name, call(t.Context()), schemas.CodeUnavailable, "3 attempts")
		}
	})
	t.Run("the server takes requests and is silent", func(t *testing.T) {
		hang := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
		defer server.Close()
		defer close(hang)
		c := config(server.URL)
		c.Timeout = 20 * time.Millisecond
		for name, call := range calls(newBucket(t, c)) {
			wantError(t, name, call(t.Context()), schemas.CodeUnavailable, "no progress for 20ms")
		}
	})
	t.Run("the server stops in the middle of an object", func(t *testing.T) {
		hang := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-hang
		}))
		defer server.Close()
		defer close(hang)
		c := config(server.URL)
		c.Timeout = 20 * time.Millisecond
		_, err := newBucket(t, c).Get(t.Context(), "data/x")
		wantError(t, "get", err, schemas.CodeUnavailable, "no progress for 20ms")
	})
	t.Run("the connection ends in the middle of an object", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			io.WriteString(w, "half")
		}))
		defer server.Close()
		_, err := newBucket(t, config(server.URL)).Get(t.Context(), "data/x")
		wantError(t, "get", err, schemas.CodeUnavailable, "unexpected EOF")
	})
	t.Run("the caller gives up", func(t *testing.T) {
		hang := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
		defer server.Close()
		defer close(hang)
		for name, call := range calls(newBucket(t, config(server.URL))) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error is %v, want context.DeadlineExceeded", name, err)
			}
			cancel()
		}
	})
}

func TestTLS(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	secure := httptest.NewUnstartedServer(answer)
	secure.Config.ErrorLog = discard
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(answer)
	defer plain.Close()

	b := newBucket(t, config(secure.URL))
	wantError(t, "unknown authority", b.Create(t.Context(), "data/x", nil), schemas.CodeInvalidConfig, "certificate")
	b = newBucket(t, config("https://"+strings.TrimPrefix(plain.URL, "http://")))
	wantError(t, "plain HTTP", b.Create(t.Context(), "data/x", nil), schemas.CodeInvalidConfig, "insecure=true")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(secure.URL)
	c.CA = ca
	b = newBucket(t, c)
	if err := b.Create(t.Context(), "data/x", []byte("x")); err != nil {
		t.Errorf("create with the server's authority: %v", err)
	}
}

// lossy does requests and loses the answers that it is told to.
type lossy struct {
	mu      sync.Mutex
	lose    func(i int, r *http.Request) (before, after bool)
	i       int
	request http.RoundTripper
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	before, after := l.lose(l.i, r)
	l.i++
	l.mu.Unlock()
	if before {
		return nil, errors.New("connection refused")
	}
	answer, err := l.request.RoundTrip(r)
	if err == nil && after {
		answer.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return answer, err
}

func TestCreateKnowsItsOwnObjectAgain(t *testing.T) {
	address := fakeServer(t)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	puts := 0
	c := config(address)
	c.Transport = &lossy{request: transport, lose: func(_ int, r *http.Request) (bool, bool) {
		if r.Method != http.MethodPut {
			return false, false
		}
		puts++
		return false, puts%2 == 1
	}}
	b := newBucket(t, c)
	if err := b.Create(t.Context(), "heads/1", []byte("mine")); err != nil {
		t.Errorf("create whose first answer is lost: %v", err)
	}
	if puts != 2 {
		t.Errorf("create made %d requests, want 2", puts)
	}
	// Another's object is another's, even with the same bytes.
	if err := b.Create(t.Context(), "heads/1", []byte("mine")); !errors.Is(err, artifact.ErrExists) {
		t.Errorf("create over another's object whose first answer is lost: error is %v, want ErrExists", err)
	}
}

// Whichever request is lost, or its answer, and however often a run must be begun
// anew: it ends with the same bytes.
func TestRunIsRepeatableAfterAnyLostRequest(t *testing.T) {
	undisturbed := membucket.New(nil)
	if err := artifacttest.Run(t.Context(), artifact.New(undisturbed, artifact.Options{}), 0); err != nil {
		t.Fatal(err)
	}
	want := artifacttest.Contents(t, undisturbed)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	// run makes a run in which request number lost, or its answer, is lost. It
	// returns how many requests there were, and the run's error.
	run := func(address string, attempts, lost int, answer bool) (int, error) {
		l := &lossy{request: transport, lose: func(i int, _ *http.Request) (bool, bool) {
			return i == lost && !answer, i == lost && answer
		}}
		c := config(address)
		c.Attempts, c.Transport = attempts, l
		err := artifacttest.Run(t.Context(), artifact.New(newBucket(t, c), artifact.Options{}), 0)
		return l.i, err
	}
	requests, err := run(fakeServer(t), 1, -1, false)
	if err != nil {
		t.Fatal(err)
	}
	for lost := range requests {
		for _, answer := range []bool{false, true} {
			for _, attempts := range []int{1, 3} {
				name := fmt.Sprintf("request %d of %d is lost (only its answer: %t), with %d attempts", lost, requests, answer, attempts)
				address := fakeServer(t)
				_, err := run(address, attempts, lost, answer)
				if err != nil && attempts > 1 {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := run(address, 1, -1, false); err != nil {
					t.Errorf("%s: begun anew: %v", name, err)
				}
				if diff := cmp.Diff(want, artifacttest.Contents(t, newBucket(t, config(address)))); diff != "" {
					t.Fatalf("%s: objects (-undisturbed +got):\n%s", name, diff)
				}
			}
		}
	}
}

func TestListGoesOnAfterAFault(t *testing.T) {
	address := fakeServer(t)
	var want []string
	healthy := newBucket(t, config(address))
	for i := range 2500 {
		want = append(want, fmt.Sprintf("heads/%04d", i))
		if err := healthy.Create(t.Context(), want[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := config(address)
	c.Transport = &lossy{request: transport, lose: func(i int, _ *http.Request) (bool, bool) { return i%2 == 0, false }}
	var got []string
	err := newBucket(t, c).List(t.Context(), "heads/", func(o artifact.ObjectInfo) bool { got = append(got, o.Key); return true })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestBadURLs(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	for _, test := range []struct{ name, url, want string }{
		{"no bucket", "s3:///prefix", "must have the form s3://bucket/prefix"},
		{"an unknown parameter", "s3://store?secretKey=verysecretkey", `but not "secretKey"`},
		{"a parameter twice", "s3://store?region=a&region=b", `"region" once, but has it 2 times`},
		{"an endpoint with a scheme", "s3://store?endpoint=http://localhost:9000", "endpoint must be host or host:port without a scheme"},
		{"an endpoint with a password", "s3://store?endpoint=user:verysecretkey@localhost", "endpoint must be host or host:port without"},
		{"an endpoint with a bad port", "s3://store?endpoint=localhost:99999", "endpoint must be host or host:port, but is"},
		{"insecure that is neither", "s3://store?insecure=maybe", `insecure must be true or false, but is "maybe"`},
		{"a timeout without a unit", "s3://store?timeout=30", `timeout must be a positive duration as 30s, but is "30"`},
		{"a timeout below zero", "s3://store?timeout=-1s", "timeout must be a positive duration"},
		{"a prefix that climbs", "s3://store/../x", "prefix must be a key"},
		{"a file of authorities that is missing", "s3://store?ca=/nonexistent", "file of authorities cannot be read"},
		{"a file of authorities that is none", "s3://store?ca=/dev/null", "must hold certificates in PEM form"},
		{"a port in the bucket's place", "s3://localhost:9000/store", "bucket's name must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s3bucket.Open(t.Context(), u)
			wantError(t, "open", err, schemas.CodeInvalidConfig, test.want)
		})
	}
}

func TestCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_PROFILE",
		"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
	// A metadata service that has no role.
	metadata := httptest.NewServer(http.NotFoundHandler())
	defer metadata.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.URL)
	u, _ := url.Parse("s3://store?endpoint=127.0.0.1:1&insecure=true")

	_, err := s3bucket.Open(t.Context(), u)
	wantError(t, "open", err, schemas.CodeInvalidConfig, "no credentials found: set AWS_ACCESS_KEY_ID")

	file := "[default]\naws_access_key_id = " + accessKey + "\naws_secret_access_key = " + secretKey + "\n"
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := s3bucket.Open(t.Context(), u)
	if err != nil {
		t.Fatalf("open with a credentials file: %v", err)
	}
	b.Close()
}

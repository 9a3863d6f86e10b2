package s3bucket

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
)

// Config says where a bucket is and how to reach it. Only Bucket is needed.
type Config struct {
	Bucket string
	// Prefix goes before every key, with a '/' between them.
	Prefix string
	// Endpoint is host or host:port of the server; AWS where empty.
	Endpoint string
	// Region is the bucket's; AWS_REGION or AWS_DEFAULT_REGION where empty, then
	// us-east-1, or for AWS what its server says.
	Region string
	// Insecure is for plain HTTP.
	Insecure bool
	// CA names a PEM file with authorities to trust beside the system's.
	CA string
	// Timeout is how long a server may neither send nor take anything; 30 s
	// where zero.
	Timeout time.Duration
	// Attempts is how often a request is made in all while it fails for a
	// temporary reason; 4 where zero.
	Attempts int
	// Backoff is the pause before the second attempt, and doubles; 200 ms where
	// zero.
	Backoff time.Duration
	// Credentials replace the search that the package's comment tells of.
	Credentials *credentials.Credentials
	// Transport replaces the HTTP transport, CA included. For tests.
	Transport http.RoundTripper
}

// parse reads a store URL.
func parse(u *url.URL) (Config, error) {
	q, err := artifact.CheckQuery(u, "endpoint", "region", "insecure", "ca", "timeout")
	if err != nil {
		return Config{}, err
	}
	if u.Opaque != "" || u.Host == "" {
		return Config{}, schemas.Errorf(schemas.CodeInvalidConfig, "s3: store URL must have the form s3://bucket/prefix?endpoint=host:port")
	}
	c := Config{
		Bucket:   u.Host,
		Prefix:   strings.Trim(u.Path, "/"),
		Endpoint: q.Get("endpoint"),
		Region:   q.Get("region"),
		CA:       q.Get("ca"),
	}
	switch v := q.Get("insecure"); v {
	case "", "false":
	case "true":
		c.Insecure = true
	default:
		return Config{}, c.invalid("insecure must be true or false, but is %q", v)
	}
	if v := q.Get("timeout"); v != "" {
		c.Timeout, err = time.ParseDuration(v)
		if err != nil || c.Timeout <= 0 {
			return Config{}, c.invalid("timeout must be a positive duration as 30s, but is %q", v)
		}
	}
	return c, nil
}

// complete checks the configuration and fills in what was left open.
func (c Config) complete() (Config, error) {
	if c.Bucket == "" || strings.ContainsAny(c.Bucket, ":/") {
		return c, c.invalid("bucket's name must be letters, digits, '-' and '.', but is %q", c.Bucket)
	}
	if c.Prefix != "" {
		if err := artifact.ValidateKey(c.Prefix); err != nil || len(c.Prefix) > 100 {
			return c, c.invalid("prefix must be a key of at most 100 bytes, but is %q", c.Prefix)
		}
	}
	if strings.ContainsAny(c.Endpoint, "/@?#") {
		// Not repeated: what has an '@' may hold a password.
		return c, c.invalid("endpoint must be host or host:port without a scheme, a user or a path")
	}
	if c.Endpoint != "" {
		if host, port, err := net.SplitHostPort(c.Endpoint); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
				return c, c.invalid("endpoint must be host or host:port, but is %q", c.Endpoint)
			}
		}
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if c.Region == "" {
			c.Region = os.Getenv(name)
		}
	}
	if c.Endpoint == "" {
		c.Endpoint = "s3.amazonaws.com"
	} else if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	if c.Backoff == 0 {
		c.Backoff = 200 * time.Millisecond
	}
	if c.Transport == nil {
		t, err := c.transport()
		if err != nil {
			return c, err
		}
		c.Transport = t
	}
	if c.Credentials == nil {
		c.Credentials = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.EnvMinio{},
			&credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
		})
	}
	return c, nil
}

func (c Config) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: min(c.Timeout, 5*time.Second), KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: min(c.Timeout, 10*time.Second),
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     time.Minute,
		// Objects are returned as they are stored.
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if c.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, c.invalid("file of authorities cannot be read: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, c.invalid("file of authorities %s must hold certificates in PEM form", c.CA)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// invalid makes an error about the configuration.
func (c Config) invalid(format string, args ...any) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, "s3 store %s: "+format, append([]any{c.Bucket}, args...)...)
}

package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/schemas"
)

// renew writes a new certificate for a name, and its key, as of an instant.
func renew(t *testing.T, dir, name string, at time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestCertificateIsReadAgain asks for TLS connections while the certificate is renewed,
// well and wrongly.
func TestCertificateIsReadAgain(t *testing.T) {
	dir, at := t.TempDir(), time.Now().Add(-time.Hour)
	cert, key := renew(t, dir, "first", at)
	var log bytes.Buffer
	c, err := NewCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.every = 0 // look each time
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, http.NotFoundHandler(), On{Listener: listener, Certificate: c})
	}()
	shown := func() string {
		t.Helper()
		// What is asked is which certificate is shown, not whether to believe it.
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "first" {
		t.Errorf("at first that of %q is shown", got)
	}
	renew(t, dir, "second", at.Add(time.Minute))
	if got := shown(); got != "second" {
		t.Errorf("after the renewal that of %q is shown", got)
	}
	// A renewal that is half written, or wrong: the one before goes on.
	if err := os.WriteFile(key, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "second" || !strings.Contains(log.String(), "cannot be used") {
		t.Errorf("with a wrong key that of %q is shown; log: %s", got, log.String())
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "second" {
		t.Errorf("without files that of %q is shown", got)
	}
	renew(t, dir, "third", at.Add(2*time.Minute))
	if got := shown(); got != "third" {
		t.Errorf("once it is mended that of %q is shown", got)
	}
	if _, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("an old version of TLS is spoken")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestCertificatesThatCannotBe(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	cert, _ := renew(t, first, "first", time.Now())
	_, key := renew(t, second, "second", time.Now())
	for name, files := range map[string][2]string{"of another key": {cert, key}, "that is not there": {filepath.Join(first, "none"), key}} {
		if _, err := NewCertificate(files[0], files[1], slog.New(slog.DiscardHandler)); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}
}

func TestListenerThatFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := Serve(t.Context(), http.NotFoundHandler(), On{Listener: listener}); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("a listener that is closed: %v", err)
	}
}

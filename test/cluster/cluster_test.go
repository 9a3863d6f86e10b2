package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMountsBelow(t *testing.T) {
	mounts := `proc /proc proc rw 0 0
tmpfs /state/kubelet/pods/1/volume tmpfs rw 0 0
overlay /run/x/rootfs overlay rw 0 0
tmpfs /state/kubelet/pods/1/volume/inner tmpfs rw 0 0
tmpfs /statement tmpfs rw 0 0
`
	want := []string{"/state/kubelet/pods/1/volume/inner", "/run/x/rootfs", "/state/kubelet/pods/1/volume"}
	if diff := cmp.Diff(want, mountsBelow(mounts, "/state", "/run/x")); diff != "" {
		t.Errorf("mounts, the inner ones first (-want +got):\n%s", diff)
	}
}

func TestTools(t *testing.T) {
	for _, argo := range []string{"v4.1.4", "v3.7.18"} {
		folders := map[string]bool{}
		for _, tool := range tools(argo) {
			if folders[tool.folder()] {
				t.Errorf("Argo %s: two tools are kept in %s", argo, tool.folder())
			}
			folders[tool.folder()] = true
			if tool.module == "" {
				continue
			}
			mod, err := os.ReadFile(filepath.Join("tools", tool.module, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(mod), tool.pkg) {
				t.Errorf("%s does not pin %s", tool.module, tool.pkg)
			}
			if !strings.Contains(string(mod), " "+tool.version+"\n") && !strings.Contains(string(mod), " "+tool.version+" // indirect") {
				t.Errorf("%s does not require version %s of %s", tool.module, tool.version, tool.name)
			}
		}
	}
}

// What a cluster's parts trust each other by, held against crypto/x509's verdict.
func TestWritePKI(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := writePKI(dir, now); err != nil {
		t.Fatal(err)
	}
	read := func(name string) *x509.Certificate {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	roots := x509.NewCertPool()
	roots.AddCert(read("ca.crt"))
	for _, id := range identities {
		cert := read(id.file + ".crt")
		for _, host := range append(id.ips, id.dnsNames...) {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: host}); err != nil {
				t.Errorf("%s as a server at %s: %v", id.file, host, err)
			}
		}
		client := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := cert.Verify(client); err != nil {
			t.Errorf("%s as a client: %v", id.file, err)
		}
		if got := cert.Subject.CommonName; got != id.user {
			t.Errorf("%s speaks for %q, want %q", id.file, got, id.user)
		}
	}
	before := read("admin.crt")
	if err := writePKI(dir, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if !before.Equal(read("admin.crt")) {
		t.Error("a second call made the certificates anew")
	}
}

func TestDaemon(t *testing.T) {
	d := daemon{t.TempDir(), "sleeper"}
	if err := d.start("sleep", "60"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.stop(context.Background()) })
	pid := d.pid()
	if pid == 0 {
		t.Fatal("the daemon does not run")
	}
	if err := d.start("sleep", "60"); err != nil || d.pid() != pid {
		t.Errorf("a second start left process %d (error %v), want %d", d.pid(), err, pid)
	}
	if err := d.stop(t.Context()); err != nil || d.pid() != 0 {
		t.Errorf("after stop, process %d runs (error %v)", d.pid(), err)
	}
	if err := d.stop(t.Context()); err != nil {
		t.Errorf("stopping what does not run: %v", err)
	}
	t.Run("a process that has the id again is another one", func(t *testing.T) {
		if err := os.WriteFile(d.pidFile(), []byte("1 0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if pid := d.pid(); pid != 0 {
			t.Errorf("pid is %d, want 0", pid)
		}
	})
}

func TestAwait(t *testing.T) {
	t.Run("a daemon that has ended is told with what it logged", func(t *testing.T) {
		d := daemon{t.TempDir(), "broken"}
		if err := d.start("sh", "-c", "echo no such flag; exit 1"); err != nil {
			t.Fatal(err)
		}
		err := await(t.Context(), "it answers", time.Minute, []daemon{d}, func() error { return errors.New("refused") })
		for _, want := range []string{"waiting until it answers", "broken has ended", "refused", "no such flag"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want one with %q", err, want)
			}
		}
	})
	t.Run("a condition that holds at the third look", func(t *testing.T) {
		looks := 0
		err := poll(t.Context(), time.Minute, time.Microsecond, func() error {
			if looks++; looks < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || looks != 3 {
			t.Errorf("%d looks, error %v", looks, err)
		}
	})
	t.Run("a condition that never holds", func(t *testing.T) {
		err := poll(t.Context(), time.Millisecond, time.Microsecond, func() error { return errors.New("refused") })
		if err == nil || err.Error() != "not within 1ms: refused" {
			t.Errorf("error is %v", err)
		}
	})
}

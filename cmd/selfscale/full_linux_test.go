package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/self-scaling/self-scaling/workflows"
)

// A disk that is full is a small file system of the command's own, which nobody
// else sees.
func TestADiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "usage.csv")
	if err := os.WriteFile(file, usageCSV(usage()), 0o666); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	const notPermitted = 99
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `mount -t tmpfs -o size=128k tmpfs "$2" || exit 99
selfscale run --history "$1" --out "$2/out"; code=$?
ls -A "$2"; exit $code`, "sh", file, disk)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || exit.ExitCode() == notPermitted {
		if err == nil {
			t.Fatalf("the command ended well on a full disk: %s", &stdout)
		}
		t.Skipf("this system lets nobody mount a small disk: %v %s", err, &stderr)
	}
	// A slow machine is told of progress first.
	got := stderr.String()
	if want := "selfscale: output folder " + disk + "/out: no space left on device\n"; !strings.HasSuffix(got, want) || strings.Count(got, "selfscale:") != 1 || exit.ExitCode() != workflows.ExitTemporary {
		t.Errorf("exit code %d with %q, want %d with %q", exit.ExitCode(), got, workflows.ExitTemporary, want)
	}
	if left := strings.TrimSpace(stdout.String()); left != "" {
		t.Errorf("%q is left on the disk, want nothing", left)
	}
}

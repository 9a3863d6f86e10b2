package filebucket_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
)

// A disk that is full is a child process's own file system of 1 MiB, which it
// mounts where nobody else sees it.
const fullDisk = "SELFSCALING_TEST_FULL_DISK"

func TestDiskThatIsFull(t *testing.T) {
	if folder := os.Getenv(fullDisk); folder != "" {
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=1m"); err != nil {
			fmt.Println("cannot mount:", err)
			return
		}
		testDiskThatIsFull(t, folder)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestDiskThatIsFull$", "-test.v")
	cmd.Env = append(os.Environ(), fullDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if (err != nil && cmd.ProcessState == nil) || strings.Contains(string(out), "cannot mount:") {
		t.Skipf("this system lets nobody mount a small disk: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func testDiskThatIsFull(t *testing.T, folder string) {
	b := openFolder(t, folder)
	var n int
	var err error
	for n = 0; n < 100 && err == nil; n++ {
		err = b.Create(t.Context(), fmt.Sprintf("data/%02d", n), make([]byte, 100<<10))
	}
	if schemas.CodeOf(err) != schemas.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "the disk is full") {
		t.Fatalf("error is %v with code %s, want one about the full disk", err, schemas.CodeOf(err))
	}
	objects := artifacttest.Contents(t, b)
	if len(objects) != n-1 {
		t.Errorf("there are %d objects, want the %d that fitted", len(objects), n-1)
	}
	for key, data := range objects {
		if len(data) != 100<<10 {
			t.Errorf("%s has %d bytes", key, len(data))
		}
	}
	if got := len(files(t, folder)); got != len(objects) {
		t.Errorf("there are %d files for %d objects", got, len(objects))
	}
	// A run that finds the disk full leaves a store that a reader can trust, and
	// goes on when there is room.
	s := artifact.New(b, artifact.Options{})
	if err := artifacttest.Run(t.Context(), s, 0); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("run: error is %v, want one about the full disk", err)
	}
	for key := range objects {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := artifacttest.CheckStore(t.Context(), b, ""); err != nil {
		t.Errorf("a reader found: %v", err)
	}
	if err := artifacttest.Run(t.Context(), s, 0); err != nil {
		t.Errorf("run with room: %v", err)
	}
}

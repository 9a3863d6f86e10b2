package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Images are named localhost/<name>:test: no registry is asked for them.
const pauseImage = "localhost/pause:test"

func imageName(name string) string { return "localhost/" + name + ":test" }

// goImage is the image that the Dockerfiles build in. A builder without a registry
// gets one made of this machine's Go.
const goImage = "localhost/golang:test"

// A product is what one Dockerfile builds: its targets, from the sources in context,
// both relative to the repository.
type product struct {
	dockerfile, context string
	targets             []string
}

var products = []product{
	{"Dockerfile.collector", ".", []string{"collector", "dataset", "inference", "controller", "api"}},
	{"Dockerfile.trainer", ".", []string{"trainer", "selfscale"}},
	{"test/load/Dockerfile", "test/load", []string{"load"}},
}

// A part is an image of one program of the cluster's own.
type part struct {
	name    string
	program string // path on this machine
	rest    string // of its Dockerfile, after the program is copied to /bin
}

// partImages imports the images of what runs in the cluster beside the project. An
// image that was made of the same program is left alone.
func (c *cluster) partImages(ctx context.Context) error {
	const busybox = "/bin/busybox"
	for _, p := range []part{
		{"pause", busybox, `ENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]`},
		{"busybox", busybox, "COPY busybox /bin/sh\nENV PATH=/bin\nUSER 65532:65532\nENTRYPOINT [\"/bin/sh\"]"},
		{"coredns", c.tool("coredns"), "USER 65532:65532\nENTRYPOINT [\"/bin/coredns\"]"},
		{"metrics-server", c.tool("metrics-server"), "USER 65532:65532\nENTRYPOINT [\"/bin/metrics-server\"]"},
		{"minio", c.tool("minio"), "USER 65532:65532\nENTRYPOINT [\"/bin/minio\"]"},
		{"workflow-controller", c.tool("workflow-controller"), "ENV PATH=/bin\nUSER 8737:8737\nENTRYPOINT [\"workflow-controller\"]"},
		{"argoexec", c.tool("argoexec"), "ENV PATH=/bin\nENTRYPOINT [\"argoexec\"]"},
		{"argocli", c.tool("argo"), "ENV PATH=/bin\nUSER 8737:8737\nENTRYPOINT [\"argo\"]"},
	} {
		program := filepath.Base(p.program)
		dockerfile := "FROM scratch\nCOPY " + program + " /bin/" + program + "\n" + p.rest + "\n"
		sum, err := hashFile(p.program, dockerfile)
		if err != nil {
			return err
		}
		mark := c.file("images/" + p.name + ".sum")
		if old, err := os.ReadFile(mark); err == nil && string(old) == sum && c.hasImage(ctx, p.name) {
			continue
		}
		dir := c.file("images/" + p.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(dir, program), p.program, 0o755); err != nil {
			return err
		}
		if err := c.write(map[string]string{"images/" + p.name + "/Dockerfile": dockerfile}); err != nil {
			return err
		}
		archive := dir + ".tar"
		if err := c.buildImage(ctx, p.name, archive, "--layers=false", "--no-cache", "--file", filepath.Join(dir, "Dockerfile"), "--timestamp=0", dir); err != nil {
			return err
		}
		if err := errors.Join(c.importImage(ctx, archive), os.RemoveAll(dir)); err != nil {
			return err
		}
		if err := os.WriteFile(mark, []byte(sum), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// productImages builds the project's images from their Dockerfiles and imports
// them where the cluster runs; their archives are in the cluster's folder images.
func (c *cluster) productImages(ctx context.Context) error {
	return c.eachProduct(ctx, func(p product, target string, args []string) error {
		began := time.Now()
		archive := c.file("images/" + target + ".tar")
		// What the targets of one Dockerfile share is built for the first of them.
		if err := c.buildImage(ctx, target, archive, append([]string{"--layers"}, args...)...); err != nil {
			return err
		}
		digest, err := hashFile(archive, "")
		if err != nil {
			return err
		}
		c.log("%s: archive sha256:%s in %.0f s", imageName(target), digest, time.Since(began).Seconds())
		if c.daemon("containerd").pid() == 0 {
			return nil
		}
		return c.importImage(ctx, archive)
	})
}

// reproduce builds the project's images once more, from nothing but the sources and
// Go's cache, and says which of them differ from those that productImages made.
func (c *cluster) reproduce(ctx context.Context) error {
	again := *c
	again.storage = "buildah-again" // where no layer of the first build is
	archive := c.file("images/again.tar")
	var differ []string
	err := again.eachProduct(ctx, func(p product, target string, args []string) error {
		if err := again.buildImage(ctx, target, archive, append([]string{"--layers"}, args...)...); err != nil {
			return err
		}
		first, err := hashFile(c.file("images/"+target+".tar"), "")
		if err != nil {
			return err
		}
		second, err := hashFile(archive, "")
		if err != nil {
			return err
		}
		c.log("%s: first sha256:%s, second sha256:%s", imageName(target), first, second)
		if first != second {
			differ = append(differ, target)
		}
		return nil
	})
	if err == nil && len(differ) > 0 {
		err = fmt.Errorf("two builds of the same sources differ: %s", strings.Join(differ, ", "))
	}
	return errors.Join(err, os.RemoveAll(archive), os.RemoveAll(c.file(again.storage)), os.RemoveAll(runDir+"/"+again.storage))
}

// eachProduct calls build for every image of the project, with the arguments that
// building it takes.
func (c *cluster) eachProduct(ctx context.Context, build func(p product, target string, args []string) error) error {
	if err := c.installPackages(ctx); err != nil {
		return err
	}
	if err := c.buildGoImage(ctx); err != nil {
		return err
	}
	var mounts []string
	for _, mount := range []struct{ variable, place string }{
		{"GOROOT", "/usr/local/go"}, {"GOMODCACHE", "/go/pkg/mod"}, {"GOCACHE", "/root/.cache/go-build"},
	} {
		out, err := output(ctx, command{dir: c.source}, "go", "env", mount.variable)
		if err != nil {
			return err
		}
		mounts = append(mounts, "--volume", strings.TrimSpace(out)+":"+mount.place)
	}
	epoch, version, err := c.revision(ctx)
	if err != nil {
		return err
	}
	for _, p := range products {
		for _, target := range p.targets {
			args := slices.Concat([]string{"--file", filepath.Join(c.source, p.dockerfile), "--target", target,
				"--timestamp", epoch, "--build-arg", "VERSION=" + version,
				"--build-arg", "GO_IMAGE=" + goImage,
			}, mounts, []string{filepath.Join(c.source, p.context)})
			if err := build(p, target, args); err != nil {
				return err
			}
		}
	}
	return nil
}

// revision returns what the images are stamped with: the start of 1970, or
// $SOURCE_DATE_EPOCH, in seconds since then, and the version. A time of the sources
// would make an image differ with the layers that an earlier commit left behind.
func (c *cluster) revision(ctx context.Context) (epoch, version string, err error) {
	if version = os.Getenv("VERSION"); version == "" {
		version, err = output(ctx, command{dir: c.source}, "git", "describe", "--tags", "--always", "--dirty")
	}
	return cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), "0"), strings.TrimSpace(version), err
}

const goDockerfile = `FROM scratch
LABEL go="VERSION"
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY busybox /bin/mkdir
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tmp /tmp
ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local HOME=/root
`

// buildGoImage makes goImage of a shell and the certificates. This machine's Go is
// not copied into it, but mounted where the image is used: the storage copies an image
// once for every instruction.
func (c *cluster) buildGoImage(ctx context.Context) error {
	version, err := output(ctx, command{dir: c.source}, "go", "env", "GOVERSION")
	if err != nil {
		return err
	}
	dockerfile := strings.ReplaceAll(goDockerfile, "VERSION", strings.TrimSpace(version))
	mark := c.file(c.storage + "/golang.sum")
	if old, err := os.ReadFile(mark); err == nil && string(old) == dockerfile {
		return nil
	}
	dir := c.file("images/golang")
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return err
	}
	if err := errors.Join(
		copyFile(filepath.Join(dir, "busybox"), "/bin/busybox", 0o755),
		copyFile(filepath.Join(dir, "ca-certificates.crt"), "/etc/ssl/certs/ca-certificates.crt", 0o644),
		c.write(map[string]string{"images/golang/Dockerfile": dockerfile})); err != nil {
		return err
	}
	if err := c.buildah(ctx, "bud", "--layers=false", "--tag", goImage, "--file", filepath.Join(dir, "Dockerfile"), dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), os.WriteFile(mark, []byte(dockerfile), 0o644))
}

// buildah runs buildah on the storage of its own in the cluster's folder.
func (c *cluster) buildah(ctx context.Context, args ...string) error {
	return run(ctx, command{dir: c.dir, nice: true}, "buildah", append([]string{"--root", c.file(c.storage), "--runroot", runDir + "/" + c.storage,
		"--storage-driver", "vfs"}, args...)...)
}

// buildImage builds an image into an archive.
func (c *cluster) buildImage(ctx context.Context, name, archive string, args ...string) error {
	tag := imageName(name)
	if err := c.buildah(ctx, slices.Concat([]string{"bud", "--isolation", "chroot", "--pull-never", "--tag", tag}, args)...); err != nil {
		return fmt.Errorf("building image %s: %w", tag, err)
	}
	if err := os.RemoveAll(archive); err != nil {
		return err
	}
	return c.buildah(ctx, "push", "--quiet", tag, "docker-archive:"+archive+":"+tag)
}

func (c *cluster) ctr(ctx context.Context, args ...string) (string, error) {
	return output(ctx, command{}, "ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
}

func (c *cluster) importImage(ctx context.Context, archive string) error {
	_, err := c.ctr(ctx, "images", "import", archive)
	return err
}

func (c *cluster) hasImage(ctx context.Context, name string) bool {
	out, err := c.ctr(ctx, "images", "ls", "-q", "name=="+imageName(name))
	return err == nil && strings.TrimSpace(out) != ""
}

// hashFile returns the SHA-256 of a file and of what else goes with it, in
// hexadecimal.
func hashFile(path, also string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	io.WriteString(h, also)
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

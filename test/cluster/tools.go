package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Versions of what the cluster runs. Argo's is chosen by the user.
const (
	kubernetesVersion    = "v1.34.3"
	etcdVersion          = "v3.6.4" // as tools/kubernetes/go.mod requires it
	metricsServerVersion = "v0.8.0" // as tools/kubernetes/go.mod requires it
	metricsServerPackage = "sigs.k8s.io/metrics-server/cmd/metrics-server"
	// The same server that test/minio runs.
	minioVersion   = "v0.0.0-20260212201848-7aac2a2c5b7c"
	minioPackage   = "github.com/minio/minio"
	helmVersion    = "v3.18.6" // as test/chart/go.mod requires it, which renders with it
	helmPackage    = "helm.sh/helm/v3/cmd/helm"
	corednsVersion = "v1.14.7" // as tools/coredns/go.mod requires it
	corednsPackage = "github.com/self-scaling/self-scaling/test/cluster/tools/coredns"
	kwokVersion    = "v0.8.0"
	kwokPackage    = "sigs.k8s.io/kwok/cmd/kwok"
)

// A tool is a binary that is built once per version and kept in the cache.
type tool struct {
	name, version string
	pkg           string // package of its main function
	module        string // folder of the module that pins it, as seen from tools; "": none, it is built as pkg@version
	ldflags       string
}

func (t tool) folder() string { return t.name + "-" + t.version }

// toolbox builds tools into dir/<tool>-<version>/<tool>.
type toolbox struct {
	dir    string // the cache
	source string // folder of the modules that pin tools
	log    func(format string, args ...any)
}

func (b toolbox) path(t tool) string { return filepath.Join(b.dir, t.folder(), t.name) }

// tools lists what a cluster with this version of Argo needs.
func tools(argo string) []tool {
	stamp := "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion
	var all []tool
	for _, name := range []string{"kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		all = append(all, tool{name, kubernetesVersion, "k8s.io/kubernetes/cmd/" + name, "kubernetes", stamp})
	}
	all = append(all, tool{"etcd", etcdVersion, "go.etcd.io/etcd/server/v3", "kubernetes", ""})
	module := argoModule(argo)
	for _, name := range []string{"argo", "argoexec", "workflow-controller"} {
		all = append(all, tool{name, argo, module + "/cmd/" + name, "argo-" + argoMajor(argo), "-X " + module + ".version=" + argo})
	}
	return append(all,
		tool{"metrics-server", metricsServerVersion, metricsServerPackage, "kubernetes", ""},
		tool{"minio", minioVersion, minioPackage, "", ""},
		tool{"coredns", corednsVersion, corednsPackage, "coredns", ""},
		tool{"helm", helmVersion, helmPackage, "../../chart", "-X helm.sh/helm/v3/internal/version.version=" + helmVersion})
}

// simulator is built only for the tests of scale: it plays the nodes of a large
// cluster.
var simulator = tool{"kwok", kwokVersion, kwokPackage, "", ""}

func argoMajor(version string) string { major, _, _ := strings.Cut(version, "."); return major }
func argoModule(version string) string {
	return "github.com/argoproj/argo-workflows/" + argoMajor(version)
}

// build builds the tools that the cache does not hold yet: those of one module one
// after the other, since they share most packages, and two modules at a time, so that
// one is compiled while the other is downloaded or linked. A binary is moved to its
// place whole, so that an interrupted build leaves nothing that looks like one.
func (b toolbox) build(ctx context.Context, all []tool) error {
	var modules [][]tool
	for _, t := range all {
		switch static, err := isStatic(b.path(t)); {
		case err == nil && static:
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if i := slices.IndexFunc(modules, func(m []tool) bool { return t.module != "" && m[0].module == t.module }); i >= 0 {
			modules[i] = append(modules[i], t)
		} else {
			modules = append(modules, []tool{t})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, module := range modules {
		group.Go(func() error {
			for _, t := range module {
				began := time.Now()
				if err := b.one(ctx, t); err != nil {
					return fmt.Errorf("building %s %s: %w", t.name, t.version, err)
				}
				b.log("built %s %s in %.0f s", t.name, t.version, time.Since(began).Seconds())
			}
			return nil
		})
	}
	return group.Wait()
}

// isStatic tells whether a program needs none of the machine's libraries, as it must
// in an image of its own. Who else fills the cache may have built it otherwise.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

func (b toolbox) one(ctx context.Context, t tool) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(b.dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ldflags := strings.TrimSpace("-s -w " + t.ldflags)
	switch {
	case t.module == "":
		err = run(ctx, command{dir: tmp, env: append(buildEnv, "GOBIN="+tmp), nice: true},
			"go", "install", "-trimpath", "-ldflags", ldflags, t.pkg+"@"+t.version)
	case strings.HasPrefix(t.module, "argo-"):
		var dir string
		if dir, err = b.vendorArgo(ctx, t); err == nil {
			err = run(ctx, command{dir: dir, env: buildEnv, nice: true},
				"go", "build", "-mod=vendor", "-trimpath", "-ldflags", ldflags, "-o", filepath.Join(tmp, t.name), t.pkg)
		}
	default:
		err = run(ctx, command{dir: filepath.Join(b.source, t.module), env: buildEnv, nice: true},
			"go", "build", "-trimpath", "-ldflags", ldflags, "-o", filepath.Join(tmp, t.name), t.pkg)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path(t)), 0o755); err != nil {
		return err
	}
	return os.Rename(filepath.Join(tmp, t.name), b.path(t))
}

// Programs are built as the tests are, where they have packages in common.
var buildEnv = []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -gcflags=all=-dwarf=false"}

// vendorArgo lays Argo's sources out where they can be completed: its module has a
// symbolic link, which module archives leave out, and embeds a web page that is
// built elsewhere.
func (b toolbox) vendorArgo(ctx context.Context, t tool) (string, error) {
	dir := filepath.Join(b.dir, "sources", t.module+"-"+t.version)
	done := filepath.Join(dir, "complete")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(b.source, t.module, name), 0o644); err != nil {
			return "", err
		}
	}
	// -e: the page that is embedded is missing, and comes below.
	if err := run(ctx, command{dir: dir, env: buildEnv, nice: true}, "go", "mod", "vendor", "-e"); err != nil {
		return "", err
	}
	root := filepath.Join(dir, "vendor", argoModule(t.version))
	signals := filepath.Join(root, "workflow", "executor", "osspecific")
	if err := copyFile(filepath.Join(signals, "signal_linux.go"), filepath.Join(signals, "signal_darwin.go"), 0o644); err != nil {
		return "", err
	}
	page := filepath.Join(root, "ui", "dist", "app")
	if err := os.MkdirAll(page, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(page, "index.html"), []byte("<!doctype html><title>Argo Workflows</title>\n"), 0o644); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// prometheus lays Debian's package out in the cache instead of installing it, which
// would start its server, and returns the folder of its programs.
func (b toolbox) prometheus(ctx context.Context) (string, error) {
	dir := filepath.Join(b.dir, "prometheus-debian")
	programs := filepath.Join(dir, "usr", "bin")
	if _, err := os.Stat(dir); err == nil {
		return programs, nil
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(b.dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	download := func() error { return run(ctx, command{dir: tmp}, "apt-get", "download", "--quiet", "prometheus") }
	if err := download(); err != nil {
		if err := errors.Join(run(ctx, command{}, "apt-get", "update", "--quiet"), download()); err != nil {
			return "", err
		}
	}
	archives, _ := filepath.Glob(filepath.Join(tmp, "prometheus_*.deb"))
	if len(archives) != 1 {
		return "", fmt.Errorf("apt-get download prometheus left %d archives in %s, want 1", len(archives), tmp)
	}
	if err := run(ctx, command{}, "dpkg-deb", "--extract", archives[0], filepath.Join(tmp, "root")); err != nil {
		return "", err
	}
	return programs, os.Rename(filepath.Join(tmp, "root"), dir)
}

// moduleDir returns the folder of a module's sources, with its manifests.
func (b toolbox) moduleDir(ctx context.Context, module, version string) (string, error) {
	out, err := output(ctx, command{dir: os.TempDir(), env: []string{"GOFLAGS="}}, "go", "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return "", err
	}
	const key = `"Dir": "`
	_, rest, ok := strings.Cut(out, key)
	dir, _, closed := strings.Cut(rest, `"`)
	if !ok || !closed {
		return "", fmt.Errorf("module %s@%s has no folder: %s", module, version, out)
	}
	return dir, nil
}

// A command is how a program is run.
type command struct {
	dir   string
	env   []string // added to this process's
	stdin string
	nice  bool // with low priority
}

// run runs a program; its output is part of the error when it fails.
func run(ctx context.Context, c command, name string, args ...string) error {
	_, err := output(ctx, c, name, args...)
	return err
}

// output returns what a program writes to its standard output.
func output(ctx context.Context, c command, name string, args ...string) (string, error) {
	argv := append([]string{name}, args...)
	if c.nice {
		if nice, err := exec.LookPath("nice"); err == nil {
			argv = append([]string{nice, "-n", "5"}, argv...)
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.dir, slices.Concat(os.Environ(), c.env)
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{name}, args...), " "), err, tail(stderr.String()+stdout.String(), 40))
	}
	return stdout.String(), nil
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func copyFile(to, from string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}

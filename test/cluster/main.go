// Cluster runs a real Kubernetes of one node on this machine for the tests, with
// metrics-server, Argo Workflows, MinIO and this project's images, where there is
// neither Docker nor an image registry. It needs Debian, root and Go:
//
//	go run ./test/cluster up      # a Ready cluster; prints its KUBECONFIG
//	go run ./test/cluster images  # build the project's images anew and import them
//	go run ./test/cluster build   # build the cluster's programs and nothing else
//	go run ./test/cluster reproduce  # build the images again and compare
//	go run ./test/cluster kwok    # build what simulates nodes, and print its path
//	go run ./test/cluster prometheus  # fetch Debian's Prometheus, and print the folder of its programs
//	go run ./test/cluster kill D  # kill one of the daemons, as kubelet, for tests of faults
//	go run ./test/cluster node    # start what does not run of the node
//	go run ./test/cluster down    # stop everything and remove it, but for the cache
//
// up can be repeated, and then starts what is missing. The programs are built from Go
// modules, once per version, into the user's cache folder, which takes about half an
// hour of two processors. The node has a network namespace of its own; the machine
// reaches its pods and services by their addresses.
//
// $ARGO chooses the version of Argo Workflows. MinIO is at minio.argo:9000, which is
// 10.96.0.90, and the Argo server at argo-server.argo:2746, which is 10.96.0.91. The
// cluster's DNS knows no names but those of the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const defaultArgo = "v4.1.4"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := runCommand(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func runCommand(ctx context.Context, args []string) error {
	if len(args) == 0 || len(args) != map[bool]int{true: 2, false: 1}[args[0] == "kill"] {
		return errors.New("usage: cluster up|images|reproduce|build|kwok|prometheus|kill DAEMON|node|down|kubeconfig|explain")
	}
	c, err := newCluster(os.Getenv("ARGO"))
	if err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return c.up(ctx)
	case "images":
		return c.productImages(ctx)
	case "build":
		return c.box.build(ctx, tools(c.argo))
	case "reproduce":
		return c.reproduce(ctx)
	case "kwok":
		if err := c.box.build(ctx, []tool{simulator}); err != nil {
			return err
		}
		_, err := fmt.Println(c.box.path(simulator))
		return err
	case "prometheus":
		dir, err := c.box.prometheus(ctx)
		if err == nil {
			_, err = fmt.Println(dir)
		}
		return err
	case "kill":
		return c.daemon(args[1]).kill()
	case "node":
		return c.startNode(ctx)
	case "down":
		return c.down(ctx)
	case "explain":
		c.explain(ctx, os.Stdout)
		return nil
	case "kubeconfig":
		_, err := fmt.Println(c.kubeconfig())
		return err
	}
	return fmt.Errorf("unknown command %q: it is one of up, images, reproduce, build, kwok, prometheus, kill, node, down, kubeconfig, explain", args[0])
}

// A cluster is where the cluster's parts are.
type cluster struct {
	source string // the repository
	dir    string // all state
	argo   string // version
	// storage is the folder of buildah's images and layers, below dir.
	storage string
	box     toolbox
	paths   map[string]string // of the tools
	log     func(format string, args ...any)
}

func newCluster(argo string) (*cluster, error) {
	if argo == "" {
		argo = defaultArgo
	}
	if !strings.HasPrefix(argo, "v3.") && !strings.HasPrefix(argo, "v4.") {
		return nil, fmt.Errorf("ARGO must be a version of Argo Workflows like %s, but is %q", defaultArgo, argo)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	log := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%5.0fs %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	c := &cluster{
		source: filepath.Dir(strings.TrimSpace(string(mod))), argo: argo, log: log,
		dir: filepath.Join(cache, "self-scaling", "cluster"), storage: "buildah", paths: map[string]string{},
	}
	c.box = toolbox{filepath.Join(cache, "self-scaling", "bin"), filepath.Join(c.source, "test", "cluster", "tools"), log}
	for _, t := range tools(argo) {
		c.paths[t.name] = c.box.path(t)
	}
	return c, nil
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }
func (c *cluster) tool(name string) string { return c.paths[name] }
func (c *cluster) kubeconfig() string      { return c.file("pki/admin.kubeconfig") }

// write writes files below the cluster's folder. One that has its content already is
// not touched: kube-proxy ends when its configuration is written.
func (c *cluster) write(files map[string]string) error {
	for name, text := range files {
		path := c.file(name)
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs kubectl as the cluster's administrator.
func (c *cluster) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return output(ctx, command{stdin: stdin, dir: c.dir}, c.tool("kubectl"), append([]string{"--kubeconfig=" + c.kubeconfig()}, args...)...)
}

// up starts what does not run, in the order of who needs whom.
func (c *cluster) up(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("up must run as root, not as user %d", os.Geteuid())
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"Debian packages", c.installPackages},
		{"programs", func(ctx context.Context) error { return c.box.build(ctx, tools(c.argo)) }},
		{"Prometheus, for the tests", func(ctx context.Context) error { _, err := c.box.prometheus(ctx); return err }},
		{"network", c.startNetwork},
		{"containerd", c.startContainerd},
		{"images of the cluster's parts", c.partImages},
		{"control plane", c.startControlPlane},
		{"node", c.startNode},
		{"CoreDNS, metrics-server, MinIO, Argo Workflows " + c.argo, c.installAddons},
		{"images of the project", c.productImages},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		c.log("%s: %.0f s", step.what, time.Since(began).Seconds())
	}
	c.log("ready")
	_, err := fmt.Printf("export KUBECONFIG=%s\n", c.kubeconfig())
	return err
}

// explain writes how the cluster stands: what a reader of a failed run has to know
// when the cluster is gone.
func (c *cluster) explain(ctx context.Context, w io.Writer) {
	for _, name := range daemonNames {
		d := c.daemon(name)
		log, err := os.ReadFile(d.logFile())
		if err != nil || d.pid() != 0 {
			continue
		}
		fmt.Fprintf(w, "--- %s has ended; end of %s\n%s\n", name, d.logFile(), tail(string(log), 25))
	}
	for _, args := range [][]string{
		{"get", "nodes", "--output=wide"}, {"get", "pods", "--all-namespaces", "--output=wide"},
		{"get", "workflows,cronworkflows", "--all-namespaces"}, {"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
	} {
		out, err := c.kubectl(ctx, "", append(args, "--request-timeout=20s")...)
		fmt.Fprintf(w, "--- kubectl %s\n%s\n", strings.Join(args, " "), tail(out, 60))
		if err != nil {
			fmt.Fprintln(w, err)
		}
	}
}

// packages are Debian's, each with a program that tells that it is there.
var packages = map[string]string{
	"containerd": "containerd", "runc": "runc", "buildah": "buildah", "containernetworking-plugins": "/usr/lib/cni/bridge",
	"iptables": "iptables", "iproute2": "ip", "busybox-static": "busybox", "ca-certificates": "update-ca-certificates",
	"util-linux": "nsenter", "procps": "sysctl", "conntrack": "conntrack",
}

func (c *cluster) installPackages(ctx context.Context) error {
	var missing []string
	for name, program := range packages {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	env := []string{"DEBIAN_FRONTEND=noninteractive"}
	if err := run(ctx, command{env: env}, "apt-get", "update", "--quiet"); err != nil {
		return err
	}
	return run(ctx, command{env: env}, "apt-get", append([]string{"install", "--yes", "--quiet", "--no-install-recommends"}, missing...)...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The cluster's network. All of it, bridges and packet filters included, is in a
// network namespace of its own, which a pair of virtual devices joins to the
// machine's: deleting the namespace removes everything.
const (
	nodeName    = "node1"
	netns       = "self-scaling"
	hostDevice  = "selfscaling0" // the machine's end of the pair
	nodeDevice  = "node0"        // the node's end
	hostIP      = "10.199.0.2"
	nodeIP      = "10.199.0.1"
	linkBits    = "/30"
	podCIDR     = "10.244.0.0/16"
	nodePodCIDR = "10.244.0.0/24"
	serviceCIDR = "10.96.0.0/16"
	serviceIP   = "10.96.0.1" // of the API server inside
	runDir      = "/run/self-scaling"
	socket      = runDir + "/containerd.sock"
	cniNetwork  = "self-scaling"
	cniResults  = "/var/lib/cni/results"
)

// daemonNames are all daemons of a cluster, in the order of their start.
var daemonNames = []string{"containerd", "etcd", "apiserver", "controller-manager", "scheduler", "kubelet", "proxy"}

func (c *cluster) daemon(name string) daemon { return daemon{c.dir, name} }

// inNode puts a command into the node's network.
func inNode(argv ...string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + netns, "--"}, argv...)
}

func (c *cluster) startNetwork(ctx context.Context) error {
	if _, err := os.Stat("/run/netns/" + netns); err == nil {
		return nil
	}
	script := fmt.Sprintf(`set -e
ip netns add %[1]s
ip link add %[2]s type veth peer name %[3]s netns %[1]s
ip addr add %[4]s%[6]s dev %[2]s
ip link set %[2]s up
ip -n %[1]s addr add %[5]s%[6]s dev %[3]s
ip -n %[1]s link set lo up
ip -n %[1]s link set %[3]s up
ip -n %[1]s route add default via %[4]s
nsenter --net=/run/netns/%[1]s sysctl -qw net.ipv4.ip_forward=1
ip route add %[7]s via %[5]s
ip route add %[8]s via %[5]s
`, netns, hostDevice, nodeDevice, hostIP, nodeIP, linkBits, podCIDR, serviceCIDR)
	if err := run(ctx, command{stdin: script}, "bash", "-s"); err != nil {
		return errors.Join(fmt.Errorf("making the node's network: %w", err), c.stopNetwork(ctx))
	}
	return nil
}

func (c *cluster) stopNetwork(ctx context.Context) error {
	var errs []error
	if _, err := os.Stat("/sys/class/net/" + hostDevice); err == nil {
		errs = append(errs, run(ctx, command{}, "ip", "link", "del", hostDevice))
	}
	if _, err := os.Stat("/run/netns/" + netns); err == nil {
		errs = append(errs, run(ctx, command{}, "ip", "netns", "del", netns))
	}
	return errors.Join(errs...)
}

func (c *cluster) startContainerd(ctx context.Context) error {
	config := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
[grpc]
  address = %[3]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[5]q
  # Where the machine is itself a container, it may not lower a process's score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %[6]q
`, c.file("containerd"), runDir+"/containerd", socket, c.file("containerd-opt"), pauseImage, c.file("cni"))
	cni := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": %q, "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`, cniNetwork, c.file("ipam"), nodePodCIDR)
	if err := c.write(map[string]string{"containerd.toml": config, "cni/10-bridge.conflist": cni}); err != nil {
		return err
	}
	d := c.daemon("containerd")
	if err := d.start(inNode("containerd", "--config", c.file("containerd.toml"))...); err != nil {
		return err
	}
	return await(ctx, "containerd answers", time.Minute, []daemon{d}, func() error {
		return run(ctx, command{}, "ctr", "--address", socket, "version")
	})
}

func (c *cluster) startControlPlane(ctx context.Context) error {
	if err := writePKI(c.file("pki"), time.Now()); err != nil {
		return err
	}
	pki := func(name string) string { return c.file("pki/" + name) }
	etcd, api := c.daemon("etcd"), c.daemon("apiserver")
	if err := etcd.start(inNode(c.tool("etcd"), "--data-dir", c.file("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380")...); err != nil {
		return err
	}
	if err := api.start(inNode(c.tool("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+nodeIP, "--bind-address="+nodeIP, "--secure-port=6443",
		"--allow-privileged", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range="+serviceCIDR, "--client-ca-file="+pki("ca.crt"),
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+pki("tokens.pub"),
		"--service-account-signing-key-file="+pki("tokens.key"),
		"--kubelet-client-certificate="+pki("apiserver.crt"), "--kubelet-client-key="+pki("apiserver.key"),
		// Nothing resolves the node's name.
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+pki("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User", "--enable-aggregator-routing",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"))...); err != nil {
		return err
	}
	if err := await(ctx, "the API server is ready", 3*time.Minute, []daemon{etcd, api}, func() error {
		_, err := c.kubectl(ctx, "", "get", "--raw=/readyz")
		return err
	}); err != nil {
		return err
	}
	return errors.Join(
		c.daemon("controller-manager").start(inNode(c.tool("kube-controller-manager"), "--kubeconfig="+pki("controller-manager.kubeconfig"),
			"--root-ca-file="+pki("ca.crt"), "--service-account-private-key-file="+pki("tokens.key"), "--use-service-account-credentials",
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
			"--allocate-node-cidrs", "--cluster-cidr="+podCIDR, "--leader-elect=false", "--bind-address=127.0.0.1",
			// A third of the default, so that tests see the HPA act sooner.
			"--horizontal-pod-autoscaler-sync-period=5s",
			// So that making thousands of pods takes minutes.
			"--kube-api-qps=200", "--kube-api-burst=400")...),
		c.daemon("scheduler").start(inNode(c.tool("kube-scheduler"), "--kubeconfig="+pki("scheduler.kubeconfig"),
			"--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=200", "--kube-api-burst=400")...))
}

func (c *cluster) startNode(ctx context.Context) error {
	kubelet := fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s}}
authorization: {mode: Webhook}
tlsCertFile: %[2]s
tlsPrivateKeyFile: %[3]s
containerRuntimeEndpoint: unix://%[4]s
# The machine may offer the first version of cgroups alone, and no systemd.
failCgroupV1: false
cgroupDriver: cgroupfs
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
# Images came from no registry, and could not be had again.
imageGCHighThresholdPercent: 100
evictionHard: {}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
`, c.file("pki/ca.crt"), c.file("pki/kubelet.crt"), c.file("pki/kubelet.key"), socket)
	proxy := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s}
mode: iptables
clusterCIDR: %s
hostnameOverride: %s
conntrack: {maxPerCore: 0}
`, c.file("pki/proxy.kubeconfig"), podCIDR, nodeName)
	if err := c.write(map[string]string{"kubelet.yaml": kubelet, "proxy.yaml": proxy}); err != nil {
		return err
	}
	d := c.daemon("kubelet")
	if err := d.start(inNode(c.tool("kubelet"), "--kubeconfig="+c.file("pki/kubelet.kubeconfig"), "--config="+c.file("kubelet.yaml"),
		"--hostname-override="+nodeName, "--node-ip="+nodeIP, "--root-dir="+c.file("kubelet"), "--cert-dir="+c.file("pki"))...); err != nil {
		return err
	}
	if err := c.daemon("proxy").start(inNode(c.tool("kube-proxy"), "--config="+c.file("proxy.yaml"))...); err != nil {
		return err
	}
	var all []daemon
	for _, name := range daemonNames {
		all = append(all, c.daemon(name))
	}
	return await(ctx, "the node is Ready", 3*time.Minute, all, func() error {
		out, err := c.kubectl(ctx, "", "get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
		if err == nil && !strings.HasPrefix(out, "True") {
			err = errors.New("Ready is " + out)
		}
		return err
	})
}

// down stops everything that up started and removes all of it but the cache.
func (c *cluster) down(ctx context.Context) error {
	var errs []error
	for _, name := range []string{"proxy", "kubelet", "scheduler", "controller-manager", "apiserver", "etcd"} {
		errs = append(errs, c.daemon(name).stop(ctx))
	}
	if c.daemon("containerd").pid() != 0 {
		errs = append(errs, c.stopContainers(ctx))
	}
	errs = append(errs, c.daemon("containerd").stop(ctx))
	if err := errors.Join(errs...); err != nil {
		return err // what still runs must not lose its folder
	}
	if err := errors.Join(c.unmount(ctx), c.stopNetwork(ctx)); err != nil {
		return err
	}
	results, _ := filepath.Glob(cniResults + "/" + cniNetwork + "-*")
	for _, path := range slices.Clone(results) {
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), cniNetwork+"-"), "-eth0")
		results = append(results, filepath.Join(cniResults, "cni-loopback-"+id+"-lo"))
	}
	// The kubelet leaves its groups behind; one with a process in it stays.
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	for _, group := range groups {
		errs = append(errs, run(ctx, command{}, "find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"))
	}
	for _, path := range append(results, c.dir, runDir) {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// stopContainers kills all containers of the cluster's containerd.
func (c *cluster) stopContainers(ctx context.Context) error {
	ctr := func(args ...string) (string, error) {
		return output(ctx, command{}, "ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
	}
	return poll(ctx, time.Minute, time.Second, func() error {
		list, err := ctr("task", "ls", "-q")
		if err != nil {
			return err
		}
		tasks := strings.Fields(list)
		for _, id := range tasks {
			ctr("task", "rm", "--force", id) // what fails is seen in the next round
		}
		if len(tasks) > 0 {
			return fmt.Errorf("%d containers still run", len(tasks))
		}
		return nil
	})
}

// unmount undoes the mounts below the cluster's folders, the inner ones first.
func (c *cluster) unmount(ctx context.Context) error {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range mountsBelow(string(data), c.dir, runDir) {
		errs = append(errs, run(ctx, command{}, "umount", "--lazy", path))
	}
	return errors.Join(errs...)
}

// mountsBelow returns the mount points below the folders, in the form of
// /proc/self/mounts, the last mounted first.
func mountsBelow(mounts string, dirs ...string) []string {
	var found []string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		for _, dir := range dirs {
			if len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
				found = append([]string{fields[1]}, found...)
			}
		}
	}
	return found
}

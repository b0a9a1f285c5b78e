package main

import (
	"context"
	"fmt"
	"os"
)

// pauseImage holds each pod's namespaces open. Any image will do that sleeps.
const pauseImage = "docker.io/library/busybox:1.37"

// nodeAccounts are the users that the node's programs are, as they would be anywhere.
var nodeAccounts = []struct{ name, user, groups string }{
	{"kubelet", "system:node:" + nodeName, "system:nodes"},
	{"kube-proxy", "system:kube-proxy", ""},
	{"node-dns", "system:serviceaccount:kube-system:kube-dns", ""},
	{"kube-scheduler", "system:kube-scheduler", ""},
}

// nodeControllers are those that work only with nodes.
var nodeControllers = []string{
	"endpoints-controller",
	"endpointslice-controller",
	"job-controller",
	"node-lifecycle-controller",
	"pod-garbage-collector-controller",
}

// containerdConfig works in every version since 1.6. Without `restrict_oom_score_adj`
// no pod starts where root may not make processes less likely to be killed, as in
// many containers. Copies of layers are slower than overlays, and work on any file system.
const containerdConfig = `version = 2
root = "%[1]s/containerd"
state = "/run/containerd"
[grpc]
address = "%[1]s/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "%[2]s"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "%[1]s/cni"
`

// cniConfig masks the addresses of pods outside of the node, so that the machine
// needs no route to them.
const cniConfig = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// kubeletConfig sees a changed Secret at once, and otherwise keeps away from
// what is the whole machine's.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: %[1]s/kubelet.crt
tlsPrivateKeyFile: %[1]s/kubelet.key
containerRuntimeEndpoint: unix://%[1]s/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
evictionHard: {memory.available: 1Mi, nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
clusterDNS: ["%[3]s"]
clusterDomain: cluster.local
resolvConf: ""
podLogsDir: %[1]s/pods
volumePluginDir: %[1]s/volume-plugins
configMapAndSecretChangeDetectionStrategy: Watch
syncFrequency: 5s
`

// startNode starts what makes a node of the place, and returns when pods run on it.
func startNode(ctx context.Context, n *node, at *endpoint, programs map[string]string, images []string) error {
	if err := os.Mkdir(n.path("cni"), 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd.toml":   fmt.Sprintf(containerdConfig, n.dir, pauseImage),
		"cni/pods.conflist": fmt.Sprintf(cniConfig, podRange),
		"kubelet.yaml":      fmt.Sprintf(kubeletConfig, n.dir, n.cgroup, n.address),
	} {
		if err := os.WriteFile(n.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	if err := n.start("containerd", "containerd", "--config="+n.path("containerd.toml")); err != nil {
		return err
	}
	ctr := func(args ...string) (string, error) {
		address := "--address=" + n.path("containerd.sock")
		return execute(append([]string{"ctr", address, "--namespace=k8s.io"}, args...)...)
	}
	answers := func() error { _, err := ctr("version"); return err }
	if err := n.children.await(ctx, "containerd", answers); err != nil {
		return err
	}
	for _, image := range images {
		if _, err := ctr("images", "import", "--snapshotter=native", image); err != nil {
			return err
		}
	}
	if pause, err := ctr("images", "list", "--quiet", "name=="+pauseImage); err != nil {
		return err
	} else if pause == "" {
		return fmt.Errorf("--node needs an --image that is %s: tests/images/build.sh busybox packs it", pauseImage)
	}

	if err := n.start("kubelet", programs["kubelet"],
		"--config="+n.path("kubelet.yaml"), "--kubeconfig="+n.path("kubelet.kubeconfig"), "--root-dir="+n.path("kubelet"),
		"--cert-dir="+n.dir, "--hostname-override="+nodeName, "--node-ip="+n.address.String()); err != nil {
		return err
	}
	if err := n.start("kube-proxy", programs["kube-proxy"],
		"--kubeconfig="+n.path("kube-proxy.kubeconfig"), "--hostname-override="+nodeName,
		"--proxy-mode=iptables", "--cluster-cidr="+podRange,
		// A limit of the whole machine.
		"--conntrack-max-per-core=0"); err != nil {
		return err
	}
	if err := n.start("node-dns", programs["node-dns"],
		n.path("node-dns.kubeconfig"), n.address.String()+":53"); err != nil {
		return err
	}
	return n.children.await(ctx, "the node", at.nodeReady)
}

// nodeReady says why no pod can run yet.
func (at *endpoint) nodeReady() error {
	var node struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := at.read("/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" && len(node.Spec.Taints) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%+v", node)
}
